"""Explanations: from a draft of the step to a decision that people can read and check."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from sentineld.decision import Decision, Evidence, Reason, decision_id
from sentineld.detection import Verdict
from sentineld.entropy import UNITS
from sentineld.event import Incident, Observation
from sentineld.instant import iso
from sentineld.integrity import KINDS
from sentineld.monitor import BehavioralMonitor
from sentineld.session import Finding
from sentineld.step import AgentState, Draft, Prior

#: The detector that reasons of incidents name.
INTEGRITY = "integrity"


def decide(
    number: int,
    agent_id: str,
    state: AgentState,
    draft: Draft,
    prior: Prior,
    path_of: Callable[[int], str],
    paths: Mapping[int, str],
) -> Decision:
    """Give a draft its number, its reasons and its evidence; the state remembers the decision.

    ``paths`` names the sources of the present batch, ``path_of`` any other one.
    """
    change = draft.change
    if draft.actor or change.cause == "damaged":
        reasons = []
    elif draft.incident is not None:
        reasons = [Reason(INTEGRITY, draft.incident.kind, float(draft.incident.count), 0.0, 0.0)]
    elif prior.detection is not None:
        reasons = [] if draft.verdict is None else _reasons(draft.verdict)
    else:
        reasons = prior.monitor.explain(draft.crossing, _threshold(prior.monitor, draft))
    verdict = draft.verdict
    if verdict is None:
        evidence = [_evidence(item, paths.get(item[4]) or path_of(item[4])) for item in draft.recent]
    else:
        evidence = [
            _found(item, paths.get(item.source_id) or path_of(item.source_id))
            for item in worst(verdict.findings)
        ]
    if draft.incident is not None:
        evidence.append(_incident_evidence(draft.incident))
    if draft.said:
        evidence.append(done(draft.said))
    if change.cause == "expired":
        # The end of a pin reveals a tier that was called for earlier: nothing seen now would have changed it.
        reasons = [replace(reason, expected=None) for reason in reasons]
    decision = Decision(
        decision_no=number,
        decision_id=decision_id(number),
        agent_id=agent_id,
        from_tier=change.from_tier,
        to_tier=change.to_tier,
        score=round(draft.crossing.score, 6),
        decided_at=iso(change.at_us),
        cause=change.cause,
        prior_version=prior.version,
        reasons=reasons,
        evidence=evidence,
        actor=draft.actor,
        note=draft.note,
        attack=draft.attack,
        p=None if verdict is None else verdict.p,
        bound="" if verdict is None else verdict.bound,
    )
    if draft.gives_tier:
        state.decision_no = number
        state.decision_score = decision.score
        state.reason_code = reason_code(decision)
    return decision


def done(said: str) -> Evidence:
    """Return what an operator's act has done, as evidence of the decision that tells of it."""
    return Evidence(path="", offset=0, event_id="", summary=said)


def reason_code(decision: Decision) -> str:
    """Return one word for a decision: the feature that is furthest above what it should be, or the cause."""
    if decision.reasons and decision.reasons[0].detector == INTEGRITY:
        return decision.reasons[0].feature
    if decision.cause not in ("detected", "rule") or not decision.reasons:
        return decision.cause
    if decision.p is not None:
        return decision.reasons[0].feature
    return max(decision.reasons, key=_excess).feature


def printable_path(path: str) -> str:
    r"""Return a path as text that UTF-8 can hold; other bytes are shown as ``\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _excess(reason: Reason) -> float:
    return reason.observed / max(reason.expected or 0.0, 0.01 if reason.feature == "mean_entropy" else 1.0)


def worst(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in their order: what broke a rule, which has no bits, then the most surprising."""
    return sorted(findings, key=lambda finding: (finding.bits > 0, -finding.bits))


def _reasons(verdict: Verdict) -> list[Reason]:
    """Return the findings by feature: how many new values, and the bits of all of them."""
    by_feature: dict[tuple[str, str], list[float]] = {}
    for finding in worst(verdict.findings):
        by_feature.setdefault((finding.detector, finding.feature), []).append(finding.bits)
    return [
        Reason(detector, feature, float(len(bits)), 0.0, round(sum(bits), 3))
        for (detector, feature), bits in by_feature.items()
    ]


def _found(finding: Finding, path: str) -> Evidence:
    value = f": {finding.value}" if finding.value else ""
    return Evidence(
        path=printable_path(path),
        offset=finding.offset,
        event_id=f"{finding.source_id}-{finding.offset}",
        summary=(
            f"{finding.usual}{value} ({_weight(finding)}), {finding.event_type} at {iso(finding.at_us)}"
        ),
    )


def _weight(finding: Finding) -> str:
    return f"{finding.feature}, {finding.bits:.1f} bits" if finding.bits else f"rule {finding.feature}"


def _incident_evidence(incident: Incident) -> Evidence:
    times = f" ({incident.count} times)" if incident.count > 1 else ""
    return Evidence(
        path=printable_path(incident.path),
        offset=incident.start,
        event_id=f"{incident.source_id}-{incident.start}",
        summary=f"{KINDS[incident.kind].sentence}{times}: {incident.detail}",
    )


def _threshold(monitor: BehavioralMonitor, draft: Draft) -> float:
    # Demoted: what would have kept the former tier. Recovered: what keeps the new one.
    tier = min(draft.change.from_tier, draft.change.to_tier)
    return monitor.suspicious_threshold if tier == 1 else monitor.anomalous_threshold


def _evidence(item: Observation, path: str) -> Evidence:
    at_us, _, entropy, event_type, source_id, offset, _ = item
    return Evidence(
        path=printable_path(path),
        offset=offset,
        event_id=f"{source_id}-{offset}",
        summary=f"{event_type} at {iso(at_us)}, entropy {entropy / UNITS:.2f}",
    )

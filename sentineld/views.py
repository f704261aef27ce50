"""Views: what the database and the state file say, as plain documents. ``status`` and ``why`` print them."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from sentineld import clock
from sentineld.baselines import learning, starter_document
from sentineld.config import Config
from sentineld.decision import Decision
from sentineld.detection import CALM, Verdict
from sentineld.detection import score_of as score_of_p
from sentineld.errors import ConfigError, NoDatabaseError, SentineldError
from sentineld.event import Incident
from sentineld.explain import printable_path
from sentineld.framing import DOCUMENT
from sentineld.identity import Source
from sentineld.instant import SECOND_US, iso
from sentineld.integrity import KINDS
from sentineld.keyring import may_read_keys, reader_keys
from sentineld.keys import VerificationKey
from sentineld.learned import Learned
from sentineld.override import Override
from sentineld.policy import Policy
from sentineld.session import Session
from sentineld.settings import recorded_prior
from sentineld.state_file import StateView
from sentineld.state_reader import StateReader
from sentineld.statedir import Paths
from sentineld.step import AgentState, Prior, load_checked, new_state
from sentineld.store import Store
from sentineld.tables import AgentRow, Coverage, PastFile
from sentineld.teaching import load_roles
from sentineld.throttle import RESOURCES, STEPS
from sentineld.visible import visible

#: Share of an agent's records that are understood below which that is said in words.
LOW_COVERAGE = 0.95
#: Kinds of unknown records that are named.
_MAX_KINDS = 10


@dataclass(frozen=True, slots=True)
class StateReport:
    """The state file as a reader sees it: ``view`` is None where it is unusable, ``reason`` then says why.

    ``override`` is an operator's, in force now; ``warnings`` are sentences, ``keys`` what a reader believes.
    """

    view: StateView | None
    fresh: bool
    reason: str
    override: Override | None = None
    warnings: Sequence[str] = ()
    keys: Sequence[VerificationKey] = ()

    def is_observed(self, config: Config) -> bool:
        """Say whether tiers are only observed: as the state file says, else as configured."""
        return (config.mode if self.view is None else self.view.mode) == "observe"

    def to_dict(self, path: str) -> dict[str, Any]:
        """Return the ``state`` part of ``status --json``."""
        view = self.view
        return {
            "file": path,
            "seq": None if view is None else view.seq,
            "epoch": None if view is None else view.epoch,
            "fresh": self.fresh,
            "mode": None if view is None else view.mode,
            "status": None if view is None else view.status,
            "faults": [] if view is None else list(view.faults),
            "catching_up": None if view is None else _progress(view),
            "throttle": None if view is None else _throttle(view),
            "isolation": None if view is None else view.isolation,
            "unlisted_tier": None if view is None else int(view.unlisted_tier),
            "generated_at": None if view is None else iso(view.generated_at_us),
            "valid_until": None if view is None else iso(view.valid_until_us),
            "verified": view is not None and view.verified,
            "reason": self.reason,
            "key_id": None if view is None else view.key_id,
            "keys": [
                {
                    "key_id": key.key_id,
                    "algorithm": key.algorithm,
                    "not_after": None if key.not_after_us is None else iso(key.not_after_us),
                }
                for key in self.keys
            ],
            "override": None if self.override is None else override_document(self.override),
            "warnings": list(self.warnings),
        }


def _progress(view: StateView) -> dict[str, int | None] | None:
    """Return how far a catch-up was when the state file was written; None: it had caught up, or does not say.

    The file may be another version's: what is not as it should be is not passed on.
    """
    told = view.catching_up
    if told is None:
        return None
    numbers = {name: told.get(name) for name in ("bytes_left", "bytes_per_s", "eta_s")}
    return {name: value if type(value) is int and value >= 0 else None for name, value in numbers.items()}


def _throttle(view: StateView) -> dict[str, Any]:
    told = view.throttle or {}
    step, causes, readings = told.get("step"), told.get("causes"), told.get("pressure")
    return {
        "step": step if step in STEPS else "none",
        "causes": [name for name in RESOURCES if isinstance(causes, list) and name in causes],
        "pressure": {
            name: float(readings[name])
            for name in RESOURCES
            if isinstance(readings, dict)
            and type(readings.get(name)) in (int, float)
            and 0 <= readings[name] <= 100
        },
    }


def override_document(override: Override) -> dict[str, Any]:
    """Return an operator's override as plain data; ``agents`` is null where it is for all of them."""
    return {
        "tier": None if override.tier is None else int(override.tier),
        "agents": None if override.agents is None else sorted(override.agents),
        "issued_at": iso(override.issued_at_us),
        "valid_until": iso(override.valid_until_us),
        "actor": override.actor,
        "reason": override.reason,
    }


def look_at_state(config: Config, paths: Paths, env: Mapping[str, str]) -> StateReport:
    """Read the state file as a router would."""
    try:
        keys = reader_keys(config, env) if may_read_keys(config, env) else ()
    except ConfigError as error:
        return StateReport(None, False, str(error))
    reader = StateReader(paths.state_file, keys, clock=clock)
    # Whoever it is about: the file is usable for all of them or for none.
    found = reader.behavior("-")
    return StateReport(
        reader.view,
        found.is_usable,
        "" if found.is_usable else found.reason,
        reader.override(),
        reader.warnings,
        keys,
    )


def agent_document(
    row: AgentRow,
    prior: Prior,
    now_us: int,
    *,
    is_observed: bool,
    is_restricted: bool = False,
    override: Override | None = None,
) -> dict[str, Any]:
    """Return what ``status`` says of one agent, with its window as of ``now_us``.

    ``tier`` is the one that routers use while the state file is fresh: an override's where there is one, else
    1 for everybody where the daemon only observes, 3 while memory is lost; ``held_by`` says which of them it
    is, empty for none. ``would`` is what behaviour, pardons and pins call for.
    """
    state = state_of(row, prior)
    window = state.profile.window
    window.advance(max(now_us, state.clock_us) // window.bucket_us)
    activity = prior.monitor.score_window(window)
    score, contributions = activity.value, activity.contributions
    if prior.detection is not None:
        score = look(state, prior, now_us).score
    would = state.standing.effective_tier
    tier, held_by = tier_in_force(
        row.name, would, is_observed=is_observed, is_restricted=is_restricted, override=override
    )
    return {
        "tier": tier,
        "would": would,
        "score": round(score, 6),
        "events": state.events,
        "file_ops": window.file_ops,
        "network_ops": window.network_ops,
        "last_activity": iso(state.last_activity_us),
        "contributions": {name: round(value, 6) for name, value in contributions.items()},
        "held_by": held_by,
        "max_score": round(state.peak, 6),
        "since": iso(state.standing.since_us),
        "pinned": state.standing.pinned_tier is not None,
        "owner": state.owner,
        "learned": learned_document(state, prior, now_us),
        "retired_at": None if state.retired_us is None else iso(state.retired_us),
    }


def tier_in_force(
    name: str, would: int, *, is_observed: bool, is_restricted: bool, override: Override | None
) -> tuple[int, str]:
    """Return an agent's tier as routers use it, and what makes it another one than behaviour calls for."""
    tier, held_by = would, ""
    if is_observed:
        tier, held_by = 1, "observe"
    elif is_restricted:
        tier, held_by = 3, "memory_lost"
    if override is not None and override.tier is not None and override.applies_to(name):
        tier, held_by = int(override.tier), "override"
    return tier, held_by


def coverage_document(coverage: Coverage | None, unknown: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return how much of an agent's telemetry was understood; ``unknown`` counts kinds by format and name.

    It is that of the files that the agent wrote: who wrote what could not be read, nobody knows. ``note``
    says it in words where it is little; empty: it is not.
    """
    found = coverage or Coverage(0, 0, 0, 0, 0)
    kinds = [name for each in found.formats for name in unknown.get(each, {})] if found.unknown else []
    share = found.share
    note = ""
    if share is not None and share < LOW_COVERAGE:
        parts = [
            f"{found.unknown} are of kinds that are not known" if found.unknown else "",
            f"{found.rejects} could not be read" if found.rejects else "",
            f"{found.shared} of its {found.files} files have other writers too" if found.shared else "",
        ]
        note = (
            f"only {int(1000 * share) / 10:g} % of {found.records} records in its files were understood: "
            f"{'; '.join(filter(None, parts))}. What is not read is not normal"
        )
    return {
        "share": None if share is None else round(share, 6),
        "records": found.records,
        "unknown": found.unknown,
        "rejects": found.rejects,
        "files": found.files,
        "shared_files": found.shared,
        "unknown_kinds": sorted(kinds)[:_MAX_KINDS],
        "note": note,
    }


def unread_document(store: Store) -> dict[str, int]:
    """Return how many files gave no event at all, though records stand in them: nobody answers for these."""
    unread = store.unread_coverage()
    return {
        "files": unread.files,
        "records": unread.records,
        "unknown": unread.unknown,
        "rejects": unread.rejects,
    }


def score_of(state: AgentState, prior: Prior) -> float:
    """Return an agent's score (0..1) as of the last that it was told of."""
    if prior.detection is None:
        return prior.monitor.score_window(state.profile.window).value
    return look(state, prior, state.clock_us).score


def open_sessions(state: AgentState, prior: Prior, now_us: int) -> list[Session]:
    """Return an agent's sessions that are not over by now."""
    if prior.detection is None or state.learned is None:
        return []
    gap_us = prior.detection.settings.gap_us
    return [one for one in state.learned.sessions if one.latest_us + gap_us >= now_us]


def look(state: AgentState, prior: Prior, now_us: int) -> Verdict:
    """Return what learned detection thinks of an agent now; sessions that are over by then do not count."""
    if prior.detection is None or state.learned is None:
        return CALM
    sessions = open_sessions(state, prior, now_us)
    return prior.detection.look(structs.replace(state.learned, sessions=sessions), state.owner)


def learned_document(state: AgentState, prior: Prior, now_us: int) -> dict[str, Any] | None:
    """Return what ``status`` says of an agent's habits; None where the activity score decides.

    ``learning`` says what is still missing for the stated bounds; empty: nothing.
    """
    detection = prior.detection
    if detection is None:
        return None
    agent = state.learned or Learned()
    role, settings = detection.role((state.owner, agent.role)), detection.settings
    verdict, known = look(state, prior, now_us), role.calibration.own
    return {
        "role": agent.role,
        "p": verdict.p,
        "session": verdict.session,
        "sessions": agent.own.sessions,
        "role_sessions": known,
        "evidence": round(agent.evidence, 6),
        "evidence_limit": round(settings.evidence_limit(agent, now_us), 6),
        "learning": learning(known, settings),
        "starter": starter_document(role),
    }


def state_of(row: AgentRow, prior: Prior) -> AgentState:
    """Return an agent's state; of one that is damaged what the row itself says."""
    try:
        return load_checked(row.state, row.owner, row.agent_id, row.tier)
    except ValueError:
        # Damaged: the daemon restricts it as soon as it has to do with it. Until then this is all there is.
        state = new_state(row.owner, row.agent_id, prior, 0)
        state.standing.tier = row.tier
        return state


def files_document(sources: Sequence[Source], past: Sequence[PastFile] = ()) -> dict[str, dict[str, Any]]:
    """Return the accounts of every file by path; the generations of one path are added up."""
    files: dict[str, dict[str, Any]] = {}
    rows: list[Source | PastFile] = [*(item for item in past if item.path), *sources]
    for source in rows:
        entry = files.setdefault(
            printable_path(source.path),
            {"format": ""}
            | dict.fromkeys(
                (
                    "lines",
                    "accepted",
                    "ignored",
                    "rejects",
                    "duplicates",
                    "offset",
                    "clamped",
                    "id_conflicts",
                    "timeless",
                ),
                0,
            ),
        )
        entry["lines"] += source.lines
        entry["accepted"] += source.accepted
        entry["ignored"] += source.ignored
        entry["rejects"] += source.rejected
        entry["duplicates"] += source.duplicates
        entry["clamped"] += source.clamped
        entry["id_conflicts"] += source.conflicts
        entry["timeless"] += source.timeless
        if isinstance(source, Source):
            entry["offset"] = -1 if source.kind == DOCUMENT else source.pos
            entry["format"] = source.format
    return files


def totals_document(store: Store) -> dict[str, Any]:
    """Return lifetime totals over all agents and files."""
    past = store.past_files()
    rows: list[Source | PastFile] = [*past, *store.sources()]
    meta = store.meta()
    counts: Counter[str] = Counter()
    for source in rows:
        counts.update(
            accepted=source.accepted,
            ignored=source.ignored,
            rejects=source.rejected,
            duplicates=source.duplicates,
            bytes=source.bytes_read,
        )
    return {
        "events": meta.events,
        "tool_calls": meta.tool_calls,
        "by_type": store.event_types(),
        **{name: counts[name] for name in ("accepted", "ignored", "rejects", "duplicates", "bytes")},
        "files": len({item.path for item in rows if item.path})
        + sum(item.files for item in past if not item.path),
        "decisions": meta.decision_no,
        "troubles": json.loads(meta.troubles),
        "incidents": json.loads(meta.incidents),
        "unknown_records": store.unknown_records(),
        "unread_files": unread_document(store),
    }


def prior_in_force(store: Store, config: Config) -> Prior:
    """Return the settings by which the daemon judged last; the caller's own where it has not run yet."""
    settings = store.meta().settings
    prior = recorded_prior(json.loads(settings), config) if settings else config.prior()
    if prior.detection is not None:
        prior.detection.roles, _ = load_roles(store.roles())
    return prior


def threshold(prior: Prior, tier: int) -> float:
    """Return the score above which an agent of this tier (1 or 2) gets a stricter one."""
    if prior.detection is None:
        return prior.monitor.suspicious_threshold if tier == 1 else prior.monitor.anomalous_threshold
    settings = prior.detection.settings
    return score_of_p(settings.false_alarms_per_session if tier == 1 else settings.rate_at_once)


def status_document(
    store: Store, config: Config, report: StateReport, paths: Paths, *, with_retired: bool = False
) -> dict[str, Any]:
    """Return the document of ``status --json``; retired agents only with ``with_retired``."""
    now, prior = clock.now_us(), prior_in_force(store, config)
    is_restricted = bool(store.meta().lost_at)
    coverage, totals = store.coverage(), totals_document(store)
    agents = {
        row.name: agent_document(
            row,
            prior,
            now,
            is_observed=report.is_observed(config),
            is_restricted=is_restricted,
            override=report.override,
        )
        | {
            "coverage": coverage_document(coverage.get((row.owner, row.agent_id)), totals["unknown_records"]),
            "forecast": None,
        }
        for row in store.agents()
    }
    return {
        "agents": {name: it for name, it in agents.items() if with_retired or it["retired_at"] is None},
        "prognostics": {"enabled": config.prognostics.enabled, "reason": ""},
        "totals": totals,
        "state": report.to_dict(paths.state_file),
        "files": files_document(store.sources(), store.past_files()),
        "storage": storage_document(store, config),
    }


def storage_document(store: Store | None, config: Config, reason: str = "") -> dict[str, Any]:
    """Return what the database holds and what it has forgotten; ``reason`` says why it cannot be read."""
    meta = None if store is None else store.meta()
    return {
        "readable": store is not None,
        "reason": reason,
        "bytes": 0 if store is None else store.retention.used_bytes(),
        "limit_bytes": config.limits.database_bytes,
        "inputs_pruned": 0 if meta is None else meta.inputs_pruned,
        "sources_pruned": 0 if meta is None else meta.sources_pruned,
        "decisions_pruned": 0 if meta is None else meta.decisions_pruned,
        "incidents_pruned": 0 if meta is None else meta.incidents_pruned,
        "requests_pruned": 0 if meta is None else meta.requests_pruned,
        "seen_expired": 0 if meta is None else meta.seen_expired,
        "memory_lost_at": iso(meta.lost_at) if meta is not None and meta.lost_at else None,
        "memory_lost_why": "" if meta is None else meta.lost_why,
        "restored_at": iso(meta.restored_at) if meta is not None and meta.restored_at else None,
    }


def empty_status_document(
    config: Config, report: StateReport, paths: Paths, error: SentineldError
) -> dict[str, Any]:
    """Return the document of ``status --json`` where there is no database, or none that may be read.

    What readers go by is the state file alone, so a fresh one is fresh whatever there is beside it.
    """
    with Store.open(":memory:", clock.now_us(), is_durable=False) as store:
        document = status_document(store, config, report, paths)
    document["storage"] = storage_document(None, config, str(error))
    if report.view is None and isinstance(error, NoDatabaseError):
        document["state"]["fresh"] = False
        document["state"]["reason"] = report.reason or f"there is no database {paths.database}"
    return document


def why_document(
    store: Store, config: Config, report: StateReport, row: AgentRow, *, prior: Prior | None = None
) -> dict[str, Any]:
    """Return the document of ``why --json``: the decision behind an agent's tier, what would lift it.

    ``prior``: what ``prior_in_force`` gave, where many are asked for.
    """
    prior = prior or prior_in_force(store, config)
    state = state_of(row, prior)
    decisions = store.decisions(name=row.name, limit=50)
    behind = next((d for d in decisions if d.decision_no == state.decision_no), None)
    demotion = next((d for d in reversed(decisions) if d.to_tier > d.from_tier), None)
    return {
        "agent": row.name,
        **agent_document(
            row,
            prior,
            clock.now_us(),
            is_observed=report.is_observed(config),
            is_restricted=bool(store.meta().lost_at),
            override=report.override,
        ),
        "coverage": coverage_document(
            store.coverage((row.owner, row.agent_id)).get((row.owner, row.agent_id)), store.unknown_records()
        ),
        "decision": None if behind is None else behind.to_dict(),
        "demotion": None if demotion is None else demotion.to_dict(),
        "lifted_by": list(_lifts(state, prior.policy)),
        "history": [decision.to_dict() for decision in decisions],
        "incidents": [incident_document(item) for item in store.incidents(owner=row.owner, limit=50)],
    }


def incident_document(incident: Incident) -> dict[str, Any]:
    """Return one incident as plain data; ``from`` and ``to`` are bytes of the file, both 0 for all of it."""
    return {
        "at": iso(incident.at_us),
        "kind": incident.kind,
        "owner": incident.owner,
        "path": printable_path(incident.path),
        "from": incident.start,
        "to": incident.end,
        "count": incident.count,
        "sentence": KINDS[incident.kind].sentence,
        "detail": incident.detail,
    }


def _lifts(state: AgentState, policy: Policy) -> Iterator[str]:
    standing = state.standing
    if standing.effective_tier == 1:
        return
    if standing.pinned_tier is not None:
        until = standing.pinned_until_us
        command = f"sentineld unpin {state.agent_id} --reason WHY"
        yield command if until is None else f"the end of the pin at {iso(until)}, or {command}"
        return
    if standing.tier < 3 or not policy.tier3_needs_pardon:
        lower = standing.tier - 1
        if standing.quiet_since_us is None:
            yield f"{policy.quiet_us / SECOND_US:g} s in which its score calls for less: then tier {lower}"
        else:
            yield f"more quiet until {iso(standing.quiet_since_us + policy.quiet_us)}: then tier {lower}"
    yield f"sentineld pardon {state.agent_id} --reason WHY"


def decision_line(decision: Decision) -> str:
    """Return one line of text about a decision; agents' and operators' own words are escaped."""
    text = (
        f"{decision.decided_at[:19]}Z  {decision.decision_id}  {decision.from_tier} -> {decision.to_tier}  "
        f"{decision.cause:<10} {decision.score:>5.2f}  {visible(decision.agent_id)}"
    )
    return f"{text}  by {visible(decision.actor)}: {visible(decision.note)}" if decision.actor else text


#: The heading over ``decision_line``.
DECISION_HEADING = f"{'DECIDED AT':<20}  {'DECISION':<8}  {'TIER':<6}  {'CAUSE':<10} SCORE  AGENT"

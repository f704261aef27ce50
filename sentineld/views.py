"""Views: what the database and the state file say, as plain documents. ``status`` and ``why`` print them."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sentineld import clock
from sentineld.config import Config, key_file_path
from sentineld.decision import Decision
from sentineld.errors import ConfigError, StateFileError
from sentineld.explain import printable_path
from sentineld.instant import iso
from sentineld.policy import Policy
from sentineld.service import Paths
from sentineld.state_file import StateView, load_key, parse_state, read_document
from sentineld.step import AgentState, Prior, load_state
from sentineld.store import AgentRow, Store
from sentineld.tail import DOCUMENT, Source


@dataclass(frozen=True, slots=True)
class StateReport:
    """The state file as a reader sees it: ``view`` is None where it is unusable, ``reason`` then says why."""

    view: StateView | None
    fresh: bool
    reason: str

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
            "isolation": None if view is None else view.isolation,
            "generated_at": None if view is None else iso(view.generated_at_us),
            "valid_until": None if view is None else iso(view.valid_until_us),
            "verified": view is not None and view.verified,
            "reason": self.reason,
        }


def look_at_state(config: Config, paths: Paths, env: Mapping[str, str]) -> StateReport:
    """Read the state file as a router would."""
    try:
        path = key_file_path(config, env)
        keys = [load_key(path, config.state.key_id)] if path and os.access(path, os.R_OK) else []
        data, _ = read_document(paths.state_file, is_signed=bool(keys))
        view = parse_state(data, keys, source=f"state file {paths.state_file}")
    except (StateFileError, ConfigError) as error:
        return StateReport(None, False, str(error))
    try:
        view.check_fresh(clock.now_us(), clock.boottime_ms(), clock.boot_id())
    except StateFileError as error:
        return StateReport(view, False, str(error))
    return StateReport(view, True, "")


def agent_document(row: AgentRow, prior: Prior, now_us: int) -> dict[str, Any]:
    """Return what ``status`` says of one agent, with its window as of ``now_us``."""
    state = load_state(row.state)
    window = state.profile.window
    window.advance(max(now_us, state.clock_us) // window.bucket_us)
    score = prior.monitor.score_window(window)
    return {
        "tier": state.standing.effective_tier,
        "score": round(score.value, 6),
        "events": state.events,
        "file_ops": window.file_ops,
        "network_ops": window.network_ops,
        "last_activity": iso(state.last_activity_us),
        "contributions": {name: round(value, 6) for name, value in score.contributions.items()},
        "max_score": round(state.peak, 6),
        "since": iso(state.standing.since_us),
        "pinned": state.standing.pinned_tier is not None,
        "owner": state.owner,
    }


def files_document(sources: list[Source]) -> dict[str, dict[str, Any]]:
    """Return the accounts of every file by path; the generations of one path are added up."""
    files: dict[str, dict[str, Any]] = {}
    for source in sources:
        entry = files.setdefault(
            printable_path(source.path),
            dict.fromkeys(
                ("lines", "accepted", "ignored", "rejects", "duplicates", "offset", "clamped", "id_conflicts", "timeless"), 0
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
        entry["offset"] = -1 if source.kind == DOCUMENT else source.pos
    return files


def totals_document(store: Store) -> dict[str, Any]:
    """Return lifetime totals over all agents and files."""
    sources = store.sources()
    meta = store.meta()
    counts: Counter[str] = Counter()
    for source in sources:
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
        "files": len({source.path for source in sources}),
        "decisions": meta.decision_no,
    }


def status_document(store: Store, prior: Prior, report: StateReport, paths: Paths) -> dict[str, Any]:
    """Return the document of ``status --json``."""
    now = clock.now_us()
    return {
        "agents": {row.name: agent_document(row, prior, now) for row in store.agents()},
        "totals": totals_document(store),
        "state": report.to_dict(paths.state_file),
        "files": files_document(store.sources()),
    }


def why_document(store: Store, prior: Prior, row: AgentRow) -> dict[str, Any]:
    """Return the document of ``why --json``: the agent, the decision behind its tier, what would lift it."""
    state = load_state(row.state)
    decisions = store.decisions(name=row.name, limit=50)
    behind = next((d for d in decisions if d.decision_no == state.decision_no), None)
    demotion = next((d for d in reversed(decisions) if d.to_tier > d.from_tier), None)
    return {
        "agent": row.name,
        **agent_document(row, prior, clock.now_us()),
        "decision": None if behind is None else behind.to_dict(),
        "demotion": None if demotion is None else demotion.to_dict(),
        "lifted_by": list(_lifts(state, prior.policy)),
        "history": [decision.to_dict() for decision in decisions],
    }


def _lifts(state: AgentState, policy: Policy) -> Iterator[str]:
    standing = state.standing
    if standing.effective_tier == 1:
        return
    if standing.pinned_tier is not None:
        until = standing.pinned_until_us
        yield "the pin" + (" until it is lifted: unpin" if until is None else f" ends at {iso(until)}, or: unpin")
        return
    quiet = f"{policy.quiet_us / 1_000_000:g} s in which the score calls for less than tier {standing.tier}"
    if standing.tier == 3 and policy.tier3_needs_pardon:
        yield "an operator's pardon"
        return
    if standing.quiet_since_us is not None:
        yield f"quiet time: tier {standing.tier - 1} at {iso(standing.quiet_since_us + policy.quiet_us)}"
    else:
        yield f"quiet time: tier {standing.tier - 1} after {quiet}"
    yield "an operator's pardon"


def decision_line(decision: Decision) -> str:
    """Return one line of text about a decision."""
    direction = "->"
    text = (
        f"{decision.decided_at:<27} {decision.decision_id}  {decision.agent_id}  "
        f"{decision.from_tier} {direction} {decision.to_tier}  {decision.cause}  score {decision.score:.2f}"
    )
    if decision.actor:
        text += f"  by {decision.actor}: {decision.note}"
    return text

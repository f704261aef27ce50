"""Account: what a report tells, as plain data: bounded in size, with every text made safe to show."""

import contextlib
import json
import math
from typing import Any

from sentineld import clock
from sentineld.baselines import list_document
from sentineld.cli.names import HELD, feature_label, starter_line, unusual
from sentineld.config import Config
from sentineld.explain import INTEGRITY
from sentineld.instant import SECOND_US, iso, parse_iso
from sentineld.statedir import Paths
from sentineld.step import Prior, load_checked
from sentineld.store import Store
from sentineld.tables import AgentRow
from sentineld.trail import Trail
from sentineld.version import __version__
from sentineld.views import (
    StateReport,
    incident_document,
    prior_in_force,
    status_document,
    threshold,
    why_document,
)
from sentineld.visible import visible

#: Agents that are listed, decisions and incidents of all of them; there may be more, and then it says so.
MAX_AGENTS = 10_000
MAX_DECISIONS = 500
MAX_INCIDENTS = 500
#: What all timelines together may take, bytes of JSON.
MAX_TIMELINE_BYTES = 8 << 20

_AGENT_FIELDS = (
    "tier", "would", "score", "max_score", "events", "file_ops", "network_ops", "pinned", "owner", "since",
    "last_activity",
)  # fmt: skip
_STATE_FIELDS = ("file", "fresh", "reason", "mode", "status", "isolation", "verified", "faults", "warnings")
_ROLE_FIELDS = ("role", "owner", "sessions", "ranks", "frozen", "learning", "false_alarms")


def account(
    store: Store,
    config: Config,
    report: StateReport,
    paths: Paths,
    *,
    max_timelines: int,
    max_timeline_bytes: int = MAX_TIMELINE_BYTES,
) -> dict[str, Any]:
    """Return everything that a report shows.

    ``max_timelines`` is how many agents get a timeline, the strictest tiers and the highest scores first, as
    long as all timelines together take no more than ``max_timeline_bytes`` of JSON.
    """
    prior = prior_in_force(store, config)
    status = status_document(store, config, report, paths)
    ranked = sorted(
        status["agents"].items(),
        key=lambda item: (-item[1]["would"], -item[1]["score"], -item[1]["max_score"], item[0]),
    )
    learned = prior.detection
    habits = list_document(store, None if learned is None else learned.settings)
    wanted = [name for name, _ in ranked[:max_timelines]]
    timelines = _timelines(store, config, report, prior, wanted, max_timeline_bytes)
    numbers = {name: number for number, (name, _) in enumerate(ranked[:MAX_AGENTS])}
    decisions = store.decisions(limit=MAX_DECISIONS)
    incidents = store.incidents(limit=MAX_INCIDENTS + 1)
    told = {
        "version": __version__,
        "generated_at": iso(clock.now_us()),
        "detection": habits["mode"],
        "state": {name: status["state"][name] for name in _STATE_FIELDS},
        "observed": report.is_observed(config),
        "totals": {name: status["totals"][name] for name in ("events", "files", "rejects", "decisions")},
        "incident_counts": status["totals"]["incidents"],
        "thresholds": {"2": threshold(prior, 1), "3": threshold(prior, 2)},
        "agents": [_agent(name, it, timelines.get(name)) for name, it in ranked[:MAX_AGENTS]],
        "agents_left_out": max(0, len(ranked) - MAX_AGENTS),
        "timelines_left_out": len(ranked) - len(timelines),
        "decisions": [
            {
                "at": one.decided_at,
                "agent": one.agent_id,
                "number": numbers.get(one.agent_id),
                "from": one.from_tier,
                "to": one.to_tier,
                "cause": one.cause,
                "score": one.score,
            }
            for one in reversed(decisions)
        ],
        "roles": [{name: role[name] for name in _ROLE_FIELDS} for role in habits["roles"]],
        "incidents": [incident_document(one) for one in incidents[:MAX_INCIDENTS]],
        "incidents_left_out": len(incidents) > MAX_INCIDENTS,
    }
    shown: dict[str, Any] = _shown(told)
    return shown


def _agent(name: str, entry: dict[str, Any], timeline: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "name": name,
        **{key: entry[key] for key in _AGENT_FIELDS},
        "held": HELD[entry["held_by"]] if entry["tier"] != entry["would"] else "",
        "coverage": entry["coverage"]["share"],
        "note": entry["coverage"]["note"],
        "timeline": timeline,
    }


def _timelines(
    store: Store, config: Config, report: StateReport, prior: Prior, names: list[str], room: int
) -> dict[str, dict[str, Any]]:
    """Return the timelines of agents by name, for as many of the first as there is room for."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        row = store.agent_named(name)
        if row is None:
            continue
        timeline = _timeline(store, config, report, prior, row)
        room -= len(json.dumps(timeline))
        if room < 0:
            break
        found[name] = timeline
    return found


def _timeline(
    store: Store, config: Config, report: StateReport, prior: Prior, row: AgentRow
) -> dict[str, Any]:
    why = why_document(store, config, report, row, prior=prior)
    trail = Trail()
    with contextlib.suppress(ValueError):
        trail = load_checked(row.state, row.owner, row.agent_id, row.tier).trail
    return {
        "slot_s": trail.width_s,
        "points": list(trail.points()),
        "decisions": [_decision(one) for one in reversed(why["history"])],
        "contributions": why["contributions"] if why["learned"] is None else {},
        "learned": None if why["learned"] is None else _learned(why["learned"]),
        "lifted_by": why["lifted_by"],
        "incidents": len(why["incidents"]),
    }


def _learned(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "role": told["role"],
        "session": told["session"],
        "said": unusual(told["p"]) if told["session"] else "",
        "sessions": told["sessions"],
        "role_sessions": told["role_sessions"],
        "learning": told["learning"],
        "starter": starter_line(told["starter"]) if told["starter"] else "",
    }


def _decision(one: dict[str, Any]) -> dict[str, Any]:
    heading, evidence, reasons = "The last records before it", one["evidence"], one["reasons"]
    if one["actor"]:
        # The records before what an operator did are no reasons for it; what it has done has no path.
        heading, evidence = "What it did", [item for item in evidence if not item["path"]]
    elif reasons and reasons[0]["detector"] == INTEGRITY:
        heading, evidence, reasons = "What was done to its telemetry", evidence[-1:], []
    elif one["p"] is not None:
        heading = "What was seen"
    return {
        "at": one["decided_at"],
        "time": parse_iso(one["decided_at"]) / SECOND_US,
        "from": one["from_tier"],
        "to": one["to_tier"],
        "id": one["decision_id"],
        "score": one["score"],
        "cause": one["cause"],
        "actor": one["actor"],
        "note": one["note"],
        "attack": one["attack"],
        "said": "" if one["p"] is None else unusual(one["p"]),
        "bound": one["bound"],
        "prior": one["prior_version"],
        "reasons": [{**reason, "label": feature_label(reason["feature"])} for reason in reasons],
        "heading": heading,
        "evidence": evidence,
    }


def _shown(value: Any) -> Any:  # noqa: ANN401 (plain data of any shape)
    """Return plain data in which every text is ``visible`` and every number finite: agents chose them."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

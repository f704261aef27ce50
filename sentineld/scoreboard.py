"""Scoreboard: what every agent does now, a line each, as a plain document. ``sentineld top`` shows it."""

from typing import Any

from sentineld import clock
from sentineld.config import Config
from sentineld.explain import worst
from sentineld.instant import SECOND_US, iso
from sentineld.step import AgentState, Prior
from sentineld.store import Store
from sentineld.tables import AgentRow
from sentineld.views import (
    StateReport,
    look,
    open_sessions,
    prior_in_force,
    state_of,
    threshold,
    tier_in_force,
)
from sentineld.window import BUCKETS_BEFORE

_MINUTE_US = 60 * SECOND_US
_STATE_FIELDS = ("fresh", "reason", "status", "mode", "generated_at")


def scoreboard(store: Store, config: Config, report: StateReport) -> dict[str, Any]:
    """Return the document of ``top --json``, the strictest tiers and highest scores first.

    Retired agents are left out. Cost: reads and decodes the state of every agent.
    """
    prior, now_us = prior_in_force(store, config), clock.now_us()
    is_observed, is_restricted = report.is_observed(config), bool(store.meta().lost_at)
    agents = []
    for row in store.agents():
        state = state_of(row, prior)
        if state.retired_us is not None:
            continue
        tier, held_by = tier_in_force(
            row.name,
            state.standing.effective_tier,
            is_observed=is_observed,
            is_restricted=is_restricted,
            override=report.override,
        )
        agents.append({**_line(row, state, prior, now_us), "tier": tier, "held_by": held_by})
    agents.sort(key=lambda one: (-one["would"], -one["score"], one["agent"]))
    state_document = report.to_dict("")
    return {
        "generated_at": iso(now_us),
        "state": {name: state_document[name] for name in _STATE_FIELDS},
        "threshold": round(threshold(prior, 1), 6),
        "agents": agents,
    }


def _line(row: AgentRow, state: AgentState, prior: Prior, now_us: int) -> dict[str, Any]:
    window = state.profile.window
    window.advance(max(now_us, state.clock_us) // window.bucket_us)
    if prior.detection is None:
        activity = prior.monitor.score_window(window)
        score = activity.value
        feature, most = max(activity.contributions.items(), key=lambda item: item[1])
        surprise = _surprise("activity", feature) if most > 0 else None
    else:
        score = look(state, prior, now_us).score
        found = [one for session in open_sessions(state, prior, now_us) for one in session.findings]
        surprise = None
        if found:
            first = worst(found)[0]
            surprise = _surprise(first.detector, first.feature, first.value, first.usual, first.bits)
    if surprise is None and state.standing.effective_tier > 1:
        surprise = _surprise("decision", state.reason_code)
    return {
        "agent": row.name,
        "would": state.standing.effective_tier,
        "pinned": state.standing.pinned_tier is not None,
        "score": round(score, 6),
        "events": state.events,
        "events_per_minute": round(window.events * _MINUTE_US / (BUCKETS_BEFORE * window.bucket_us), 1),
        "last_activity": iso(state.last_activity_us),
        "surprise": surprise,
    }


def _surprise(
    detector: str, feature: str, value: str = "", usual: str = "", bits: float = 0.0
) -> dict[str, Any]:
    return {
        "detector": detector,
        "feature": feature,
        "value": value,
        "usual": usual,
        "bits": round(bits, 3),
    }

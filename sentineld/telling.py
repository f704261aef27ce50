"""Telling: a decision in words for people who have never heard of sentineld.

What happened, how sure that is, what to do and which command to type. Agents' own words are few here (their
ids, names of tools and arguments), and ``markup.inert``.
"""

from collections.abc import Mapping
from typing import Any

from sentineld.detectors import SENTENCES
from sentineld.detectors.argument import NAME as ARGUMENT
from sentineld.detectors.argument import PREFIX
from sentineld.explain import INTEGRITY
from sentineld.integrity import KINDS
from sentineld.markup import inert
from sentineld.visible import visible

#: What somebody must know to understand all the rest.
ABOUT = (
    "sentineld watches what AI agents do. Tier 2 means that their work is reviewed more strictly, "
    "tier 3 that a human must review it."
)
_TIERS = {1: "1 (normal)", 2: "2 (suspicious)", 3: "3 (anomalous)"}
#: Why a tier changed, by cause.
CAUSES = {
    "detected": "it did what work like its own does not do",
    "rule": "it broke a rule that holds for every agent",
    "recovered": "it has been quiet for long enough",
    "pardoned": "an operator pardoned it",
    "pinned": "an operator holds it at this tier",
    "unpinned": "no operator holds its tier any more",
    "expired": "the time for which an operator held its tier is over",
    "identity": "it wrote under a name that is not its own",
    "telemetry_gap": "part of its log is missing",
    "tamper": "its log was changed after it had been read",
    "flood": "it used more names or files than one user may",
    "gate_bypassed": "it carried out a call that had been denied",
    "damaged": "what was known of it cannot be read any more",
    "unreadable": "its log may not be read any more",
    "frozen": "an operator stopped the learning of what is usual",
    "unfrozen": "an operator let the learning of what is usual go on",
    "reset": "an operator had what is usual forgotten",
    "imported": "an operator replaced what is usual",
    "renamed": "an operator gave it another name",
    "retired": "an operator says that it works no more",
    "erased": "an operator had everything known of it removed",
    "mended": "what was usual could not be read, and is learned anew",
}
#: What breaks a rule, by its name.
BROKEN = {
    "credential_sent": "it read credentials, and then something went where nothing of its kind ever went",
    "outside_deletion": "it deleted whole directories outside of its own work",
    "own_guard": "it changed what steers, records or guards agents",
    "spend": "its session used more tokens than it may",
}
_ACTIVITY = {
    "file_operations": "many file operations in five minutes",
    "network_operations": "many network operations in five minutes",
    "mean_entropy": "payloads that look random",
}
#: The tiers at which somebody is reviewed more strictly, and by a human.
_REVIEWED, _HIGHEST = 2, 3
_SEEN = "This was seen, not estimated."
#: How many reasons are told of a decision.
MAX_REASONS = 5


def codes(decision: Mapping[str, Any]) -> list[str]:
    """Return detector and feature of each reason, for programs, the weightiest first.

    Raises ``KeyError`` or ``TypeError`` for what is no decision of the log.
    """
    told = [_code(str(item["detector"]), str(item["feature"])) for item in decision["reasons"]]
    return told[:MAX_REASONS]


def _code(detector: str, feature: str) -> str:
    if feature in SENTENCES or feature in BROKEN or feature in KINDS:
        return f"{inert(detector)}: {feature}"
    prefix = PREFIX if feature.startswith(PREFIX) else ""
    return f"{inert(detector)}: {prefix}{inert(feature.removeprefix(prefix))}"


def what_happened(decision: Mapping[str, Any]) -> list[str]:
    """Return what was seen, one sentence a reason, the weightiest first.

    Raises ``KeyError`` or ``TypeError`` for what is no decision of the log.
    """
    told = [_seen(str(item["detector"]), str(item["feature"])) for item in decision["reasons"]]
    return list(dict.fromkeys(told))[:MAX_REASONS]


def _seen(detector: str, feature: str) -> str:
    if detector == "rule" and feature in BROKEN:
        return BROKEN[feature]
    if detector == INTEGRITY and feature in KINDS:
        return KINDS[feature].sentence
    if detector == ARGUMENT and feature.startswith(PREFIX):
        return f"{SENTENCES[ARGUMENT]} ({inert(feature.removeprefix(PREFIX))})"
    return SENTENCES.get(feature) or _ACTIVITY.get(feature) or inert(f"{detector} {feature}")


def how_sure(decision: Mapping[str, Any]) -> str:
    """Say how sure a decision is; nothing where an operator or the passing of time decided."""
    cause, p, bound = str(decision["cause"]), decision.get("p"), decision.get("bound")
    reasons = decision["reasons"]
    if decision.get("actor") or not reasons:
        return ""
    if cause == "rule" or reasons[0]["detector"] == INTEGRITY:
        return _SEEN
    if cause != "detected":
        return ""
    if not isinstance(p, (int, float)):
        return "It is a count of its activity and no more: a busy honest agent looks the same."
    rare = f"less than 1 in {10_000:,}" if p < 1e-4 else f"about 1 in {1 / p:,.0f}"
    text = f"Of honest sessions of its kind {rare} would look as unusual."
    return f"{text} False alarms: {visible(bound)}." if isinstance(bound, str) and bound else text


def moved(who: str, from_tier: int, to_tier: int, *, is_observed: bool) -> str:
    """Say which tier somebody has and had; ``is_observed``: only what would have been is told."""
    if from_tier == to_tier:
        return f"{who} stays at tier {_TIERS.get(to_tier, to_tier)}"
    verb = "would move" if is_observed else "moved"
    return f"{who} {verb} from tier {from_tier} to tier {_TIERS.get(to_tier, to_tier)}"


def cause_of(cause: str) -> str:
    """Say why a tier changed."""
    return CAUSES.get(cause) or inert(cause)


def what_to_do(to_tier: int, agents: list[str], *, is_observed: bool, is_pinned: bool) -> str:
    """Say what to do about these agents, which have this tier now, and what to type.

    ``is_pinned``: it is an operator who holds all of them there.
    """
    name = _typed(agents[0]) if len(agents) == 1 else ""
    unnamed = "" if name else ' ("sentineld status" lists the names)'
    look = f'To see the evidence, type on that machine: "sentineld why {name or "AGENT"}"{unnamed}.'
    if to_tier < _REVIEWED or is_observed:
        return look
    if is_pinned:
        unpin = f'"sentineld unpin --reason WHY {name or "AGENT"}"'
        return f"{look} To let its behaviour decide again: {unpin}."
    if to_tier == _HIGHEST:
        pardon = f'"sentineld pardon --reason WHY {name or "AGENT"}"'
        return f"{look} To let it work again: {pardon}; if it was an attack, with --attack besides."
    return f"{look} It comes back to tier 1 by itself when it has been quiet for a while."


def _typed(agent: str) -> str:
    """Return an agent's id as it can be typed; empty where it is not shown as it is."""
    if inert(agent) != agent or " " in agent:
        return ""
    return f"-- {agent}" if agent.startswith("-") else agent

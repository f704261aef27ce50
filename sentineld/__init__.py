"""sentineld: behavioural defence for AI agents.

Watches what agents write about themselves, learns how each behaves, and moves an agent that stops
behaving that way to a stricter tier, with the evidence.

Words, used the same way everywhere:

agent      who acts; its id in a record is a claim, its owner is the uid that wrote the file
event      one thing that an agent did
window     the last 300 s (to 310 s) of one agent's events
score      0..1, how anomalous the window is
tier       1 normal, 2 suspicious, 3 anomalous: a human must review
decision   one change of one agent's tier, with reasons and evidence
demote     raise the tier; the opposite is to recover (by itself) or to be pardoned (by an operator)
pin        hold an agent at a tier, whatever it does
state file the signed snapshot of all tiers that routers read
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sentineld.version import __version__

if TYPE_CHECKING:
    from sentineld.decision import Decision as Decision
    from sentineld.event import BehavioralEvent as BehavioralEvent
    from sentineld.monitor import BehavioralMonitor as BehavioralMonitor
    from sentineld.profile import AgentBehavioralProfile as AgentBehavioralProfile
    from sentineld.prognostics import PrognosticsEngine as PrognosticsEngine
    from sentineld.proposal import EvolutionProposal as EvolutionProposal
    from sentineld.proposal import GuardianVerdict as GuardianVerdict
    from sentineld.router import TierRouter as TierRouter
    from sentineld.sentinel import WordPressSentinel as WordPressSentinel
    from sentineld.tier import Tier as Tier

# Public names load on first use, so that a router starts without the daemon's libraries.
_HOMES = {
    "AgentBehavioralProfile": "profile",
    "BehavioralEvent": "event",
    "BehavioralMonitor": "monitor",
    "Decision": "decision",
    "EvolutionProposal": "proposal",
    "GuardianVerdict": "proposal",
    "PrognosticsEngine": "prognostics",
    "Tier": "tier",
    "TierRouter": "router",
    "WordPressSentinel": "sentinel",
}

__all__ = [
    "AgentBehavioralProfile",
    "BehavioralEvent",
    "BehavioralMonitor",
    "Decision",
    "EvolutionProposal",
    "GuardianVerdict",
    "PrognosticsEngine",
    "Tier",
    "TierRouter",
    "WordPressSentinel",
    "__version__",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (the type is the attribute's own)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sentineld' has no attribute {name!r}")
    return getattr(import_module(f"sentineld.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""What a method must offer to be scored, and what the bench keeps beside a session that no method sees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

#: A native record: ``{"type": "tool_call", "timestamp": ISO 8601 UTC, "source": agent, "data": {"session",
#: "tool", "args", "error"}}``.
Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """One session of one agent: all that a method gets to see. Events are in time order, at least one.

    ``prompt`` is what its user asked for, before the first event; empty where the experiment keeps it back.
    """

    id: str
    agent: str
    role: str
    events: tuple[Event, ...]
    prompt: str = ""

    @property
    def start(self) -> float:
        """When the first event happened, Unix seconds."""
        return unix(self.events[0]["timestamp"])

    @property
    def end(self) -> float:
        """When the last event happened, Unix seconds."""
        return unix(self.events[-1]["timestamp"])


class Method(Protocol):
    """A detector under test. The bench makes a new one for every experiment, by calling its class.

    The bench guarantees: a session is scored with what was learned from sessions that ended before it
    began; ``learn`` is offered every session that was not hijacked by the bench, in order of their ends, and
    hijacked ones only in campaigns (several sessions of one agent, scored and learned one by one). Whether
    to learn from a session is the method's own affair. Experiments branch by ``copy.deepcopy``.

    Optional members, looked up by name:

    ``tiers(session) -> Sequence[int]``
        The tier (1..3) that the method at its own defaults calls for after each event. Without it the table
        shows a conformal alarm at 5 % as tier 2 and no tier 3.
    ``judge(session) -> tuple[Sequence[float], Sequence[int]]``
        Scores and tiers in one pass; used instead of the two where it exists.
    ``starter(sessions)``
        Learn a starter baseline from other agents' sessions before the first own one; without it they are
        learned one by one. A method must not bring a baseline that was learned from the benched data.
    ``pardon(agent)``
        An operator's word that an agent at tier 3 was honest.
    ``reads_prompts: bool``
        The method makes use of ``Session.prompt``; without it those experiments are left out.
    ``state_bytes(agent) -> int``
        Size of what is kept of one agent, serialised.
    """

    def learn(self, session: Session) -> None:
        """Take in a finished session."""

    def score(self, session: Session) -> Sequence[float]:
        """Return a running score after each event; higher is worse. Must leave what was learned as it is."""


Factory = Callable[[], Method]


@dataclass(frozen=True, slots=True)
class Case:
    """A session with what the bench knows about it.

    ``suite`` groups cases for the macro average, ``task`` is the cluster for splits and bootstrap,
    ``kind`` names the attack (empty: benign), ``malicious`` are the positions of the inserted events,
    ``rule`` names the rule that should fire on it, if one should.
    """

    session: Session
    suite: str
    task: str
    kind: str = ""
    malicious: tuple[int, ...] = ()
    rule: str = ""


@dataclass(slots=True)
class Outcome:
    """What a method said about a case. ``p`` is the conformal p-value of the session maximum."""

    suite: str
    task: str
    kind: str
    rule: str
    agent: str
    start: float
    first: int
    scores: list[float]
    tiers: list[int] | None
    p: float = 1.0
    session: str = ""

    @property
    def peak(self) -> float:
        """The session's score: its maximum."""
        return max(self.scores)

    @property
    def tier(self) -> int:
        """The highest tier reached; 1 where the method gives none."""
        return max(self.tiers) if self.tiers else 1

    def delay_at(self, threshold: float) -> int | None:
        """Events from the first malicious one to the first score above the threshold; negative: before it."""
        for position, score in enumerate(self.scores):
            if score > threshold:
                return position - self.first
        return None

    def delay_to_tier(self, tier: int) -> int | None:
        """Events from the first malicious one to the first event at the tier or above."""
        for position, reached in enumerate(self.tiers or ()):
            if reached >= tier:
                return position - self.first
        return None


@dataclass(slots=True)
class Cost:
    """CPU time that a method took, and for how many events."""

    scored_s: float = 0.0
    scored_events: int = 0
    learned_s: float = 0.0
    learned_events: int = 0


def unix(timestamp: str) -> float:
    """Turn ISO 8601 into Unix seconds."""
    return datetime.fromisoformat(timestamp).timestamp()


def stamp(at: float) -> str:
    """Turn Unix seconds into ISO 8601 UTC with milliseconds."""
    whole, part = divmod(round(at * 1000), 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{part:03d}Z"


def tool_call(
    agent: str, session: str, at: float, tool: str, args: Mapping[str, Any], *, error: bool
) -> Event:
    """Make a native record of one tool call."""
    return {
        "type": "tool_call",
        "timestamp": stamp(at),
        "source": agent,
        "data": {"session": session, "tool": tool, "args": args, "error": error},
    }


def moved(session: Session, start: float, *, agent: str | None = None, role: str | None = None) -> Session:
    """Return the session as it would have begun at another time, or by another agent."""
    shift = start - session.start
    agent = agent or session.agent
    events = tuple(
        {**event, "timestamp": stamp(unix(event["timestamp"]) + shift), "source": agent}
        for event in session.events
    )
    return replace(session, agent=agent, role=role or session.role, events=events)

"""What a detector declares, and the channels that surprises go to."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from sentineld.event import Facts, Feature, Observation
from sentineld.session import Session


class Severity(NamedTuple):
    """How much a new value of a feature matters.

    ``weight`` multiplies its bits; ``first`` is the share of honest sessions, of any agent, that are taken to
    bring something new of that kind before anything has been counted.
    """

    weight: float
    first: float


#: Hands over, stays, takes power or secrets, or cannot be undone.
GRAVE = Severity(1.5, 0.003)
#: Near to that.
SERIOUS = Severity(1.0, 0.02)
#: Often asked for.
NOTABLE = Severity(0.5, 0.06)
#: Says little by itself.
SLIGHT = Severity(0.25, 0.15)
#: For rules only.
SILENT = Severity(0.0, 0.15)


class Channel(NamedTuple):
    """A channel of surprise: what sums up until it leaks away.

    ``leak`` is what is left of its level after one more event. ``share`` is its part in the score. Before
    anything was counted, a session is taken to reach a level ``x`` with a chance of ``scale * exp(-x /
    decay)``; ``width`` is how far beyond its own height each known session lends it credence (bits).
    """

    leak: float
    share: float
    scale: float
    decay: float
    width: float


CONSEQUENCE, ARGUMENT, TARGET, ORDER = "consequence", "argument", "target", "order"
CHANNELS: Mapping[str, Channel] = {
    CONSEQUENCE: Channel(0.8, 0.4, 0.5, 2.5, 1.5),
    ARGUMENT: Channel(0.6, 0.2, 1.0, 8.0, 2.0),
    TARGET: Channel(0.6, 0.2, 0.7, 4.0, 1.5),
    ORDER: Channel(0.85, 0.2, 1.0, 8.0, 2.0),
}


class Kind(Enum):
    """How features become bits: see ``sentineld.scoring``."""

    #: A value that the role does not know, by how rarely its sessions bring one.
    NEW = "new"
    #: The same, and never a habit.
    ALWAYS = "always"
    #: A height, by how rarely sessions of the role reach it.
    GRADE = "grade"
    #: A height, by how rarely sessions of the role that had any reach it.
    SUCH_GRADE = "such_grade"
    #: A height, by how rarely the agent's own sessions reach it.
    OWN_GRADE = "own_grade"


#: Turns one raw feature, by its value and what the session remembers, into features of the detector.
Read = Callable[[Session, str], Iterable[Feature]]
#: Yields features of an event as a whole.
Watch = Callable[[Session, Facts, Observation], Iterable[Feature]]


class Needs(Enum):
    """What an event must have for a detector to look at it as a whole."""

    #: Nothing.
    NOTHING = "nothing"
    #: It is a call, which has features.
    CALL = "call"
    #: It is a call, and a user's prompt was given in its session.
    ORDER = "order"
    #: It tells of tokens.
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Detector:
    """A source of surprise: its features and how much each matters.

    ``sentences`` say in plain words what a new value means. ``reads`` gives features that only the session
    can tell, by the name of the raw feature; ``watches`` those of an event as a whole, if it has what it
    ``needs``. Features of one group
    in one event count less together (default: what stands before the first dot of their names). ``grace`` is
    how much higher a grade may be than ever before; ``fewest`` how many sessions with a grade it takes to
    compare with these alone.
    """

    name: str
    sentences: Mapping[str, str]
    severity: Mapping[str, Severity]
    kind: Kind = Kind.NEW
    reads: Mapping[str, Read] = field(default_factory=dict)
    watches: Watch | None = None
    needs: Needs = Needs.CALL
    groups: Mapping[str, str] = field(default_factory=dict)
    grace: int = 0
    fewest: int = 5

    def group(self, feature: str) -> str:
        """Return the group of a feature."""
        return self.groups.get(feature) or feature.partition(".")[0]

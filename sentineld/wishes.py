"""Wishes: what operators ask for beside pardons and pins, about habits and about agents as a whole.

``Freeze``, ``Renew`` and ``Retire`` act on one agent's state (see ``step``). The others need more than that:
``pipeline`` carries them out. All of them are inputs: a replay obeys them again.
"""

from dataclasses import dataclass

from sentineld.baseline import Baseline
from sentineld.learned import Own

#: Causes of decisions that change no tier by themselves: somebody did something to an agent or to habits.
ACTS = ("frozen", "unfrozen", "reset", "imported", "renamed", "retired", "erased")


@dataclass(frozen=True, slots=True)
class Freeze:
    """Nothing is learned any more from an agent or by a role, or it is again."""

    at_us: int
    actor: str
    reason: str
    is_frozen: bool

    @property
    def cause(self) -> str:
        """The cause of the decision that tells of it."""
        return "frozen" if self.is_frozen else "unfrozen"


@dataclass(frozen=True, slots=True)
class Renew:
    """An agent's own habits become ``own``; of its sessions only those that went on after ``since_us`` stay.

    ``gap_us`` of silence ended sessions; ``said`` is what the decision says of it.
    """

    at_us: int
    actor: str
    reason: str
    own: Own
    since_us: int
    gap_us: int
    cause: str
    said: str


@dataclass(frozen=True, slots=True)
class Retire:
    """An agent works no more: its sessions end. ``is_final``: nobody may act under its id."""

    at_us: int
    actor: str
    reason: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """Habits are forgotten, but for what sessions that went on after ``since_us`` taught (None: all)."""

    at_us: int
    actor: str
    reason: str
    since_us: int | None


@dataclass(frozen=True, slots=True)
class Import:
    """Habits are replaced by those of a document."""

    at_us: int
    actor: str
    reason: str
    baseline: Baseline


@dataclass(frozen=True, slots=True)
class Rename:
    """An agent goes on under another id."""

    at_us: int
    actor: str
    reason: str
    new_id: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Everything that is known of an agent is removed."""

    at_us: int
    actor: str
    reason: str


HabitWish = Freeze | Reset | Import
AgentWish = Freeze | Reset | Import | Retire | Rename | Erase

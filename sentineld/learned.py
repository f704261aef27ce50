"""Learned: what is kept of one agent where learned detection decides; a value, part of the agent's state."""

from msgspec import Struct, field

from sentineld.e_detector import Block, Pace
from sentineld.instant import SECOND_US
from sentineld.session import LONG, Finding, Session

#: How many of the latest sessions say whether they are mostly long, how many are taken to have been short
#: before the first, and the share above which they are.
_LATEST, _TAKEN, _MOSTLY = 8, 2, 0.5
#: Short sessions at once from which on another one is none of its own.
_FEWEST_SHORT = 2
#: Suspicious sessions that wait for an operator's word.
MAX_HELD = 4
#: Sessions that ended whose prompts are remembered, and names that are kept of each: the latest.
MAX_PROMPTED, MAX_KEPT = 4, 64
#: Sessions whose access to credentials is remembered by those that come after or beside them, and how long.
MAX_TOUCHED = 4
TOUCHED_US = 24 * 3600 * SECOND_US
#: What credentials were touched: of the session's own tree, of elsewhere as the role often does, and others.
OF_TREE, USUAL, UNUSUAL = 0, 1, 2


class Own(Struct, omit_defaults=True, gc=False):
    """How this agent differs from its role: how often its sessions bring something new.

    ``sessions`` are those that it has finished; ``weight`` the same with the past fading, ``new`` in how many
    of these (fading alike) something was new, by feature; ``grades`` in how many sessions a grade was
    reached. ``is_frozen``: an operator wants nothing to be learned from this agent.
    """

    sessions: int = 0
    weight: float = 0.0
    new: dict[str, float] = field(default_factory=dict)
    grades: dict[str, dict[int, int]] = field(default_factory=dict)
    is_frozen: bool = False


class Finished(Struct, omit_defaults=True, gc=False):
    """A session that has ended, until its role has learned from it.

    ``score`` is what ranks take in; ``is_suspicious``: habits do not learn from it (unless an operator
    pardons it). ``is_rank`` is false where its score has been taken in before, or says nothing, for its role
    knew next to nothing when it began. ``tier`` is the one that it called for; ``calm`` how many sessions
    without suspicion its agent has ended since. ``bests`` and ``is_new_agent`` are as in ``Session``.
    """

    ended_us: int
    role: str
    name: str
    score: float
    events: int
    peaks: dict[str, float]
    seen: dict[str, dict[int, int]]
    symbols: list[str]
    new: dict[str, int]
    grades: dict[str, int]
    is_suspicious: bool = False
    is_rank: bool = True
    is_attack: bool = False
    tier: int = 1
    calm: int = 0
    bests: dict[int, float] = field(default_factory=dict)
    is_new_agent: bool = False


class Touched(Struct, omit_defaults=True, gc=False):
    """Credentials that a session of the agent touched: in which one, when, what, and which kind they were.

    ``at_us`` is effective time; ``value`` a path or a program, at most 120 characters, with secrets masked.
    """

    session: str
    at_us: int
    value: str
    kind: int = UNUSUAL

    def is_earlier(self, session: Session) -> bool:
        """Say whether a session is the one that touched them, or goes on under its name."""
        return bool(self.session) and self.session == session.name


class Learned(Struct, omit_defaults=True, gc=False):
    """One agent's open sessions, those that its role has still to learn from, and its own habits.

    ``role`` is that of its latest session. ``held`` are suspicious sessions: learned from if the agent is
    pardoned, struck out if an operator says that it was an attack. ``evidence`` is the Shiryaev-Roberts
    statistic over its sessions since it was last at tier 1, ``drift`` the CUSUM. ``asked`` is what users
    asked for in sessions that ended, by their names: one that goes on is about the same. ``touched`` is what
    its latest sessions did with credentials, at most one entry a name. ``long`` is the share of long
    ones among its latest sessions, the past fading: 0 at first. ``block`` are its latest sessions that are
    one piece of work, ``pace`` how many it has a week.
    """

    role: str = ""
    own: Own = field(default_factory=Own)
    sessions: list[Session] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    held: list[Finished] = field(default_factory=list)
    evidence: float = 0.0
    drift: float = 0.0
    asked: dict[str, dict[int, int]] = field(default_factory=dict)
    touched: list[Touched] = field(default_factory=list)
    long: float = 0.0
    block: Block | None = None
    pace: Pace = field(default_factory=Pace)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is open: no session, and none that the role has to learn from."""
        return not self.sessions and not self.finished

    def acquit(self) -> None:
        """Forget what its sessions add up to."""
        self.evidence = self.drift = 0.0
        self.block = None

    def count_length(self, session: Session) -> None:
        """Take in how long a session was that ends; what was put together says nothing of that."""
        if not session.former:
            self.long += ((session.events >= LONG) - self.long) / min(_LATEST, _TAKEN + self.own.sessions + 1)

    def unfinished(self, name: str, role: str) -> Session | None:
        """Return the open session that goes on under a new name, if the name tells no other one.

        That is the latest of at least two short ones, by an agent whose sessions are mostly long. Where work
        goes on side by side the names come again: each of these is a session of its own.
        """
        if self.long <= _MOSTLY or any(name in one.former for one in self.sessions):
            return None
        short = [
            one
            for one in self.sessions
            if one.events < LONG and not one.is_forgiven and (not role or one.role == role)
        ]
        return max(short, key=lambda one: one.latest_us) if len(short) >= _FEWEST_SHORT else None

    def keep_asked(self, session: Session) -> None:
        """Remember of a session that ends what its prompts named, should it go on under its name."""
        if not session.asked:
            return
        for name in (*session.former, session.name):
            if name:
                self.asked.pop(name, None)
                self.asked[name] = dict([*session.asked.items()][-MAX_KEPT:])
        while len(self.asked) > MAX_PROMPTED:
            del self.asked[next(iter(self.asked))]

    def touch(self, touched: Touched) -> None:
        """Remember that credentials were touched: of each session what says most, of all the latest."""
        stays = [one for one in self.touched if one.at_us > touched.at_us - TOUCHED_US]
        for one in [one for one in stays if one.session == touched.session]:
            stays.remove(one)
            if one.kind > touched.kind:
                touched = one
        stays.append(touched)
        if len(stays) > MAX_TOUCHED:
            stays.remove(min(stays, key=lambda one: (one.kind, one.at_us)))
        self.touched = stays

    def touched_before(self, session: Session, *, has_habits: bool) -> list[Touched]:
        """Return the credentials that count against what a session sends now, though it did not touch them.

        Without ``has_habits`` (its role still learns, so that every place is new) these are those of the
        session itself before a pause, by its name.
        """
        return [
            one
            for one in self.touched
            if one.at_us > session.latest_us - TOUCHED_US
            and (one.is_earlier(session) or (has_habits and one.kind == UNUSUAL))
        ]

    def recall_asked(self, name: str) -> dict[int, int]:
        """Return what prompts had named under a name that comes again."""
        kept = self.asked.pop(name, None)
        if kept is not None:
            return kept
        return next((dict(one.asked) for one in self.sessions if name in one.former), {})

    def shift(self, delta_us: int) -> None:
        """Move all sessions in time."""
        for touched in self.touched:
            touched.at_us += delta_us
        if self.block is not None:
            self.block.began_us += delta_us
            self.block.latest_us += delta_us
        self.pace.began_us += delta_us
        for session in self.sessions:
            session.began_us += delta_us
            session.latest_us += delta_us
        for finished in (*self.finished, *self.held):
            finished.ended_us += delta_us

    def next_end_us(self, gap_us: int) -> int | None:
        """Return when the next session ends if nothing more happens in it; None where none is open."""
        return min(session.latest_us for session in self.sessions) + gap_us if self.sessions else None

    def renew(self, own: Own, since_us: int, gap_us: int, role: str | None = None) -> None:
        """Go on with other habits: sessions without an event after ``since_us`` are forgotten.

        ``gap_us`` after its last event a session ended. With ``role`` only sessions of that role are
        forgotten. The evidence of all sessions together begins anew.
        """

        def stays(one: Session | Finished, latest_us: int) -> bool:
            return latest_us > since_us or (role is not None and one.role != role)

        self.own = own
        self.sessions = [one for one in self.sessions if stays(one, one.latest_us)]
        self.finished = [one for one in self.finished if stays(one, one.ended_us - gap_us)]
        self.held = [one for one in self.held if stays(one, one.ended_us - gap_us)]
        self.touched = [one for one in self.touched if one.at_us > since_us]
        self.acquit()

    def absorb(self, other: "Learned") -> None:
        """Take in what is known of another agent, which is this one."""
        self.sessions = [*other.sessions, *self.sessions]
        self.finished = [*other.finished, *self.finished]
        self.held = [*other.held, *self.held][-MAX_HELD:]
        self.evidence = max(self.evidence, other.evidence)
        self.drift = max(self.drift, other.drift)
        self.block = None
        self.pace = max(self.pace, other.pace, key=lambda one: (one.began_us, one.sessions))
        self.asked = dict([*other.asked.items(), *self.asked.items()][-MAX_PROMPTED:])
        self.long = max(self.long, other.long)
        mine, self.touched = self.touched, []
        for one in sorted([*other.touched, *mine], key=lambda one: one.at_us):
            self.touch(one)
        own, more = self.own, other.own
        own.sessions += more.sessions
        own.weight += more.weight
        own.is_frozen = own.is_frozen or more.is_frozen
        for feature, weight in more.new.items():
            own.new[feature] = own.new.get(feature, 0.0) + weight
        for feature, grades in more.grades.items():
            counts = own.grades.setdefault(feature, {})
            for grade, count in grades.items():
                counts[grade] = counts.get(grade, 0) + count

    def worst(self) -> Session | None:
        """Return the open session that calls for most; None where none is open."""
        return max(self.sessions, key=lambda one: (one.tier, -one.p, one.score), default=None)


__all__ = ["MAX_HELD", "Finding", "Finished", "Learned", "Own", "Session", "Touched"]

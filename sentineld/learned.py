"""Learned: what is kept of one agent where learned detection decides; a value, part of the agent's state."""

from dataclasses import dataclass, field

from sentineld.session import Finding, Session

#: Suspicious sessions that wait for an operator's word.
MAX_HELD = 4
#: Sessions that ended whose prompts are remembered, and names that are kept of each: the latest.
MAX_PROMPTED, MAX_KEPT = 4, 64


@dataclass(slots=True)
class Own:
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


@dataclass(slots=True)
class Finished:
    """A session that has ended, until its role has learned from it.

    ``score`` is what ranks take in; ``is_suspicious``: habits do not learn from it (unless an operator
    pardons it). ``is_rank`` is false where its score has been taken in before. ``tier`` is the one that it
    called for; ``calm`` how many sessions without suspicion its agent has ended since. ``bests`` and
    ``is_new_agent`` are as in ``Session``.
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


@dataclass(slots=True)
class Learned:
    """One agent's open sessions, those that its role has still to learn from, and its own habits.

    ``role`` is that of its latest session. ``held`` are suspicious sessions: learned from if the agent is
    pardoned, struck out if an operator says that it was an attack. ``evidence`` is the Shiryaev-Roberts
    statistic over its sessions since it was last at tier 1, ``drift`` the CUSUM. ``asked`` is what users
    asked for in sessions that ended, by their names: one that goes on is about the same.
    """

    role: str = ""
    own: Own = field(default_factory=Own)
    sessions: list[Session] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    held: list[Finished] = field(default_factory=list)
    evidence: float = 0.0
    drift: float = 0.0
    asked: dict[str, dict[int, int]] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is open: no session, and none that the role has to learn from."""
        return not self.sessions and not self.finished

    def keep_asked(self, session: Session) -> None:
        """Remember of a session that ends what its prompts named, should it go on under its name."""
        if not session.asked or not session.name:
            return
        self.asked.pop(session.name, None)
        self.asked[session.name] = dict([*session.asked.items()][-MAX_KEPT:])
        while len(self.asked) > MAX_PROMPTED:
            del self.asked[next(iter(self.asked))]

    def shift(self, delta_us: int) -> None:
        """Move all sessions in time."""
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
        self.evidence = self.drift = 0.0

    def absorb(self, other: "Learned") -> None:
        """Take in what is known of another agent, which is this one."""
        self.sessions = [*other.sessions, *self.sessions]
        self.finished = [*other.finished, *self.finished]
        self.held = [*other.held, *self.held][-MAX_HELD:]
        self.evidence = max(self.evidence, other.evidence)
        self.drift = max(self.drift, other.drift)
        self.asked = dict([*other.asked.items(), *self.asked.items()][-MAX_PROMPTED:])
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


__all__ = ["MAX_HELD", "Finding", "Finished", "Learned", "Own", "Session"]

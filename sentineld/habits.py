"""Habits: what the sessions of a role usually do, and how unusual they have been, learned session by session.

All agents of one owner and role share them: an agent alone has too short a past (``Own`` keeps how it
differs). What is counted: which values occurred in how many sessions; how often a session brings something
new, by feature (Good and Turing's question: what is the chance of something never seen?); which action
follows which; which grades (how many repeats, how fast) were reached; and the scores of the sessions
themselves.

Memory is bounded: see the constants. The oldest values and the rarest orders go first. Learning one session
costs O(what it holds).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, NotRequired, TypedDict, cast

import msgspec
from msgspec import Meta

from sentineld.calibration import FADE, FEW, MAX_SCORES, UNTOLD, Calibration, Scored, Tail
from sentineld.detectors.base import CHANNELS
from sentineld.learned import Finished, Own

#: Version of the bytes that ``Role.dump`` gives.
VERSION = 1
#: Values that are remembered, over all features; features that are told apart; contexts of the order.
MAX_VALUES = 16_384
MAX_FEATURES = 1024
MAX_ORDERS = 4096
MAX_FOLLOWERS = 64
#: Orders whose bits are kept until the role learns.
_MAX_BITS = 1024
#: Longest run of actions that the next one is expected by.
ORDER = 2
#: What an agent's own past weighs after one more session, in how often something is new.
OWN_FADE = 0.95
#: Sessions that the role's habit weighs against the agent's own.
PRIOR_SESSIONS = 10.0
#: Sessions that what is known of any agent weighs against the role's habit.
FIRST_SESSIONS = 30.0
#: Sessions that a role must have learned from before sessions rank, and before its surprises count in full.
LEARNING = 20
#: What the name of a channel ends in where only agents count that are not new.
KNOWN = ".known"
#: An order without anything before it.
START = "^"
_BETWEEN = "\x1f"


def key_of(feature: str, value: str) -> int:
    """Return the hash (64 bits) under which a value of a feature is remembered."""
    data = f"{feature}\0{value}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


_Text = Annotated[str, Meta(max_length=200)]
_Count = Annotated[int, Meta(ge=0, le=1 << 53)]


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose sessions a starter was learned from: how many, when (dates), from where and under which licence.

    ``features`` is the version of the features that it counts, ``sample`` a hash of what they were of a
    sample of calls.
    """

    name: _Text
    sessions: _Count
    agents: _Count
    owners: _Count
    first: _Text
    last: _Text
    source: _Text
    licence: _Text
    features: _Count
    sample: _Text = ""

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.sessions} sessions of {self.agents} agents of {self.owners} owners, {self.first} to "
            f"{self.last}"
        )


class _Plain(TypedDict):
    version: int
    is_frozen: bool
    sessions: int
    known: dict[int, int]
    uses: dict[str, list[int]]
    new: dict[str, float]
    weight: float
    grades: dict[str, dict[int, int]]
    order: dict[str, dict[str, int]]
    symbols: dict[str, int]
    scores: list[float]
    tails: dict[str, list[float]]
    together: int
    strata: NotRequired[list[tuple[float, float, int]]]
    lengths: NotRequired[list[int]]
    starter: NotRequired[Origin | None]


class Role:
    """The habits of one role."""

    def __init__(self) -> None:
        #: Sessions that have changed anything so far; what decisions name as the habits they were made by.
        self.version = 0
        self.is_frozen = False
        #: Sessions that habits have learned from.
        self.sessions = 0
        self.known: dict[int, int] = {}
        #: By feature: occurrences (at most one a session and value), values seen once, values.
        self.uses: dict[str, list[int]] = {}
        #: In how many sessions something was new, by feature, and of how many; the past fades.
        self.new: dict[str, float] = {}
        self.weight = 0.0
        self.grades: dict[str, dict[int, int]] = {}
        self.order: dict[str, dict[str, int]] = {}
        self.symbols: dict[str, int] = {}
        self.calibration = Calibration()
        self.tails: dict[str, Tail] = {}
        #: The starter that it began with, if it did.
        self.starter: Origin | None = None
        self._totals: dict[str, int] = {}
        #: What each channel counts (see ``scoring.shares``); None: to be found anew.
        self.shares: dict[str, float] | None = None
        #: What levels make of a score at most (see ``scoring.is_below``).
        self.steps: dict[bool, dict[str, list[float]]] = {}
        #: Bits of orders that came since the role learned (see ``bits_of_order``).
        self.orders: dict[tuple[str, ...], float] = {}

    # Asking.

    @property
    def own_sessions(self) -> int:
        """How many sessions habits have learned from, without those of a starter."""
        return max(0, self.sessions - (0 if self.starter is None else self.starter.sessions))

    def bits_of_new(self, feature: str, own: Own, first: float) -> float:
        """Return -log2 of the chance that a session of this agent has a new value of a feature.

        ``first`` is that chance for any agent, before anything was counted.
        """
        role = (self.new.get(feature, 0.0) + FIRST_SESSIONS * first) / (self.weight + FIRST_SESSIONS)
        mine = own.new.get(feature, 0.0) + PRIOR_SESSIONS * role
        return -math.log2(min(1.0, mine / (own.weight + PRIOR_SESSIONS)))

    def bits_of_value(self, feature: str) -> float:
        """Return -log2 of the chance that the next value of a feature is a new one; 0 for unknown features.

        Witten and Bell (1991), method C: as many of the past occurrences as there were values were new ones.
        """
        uses = self.uses.get(feature)
        return 0.0 if uses is None else math.log2((uses[0] + uses[2]) / uses[2])

    def bits_of_grade(
        self, feature: str, grade: int, own: Own | None, fewest: int = 0, *, is_of_such: bool = False
    ) -> float:
        """Return -log2 of the share of sessions that reach a grade: the role's, or the agent's own.

        An agent's own are those that had any grade; with ``is_of_such`` the role's as well. Where these are
        fewer than ``fewest`` there is nothing to be unlike: 0 bits. Beyond the agent's own highest each
        further grade is taken to be half as likely as the one before it.
        """
        counts = (self if own is None else own).grades.get(feature, {})
        sessions = self.sessions
        if own is not None or is_of_such:
            sessions = sum(counts.values())
            if sessions < fewest:
                return 0.0
        reached = sum(count for known, count in counts.items() if known >= grade)
        bits = -math.log2(min(1.0, (reached + 0.5) / (sessions + 1)))
        if own is None or reached or not counts:
            return bits
        return bits + grade - max(counts) - 1

    def bits_of_order(self, before: Sequence[str], symbol: str) -> float:
        """Return -log2 of the chance that an action follows those before it, after Witten and Bell."""
        key = (*before, symbol)
        bits = self.orders.get(key)
        if bits is None:
            if len(self.orders) >= _MAX_BITS:
                self.orders.clear()
            bits = self.orders[key] = self._find_bits_of_order(before, symbol)
        return bits

    def _find_bits_of_order(self, before: Sequence[str], symbol: str) -> float:
        order, totals = self.order, self._totals
        p = 1.0 / (len(self.symbols) + 1)
        context, length, at = "", 0, len(before)
        while (followers := order.get(context)) is not None:
            kinds = len(followers)
            p = (followers.get(symbol, 0) + kinds * p) / (totals[context] + kinds)
            if length == ORDER or not at:
                break
            at -= 1
            context = f"{before[at]}{_BETWEEN}{context}" if length else before[at]
            length += 1
        return -math.log2(p)

    def tail(self, name: str, *, is_new: bool = True) -> Tail:
        """Return how high the levels of a channel are in the role's sessions.

        Without ``is_new``: in those of agents that were not new, once there are ``FEW``.
        """
        if not is_new:
            known = self.tails.get(name + KNOWN)
            if known is not None and len(known.heights) >= FEW:
                return known
        return self._tail(name, name)

    def _tail(self, key: str, name: str) -> Tail:
        tail = self.tails.get(key)
        if tail is None:
            tail = self.tails[key] = Tail(*CHANNELS[name][2:])
        return tail

    # Learning.

    def merge(self, finished: Iterable[Finished], owns: Iterable[Own]) -> list[int]:
        """Learn from sessions in the order given; each comes with the habits of its agent.

        Every session ranks, also where habits are frozen: a bound is kept only by ranks that leave none out.
        Returns how many sessions there were to rank each of them among.
        """
        ranks: list[int] = []
        ranking: list[Finished] = []
        for session, own in zip(finished, owns, strict=True):
            ranks.append(min(MAX_SCORES, len(self.calibration) + len(ranking)))
            if session.is_attack:
                self._rank(ranking)
                ranking = []
                self.version += self.calibration.discard(session.score)
                continue
            is_ranked = session.is_rank and (bool(ranking) or self.is_ranking)
            if is_ranked:
                ranking.append(session)
            is_learned = self.learns_from(session, own)
            if is_learned:
                self.learn_habits(session)
                learn_own(own, session)
            self.version += is_ranked or is_learned
        self._rank(ranking)
        return ranks

    @property
    def is_ranking(self) -> bool:
        """Whether sessions rank: those of a role's first days are new whatever they do, and cannot alarm."""
        return self.sessions >= LEARNING or self.is_frozen or len(self.calibration) > 0

    def learns_from(self, session: Finished, own: Own) -> bool:
        """Say whether habits learn from a session of this agent."""
        return not (session.is_attack or session.is_suspicious or self.is_frozen or own.is_frozen)

    def _rank(self, sessions: list[Finished]) -> None:
        if not sessions:
            return
        self.calibration.extend([scored(session) for session in sessions])
        known = [session for session in sessions if not session.is_new_agent]
        for name in CHANNELS:
            self.tail(name).extend([session.peaks.get(name, 0.0) for session in sessions])
            if known:
                self._tail(name + KNOWN, name).extend([session.peaks.get(name, 0.0) for session in known])
        self.forget_shares()

    def forget_shares(self) -> None:
        """Have what ``scoring`` worked out from tails found anew: one of them has changed."""
        self.shares = None
        self.steps = {}

    def learn_habits(self, session: Finished) -> None:
        """Learn what a session did; its score is not ranked."""
        self.sessions += 1
        known, uses = self.known, self.uses
        for feature, keys in session.seen.items():
            counts = uses.pop(feature, None) or [0, 0, 0]
            for key in keys:
                times = known.pop(key, 0)
                known[key] = times + 1
                counts[0] += 1
                counts[1] += (times == 0) - (times == 1)
                counts[2] += times == 0
            # A feature that was forgotten, unlike its values, comes back without those.
            uses[feature] = [counts[0], max(0, counts[1]), max(1, counts[2])]
        while len(known) > MAX_VALUES:
            del known[next(iter(known))]
        while len(uses) > MAX_FEATURES:
            del uses[next(iter(uses))]
        self.weight = self.weight * FADE + 1.0
        for feature in self.new:
            self.new[feature] *= FADE
        for feature in session.new:
            self.new[feature] = self.new.get(feature, 0.0) + 1.0
        for feature, grade in session.grades.items():
            counts_of = self.grades.setdefault(feature, {})
            counts_of[grade] = counts_of.get(grade, 0) + 1
        self._learn_order([START, START, *session.symbols])
        self.orders = {}

    def _learn_order(self, symbols: list[str]) -> None:
        order = self.order
        for place in range(1, len(symbols)):
            symbol = symbols[place]
            self.symbols[symbol] = self.symbols.get(symbol, 0) + 1
            for length in range(min(ORDER, place) + 1):
                context = _BETWEEN.join(symbols[place - length : place])
                followers = order.get(context)
                if followers is None:
                    if len(order) >= MAX_ORDERS:
                        continue
                    followers = order[context] = {}
                if symbol in followers or len(followers) < MAX_FOLLOWERS:
                    followers[symbol] = followers.get(symbol, 0) + 1
                    self._totals[context] = self._totals.get(context, 0) + 1

    # Keeping.

    def dump(self) -> bytes:
        """Return the habits as bytes: the version number, a colon, MessagePack."""
        plain: dict[str, Any] = {
            "version": self.version,
            "is_frozen": self.is_frozen,
            "sessions": self.sessions,
            "known": self.known,
            "uses": self.uses,
            "new": self.new,
            "weight": self.weight,
            "grades": self.grades,
            "order": self.order,
            "symbols": self.symbols,
            "scores": self.calibration.scores,
            "tails": {name: tail.heights for name, tail in self.tails.items() if tail.heights},
            "together": self.calibration.together,
        }
        if self.starter is not None:
            plain["starter"] = self.starter
        strata = [one[1:4] for one in self.calibration.scored]
        if any(one != UNTOLD for one in strata):
            plain["strata"] = strata
        lengths = [one.events for one in self.calibration.scored]
        if any(lengths):
            plain["lengths"] = lengths
        return b"%d:" % VERSION + msgspec.msgpack.encode(plain)

    @classmethod
    def load(cls, data: bytes) -> "Role":
        """Read what ``dump`` gave. Raises ``ValueError`` for another version or damaged bytes."""
        version, _, body = data.partition(b":")
        if version != b"%d" % VERSION:
            raise ValueError(f"habits of version {version[:8]!r}, this program reads {VERSION}")
        plain = cast("dict[str, Any]", msgspec.msgpack.decode(body, type=_Plain))
        role = cls()
        try:
            for name in ("version", "is_frozen", "sessions", "known", "uses", "new", "weight", "grades"):
                setattr(role, name, plain[name])
            role.order, role.symbols = plain["order"], plain["symbols"]
            role.starter = plain.get("starter")
            role._totals = {context: sum(followers.values()) for context, followers in role.order.items()}
            # Those of earlier versions have none: they rank in all.
            strata = plain.get("strata") or [UNTOLD] * len(plain["scores"])
            lengths = plain.get("lengths") or [0] * len(plain["scores"])
            scores = [
                Scored(score, familiar, unfamiliar, agent, events)
                for score, (familiar, unfamiliar, agent), events in zip(
                    plain["scores"], strata, lengths, strict=True
                )
            ]
            role.calibration = Calibration(scores, plain["together"])
            agents = [one.agent for one in scores]
            for key, heights in plain["tails"].items():
                name = key.removesuffix(KNOWN)
                if name in CHANNELS:
                    # All ranks are taken in together, those of tails and those of scores.
                    ranked = [one != 1 or key == name for one in agents]
                    beyond = sum(ranked) - len(heights)
                    together = sum(ranked[: plain["together"]]) - beyond
                    role.tails[key] = Tail(*CHANNELS[name][2:], heights, max(0, together))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"damaged habits: {error}") from error
        return role


def scored(session: Finished) -> Scored:
    """Return how a session ranks."""
    if not session.bests:
        return Scored(session.score)
    bests = session.bests
    agent = int(session.is_new_agent)
    return Scored(session.score, bests.get(0, -1.0), bests.get(1, -1.0), agent, session.events)


def learn_own(own: Own, session: Finished) -> None:
    """Count a session among its agent's own."""
    own.sessions += 1
    own.weight = own.weight * OWN_FADE + 1.0
    for feature in own.new:
        own.new[feature] *= OWN_FADE
    for feature in session.new:
        own.new[feature] = own.new.get(feature, 0.0) + 1.0
    for feature, grade in session.grades.items():
        counts = own.grades.setdefault(feature, {})
        counts[grade] = counts.get(grade, 0) + 1

"""Calibration: how unusual a session's score is among earlier sessions.

``p`` is split-conformal (Vovk, Gammerman, Shafer, 2005): ``(1 + number of scores as high) / (1 + number of
scores)``. Where a new session is exchangeable with those, it is at most ``a`` with a probability of at most
``a``, whatever the scores are; and because a session's score is its highest so far, this holds in the middle
of a session too. It cannot be below ``1 / (1 + number of scores)``: a bound that asks for less is not
attainable yet, which ``sessions_needed`` says.

A starter's sessions are other people's, and nothing says that an agent's own are exchangeable with them:
``p`` is among its own alone (and 1 before there are any); the starter's count in estimates only, which
promise nothing.

``estimate`` is what tier 2 goes by before that: over the upper fifth of the scores it goes on exponentially
(peaks over threshold: Pickands, 1975, with shape 0), with a prior of a few sessions and the past fading. That
is an estimate, not a bound: for independent sessions it realises 0.3 to 1.4 times its nominal rate where the
scores' tail is exponential or lighter, up to 3 times where it is heavier. From 100 to 400 sessions it turns
into ``p``.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import mul
from typing import NamedTuple

#: Scores that are kept; the oldest go first. 1 % needs 99, five in a hundred weeks of twenty sessions 399.
MAX_SCORES = 2000
#: Heights of a channel that are kept, and what its prior weighs, in sessions.
MAX_HEIGHTS = 400
PRIOR_WEIGHT = 5.0
#: What a height weighs after one more session: half of it after 34 sessions.
FADE = 0.98
_FADED = [FADE**age for age in range(MAX_HEIGHTS + 1)]
#: What a height lends is worked out up to so many widths: beyond that nothing is left to tell apart.
_HIGHEST = 600.0
#: The share of the highest from which on a tail is exponential, and what its prior weighs there, in sessions.
UPPER, UPPER_WEIGHT = 0.2, 3.0
#: Sessions from which on exact ranks weigh in, and up to which the estimate does.
RANKED_FROM, RANKED_FULLY = 100, 400
#: Sessions that it takes to estimate by those that are alike.
FEW = 10
#: Sessions from which on it takes less time to put all in order anew than to put each in its place.
_MANY_HEIGHTS, _MANY_SCORES = 64, 256
#: Sessions that an agent must have finished before it is compared with agents that are not new.
NEW_AGENT = 3
#: Strata that take in all agents, or all states.
_ALL = -1
#: Sessions of at least 2 events, 4, 8 and so on are strata of their own, up to this one.
_LONGEST = 8
#: The share of a role's sessions from which on a length is nothing unusual.
_USUAL = 0.1
#: Scores that differ by less (nats) are taken for equal: habits drift, and with them what the same is worth.
TIE = 0.1
#: Prior of the scores, which are minus the logarithm of a p-value: ``exp(-score)``.
_PRIOR = (1.0, 1.0, 1.0)


class Tail:
    """How high something is in a role's sessions, as a smooth tail probability; recent sessions weigh more.

    ``p(x)`` counts each known session fully below its own height and, beyond it, by ``exp(-(x - height) /
    width)``; beside them stands a prior, ``scale * exp(-x / decay)``, of the weight of five sessions.
    ``excess(x)`` is the same up to the height that the upper fifth reaches, and exponential beyond it.
    Memory: 8 bytes a height, at most ``MAX_HEIGHTS``.
    """

    __slots__ = (
        "_base", "_below", "_births", "_each", "_from", "_lifts", "_over", "_scale", "_sorted", "_weights",
        "decay", "heights", "scale", "together", "width",
    )  # fmt: skip

    def __init__(
        self, scale: float, decay: float, width: float, heights: Iterable[float] = (), together: int = 0
    ) -> None:
        """``heights`` are those of known sessions, oldest first; the latest ``MAX_HEIGHTS`` are kept.

        The first ``together`` of them are of the same age.
        """
        self.scale, self.decay, self.width = scale, decay, width
        self.heights = list(heights)
        beyond = max(0, len(self.heights) - MAX_HEIGHTS)
        del self.heights[:beyond]
        self.together = max(0, min(together - beyond, len(self.heights)))
        # What is worked out only when somebody asks, and from one session to the next only as far as it has
        # changed: the heights in order, when each came (counted from anywhere; ``_base`` is the oldest), and
        # what each lends to a height of 0.
        self._sorted: list[float] | None = None
        self._births: list[int] = []
        self._lifts: list[float] = []
        self._base = 0
        self._forget()

    def add(self, height: float) -> None:
        """Take in one more session."""
        if self._sorted is not None:
            self._insert(height)
        self.heights.append(height)
        if len(self.heights) > MAX_HEIGHTS:
            if self._sorted is not None:
                self._remove_oldest()
            del self.heights[0]
            self.together = max(0, self.together - 1)
        self._forget()

    def extend(self, heights: Sequence[float]) -> None:
        """Take in more sessions, as ``add`` does one after the other."""
        if len(heights) < _MANY_HEIGHTS:
            for height in heights:
                self.add(height)
            return
        self.heights += heights
        beyond = max(0, len(self.heights) - MAX_HEIGHTS)
        del self.heights[:beyond]
        self.together = max(0, self.together - beyond)
        self._sorted = None
        self._forget()

    def p(self, x: float) -> float:
        """Return the probability (0 < p <= 1) that a session reaches ``x``."""
        if x <= 0.0:
            return 1.0
        weights = self._weights or self._weigh()
        place = bisect_left(self._sorted, x - 1e-9)  # type: ignore[arg-type]
        count = weights[place]
        if place:
            count += (self._below or self._lend())[place - 1] * math.exp(-x / self.width)
        prior = self.scale * math.exp(-x / self.decay)
        p = (count + PRIOR_WEIGHT * min(1.0, prior)) / (weights[0] + PRIOR_WEIGHT)
        return 1.0 if p >= 1.0 else max(1e-300, p)

    def excess(self, x: float) -> float:
        """Return the same, with an exponential tail."""
        if self._from is None:
            self._fit()
        if not self.heights or x <= self._from:  # type: ignore[operator]
            return self.p(x)
        return max(1e-300, self._over * math.exp(-(x - self._from) / self._scale))  # type: ignore[operator]

    def quantile(self, share: float) -> float:
        """Return the height that this share of sessions reaches; 0 where none is known."""
        weights = self._weights or self._weigh()
        left = share * weights[0]
        for place in range(len(weights) - 2, -1, -1):
            left -= weights[place] - weights[place + 1]
            if left <= 0:
                return (self._sorted or [])[place]
        return 0.0

    def _forget(self) -> None:
        self._weights: list[float] = []
        self._each: list[float] = []
        self._below: list[float] = []
        self._from: float | None = None

    def _sort(self) -> list[float]:
        order = sorted(range(len(self.heights)), key=self.heights.__getitem__)
        self._base, self._births = 0, order
        heights = self._sorted = [self.heights[place] for place in order]
        self._lifts = [self._lift(height) for height in heights]
        return heights

    def _insert(self, height: float) -> None:
        heights = self._sorted or []
        place = bisect_right(heights, height)
        heights.insert(place, height)
        self._births.insert(place, self._base + len(self.heights))
        self._lifts.insert(place, self._lift(height))
        self._sorted = heights

    def _remove_oldest(self) -> None:
        heights = self._sorted or []
        # Equal ones are in the order in which they came.
        place = bisect_left(heights, self.heights[0])
        del heights[place], self._births[place], self._lifts[place]
        self._base += 1

    def _lift(self, height: float) -> float:
        return math.exp(min(height / self.width, _HIGHEST))

    def _weigh(self) -> list[float]:
        """Find what each session weighs, by its height's place in order, and the sums from each place on."""
        if self._sorted is None:
            self._sort()
        latest = self._base + len(self.heights) - 1
        if self.together > 1:
            # Those of one age are as old as the latest of them.
            oldest = len(self.heights) - self.together
            each = [_FADED[min(latest - birth, oldest)] for birth in self._births]
        else:
            each = [_FADED[latest - birth] for birth in self._births]
        self._each = each
        weights = list(accumulate(reversed(each), initial=0.0))
        weights.reverse()
        self._weights = weights
        return weights

    def _lend(self) -> list[float]:
        """Sum up what the heights up to each place in order lend to a height of 0."""
        self._below = list(accumulate(map(mul, self._each, self._lifts)))
        return self._below

    def _fit(self) -> None:
        # The maximum-likelihood rate of an exponential tail is the mean excess.
        start = self.quantile(UPPER)
        heights = self._sorted or []
        place = bisect_left(heights, math.nextafter(start, math.inf))
        over = self._weights[place]
        excesses = sum(
            weight * (height - start)
            for height, weight in zip(heights[place:], self._each[place:], strict=True)
        )
        self._scale = (excesses + UPPER_WEIGHT * self.decay) / (over + UPPER_WEIGHT)
        reached = (over + UPPER_WEIGHT * UPPER) / (self._weights[0] + UPPER_WEIGHT)
        self._over = min(self.p(start), reached)
        self._from = start


class Judgement(NamedTuple):
    """What ranks say of a score: see the methods of ``Calibration`` that are called so."""

    p: float
    estimate: float
    graded: float


class Ranks:
    """Scores of sessions that are compared with each other, each given before that session was learned from.

    Memory: 16 bytes a score, at most ``MAX_SCORES``. Adding and asking is O(log n) to find, O(n) to keep
    order.
    """

    __slots__ = ("_highest", "_own", "_scores", "_tail", "together")

    def __init__(self, scores: Iterable[float] = (), together: int = 0) -> None:
        """``scores`` are in the order of their sessions' ends; the latest ``MAX_SCORES`` are kept.

        The first ``together`` of them are a starter's: of one age, and other people's.
        """
        self._scores = list(scores)
        beyond = max(0, len(self._scores) - MAX_SCORES)
        del self._scores[:beyond]
        self.together = max(0, min(together - beyond, len(self._scores)))
        self._own = sorted(self._scores[self.together :])
        self._highest = max(self._scores, default=0.0)
        self._tail: Tail | None = None

    def __len__(self) -> int:
        return len(self._scores)

    @property
    def own(self) -> int:
        """How many scores are of the role's own sessions, and no starter's."""
        return len(self._own)

    @property
    def scores(self) -> list[float]:
        """The scores, oldest first."""
        return self._scores

    def add(self, score: float) -> None:
        """Take in the score of one more session."""
        self._scores.append(score)
        insort(self._own, score)
        self._highest = max(self._highest, score)
        if self._tail is not None:
            self._tail.add(score)
        if len(self._scores) > MAX_SCORES:
            self._drop(0)

    def discard(self, score: float) -> bool:
        """Forget a session that turned out to be an attack; False where its score is not there (any more)."""
        for place in range(len(self._scores) - 1, self.together - 1, -1):
            if self._scores[place] == score:
                self._drop(place)
                return True
        return False

    def p(self, score: float) -> float:
        """Return the conformal p-value of a score among the role's own sessions, in 0..1 (never 0)."""
        as_high = len(self._own) - bisect_left(self._own, score - TIE)
        return (1 + as_high) / (1 + len(self._own))

    def estimate(self, score: float) -> float:
        """Return the estimated p-value of a score, in 0..1 (never 0); no bound holds for it."""
        return self._estimate(score, self.p(score))

    def judge(self, score: float) -> Judgement:
        """Return all that is to say of a score."""
        p = self.p(score)
        estimate = self._estimate(score, p)
        if score <= self._highest:
            return Judgement(p, estimate, estimate)
        smooth = self._smooth()
        highest = self.estimate(self._highest)
        return Judgement(p, estimate, highest * smooth.excess(score) / smooth.excess(self._highest))

    def _estimate(self, score: float, p: float) -> float:
        count = len(self._own)
        if count >= RANKED_FULLY:
            return p
        smooth = self._smooth().excess(score)
        if count <= RANKED_FROM:
            return smooth
        part = (count - RANKED_FROM) / (RANKED_FULLY - RANKED_FROM)
        mixed: float = smooth ** (1 - part) * p**part
        return mixed

    def drop_oldest(self) -> None:
        """Forget the oldest score, if there is any."""
        if self._scores:
            self._drop(0)

    def _smooth(self) -> Tail:
        if self._tail is None:
            self._tail = Tail(*_PRIOR, self._scores, self.together)
        return self._tail

    def _drop(self, place: int) -> None:
        if len(self._scores) - place <= MAX_HEIGHTS:
            # It is in the tail too.
            self._tail = None
        score = self._scores.pop(place)
        if place < self.together:
            self.together -= 1
        else:
            del self._own[bisect_left(self._own, score)]
        if score >= self._highest:
            self._highest = max([*self._own[-1:], *self._scores[: self.together]], default=0.0)


class Where(NamedTuple):
    """Which sessions a session is compared with: those like it in what is no reason to suspect anybody.

    ``is_new``: its agent had finished fewer than ``NEW_AGENT`` sessions. ``is_unfamiliar``: some call
    of the session before this one had an argument's value that is new to its role. ``events`` are those that
    the session has had.
    """

    is_new: bool
    is_unfamiliar: bool
    events: int = 1


class Scored(NamedTuple):
    """The score of a session, its highest while it was familiar and after that (negative: it never was).

    ``agent`` is 1 for a new agent's, 0 for another's; 2 with both heights negative: nobody knows. ``events``
    are those that it had; 0: nobody knows.
    """

    score: float
    familiar: float = -1.0
    unfamiliar: float = -1.0
    agent: int = 2
    events: int = 0

    @property
    def strata(self) -> list[tuple[tuple[int, int, int], float]]:
        """Where it ranks, and with what score: in all strata that it may belong to."""
        is_known = max(self.familiar, self.unfamiliar) >= 0.0
        heights = (self.familiar, self.unfamiliar) if is_known else (self.score, self.score)
        found = []
        for agent in (_ALL, 0, 1):
            if self.agent in (agent, 2) or agent == _ALL:
                found.append(((agent, _ALL, 0), self.score))
                found += [
                    ((agent, state, 0), height) for state, height in enumerate(heights) if height >= 0.0
                ]
        for reach in range(1, reach_of(self.events) + 1 if self.events else _LONGEST + 1):
            found += [((_ALL, state, reach), height) for state, height in enumerate(heights) if height >= 0.0]
        return found


def reach_of(events: int) -> int:
    """Return the stratum of the longest sessions that one of so many events (1..) belongs to; 0: all do."""
    return min(_LONGEST, events.bit_length() - 1)


#: What is known of a session of which nobody knows more than the score.
UNTOLD = Scored(0.0)[1:4]


class Calibration:
    """The scores of a role's sessions, in strata (Mondrian conformal prediction: Vovk and others, 2005).

    What is odd for a session that was all routine so far is usual in one whose work is new; and agents that
    are new are odder than others. So sessions of agents that are not new rank among their like, once there
    are ``FEW`` of them; those of new ones among all, until there are ``RANKED_FROM`` of their like. What
    happens while a session is familiar (or not) also ranks among what happened in sessions that were. The
    p-value is the larger one of both: so a bound for all sessions together goes on to hold. Where fewer than
    ``FEW`` sessions were as unfamiliar nothing is estimated, and so nothing alarms.

    A session that goes on for long has more chances to be odd, so it also ranks among those that were about
    half as long as it is by now or longer: from 2 events on among those of 2, from 8 on of 4, from 16 on of 8
    and so on. The estimate takes notice of that only where less than one in ten was: else it would only be
    coarser.

    Memory: 40 bytes a session for each of up to six strata, and for two more each time that it is twice as
    long, at most ``MAX_SCORES`` sessions.
    """

    __slots__ = ("_scored", "_strata", "together")

    def __init__(self, scores: Iterable[float | Scored] = (), together: int = 0) -> None:
        """``scores`` are in the order of their sessions' ends; the latest ``MAX_SCORES`` are kept.

        The first ``together`` of them are a starter's: of one age, and other people's.
        """
        scored = [one if isinstance(one, Scored) else Scored(one) for one in scores]
        beyond = max(0, len(scored) - MAX_SCORES)
        self._scored = scored[beyond:]
        self.together = max(0, min(together - beyond, len(self._scored)))
        self._strata: dict[tuple[int, int, int], Ranks] = {}
        self._sort()

    def __len__(self) -> int:
        return len(self._scored)

    @property
    def own(self) -> int:
        """How many scores are of the role's own sessions, and no starter's."""
        return len(self._scored) - self.together

    @property
    def scored(self) -> list[Scored]:
        """What is known of each session, oldest first."""
        return self._scored

    @property
    def scores(self) -> list[float]:
        """The scores, oldest first."""
        return [one.score for one in self._scored]

    def add(self, score: float | Scored) -> None:
        """Take in the score of one more session."""
        if len(self._scored) >= MAX_SCORES:
            self._drop(0)
        scored = score if isinstance(score, Scored) else Scored(score)
        self._scored.append(scored)
        for key, height in scored.strata:
            self._stratum(*key).add(height)

    def extend(self, scores: Sequence[Scored]) -> None:
        """Take in the scores of more sessions, as ``add`` does one after the other."""
        if len(scores) < _MANY_SCORES:
            for score in scores:
                self.add(score)
            return
        self._scored += scores
        beyond = max(0, len(self._scored) - MAX_SCORES)
        del self._scored[:beyond]
        self.together = max(0, self.together - beyond)
        self._sort()

    def discard(self, score: float) -> bool:
        """Forget a session that turned out to be an attack; False where its score is not there (any more)."""
        for place in range(len(self._scored) - 1, self.together - 1, -1):
            if self._scored[place].score == score:
                self._drop(place)
                return True
        return False

    def p(self, score: float, where: Where | None = None) -> float:
        """Return the conformal p-value of a score among the role's own sessions, in 0..1 (never 0)."""
        return self.judge(score, where).p

    def estimate(self, score: float, where: Where | None = None) -> float:
        """Return the estimated p-value of a score, in 0..1 (never 0); no bound holds for it."""
        return self.judge(score, where).estimate

    def graded(self, score: float, where: Where | None = None) -> float:
        """Return the estimate, going on beyond the highest score: it tells apart what all ranks highest."""
        return self.judge(score, where).graded

    def judge(self, score: float, where: Where | None = None) -> Judgement:
        """Return what ``p``, ``estimate`` and ``graded`` do, at once."""
        if where is None:
            return self._stratum(_ALL, _ALL).judge(score)
        ranks, like = self._among(where)
        judged = _larger(ranks.judge(score), like, score)
        reach = reach_of(where.events)
        if not reach:
            return judged
        # What makes a session a little longer takes no peers away from it.
        state, reach = int(where.is_unfamiliar), max(1, reach - 1)
        longer = self._stratum(_ALL, state, reach)
        if len(longer) < _USUAL * len(self._stratum(_ALL, state)):
            return _larger(judged, longer, score)
        return judged._replace(p=max(judged.p, longer.p(score)))

    def known(self, where: Where | None = None) -> int:
        """Return among how many of the role's own sessions a session ranks."""
        return (self._stratum(_ALL, _ALL) if where is None else self._among(where)[0]).own

    def _among(self, where: Where) -> tuple[Ranks, Ranks]:
        agent = int(where.is_new)
        if len(self._stratum(agent, _ALL)) < (RANKED_FROM if agent else FEW):
            agent = _ALL
        return self._stratum(agent, _ALL), self._stratum(agent, int(where.is_unfamiliar))

    def _stratum(self, agent: int, state: int, reach: int = 0) -> Ranks:
        ranks = self._strata.get((agent, state, reach))
        if ranks is None:
            ranks = self._strata[agent, state, reach] = Ranks()
        return ranks

    def _drop(self, place: int) -> None:
        scored = self._scored.pop(place)
        is_borrowed = place < self.together
        self.together -= is_borrowed
        for key, height in scored.strata:
            ranks = self._stratum(*key)
            if place == 0:
                ranks.drop_oldest()
            else:
                ranks.discard(height)

    def _sort(self) -> None:
        found: dict[tuple[int, int, int], list[float]] = {}
        borrowed: dict[tuple[int, int, int], int] = {}
        for place, scored in enumerate(self._scored):
            for key, height in scored.strata:
                found.setdefault(key, []).append(height)
                borrowed[key] = borrowed.get(key, 0) + (place < self.together)
        self._strata = {key: Ranks(heights, borrowed[key]) for key, heights in found.items()}


def _larger(judged: Judgement, like: Ranks, score: float) -> Judgement:
    """Return the larger ones of what was said of a score and of what those that are alike say."""
    if len(like) >= FEW:
        return Judgement(*map(max, judged, like.judge(score)))
    p, estimate, graded = judged
    rare = like.p(score)
    if len(like):
        graded = max(graded, like.judge(score).graded)
    return Judgement(max(p, rare), max(estimate, rare), graded)


def sessions_needed(rate: float) -> int:
    """Return how many sessions it takes before a p-value can be as low as ``rate`` (0..1)."""
    return max(0, math.ceil(1 / rate - 1e-9) - 1)

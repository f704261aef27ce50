"""Calibration: how unusual a session's score is among earlier sessions.

``p`` is split-conformal (Vovk, Gammerman, Shafer, 2005): ``(1 + number of scores as high) / (1 + number of
scores)``. Where a new session is exchangeable with those, it is at most ``a`` with a probability of at most
``a``, whatever the scores are; and because a session's score is its highest so far, this holds in the middle
of a session too. It cannot be below ``1 / (1 + number of scores)``: a bound that asks for less is not
attainable yet, which ``sessions_needed`` says.

``estimate`` is what tier 2 goes by before that: over the upper fifth of the scores it goes on exponentially
(peaks over threshold: Pickands, 1975, with shape 0), with a prior of a few sessions and the past fading. That
is an estimate, not a bound: for independent sessions it realises 0.3 to 1.4 times its nominal rate where the
scores' tail is exponential or lighter, up to 3 times where it is heavier. From 100 to 400 sessions it turns
into ``p``.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable

#: Scores that are kept; the oldest go first. 1 % needs 99, five in a hundred weeks of twenty sessions 399.
MAX_SCORES = 2000
#: Heights of a channel that are kept, and what its prior weighs, in sessions.
MAX_HEIGHTS = 400
PRIOR_WEIGHT = 5.0
#: What a height weighs after one more session: half of it after 34 sessions.
FADE = 0.98
#: The share of the highest from which on a tail is exponential, and what its prior weighs there, in sessions.
UPPER, UPPER_WEIGHT = 0.2, 3.0
#: Sessions from which on exact ranks weigh in, and up to which the estimate does.
RANKED_FROM, RANKED_FULLY = 100, 400
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
        "_below", "_from", "_over", "_scale", "_sorted", "_weights", "decay", "heights", "scale", "together",
        "width",
    )  # fmt: skip

    def __init__(
        self, scale: float, decay: float, width: float, heights: Iterable[float] = (), together: int = 0
    ) -> None:
        """``heights`` are those of known sessions, oldest first; the latest ``MAX_HEIGHTS`` are kept.

        The first ``together`` of them are of the same age.
        """
        self.scale, self.decay, self.width = scale, decay, width
        self.heights = list(heights)
        self.together = together
        self._trim()

    def add(self, height: float) -> None:
        """Take in one more session."""
        self.heights.append(height)
        self._trim()

    def p(self, x: float) -> float:
        """Return the probability (0 < p <= 1) that a session reaches ``x``."""
        if x <= 0.0:
            return 1.0
        if self._sorted is None:
            self._prepare()
        heights = self._sorted or []
        place = bisect_left(heights, x - 1e-9)
        count = self._weights[place]
        if place:
            count += self._below[place] * math.exp((heights[place - 1] - x) / self.width)
        prior = PRIOR_WEIGHT * min(1.0, self.scale * math.exp(-x / self.decay))
        return max(1e-300, min(1.0, (count + prior) / (self._weights[0] + PRIOR_WEIGHT)))

    def excess(self, x: float) -> float:
        """Return the same, with an exponential tail."""
        if self._sorted is None:
            self._prepare()
        if not self._sorted or x <= self._from:
            return self.p(x)
        return max(1e-300, self._over * math.exp(-(x - self._from) / self._scale))

    def quantile(self, share: float) -> float:
        """Return the height that this share of sessions reaches; 0 where none is known."""
        if self._sorted is None:
            self._prepare()
        return self._reached_by(share)

    def _trim(self) -> None:
        beyond = len(self.heights) - MAX_HEIGHTS
        if beyond > 0:
            del self.heights[:beyond]
            self.together -= beyond
        self.together = max(0, min(self.together, len(self.heights)))
        self._sorted: list[float] | None = None

    def _prepare(self) -> None:
        count, first = len(self.heights), max(self.together, 1)
        pairs = sorted(
            (height, FADE ** (count - 1 - max(place, first - 1))) for place, height in enumerate(self.heights)
        )
        self._sorted = [height for height, _ in pairs]
        # What weighs from each place on, and what all lower ones lend to the height of each, summed up once.
        self._weights = [0.0] * (count + 1)
        for place in range(count - 1, -1, -1):
            self._weights[place] = self._weights[place + 1] + pairs[place][1]
        self._below = [0.0]
        lent, last = 0.0, pairs[0][0] if pairs else 0.0
        for height, weight in pairs:
            lent = lent * math.exp((last - height) / self.width) + weight
            last = height
            self._below.append(lent)
        # The maximum-likelihood rate of an exponential tail is the mean excess.
        self._from = self._reached_by(UPPER)
        place = bisect_left(self._sorted, math.nextafter(self._from, math.inf))
        over = self._weights[place]
        excesses = sum(weight * (height - self._from) for height, weight in pairs[place:])
        self._scale = (excesses + UPPER_WEIGHT * self.decay) / (over + UPPER_WEIGHT)
        reached = (over + UPPER_WEIGHT * UPPER) / (self._weights[0] + UPPER_WEIGHT)
        self._over = min(self.p(self._from), reached)

    def _reached_by(self, share: float) -> float:
        left = share * self._weights[0]
        for place in range(len(self._weights) - 2, -1, -1):
            left -= self._weights[place] - self._weights[place + 1]
            if left <= 0:
                return (self._sorted or [])[place]
        return 0.0


class Calibration:
    """The scores of a role's sessions, each given before that session was learned from.

    Memory: 16 bytes a score, at most ``MAX_SCORES``. Adding and asking is O(log n) to find, O(n) to keep
    order.
    """

    __slots__ = ("_scores", "_sorted", "_tail", "together")

    def __init__(self, scores: Iterable[float] = (), together: int = 0) -> None:
        """``scores`` are in the order of their sessions' ends; the latest ``MAX_SCORES`` are kept.

        The first ``together`` of them are of the same age.
        """
        self._scores = list(scores)
        beyond = max(0, len(self._scores) - MAX_SCORES)
        del self._scores[:beyond]
        self.together = max(0, min(together - beyond, len(self._scores)))
        self._sorted = sorted(self._scores)
        self._tail: Tail | None = None

    def __len__(self) -> int:
        return len(self._scores)

    @property
    def scores(self) -> list[float]:
        """The scores, oldest first."""
        return self._scores

    def add(self, score: float) -> None:
        """Take in the score of one more session."""
        self._scores.append(score)
        insort(self._sorted, score)
        if len(self._scores) > MAX_SCORES:
            self._drop(0)
        self._tail = None

    def discard(self, score: float) -> bool:
        """Forget a session that turned out to be an attack; False where its score is not there (any more)."""
        for place in range(len(self._scores) - 1, -1, -1):
            if self._scores[place] == score:
                self._drop(place)
                return True
        return False

    def p(self, score: float) -> float:
        """Return the conformal p-value of a score, in 0..1 (never 0)."""
        as_high = len(self._sorted) - bisect_left(self._sorted, score)
        return (1 + as_high) / (1 + len(self._sorted))

    def estimate(self, score: float) -> float:
        """Return the estimated p-value of a score, in 0..1 (never 0); no bound holds for it."""
        count = len(self._scores)
        if count >= RANKED_FULLY:
            return self.p(score)
        p = self._smooth().excess(score)
        if count > RANKED_FROM:
            part = (count - RANKED_FROM) / (RANKED_FULLY - RANKED_FROM)
            p = p ** (1 - part) * self.p(score) ** part
        return p

    def graded(self, score: float) -> float:
        """Return the estimate, going on beyond the highest score: it tells apart what all ranks highest."""
        highest = self._sorted[-1] if self._sorted else 0.0
        if score <= highest:
            return self.estimate(score)
        smooth = self._smooth()
        return self.estimate(highest) * smooth.excess(score) / smooth.excess(highest)

    def _smooth(self) -> Tail:
        if self._tail is None:
            self._tail = Tail(*_PRIOR, self._scores, self.together)
        return self._tail

    def _drop(self, place: int) -> None:
        score = self._scores.pop(place)
        del self._sorted[bisect_left(self._sorted, score)]
        self.together -= place < self.together
        self._tail = None


def sessions_needed(rate: float) -> int:
    """Return how many sessions it takes before a p-value can be as low as ``rate`` (0..1)."""
    return max(0, math.ceil(1 / rate - 1e-9) - 1)

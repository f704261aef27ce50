"""Calibration: how unusual a session's score is, by rank among earlier sessions.

The p-value is split-conformal (Vovk, Gammerman, Shafer, 2005): ``(1 + number of scores as high) / (1 +
number of scores)``. Where a new session is exchangeable with those, it is at most ``a`` with a probability
of at most ``a``, whatever the scores are; and because a session's score is its highest so far, this holds in
the middle of a session too. It cannot be below ``1 / (1 + number of scores)``: a bound that asks for less is
not attainable yet, which ``sessions_needed`` says.

For the order of scores beyond all of those seen, and for that only, ``tail`` goes on exponentially.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable

#: Scores that are kept; the oldest go first. 1 % needs 99, five in a hundred weeks of twenty sessions 399.
MAX_SCORES = 2000
#: Heights of a channel that are kept, and what its prior weighs, in sessions.
MAX_HEIGHTS = 400
PRIOR_WEIGHT = 5.0
#: The share of the highest scores by which the tail is drawn.
_TAIL = 0.1


class Calibration:
    """The scores of a role's sessions, each given before that session was learned from.

    Memory: 16 bytes a score, at most ``MAX_SCORES``. Adding and asking is O(log n) to find, O(n) to keep order.
    """

    __slots__ = ("_mean_excess", "_scores", "_sorted")

    def __init__(self, scores: Iterable[float] = ()) -> None:
        """``scores`` are in the order of their sessions' ends; the latest ``MAX_SCORES`` are kept."""
        self._scores = list(scores)[-MAX_SCORES:]
        self._sorted = sorted(self._scores)
        self._mean_excess = 0.0

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
        self._mean_excess = 0.0

    def discard(self, score: float) -> bool:
        """Forget a session that turned out to be an attack; False where its score is not there (any more)."""
        for place in range(len(self._scores) - 1, -1, -1):
            if self._scores[place] == score:
                self._drop(place)
                self._mean_excess = 0.0
                return True
        return False

    def p(self, score: float) -> float:
        """Return the conformal p-value of a score, in 0..1 (never 0)."""
        as_high = len(self._sorted) - bisect_left(self._sorted, score)
        return (1 + as_high) / (1 + len(self._sorted))

    def tail(self, score: float) -> float:
        """Return a p-value that tells scores apart beyond the highest one seen; no bound holds for those."""
        if not self._sorted:
            return math.exp(-max(0.0, score))
        highest = self._sorted[-1]
        if score <= highest:
            return self.p(score)
        return math.exp(-(score - highest) / self._scale()) / (1 + len(self._sorted))

    def quantile(self, share: float) -> float:
        """Return the score that at most this share of sessions reaches; 0 where there is none."""
        if not self._sorted:
            return 0.0
        return self._sorted[max(0, math.ceil(len(self._sorted) * (1 - share)) - 1)]

    def _drop(self, place: int) -> None:
        score = self._scores.pop(place)
        del self._sorted[bisect_left(self._sorted, score)]

    def _scale(self) -> float:
        # Mean excess over a high score: the maximum-likelihood rate of an exponential tail (Hill, 1975, for
        # its logarithm). With one unit more, because few scores make any estimate too small.
        if not self._mean_excess:
            count = max(1, math.ceil(len(self._sorted) * _TAIL))
            high = self._sorted[-count - 1] if count < len(self._sorted) else 0.0
            self._mean_excess = 1.0 + sum(score - high for score in self._sorted[-count:]) / count
        return self._mean_excess


class Tail:
    """How high something is in a role's sessions, as a smooth tail probability: for what is fused, not decided.

    ``p(x)`` counts each known session fully below its own height and, beyond it, by ``exp(-(x - height) /
    width)``; beside them stands a prior, ``scale * exp(-x / decay)``, of the weight of five sessions.
    """

    __slots__ = ("_below", "_heights", "decay", "heights", "scale", "width")

    def __init__(self, scale: float, decay: float, width: float, heights: Iterable[float] = ()) -> None:
        """``heights`` are those of known sessions, oldest first; the latest ``MAX_HEIGHTS`` are kept."""
        self.scale, self.decay, self.width = scale, decay, width
        self.heights = list(heights)[-MAX_HEIGHTS:]
        self._heights: list[float] | None = None

    def add(self, height: float) -> None:
        """Take in one more session."""
        self.heights.append(height)
        if len(self.heights) > MAX_HEIGHTS:
            del self.heights[0]
        self._heights = None

    def p(self, x: float) -> float:
        """Return the probability (0 < p <= 1) that a session reaches ``x``."""
        if x <= 0.0:
            return 1.0
        if self._heights is None:
            self._prepare()
        heights = self._heights or []
        place = bisect_left(heights, x - 1e-9)
        count = float(len(heights) - place)
        if place:
            count += self._below[place] * math.exp((heights[place - 1] - x) / self.width)
        prior = PRIOR_WEIGHT * min(1.0, self.scale * math.exp(-x / self.decay))
        return max(1e-300, min(1.0, (count + prior) / (len(heights) + PRIOR_WEIGHT)))

    def quantile(self, share: float) -> float:
        """Return the height that this share of sessions reaches; 0 where none is known."""
        if self._heights is None:
            self._prepare()
        heights = self._heights or []
        return heights[max(0, math.ceil(len(heights) * (1 - share)) - 1)] if heights else 0.0

    def _prepare(self) -> None:
        heights = self._heights = sorted(self.heights)
        # What all lower ones lend to the height of each, summed up once.
        self._below = [0.0]
        lent, last = 0.0, heights[0] if heights else 0.0
        for height in heights:
            lent = lent * math.exp((last - height) / self.width) + 1.0
            last = height
            self._below.append(lent)


def sessions_needed(rate: float) -> int:
    """Return how many sessions it takes before a p-value can be as low as ``rate`` (0..1)."""
    return max(0, math.ceil(1 / rate - 1e-9) - 1)

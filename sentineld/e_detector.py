"""E-detector: sessions that are each a little odd add up, with a bound on how often honest ones do.

Each session's p-value becomes an e-value, whose mean is at most 1 for honest sessions, by the mixture of
all power calibrators (Vovk and Wang, 2021): ``e(p) = (1 - p + p ln p) / (p ln(p)^2)``. They are summed up as
Shiryaev and Roberts do: ``R(t) = (1 + R(t-1)) * e(t)``. For honest sessions ``R(t) - t`` is a
supermartingale, so ``P(R reaches A within T sessions) <= T / A`` (Shin, Ramdas, Rinaldo: E-detectors, 2022).
With ``A = sessions a week / rate`` an honest agent is demoted in at most that share of weeks.

Sessions that follow each other without a gap are one piece of work, and as odd as each other: their p-values
are not independent. They are a ``Block``, and count as one with the mean of their e-values, which is an
e-value however they depend on each other (Vovk and Wang, 2021).

Beside it, drift sees what is too small for that and goes on for long, as Page's CUSUM (1954) does: ``C =
max(0, C + -ln p - 1.5)``. For honest sessions ``-ln p`` is at most exponential, and by Lundberg's inequality
``C`` is at ``h`` or above after at most a share ``exp(-0.583 h)`` of them. Its p-values are ranks among up to
2,000 sessions that do not fade: a slow reference, while habits go along with what is done. Of a block it
takes the mean of ``-ln p``, for which the same holds (Jensen).

The bound of an agent-week is of as many sessions as the agent has a week: ``Pace`` counts them.
"""

import math
from functools import lru_cache

from msgspec import Struct

from sentineld.instant import DAY_US, WEEK_US

#: The longest stretch of time that counts as one piece of work, microseconds.
MAX_BLOCK_US = DAY_US
#: What an honest session may add at most in the mean (1), and half as much; where ``exp(1.5 t) (1 - t) = 1``.
_ALLOWED, _EXPONENT = 1.5, 0.583


@lru_cache(1024)
def e_value(p: float) -> float:
    """Turn a p-value (0 < p <= 1) into an e-value, at least 0.5. It falls as p grows."""
    if p >= 1.0:
        return 0.5
    log = math.log(p)
    if log > -1e-3:
        # The limit towards 1, where the formula loses its digits.
        return 0.5 - log / 6
    return (1.0 - p + p * log) / (p * log * log)


class Block(Struct, gc=False):
    """Sessions of an agent that follow each other without a gap, as far as they have ended.

    They began at ``began_us`` and went on to ``latest_us``; ``e_values`` and ``surprises`` are the sums of
    their e-values and of ``-ln p``. ``evidence`` and ``drift`` are the statistics without them.
    """

    began_us: int = 0
    latest_us: int = 0
    sessions: int = 0
    e_values: float = 0.0
    surprises: float = 0.0
    evidence: float = 0.0
    drift: float = 0.0

    def holds(self, began_us: int, gap_us: int) -> bool:
        """Say whether a session that began then is one of them."""
        is_near = began_us <= self.latest_us + gap_us
        return self.sessions > 0 and is_near and began_us < self.began_us + MAX_BLOCK_US

    def add(self, p: float) -> None:
        """Take in one more session of p-value ``p``."""
        self.sessions += 1
        self.e_values += e_value(p)
        self.surprises -= math.log(p)

    def evidence_with(self, p: float) -> float:
        """Return the Shiryaev-Roberts statistic, had one more session a p-value of ``p``."""
        return (1.0 + self.evidence) * (self.e_values + e_value(p)) / (self.sessions + 1)

    def drift_with(self, p: float) -> float:
        """Return the CUSUM, had one more session a p-value of ``p``."""
        return max(0.0, self.drift + (self.surprises - math.log(p)) / (self.sessions + 1) - _ALLOWED)


class Pace(Struct, omit_defaults=True, gc=False):
    """How many sessions an agent has a week, by a sliding window of two: its week now, and the one before.

    The week began at ``began_us`` and has had ``sessions``, the one before ``before`` (negative: there was
    none).
    """

    began_us: int = 0
    sessions: int = 0
    before: int = -1

    def count(self, at_us: int) -> None:
        """Take in a session that begins."""
        weeks = max(0, at_us - self.began_us) // WEEK_US
        if not self.sessions or weeks > 1:
            self.began_us, self.sessions, self.before = at_us, 0, -1
        elif weeks:
            self.began_us, self.sessions, self.before = self.began_us + WEEK_US, 0, self.sessions
        self.sessions += 1

    def per_week(self, at_us: int) -> float:
        """Return how many there are a week; in the first one, as many as there would be at this rate."""
        elapsed_us = max(0, at_us - self.began_us)
        if self.before < 0:
            return self.sessions * max(1.0, WEEK_US / max(elapsed_us, DAY_US))
        return self.sessions + self.before * max(0.0, 1.0 - elapsed_us / WEEK_US)


def threshold(sessions_per_week: float, rate: float) -> float:
    """Return the value at which to alarm: an honest agent does so in at most ``rate`` of its weeks."""
    return max(1.0, sessions_per_week) / rate


def drift_limit(rate: float) -> float:
    """Return the value at which to alarm: at most that share of honest sessions is at it or above."""
    return -math.log(rate) / _EXPONENT

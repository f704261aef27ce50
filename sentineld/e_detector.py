"""E-detector: sessions that are each a little odd add up, with a bound on how often honest ones do.

Each session's p-value becomes an e-value, whose mean is at most 1 for honest sessions, by the mixture of
all power calibrators (Vovk and Wang, 2021): ``e(p) = (1 - p + p ln p) / (p ln(p)^2)``. They are summed up as
Shiryaev and Roberts do: ``R(t) = (1 + R(t-1)) * e(t)``. For honest sessions ``R(t) - t`` is a
supermartingale, so ``P(R reaches A within T sessions) <= T / A`` (Shin, Ramdas, Rinaldo: E-detectors, 2022).
With ``A = sessions a week / rate`` an honest agent is demoted in at most that share of weeks.


Beside it, ``drift`` sees what is too small for that and goes on for long, as Page's CUSUM (1954) does: ``C =
max(0, C + -ln p - 1.5)``. For honest sessions ``-ln p`` is at most exponential, and by Lundberg's inequality
``C`` is at ``h`` or above after at most a share ``exp(-0.583 h)`` of them. Its p-values are ranks among up to
2,000 sessions that do not fade: a slow reference, while habits go along with what is done.
"""

import math
from functools import lru_cache

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


def add(statistic: float, p: float) -> float:
    """Return the Shiryaev-Roberts statistic after one more session of p-value ``p``."""
    return (1.0 + statistic) * e_value(p)


def threshold(sessions_per_week: float, rate: float) -> float:
    """Return the value at which to alarm: an honest agent does so in at most ``rate`` of its weeks."""
    return max(1.0, sessions_per_week) / rate


def drift(statistic: float, p: float) -> float:
    """Return the CUSUM after one more session of p-value ``p``."""
    return max(0.0, statistic - math.log(p) - _ALLOWED)


def drift_limit(rate: float) -> float:
    """Return the value at which to alarm: at most that share of honest sessions is at it or above."""
    return -math.log(rate) / _EXPONENT

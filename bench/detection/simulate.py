"""Do stated bounds hold? Simulated sessions for sliding calibration, simulated weeks for an e-detector.

python bench/detection.py --bounds [--calibration MODULE:CLASS] [--e-detector MODULE:CLASS]
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .metrics import Conformal, binomial_interval

SESSIONS, WEEKS, SESSIONS_A_WEEK, BOUND = 10_000, 1_500, 20, 0.05


class Calibration(Protocol):
    """Ranks of session maxima. Made without arguments."""

    def p(self, score: float) -> float:
        """Return the p-value of a session maximum."""

    def add(self, score: float) -> None:
        """Take a session maximum in."""


class EDetector(Protocol):
    """Evidence across sessions. Made with ``sessions`` in a week and the ``bound`` on a false alarm in it."""

    def update(self, p: float) -> bool:
        """Take in a session's p-value; tell whether the bound is passed."""


class ShiryaevRoberts:
    """``R <- (R + 1) e(p)``, alarm at ``R >= sessions / bound`` (Shin, Ramdas and Rinaldo, 2022).

    ``e(p)`` is the mean of ``k p**(k - 1)`` over k in 0..1: ``(1 - p + p ln p) / (p ln(p)**2)``; its mean
    under a uniform p is 1, so P(alarm within a week) <= bound.
    """

    def __init__(self, sessions: int, bound: float) -> None:
        self._alarm = sessions / bound
        self._value = 0.0

    def update(self, p: float) -> bool:
        """Take in a p-value; tell whether the alarm level is reached."""
        self._value = (self._value + 1.0) * mixture(p)
        return self._value >= self._alarm


def mixture(p: float) -> float:
    """Return the e-value of a p-value."""
    if p >= 1.0 - 1e-6:
        return 0.5
    log = math.log(p)
    return (1.0 - p + p * log) / (p * log * log)


def _scores(shape: str, rng: random.Random, number: int) -> float:
    if shape == "ties":
        return float(round(rng.lognormvariate(0, 1)))
    if shape == "drift":
        return rng.lognormvariate(number / SESSIONS, 1)
    if shape == "bursts":
        # Busy days: twenty sessions in a row are alike.
        day = random.Random(number // 20).gauss(0, 0.7)
        return rng.lognormvariate(day, 0.7)
    return rng.lognormvariate(0, 1)


def calibration(make: Callable[[], Calibration]) -> dict[str, Any]:
    """Return realised false-alarm rates for nominal 1 % and 5 % by shape of the scores.

    ``attacked``: one session in two hundred is hijacked, scores high, and stays in the ranks unconfirmed; the
    rate counts the others. The first 400 sessions warm up.
    """
    told: dict[str, Any] = {}
    for shape in ("independent", "ties", "bursts", "drift", "attacked"):
        rng = random.Random(f"calibration {shape}")
        ranks = make()
        alarms = {0.01: 0, 0.05: 0}
        counted = 0
        for number in range(SESSIONS + 400):
            score = _scores(shape, rng, number)
            hijacked = shape == "attacked" and rng.random() < 0.005
            if hijacked:
                score *= 50
            p = ranks.p(score)
            ranks.add(score)
            if number < 400 or hijacked:
                continue
            counted += 1
            for alpha in alarms:
                alarms[alpha] += p <= alpha
        told[shape] = {
            f"{alpha:.0%}": {
                "realised": count / counted,
                "ratio": count / counted / alpha,
                "interval": binomial_interval(count, counted),
            }
            for alpha, count in alarms.items()
        }
    return told


def weeks(make: Callable[..., EDetector], ranks: Callable[[], Calibration] = Conformal) -> dict[str, Any]:
    """Return the share of honest weeks alarmed, and of hijacked ones seen after 1, 3, 5 sessions."""
    told: dict[str, Any] = {"bound": BOUND, "weeks": WEEKS}
    for calibrated in (60, 400):
        rng = random.Random(f"weeks {calibrated}")
        false = 0
        seen = {1: 0, 3: 0, 5: 0}
        for _ in range(WEEKS):
            week = _week(ranks, calibrated, rng)
            detector = make(sessions=SESSIONS_A_WEEK, bound=BOUND)
            false += any(detector.update(next(week)(1.0)) for _ in range(SESSIONS_A_WEEK))
            detector = make(sessions=SESSIONS_A_WEEK, bound=BOUND)
            for _ in range(SESSIONS_A_WEEK):
                detector.update(next(week)(1.0))
            alarmed = 0
            for count in range(1, 6):
                if detector.update(next(week)(20.0)) and not alarmed:
                    alarmed = count
            for count in seen:
                seen[count] += 0 < alarmed <= count
        told[str(calibrated)] = {
            "false_weeks": false / WEEKS,
            "false_interval": binomial_interval(false, WEEKS),
            **{f"seen_after_{count}": number / WEEKS for count, number in seen.items()},
        }
    return told


def _week(
    ranks: Callable[[], Calibration], calibrated: int, rng: random.Random
) -> Iterator[Callable[[float], float]]:
    """Give per session a function from strength (1: honest) to the p-value; sessions join the ranks."""
    kept = ranks()
    for _ in range(calibrated):
        kept.add(rng.lognormvariate(0, 1))
    while True:

        def score(strength: float) -> float:
            value = strength * rng.lognormvariate(0, 1)
            p = kept.p(value)
            kept.add(value)
            return p

        yield score

"""Figures of merit, and the intervals around them. Pure functions over plain sequences; numpy inside."""

import bisect
import math
from collections.abc import Callable, Sequence

import numpy as np


def auc(benign: Sequence[float], attacks: Sequence[float]) -> float:
    """Return the chance that an attack scores above a benign session, ties counting half; nan for none."""
    if not len(benign) or not len(attacks):
        return math.nan
    ordered = np.sort(np.asarray(benign, dtype=float))
    values = np.asarray(attacks, dtype=float)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return float((below + up_to).sum() / (2 * len(ordered) * len(values)))


def threshold(benign: Sequence[float], rate: float) -> float:
    """Return the lowest score such that at most ``rate`` of the benign sessions lie strictly above it."""
    if not len(benign):
        return math.inf
    ordered = sorted(benign, reverse=True)
    return ordered[min(int(rate * len(ordered) + 1e-9), len(ordered) - 1)]


def tpr(benign: Sequence[float], attacks: Sequence[float], rate: float) -> float:
    """Return the share of attacks above the threshold for a false-positive rate."""
    if not len(attacks):
        return math.nan
    limit = threshold(benign, rate)
    return sum(score > limit for score in attacks) / len(attacks)


def macro(values: Sequence[float]) -> float:
    """Return the mean over suites, without those that have no figure."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def bootstrap(
    clusters: Sequence[str], figure: Callable[[np.ndarray], float], rounds: int, seed: int = 7
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a figure when whole clusters are drawn with replacement.

    ``figure`` gets positions into ``clusters``; a cluster drawn twice gives its positions twice.
    """
    members: dict[str, list[int]] = {}
    for position, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(position)
    groups = [np.asarray(group) for group in members.values()]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, len(groups), len(groups))
        value = figure(np.concatenate([groups[number] for number in drawn]))
        if not math.isnan(value):
            values.append(value)
    if not values:
        return math.nan, math.nan
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def binomial_interval(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson, 1934)."""
    if trials == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _solve(lambda p: 1 - _binomial_cdf(count - 1, trials, p), tail)
    high = 1.0 if count == trials else _solve(lambda p: -_binomial_cdf(count, trials, p), -tail)
    return low, high


def poisson_interval(count: int, exposure: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a rate, events per unit of exposure (Garwood, 1936)."""
    if exposure <= 0:
        return 0.0, math.inf
    tail = (1 - confidence) / 2
    top = 20.0 + 4 * count
    low = 0.0 if count == 0 else _solve(lambda m: 1 - _poisson_cdf(count - 1, m), tail, top)
    high = _solve(lambda m: -_poisson_cdf(count, m), -tail, top)
    return low / exposure, high / exposure


def _solve(rising: Callable[[float], float], target: float, top: float = 1.0) -> float:
    low, high = 0.0, top
    for _ in range(80):
        middle = (low + high) / 2
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _binomial_cdf(count: int, trials: int, p: float) -> float:
    if p <= 0.0:
        return 1.0
    if p >= 1.0:
        return float(count >= trials)
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(p)
        + (trials - k) * math.log1p(-p)
        for k in range(count + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _poisson_cdf(count: int, mean: float) -> float:
    if mean <= 0.0:
        return 1.0
    return min(
        1.0, math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))
    )


class Conformal:
    """Split-conformal p-values of session maxima against the latest ``size`` calibration sessions.

    ``p = (1 + calibration scores at least as high) / (1 + calibration scores)``; under exchangeability
    P(p <= alpha) <= alpha (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005).
    """

    def __init__(self, size: int = 4000) -> None:
        self._size = size
        self._order: list[float] = []
        self._ranked: list[float] = []

    def __len__(self) -> int:
        """Count the calibration sessions."""
        return len(self._ranked)

    def p(self, score: float) -> float:
        """Return the p-value of a session's maximum."""
        at_least = len(self._ranked) - bisect.bisect_left(self._ranked, score)
        return (1 + at_least) / (1 + len(self._ranked))

    def add(self, score: float) -> None:
        """Keep a calibration session; the oldest one goes when the set is full."""
        self._order.append(score)
        bisect.insort(self._ranked, score)
        if len(self._order) > self._size:
            del self._ranked[bisect.bisect_left(self._ranked, self._order.pop(0))]

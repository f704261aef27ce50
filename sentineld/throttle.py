"""Throttle: how far the daemon steps back while the machine is under pressure.

Readings in, step out: ``decide`` is a pure function, and time is an argument. A step is taken at once and
given back only after a calm time, one at a time, so that a reading around a threshold changes little.
``MEASURES`` says what a step means. No event is dropped at any step.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

#: The steps, mildest first; a number of a step is an index into these.
STEPS = ("none", "moderate", "aggressive")
NONE, MODERATE, AGGRESSIVE = range(3)
#: Aggressive begins at so many times the threshold of moderate; a step holds down to half of where it began.
_AGGRESSIVE_FACTOR, _RELEASE_FACTOR = 2.0, 0.5


class Pressure(NamedTuple):
    """Percent of the time in which something waited for a resource, of late; 0 where nobody knows."""

    cpu: float = 0.0
    memory: float = 0.0
    io: float = 0.0


#: Names of the resources, as in ``Pressure``.
RESOURCES = Pressure._fields


class Measures(NamedTuple):
    """What the daemon does at a step.

    While it catches up it rests after each batch for ``rest`` times as long as the batch took. Scans come
    ``scans`` times as far apart. What is told of progress and in metrics comes ``reports`` times as seldom.
    Under pressure of memory, a batch has one part in ``batches`` of its bytes.
    """

    rest: float
    scans: int
    reports: int
    batches: int


MEASURES = (Measures(0.0, 1, 1, 1), Measures(1.0, 2, 5, 2), Measures(3.0, 4, 15, 4))


@dataclass(frozen=True, slots=True)
class Throttle:
    """The step that is in force since ``since_us``, and the resources that called for it.

    ``calm_since_us``: since when no reading has held it; None while one does.
    """

    step: int = NONE
    causes: tuple[str, ...] = ()
    since_us: int = 0
    calm_since_us: int | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The step's name."""
        return STEPS[self.step]

    @property
    def measures(self) -> Measures:
        """What is done at this step."""
        found = MEASURES[self.step]
        # Smaller batches mean more commits: where the disk or the CPU is short, that would be no help.
        return found if "memory" in self.causes else found._replace(batches=1)


def decide(
    throttle: Throttle, pressure: Pressure, thresholds: Pressure, hold_us: int, now_us: int
) -> Throttle:
    """Return the step that follows from a reading at ``now_us`` (monotonic microseconds).

    ``thresholds`` are where moderate begins, all above 0. A step that no reading has held for ``hold_us`` is
    given back, for the next milder one.
    """
    ratios = {
        name: reading / threshold
        for name, reading, threshold in zip(RESOURCES, pressure, thresholds, strict=True)
    }
    wanted = max(map(_level, ratios.values()))
    causes = _causes(ratios, max(wanted, MODERATE))
    if wanted > throttle.step:
        return Throttle(wanted, causes, now_us)
    if throttle.step == NONE:
        return throttle
    if max(_level(ratio / _RELEASE_FACTOR) for ratio in ratios.values()) >= throttle.step:
        # What holds it may be another resource by now.
        return Throttle(throttle.step, causes or throttle.causes, throttle.since_us)
    calm_since = now_us if throttle.calm_since_us is None else throttle.calm_since_us
    if now_us - calm_since < hold_us:
        return Throttle(throttle.step, throttle.causes, throttle.since_us, calm_since)
    milder = throttle.step - 1
    return Throttle(milder, throttle.causes if milder else (), now_us, now_us if milder else None)


def _level(ratio: float) -> int:
    return AGGRESSIVE if ratio >= _AGGRESSIVE_FACTOR else MODERATE if ratio >= 1 else NONE


def _causes(ratios: dict[str, float], level: int) -> tuple[str, ...]:
    return tuple(name for name, ratio in ratios.items() if _level(ratio) >= level)

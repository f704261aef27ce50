"""Governor: lets the daemon step back while others on the machine wait for CPU, memory or I/O.

It reads the pressure, keeps the step (``throttle`` decides it), and says how long to rest. Two bounds hold
at every step: what is there to be judged waits for rests of at most ``throttle.max_delay`` in all, and
nothing else waits for more than one rest, which is short.
"""

from sentineld.instant import SECOND_US
from sentineld.log import Reporter
from sentineld.options import ThrottleOptions
from sentineld.pressure import read_pressure
from sentineld.throttle import RESOURCES, Pressure, Throttle, decide

#: The kernel renews its averages every two seconds.
_LOOK_US = 2 * SECOND_US
#: Longest rest, microseconds: whoever begins to write meanwhile waits for it.
MAX_REST_US = SECOND_US // 2


class Governor:
    """The step in force, and what follows from it. Times are monotonic microseconds."""

    def __init__(self, options: ThrottleOptions, reporter: Reporter) -> None:
        self._options = options
        self._reporter = reporter
        self.throttle = Throttle()
        self.pressure = Pressure()
        #: How long it has rested since the start, and since there was nothing left to read.
        self.rested_us = self._rested_behind_us = 0
        self._next_us = 0

    def configure(self, options: ThrottleOptions) -> None:
        """Go on by other options."""
        if options != self._options:
            self._options, self._next_us = options, 0

    def look(self, now_us: int) -> bool:
        """Read the pressure, if it is time to; True where the step, or what calls for it, has changed."""
        if now_us < self._next_us:
            return False
        self._next_us = now_us + _LOOK_US
        before, options = self.throttle, self._options
        if options.enabled:
            self.pressure = read_pressure(options.pressure_dir)
            limits = Pressure(options.cpu, options.memory, options.io)
            self.throttle = decide(before, self.pressure, limits, options.hold.us, now_us)
        else:
            self.pressure, self.throttle = Pressure(), Throttle()
        if self.throttle.step != before.step:
            self._tell(before)
        return self.throttle != before

    def rest_us(self, worked_us: int) -> int:
        """Return how long to rest after a batch that took so long, while there is more to catch up with."""
        left_us = self._options.max_delay.us - self._rested_behind_us
        return max(0, min(round(worked_us * self.throttle.measures.rest), MAX_REST_US, left_us))

    def rested(self, took_us: int) -> None:
        """Take note of a rest."""
        self.rested_us += took_us
        self._rested_behind_us += took_us

    def all_read(self) -> None:
        """Take note that nothing waits: what comes next may wait for rests anew."""
        self._rested_behind_us = 0

    def document(self) -> dict[str, object]:
        """Return what readers are told: the step, what called for it, and the readings in percent."""
        return {
            "step": self.throttle.name,
            "causes": list(self.throttle.causes),
            "pressure": {name: round(value, 2) for name, value in self._readings().items()},
        }

    def _readings(self) -> dict[str, float]:
        return dict(zip(RESOURCES, self.pressure, strict=True))

    def _tell(self, before: Throttle) -> None:
        self._reporter.warn(
            "throttle_changed",
            self.throttle.name,
            former=before.name,
            resources=list(self.throttle.causes or before.causes),
            percent=self._readings(),
        )

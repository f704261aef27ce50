"""Metrics exporter: what the daemon holds of metrics: the meter, and the endpoint while one is configured.

Where no place is configured, neither prometheus_client is loaded nor a thread started.
"""

import grp
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from sentineld import clock
from sentineld.instant import SECOND_US
from sentineld.log import Reporter
from sentineld.meter import Meter
from sentineld.metrics import DATABASE_ERRORS, Sample, false_alarms
from sentineld.options import MetricsOptions

if TYPE_CHECKING:
    from sentineld.metrics_endpoint import Endpoint, Places
    from sentineld.metrics_text import Page

#: Least time between two samples, microseconds, unless the daemon steps back.
SAMPLE_US = SECOND_US
#: How long an endpoint that broke down stays away, microseconds.
_REST_US = 60 * SECOND_US


class Exporter:
    """Metrics of one daemon. ``database`` is where it stands; only the loop's thread calls."""

    def __init__(self, options: MetricsOptions, database: str, reporter: Reporter) -> None:
        self.meter = Meter()
        self._options = options
        self._database = database
        self._reporter = reporter
        #: How many sessions it takes to rank under a bound; 0: nothing is learned.
        self.sessions_needed = 0
        self.sample_us = SAMPLE_US
        self._next_us = 0
        self._seen_changes = -1
        self._busy_since = 0
        self._page: Page | None = None
        self._endpoint: Endpoint | None = None

    @property
    def is_on(self) -> bool:
        """Whether anybody is told."""
        options = self._options
        return bool(options.socket or options.address or options.textfile)

    def configure(self, options: MetricsOptions) -> None:
        """Go on at other places, if they are others."""
        if options != self._options:
            self.stop()
            self._options, self._next_us = options, 0

    def due_us(self) -> int | None:
        """Say when a sample is wanted (monotonic microseconds); None: there is nothing new to tell."""
        return self._next_us if self.is_on and self.meter.changes != self._seen_changes else None

    def note_busy(self, *, is_busy: bool) -> None:
        """Take note of whether there is something left to read."""
        if is_busy == bool(self._busy_since):
            return
        self._busy_since = clock.monotonic_us() if is_busy else 0
        self.meter.changes += 1

    @property
    def lag_us(self) -> int:
        """For how long there has been something left to read, microseconds."""
        return clock.monotonic_us() - self._busy_since if self._busy_since else 0

    def offer(self, make: Callable[[], Sample]) -> None:
        """Take a sample if it is time for one; the first one begins to serve."""
        now = clock.monotonic_us()
        if not self.is_on or now < self._next_us:
            return
        self._next_us, self._seen_changes = now + self.sample_us, self.meter.changes
        sample = make()
        if self._page is None:
            self._start(sample)
        elif self._endpoint is None or not self._endpoint.is_alive():
            self.stop()
            self._next_us = now + _REST_US
        else:
            self._page.sample = sample

    def amend(self, values: Sample) -> None:
        """Tell what is known where no sample can be taken: the database does not work."""
        if self._page is not None:
            self._page.sample = {**self._page.sample, **values}

    def write_once(self, sample: Sample) -> None:
        """Write the textfile, where one is configured, and serve nothing: nobody would be there to answer."""
        if not self._options.textfile:
            return
        from sentineld.metrics_endpoint import write_textfile

        try:
            write_textfile(self._options.textfile, self._make_page(sample).text(), self._gid())
        except OSError as error:
            self._tell(self._options.textfile, error.strerror or str(error))

    def stop(self) -> None:
        """Serve no more."""
        if self._endpoint is not None:
            self._endpoint.stop()
        self._endpoint = self._page = None

    def _start(self, sample: Sample) -> None:
        # Late: it takes a tenth of a second, which those without metrics need not wait for.
        from sentineld.metrics_endpoint import Endpoint
        from sentineld.metrics_text import CONTENT_TYPE

        self._page = self._make_page(sample)
        # A reporter of its own: that thread must not share one.
        self._endpoint = Endpoint(self._places(), self._page.text, CONTENT_TYPE, Reporter(clock.monotonic_us))
        try:
            self._endpoint.start()
        except RuntimeError as error:
            self._tell("thread", str(error))
            self._endpoint = None

    def _make_page(self, sample: Sample) -> "Page":
        from sentineld.metrics_text import Page

        return Page(sample, self._slow)

    def _slow(self) -> Sample:
        if not self.sessions_needed:
            return {}
        try:
            return false_alarms(self._database, self.sessions_needed)
        except DATABASE_ERRORS:
            # It is told where the daemon itself meets it; this is asked again.
            return {}

    def _places(self) -> "Places":
        from sentineld.metrics_endpoint import Places

        options = self._options
        address = options.host_port if options.address else None
        return Places(options.socket, address, options.textfile, float(options.interval), self._gid())

    def _gid(self) -> int | None:
        if not self._options.group:
            return None
        try:
            gid = grp.getgrnam(self._options.group).gr_gid
        except KeyError:
            self._tell(self._options.group, "there is no such group")
            return None
        if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
            self._tell(self._options.group, "the daemon is not in this group")
            return None
        return gid

    def _tell(self, place: str, error: str) -> None:
        self._reporter.warn("metrics_unavailable", place, error=error, docs="docs/metrics.md")

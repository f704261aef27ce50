"""Meter: what the daemon has done since it started, as plain counts. ``metrics`` shows them.

Only the loop's thread touches it, a few times a batch. Values that somebody else chooses (formats of
mappings, reasons) are bounded: further ones are counted as ``other``.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from sentineld import clock
from sentineld.decision import Decision
from sentineld.event import event_class
from sentineld.framing import DOCUMENT
from sentineld.instant import SECOND_US, parse_iso
from sentineld.integrity import CAUSES
from sentineld.tables import Commit

#: Different values of one label that are counted by name.
MAX_VALUES = 64
#: Stands for those beyond.
OTHER = "other"
#: Causes of decisions that follow from what agents did: between its time and the publication lies our delay.
OBSERVED_CAUSES = ("detected", "rule", *dict.fromkeys(cause for cause in CAUSES.values() if cause != "note"))


class Histogram:
    """Counts of values by size; ``bounds`` are upper, inclusive, ascending; a last count has no bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Meter:
    """What was done since the start; it keeps nothing of what was read. Times of clocks are microseconds."""

    def __init__(self) -> None:
        self.lines: Counter[tuple[str, str]] = Counter()
        self.rejects: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.decisions: Counter[tuple[str, int]] = Counter()
        self.rules: Counter[str] = Counter()
        self.incidents: Counter[str] = Counter()
        self.tool_calls = self.read_bytes = self.publish_failures = 0
        self.commits = Histogram((0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0))
        self.publishes = Histogram((0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0))
        self.delays = Histogram((0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0))
        #: When the state file was written last (wall clock; 0: never yet).
        self.published_at = 0
        self.is_reload_good = True
        self.reloaded_at = clock.now_us()
        #: Grows with every change here.
        self.changes = 0
        self._formats: set[str] = set()
        self._reasons: set[str] = set()

    def committed(self, commit: Commit, duration_us: int) -> None:
        """Take note of what a transaction made last, and of how long it took."""
        self.changes += 1
        self.commits.observe(duration_us / SECOND_US)
        for part in commit.parts:
            told = part.told
            if told is None:
                continue
            name = _bounded(self._formats, part.format or "unknown")
            for outcome, count in (
                ("accepted", told.accepted),
                ("ignored", told.ignored),
                ("rejected", told.rejected),
                ("duplicate", told.duplicates),
            ):
                if count:
                    self.lines[name, outcome] += count
            for item in part.rejects:
                self.rejects[_bounded(self._reasons, item.reason)] += 1
        for expected_pos, source in commit.sources:
            if source.kind != DOCUMENT:
                self.read_bytes += max(0, source.pos - expected_pos)
        for event_type, count in commit.event_types.items():
            self.events[event_class(event_type)] += count
        self.tool_calls += commit.tool_calls
        for (form, _), count in commit.unknown.items():
            self.unknown[_bounded(self._formats, form)] += count
        for incident in commit.incidents:
            self.incidents[incident.kind] += incident.count
        for decision in commit.decisions:
            self.decisions[decision.cause, decision.to_tier] += 1
            if decision.cause == "rule":
                self.rules.update(
                    {reason.feature for reason in decision.reasons if reason.detector == "rule"}
                )

    def published(self, duration_us: int) -> None:
        """Take note that the state file was written, and of how long it took."""
        self.changes += 1
        self.publishes.observe(duration_us / SECOND_US)
        self.published_at = clock.now_us()

    def told(self, decisions: Iterable[Decision], now_us: int) -> None:
        """Take note that readers can see these decisions since ``now_us``."""
        for decision in decisions:
            if decision.cause in OBSERVED_CAUSES and decision.to_tier > decision.from_tier:
                self.delays.observe(max(0, now_us - parse_iso(decision.decided_at)) / SECOND_US)

    def reloaded(self, *, is_good: bool) -> None:
        """Take note of a reload of the configuration."""
        self.changes += 1
        self.is_reload_good = is_good
        if is_good:
            self.reloaded_at = clock.now_us()


def _bounded(names: set[str], name: str) -> str:
    if name in names:
        return name
    if len(names) >= MAX_VALUES:
        return OTHER
    names.add(name)
    return name

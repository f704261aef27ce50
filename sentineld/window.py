"""A sliding window of integer sums, in bounded memory.

Time is cut into buckets; the window at an instant covers the bucket of that instant and the 30 whole
buckets before it: with the default width of 10 s, between 300 and 310 s. Sums are integers and addition
commutes, so the content does not depend on the order in which events arrive. At most 31 buckets exist.
"""

from dataclasses import dataclass, field

#: Whole buckets before the current one.
BUCKETS_BEFORE = 30
#: Buckets in a full window, the current one included.
BUCKETS = BUCKETS_BEFORE + 1


@dataclass(slots=True)
class Window:
    """Counts of one agent over the last minutes.

    ``bucket_us`` is a bucket's width in microseconds. ``buckets`` maps a bucket's number (instant //
    width) to ``[events, file_ops, network_ops, entropy_units]``; ``newest`` is the bucket that the window
    has been advanced to, ``oldest`` a lower bound of the buckets held (2**62 for none). The totals are kept
    beside. All held buckets lie within 31 of each other, so stepping from ``oldest`` on is bounded.
    """

    bucket_us: int = 10_000_000
    newest: int = -(1 << 62)
    oldest: int = 1 << 62
    events: int = 0
    file_ops: int = 0
    network_ops: int = 0
    entropy_units: int = 0
    buckets: dict[int, list[int]] = field(default_factory=dict)

    def add(self, bucket: int, is_file: int, is_network: int, entropy_units: int) -> bool:
        """Count one event in its bucket; False where the bucket has already left the window.

        The caller advances the window first where the bucket is newer than ``newest``.
        """
        if bucket < self.newest - BUCKETS_BEFORE:
            return False
        cell = self.buckets.get(bucket)
        if cell is None:
            self.buckets[bucket] = [1, is_file, is_network, entropy_units]
            if bucket < self.oldest:
                self.oldest = bucket
        else:
            cell[0] += 1
            cell[1] += is_file
            cell[2] += is_network
            cell[3] += entropy_units
        self.events += 1
        self.file_ops += is_file
        self.network_ops += is_network
        self.entropy_units += entropy_units
        return True

    def next_expiry(self) -> int | None:
        """Return the bucket number at which the oldest held bucket leaves; None for an empty window."""
        if not self.buckets:
            return None
        while self.oldest not in self.buckets:
            self.oldest += 1
        return self.oldest + BUCKETS

    def advance(self, bucket: int) -> None:
        """Move on to ``bucket``, dropping what has left the window. Going back is ignored. Amortised O(1)."""
        if bucket <= self.newest:
            return
        self.newest = bucket
        limit = bucket - BUCKETS_BEFORE
        buckets = self.buckets
        while self.oldest < limit and buckets:
            cell = buckets.pop(self.oldest, None)
            if cell is not None:
                self.events -= cell[0]
                self.file_ops -= cell[1]
                self.network_ops -= cell[2]
                self.entropy_units -= cell[3]
            self.oldest += 1
        if not buckets:
            self.oldest = 1 << 62

    def clear(self) -> None:
        """Forget everything counted; the window's place in time stays."""
        self.buckets.clear()
        self.oldest = 1 << 62
        self.events = self.file_ops = self.network_ops = self.entropy_units = 0

"""A sliding window of integer sums, in bounded memory.

Time is cut into buckets; the window at an instant covers the bucket of that instant and the 30 whole
buckets before it: with the default width of 10 s, between 300 and 310 s. Sums are integers and addition
commutes, so the content does not depend on the order in which events arrive. At most 31 buckets exist.
"""

from msgspec import Struct, field

#: Whole buckets before the current one.
BUCKETS_BEFORE = 30
#: The oldest bucket of an empty window: later than every bucket.
EMPTY = 1 << 62
#: Buckets in a full window, the current one included.
BUCKETS = BUCKETS_BEFORE + 1


class Window(Struct, omit_defaults=True, gc=False):
    """Counts of one agent over the last minutes.

    ``bucket_us`` is a bucket's width in microseconds. ``buckets`` maps a bucket's number (instant //
    width) to ``[events, file_ops, network_ops, entropy_units]``; ``newest`` is the bucket that the window
    has been advanced to (-2**62 for none yet), ``oldest`` the first bucket held (2**62 for none). The totals
    are kept beside.
    """

    bucket_us: int = 10_000_000
    newest: int = -EMPTY
    oldest: int = EMPTY
    events: int = 0
    file_ops: int = 0
    network_ops: int = 0
    entropy_units: int = 0
    buckets: dict[int, list[int]] = field(default_factory=dict)

    def add(self, bucket: int, events: int, file_ops: int, network_ops: int, entropy_units: int) -> bool:
        """Count events of one bucket; False where that has already left the window.

        The caller advances the window first where the bucket is newer than ``newest``.
        """
        if bucket < self.newest - BUCKETS_BEFORE:
            return False
        cell = self.buckets.get(bucket)
        if cell is None:
            self.buckets[bucket] = [events, file_ops, network_ops, entropy_units]
            if bucket < self.oldest:
                self.oldest = bucket
        else:
            cell[0] += events
            cell[1] += file_ops
            cell[2] += network_ops
            cell[3] += entropy_units
        self.events += events
        self.file_ops += file_ops
        self.network_ops += network_ops
        self.entropy_units += entropy_units
        return True

    def restore(self, bucket: int, events: int, file_ops: int, network_ops: int, entropy_units: int) -> None:
        """Put back a bucket that was saved. Raises ``ValueError`` for one that the window cannot hold."""
        if not self.newest - BUCKETS_BEFORE <= bucket <= self.newest or bucket in self.buckets:
            raise ValueError(f"bucket {bucket} does not belong to a window that has come to {self.newest}")
        self.buckets[bucket] = [events, file_ops, network_ops, entropy_units]
        self.oldest = min(self.oldest, bucket)
        self.events += events
        self.file_ops += file_ops
        self.network_ops += network_ops
        self.entropy_units += entropy_units

    def next_expiry(self) -> int | None:
        """Return the bucket number at which the oldest held bucket leaves; None for an empty window."""
        return self.oldest + BUCKETS if self.buckets else None

    def advance(self, bucket: int) -> None:
        """Move on to ``bucket``, dropping what has left the window. Going back is ignored. Amortised O(1)."""
        if bucket <= self.newest:
            return
        self.newest = bucket
        while self.oldest < bucket - BUCKETS_BEFORE:
            events, file_ops, network_ops, entropy_units = self.buckets.pop(self.oldest)
            self.events -= events
            self.file_ops -= file_ops
            self.network_ops -= network_ops
            self.entropy_units -= entropy_units
            self.oldest = self.oldest_after(self.oldest)

    def oldest_after(self, bucket: int) -> int:
        """Return the number of the first bucket held after ``bucket``, ``EMPTY`` for none."""
        if not self.buckets:
            return EMPTY
        # All held buckets lie within 31 of each other.
        bucket += 1
        while bucket not in self.buckets:
            bucket += 1
        return bucket

    def shift(self, buckets: int) -> None:
        """Move everything by a number of buckets (negative: back), as if it had happened then."""
        self.newest += buckets if self.newest != -EMPTY else 0
        self.oldest += buckets if self.oldest != EMPTY else 0
        self.buckets = {number + buckets: cell for number, cell in self.buckets.items()}

    def clear(self) -> None:
        """Forget everything counted; the window's place in time stays."""
        self.buckets.clear()
        self.oldest = EMPTY
        self.events = self.file_ops = self.network_ops = self.entropy_units = 0

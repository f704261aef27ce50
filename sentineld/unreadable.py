"""Unreadable: files and directories that are there and cannot be opened.

Their maker may be about to open them to others: it is evidence only after a moment.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sentineld.evidence import Evidence
from sentineld.identity import Inode

#: How long a file may be unreadable before that is told, microseconds.
_PATIENCE_US = 2_000_000
#: Files that cannot be opened that are kept in mind.
_MAX_UNREADABLE = 10_000


@dataclass(slots=True)
class _Item:
    since_us: int
    #: Number of the last scan that met it.
    seen: int
    is_told: bool = False


@dataclass(slots=True)
class Unreadable:
    """What cannot be opened now, by inode. ``source_of`` gives the latest source of an inode, or 0."""

    evidence: Evidence
    source_of: Callable[[Inode], int]
    #: Whether to tell at once, because nobody will look again.
    is_final: bool = False
    _items: dict[Inode, _Item] = field(default_factory=dict)

    def tell(self, key: Inode, owner: int, path: str, detail: str, scan: int) -> None:
        """Take note of a file that cannot be opened; ``scan`` numbers the latest scan."""
        now_us = self.evidence.clock()
        item = self._items.get(key)
        if item is None:
            if len(self._items) >= _MAX_UNREADABLE:
                return
            item = self._items[key] = _Item(now_us, scan)
        item.seen = scan
        if not item.is_told and (self.is_final or now_us - item.since_us >= _PATIENCE_US):
            item.is_told = True
            self.evidence.charge("unreadable", owner, path, detail, self.source_of(key))

    def forget(self, key: Inode) -> None:
        """Take note that a file can be opened."""
        self._items.pop(key, None)

    def end_scan(self, scan: int) -> None:
        """Forget what the scan of that number did not meet."""
        self._items = {key: item for key, item in self._items.items() if item.seen == scan}

    def shift(self, step_us: int) -> None:
        """Keep how long ago everything was, after somebody set the wall clock."""
        for item in self._items.values():
            item.since_us += step_us

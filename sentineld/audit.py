"""Audit: reads again, a little at a time, what was read before, and finds what has been changed since.

Every whole block before a file's position is hashed again after the file changed (by its ctime, which nobody
can set back) and once after a start. Files take turns of ``_TURN_BYTES``; those that changed without growing
come first. One scan hashes ``SCAN_BYTES`` at most, over all files.

Promised: a change anywhere in what was read, made while the daemon runs or is down, is found after at most
(the size of all files that changed, or of all files after a start) / ``SCAN_BYTES`` scans. The first 1 KiB
and the last block before the position are besides compared before every read.

Not promised: a change that is undone before its turn comes; one through a writable mapping, made after the
page was last written back and the file read again (its ctime may stay); one on kernels before 6.13 within
the same clock tick (4 ms) as a look at the file.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from sentineld.files import File, Files
from sentineld.identity import BLOCK_BYTES, Inode, Source, linked
from sentineld.identity import stamp as stamp_of

#: Bytes that are hashed again in one scan, over all files.
SCAN_BYTES = 16 << 20
_TURN_BYTES = 1 << 20


@dataclass(slots=True)
class _Pass:
    """One reading of everything that was read of a source before the pass began."""

    source_id: int
    stamp: tuple[int, int]
    end: int
    chain: bytes
    at: int = 0
    so_far: bytes = b""


@dataclass(slots=True)
class Audit:
    """The files whose past has to be read again, in turn."""

    _due: OrderedDict[Inode, _Pass | None] = field(default_factory=OrderedDict)
    #: The stamp of every file when its last complete pass began.
    _passed: dict[Inode, tuple[int, int]] = field(default_factory=dict)

    def note(self, key: Inode, source: Source, stamp: tuple[int, int], *, is_urgent: bool) -> None:
        """Take note of a look at a file: it is due if it changed since its last pass."""
        if source.pos < BLOCK_BYTES or not source.chain or self._passed.get(key) == stamp:
            return
        if key not in self._due:
            self._due[key] = None
            if is_urgent:
                self._due.move_to_end(key, last=False)

    def forget(self, key: Inode) -> None:
        """Leave a file alone: it is followed no longer, or became another one."""
        self._due.pop(key, None)
        self._passed.pop(key, None)

    def next_due(self) -> Inode | None:
        """Return the file whose turn it is."""
        return next(iter(self._due), None)

    def skip(self, key: Inode) -> None:
        """Give up on a file that cannot be read now; its next change makes it due again."""
        self._due.pop(key, None)

    def scan(
        self,
        files: Files,
        begin_anew: Callable[[File, int, os.stat_result], None],
        isolated: Callable[[str], AbstractContextManager[None]],
    ) -> Iterator[None]:
        """Hash again what a scan may, with a pause behind each turn.

        ``begin_anew`` is told of an open file whose past is not what was read; what is raised over one of
        them is left to ``isolated``, until it is due again.
        """
        budget = SCAN_BYTES
        while budget > 0 and (key := self.next_due()) is not None:
            file = files.get(key)
            if file is None:
                self.forget(key)
                continue
            length = 0
            with isolated(file.source.last_path):
                try:
                    length = self._look_again(key, file, files, begin_anew)
                except OSError as error:
                    files.cannot_read(file, error)
            if not length:
                self.skip(key)
                continue
            budget -= max(length, BLOCK_BYTES)
            yield

    def _look_again(
        self,
        key: Inode,
        file: File,
        files: Files,
        begin_anew: Callable[[File, int, os.stat_result], None],
    ) -> int:
        """Hash a piece of a file again; returns its bytes, at least 1; 0 where it cannot be read."""
        fd = files.descriptor(file)
        if fd is None:
            return 0
        length, is_as_it_was = self.turn(key, file.source, fd, stamp_of(os.fstat(fd)))
        if not is_as_it_was:
            begin_anew(file, fd, os.fstat(fd))
        return max(length, 1)

    def turn(self, key: Inode, source: Source, fd: int, stamp: tuple[int, int]) -> tuple[int, bool]:
        """Hash a piece of a file again: (bytes read, whether it is as it was). Raises ``OSError``.

        A file that is not as it was is due no longer.
        """
        current = self._due[key]
        if current is None or current.source_id != source.id:
            current = _Pass(source.id, stamp, source.pos // BLOCK_BYTES, source.chain)
            self._due[key] = current
        began = current.at
        while current.at < current.end and (current.at - began) * BLOCK_BYTES < _TURN_BYTES:
            current.so_far, current.at = linked(fd, current.so_far, current.at, current.end)
        # A hole takes a jump, and counts as one.
        length = min((current.at - began) * BLOCK_BYTES, 2 * _TURN_BYTES)
        if current.at < current.end:
            self._due.move_to_end(key)
            return length, True
        del self._due[key]
        self._passed[key] = current.stamp
        return length, current.so_far == current.chain

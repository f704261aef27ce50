"""Successors: files that take the place of former ones, with all that was read of those.

Some tools write a whole file anew and rename it over the former one. If it begins with all that was read of
that one, and that one is gone, it is read on from there. A former file that was renamed is a rotated one:
then the new one is a file of its own, however it begins.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sentineld import identity
from sentineld.copies import MAX_COMPARED_BYTES, MIN_COPY_BYTES, Copies
from sentineld.files import File, Files
from sentineld.identity import Inode, Source

#: Files that took the place of others, whose inodes are remembered for the watch.
_MAX_SUCCEEDED = 10_000


@dataclass(slots=True)
class Successors:
    """Files that continue former ones, and files of which that is still to be seen."""

    files: Files
    copies: Copies
    #: Paths whose files seem to continue former ones that may have been renamed, by scan: a whole scan tells.
    waiting: dict[str, int] = field(default_factory=dict)
    #: Files that began to wait in this scan, or before, have waited for a whole one.
    _settled: int = -1
    #: Former files at paths that were continued.
    _succeeded: dict[Inode, str] = field(default_factory=dict)

    def end_waiting(self, notice: Callable[[str], None], *, is_final: bool) -> None:
        """Look again at files that waited for a whole scan: it has met the former ones, if they exist."""
        self._settled = self.files.scan if is_final else self.files.scan - 1
        for path, began in list(self.waiting.items()):
            if began <= self._settled:
                notice(path)
                self.waiting.pop(path, None)

    def predecessor(
        self, path: str, key: Inode, fd: int, status: os.stat_result
    ) -> tuple[Source | None, bool]:
        """Return the source that a new file at a path continues, and whether that is still to be seen.

        Agents repeat themselves: a short beginning is taken for chance, unless the new file was there before
        the former was gone.
        """
        former = self.files.inode_of.get(path)
        if former is None or former == key:
            return None, False
        began = self.waiting.get(path)
        if began is not None and began > self._settled:
            return None, True
        file = self.files.get(former)
        for source in self.files.known_at(former):
            if source.last_path != path or not (
                continues(fd, status, source) or (not source.pos and source.owner == status.st_uid)
            ):
                continue
            is_long = source.pos >= MIN_COPY_BYTES
            if file is None or file.fd is None:
                if not is_long:
                    continue
                if began is None:
                    self.waiting[path] = self.files.scan
                    return None, True
                return source, False
            held = os.fstat(file.fd)
            was_there = 0 < identity.birth_ns(fd) < held.st_ctime_ns
            if not held.st_nlink and (is_long or was_there) and _holds(fd, status, source.pos, file.fd, held):
                return source, False
        return None, False

    def move(self, source: Source, key: Inode, fd: int, generation: int) -> Source:
        """Let a source go on in another open file, and forget the former one."""
        former = (source.dev, source.ino)
        if former in self.files.by_inode:
            self.files.drop(former, but=fd)
        else:
            self.files.forget_away(source)
        if former != key:
            self._succeeded[former] = source.last_path
            if len(self._succeeded) > _MAX_SUCCEEDED:
                del self._succeeded[next(iter(self._succeeded))]
        self.copies.moved(source, key)
        self.waiting.pop(source.last_path, None)
        self._succeeded.pop(key, None)
        moved = replace(source, dev=key[0], ino=key[1], generation=generation, away_us=0)
        # Committed at once, whether there is more to read or not: its inode tells it apart from others.
        self.files.changed[moved.id] = moved
        return moved

    def was_continued(self, key: Inode, path: str) -> bool:
        """Say, once, whether the file of an inode had a path and another one there continued it."""
        return self._succeeded.pop(key, "") == path

    def is_at(self, path: str, notice: Callable[[str], None]) -> bool:
        """Say whether the file that stands at a path now took the place of a former one.

        It did so of versions in between as well, that nobody met.
        """
        file = self.files.at(path)
        if file is None or not file.is_successor:
            return False
        try:
            if not _stands_at(path, file):
                # Another version may have come since: it decides.
                notice(path)
                latest = self.files.at(path)
                return latest is not None and latest is not file and latest.is_successor
        except OSError:
            return False
        return True


def continues(fd: int, status: os.stat_result, source: Source) -> bool:
    """Say whether an open file begins with all that was read of a source of the same owner.

    Raises ``OSError``.
    """
    return (
        0 < source.pos <= MAX_COMPARED_BYTES
        and source.owner == status.st_uid
        and identity.begins_with(fd, status.st_size, source)
    )


def _holds(fd: int, status: os.stat_result, start: int, former: int, held: os.stat_result) -> bool:
    """Say whether an open file has, from ``start`` on, everything that stands in a former one."""
    is_bounded = held.st_size - start <= MAX_COMPARED_BYTES
    return (
        held.st_size <= status.st_size and is_bounded and identity.are_alike(fd, former, start, held.st_size)
    )


def _stands_at(path: str, file: File) -> bool:
    status = os.lstat(path)
    return (status.st_dev, status.st_ino) == file.key

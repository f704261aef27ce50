"""Reading the decision log while it is written and rotated: each line once, in the order of numbers.

A rotation renames files from the oldest to the newest, so whoever looks at names one by one may miss a file.
Here the names are looked at until two looks are equal, and the file that is being read is held open: it is
known again by its identity, whatever its name is then.
"""

import contextlib
import os
import re
import stat
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from sentineld.journal import rotated_files

#: How often the names are looked at again while a rotation goes on.
_MAX_LOOKS = 100
_CHUNK_BYTES = 1 << 20
#: A line that is longer is passed over.
_MAX_LINE_BYTES = 16 << 20
#: How a line of the log begins.
_NUMBER = re.compile(rb'\{"decision_no": ?(\d{1,16})\b')


@dataclass(slots=True)
class _Open:
    """A file of the log, how far it was read, and whether the rest of a too long line is passed over."""

    fd: int
    identity: tuple[int, int]
    offset: int = 0
    is_skipping: bool = False


class JournalReader:
    """Reads the log at ``path`` from its oldest file on. Use as a context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        #: What is open and not read to its end, the oldest first; the last one is followed.
        self._files: deque[_Open] = deque()
        self._last: tuple[int, int] | None = None

    def __enter__(self) -> "JournalReader":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.rewind()

    def rewind(self) -> None:
        """Begin again with the oldest file."""
        while self._files:
            os.close(self._files.pop().fd)
        self._last = None

    def read(self) -> tuple[list[bytes], bool]:
        """Return whole lines that were not returned yet, about a mebibyte of them; none: all were.

        The second value says whether these begin a log that is not the one that was read until now (always
        so at first). Raises ``OSError``; a log that is missing is an empty one.
        """
        is_new = self._look()
        while self._files:
            file = self._files[0]
            lines = self._chunk(file)
            if lines:
                return lines, is_new
            if len(self._files) == 1:
                break
            # A rotated file grows no more; what a crash tore off at its end was written again after it.
            os.close(self._files.popleft().fd)
        return [], is_new

    def _look(self) -> bool:
        """Open what has come; True where the file that was followed is not among those that are there."""
        identity: tuple[int, int] | None = None
        # After a rotation there is none, until something is written.
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(self._path, follow_symlinks=False)
            identity = (status.st_dev, status.st_ino)
            if identity == self._last and status.st_size >= self._files[-1].offset:
                return False
        found = self._open_all()
        if not found:
            # What is open can still be read to its end.
            return False
        known = None if identity == self._last else self._last
        place = next((n for n, file in enumerate(found) if file.identity == known), None)
        if place is None:
            self.rewind()
            self._files.extend(found)
        else:
            for file in found[: place + 1]:
                os.close(file.fd)
            self._files.extend(found[place + 1 :])
        self._last = self._files[-1].identity
        return place is None

    def _open_all(self) -> list[_Open]:
        """Open every file of the log, the oldest first."""
        for _ in range(_MAX_LOOKS):
            names = self._names()
            files: list[_Open] = []
            with contextlib.suppress(FileNotFoundError):
                for path, identity in names:
                    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                    files.append(_Open(fd, identity))
                if names == self._names() and all(_identity(file.fd) == file.identity for file in files):
                    return files
            for file in files:
                os.close(file.fd)
        raise OSError(f"{self._path} is rotated faster than it can be read")

    def _names(self) -> list[tuple[str, tuple[int, int]]]:
        names = [self._path]
        with contextlib.suppress(FileNotFoundError):
            names += [path for _, path in rotated_files(self._path)]
        found = []
        for path in reversed(names):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append((path, (status.st_dev, status.st_ino)))
        return found

    def _chunk(self, file: _Open) -> list[bytes]:
        size = _CHUNK_BYTES
        while data := os.pread(file.fd, size, file.offset):
            end = data.rfind(b"\n") + 1
            if end:
                file.offset += end
                lines = data[:end].split(b"\n")[:-1]
                if file.is_skipping:
                    file.is_skipping = False
                    del lines[0]
                return lines or [b""]
            if len(data) < size:
                break
            if size >= _MAX_LINE_BYTES:
                file.offset += len(data)
                file.is_skipping = True
            else:
                size *= 2
        return []


def number_of(line: bytes) -> int | None:
    """Return the number of the decision on a line, None where it holds none."""
    match = _NUMBER.match(line)
    return int(match[1]) if match else None


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino

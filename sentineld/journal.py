"""Journal: the append-only decision log, one JSON object a line, in ASCII.

A process that is killed at any moment loses no line and leaves none twice; only where the disk itself failed
may a decision stand twice, equal in ``decision_no``. The file is rotated by size: ``decisions.jsonl`` becomes
``decisions.1.jsonl``, that one ``decisions.2.jsonl`` and so on, and the oldest goes. Numbers grow from the
oldest file to the newest, so a reader that keeps the last number it saw finds its place in whichever file
that is now (`journal_reader`).
"""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence

from sentineld.decision import Decision
from sentineld.published_file import READ_FLAGS
from sentineld.visible import json_line

#: Rotated files that are kept unless told otherwise.
KEPT_FILES = 4
#: How much of the end of a file is searched for the last whole line: some hundred decisions.
_END_BYTES = 1 << 20


class Journal:
    """Appends decisions to a file (mode 0640) and waits until they are on the disk.

    ``max_bytes`` is the size above which it asks to be rotated, ``kept_files`` how many rotated ones stay.
    """

    def __init__(self, path: str, max_bytes: int = 64 << 20, kept_files: int = KEPT_FILES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.kept_files = kept_files

    @property
    def is_full(self) -> bool:
        """Whether the file is so large that it should be rotated. Raises ``OSError``."""
        try:
            return os.stat(self.path, follow_symlinks=False).st_size >= self.max_bytes
        except FileNotFoundError:
            return False

    def rotate(self) -> None:
        """Put the file aside. Raises ``OSError``; whatever was done until then, no line is lost by it.

        For a caller that knows that all decisions in it are recorded as logged: the oldest file goes.
        """
        # Only as many names move as must: a rotation that broke off left a free one.
        kept = self.kept_files
        free = next((n for n in range(1, kept) if not os.path.lexists(self._name(n))), kept)
        for number in range(free, 0, -1):
            os.replace(self._name(number - 1), self._name(number))
        for number, path in rotated_files(self.path):
            if number > kept:
                os.unlink(path)
        sync_directory(os.path.dirname(self.path))

    def settle(self) -> int:
        """Return ``last_no`` once what it stands for is on the disk.

        A process that was killed while it appended may have left lines that only the kernel holds.
        Raises ``OSError``.
        """
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _is_torn(fd):
                    # Perhaps its end is all that is missing, and readers wait for it.
                    os.write(fd, b"\n")
                os.fsync(fd)
            finally:
                os.close(fd)
        return self.last_no()

    def last_no(self) -> int:
        """Return the number of the last decision in the log, 0 where there is none or it cannot be read."""
        for path in (self.path, self._name(1)):
            for line in _last_lines(path):
                try:
                    number = json.loads(line)["decision_no"]
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue
                if isinstance(number, int) and 0 < number < 1 << 53:
                    return number
        return 0

    def _name(self, number: int) -> str:
        stem, extension = os.path.splitext(self.path)
        return f"{stem}.{number}{extension}" if number else self.path

    def append(self, decisions: Sequence[Decision]) -> None:
        """Append and fsync. Raises ``OSError``; then some may have been written, and all should be again."""
        if not decisions:
            return
        data = b"".join(json_line(decision.to_dict()) for decision in decisions)
        append_lines(self.path, data)


def rotated_files(path: str) -> list[tuple[int, str]]:
    """Return number and path of every rotated file of a log, the newest first. Raises ``OSError``."""
    directory, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    pattern = re.compile(rf"{re.escape(stem)}\.([1-9]\d{{0,5}}){re.escape(extension)}")
    found = (pattern.fullmatch(entry) for entry in os.listdir(directory or "."))
    return sorted((int(match[1]), os.path.join(directory, match[0])) for match in found if match)


def append_lines(path: str, data: bytes) -> None:
    """Append whole lines to a file (mode 0640) and wait until they are on the disk. Raises ``OSError``."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o640)
    try:
        size = os.fstat(fd).st_size
        if _is_torn(fd):
            # A crash tore the last line; what was in it is written again, on a line of its own.
            data = b"\n" + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        except OSError:
            # All of it is written again: what got through would stand there twice.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
    if not size:
        sync_directory(os.path.dirname(path))


def _is_torn(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"


def _last_lines(path: str) -> Iterator[bytes]:
    """Yield the whole lines at the end of a file, the last one first; none where it cannot be read."""
    try:
        with open(os.open(path, READ_FLAGS), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
            data = file.read(_END_BYTES)
    except OSError:
        return
    yield from reversed(data.splitlines())


def sync_directory(path: str) -> None:
    """Make the names in a directory survive a power cut. Raises ``OSError``."""
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

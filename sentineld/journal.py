"""Journal: the append-only decision log, one JSON object a line, in ASCII.

At least once: after a crash the last decisions may stand twice, equal in ``decision_no``. The file is rotated
by size: ``decisions.jsonl`` becomes ``decisions.1.jsonl``, that one ``decisions.2.jsonl`` and so on, and the
oldest goes. Numbers grow from the oldest file to the newest, so a reader that keeps the last number it saw
finds its place in whichever file that is now.
"""

import json
import os
from collections.abc import Iterator, Sequence

from sentineld.decision import Decision
from sentineld.visible import json_line

#: Rotated files that are kept.
KEPT_FILES = 4
#: How much of the end of a file is searched for the last whole line: some hundred decisions.
_END_BYTES = 1 << 20


class Journal:
    """Appends decisions to a file (mode 0640) and waits until they are on the disk.

    ``max_bytes`` is the size above which it asks to be rotated.
    """

    def __init__(self, path: str, max_bytes: int = 64 << 20) -> None:
        self.path = path
        self.max_bytes = max_bytes

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
        free = next((n for n in range(1, KEPT_FILES) if not os.path.lexists(self._name(n))), KEPT_FILES)
        for number in range(free, 0, -1):
            os.replace(self._name(number - 1), self._name(number))
        sync_directory(os.path.dirname(self.path))

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


def append_lines(path: str, data: bytes) -> None:
    """Append whole lines to a file (mode 0640) and wait until they are on the disk. Raises ``OSError``."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o640)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            # A crash tore the last line; what was in it is written again, on a line of its own.
            data = b"\n" + data
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    if not size:
        sync_directory(os.path.dirname(path))


def _last_lines(path: str) -> Iterator[bytes]:
    """Yield the whole lines at the end of a file, the last one first; none where it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
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

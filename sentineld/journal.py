"""Journal: the append-only decision log, one JSON object a line, in ASCII.

At least once: after a crash the last decisions may stand twice, equal in ``decision_no``.
"""

import os
from collections.abc import Sequence

from sentineld.decision import Decision
from sentineld.visible import json_line


class Journal:
    """Appends decisions to a file (mode 0640) and waits until they are on the disk."""

    def __init__(self, path: str) -> None:
        self.path = path

    def append(self, decisions: Sequence[Decision]) -> None:
        """Append and fsync. Raises ``OSError``; then some may have been written, and all should be again."""
        if not decisions:
            return
        data = b"".join(json_line(decision.to_dict()) for decision in decisions)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o640)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                # A crash tore the last line; the decision in it is written again, on a line of its own.
                data = b"\n" + data
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        if not size:
            _sync_directory(os.path.dirname(self.path))


def _sync_directory(path: str) -> None:
    # Without this a new file may be gone after a power cut, although the database says that it was written.
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

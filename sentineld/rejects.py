"""Rejects: refused input, kept for inspection in ``rejects/``, within a bound.

Two files of JSON lines, in ASCII: ``rejects.jsonl``, and ``rejects.1.jsonl`` before it. At least once: after
a crash a reject may stand twice, equal in path and offset. Of what one file brings at once, the first
``MAX_AT_ONCE`` are kept, and the last of them says how many were not (``left_out_after``): keeping a flood of
bad lines would take more time than reading it.
"""

import base64
import os
from collections.abc import Sequence

from sentineld.decode import Reject
from sentineld.explain import printable_path
from sentineld.instant import iso_ms
from sentineld.visible import json_line

#: Rejects of one file that are kept at once.
MAX_AT_ONCE = 100
#: Room for the count of those that were not.
_COUNT_BYTES = 64


class Rejects:
    """Keeps at most ``max_bytes`` of rejected input; the oldest half goes first."""

    def __init__(self, directory: str, max_bytes: int) -> None:
        self._path = os.path.join(directory, "rejects.jsonl")
        self._previous = os.path.join(directory, "rejects.1.jsonl")
        self._max_bytes = max_bytes

    def keep(self, path: str, rejects: Sequence[Reject], at_us: int) -> None:
        """Append rejects of one file. Raises ``OSError``."""
        data = self._fitting(path, rejects, at_us)
        if not data:
            return
        self._make_room(len(data))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o640)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    def _fitting(self, path: str, rejects: Sequence[Reject], at_us: int) -> bytes:
        room = self._max_bytes // 2 - _COUNT_BYTES
        kept: list[dict[str, object]] = []
        for item in rejects[:MAX_AT_ONCE]:
            document = _document(path, item, at_us)
            room -= len(json_line(document))
            if room < 0:
                break
            kept.append(document)
        if kept and len(kept) < len(rejects):
            kept[-1]["left_out_after"] = len(rejects) - len(kept)
        return b"".join(map(json_line, kept))

    def _make_room(self, size: int) -> None:
        try:
            used = os.stat(self._path, follow_symlinks=False).st_size
        except FileNotFoundError:
            return
        if used + size > self._max_bytes // 2:
            os.replace(self._path, self._previous)


def _document(path: str, item: Reject, at_us: int) -> dict[str, object]:
    head: dict[str, object]
    try:
        head = {"head": item.head.decode("utf-8")}
    except UnicodeDecodeError:
        head = {"head_base64": base64.b64encode(item.head).decode("ascii")}
    return {
        "at": iso_ms(at_us),
        "path": printable_path(path),
        "offset": item.offset,
        "length": item.length,
        "reason": item.reason,
        "detail": item.detail,
        **head,
    }

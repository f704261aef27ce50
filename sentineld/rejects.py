"""Rejects: refused input, kept for inspection in ``rejects/``, within a bound.

Two files of JSON lines, in ASCII: ``rejects.jsonl``, and ``rejects.1.jsonl`` before it. At least once: after
a crash a reject may stand twice, equal in path and offset. Of what one file brings at once, the first
``MAX_AT_ONCE`` are kept, and the last of them says how many were not (``left_out_after``): keeping a flood of
bad lines would take more time than reading it.
"""

import base64
import json
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

    def forget(self, paths: Sequence[str]) -> None:
        """Remove what is kept of some files. Raises ``OSError``."""
        unwanted = {printable_path(path) for path in paths}
        for name in (self._path, self._previous) if unwanted else ():
            try:
                with open(name, "rb") as file:
                    lines = file.readlines()
            except FileNotFoundError:
                continue
            kept = [line for line in lines if _path_of(line) not in unwanted]
            if len(kept) < len(lines):
                temporary = f"{name}.new"
                with open(temporary, "wb", opener=_private) as file:
                    file.writelines(kept)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, name)

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


def _private(path: str, _flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)


def _path_of(line: bytes) -> object:
    try:
        return json.loads(line)["path"]
    except (ValueError, KeyError, TypeError, RecursionError):
        # A line that a crash tore tells of nobody.
        return None


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

"""Lines: the next whole lines of an open file, in bounded memory, whatever the file holds.

A line over the limit is skipped a piece at a time. A run of NUL bytes, as a hole in a sparse file reads,
ends a line and is skipped in one step (``SEEK_DATA``), never read through. At the end of a file it is left
alone: a writer that reserved space may still fill it.
"""

import os
from dataclasses import dataclass
from typing import NamedTuple

from sentineld.decode import KEPT_BYTES, Reject
from sentineld.identity import BLOCK_BYTES, Source, next_data

#: What ``Chunk.skip`` and the store's ``bracket.skip`` mean, besides 0 for lines that were read.
SKIP_BEGINS, SKIP_GOES_ON, SKIP_HOLE = 1, 2, 3
#: A shorter run of NUL bytes is a fault of one line, for the decoder.
HOLE_BYTES = 1024

NULS = bytes(HOLE_BYTES)


@dataclass(slots=True)
class Chunk:
    """Whole lines of one file, read but not yet committed.

    ``data`` are the bytes from ``start`` to ``end``, with a newline added where a hole ends the last line;
    empty where something is skipped: a line over the limit (``skip`` 1: it begins here and ``reject`` tells
    of it; 2: it goes on) or a hole (3, with its ``reject``). ``raw`` are the file's bytes from the last whole
    block before ``start`` to ``end``; empty for holes. ``lo`` and ``hi`` bracket when the lines were written;
    ``file_time`` is the file's modification time, in microseconds.
    """

    source: Source
    start: int
    end: int
    data: bytes
    lo: int
    hi: int
    file_time: int
    skip: int = 0
    is_skipping: bool = False
    reject: Reject | None = None
    raw: bytes = b""


class Stretch(NamedTuple):
    """What stands next in a file; the fields are those of ``Chunk``."""

    end: int
    data: bytes = b""
    skip: int = 0
    is_skipping: bool = False
    reject: Reject | None = None
    raw: bytes = b""


def next_lines(fd: int, start: int, *, is_skipping: bool, limit: int, line_bytes: int) -> Stretch | None:
    """Read the next whole lines from ``start``, about ``limit`` bytes; None where there are none yet.

    ``is_skipping``: inside of a line that is longer than ``line_bytes``. Raises ``OSError``.
    """
    lead = start % BLOCK_BYTES
    raw = os.pread(fd, lead + limit, start - lead)
    data = raw[lead:]
    if not data:
        return None
    last = data.rfind(b"\n")
    if last < 0 and len(data) == limit <= line_bytes and not is_skipping:
        raw = os.pread(fd, lead + line_bytes + 1, start - lead)
        data = raw[lead:]
        last = data.find(b"\n")
    hole = data.find(NULS)
    if hole == 0:
        end = end_of_hole(fd, start, data, max(limit, line_bytes, HOLE_BYTES))
        return None if end is None else hole_at(start, end)

    def skip(length: int, how: int, *, goes_on: bool) -> Stretch:
        reject = too_long(start, data, length, line_bytes) if how == SKIP_BEGINS else None
        return Stretch(start + length, b"", how, goes_on, reject, raw[: lead + length])

    if is_skipping:
        first = data.find(b"\n") + 1
        if hole > 0 and not 0 < first <= hole:
            # The hole ends the line; the next read tells of it.
            return skip(hole, SKIP_GOES_ON, goes_on=True)
        return skip(first or before_nuls(data), SKIP_GOES_ON, goes_on=not first)
    if hole > 0:
        last = data.rfind(b"\n", 0, hole)
    if last >= 0:
        short = _short_lines(data, last + 1, line_bytes)
        if short:
            return Stretch(start + short, data[:short], raw=raw[: lead + short])
        return skip(data.find(b"\n") + 1, SKIP_BEGINS, goes_on=False)
    if hole > 0:
        if end_of_hole(fd, start + hole, data[hole:], max(limit, line_bytes, HOLE_BYTES)) is None:
            # It may be space that is reserved for the rest of the line.
            return None
        if hole > line_bytes:
            return skip(hole, SKIP_BEGINS, goes_on=False)
        return Stretch(start + hole, data[:hole] + b"\n", raw=raw[: lead + hole])
    if len(data) <= line_bytes:
        return None
    return skip(before_nuls(data), SKIP_BEGINS, goes_on=True)


def end_of_hole(fd: int, start: int, data: bytes, limit: int) -> int | None:
    """Return where a run of NUL bytes ends that begins at ``start``; None where the file ends with it.

    ``data`` is what was read there. Written NULs are skipped ``limit`` bytes at a time. Raises ``OSError``.
    """
    filled = data.lstrip(b"\0")
    if filled:
        return start + len(data) - len(filled)
    behind = next_data(fd, start + len(data))
    if behind is None:
        return None
    data = os.pread(fd, limit, behind)
    filled = data.lstrip(b"\0")
    if not filled and len(data) < limit:
        return None
    return behind + len(data) - len(filled)


def hole_at(start: int, end: int) -> Stretch:
    """Tell of a hole."""
    reject = Reject("nul_hole", f"{end - start} NUL bytes where lines should be", start, end - start, b"")
    return Stretch(end, b"", SKIP_HOLE, False, reject)


def too_long(start: int, data: bytes, length: int, line_bytes: int) -> Reject:
    """Tell of a record that is over the limit, whose first ``length`` bytes are in ``data``."""
    detail = f"longer than {line_bytes} bytes"
    return Reject("line_too_long", detail, start, length, data[: min(length, KEPT_BYTES)])


def before_nuls(data: bytes) -> int:
    """Return how much of the data may be skipped: a hole that may have begun is told as one."""
    return len(data.rstrip(b"\0")) or len(data)


def _short_lines(data: bytes, whole: int, line_bytes: int) -> int:
    """Return the length of the whole lines before the first one that is longer than ``line_bytes``."""
    if whole <= line_bytes:
        return whole
    position = 0
    while position < whole and (end := data.find(b"\n", position, whole)) >= 0:
        if end - position > line_bytes:
            break
        position = end + 1
    return position

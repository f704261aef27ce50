"""Stream: the next whole values of an open file that holds JSON values one behind the other.

What is a value, ``framing`` says. Memory is bounded as for lines: a value over the limit, or one of which it
is not to be seen yet where it ends, is skipped a piece at a time. What is malformed reaches to where a value
may begin again, so that what a stretch is cut into depends on nothing but its own bytes.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sentineld.framing import CUT, Unfinished, begin, pieces, resumption, skip_between
from sentineld.identity import BLOCK_BYTES
from sentineld.lines import (
    HOLE_BYTES,
    NULS,
    SKIP_BEGINS,
    SKIP_GOES_ON,
    Stretch,
    before_nuls,
    end_of_hole,
    hole_at,
    too_long,
)

#: Values that are being written of which it is remembered how far they were looked through; bytes of what is
#: remembered of the deepest.
_MAX_UNFINISHED, _MAX_OPEN = 128, 131_072


@dataclass(slots=True)
class UnfinishedValues:
    """How far the last values of files were looked through: the latest ones, in bounded memory."""

    _known: OrderedDict[int, Unfinished] = field(default_factory=OrderedDict)

    @contextmanager
    def of(self, source_id: int) -> Iterator[Unfinished]:
        """Give what is known of a source's last value, and remember what becomes of it in the block."""
        unfinished = self._known.pop(source_id, None) or Unfinished()
        yield unfinished
        if unfinished.start >= 0 and len(unfinished.closing) <= _MAX_OPEN:
            self._known[source_id] = unfinished
            if len(self._known) > _MAX_UNFINISHED:
                self._known.popitem(last=False)


def next_values(
    fd: int,
    start: int,
    *,
    is_skipping: bool,
    limit: int,
    line_bytes: int,
    unfinished: Unfinished | None = None,
) -> Stretch | None:
    """Read the next whole values from ``start``, about ``limit`` bytes; None where there are none yet.

    ``is_skipping``: inside of what is malformed, or longer than ``line_bytes``. ``unfinished`` remembers how
    far a value that is being written was looked through. Raises ``OSError``.
    """
    unfinished = unfinished or Unfinished()
    lead = start % BLOCK_BYTES
    is_long = unfinished.start == start and unfinished.place - start > limit
    raw = os.pread(fd, lead + (line_bytes + 1 if is_long else limit), start - lead)
    if len(raw) <= lead:
        return None
    data = _before_hole(raw[lead:])
    whole, state = (0, CUT) if is_skipping else _settled(data, start, line_bytes, unfinished)
    if not whole and state == CUT and len(data) == limit <= line_bytes and not is_skipping:
        raw = os.pread(fd, lead + line_bytes + 1, start - lead)
        data = _before_hole(raw[lead:])
        whole, state = _settled(data, start, line_bytes, unfinished)
    hole = start + len(data), raw[lead + len(data) :], max(limit, line_bytes, HOLE_BYTES)
    if not data:
        end = end_of_hole(fd, *hole)
        return None if end is None else hole_at(start, end)

    def skip(length: int, how: int, *, goes_on: bool) -> Stretch | None:
        reject = too_long(start, data, length, line_bytes) if how == SKIP_BEGINS else None
        return Stretch(start + length, b"", how, goes_on, reject, raw[: lead + length]) if length else None

    if is_skipping:
        behind = resumption(data, 0)
        return skip(_skippable(data) if behind < 0 else behind, SKIP_GOES_ON, goes_on=behind < 0)
    if whole:
        return Stretch(start + whole, data[:whole], raw=raw[: lead + whole])
    if state > 0:
        return skip(state, SKIP_BEGINS, goes_on=False)
    if state == CUT:
        if len(data) > line_bytes:
            return skip(_skippable(data), SKIP_BEGINS, goes_on=True)
        if not hole[1] or end_of_hole(fd, *hole) is None:
            # It is being written; NUL bytes may be space that is reserved for the rest of it.
            return None
        return Stretch(start + len(data), data, raw=raw[: lead + len(data)])
    length = _skippable(data)
    if length > line_bytes:
        return skip(length, SKIP_BEGINS, goes_on=True)
    return Stretch(start + length, data[:length], is_skipping=True, raw=raw[: lead + length])


def _settled(data: bytes, start: int, line_bytes: int, unfinished: Unfinished) -> tuple[int, int]:
    """Return up to where all is settled that the data begins with, and what stands behind it.

    That is ``CUT``, ``FAULT``, or where something ends that is longer than ``line_bytes``.
    """
    settled = begin(data, start)
    for at, end in pieces(data, start, unfinished):
        if end <= 0 or end - at > line_bytes:
            return at, end
        settled = end
    return skip_between(data, settled), CUT


def _before_hole(data: bytes) -> bytes:
    hole = data.find(NULS)
    return data if hole < 0 else data[:hole]


def _skippable(data: bytes) -> int:
    """Return how much may be skipped where nothing resumes: a line end may come before a value."""
    length = before_nuls(data)
    return length - data.endswith(b"\n", 0, length)

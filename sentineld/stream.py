"""Stream: the next whole values of an open file that holds JSON values one behind the other.

What is a value, ``framing`` says. Memory is bounded as for lines: a value over the limit, or one of which it
is not to be seen yet where it ends, is skipped a piece at a time. A stretch holds either nothing but values
that are whole, or what is malformed, so it can be cut into the same values again.
"""

import os

from sentineld.framing import CUT, FAULT, begin, resumption, skip_between, value_end
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


def next_values(fd: int, start: int, *, is_skipping: bool, limit: int, line_bytes: int) -> Stretch | None:
    """Read the next whole values from ``start``, about ``limit`` bytes; None where there are none yet.

    ``is_skipping``: inside of what is malformed, or longer than ``line_bytes``. Raises ``OSError``.
    """
    lead = start % BLOCK_BYTES
    raw = os.pread(fd, lead + limit, start - lead)
    if len(raw) <= lead:
        return None
    data = _before_hole(raw[lead:])
    whole, state = _whole_values(data, start, line_bytes)
    if not whole and state == CUT and len(data) == limit <= line_bytes and not is_skipping:
        raw = os.pread(fd, lead + line_bytes + 1, start - lead)
        data = _before_hole(raw[lead:])
        whole, state = _whole_values(data, start, line_bytes)
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
    behind = _behind_faults(data, line_bytes)
    length = _skippable(data) if behind < 0 else behind
    if length > line_bytes:
        return skip(length, SKIP_BEGINS, goes_on=behind < 0)
    return Stretch(start + length, data[:length], is_skipping=behind < 0, raw=raw[: lead + length])


def _whole_values(data: bytes, start: int, line_bytes: int) -> tuple[int, int]:
    """Return the length of the whole values that the data begins with, and what stands behind them.

    That is ``CUT``, ``FAULT``, or where a value ends that is longer than ``line_bytes``.
    """
    at = begin(data, start)
    while (at := skip_between(data, at)) < len(data):
        end = value_end(data, at)
        if end <= 0 or end - at > line_bytes:
            return at, end
        at = end
    return at, CUT


def _behind_faults(data: bytes, line_bytes: int) -> int:
    """Return where a value may begin again behind what is malformed; -1: nowhere to be seen.

    Several of those, one behind the other, are taken together: each read has its cost, however little it
    brings. Those of which it shows only further on are not: each would have all of the data looked through.
    """
    behind = resumption(data, 1)
    while 0 <= behind < len(data):
        at = skip_between(data, behind)
        next_one = resumption(data, at + 1)
        if not 0 <= next_one <= line_bytes or value_end(data[at:next_one], 0) != FAULT:
            break
        behind = next_one
    return behind


def _before_hole(data: bytes) -> bytes:
    hole = data.find(NULS)
    return data if hole < 0 else data[:hole]


def _skippable(data: bytes) -> int:
    """Return how much may be skipped where nothing resumes: a line end may come before a value."""
    length = before_nuls(data)
    return length - data.endswith(b"\n", 0, length)

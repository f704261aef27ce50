"""Byte entropy of payloads.

Takes metadata or its canonical JSON, gives Shannon entropy of the bytes in bits per byte, divided by 8:
English text about 0.5 to 0.6, base64 about 0.75, random bytes towards 1. Source: Shannon (1948), "A
Mathematical Theory of Communication", section 6.

``H = log2(n) - sum(c * log2(c)) / n`` over the counts ``c`` of the n bytes. The terms ``c * log2(c)`` are
integers (scaled by 2**24) from one table, and one division of exact integers follows, so a single event
and a batch of events give the same bits whatever the order of summation.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from sentineld import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Entropy in events is counted in billionths, so that window sums are exact integers.
UNITS = 1_000_000_000

_SCALE = 1 << 24
_TABLE_SIZE = 4096
#: Payloads in one histogram matrix, and bytes of them: no array of a round may reach 128 KiB, for from there
#: on the allocator maps and unmaps pages each time, which doubles the cost.
_ROWS = 112
_ROUND_BYTES = 14_000
#: Payloads, and bytes of all of them, that are counted one by one: arrays are not worth their cost.
_FEW, _FEW_BYTES = 4, 1024

#: Encode what was decoded from JSON in its canonical form: compact UTF-8 JSON with sorted keys.
encode_canonical = msgspec.json.Encoder(order="sorted", enc_hook=str).encode


def canonical_json(metadata: Mapping[str, Any]) -> bytes:
    """Encode metadata as compact UTF-8 JSON with sorted keys; values that JSON lacks become text.

    Never raises: metadata that JSON cannot hold at all (odd keys, cycles) are encoded as Python shows them,
    and what is nested too deep for that as nothing.
    """
    try:
        return encode_canonical(metadata)
    except (TypeError, ValueError, RecursionError):
        try:
            return repr(metadata).encode("utf-8", "backslashreplace")
        except RecursionError:
            return b""


@lru_cache(maxsize=65_536)
def _term(count: int) -> int:
    return round(count * math.log2(count) * _SCALE) if count else 0


def byte_entropy(payload: bytes) -> float:
    """Return the entropy of the bytes, 0..1; nothing is 0."""
    n = len(payload)
    if n == 0:
        return 0.0
    total = sum(map(_term, _counts(payload)))
    return min(1.0, max(0.0, (_term(n) - total) / (n * 8 * _SCALE)))


def _counts(payload: bytes) -> Iterable[int]:
    if len(payload) < _TABLE_SIZE:
        return Counter(payload).values()
    # A counter costs 40 ns a byte; a payload of a megabyte must not stall the reader.
    import numpy as np

    return np.bincount(np.frombuffer(payload, dtype=np.uint8)).tolist()  # type: ignore[no-any-return]


def metadata_entropy(metadata: Mapping[str, Any]) -> float:
    """Return the entropy of an event's metadata, 0..1; empty metadata is 0."""
    return byte_entropy(canonical_json(metadata)) if metadata else 0.0


def entropy_units(value: float) -> int:
    """Turn an entropy of 0..1 into the integer units of windows."""
    return round(value * UNITS)


def batch_entropy_units(payloads: Sequence[bytes]) -> list[int]:
    """Return the entropy of many payloads in integer units, equal to ``byte_entropy`` bit by bit."""
    if kernel.compiled is not None:
        found: list[int] = kernel.compiled.entropy(list(payloads), terms())
        if -1 in found:
            return [
                entropy_units(byte_entropy(payload)) if units < 0 else units
                for payload, units in zip(payloads, found, strict=True)
            ]
        return found
    if len(payloads) <= _FEW and sum(map(len, payloads)) < _FEW_BYTES:
        return [entropy_units(byte_entropy(payload)) for payload in payloads]
    import numpy as np

    out: list[int] = []
    mean_bytes = sum(map(len, payloads)) // max(1, len(payloads)) + 1
    rows = min(_ROWS, max(1, _ROUND_BYTES // mean_bytes))
    for start in range(0, len(payloads), rows):
        out.extend(_rows_entropy(np, payloads[start : start + rows]))
    return out


def lines_entropy_units(data: bytes, ends: "NDArray[np.int64]") -> list[int]:
    """Return the entropy of many payloads that stand one in each line, in integer units.

    ``data`` is JSON, ``ends`` says where its line ends (LF) stand; an empty object counts as nothing. Members
    may stand in any order, for what is counted is bytes. Equal to ``batch_entropy_units`` of the payloads.
    """
    import numpy as np

    sizes = np.diff(ends, prepend=-1)
    lengths = sizes - 1
    # No payload of JSON is shorter than an empty object.
    lengths[lengths == len(b"{}")] = 0
    if lengths.max() >= _TABLE_SIZE:
        payloads = [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        return batch_entropy_units(payloads)
    table, width = _term_table(), 128 if data.isascii() else 256
    rows = min(_ROWS, max(1, _ROUND_BYTES * len(ends) // len(data)))
    found = np.frombuffer(data, dtype=np.uint8)
    totals = np.empty(len(ends), dtype=np.int64)
    begin = 0
    for first in range(0, len(ends), rows):
        last = min(first + rows, len(ends))
        end = int(ends[last - 1]) + 1
        cells = np.repeat(np.arange(0, (last - first) * width, width), sizes[first:last])
        # The line's end is counted too: a byte that stands there once, and one makes no term.
        cells += found[begin:end]
        counts = np.bincount(cells, minlength=(last - first) * width)
        table.take(counts).reshape(last - first, width).sum(axis=1, out=totals[first:last])
        begin = end
    return _units_of(np, lengths, totals, table)


def _units_of(np: Any, lengths: Any, totals: Any, table: Any) -> list[int]:  # noqa: ANN401 (as below)
    divisors = np.maximum(lengths, 1) * (8 * _SCALE)
    ratios = np.clip((table[lengths] - totals) / divisors, 0.0, 1.0)
    ratios[lengths == 0] = 0.0
    return np.rint(ratios * UNITS).astype(np.int64).tolist()  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def terms() -> "array[int]":
    """Return the terms of all counts that are looked up, as the kernel takes them."""
    return array("q", map(_term, range(_TABLE_SIZE)))


@lru_cache(maxsize=1)
def _term_table() -> "NDArray[np.int64]":
    import numpy as np

    return np.frombuffer(terms(), dtype=np.int64)


def _rows_entropy(np: Any, payloads: Sequence[bytes]) -> list[int]:  # noqa: ANN401 (numpy, imported late)
    lengths = [len(payload) for payload in payloads]
    longest = max(lengths, default=0)
    if longest >= _TABLE_SIZE:
        short = [payload if len(payload) < _TABLE_SIZE else b"" for payload in payloads]
        values = _rows_entropy(np, short)
        for row, length in enumerate(lengths):
            if length >= _TABLE_SIZE:
                values[row] = entropy_units(byte_entropy(payloads[row]))
        return values
    if longest == 0:
        return [0] * len(payloads)
    table = _term_table()
    rows = len(payloads)
    joined = b"".join(payloads)
    width = 128 if joined.isascii() else 256
    sizes = np.array(lengths, dtype=np.int64)
    cells = np.frombuffer(joined, dtype=np.uint8).astype(np.int32)
    cells += np.repeat(np.arange(rows, dtype=np.int32) * width, sizes)
    counts = np.bincount(cells, minlength=rows * width)
    totals = table[counts].reshape(rows, width).sum(axis=1)
    return _units_of(np, sizes, totals, table)

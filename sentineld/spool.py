"""Spool: elements of documents that wait for their time, in a file without a name instead of in memory.

One file serves all documents: each has a stretch of it, which is read again once, from its beginning.
"""

import os
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import IO, Any, TypeAlias

import msgspec

from sentineld.decode import Record, Reject, decoder_of

#: An element of a document, with its number.
Item: TypeAlias = tuple[int, Record | Reject]
#: Where what was put into a spool begins and ends.
Stretch: TypeAlias = tuple[int, int]

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[list[Any]] = decoder_of(list)


class Spool:
    """Keeps elements until they are wanted. Every method raises ``OSError`` where the disk does."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def put(self, items: Iterable[Item]) -> Stretch:
        """Take in elements; return where they stand."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it outlives this call)
        start = self._end
        for number, element in items:
            plain = _plain(element) if isinstance(element, Reject) else element
            self._end += self._file.write(_encoder.encode([number, plain]) + b"\n")
        self._file.flush()
        return start, self._end

    def take(self, stretch: Stretch, limit: int) -> tuple[list[Item], Stretch]:
        """Return the next elements, about ``limit`` bytes and at least one, and where the others stand."""
        start, end = stretch
        if self._file is None or start == end:
            return [], stretch
        while b"\n" not in (data := os.pread(self._file.fileno(), min(limit, end - start), start)):
            limit *= 2
        lines = data[: data.rfind(b"\n") + 1]
        items = [_item(*_decoder.decode(line)) for line in lines.split(b"\n")[:-1]]
        return items, (start + len(lines), end)

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
            self._file, self._end = None, 0


def _plain(item: Reject) -> list[Any]:
    return [item.reason, item.detail, item.offset, item.length, b64encode(item.head).decode()]


def _item(number: int, plain: Any) -> Item:  # noqa: ANN401 (JSON)
    if type(plain) is dict:
        return number, plain
    reason, detail, offset, length, head = plain
    return number, Reject(reason, detail, offset, length, b64decode(head))

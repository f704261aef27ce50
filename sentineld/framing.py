r"""Framing: where one record ends and the next begins, in files whose names do not tell.

``lines``: one record a line. ``stream``: JSON values one behind the other, perhaps pretty-printed, with
nothing, white space, commas or record separators (RFC 7464, 0x1e) between them. ``document``: one object or
one array of objects, which is read whole.

In a stream square brackets outside of objects are separators like commas, so each element of a top-level
array is a record and no array has to be held in memory; a stretch that begins between two values can be cut
into values without anything that stood before it. Whether a value is valid is for ``decode`` to say; here is
found where it ends, and only what would put the end in doubt is a fault: brackets that do not match, a string
that goes over the end of a line, and an opening bracket where no value may stand, as behind a value whose
writer died. Behind a fault the next line that begins with ``{`` or ``[``, or the next record separator,
begins a new value: of the lines that the faulty value goes over, too, for what was torn off may stand before
sound values. Of what is still open at the fault each part would lead to the same fault again, so none of it
is looked through twice, and the work is linear in the bytes whatever stands there.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sentineld.decode import BOM, Decoded, decode_lines, decode_values

LINES, STREAM, DOCUMENT = "lines", "stream", "document"
#: Lines in a compressed file.
COMPRESSED_LINES = "compressed"

#: What ``next_end`` returns: the data ends inside of the value; it is malformed.
CUT, FAULT = 0, -1

_STRING = rb'"(?:[^"\\\n\x1e]++|\\[^\n\x1e])*+'
#: What decides where an object ends: a bracket, a record separator, or a string that does not.
_MARK = re.compile(rb'(?:[^"{}\[\]\x1e]++|' + _STRING + rb'")*+(["{}\[\]\x1e])')
_UNENDED = re.compile(_STRING)
_SCALAR = re.compile(
    _STRING + rb'"|(?:-?[0-9][0-9.eE+-]*+|true|false|null)(?=[ \t\r\n,\[\]{}"\x1e])',
)
#: What may stand between the values of a stream.
_BETWEEN = re.compile(rb"[ \t\r\n,\[\]\x1e]*+")
#: Ends what is no value: a line, or a record separator.
_STRAY_END = re.compile(rb"[\n\x1e]")
_RESUMPTION = re.compile(rb"\n(?=[{\[])|\x1e")
_BLANK = b" \t\r\n"
_QUOTE, _BACKSLASH, _SEPARATOR = b'"\\\x1e'
_OBJECT, _ARRAY = b"{["
#: Faults that are passed over to find out how a file is framed.
_MAX_FAULTS = 64
#: From an opening bracket to its closing one, in ASCII.
_CLOSING = 2


def sniff(head: bytes) -> str | None:
    """Say how a file is framed that begins with ``head``; None where that cannot be known yet.

    One object by itself is a document, until something stands behind it.
    """
    body = head.removeprefix(BOM).lstrip(_BLANK)
    if not body:
        return None
    if body[0] == _ARRAY:
        return DOCUMENT
    if body[0] == _SEPARATOR:
        return STREAM
    at = 0
    faulty: frozenset[int] = frozenset()
    for _ in range(_MAX_FAULTS):
        end = place = FAULT
        if body[at] == _OBJECT and at not in faulty:
            end, place = _scan(body, at, bytearray())
        if end != FAULT:
            break
        if place != FAULT:
            faulty = _open_objects(body, at, place)
        at = resumption(body, at + 1)
        if at < 0 or body[at : at + 1] == b"[":
            return DOCUMENT
        if at == len(body):
            return None
    if end <= 0:
        return None if end == CUT else LINES
    behind = body[end:]
    if at == 0 and not behind.strip(_BLANK + b"\0"):
        return DOCUMENT
    line, _, _ = behind.partition(b"\n")
    return STREAM if b"\n" in body[at:end] or line.strip(_BLANK) else LINES


def first_value(head: bytes) -> tuple[int, int]:
    """Return where the first object of a file begins and ends; (0, 0) where it does not end in ``head``."""
    start = len(head) - len(head.removeprefix(BOM).lstrip(_BLANK))
    end, _ = next_end(head, start) if head[start : start + 1] == b"{" else (CUT, CUT)
    return (start, end) if end > 0 else (0, 0)


def values(data: bytes, base: int = 0) -> list[tuple[int, bytes]]:
    """Cut a stretch of a stream into values, each with its byte offset; ``base`` is the offset of the first.

    What is malformed, or does not end, reaches to where a value may begin again, or to the stretch's end.
    """
    found = pieces(data, base, is_whole=True)
    return [(base + at, data[at : end if end > 0 else len(data)]) for at, end in found]


def pieces(
    data: bytes, base: int, unfinished: "Unfinished | None" = None, *, is_whole: bool = False
) -> Iterator[tuple[int, int]]:
    """Yield where each value of a stream begins and ends, and so for what is malformed.

    The last end is ``CUT`` where the data ends inside of a value, unless ``is_whole``: then nothing follows,
    and it is malformed; ``FAULT`` where no value begins again behind what is malformed.
    """
    at, size = begin(data, base), len(data)
    faulty: frozenset[int] = frozenset()
    while (at := skip_between(data, at)) < size:
        end = FAULT
        if at not in faulty:
            end, place = next_end(data, at, unfinished, base)
            if end == CUT and is_whole:
                end, place = FAULT, size
            if end == FAULT:
                faulty = _open_objects(data, at, place)
        if end == FAULT:
            end = resumption(data, at + 1)
        yield at, end
        if end <= 0:
            return
        at = end


def decode_framed(kind: str, data: bytes, base: int = 0) -> Decoded:
    """Decode a stretch of whole lines, or of whole values."""
    return decode_values(values(data, base)) if kind == STREAM else decode_lines(data, base)


def begin(data: bytes, base: int) -> int:
    """Return where the first value of a stretch may begin: behind a byte order mark at a file's start."""
    return len(BOM) if base == 0 and data.startswith(BOM) else 0


def skip_between(data: bytes, at: int) -> int:
    """Return where what stands between two values ends."""
    gap = _BETWEEN.match(data, at)
    return at if gap is None else gap.end()


@dataclass(slots=True)
class Unfinished:
    """How far the last value of a file was looked through, in vain, so that its next look begins there.

    ``start`` (-1: nothing is known) and ``place`` are offsets in the file; ``digest`` is that of what stood
    in between, which may be rewritten as long as it is not read. ``closing`` are the missing brackets,
    compressed: there may be a million of them.
    """

    start: int = -1
    place: int = 0
    digest: int = 0
    closing: bytes = b""

    def resume(self, data: bytes, at: int, base: int) -> tuple[int, bytearray]:
        """Return where to look at a value, and the missing brackets; ``base`` is the offset of the data."""
        known = self.place - base
        is_it = self.start == base + at and known <= len(data) and self.digest == hash(data[at:known])
        self.start = -1
        return (known, bytearray(zlib.decompress(self.closing))) if is_it else (at, bytearray())

    def note(self, data: bytes, at: int, place: int, base: int, closing: bytearray) -> None:
        """Take note of how far was looked."""
        self.start, self.place, self.closing = base + at, base + place, zlib.compress(closing, 1)
        self.digest = hash(data[at:place])


def next_end(data: bytes, at: int, unfinished: Unfinished | None = None, base: int = 0) -> tuple[int, int]:
    """Return where the value ends that begins at ``at``, ``CUT`` or ``FAULT``, and where that shows.

    What is no value ends with its line. ``unfinished`` tells how far it was looked through before, and is
    told how far it is now.
    """
    if data[at] == _OBJECT:
        begin_at, closing = at, bytearray()
        if unfinished is not None and unfinished.start >= 0:
            begin_at, closing = unfinished.resume(data, at, base)
        end, place = _scan(data, begin_at, closing)
        if end == CUT and unfinished is not None:
            unfinished.note(data, at, place, base, closing)
        return end, place
    scalar = _SCALAR.match(data, at)
    if scalar is not None:
        return scalar.end(), scalar.end()
    stray = _STRAY_END.search(data, at)
    end = CUT if stray is None else stray.start()
    return end, end


def resumption(data: bytes, at: int) -> int:
    """Return where a value may begin again, behind ``at``; -1 where that is not to be seen yet."""
    found = _RESUMPTION.search(data, at)
    return -1 if found is None else found.end()


def _scan(data: bytes, at: int, closing: bytearray) -> tuple[int, int]:
    """Go on with an object at ``at``, whose brackets in ``closing`` are missing.

    Returns its end, twice; ``FAULT`` and where it shows; or ``CUT`` and from where it may be gone on with.
    """
    next_mark = _MARK.match
    found = next_mark(data, at)
    while found is not None:
        end = found.end()
        mark = data[end - 1]
        if mark in (_OBJECT, _ARRAY):
            if closing and not _may_open(data, end - 1, closing[-1]):
                return FAULT, end - 1
            closing.append(mark + _CLOSING)
        elif mark == _QUOTE:
            return _string_fault(data, end - 1), end - 1
        elif not closing or closing.pop() != mark:
            return FAULT, end - 1
        elif not closing:
            return end, end
        at = end
        found = next_mark(data, end)
    return CUT, at


def _open_objects(data: bytes, start: int, end: int) -> frozenset[int]:
    """Return where the objects begin that are open at ``end``, in a value that begins at ``start``."""
    opened: list[int] = []
    next_mark = _MARK.match
    while (found := next_mark(data, start, end)) is not None:
        start = found.end()
        mark = data[start - 1]
        if mark in (_OBJECT, _ARRAY):
            opened.append(start - 1)
        elif mark == _QUOTE or not opened:
            break
        else:
            opened.pop()
    return frozenset([at for at in opened if data[at] == _OBJECT])


def _string_fault(data: bytes, start: int) -> int:
    """Say whether a string that does not end may still do so."""
    found = _UNENDED.match(data, start)
    end = start if found is None else found.end()
    is_cut = end == len(data) or (data[end] == _BACKSLASH and end + 1 == len(data))
    return CUT if is_cut else FAULT


def _may_open(data: bytes, at: int, closing: int) -> bool:
    """Say whether a value may stand at ``at``, inside of a bracket that ``closing`` will close."""
    before = at - 1
    while data[before] in _BLANK:
        before -= 1
    return data[before] in (b"[," if closing == _ARRAY + _CLOSING else b":")

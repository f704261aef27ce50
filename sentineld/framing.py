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
begins a new value.
"""

import re

from sentineld.decode import BOM, Decoded, decode_lines, decode_values

LINES, STREAM, DOCUMENT = "lines", "stream", "document"
#: Lines in a compressed file.
COMPRESSED_LINES = "compressed"

#: What ``value_end`` returns: the data ends inside of the value; it is malformed.
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
    for _ in range(_MAX_FAULTS):
        end = value_end(body, at) if body[at] == _OBJECT else FAULT
        if end != FAULT:
            break
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
    end = value_end(head, start) if head[start : start + 1] == b"{" else CUT
    return (start, end) if end > 0 else (0, 0)


def values(data: bytes, base: int = 0) -> list[tuple[int, bytes]]:
    """Cut a stretch of a stream into values, each with its byte offset; ``base`` is the offset of the first.

    What is malformed, or does not end, reaches to the end of the stretch.
    """
    found = []
    at = begin(data, base)
    while (at := skip_between(data, at)) < len(data):
        end = value_end(data, at)
        if end <= 0:
            end = len(data)
        found.append((base + at, data[at:end]))
        at = end
    return found


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


def value_end(data: bytes, at: int) -> int:
    """Return where the value ends that begins at ``at``, ``CUT`` or ``FAULT``.

    What is no value ends with its line.
    """
    if data[at] == _OBJECT:
        return _object_end(data, at)
    scalar = _SCALAR.match(data, at)
    if scalar is not None:
        return scalar.end()
    stray = _STRAY_END.search(data, at)
    return CUT if stray is None else stray.start()


def resumption(data: bytes, at: int) -> int:
    """Return where a value may begin again, behind ``at``; -1 where that is not to be seen yet."""
    found = _RESUMPTION.search(data, at)
    return -1 if found is None else found.end()


def _object_end(data: bytes, start: int) -> int:
    closing = bytearray()
    next_mark = _MARK.match
    found = next_mark(data, start)
    while found is not None:
        end = found.end()
        mark = data[end - 1]
        if mark in (_OBJECT, _ARRAY):
            if closing and not _may_open(data, end - 1, closing[-1]):
                return FAULT
            closing.append(mark + _CLOSING)
        elif mark == _QUOTE:
            return _string_fault(data, end - 1)
        elif not closing or closing.pop() != mark:
            return FAULT
        elif not closing:
            return end
        found = next_mark(data, end)
    return CUT


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

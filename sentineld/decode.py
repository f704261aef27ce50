r"""Decode: bytes in, JSON objects out, or a ``Reject`` that says why not. Strict and bounded.

Refused: anything that is not one JSON object in UTF-8, duplicate keys (two readers could disagree on which
value counts), more than ``MAX_NODES`` values. Lines end at LF only; a CR before it is white space; a byte
order mark is accepted at the start of a file.

What a record holds is chosen by the agent as well, such as the arguments of its calls, and a record that is
refused is one that nobody judges. So what can be spelled and cannot be held is mended, and the rest of the
record counts: what is nested deeper than ``MAX_DEPTH`` is read as null, and so are NaN, infinities and
numbers beyond the range; half of a surrogate pair, which programs that cut text leave behind, is read as
U+FFFD.

Reasons: ``malformed_json``, ``incomplete_json`` (documents), ``encoding`` (not UTF-8), ``not_an_object``,
``duplicate_key``, ``too_many_values``.

Whole chunks are decoded at once, and line by line only where something in them is off. Two arguments carry
that; ``tests/properties/test_decode_properties.py`` attacks both.

One object a line: the batch decoder does not care for line ends, so two objects on one line and a blank one
would pass for two lines. But where every line ends in ``}`` and the next begins with ``{``, no line end
stands inside a value: in a string LF is illegal, and outside of one a comma would have to part the two
brackets. Every line then holds at least one value, and as many values as lines means one each.

No duplicate keys: encoding what was decoded drops the overwritten member and with it at least the two
quotation marks of its key, and nothing can make up for them: each quotation mark that is written stands for
one that was read (``"`` as delimiter, ``\"`` in a string), except for the escape ``\u0022``, of which
there must be none.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from operator import add
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

#: Deepest nesting that is read; agents' records have less than ten levels.
MAX_DEPTH = 32
#: Most values in one record: commas and opening brackets outside of strings. Each value takes some hundred
#: times as long to judge as a byte of text, and up to a hundred bytes of memory.
MAX_NODES = 60_000
#: Bytes of a rejected line that are kept for inspection.
KEPT_BYTES = 4096
#: Why a record is refused that sentineld itself fails on.
INTERNAL_ERROR = "internal_error"

#: What the decoder says where input ends too early.
_TRUNCATED = "Input data was truncated"

BOM = b"\xef\xbb\xbf"

#: White space of JSON, less the LF that ends a line.
_BLANK = b" \t\r"
#: All bytes but opening brackets and LF. A line cannot be nested deeper than it has opening brackets.
_NOT_OPENING = bytes(set(range(256)) - set(b"{[\n"))

#: All bytes but brackets and quotation marks, and what makes both kinds of brackets one.
_NO_MARKS = bytes(set(range(256)) - set(b'{}[]"'))
_ALIKE = bytes.maketrans(b"[]", b"{}")

_LF, _QUOTE, _OPENING, _CLOSING, _ARRAY = b'\n"{}['
#: What both opening brackets have in common, and which bits that are.
_BRACKET, _BRACKET_BITS = 0x5B, 0xDF

#: The escape of half of a surrogate pair, in what is else JSON and where no backslash is escaped.
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB]..\\u....))"
)
#: Stand for an escaped backslash and an escaped quotation mark meanwhile: no JSON has such bytes.
_BACKSLASH, _QUOTED = b"\1\1", b"\2\2"
#: Of what stands outside of strings: what is no number, and numbers that may be beyond the range.
_EXTREME = re.compile(
    rb"NaN|-?Infinity|(?<![\d.])-?(?:[1-9]\d{289,}+(?:\.\d++)?(?:[eE][+-]?\d++)?"
    rb"|(?:0|[1-9]\d*+)(?:\.\d++)?[eE]\+?\d\d++)"
)
#: What each of those has that is a number, whether in a string or not: an exponent, or so many digits.
_EXPONENT = re.compile(rb"[0-9][eE]\+?[0-9]{2}")
_MANY_DIGITS = 290
_NOT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
#: What leads to the next bracket that is outside of strings, where no quotation mark is escaped. It matches
#: the end as well: a search that fails there would be made again from every byte before it.
_BRACKET_BEHIND = re.compile(rb'(?:[^"\[\]{}]++|"[^"]*+")*+([\[\]{}]|\Z)')
#: Control characters, which stand in no JSON, as one that may; line ends in strings that were not escaped.
_NO_CONTROLS = bytes(9 if byte < 9 or byte in (11, 12) or 14 <= byte < 32 else byte for byte in range(256))
_ESCAPES = ((b"\n", rb"\n"), (b"\r", rb"\r"), (b"\t", rb"\t"))
#: What UTF-16 and UTF-32 files may begin with.
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def _read_float(text: str) -> float:
    # The decoder's own way takes forty times as long where an exponent is near the end of the range.
    value = float(text)
    if value - value:
        raise ValueError("Number out of range")
    return value


def decoder_of(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return a decoder of records of one kind, for ``decode_uniform``."""
    return msgspec.json.Decoder(kind, float_hook=_read_float)


_decoder = msgspec.json.Decoder(float_hook=_read_float)
_encoder = msgspec.json.Encoder()
_canonical_encoder = msgspec.json.Encoder(order="deterministic")

Record = dict[str, Any]
_CONTAINERS = {dict, list}
#: What the decoder raises for what it does not take.
ERRORS = (msgspec.DecodeError, RecursionError, ValueError)


@dataclass(frozen=True, slots=True)
class Reject:
    """Refused input: ``reason`` is one word for counting, ``detail`` a sentence.

    ``offset`` is the byte offset of the line (for documents: the element's number); ``head`` the first
    bytes of it, at most ``KEPT_BYTES``; ``length`` its full length in bytes.
    """

    reason: str
    detail: str
    offset: int
    length: int
    head: bytes


@dataclass(slots=True)
class Decoded:
    """What a chunk of whole lines held: records with the byte offset of each line, and the rest."""

    records: list[Record]
    offsets: list[int]
    rejects: list[Reject]
    #: Byte offsets of lines that carry nothing (blank lines).
    ignored: list[int]


def decode_lines(data: bytes, base: int = 0) -> Decoded:
    """Decode whole lines (``data`` ends with LF); ``base`` is the byte offset of the first one."""
    lines = data.split(b"\n")
    lines.pop()
    offsets = list(map(add, accumulate(map(len, lines), initial=base), count()))
    offsets.pop()
    if base == 0 and lines and lines[0].startswith(BOM):
        lines[0] = lines[0][len(BOM) :]
    elif _has_short_lines(data) or not any(map(_has_many_nodes, lines)):
        records = _decode_whole(data, lines)
        if records is not None:
            return Decoded(records, offsets, [], [])
    return _decode_each(lines, offsets)


def _decode_whole(data: bytes, lines: list[bytes]) -> list[Record] | None:
    # None sends every line its own way, to find out which one is at fault, if any.
    if not data.startswith(b"{") or (b"\\" in data and b"\\u0022" in data):
        return None
    joints = data.count(b"}\n{")
    if joints != len(lines) - 1:
        joints += data.count(b"}\r\n{")
    if joints != len(lines) - 1:
        return None
    try:
        records: list[Record] = _decoder.decode_lines(data)
    except ERRORS:
        return None
    if len(records) != len(lines) or _encoder.encode_lines(records).count(b'"') != data.count(b'"'):
        return None
    opened = list(map(len, data.translate(None, _NOT_OPENING).split(b"\n")))
    if max(opened) > MAX_DEPTH:
        nested = [line for line, brackets in zip(lines, opened, strict=False) if brackets > MAX_DEPTH]
        if _is_deeper(b"".join(nested), MAX_DEPTH):
            return None
    return records


@dataclass(slots=True)
class Uniform:
    """What a chunk held in which every line is a record of the same members.

    ``offsets`` are where the lines begin; ``payloads`` are the payloads as JSON, each on a line, and ``ends``
    where those lines end (LF).
    """

    records: list[Any]
    offsets: list[int]
    payloads: bytes
    ends: "NDArray[np.int64]"


def decode_uniform(
    data: bytes, base: int, decoder: msgspec.json.Decoder[Any], payload: str, quotes: int
) -> Uniform | None:
    """Decode whole lines (``data`` ends with LF) where all are what ``decoder`` takes, else None.

    None says nothing of the lines: ``decode_lines`` does.

    ``decoder`` takes objects with certain members and no others. ``payload`` is the member that holds
    anything, an object; the others hold no objects, and each record has ``quotes`` quotation marks outside
    of its payload. What is returned is what ``decode_lines`` accepts: nothing is refused, or mended, here.
    """
    if not data.startswith(b"{") or (b"\\" in data and b"\\u0022" in data):
        return None
    import numpy as np

    found = np.frombuffer(data, dtype=np.uint8)
    line_ends = np.flatnonzero(found == _LF)
    starts = np.empty_like(line_ends)
    starts[0], starts[1:] = 0, line_ends[:-1] + 1
    if (line_ends - starts).max() > MAX_NODES:
        return None
    if not ((found[starts] == _OPENING).all() and (found[line_ends - 1] == _CLOSING).all()):
        return None
    try:
        records = decoder.decode_lines(data)
        payloads = _encoder.encode_lines([getattr(record, payload) for record in records])
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
        return None
    count = len(records)
    written = np.frombuffer(payloads, dtype=np.uint8)
    is_unique = np.count_nonzero(found == _QUOTE) == np.count_nonzero(written == _QUOTE) + quotes * count
    if count != len(line_ends) or not is_unique:
        return None
    # "[" and "{" differ in one bit. Each line has two of them at least: its own and its payload's.
    opened = (found & _BRACKET_BITS) == _BRACKET
    if np.count_nonzero(opened) - 2 * (count - 1) > MAX_DEPTH:
        return None
    ends = np.flatnonzero(written == _LF)
    return Uniform(records, (starts + base).tolist(), payloads, ends)


def decode_line(line: bytes, offset: int = 0) -> Record | Reject | None:
    """Decode one line without its LF: a record, a reject, or None for a blank line."""
    if not line.strip(_BLANK):
        return None
    if _has_many_nodes(line):
        return _reject_nodes(offset, line)
    try:
        record, source = _read(line, MAX_DEPTH)
    except ERRORS as error:
        return reject(*_fault(line, error), offset, line)
    if type(record) is not dict:
        return reject("not_an_object", f"a JSON object was expected, not {_name(record)}", offset, line)
    return _check(record, source, line, offset) or record


def decode_values(values: Iterable[tuple[int, bytes]]) -> Decoded:
    """Decode values that were found in a stream, each with its byte offset."""
    found = list(values)
    return _decode_each([value for _, value in found], [offset for offset, _ in found])


def decode_document(data: bytes) -> list[Record | Reject] | Reject:
    """Decode a whole ``.json`` file: one object or one array of objects, each element by itself.

    A file that is no JSON is one ``Reject``; its reason is ``incomplete_json`` where only the end is missing.
    """
    body = data.removeprefix(BOM)
    # Each element of an array may be as deep as one that stands alone.
    limit = MAX_DEPTH + body.lstrip().startswith(b"[")
    try:
        document, source = _read(body, limit)
        if type(document) is dict:
            few = _reject_nodes(0, data) if _has_many_nodes(body) else _check(document, source, data, 0)
            return [few or document]
        if type(document) is not list:
            detail = f"an object or an array was expected, not {_name(document)}"
            return reject("not_an_object", detail, 0, data)
        witnesses: list[object] = document
        if _may_repeat_keys(document, source):
            witnesses = _marked(source)
    except ERRORS as error:
        is_cut = str(error) == _TRUNCATED
        reason, detail = ("incomplete_json", str(error)) if is_cut else _fault(body, error)
        return reject(reason, detail, 0, data)
    return [
        _check_element(element, witness, number)
        for number, (element, witness) in enumerate(zip(document, witnesses, strict=True))
    ]


def decode_value(text: str) -> Any:  # noqa: ANN401 (JSON)
    """Decode a value that stands as text in a record; None where it is no JSON, or has too many values.

    It was mostly spelled by the agent itself, for a program that may take more than JSON: control characters
    in strings are read as they are, or as white space.
    """
    # A character is up to four bytes.
    if len(text) > MAX_NODES // 4 and _has_many_nodes(text.encode("utf-8", "surrogatepass")):
        return None
    try:
        value = _decoder.decode(text)
    except ERRORS:
        pass
    else:
        # What is opened is closed, too. Most values are objects of texts and numbers.
        if len(text) <= 2 * MAX_DEPTH or (type(value) is dict and _is_flat(value)):
            return value
        if text.count("{") + text.count("[") <= MAX_DEPTH or not _is_deeper(text.encode(), MAX_DEPTH):
            return value
    mended = _mended(text.encode("utf-8", "surrogatepass").translate(_NO_CONTROLS), MAX_DEPTH, is_text=True)
    try:
        return None if mended is None else _decoder.decode(mended)
    except ERRORS:
        return None


def _is_flat(record: Record) -> bool:
    return _CONTAINERS.isdisjoint(map(type, record.values()))


def encode_element(record: object) -> bytes:
    """Encode one element of a document in one canonical way, for hashing and for keeping."""
    return _canonical_encoder.encode(record)


def reject(reason: str, detail: str, offset: int, line: bytes) -> Reject:
    """Make a ``Reject`` of a line."""
    return Reject(reason, detail, offset, len(line), line[:KEPT_BYTES])


def _read(source: bytes, limit: int) -> tuple[Any, bytes]:
    """Decode JSON: its value, mended where it has to be, and JSON with the keys that it had.

    ``limit``: so deep may it be nested. Raises ``ERRORS``.
    """
    try:
        value = _decoder.decode(source)
    except ERRORS:
        mended = _read_mended(source, limit)
        if mended is None:
            raise
        return mended
    if source.count(b"{") + source.count(b"[") > limit and _is_deeper(source, limit):
        return _read_mended(source, limit) or (value, source)
    return value, source


def _read_mended(source: bytes, limit: int) -> tuple[Any, bytes] | None:
    mended = _mended(source, limit)
    if mended is None:
        return None
    keyed = mended
    if b"\\u" in source:
        # Keys that differ in their halves alone are not one key twice: else an agent that may choose names
        # of arguments could have any of its calls refused.
        keyed = _mended(source, limit, keeps_halves=True) or source
    return _decoder.decode(mended), keyed


def _mended(source: bytes, limit: int, *, is_text: bool = False, keeps_halves: bool = False) -> bytes | None:
    """Put something else for what JSON, or what passes for it, can spell and cannot be held; None: no JSON.

    What is nested deeper than ``limit`` goes unread. ``is_text``: strings may hold line ends and tabs.
    ``keeps_halves``: those of surrogate pairs stay, which the standard library can hold.
    """
    if _BACKSLASH[:1] in source or _QUOTED[:1] in source:
        return None
    if not is_text and not _may_be_mended(source, limit):
        return None
    marked = source.replace(rb"\\", _BACKSLASH)
    if b"\\u" in marked and not keeps_halves:
        marked = _HALF.sub(rb"\\ufffd", marked)
    # Every other part stands in a string; each value, and its name, may be one.
    parts = marked.replace(rb"\"", _QUOTED).split(b'"')
    if len(parts) % 2 == 0 or len(parts) > 4 * MAX_NODES + 4:
        return None
    parts[::2] = _EXTREME.sub(_held, b'"'.join(parts[::2])).split(b'"')
    if is_text:
        for raw, escaped in _ESCAPES:
            parts[1::2] = [part.replace(raw, escaped) for part in parts[1::2]]
    mended = _cut(b'"'.join(parts), limit).replace(_QUOTED, rb"\"").replace(_BACKSLASH, rb"\\")
    return None if mended == source else mended


def _may_be_mended(source: bytes, limit: int) -> bool:
    # Most of what is malformed is so for other reasons: to know that is cheaper than to take it apart.
    return (
        b"\\u" in source
        or b"NaN" in source
        or b"Infinity" in source
        or source.count(b"{") + source.count(b"[") > limit
        or _EXPONENT.search(source) is not None
        # So many digits in a row would have one at one of these places.
        or bool(source[_MANY_DIGITS - 1 :: _MANY_DIGITS].translate(None, _NOT_DIGITS))
    )


def _held(number: re.Match[bytes]) -> bytes:
    """Return what stands for a number: null where it is none, or beyond the range."""
    try:
        _decoder.decode(number[0])
    except ERRORS:
        return b"null"
    return number[0]


def _cut(marked: bytes, limit: int) -> bytes:
    """Put null for each object and array that is nested deeper than ``limit``."""
    if marked.count(b"{") + marked.count(b"[") <= limit:
        return marked
    kept: list[bytes] = []
    depth = start = 0
    for found in _BRACKET_BEHIND.finditer(marked):
        at = found.start(1)
        if at == len(marked):
            break
        if marked[at] in (_OPENING, _ARRAY):
            depth += 1
            if depth == limit + 1:
                kept += (marked[start:at], b"null")
        else:
            if depth == limit + 1:
                start = at + 1
            depth -= 1
            if depth < 0:
                # It is malformed whatever follows.
                return marked
    return b"".join([*kept, marked[start:]]) if depth <= limit else marked


def _has_short_lines(data: bytes) -> bool:
    # A line end in every window: then no line is as long as two of them.
    window = MAX_NODES // 2
    return all(data.rfind(b"\n", at, at + window) >= 0 for at in range(0, len(data), window))


def _has_many_nodes(line: bytes) -> bool:
    # Known before anything is decoded: the values themselves are what costs.
    if len(line) <= MAX_NODES or _separators(line) <= MAX_NODES:
        return False
    outside = line.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    return _separators(b" ".join(outside)) > MAX_NODES


def _separators(line: bytes) -> int:
    # Exact up to the limit. In text that has few of them this is five times as fast as counting.
    return sum(len(line) - len(line.replace(mark, b"", MAX_NODES + 1)) for mark in (b",", b"{", b"["))


def _fault(line: bytes, error: Exception) -> tuple[str, str]:
    """Return reason and detail for what the decoder does not take."""
    if line.isascii() and b"\0" not in line:
        return "malformed_json", str(error)
    bare = line.strip(b"\0")
    # A hole in a file reads as NUL bytes in a row; here they stand between the others.
    if line.startswith(_WIDE_MARKS) or 0 < len(bare) <= 4 * bare.count(b"\0"):
        return "encoding", "it looks like UTF-16 or UTF-32; write the file in UTF-8"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as fault:
        byte, place = line[fault.start], fault.start
        return "encoding", f"it is not UTF-8: byte 0x{byte:02x} at {place}; write the file in UTF-8"
    return "malformed_json", str(error)


def _decode_each(lines: list[bytes], offsets: list[int]) -> Decoded:
    decoded = Decoded([], [], [], [])
    for line, offset in zip(lines, offsets, strict=True):
        result = decode_line(line, offset)
        if result is None:
            decoded.ignored.append(offset)
        elif isinstance(result, Reject):
            decoded.rejects.append(result)
        else:
            decoded.records.append(result)
            decoded.offsets.append(offset)
    return decoded


def _check_element(element: object, witness: object, number: int) -> Record | Reject:
    line = encode_element(element)
    if not isinstance(element, dict):
        return reject("not_an_object", f"a JSON object was expected, not {_name(element)}", number, line)
    if _has_many_nodes(line):
        return _reject_nodes(number, line)
    key = None if witness is element else _repeated_key(witness)
    return element if key is None else _reject_key(key, number, line)


def _check(record: Record, source: bytes, line: bytes, offset: int) -> Reject | None:
    if _may_repeat_keys(record, source):
        key = _repeated_key(_marked(source))
        if key is not None:
            return _reject_key(key, offset, line)
    return None


def _reject_nodes(offset: int, line: bytes) -> Reject:
    return reject("too_many_values", f"more than {MAX_NODES} values in one record", offset, line)


def _reject_key(key: str, offset: int, line: bytes) -> Reject:
    return reject("duplicate_key", f"the key {key[:80]!r} stands twice in one object", offset, line)


def _may_repeat_keys(value: object, source: bytes) -> bool:
    return b"\\u0022" in source or _encoder.encode(value).count(b'"') != source.count(b'"')


@dataclass(frozen=True, slots=True)
class _Repeated:
    key: str


def _mark(pairs: list[tuple[str, object]]) -> object:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                return _Repeated(key)
            seen.add(key)
    return record


def _marked(source: bytes) -> Any:  # noqa: ANN401 (JSON)
    # A second opinion on accepted JSON, with a mark where an object repeats a key. Numbers stay text, so that
    # no limit of the standard library's on their length can end the reading.
    return json.loads(source, object_pairs_hook=_mark, parse_int=str, parse_float=str)


def _repeated_key(value: object) -> str | None:
    layer: list[object] = [value]
    while layer:
        for item in layer:
            if isinstance(item, _Repeated):
                return item.key
        layer = [child for item in layer for child in _children(item)]
    return None


def _is_deeper(source: bytes, limit: int) -> bool:
    """Say whether something in JSON, which has to be well-formed, is nested deeper than ``limit``."""
    if b"\\" in source:
        source = source.replace(rb"\\", b"").replace(rb"\"", b"")
    # Two quotation marks in a row lead into a string and out of it, or out and in again.
    marks = source.translate(_ALIKE, _NO_MARKS).replace(b'""', b"")
    brackets = b"".join(marks.split(b'"')[::2])
    for _ in range(limit):
        # What is left has lost its innermost layer.
        brackets = brackets.replace(b"{}", b"")
        if not brackets:
            return False
    return bool(brackets)


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _name(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

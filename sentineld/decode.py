r"""Decode: bytes in, JSON objects out, or a ``Reject`` that says why not. Strict and bounded.

Refused: anything that is not one JSON object in UTF-8, NaN and infinities, duplicate keys (two readers
could disagree on which value counts), nesting deeper than ``MAX_DEPTH``, more than ``MAX_NODES`` values.
Lines end at LF only; a CR before it is white space; a byte order mark is accepted at the start of a file.
Half of a surrogate pair, which JSON can spell and Unicode cannot hold, is read as U+FFFD: programs that cut
text leave such halves behind.

Reasons: ``malformed_json``, ``incomplete_json`` (documents), ``encoding`` (not UTF-8), ``not_an_object``,
``duplicate_key``, ``too_deep``, ``too_many_values``.

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

#: Deepest nesting accepted; agents' records have less than ten levels.
MAX_DEPTH = 32
#: Most values in one record: commas and opening brackets outside of strings. Each value takes some hundred
#: times as long to judge as a byte of text, and up to a hundred bytes of memory.
MAX_NODES = 60_000
#: Bytes of a rejected line that are kept for inspection.
KEPT_BYTES = 4096

#: What the decoder says where input ends too early.
_TRUNCATED = "Input data was truncated"

BOM = b"\xef\xbb\xbf"

#: White space of JSON, less the LF that ends a line.
_BLANK = b" \t\r"
#: All bytes but opening brackets and LF. A line cannot be nested deeper than it has opening brackets.
_NOT_OPENING = bytes(set(range(256)) - set(b"{[\n"))

_LF, _QUOTE, _OPENING, _CLOSING = b'\n"{}'
#: What both opening brackets have in common, and which bits that are.
_BRACKET, _BRACKET_BITS = 0x5B, 0xDF

#: The escape of half of a surrogate pair, in what is else JSON and where no backslash is escaped.
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB]..\\u....))"
)
#: Stands for an escaped backslash meanwhile: no JSON has such a byte.
_BACKSLASH = b"\1\1"
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
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    if len(records) != len(lines) or _encoder.encode_lines(records).count(b'"') != data.count(b'"'):
        return None
    opened = list(map(len, data.translate(None, _NOT_OPENING).split(b"\n")))
    if max(opened) > MAX_DEPTH and any(
        _depth(record) > MAX_DEPTH
        for record, brackets in zip(records, opened, strict=False)
        if brackets > MAX_DEPTH
    ):
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
    source = line
    try:
        record = _decoder.decode(line)
    except RecursionError:
        return _reject_depth(offset, line)
    except (msgspec.DecodeError, ValueError) as error:
        mended = _mended(line)
        if mended is None:
            return reject(*_fault(line, error), offset, line)
        record, source = mended
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
    source = body = data.removeprefix(BOM)
    try:
        try:
            document = _decoder.decode(body)
        except (msgspec.DecodeError, ValueError):
            mended = _mended(body)
            if mended is None:
                raise
            document, source = mended
        if type(document) is dict:
            few = _reject_nodes(0, data) if _has_many_nodes(body) else _check(document, source, data, 0)
            return [few or document]
        if type(document) is not list:
            detail = f"an object or an array was expected, not {_name(document)}"
            return reject("not_an_object", detail, 0, data)
        witnesses: list[object] = document
        if _may_repeat_keys(document, source):
            witnesses = _marked(source)
    except RecursionError:
        return _reject_depth(0, data)
    except (msgspec.DecodeError, ValueError) as error:
        is_cut = str(error) == _TRUNCATED
        reason, detail = ("incomplete_json", str(error)) if is_cut else _fault(body, error)
        return reject(reason, detail, 0, data)
    return [
        _check_element(element, witness, number)
        for number, (element, witness) in enumerate(zip(document, witnesses, strict=True))
    ]


def decode_value(text: str) -> Any:  # noqa: ANN401 (JSON)
    """Decode a value that stands as text in a record; None where it is no JSON, or beyond the limits."""
    # A character is up to four bytes.
    if len(text) > MAX_NODES // 4 and _has_many_nodes(text.encode("utf-8", "surrogatepass")):
        return None
    try:
        value = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    # What is opened is closed, too. Most values are objects of texts and numbers.
    if len(text) > 2 * MAX_DEPTH and not (type(value) is dict and _is_flat(value)):
        return None if text.count("{") + text.count("[") > MAX_DEPTH < _depth(value) else value
    return value


def _is_flat(record: Record) -> bool:
    return _CONTAINERS.isdisjoint(map(type, record.values()))


def encode_element(record: object) -> bytes:
    """Encode one element of a document in one canonical way, for hashing and for keeping."""
    return _canonical_encoder.encode(record)


def reject(reason: str, detail: str, offset: int, line: bytes) -> Reject:
    """Make a ``Reject`` of a line."""
    return Reject(reason, detail, offset, len(line), line[:KEPT_BYTES])


def _mended(source: bytes) -> tuple[Any, bytes] | None:
    """Read JSON that halves of surrogate pairs alone make unreadable: its value, and JSON that has it."""
    if b"\\u" not in source or _BACKSLASH[:1] in source:
        return None
    marked = source.replace(rb"\\", _BACKSLASH)
    mended, count = _HALF.subn(rb"\\ufffd", marked)
    if not count:
        return None
    mended = mended.replace(_BACKSLASH, rb"\\")
    try:
        return _decoder.decode(mended), mended
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


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
    if _depth(element) > MAX_DEPTH:
        return _reject_depth(number, line)
    if _has_many_nodes(line):
        return _reject_nodes(number, line)
    key = None if witness is element else _repeated_key(witness)
    return element if key is None else _reject_key(key, number, line)


def _check(record: Record, source: bytes, line: bytes, offset: int) -> Reject | None:
    if source.count(b"{") + source.count(b"[") > MAX_DEPTH and _depth(record) > MAX_DEPTH:
        return _reject_depth(offset, line)
    if _may_repeat_keys(record, source):
        key = _repeated_key(_marked(source))
        if key is not None:
            return _reject_key(key, offset, line)
    return None


def _reject_depth(offset: int, line: bytes) -> Reject:
    return reject("too_deep", f"nested deeper than {MAX_DEPTH} levels", offset, line)


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


def _depth(value: object) -> int:
    depth = 0
    layer: list[object] = [value]
    while layer and depth <= MAX_DEPTH:
        depth += 1
        layer = [child for item in layer for child in _children(item) if isinstance(child, dict | list)]
    return depth


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _name(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

"""Decode: bytes in, JSON objects out, or a ``Reject`` that says why not. Strict and bounded.

Refused: anything that is not one JSON object in UTF-8, NaN and infinities, duplicate keys (two readers
could disagree on which value counts), nesting deeper than ``MAX_DEPTH``. Lines end at LF only; a CR before
it is white space; a byte order mark is accepted at the start of a file.

Whole chunks are decoded at once. Duplicate keys are found without a second parser: decoding and encoding
again drops the second key and with it at least two quotation marks, and nothing else changes their number
(except the escape ``\\u0022``, which sends the chunk down the slow path).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Any

import msgspec

#: Deepest nesting accepted; agents' records have less than ten levels.
MAX_DEPTH = 32
#: Bytes of a rejected line that are kept for inspection.
KEPT_BYTES = 4096

BOM = b"\xef\xbb\xbf"

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()

Record = dict[str, Any]


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
    offsets = list(accumulate((len(line) + 1 for line in lines), initial=base))
    offsets.pop()
    if base == 0 and lines and lines[0].startswith(BOM):
        lines[0] = lines[0][len(BOM) :]
        return _decode_each(lines, offsets)
    if b"\\u0022" in data or _may_be_deep(lines):
        return _decode_each(lines, offsets)
    try:
        records = _decoder.decode_lines(data)
        is_whole = (
            len(records) == len(lines)
            and all(type(record) is dict for record in records)
            and _encoder.encode_lines(records).count(b'"') == data.count(b'"')
        )
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        is_whole = False
    if is_whole:
        return Decoded(records, offsets, [], [])
    return _decode_each(lines, offsets)


def decode_line(line: bytes, offset: int = 0) -> Record | Reject | None:
    """Decode one line without its LF: a record, a reject, or None for a blank line."""
    if not line.strip():
        return None
    try:
        record = _decoder.decode(line)
    except RecursionError:
        return reject("too_deep", f"nested deeper than {MAX_DEPTH} levels", offset, line)
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        return reject("malformed_json", str(error), offset, line)
    if type(record) is not dict:
        return reject("not_an_object", f"a JSON object was expected, not {_name(record)}", offset, line)
    return _check(record, line, offset) or record


def decode_document(data: bytes) -> list[Record | Reject] | Reject:
    """Decode a whole ``.json`` file: one object or one array of objects, each element by itself.

    A file that is not complete JSON is one ``Reject``.
    """
    body = data.removeprefix(BOM)
    try:
        document = _decoder.decode(body)
    except RecursionError:
        return reject("too_deep", f"nested deeper than {MAX_DEPTH} levels", 0, data)
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        return reject("malformed_json", str(error), 0, data)
    if type(document) is dict:
        return [_check(document, body, 0) or document]
    if type(document) is not list:
        return reject("not_an_object", f"an object or an array was expected, not {_name(document)}", 0, data)
    duplicate = _duplicate_key(body)
    if duplicate is not None:
        return reject("duplicate_key", f"the key {duplicate!r} stands twice in one object", 0, data)
    return [_check_element(element, number) for number, element in enumerate(document)]


def encode_element(record: object) -> bytes:
    """Encode one element of a document in one canonical way, for hashing and for keeping."""
    return msgspec.json.encode(record, order="deterministic")


def reject(reason: str, detail: str, offset: int, line: bytes) -> Reject:
    """Make a ``Reject`` of a line."""
    return Reject(reason, detail, offset, len(line), line[:KEPT_BYTES])


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


def _check_element(element: object, number: int) -> Record | Reject:
    line = encode_element(element)
    if type(element) is not dict:
        return reject("not_an_object", f"a JSON object was expected, not {_name(element)}", number, line)
    if _depth(element) > MAX_DEPTH:
        return reject("too_deep", f"nested deeper than {MAX_DEPTH} levels", number, line)
    return element


def _check(record: Record, line: bytes, offset: int) -> Reject | None:
    if _may_be_deep([line]) and _depth(record) > MAX_DEPTH:
        return reject("too_deep", f"nested deeper than {MAX_DEPTH} levels", offset, line)
    if b"\\u0022" in line or _encoder.encode(record).count(b'"') != line.count(b'"'):
        duplicate = _duplicate_key(line)
        if duplicate is not None:
            return reject("duplicate_key", f"the key {duplicate!r} stands twice in one object", offset, line)
    return None


def _may_be_deep(lines: list[bytes]) -> bool:
    # No more opening brackets in a line than levels allowed: no line can be too deep.
    return (
        max(map(bytes.count, lines, repeat(b"{")), default=0)
        + max(map(bytes.count, lines, repeat(b"[")), default=0)
        > MAX_DEPTH
    )


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return record


def _duplicate_key(line: bytes) -> str | None:
    try:
        json.loads(line, object_pairs_hook=_refuse_duplicates)
    except _DuplicateKeyError as error:
        return error.key
    except (ValueError, RecursionError):
        # The strict decoder has accepted the line; what the second opinion cannot read has no verdict.
        return None
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

"""Signed documents: one JSON object on one line whose end is its signature.

The file ends in ``,"key_id":"ID","signature":"BASE64"}`` and an optional newline. The signed bytes are a
context (what the document is for, so that one kind never passes for another), NUL, the algorithm, NUL, the
key id, NUL, and everything in front of that end. Verified bytes are parsed, others never: no parser's
leniency is ever asked.

Standard library and floor 0 only: routers import this and must start in tens of milliseconds.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

from sentineld.errors import ConfigError
from sentineld.instant import parse_iso
from sentineld.keys import ALGORITHMS, Key, SigningKey

#: Largest whole number that every JSON reader keeps exactly (RFC 8259 section 6).
MAX_INTEGER = 2**53 - 1

_TAIL = re.compile(rb',"key_id":"([A-Za-z0-9._-]{1,64})","signature":"([A-Za-z0-9+/=]{43,88})"\}\n?\Z')
#: No tail is longer, so the search for it stays at the end of the file.
_TAIL_MAX_BYTES = 192

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")


class Refused(ValueError):  # noqa: N818 (it reads as the predicate that it carries)
    """Why a document is refused, as a predicate of which the file is the subject."""


def encode_document(context: bytes, document: Mapping[str, object], key: SigningKey | None) -> bytes:
    r"""Return the file's bytes: compact ASCII JSON on one line, signed if a key is given.

    The signature covers ``context NUL algorithm NUL key_id NUL`` and every byte before the tail
    ``,"key_id":"...","signature":"..."}\n``. All keys of all objects must be text.

    Raises `ConfigError` for an algorithm that cannot sign, ``ValueError`` for a document that is empty, holds
    numbers that JSON cannot show or brings ``key_id`` or ``signature`` of its own.
    """
    if "key_id" in document or "signature" in document:
        raise ValueError("key_id and signature are added by the signer")
    if key is not None and not document:
        raise ValueError("an empty document cannot be signed")
    return sign_body(context, compact_json(dict(document)).encode("ascii"), key)


def compact_json(value: object) -> str:
    """Return compact ASCII JSON. Raises ``ValueError`` for numbers that JSON cannot show."""
    return _encode(value)


def sign_body(context: bytes, body: bytes, key: SigningKey | None) -> bytes:
    """Return the file's bytes for an object that is compact ASCII JSON already, and is not empty.

    For writers of large documents, who keep the parts that did not change; they see to the form.
    """
    if key is None:
        return body + b"\n"
    prefix = body[:-1]
    signature = key.sign(context, prefix)
    return b'%b,"key_id":"%b","signature":"%b"}\n' % (prefix, key.key_id.encode(), signature)


def verify_document(context: bytes, data: bytes, keys: Sequence[Key]) -> tuple[bytes, Key]:
    """Return the signed document (the prefix and its closing brace) and the key that signed it.

    The algorithm is the key's: nothing in the document can choose it. Raises `Refused`.
    """
    tail = _TAIL.search(data, max(0, len(data) - _TAIL_MAX_BYTES))
    if tail is None:
        raise Refused("does not end in a signature, and this reader has a key")
    key_id, prefix = tail[1].decode("ascii"), data[: tail.start()]
    named = [key for key in keys if key.key_id == key_id]
    if not named:
        raise Refused(f"is signed with key {key_id}, which this reader does not know")
    usable = [key for key in named if key.algorithm in ALGORITHMS]
    if not usable:
        raise Refused(f"is signed with key {key_id}, of the unknown algorithm {named[0].algorithm!r}")
    try:
        for key in usable:
            if key.accepts(context, prefix, tail[2]):
                return prefix + b"}", key
    except ConfigError as error:
        raise Refused(f"cannot be checked: {error}") from error
    raise Refused(f"does not carry a valid signature of key {key_id}")


def parse_document(body: bytes) -> Mapping[str, object]:
    """Parse strict UTF-8 and strict JSON that is one object. Raises `Refused`."""
    try:
        # Decoded here: json.loads would guess UTF-16 or UTF-32 from the first bytes.
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except Refused:
        raise
    except UnicodeDecodeError as error:
        raise Refused(f"is not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"is not JSON that can be read: {error}") from error
    if not isinstance(document, dict):
        raise Refused("is not one JSON object")
    return document


def check_schema(document: Mapping[str, object], schema: int) -> None:
    """Raise `Refused` unless the document is of the version that this reader understands."""
    found = document.get("schema")
    if type(found) is not int or found != schema:
        raise Refused(f"has a schema other than {schema}, which this reader does not understand")


def integer(document: Mapping[str, object], member: str, low: int, high: int) -> int:
    """Return a member that must be a whole number within bounds; true and false are not numbers."""
    value = document.get(member)
    if type(value) is not int or not low <= value <= high:
        raise Refused(f"has no {member} that is a whole number from {low} to {high}")
    return value


def instant_us(document: Mapping[str, object], member: str) -> int:
    """Return a member that must be an instant, in microseconds since the epoch."""
    value = document.get(member)
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        with suppress(ValueError, OverflowError):
            return parse_iso(value)
    raise Refused(f"has no {member} that is an instant such as 2026-11-23T00:40:10.123Z")


def required_text(document: Mapping[str, object], member: str) -> str:
    """Return a member that must be text."""
    value = document.get(member)
    if not isinstance(value, str):
        raise Refused(f"has no {member} that is text")
    return value


def text(document: Mapping[str, object], member: str) -> str:
    """Return a member that only informs; what is not text becomes empty."""
    value = document.get(member)
    return value if isinstance(value, str) else ""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object, unless a key occurs twice: parsers differ on which of the two counts."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused("has the same key twice in one object")
    return members


def _finite(digits: str) -> float:
    """Read a number with a fraction or an exponent; 1e999 is not one."""
    value = float(digits)
    if not math.isfinite(value):
        raise Refused("has a number beyond all bounds")
    return value


def _no_constant(word: str) -> object:
    """Refuse ``NaN``, ``Infinity`` and ``-Infinity``, which Python reads and JSON does not have."""
    raise Refused(f"has {word} for a number")

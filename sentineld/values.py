"""Values: what the values of records mean, whatever kind they are of: numbers, times, embedded values.

Nothing here raises for what an agent wrote: what cannot be understood is None, or stays as it is.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from sentineld import kernel
from sentineld.decode import decode_value
from sentineld.instant import MAX_US, MIN_US, SECOND_US, from_unix

#: Characters of a text that a pattern looks at.
MAX_SUBJECT = 4096
#: Kinds of values that a condition may expect.
SCALARS = (str, int, float, bool)

Search: TypeAlias = Callable[[str, int, int], re.Match[str] | None]

_MAX_DEEP = 8
_MAX_DIGITS = 32
#: Numbers beyond this are none: whatever is done with others stays within the range of a double.
_LARGEST = 1e100
#: Digits of any number that fits into 64 bits.
_SURE_DIGITS = 18
_OTEL_NAMES = ("key", "value", "stringValue", "intValue")
#: What JSON may begin with: most text that is none does not get to the decoder.
_JSON_STARTS = frozenset('{["-0123456789tfn \t\r\n')


def from_json(value: object) -> object:
    """Decode JSON that stands as text; anything else stays as it is."""
    if type(value) is not str or value[:1] not in _JSON_STARTS:
        return value
    found = decode_value(value)
    return value if found is None else found


def from_otel(value: object) -> object:
    """Decode OTLP's lists of keys and typed values (opentelemetry.proto.common.v1.KeyValue)."""
    if not isinstance(value, list):
        return value
    if kernel.compiled is not None:
        return kernel.compiled.attributes(value, _OTEL_NAMES, _otel_value)
    found = {}
    for item in value:
        try:
            # Nearly all values are text or whole numbers: those are spelled out.
            name, inner = item["key"], item["value"]
            if type(name) is str and len(inner) == 1:
                if "stringValue" in inner:
                    found[name] = inner["stringValue"]
                    continue
                if "intValue" in inner and 0 < len(inner["intValue"]) <= _SURE_DIGITS:
                    found[name] = int(inner["intValue"])
                    continue
        except (KeyError, TypeError, ValueError):
            pass
        if type(item) is dict and type(item.get("key")) is str:
            found[item["key"]] = _otel_value(item.get("value"), 0)
    return found


def _otel_value(value: object, depth: int) -> object:
    if not isinstance(value, dict) or len(value) != 1 or depth > _MAX_DEEP:
        return value
    ((kind, inner),) = value.items()
    if kind == "intValue":
        # 64-bit integers are text in protobuf's JSON.
        found = to_number(inner)
        return inner if found is None else found
    if kind == "arrayValue" and isinstance(inner, dict):
        items = inner.get("values", [])
        return [_otel_value(item, depth + 1) for item in items] if isinstance(items, list) else None
    if kind == "kvlistValue" and isinstance(inner, dict):
        items = inner.get("values", [])
        pairs = items if isinstance(items, list) else []
        return {
            item["key"]: _otel_value(item.get("value"), depth + 1)
            for item in pairs
            if isinstance(item, dict) and isinstance(item.get("key"), str)
        }
    return inner


def from_pairs(value: object) -> object:
    """Decode ``[[key, value], ...]`` and ``[{"key": ..., "value": ...}, ...]``."""
    if not isinstance(value, list):
        return value
    result = {}
    for item in value:
        if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
            result[item[0]] = item[1]
        elif isinstance(item, dict) and isinstance(item.get("key"), str):
            result[item["key"]] = item.get("value")
    return result


DECODERS: dict[str, Callable[[Any], Any]] = {"json": from_json, "otel": from_otel, "pairs": from_pairs}


def to_instant(value: object, factor: float | None) -> int | None:
    """Read a time as microseconds; None for what is none. ``factor``: microseconds of its unit, if stated."""
    if isinstance(value, list):
        parts = [to_number(item) for item in value]
        if len(parts) != 2 or parts[0] is None or parts[1] is None:
            return None
        return to_instant(parts[0] * SECOND_US + parts[1] // 1000, 1)
    found = to_number(value)
    if found is None:
        return None
    return from_unix(found) if factor is None else min(max(round(found * factor), MIN_US), MAX_US)


def to_number(value: object) -> float | None:
    """Read a number, also one written as text; a duration of ``secs`` and ``nanos`` is in milliseconds.

    None for what is none, or is larger than anything that is measured (``1e100``).
    """
    kind = type(value)
    if kind is int or kind is float:
        return value if -_LARGEST < value < _LARGEST else None  # type: ignore[operator,return-value]
    if kind is str and 0 < len(value) <= _MAX_DIGITS:  # type: ignore[arg-type]
        try:
            return int(value)  # type: ignore[call-overload,no-any-return]
        except ValueError:
            pass
        try:
            return to_number(float(value))  # type: ignore[arg-type]
        except ValueError:
            return None
    if kind is dict and set(value) == {"secs", "nanos"}:  # type: ignore[call-overload]
        # A duration as Rust's serde writes it, in milliseconds like all durations here.
        secs, nanos = to_number(value["secs"]), to_number(value["nanos"])  # type: ignore[index]
        return None if secs is None or nanos is None else secs * 1000 + nanos / 1_000_000
    return None


def total(numbers: Iterable[float | None]) -> float | None:
    """Return the sum of those that are there; None where none is."""
    found: float | None = None
    for number in numbers:
        if number is not None:
            found = (0 if found is None else found) + number
    return found


def first_match(search: Search, group: int, text: str) -> str | None:
    """Return what a group of a pattern finds in a text; None where it finds nothing."""
    match = search(text, 0, MAX_SUBJECT)
    return (match[group] or None) if match else None


def has_one_of(value: object, texts: frozenset[str]) -> bool:
    """Say whether a value is one of some texts, or an array in which one of them stands."""
    if type(value) is list:
        return any(type(item) is str and item in texts for item in value)
    return type(value) is str and value in texts


def is_one_of(value: object, allowed: frozenset[tuple[bool, object]]) -> bool:
    """Say whether a value is one of some, each with whether it is a truth value: true is not 1."""
    return isinstance(value, SCALARS) and (type(value) is bool, value) in allowed


def to_count(value: float | None) -> int | None:
    """Return a number as a whole one that is not negative and fits into 64 bits."""
    return round(value) if value is not None and 0 <= value < 1 << 63 else None

"""Terms: the arguments of a call as short values that can come again; free text is left out."""

import math
import re
from collections.abc import Collection

#: Arguments that are text to be run, written or read, not values.
_TEXTS = frozenset(
    {"command", "cmd", "script", "code", "content", "new_string", "old_string", "patch", "prompt", "input"}
)
_CONTAINERS = frozenset({dict, list})
_BLOB = re.compile(r"[A-Za-z0-9+/_=%-]{32,}")
_MAX_DEPTH = 6
_MAX_MEMBERS = 64
_MAX_LEAVES = 128
#: Longest text that is a term, characters.
MAX_TERM = 64
_MAX_TEXT = 2048
#: Size, in bits of its length, from which on a run of letters and digits is data that is carried.
MAX_BLOB = 6


def leaves(value: object) -> Collection[tuple[str, object]]:
    """Return the paths and values of what arguments hold that is neither object nor array, at most 128.

    Names of members are text, as in JSON.
    """
    if (
        type(value) is dict
        and len(value) <= _MAX_MEMBERS
        and _CONTAINERS.isdisjoint(map(type, value.values()))
    ):
        # Most are flat.
        if _TEXTS.isdisjoint(value):
            return value.items()
        return [pair for pair in value.items() if pair[0] not in _TEXTS]
    found: list[tuple[str, object]] = []
    stack: list[tuple[str, object, int]] = [("", value, 0)]
    while stack and len(found) < _MAX_LEAVES:
        path, item, depth = stack.pop()
        kind = type(item)
        if kind is dict and depth < _MAX_DEPTH:
            members = item.items() if len(item) <= _MAX_MEMBERS else [*item.items()][:_MAX_MEMBERS]  # type: ignore[attr-defined, arg-type]
            deeper = []
            for name, inner in members:
                if name in _TEXTS:
                    continue
                where = f"{path}.{name}" if path else str(name)
                if type(inner) in _CONTAINERS:
                    deeper.append((where, inner, depth + 1))
                else:
                    found.append((where, inner))
            stack += deeper[::-1]
        elif kind is list and depth < _MAX_DEPTH:
            stack += [(path, inner, depth + 1) for inner in item[:_MAX_MEMBERS][::-1]]  # type: ignore[index]
        elif kind not in _CONTAINERS:
            found.append((path, item))
    return found[:_MAX_LEAVES]


def term(value: object) -> str | None:
    """Return a value as a term: short text in lower case, numbers by their size; None for anything longer."""
    if isinstance(value, str):
        if not 0 < len(value) <= MAX_TERM:
            return None
        value = value.strip().lower()
        return (value if value.isalnum() else " ".join(value.split())) or None
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        size = abs(value)
        if not size or size != size or size > 1e300:
            return "#0"
        return f"#{'-' if value < 0 else ''}{math.floor(math.log10(size) * 2)}"
    return None


def blob_bits(text: str) -> int:
    """Return how many bits it takes to write down the length of a text's longest run that looks encoded."""
    return max(map(len, _BLOB.findall(text[:_MAX_TEXT])), default=0).bit_length() if len(text) > 63 else 0

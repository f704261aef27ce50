"""Selectors: which value of a record a mapping means, compiled once into plain functions.

A selector is one of

* a path, ``payload.call_id``: names between dots, numbers for places in arrays (``-1`` is the last). The
  first name may be a scope: ``record`` (the whole record), ``path`` (named parts of the file's path),
  ``file`` (``path``, ``name``, ``owner``), ``kept`` (the memory of the file), or an item that ``each`` goes
  through. Everything else belongs to the record.
* ``kept.NAME[SELECTOR]``: what was remembered under a key, such as the tool of a call.
* a constant: ``=text``, or any value of TOML that is neither a string nor a list.
* a template, ``{path.project}/{agentId}``: null where any of its parts is.
* a list of these: the first that is not null. Where there is room for a text only, they stand side by side:
  ``content.0.text | content``.

At each object the next name is tried first, then the longest name that contains dots: so
``attributes.gen_ai.tool.name`` finds ``{"attributes": {"gen_ai.tool.name": ...}}`` and nested objects alike.
Null and empty text count as nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

RECORD, PATH, FILE, KEPT = "record", "path", "file", "kept"
#: Scopes that every mapping has; ``each`` may not use their names.
SCOPES = (RECORD, PATH, FILE, KEPT)

_KEPT = re.compile(r"kept\.(?P<name>[A-Za-z_]\w*)(?:\[(?P<key>[^\[\]]+)\])?")
_PART = re.compile(r"\{([^{}]+)\}")
_INDEX = re.compile(r"-?[0-9]{1,8}")
#: Between selectors of which the first counts that is not null; not inside of a template's part or a key.
_OR = re.compile(r" \| (?![^\[{]*[\]}])")
_MAX_NAMES = 16
#: Longest text that a template makes of one of its parts.
MAX_TEXT = 4096

_MISSING: Any = object()


@dataclass(slots=True)
class Scope:
    """What selectors look into. ``names`` holds the record, its items and the rest by their names.

    ``kept`` is the memory of the file: text by name, or by name and key.
    """

    names: dict[str, Any]
    kept: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


Selector: TypeAlias = Callable[[Scope], Any]


class SelectorError(ValueError):
    """A selector that means nothing; the message says why."""


def compile_selector(
    value: object, items: tuple[str, ...] = (), remembered: frozenset[str] = frozenset()
) -> Selector:
    """Compile a selector; ``items`` are the names that ``each`` gives, ``remembered`` those of the memory.

    Raises ``SelectorError``.
    """
    if isinstance(value, list):
        return first_of([compile_selector(item, items, remembered) for item in value])
    if not isinstance(value, str):
        if isinstance(value, dict):
            raise SelectorError("a path, a constant or a list of these was expected, not a table")
        return _constant(value)
    return _compile_text(value, items, remembered)


@lru_cache(8192)
def _compile_text(value: str, items: tuple[str, ...], remembered: frozenset[str]) -> Selector:
    # Selectors keep nothing, and the tables of a format say the same over and over again.
    if value.startswith("="):
        return _constant(value[1:])
    several = _OR.split(value)
    if len(several) > 1:
        return first_of([compile_selector(part, items, remembered) for part in several])
    if ("{" in value or "}" in value) and not _KEPT.fullmatch(value):
        return _template(value, items, remembered)
    if value == KEPT or value.startswith(KEPT + "."):
        return _kept(value, items, remembered)
    return _path(value, items)


def scope_of(path: str, items: tuple[str, ...]) -> str:
    """Return the scope that a path looks into."""
    first = path.partition(".")[0]
    return first if first in SCOPES or first in items else RECORD


@lru_cache(8192)
def paths_of(value: str) -> tuple[str, ...]:
    """Return all paths that a selector's text looks into, also those inside of templates and keys."""
    if value.startswith("="):
        return ()
    several = _OR.split(value)
    match = _KEPT.fullmatch(value)
    if len(several) == 1 and match is not None:
        return (value,) if match["key"] is None else (KEPT, *paths_of(match["key"]))
    if len(several) == 1:
        several = _PART.findall(value)
    return tuple(path for part in several for path in paths_of(part)) if several else (value,)


@lru_cache(8192)
def split(value: str) -> tuple[str, ...]:
    """Return the selectors of which the first counts that is not null."""
    return tuple(_OR.split(value))


@lru_cache(8192)
def kept_of(value: str) -> tuple[str, str | None] | None:
    """Return the name and the key of what was remembered; None for other selectors."""
    match = _KEPT.fullmatch(value)
    return None if match is None else (match["name"], match["key"])


@lru_cache(8192)
def template_of(value: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fixed texts of a template, and the selectors between them."""
    pieces = _PART.split(value)
    return tuple(pieces[::2]), tuple(pieces[1::2])


def _constant(value: object) -> Selector:
    return lambda _: value


def first_of(selectors: list[Selector]) -> Selector:
    """Return a selector that gives the first of these that is not null."""
    if not selectors:
        raise SelectorError("the list is empty")
    if len(selectors) == 1:
        return selectors[0]

    def first(scope: Scope) -> object:
        for select in selectors:
            found = select(scope)
            if found is not None:
                return found
        return None

    return first


def _template(value: str, items: tuple[str, ...], remembered: frozenset[str]) -> Selector:
    texts = _PART.split(value)
    if any("{" in text or "}" in text for text in texts[::2]):
        raise SelectorError(f"a brace of {value!r} is open or closed alone")
    selectors = [compile_selector(part, items, remembered) for part in texts[1::2]]
    fixed = texts[::2]

    def fill(scope: Scope) -> str | None:
        result = fixed[0]
        for select, text in zip(selectors, fixed[1:], strict=True):
            found = to_text(select(scope))
            if not found:
                return None
            result += found[:MAX_TEXT] + text
        return result

    return fill


def to_text(value: object) -> str:
    """Return text as it is, numbers and truth values as JSON spells them; empty for anything else."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value) if -(1 << 63) <= value < 1 << 64 else ""  # type: ignore[operator]
    return repr(value) if kind is float else ""


def _kept(value: str, items: tuple[str, ...], remembered: frozenset[str]) -> Selector:
    match = _KEPT.fullmatch(value)
    if match is None:
        raise SelectorError(f"{value!r} is no memory: such as kept.session or kept.tool[item.id]")
    name, key = match["name"], match["key"]
    if name not in remembered:
        known = ", ".join(sorted(remembered)) or "nothing"
        raise SelectorError(f"nothing is remembered as {name!r} (remembered: {known})")
    if key is None:
        return lambda scope: scope.kept.get(name, _NOTHING).get("")
    select = compile_selector(key, items, remembered)
    return lambda scope: scope.kept.get(name, _NOTHING).get(to_text(select(scope)) or _MISSING)


_NOTHING: dict[Any, str] = {}


def _path(value: str, items: tuple[str, ...]) -> Selector:
    names = value.split(".")
    if not all(names) or len(names) > _MAX_NAMES:
        raise SelectorError(f"{value!r} is no path: 1 to {_MAX_NAMES} names between dots")
    base = RECORD
    if names[0] in SCOPES or names[0] in items:
        base = names.pop(0)
    if not names:

        def whole(scope: Scope) -> object:
            found = scope.names.get(base)
            return None if found == "" else found

        return whole
    if any(map(is_index, names)) or len(names) > 2:
        get = getter(names)
        if len(names) > 2 and not any(map(is_index, names)):
            return _dotted(base, names, get)

        def select(scope: Scope) -> object:
            return get(scope.names.get(base))

        return select
    # Most paths have one or two names: those are spelled out, each call less counts.
    first, second = names[0], names[-1]
    both = ".".join(names)

    def one(scope: Scope) -> object:
        value = scope.names.get(base)
        found = value.get(first) if type(value) is dict else None
        return None if found == "" else found

    def two(scope: Scope) -> object:
        value = scope.names.get(base)
        if type(value) is not dict:
            return None
        inner = value.get(first)
        found = inner.get(second) if type(inner) is dict else None
        if found is None:
            found = value.get(both)
        return None if found == "" else found

    return one if len(names) == 1 else two


def _dotted(base: str, names: list[str], get: Callable[[object], Any]) -> Selector:
    """Return what ``get`` does for a path of many names, sooner for flat objects with dotted names.

    Telemetry has those nearly always, and most of what a mapping looks for is not there.
    """
    first, second = names[:2]
    rest = ".".join(names[1:])
    # Without any of these there is nothing to find.
    inside = [".".join(names[1:end]) for end in range(2, len(names) + 1)]
    outside = [".".join(names[:end]) for end in range(2, len(names) + 1)]

    def select(scope: Scope) -> object:
        item = scope.names.get(base)
        if type(item) is dict:
            inner = item.get(first)
            if type(inner) is dict:
                if second not in inner:
                    found = inner.get(rest)
                    if found is not None:
                        return None if found == "" else found
                if inner.keys().isdisjoint(inside) and item.keys().isdisjoint(outside):
                    return None
        return get(item)

    return select


def getter(names: list[str]) -> Callable[[object], Any]:
    """Return a function that follows names through objects and arrays; None where they lead nowhere."""
    if len(names) == 1:
        (name,) = names
        if not is_index(name):

            def one(value: object) -> object:
                found = value.get(name) if type(value) is dict else None
                return None if found == "" else found

            return one
    if len(names) == 2 and not any(map(is_index, names)):
        first, second = names
        both = f"{first}.{second}"

        def two(value: object) -> object:
            if type(value) is not dict:
                return None
            inner = value.get(first)
            found = inner.get(second) if type(inner) is dict else None
            if found is None:
                found = value.get(both)
            return None if found == "" else found

        return two
    steps: list[Callable[[Any], Any]] = []
    for start in range(len(names) - 1, -1, -1):
        steps.insert(0, _step(names[start:], steps))
    follow = steps[0]

    def several(value: object) -> object:
        found = follow(value)
        return None if found == "" else found

    return several


def is_index(name: str) -> bool:
    """Say whether a name is a place in an array."""
    return _INDEX.fullmatch(name) is not None


def _step(names: list[str], steps: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return a function that follows names; ``steps`` follow what is left behind one, two, ... of them."""
    first = names[0]
    number = int(first) if is_index(first) else None
    following = steps[0] if steps else None
    # The longest name with dots comes first; behind all of them nothing is left to follow.
    joined = [
        (".".join(names[:count]), steps[count - 1] if count < len(names) else None)
        for count in range(len(names), 1, -1)
    ]

    def step(value: Any) -> Any:  # noqa: ANN401 (JSON)
        if type(value) is dict:
            inner = value.get(first)
            if following is None:
                return inner
            if inner is not None:
                found = following(inner)
                if found is not None:
                    return found
            for name, rest in joined:
                if name in value:
                    inner = value[name]
                    return inner if rest is None else rest(inner)
            return None
        if number is not None and type(value) is list and -len(value) <= number < len(value):
            return value[number] if following is None else following(value[number])
        return None

    return step

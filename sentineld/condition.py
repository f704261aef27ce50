"""Conditions: whether a record is meant, and values that depend on them, compiled into plain functions.

A condition is a table from paths to what is expected there, and holds where all of them do:

* a value: equal to it; a list: equal to one of them;
* ``{present = true}`` or ``{present = false}``;
* ``{pattern = "REGEX"}``: a text that the expression finds something in (its first 4,096 characters);
* ``{has = ...}``: equal to it (or to one of a list), or an array in which it stands;
* ``{not = ...}``: none of these, whether it is there or not.

A list of such tables holds where one of them does.

A value is a selector, a list of values (the first that is not null), or a table. With ``{value, when}`` it is
null where the condition does not hold; with ``{value, pattern = "REGEX"}`` it is what the first group of the
expression finds in the text (without a group, what all of it finds); with ``{value, decode = "json"}`` what
the text holds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sentineld.selector import (
    RECORD,
    Scope,
    Selector,
    SelectorError,
    compile_selector,
    first_of,
    paths_of,
    scope_of,
    to_text,
)
from sentineld.values import (
    DECODERS,
    MAX_SUBJECT,
    SCALARS,
    Search,
    first_match,
    has_one_of,
    is_one_of,
)

Test: TypeAlias = Callable[[Scope], bool]

_VALUE_KEYS = ("value", "when", "pattern", "decode")
_WORDS = ("present", "pattern", "has", "not")


@dataclass(slots=True)
class Condition:
    """A compiled condition. ``paths`` are those that it looks into, ``scopes`` the scopes of these.

    ``equals`` says for selectors of the record which values alone can meet it (texts only).
    """

    test: Test
    paths: frozenset[str]
    scopes: frozenset[str]
    equals: dict[str, frozenset[str]]


def compile_condition(
    value: object, items: tuple[str, ...] = (), remembered: frozenset[str] = frozenset()
) -> Condition:
    """Compile a table, or a list of tables. Raises ``SelectorError``; its ``key`` is the path at fault."""
    if isinstance(value, list):
        if not value:
            raise SelectorError("the list is empty")
        found = [compile_condition(item, items, remembered) for item in value]
        if len(found) == 1:
            return found[0]
        return Condition(
            any_of([item.test for item in found]),
            frozenset[str]().union(*(item.paths for item in found)),
            frozenset[str]().union(*(item.scopes for item in found)),
            {
                name: frozenset[str]().union(*(item.equals[name] for item in found))
                for name in set.intersection(*(set(item.equals) for item in found))
            },
        )
    if not isinstance(value, dict):
        raise SelectorError(f"a table of paths was expected, not {value!r}")
    tests = []
    paths: set[str] = set()
    equals = {}
    for name, expected in value.items():
        select = compile_selector(name, items, remembered)
        tests.append(_compile_test(name, select, expected))
        inner = paths_of(name)
        paths.update(inner)
        texts = expected if isinstance(expected, list) else [expected]
        is_of_record = all(scope_of(path, items) == RECORD for path in inner)
        if is_of_record and all(isinstance(text, str) for text in texts):
            equals[name] = frozenset(texts)
    scopes = frozenset(scope_of(path, items) for path in paths)
    return Condition(all_of(tests), frozenset(paths), scopes, equals)


def compile_value(
    value: object, items: tuple[str, ...] = (), remembered: frozenset[str] = frozenset()
) -> Selector:
    """Compile a value: a selector, a table with ``value``, ``when`` and ``pattern``, or a list of these.

    Raises ``SelectorError``.
    """
    if isinstance(value, list):
        return first_of([compile_value(item, items, remembered) for item in value])
    if not isinstance(value, dict):
        return compile_selector(value, items, remembered)
    unknown = value.keys() - set(_VALUE_KEYS)
    if unknown or "value" not in value:
        raise SelectorError(
            f"there is no {min(unknown)!r} here: {', '.join(_VALUE_KEYS)}"
            if unknown
            else "`value` is missing"
        )
    select = compile_value(value["value"], items, remembered)
    if "pattern" in value:
        select = _found(select, value["pattern"])
    if "decode" in value:
        select = _decoded(select, value["decode"])
    if "when" not in value:
        return select
    test = compile_condition(value["when"], items, remembered).test
    return lambda scope: select(scope) if test(scope) else None


def _decoded(select: Selector, name: object) -> Selector:
    if name not in DECODERS:
        raise SelectorError(f"decode: {name!r} is none of {', '.join(DECODERS)}")
    how = DECODERS[str(name)]
    return lambda scope: how(select(scope))


def _found(select: Selector, pattern: object) -> Selector:
    search = search_of(pattern)
    group = 1 if re.compile(str(pattern)).groups else 0
    return lambda scope: first_match(search, group, to_text(select(scope)))


def all_of(tests: list[Test]) -> Test:
    """Return a test that holds where all of these do."""
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda scope: first(scope) and second(scope)
    return lambda scope: all(test(scope) for test in tests)


def any_of(tests: list[Test]) -> Test:
    """Return a test that holds where one of these does."""
    return lambda scope: any(test(scope) for test in tests)


def _compile_test(path: str, select: Selector, expected: object) -> Test:
    if isinstance(expected, dict):
        if len(expected) != 1 or next(iter(expected)) not in _WORDS:
            raise SelectorError(f"{path}: one of {', '.join(_WORDS)} was expected in the table")
        ((word, value),) = expected.items()
        if word == "present":
            if not isinstance(value, bool):
                raise SelectorError(f"{path}: present is true or false")
            return (
                (lambda scope: select(scope) is not None) if value else (lambda scope: select(scope) is None)
            )
        if word == "not":
            inner = _compile_test(path, select, value)
            return lambda scope: not inner(scope)
        if word == "has":
            return _compile_has(path, select, value)
        return _compile_pattern(path, select, value)
    values = expected if isinstance(expected, list) else [expected]
    if not values or not all(isinstance(item, SCALARS) for item in values):
        raise SelectorError(f"{path}: a value or a list of values was expected")
    # In JSON true is not 1, in Python it is.
    allowed = frozenset((type(item) is bool, item) for item in values)
    if len(values) == 1 and type(values[0]) is str:
        (text,) = values
        return lambda scope: select(scope) == text
    if all(type(item) is str for item in values):
        texts = frozenset(values)

        def is_text_of(scope: Scope) -> bool:
            found = select(scope)
            return type(found) is str and found in texts

        return is_text_of
    return lambda scope: is_one_of(select(scope), allowed)


def _compile_has(path: str, select: Selector, value: object) -> Test:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, str) for item in values):
        raise SelectorError(f"{path}: a text or a list of texts was expected")
    wanted = frozenset(values)
    return lambda scope: has_one_of(select(scope), wanted)


def _compile_pattern(path: str, select: Selector, value: object) -> Test:
    try:
        search = search_of(value)
    except SelectorError as error:
        raise SelectorError(f"{path}: {error}") from error

    def matches(scope: Scope) -> bool:
        found: Any = select(scope)
        return type(found) is str and search(found, 0, MAX_SUBJECT) is not None

    return matches


def search_of(pattern: object) -> Search:
    """Return what searches for a pattern. Raises ``SelectorError`` for what is none."""
    if not isinstance(pattern, str):
        raise SelectorError("a pattern is a text")
    try:
        return re.compile(pattern).search
    except re.error as error:
        raise SelectorError(f"{pattern!r} is no pattern: {error}") from error

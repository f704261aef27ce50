"""Knowledge: what is left of a condition where values of some of its selectors are known already.

What is known of a selector: its text, that there is nothing (None), or that it is none of some texts
(``NoneOf``). Tables are found by such values, and ask only what those leave open.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sentineld.selector import paths_of, scope_of
from sentineld.values import MAX_SUBJECT


@dataclass(frozen=True, slots=True)
class NoneOf:
    """A value that is none of these texts: another one, no text, or (unless ``is_present``) nothing."""

    texts: frozenset[str]
    is_present: bool = False


Known: TypeAlias = str | NoneOf | None


def reduced(when: object, known: Mapping[str, Known]) -> object:
    """Return a condition less what is known; None where that makes it impossible, ``{}`` where it holds."""
    if isinstance(when, list):
        alternatives = [item for item in (reduced(item, known) for item in when) if item is not None]
        return {} if {} in alternatives else alternatives or None
    if not isinstance(when, dict):
        return when
    rest = {}
    for name, expected in when.items():
        answer = _answer(expected, known[name]) if name in known else None
        if answer is False:
            return None
        if answer is None:
            rest[name] = expected
    return rest


def _answer(expected: object, value: Known) -> bool | None:
    """Say whether a value is what a condition expects; None where that cannot be told."""
    if isinstance(expected, dict):
        ((word, inner),) = expected.items()
        if word == "not":
            answer = _answer(inner, value)
            return None if answer is None else not answer
        if isinstance(value, NoneOf):
            return bool(inner) if word == "present" and value.is_present else None
        if word == "present":
            return bool(inner) == (value is not None)
        if value is None:
            return False
        if word == "pattern":
            return re.compile(inner).search(value, 0, MAX_SUBJECT) is not None
        return value in inner if isinstance(inner, list) else value == inner
    texts = expected if isinstance(expected, list) else [expected]
    if isinstance(value, NoneOf):
        return False if all(isinstance(text, str) and text in value.texts for text in texts) else None
    return value is not None and value in texts


def options(when: object, items: tuple[str, ...]) -> dict[str, frozenset[str | None]]:
    """Return which values of selectors of items can meet a condition, where it narrows them down.

    None stands for an absent one.
    """
    if isinstance(when, list):
        found = [options(item, items) for item in when]
        shared = set.intersection(*(set(item) for item in found)) if found else set()
        return {name: frozenset[str | None]().union(*(item[name] for item in found)) for name in shared}
    narrowed: dict[str, frozenset[str | None]] = {}
    for name, expected in when.items() if isinstance(when, dict) else ():
        if not all(scope_of(path, items) in items for path in paths_of(name)):
            continue
        values = expected if isinstance(expected, list) else [expected]
        if all(isinstance(value, str) for value in values):
            narrowed[name] = frozenset(values)
        elif expected == {"present": False}:
            narrowed[name] = frozenset({None})
    return narrowed


def selectors_of(when: object) -> Iterator[str]:
    """Yield the selectors that a condition asks."""
    if isinstance(when, list):
        for item in when:
            yield from selectors_of(item)
    elif isinstance(when, dict):
        yield from when


def patterns_of(when: object) -> Iterable[str]:
    """Yield the selectors that a condition asks for a pattern, each as often as it does."""
    for table in when if isinstance(when, list) else [when]:
        for name, expected in table.items() if isinstance(table, dict) else ():
            while isinstance(expected, dict) and "not" in expected:
                expected = expected["not"]
            if isinstance(expected, dict) and "pattern" in expected:
                yield name

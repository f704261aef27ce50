"""Expressions: values and conditions of a mapping as Python source, so that an event is read by one call.

``selector`` and ``condition`` say what everything means. What is common is spelled out here, for a function
call costs more than what most of these do; everything else calls what those compile. Nothing of a mapping
gets into the source but as a literal (``repr``) or by the name of an object that is bound to it.
"""

from collections.abc import Callable
from typing import Any

from sentineld.condition import MAX_SUBJECT, compile_condition, compile_value, search_of
from sentineld.selector import KEPT, MAX_TEXT, Scope, kept_of, paths_of, scope_of, split, template_of, to_text
from sentineld.values import to_number

#: Values within values that are spelled out; what is deeper is called.
_MAX_DEEP = 6
_NOTHING: dict[Any, str] = {}


def _total(numbers: tuple[float | None, ...]) -> float | None:
    found = [number for number in numbers if number is not None]
    return sum(found) if found else None


class Expressions:
    """Builds one function out of several expressions, for what an event with these ``items`` may speak of."""

    def __init__(self, items: tuple[str, ...], remembered: frozenset[str]) -> None:
        self._items = items
        self._remembered = remembered
        self._bound: dict[str, Any] = {
            "text_of": to_text,
            "number_of": to_number,
            "total_of": _total,
            "nothing": _NOTHING,
        }
        self._bases: dict[str, str] = {}
        self._names = 0

    def function(self, expressions: list[str]) -> Callable[[Scope], tuple[Any, ...]]:
        """Compile expressions into a function that returns their values."""
        return self._compile(f"({', '.join([*expressions, ''])})" if expressions else "()")

    def _compile(self, expression: str) -> Callable[[Scope], Any]:
        lines = ["def read(scope):", " names = scope.names", " kept = scope.kept"]
        lines += [f" {local} = names.get({base!r})" for base, local in self._bases.items()]
        lines += [f" is_{local} = type({local}) is dict" for local in self._bases.values()]
        lines.append(f" return {expression}")
        made: dict[str, Any] = {}
        exec(compile("\n".join(lines), "<mapping>", "exec"), self._bound, made)  # noqa: S102 (see above)
        read: Callable[[Scope], Any] = made["read"]
        return read

    def test(self, expression: str) -> Callable[[Scope], bool]:
        """Compile one expression into a function that says whether it holds."""
        return self._compile(expression)

    def bind(self, value: object) -> str:
        """Return the name by which an expression calls an object."""
        name = self._name("bound")
        self._bound[name] = value
        return name

    def call(self, function: Callable[[Scope], Any]) -> str:
        """Return the value that a compiled selector or test has."""
        return f"{self.bind(function)}(scope)"

    def text(self, value: object) -> str:
        """Return a value as text, empty where there is none."""
        name = self._name("text")
        return f"({name} if type({name} := {self.value(value)}) is str else text_of({name}))"

    def number(self, value: object) -> str:
        """Return a value, or ``{sum = [...]}`` of several, as a number."""
        if isinstance(value, dict) and "sum" in value:
            parts = [f"number_of({self.value(part)})" for part in value["sum"]]
            return f"total_of(({', '.join([*parts, ''])}))" if parts else "None"
        return f"number_of({self.value(value)})"

    def value(self, value: object, depth: int = 0) -> str:
        """Return a value: a selector, a table with ``value``, or the first of several that is not null."""
        if depth > _MAX_DEEP:
            return self.call(compile_value(value, self._items, self._remembered))
        if isinstance(value, list):
            return self._first_of([self.value(item, depth + 1) for item in value])
        if isinstance(value, dict):
            if value.keys() - {"value", "when"}:
                return self.call(compile_value(value, self._items, self._remembered))
            inner = self.value(value["value"], depth + 1)
            return f"({inner} if {self.condition(value['when'])} else None)" if "when" in value else inner
        if not isinstance(value, str):
            return self.bind(value)
        if value.startswith("="):
            return repr(value[1:])
        several = split(value)
        if len(several) > 1:
            return self._first_of([self.value(part, depth + 1) for part in several])
        kept = kept_of(value)
        if kept is not None:
            return self._kept(*kept, depth)
        if "{" in value:
            return self._template(value, depth)
        return self._path(value)

    def one_of(self, value: object, texts: frozenset[str]) -> str:
        """Return a value where it is one of some texts, else None."""
        found = self._name("found")
        expression = f"type({found} := {self.value(value)}) is str and {found} in {self.bind(texts)}"
        return f"({found} if {expression} else None)"

    def condition(self, when: object) -> str:
        """Return whether a condition holds."""
        if isinstance(when, list):
            return f"({' or '.join(self.condition(item) for item in when)})"
        if not isinstance(when, dict):
            return self.call(compile_condition(when, self._items, self._remembered).test)
        tests = [self._test(name, expected) for name, expected in when.items()]
        return f"({' and '.join(tests)})" if tests else "True"

    def _test(self, name: str, expected: object) -> str:
        if isinstance(expected, dict):
            if "present" in expected:
                return f"{self.value(name)} is {'not ' if expected['present'] else ''}None"
            if "not" in expected:
                return f"(not {self._test(name, expected['not'])})"
            if "pattern" in expected:
                found, search = self._name("found"), self.bind(search_of(expected["pattern"]))
                return (
                    f"(type({found} := {self.value(name)}) is str"
                    f" and {search}({found}, 0, {MAX_SUBJECT}) is not None)"
                )
        if isinstance(expected, str):
            return f"{self.value(name)} == {expected!r}"
        if isinstance(expected, bool):
            return f"{self.value(name)} is {expected!r}"
        if isinstance(expected, list) and all(type(item) is str for item in expected):
            found = self._name("found")
            texts = self.bind(frozenset(expected))
            return f"(type({found} := {self.value(name)}) is str and {found} in {texts})"
        return self.call(compile_condition({name: expected}, self._items, self._remembered).test)

    def _name(self, what: str) -> str:
        self._names += 1
        return f"{what}{self._names}"

    def _first_of(self, expressions: list[str]) -> str:
        *first, last = expressions
        result = ""
        for expression in first:
            name = self._name("first")
            result += f"{name} if ({name} := {expression}) is not None else "
        return f"({result}{last})"

    def _kept(self, name: str, key: str | None, depth: int) -> str:
        values = f"kept.get({name!r}, nothing)"
        if key is None:
            return f"{values}.get('')"
        found = self._name("key")
        # An empty key is that of a value without keys: it is not asked for.
        return f"({values}.get({found}) if ({found} := text_of({self.value(key, depth + 1)})) else None)"

    def _template(self, value: str, depth: int) -> str:
        fixed, parts = template_of(value)
        names = [self._name("part") for _ in parts]
        tests = [
            f"({name} := text_of({self.value(part, depth + 1)}))"
            for name, part in zip(names, parts, strict=True)
        ]
        pieces = [repr(fixed[0])] if fixed[0] else []
        for name, text in zip(names, fixed[1:], strict=True):
            pieces.append(f"{name}[:{MAX_TEXT}]")
            if text:
                pieces.append(repr(text))
        return f"({' + '.join(pieces)} if {' and '.join(tests)} else None)"

    def _path(self, value: str) -> str:
        (path,) = paths_of(value)
        base = scope_of(path, self._items)
        names = path.split(".")
        if names[0] == base:
            names = names[1:]
        is_plain = all(names) and not any(name.lstrip("-").isdigit() for name in names)
        if base == KEPT or not 1 <= len(names) <= 3 or not is_plain:
            return self.call(compile_value(value, self._items, self._remembered))
        local = self._bases.setdefault(base, f"base{len(self._bases)}")
        found = self._name("found")
        if len(names) == 1:
            inner = f"{local}.get({names[0]!r}) if is_{local} else None"
        else:
            # Keys with dots are rare: they are looked for where the plain way leads to nothing.
            rest = f"{local}.get({'.'.join(names)!r})"
            if len(names) == 3:
                rest = self.call(compile_value(value, self._items, self._remembered))
            last, *outer = reversed([self._name("inner") for _ in names])
            tests = []
            holder = local
            for name, local_name in zip(names[:-1], reversed(outer), strict=True):
                tests.append(f"type({local_name} := {holder}.get({name!r})) is dict")
                holder = local_name
            tests.append(f"({last} := {holder}.get({names[-1]!r})) is not None")
            inner = f"({last} if {' and '.join(tests)} else {rest}) if is_{local} else None"
        return f"({found} if ({found} := ({inner})) != '' else None)"

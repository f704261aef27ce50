"""Expressions: values and conditions of a mapping as Python source, in the function that reads a record.

``selector`` and ``condition`` say what everything means. What is common is spelled out here, for a function
call costs more than what most of these do; everything else calls what those compile.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sentineld.codegen import Place, Writer, paths_in
from sentineld.condition import compile_condition, compile_value, search_of
from sentineld.selector import (
    FILE,
    KEPT,
    MAX_TEXT,
    PATH,
    RECORD,
    Scope,
    getter,
    is_index,
    kept_of,
    paths_of,
    split,
    template_of,
    to_text,
)
from sentineld.values import DECODERS, MAX_SUBJECT, first_match, has_one_of, is_one_of, to_number, total

#: Values within values, and alternatives, that are spelled out; what is beyond that is called.
_MAX_DEEP = 6
_MAX_ALTERNATIVES = 24
#: Alternatives of a selector that is read before it is known to be needed, if several ask for it.
_MAX_EARLY = 6
_MIN_USES = 2
#: Names that are asked for one by one: of more a set is sooner asked.
_MAX_SPELLED = 8
#: Values inside of one object of the record that make it worth reading that first.
_MIN_INSIDE = 3


class Code(Writer):
    """A function under construction, and the values that its lines read.

    ``aliases`` are all names that ``each`` gives anywhere in the mapping. ``flat`` are places of objects
    whose names have dots (attributes of telemetry): those are looked for first.
    """

    def __init__(
        self,
        aliases: tuple[str, ...] = (),
        remembered: frozenset[str] = frozenset(),
        flat: Iterable[Place] = (),
    ) -> None:
        super().__init__(aliases)
        self._remembered = remembered
        self._flat = frozenset(flat)
        self._uses: Counter[str] = Counter()
        self._is_sharing = True
        #: Names with dots that would be in the way, by place.
        self._dotted: dict[tuple[str, Place], set[str]] = {}
        self.bind_as("text_of", to_text)
        self.bind_as("number_of", to_number)

    def expect(self, values: Iterable[object]) -> None:
        """Take notice of what is going to be read, so that what comes several times is read once."""
        self._uses = Counter(text for value in values for text in _texts_in(value))

    def prepare(self, values: Iterable[object]) -> None:
        """Read the objects of the record that many of these values look into."""
        places = [self.place(path) for path in set(paths_in(list(values)))]
        counts = Counter(names[0] for base, names in places if base == RECORD and len(names) > 1)
        for name, count in counts.items():
            if count > _MIN_INSIDE and not is_index(name):
                self._object(RECORD, (name,))

    @contextmanager
    def expecting(self, values: Iterable[object]) -> Iterator[None]:
        """Take notice of what is going to be read in a block alone."""
        uses = self._uses
        self.expect(values)
        yield
        self._uses = uses

    def text(self, value: object) -> str:
        """Return a value as text, empty where there is none."""
        value = _bare(value)
        if isinstance(value, str) and value.startswith("="):
            return repr(value[1:])
        if isinstance(value, str) and "{" in value and len(split(value)) == 1 and kept_of(value) is None:
            return f"({self.raw(value)} or '')"
        name = self.name("text")
        return f"({name} if type({name} := {self.raw(value)}) is str else text_of({name}))"

    def number(self, value: object) -> str:
        """Return a value, or ``{sum = [...]}`` of several, as a number."""
        if isinstance(value, dict) and "sum" in value:
            parts = [self.number(part) for part in value["sum"]]
            return f"{self.bind_as('total', total)}(({', '.join([*parts, ''])}))" if parts else "None"
        name = self.name("number")
        return f"({name} if type({name} := {self.raw(value)}) is int else number_of({name}))"

    def value(self, value: object, depth: int = 0) -> str:
        """Return a value: a selector, a table with ``value``, or the first of several that is not null."""
        value = _bare(value)
        # Asked first, for a local that is known behind this line holds nothing for a part of it.
        may_be_empty = self._may_be_empty(value)
        found = self.raw(value, depth)
        is_local = isinstance(value, str) and found == self._known(("value", value))
        if not may_be_empty or is_local:
            return found
        name = self.name("found")
        return f"({name} if ({name} := {found}) != '' else None)"

    def _may_be_empty(self, value: object) -> bool:
        """Say whether empty text, which counts as nothing, may be what ``raw`` gives."""
        if isinstance(value, str):
            if self._known(("value", value)) is not None:
                return False
            is_other = value.startswith("=") or kept_of(value) is not None
            return not is_other and ("{" not in value or " | " in value)
        if isinstance(value, list):
            return any(map(self._may_be_empty, value))
        if isinstance(value, dict):
            return not value.keys() & {"pattern", "decode"} and self._may_be_empty(value["value"])
        return False

    def raw(self, value: object, depth: int = 0) -> str:
        """Return a value that may be empty text where there is none."""
        value = _bare(value)
        if depth > _MAX_DEEP or (isinstance(value, list) and len(value) > _MAX_ALTERNATIVES):
            return self._called(compile_value(value, self._aliases, self._remembered))
        if isinstance(value, list):
            return self._first_of(value, depth)
        if isinstance(value, dict):
            return self._table(value, depth)
        if not isinstance(value, str):
            return self.bind(value)
        if value.startswith("="):
            return repr(value[1:])
        known = self._known(("value", value))
        if known is not None:
            return known
        several = split(value)
        if self._is_sharing and self._is_worth_a_local(value):
            self._uses[value] = 0
            spelled = self.value(value, depth)
            return self._put(
                ("value", value), "value", self.depth_of(value), lambda name: [f"{name} = {spelled}"]
            )
        if len(several) > _MAX_ALTERNATIVES:
            return self._called(compile_value(value, self._aliases, self._remembered))
        if len(several) > 1:
            return self._first_of(several, depth)
        kept = kept_of(value)
        if kept is not None:
            return self._kept(*kept, depth)
        if "{" in value:
            return self._template(value, depth)
        return self._path(value)

    def _is_worth_a_local(self, value: str) -> bool:
        uses, paths = self._uses[value], paths_of(value)
        if uses < _MIN_USES or not 0 < len(paths) <= _MAX_EARLY or _is_kept(value):
            return False
        # One look-up is soon done: a second one of the same costs no more than to keep what was found.
        return len(paths) > 1 or "{" in value or (uses > _MIN_USES and len(self.place(value)[1]) > 1)

    def _table(self, value: dict[str, Any], depth: int) -> str:
        # What a condition guards is not read before it.
        is_sharing, self._is_sharing = self._is_sharing, self._is_sharing and "when" not in value
        # What is decoded from empty text is nothing, as that is.
        inner = (self.value if "decode" in value else self.raw)(value["value"], depth + 1)
        if "pattern" in value:
            group = 1 if re.compile(str(value["pattern"])).groups else 0
            search = self.bind(search_of(value["pattern"]), "search")
            inner = f"{self.bind_as('first_match', first_match)}({search}, {group}, text_of({inner}))"
        if "decode" in value:
            inner = f"{self.bind(DECODERS[value['decode']], 'decode')}({inner})"
        self._is_sharing = is_sharing
        if "when" not in value:
            return inner
        return f"({inner} if {self.condition(value['when'], depth + 1)} else None)"

    def condition(self, when: object, depth: int = 0) -> str:
        """Return whether a condition holds."""
        if depth > _MAX_DEEP or not isinstance(when, dict | list):
            return self._called(compile_condition(when, self._aliases, self._remembered).test)
        if isinstance(when, list):
            return f"({' or '.join(self.condition(item, depth + 1) for item in when)})"
        tests = [self._test(name, expected, depth) for name, expected in when.items()]
        return f"({' and '.join(tests)})" if tests else "True"

    def _test(self, name: str, expected: object, depth: int) -> str:
        if depth > _MAX_DEEP:
            return self._called(compile_condition({name: expected}, self._aliases, self._remembered).test)
        if isinstance(expected, dict):
            ((word, inner),) = expected.items()
            if word == "present":
                return f"({self.value(name, depth)} is {'not ' if inner else ''}None)"
            if word == "not":
                return f"(not {self._test(name, inner, depth + 1)})"
            if word == "has":
                wanted = self.bind(frozenset(inner if isinstance(inner, list) else [inner]), "texts")
                return f"{self.bind_as('has_one_of', has_one_of)}({self.value(name, depth)}, {wanted})"
            search, found = self.bind(search_of(inner), "search"), self.name("found")
            # Empty text is nothing, so no pattern finds anything in it.
            return (
                f"(type({found} := {self.raw(name, depth)}) is str and {found} != ''"
                f" and {search}({found}, 0, {MAX_SUBJECT}) is not None)"
            )
        texts = expected if isinstance(expected, list) else [expected]
        if len(texts) == 1 and type(texts[0]) is str and texts[0]:
            return f"{self.raw(name, depth)} == {texts[0]!r}"
        if len(texts) == 1 and type(texts[0]) is bool:
            return f"{self.raw(name, depth)} is {texts[0]!r}"
        found = self.name("found")
        if all(type(text) is str for text in texts):
            known = self.bind(frozenset(texts) - {""}, "texts")
            return f"(type({found} := {self.raw(name, depth)}) is str and {found} in {known})"
        # In JSON true is not 1, in Python it is.
        allowed = self.bind(frozenset((type(item) is bool, item) for item in texts), "allowed")
        empty = {""} if self._may_be_empty(name) else set()
        plain = self.bind(frozenset(item for item in texts if type(item) is not bool) - empty, "plain")
        rest = f"{found} is not None and {self.bind_as('is_one_of', is_one_of)}({found}, {allowed})"
        is_plain = f"type({found} := {self.raw(name, depth)}) is str or type({found}) is int"
        return f"({found} in {plain} if {is_plain} else {rest})"

    def _called(self, function: Callable[[Scope], Any]) -> str:
        """Return what a compiled selector or test says."""
        self.use(KEPT)
        scopes = ", ".join(f"{scope!r}: {value}" for scope, (value, _, _) in self._all_scopes())
        return f"{self.bind(function)}({self.bind_as('Scope', Scope)}({{{scopes}}}, kept))"

    def _all_scopes(self) -> list[tuple[str, tuple[str, str, int]]]:
        self.use(PATH)
        self.use(FILE)
        return list(self._scopes.items())

    def _first_of(self, values: list[Any], depth: int) -> str:
        *first, last = values
        result = ""
        for number, value in enumerate(first):
            name = self.name("first")
            empty = f" and {name} != ''" if self._may_be_empty(value) else ""
            found = self.raw(value, depth + 1)
            guard = self._guard(value, found, is_first=number == 0)
            result += f"{name} if {guard}({name} := {found}) is not None{empty} else "
        return f"({result}{self.raw(last, depth + 1)})"

    def _guard(self, value: object, found: str, *, is_first: bool) -> str:
        """Return a test that is sooner done than to look a value up, and false only where there is none.

        ``found`` is what ``raw`` gave for it. The first of several values is there more often than not, but
        for names with dots, which stand for as many conventions.
        """
        value = _bare(value)
        if not isinstance(value, str) or value.startswith("=") or found == self._known(("value", value)):
            return ""
        if "{" in value or kept_of(value) is not None or len(split(value)) > 1:
            return ""
        base, names = self.place(value)
        if base not in self._scopes or not names or any(map(is_index, names)):
            return ""
        table = self._scopes[base][1]
        for end in range(1, len(names)):
            is_flat = self._known(("flat", (base, names[:end])))
            if is_flat is not None:
                text, holder = ".".join(names[end:]), self._object(base, names[:end])
                return f"({text!r} in {holder} or not {is_flat}) and "
        if is_first or len(names) > 2:
            return ""
        if len(names) == 1:
            return f"{names[0]!r} in {table} and "
        holder = self._object(base, names[:1])
        return f"({names[1]!r} in {holder} or {'.'.join(names)!r} in {table}) and "

    def _kept(self, name: str, key: str | None, depth: int) -> str:
        values = f"{self.use(KEPT)}.get({name!r}, EMPTY)"
        if key is None:
            return f"{values}.get('')"
        found = self.name("key")
        # An empty key is that of a value without keys: it is not asked for.
        return f"({values}.get({found}) if ({found} := {self._part(key, depth)}) else None)"

    def _template(self, value: str, depth: int) -> str:
        fixed, parts = template_of(value)
        names = [self.name("part") for _ in parts]
        tests = [f"({name} := {self._part(part, depth)})" for name, part in zip(names, parts, strict=True)]
        pieces = [repr(fixed[0])] if fixed[0] else []
        for name, text in zip(names, fixed[1:], strict=True):
            pieces.append(f"{name}[:{MAX_TEXT}]")
            if text:
                pieces.append(repr(text))
        return f"({' + '.join(pieces)} if {' and '.join(tests)} else None)"

    def _part(self, value: str, depth: int) -> str:
        name = self.name("text")
        return f"({name} if type({name} := {self.raw(value, depth + 1)}) is str else text_of({name}))"

    # Paths.

    def holder(self, base: str, names: tuple[str, ...]) -> str:
        """Return a local that holds the object at a place, found in any way; an empty one where none is."""
        if len(names) <= 1:
            return self._object(base, names)
        name = self.name("holder")
        self.line(f"{name} = {self._object(base, names)}")
        with self.block(f"if {name} is EMPTY:"):
            found = f"({name} := {self.bind(getter(list(names)), 'get')}({self._scopes[base][0]}))"
            with self.block(f"if type{found} is not dict:"):
                self.line(f"{name} = EMPTY")
        return name

    def _path(self, value: str) -> str:
        (path,) = paths_of(value)
        base, names = self.place(path)
        if base in (PATH, FILE):
            self.use(base)
        if base not in self._scopes:
            # An item of other tables.
            return "None"
        whole, table, _ = self._scopes[base]
        if not names:
            return whole
        if any(map(is_index, names)):
            return self._element(base, names)
        if len(names) == 1:
            return f"{table}.get({names[0]!r})"
        *_, last = names
        for end in range(1, len(names)):
            if (base, names[:end]) in self._flat:
                return self._attribute(base, names, end)
        holder, found = self._object(base, names[:-1]), self.name("inner")
        # Names with dots are rare: they are looked for where the plain way leads to nothing.
        if len(names) == 2:
            other = f"{table}.get({'.'.join(names)!r})"
        else:
            self._note_dotted(base, names, len(names) - 1)
            is_plain = self._is_plain(base, names[:-2])
            other = f"(None if {is_plain} else {self.bind(getter(list(names)), 'get')}({whole}))"
        return f"({found} if ({found} := {holder}.get({last!r})) is not None else {other})"

    def _element(self, base: str, names: tuple[str, ...]) -> str:
        """Return what lies behind a place in an array; there is nothing where text stands instead of it."""
        whole = self._scopes[base][0]
        found = f"{self.bind(getter(list(names)), 'get')}({whole})"
        end = next(number for number, name in enumerate(names) if is_index(name))
        if not end:
            return found
        self._note_dotted(base, names, end)
        # An object instead of the array may have the place's number as a name.
        inner = self.name("inner")
        is_text = f"type({inner} := {self._object(base, names[: end - 1])}.get({names[end - 1]!r})) is str"
        numbered = [".".join(names[end:stop]) for stop in range(end + 1, len(names) + 1)]
        lacks = " and ".join(f"{name!r} not in {inner}" for name in numbered)
        is_other = f"({is_text} or {inner} is None or type({inner}) is dict and {lacks})"
        return f"(None if {self._is_plain(base, names[: end - 1])} and {is_other} else {found})"

    def _attribute(self, base: str, names: tuple[str, ...], end: int) -> str:
        """Return a value of an object whose names have dots, unless something is in the way of them."""
        whole, _, depth = self._scopes[base]
        holder, rest = self._object(base, names[:end]), names[end:]
        self._note_dotted(base, names, end)
        blocking = self._dotted.setdefault(("flat", (base, names[:end])), set())
        blocking.update(".".join(rest[:count]) for count in range(1, len(rest)))
        key = ("flat", (base, names[:end]))
        is_flat = self._known(key)
        if is_flat is None:
            above, lacks = self._is_plain(base, names[: end - 1]), self._lacks(holder, blocking)
            is_flat = self._put(key, "flat", depth, lambda name: [lambda: f"{name} = {above} and {lacks()}"])
        direct = f"{holder}.get({'.'.join(rest)!r})"
        return f"({direct} if {is_flat} else {self.bind(getter(list(names)), 'get')}({whole}))"

    def _object(self, base: str, names: tuple[str, ...]) -> str:
        """Return a local that holds the object at a place; an empty one where there is none."""
        if not names:
            return self._scopes[base][1]
        key = ("object", (base, names))
        known = self._known(key)
        if known is not None:
            return known
        outer = self._object(base, names[:-1])
        return self._put(
            key,
            "object",
            self._scopes[base][2],
            lambda name: [
                f"if type({name} := {outer}.get({names[-1]!r})) is not dict:",
                f"    {name} = EMPTY",
            ],
        )

    def _note_dotted(self, base: str, names: tuple[str, ...], end: int) -> None:
        for start in range(end):
            found = self._dotted.setdefault(("plain", (base, names[:start])), set())
            found.update(".".join(names[start:stop]) for stop in range(start + 2, len(names) + 1))

    def _is_plain(self, base: str, names: tuple[str, ...]) -> str:
        """Return a local that says whether no name with dots is in the way down to a place."""
        key = ("plain", (base, names))
        known = self._known(key)
        if known is not None:
            return known
        lacks = self._lacks(self._object(base, names), self._dotted.setdefault(key, set()))
        above = f"{self._is_plain(base, names[:-1])} and " if names else ""
        return self._put(
            key, "plain", self._scopes[base][2], lambda name: [lambda: f"{name} = {above}{lacks()}"]
        )

    def _lacks(self, holder: str, texts: set[str]) -> Callable[[], str]:
        """Return what spells whether an object has none of some names, to which more may come until then."""
        bound = self.bind(texts, "texts")

        def spell() -> str:
            if len(texts) > _MAX_SPELLED:
                return f"{bound}.isdisjoint({holder})"
            return f"not ({' or '.join(f'{text!r} in {holder}' for text in sorted(texts)) or 'False'})"

        return spell


def _bare(value: object) -> object:
    """Return what a value means that is a list of one, or a table that asks nothing."""
    while True:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif isinstance(value, dict) and value.keys() == {"value"}:
            value = value["value"]
        else:
            return value


def _texts_in(value: object) -> Iterator[str]:
    """Yield all texts of a value or a condition, also those of which selectors are made, again and again."""
    if isinstance(value, str):
        if not value.startswith("="):
            yield value
            several = split(value)
            parts = several if len(several) > 1 else [*template_of(value)[1]]
            kept = kept_of(value)
            if kept is not None:
                parts = [] if kept[1] is None else [kept[1]]
            for part in parts:
                yield from _texts_in(part)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts_in(name)
            yield from _texts_in(item)


def _is_kept(value: str) -> bool:
    return any(path == KEPT or path.startswith(KEPT + ".") for path in paths_of(value))

"""Expressions: values and conditions of a mapping as Python source, in the function that reads a record.

``selector`` and ``condition`` say what everything means. What is common is spelled out here, for a function
call costs more than what most of these do; everything else calls what those compile.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard

from sentineld.codegen import Place, Writer, paths_in
from sentineld.condition import compile_condition, compile_value, search_of
from sentineld.knowledge import reduced, selectors_of
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
    scope_of,
    split,
    template_of,
    to_text,
)
from sentineld.values import (
    DECODERS,
    MAX_SUBJECT,
    first_match,
    has_one_of,
    is_one_of,
    to_count,
    to_number,
    total,
)

#: Values within values, and alternatives, that are spelled out; what is beyond that is called.
_MAX_DEEP = 6
_MAX_ALTERNATIVES = 24
#: Alternatives of a selector that is read before it is known to be needed, if several ask for it.
_MAX_EARLY = 6
_MIN_USES, _MANY_USES = 2, 3
#: Names that are asked for one by one: of more a set is sooner asked.
_MAX_SPELLED = 8
#: Values inside of one object of the record that make it worth reading that first.
_MIN_INSIDE = 3
_MAX_COUNT = 1 << 63
#: What is written for a value where there is none, and for conditions whose answer is known.
NOTHING, ALWAYS, NEVER = "None", "True", "False"


class Code(Writer):
    """A function under construction, and the values that its lines read.

    ``aliases`` are all names that ``each`` gives anywhere in the mapping. ``flat`` are places of objects
    whose names have dots (attributes of telemetry): those are looked for first. ``shapes`` are the names
    that the objects at some places have, as far as a mapping speaks of them: whatever is not there is
    ``NOTHING``, and what depends on that is not written. ``parts`` are the named parts of the file's path
    that are not empty, where that is known. ``remembered`` are all names of the memory, ``changing`` those
    that the function may change (all, if nothing is said).
    """

    def __init__(
        self,
        aliases: tuple[str, ...] = (),
        remembered: frozenset[str] = frozenset(),
        flat: Iterable[Place] = (),
        shapes: Mapping[Place, frozenset[str]] | None = None,
        parts: frozenset[str] | None = None,
        changing: frozenset[str] | None = None,
    ) -> None:
        super().__init__(aliases, remembered if changing is None else changing)
        self._remembered = remembered
        self._flat = frozenset(flat)
        self._parts = parts
        self._shapes: dict[Place, frozenset[str]] = dict(shapes or {})
        if parts is not None:
            self._shapes[PATH, ()] = parts
        #: Whether selectors are nothing, by their text.
        self._nothing: dict[str, bool] = {}
        self._uses: Counter[str] = Counter()
        self._is_sharing = True
        #: Names with dots that would be in the way, by place.
        self._dotted: dict[tuple[str, Place], set[str]] = {}
        #: What asks whether no name with dots is in the way, by the local that keeps the answer.
        self._spelled_plain: dict[str, str] = {}
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
                self.object_at(RECORD, (name,))

    @contextmanager
    def expecting(self, values: Iterable[object]) -> Iterator[None]:
        """Take notice of what is going to be read in a block alone."""
        uses = self._uses
        self.expect(values)
        yield
        self._uses = uses

    def _bare(self, value: object) -> object:
        """Return what a value means less the alternatives that are nothing, if one is left."""
        value = _bare(value)
        if self._shapes:
            several = value if isinstance(value, list) else split(value) if _is_selector(value) else ()
            if len(several) > 1:
                left = self._left([*several])
                if len(left) == 1:
                    return self._bare(left[0])
        return value

    def _left(self, values: list[Any]) -> list[Any]:
        """Return alternatives less those that are nothing, and those behind one that is there."""
        left = [value for value in values if not self.is_nothing(value)]
        sure = next((end for end, value in enumerate(left, 1) if self._is_sure(value)), len(left))
        return left[:sure]

    def _is_sure(self, value: object) -> bool:
        """Say whether a value is known to be there, and not empty."""
        value = _bare(value)
        if not isinstance(value, str):
            return False
        if value.startswith("="):
            return len(value) > 1
        if self._parts is None or kept_of(value) is not None:
            return False
        several = split(value)
        if len(several) > 1:
            return any(map(self._is_sure, several))
        if "{" in value:
            return all(map(self._is_sure, template_of(value)[1]))
        base, _, name = value.partition(".")
        return base == PATH and name in self._parts

    def is_nothing(self, value: object) -> bool:
        """Say whether there is nothing that a value could be, by the names that objects have."""
        value = _bare(value)
        if isinstance(value, list):
            return all(map(self.is_nothing, value))
        if isinstance(value, dict):
            return self.is_nothing(value["value"]) or self.left_of(value.get("when", {})) is None
        if not isinstance(value, str) or value.startswith("="):
            return False
        found = self._nothing.get(value)
        if found is None:
            found = self._nothing[value] = bool(self._shapes) and self._is_nothing(value)
        return found

    def _is_nothing(self, value: str) -> bool:
        several = split(value)
        if len(several) > 1:
            return all(map(self.is_nothing, several))
        kept = kept_of(value)
        if kept is not None:
            return kept[1] is not None and self.is_nothing(kept[1])
        if "{" in value:
            return any(map(self.is_nothing, template_of(value)[1]))
        return self._is_absent(*self.place(value))

    def left_of(self, when: object) -> object:
        """Return a condition less what names of objects answer; None where they make it impossible."""
        if not self._shapes:
            return when
        return reduced(when, {name: None for name in selectors_of(when) if self.is_nothing(name)})

    def constant(self, value: object) -> str | None:
        """Return the text that a value always is; None where there is no such text."""
        value = _bare(value)
        if isinstance(value, str):
            return value[1:] if value.startswith("=") else None
        if isinstance(value, list):
            first = next((item for item in value if not self.is_nothing(item)), None)
            return self.constant(first)
        if (
            isinstance(value, dict)
            and value.keys() == {"value", "when"}
            and self.left_of(value["when"]) == {}
        ):
            return self.constant(value["value"])
        return None

    def text(self, value: object) -> str:
        """Return a value as text, empty where there is none."""
        value = self._bare(value)
        if self._shapes:
            constant = "" if self.is_nothing(value) else self.constant(value)
            if constant is not None:
                return repr(constant)
        if isinstance(value, str) and value.startswith("="):
            return repr(value[1:])
        return self._as_text(value, 0)

    def _is_text(self, value: object) -> bool:
        """Say whether a value is text wherever it is not null."""
        value = self._bare(value)
        if isinstance(value, list):
            return all(map(self._is_text, value))
        if isinstance(value, dict):
            return "decode" not in value and ("pattern" in value or self._is_text(value["value"]))
        if not isinstance(value, str):
            return False
        several = split(value)
        if value.startswith("=") or len(several) > 1:
            return value.startswith("=") or all(map(self._is_text, several))
        is_made = "{" in value or kept_of(value) is not None
        return is_made or (scope_of(value, self._aliases) == PATH and value != PATH)

    def _as_text(self, value: object, depth: int) -> str:
        found = self.raw(value, depth)
        if self._is_text(value):
            return f"({found} or '')"
        if isinstance(value, str) and found == self._known(("value", value)):
            # What several ask for is made text once, too.
            known = self._known(("text", value))
            spelled = f"{found} if type({found}) is str else '' if {found} is None else text_of({found})"
            return known or self._put(
                ("text", value), "text", self.depth_of(value), lambda name: [f"{name} = {spelled}"]
            )
        name = self.name("text")
        return f"({name} if type({name} := {found}) is str else '' if {name} is None else text_of({name}))"

    def number(self, value: object) -> str:
        """Return a value, or ``{sum = [...]}`` of several, as a number."""
        if isinstance(value, dict) and "sum" in value:
            return self._sum(value["sum"])
        if self._shapes and self.is_nothing(value):
            return NOTHING
        name = self.name("number")
        return f"({name} if type({name} := {self.raw(value)}) is int else number_of({name}))"

    def count(self, value: object) -> str:
        """Return a value, or the sum of several, as a whole number that is not negative, of 64 bits."""
        is_sum = isinstance(value, dict) and "sum" in value
        if not is_sum and self._shapes and self.is_nothing(value):
            return NOTHING
        found = self.number(value) if is_sum else self.raw(value)
        if found == NOTHING:
            return NOTHING
        name = self.name("count")
        is_plain = f"type({name} := {found}) is int and 0 <= {name} < {_MAX_COUNT}"
        other = name if is_sum else f"number_of({name})"
        return f"({name} if {is_plain} else {self.bind_as('count_of', to_count)}({other}))"

    def _sum(self, values: list[Any]) -> str:
        names = []
        for value in values:
            if not (self._shapes and self.is_nothing(value)):
                spelled = self.raw(value)
                names.append(self.name("number"))
                self.line(f"{names[-1]} = {spelled}")
        if not names:
            return NOTHING
        are_whole = f"type({') is type('.join(names)}) is int"
        others = ", ".join([*(f"number_of({name})" for name in names), ""])
        added = self.bind_as("total", total)
        return f"({' + '.join(names)} if {are_whole} else {added}(({others})))"

    def value(self, value: object, depth: int = 0) -> str:
        """Return a value: a selector, a table with ``value``, or the first of several that is not null."""
        found, may_be_empty = self._value(value, depth)
        if not may_be_empty:
            return found
        name = self.name("found")
        return f"(None if ({name} := {found}) is None or {name} == '' else {name})"

    def is_there(self, value: object, depth: int = 0) -> tuple[str, str]:
        """Return what says whether there is such a value, and the local that holds it then."""
        found, may_be_empty = self._value(value, depth)
        name = self.name("found")
        # None is asked first: it is sooner told than empty text, and most of what is looked for is not there.
        test = f"({name} := {found}) is not None"
        return (f"({test} and {name} != '')" if may_be_empty else f"({test})"), name

    def _value(self, value: object, depth: int) -> tuple[str, bool]:
        """Return a value, and whether it may be empty text where there is none."""
        value = self._bare(value)
        # Asked first, for a local that is known behind this line holds nothing for a part of it.
        may_be_empty = self._may_be_empty(value)
        found = self.raw(value, depth)
        is_local = isinstance(value, str) and found == self._known(("value", value))
        return found, may_be_empty and not is_local and found != NOTHING

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
        value = self._bare(value)
        if self._shapes and self.is_nothing(value):
            return NOTHING
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
            return self._first_of([*several], depth)
        kept = kept_of(value)
        if kept is not None:
            return self._kept(*kept, depth)
        if "{" in value:
            return self._template(value, depth)
        return self._path(value)

    def _is_worth_a_local(self, value: str) -> bool:
        uses, paths = self._uses[value], paths_of(value)
        if uses < _MIN_USES or not 0 < len(paths) <= _MAX_EARLY or self._is_changing(value):
            return False
        # One look-up is soon done: a second one of the same costs no more than to keep what was found.
        is_more = len(paths) > 1 or "{" in value or kept_of(value) is not None
        return is_more or uses > _MANY_USES or (uses > _MIN_USES and len(self.place(value)[1]) > 1)

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
        test = self.condition(value.get("when", {}), depth + 1)
        return inner if test == ALWAYS else f"({inner} if {test} else None)"

    def condition(self, when: object, depth: int = 0) -> str:
        """Return whether a condition holds; ``ALWAYS`` or ``NEVER`` where that is known."""
        if isinstance(when, dict | list):
            when = self.left_of(when)
            if when is None:
                return NEVER
        if depth > _MAX_DEEP or not isinstance(when, dict | list):
            return self._called(compile_condition(when, self._aliases, self._remembered).test)
        if isinstance(when, list):
            return f"({' or '.join(self.condition(item, depth + 1) for item in when)})"
        tests = [self._test(name, expected, depth) for name, expected in when.items()]
        return f"({' and '.join(tests)})" if tests else ALWAYS

    def _test(self, name: str, expected: object, depth: int) -> str:
        if depth > _MAX_DEEP:
            return self._called(compile_condition({name: expected}, self._aliases, self._remembered).test)
        if isinstance(expected, dict):
            ((word, inner),) = expected.items()
            if word == "present":
                test, _ = self.is_there(name, depth)
                return test if inner else f"(not {test})"
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
        if self._shapes:
            values = self._left(values)
        *first, last = values
        if not first:
            return self.raw(last, depth + 1)
        result = ""
        for number, value in enumerate(first):
            name = self.name("first")
            empty = f" and {name} != ''" if self._may_be_empty(value) else ""
            if _is_constant_where(value):
                result += f"{value['value'][1:]!r} if {self.condition(value['when'], depth + 2)} else "
                continue
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
        if (base, ()) in self._shapes:
            return ""
        for end in range(1, len(names)):
            is_flat = self._known(("flat", (base, names[:end])))
            if is_flat is not None:
                text, holder = ".".join(names[end:]), self.object_at(base, names[:end])
                return f"({text!r} in {holder} or not {is_flat}) and "
        if is_first or len(names) > 2:
            return ""
        if len(names) == 1:
            return f"{names[0]!r} in {table} and "
        holder = self.object_at(base, names[:1])
        return f"({names[1]!r} in {holder} or {'.'.join(names)!r} in {table}) and "

    def _kept(self, name: str, key: str | None, depth: int) -> str:
        kept = self.use(KEPT)
        if key is None:
            return f"{kept}.get({name!r}, EMPTY).get('')"
        found, values = self.name("key"), self.name("values")
        # An empty key is that of a value without keys: it is not asked for. Nor is any where there are none.
        is_there = f"({values} := {kept}.get({name!r})) and {self._part(key, depth, found)}"
        return f"({values}.get({found}) if {is_there} else None)"

    def _template(self, value: str, depth: int) -> str:
        fixed, parts = template_of(value)
        names = [self.name("part") for _ in parts]
        tests = [self._part(part, depth, name) for name, part in zip(names, parts, strict=True)]
        # One text of many is sooner made than a sum of them. No part is too long where the whole is not.
        whole, parts_cut = _in_text(fixed[0]), _in_text(fixed[0])
        for name, text in zip(names, fixed[1:], strict=True):
            whole += f"{{{name}}}{_in_text(text)}"
            parts_cut += f"{{{name}[:{MAX_TEXT}]}}{_in_text(text)}"
        made = self.name("made")
        spelled = f"({made} if len({made} := f'{whole}') <= {MAX_TEXT} else f'{parts_cut}')"
        return f"({spelled} if {' and '.join(tests)} else None)"

    def _part(self, value: str, depth: int, name: str) -> str:
        """Return what gives a local a part of a template, or a key, as text: null or empty, there is none."""
        bare = self._bare(value)
        found = self.raw(bare, depth + 1)
        if self._is_text(bare):
            return f"({name} := {found})"
        if isinstance(bare, str) and found == self._known(("value", bare)):
            return f"({name} := {self._as_text(bare, depth + 1)})"
        other = f"{name} is not None and ({name} := text_of({name}))"
        return f"({name} if type({name} := {found}) is str else {other})"

    # Paths.

    def plain_depth(self, path: str) -> int:
        """Return how many names a path into the record has; 0 for others, and where one is a place."""
        base, names = self.place(path)
        return 0 if base != RECORD or any(map(is_index, names)) else len(names)

    def plain(self, path: str) -> str:
        """Return what stands at such a path, if no name with dots is meant by it."""
        base, names = self.place(path)
        return f"{self.object_at(base, names[:-1])}.get({names[-1]!r})"

    def holder(self, base: str, names: tuple[str, ...]) -> str:
        """Return a local that holds the object at a place, found in any way; an empty one where none is."""
        if len(names) <= 1:
            return self.object_at(base, names)
        name = self.name("holder")
        if len(names) == 2 and not any(map(is_index, names)):
            joined = f"{self._scopes[base][1]}.get({'.'.join(names)!r})"
            self.line(f"{name} = {self.object_at(base, names[:1])}.get({names[1]!r})")
            is_other = f"{name} is not None or type({name} := {joined}) is not dict"
            with self.block(f"if type({name}) is not dict and ({is_other}):"):
                self.line(f"{name} = EMPTY")
            return name
        self.line(f"{name} = {self.object_at(base, names)}")
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
        direct = self._direct(base, names)
        if direct is not None:
            return direct
        if len(names) == 1:
            return f"{table}.get({names[0]!r})"
        *_, last = names
        for end in range(1, len(names)):
            if (base, names[:end]) in self._flat:
                return self._attribute(base, names, end)
        holder, found = self.object_at(base, names[:-1]), self.name("inner")
        # Names with dots are rare: they are looked for where the plain way leads to nothing.
        if len(names) == 2:
            other = f"{table}.get({'.'.join(names)!r})"
            if (base, ()) in self._shapes and ".".join(names) not in self._shapes[base, ()]:
                other = NOTHING
        else:
            self._note_dotted(base, names, len(names) - 1)
            is_plain = self._is_plain(base, names[:-2], names)
            other = f"(None if {is_plain} else {self.bind(getter(list(names)), 'get')}({whole}))"
            if is_plain == ALWAYS:
                other = NOTHING
        if other == NOTHING:
            return f"{holder}.get({last!r})"
        return f"({found} if ({found} := {holder}.get({last!r})) is not None else {other})"

    def _is_absent(self, base: str, names: tuple[str, ...], start: int = 0) -> bool:
        """Say whether names lead nowhere from an object on that lies behind the first of them."""
        shape = self._shapes.get((base, names[:start]))
        # What is no object has no names, but an array has places.
        if shape is None or start == len(names) or is_index(names[start]):
            return False
        if any(".".join(names[start:end]) in shape for end in range(start + 2, len(names) + 1)):
            return False
        return names[start] not in shape or (
            start + 1 < len(names) and self._is_absent(base, names, start + 1)
        )

    def _direct(self, base: str, names: tuple[str, ...]) -> str | None:
        """Return what reads a value that one way alone can lead to; None where that is not known."""
        for start in range(len(names)):
            shape = self._shapes.get((base, names[:start]))
            if shape is None:
                return None
            ways = [end for end in range(start + 1, len(names) + 1) if ".".join(names[start:end]) in shape]
            if ways == [len(names)]:
                return f"{self.object_at(base, names[:start])}[{'.'.join(names[start:])!r}]"
            if ways != [start + 1]:
                return None
        return None

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
        is_text = f"type({inner} := {self.object_at(base, names[: end - 1])}.get({names[end - 1]!r})) is str"
        numbered = [".".join(names[end:stop]) for stop in range(end + 1, len(names) + 1)]
        lacks = " and ".join(f"{name!r} not in {inner}" for name in numbered)
        is_other = f"({is_text} or {inner} is None or type({inner}) is dict and {lacks})"
        other = found
        if end == len(names) - 2 and not is_index(names[-1]) and names[end].isdecimal():
            # A name of an object in an array is what most of these mean.
            number, first = int(names[end]), self.name("element")
            is_there = f"len({inner}) > {number} and type({first} := {inner}[{number}]) is dict"
            other = f"{first}.get({names[-1]!r}) if type({inner}) is list and {is_there} else {found}"
        is_plain = self._is_plain(base, names[: end - 1], names)
        return f"((None if {is_other} else {other}) if {is_plain} else {found})"

    def _attribute(self, base: str, names: tuple[str, ...], end: int) -> str:
        """Return a value of an object whose names have dots, unless something is in the way of them."""
        whole, _, depth = self._scopes[base]
        holder, rest = self.object_at(base, names[:end]), names[end:]
        self._note_dotted(base, names, end)
        blocking = self._dotted.setdefault(("flat", (base, names[:end])), set())
        blocking.update(".".join(rest[:count]) for count in range(1, len(rest)))
        key = ("flat", (base, names[:end]))
        is_flat = self._known(key)
        if is_flat is None:
            above, lacks = self._is_plain(base, names[: end - 1], names), self._lacks(holder, blocking)
            is_flat = self._put(key, "flat", depth, lambda name: [lambda: f"{name} = {above} and {lacks()}"])
        direct = f"{holder}.get({'.'.join(rest)!r})"
        return f"({direct} if {is_flat} else {self.bind(getter(list(names)), 'get')}({whole}))"

    def object_at(self, base: str, names: tuple[str, ...]) -> str:
        """Return a local that holds the object at a place; an empty one where there is none."""
        if not names:
            return self._scopes[base][1]
        key = ("object", (base, names))
        known = self._known(key)
        if known is not None:
            return known
        if (base, names[:-1]) in self._shapes and names[-1] not in self._shapes[base, names[:-1]]:
            return "EMPTY"
        outer = self.object_at(base, names[:-1])
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

    def _is_plain(self, base: str, names: tuple[str, ...], path: tuple[str, ...]) -> str:
        """Return what says whether no name with dots is in the way of a path, down to one of its objects."""
        for start in range(len(names) + 1):
            shape = self._shapes.get((base, names[:start]), ())
            if any(".".join(path[start:end]) in shape for end in range(start + 2, len(path) + 1)):
                return NEVER
        if (base, names) in self._shapes:
            return self._is_plain(base, names[:-1], path) if names else ALWAYS
        key = ("plain", (base, names))
        known = self._known(key)
        if known is not None:
            return self._spelled_plain[known]
        # Asked where the plain way leads to nothing, which is rare.
        texts = self.bind(self._dotted.setdefault(key, set()), "texts")
        above = f"{self._is_plain(base, names[:-1], path)} and " if names else ""
        name = self._put(key, "plain", self._scopes[base][2], lambda name: [f"{name} = None"])
        lacks = f"{above}{texts}.isdisjoint({self.object_at(base, names)})"
        self._spelled_plain[name] = spelled = f"({name} if {name} is not None else ({name} := {lacks}))"
        return spelled

    def _lacks(self, holder: str, texts: set[str]) -> Callable[[], str]:
        """Return what spells whether an object has none of some names, to which more may come until then."""
        bound = self.bind(texts, "texts")

        def spell() -> str:
            if len(texts) > _MAX_SPELLED:
                return f"{bound}.isdisjoint({holder})"
            return f"not ({' or '.join(f'{text!r} in {holder}' for text in sorted(texts)) or 'False'})"

        return spell


def _in_text(text: str) -> str:
    """Return a text as it is spelled between single quotes, and between what is put into it."""
    spelled = "".join(f"\\x{ord(char):02x}" if char in "'\"\\" else char for char in text)
    return repr(spelled)[1:-1].replace("\\\\x", "\\x").replace("{", "{{").replace("}", "}}")


def _is_constant_where(value: object) -> TypeGuard[dict[str, Any]]:
    """Say whether a value is one text where a condition holds, and else nothing."""
    if not isinstance(value, dict) or value.keys() != {"value", "when"}:
        return False
    text = value["value"]
    return isinstance(text, str) and text.startswith("=") and len(text) > 1


def texts_of(value: object) -> list[str] | None:
    """Return all texts that a value can be, whatever is read; None where that depends on it."""
    value = _bare(value)
    if isinstance(value, list):
        found = [texts_of(item) for item in value]
        return None if None in found else [text for texts in found for text in texts or ()]
    if _is_constant_where(value):
        value = value["value"]
    return [value[1:]] if isinstance(value, str) and value.startswith("=") else None


def _is_selector(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and not value.startswith("=")


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
            parts = several if len(several) > 1 else template_of(value)[1]
            kept = kept_of(value)
            if kept is not None:
                parts = () if kept[1] is None else (kept[1],)
            for part in parts:
                yield from _texts_in(part)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts_in(name)
            yield from _texts_in(item)

"""Code generation: values and conditions of a mapping as Python source, so that a record is read by one call.

``selector`` and ``condition`` say what everything means. ``Code`` is a function under construction: it holds
its lines, and knows at each of them what has been read already, so that ``payload`` is looked up once for all
that look into it. What is told of an outer item is read before the loop over the inner ones.

Nothing of a mapping gets into the source but as a literal (``repr``) or by the name of an object that is
bound to it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

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
    scope_of,
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
_NOTHING: dict[Any, Any] = {}

#: Kinds of what is known that stand for a place, and the one that stands for a field.
_PLACED, _ONCE = ("object", "plain", "flat"), "once"

#: A scope and the names behind it.
Place: TypeAlias = tuple[str, tuple[str, ...]]
_Lines: TypeAlias = list[Any]


@dataclass(slots=True)
class _Frame:
    """A block: the number of items in hand, what is known in it, and where its loop is prepared, if any."""

    depth: int
    #: Names of locals by what they hold.
    known: dict[tuple[str, object], str] = field(default_factory=dict)
    before: _Lines | None = None
    indent: int = 0


class Code:
    """One function under construction.

    ``aliases`` are all names that ``each`` gives anywhere in the mapping. ``flat`` are places of objects
    whose names have dots (attributes of telemetry): those are looked for first.
    """

    def __init__(
        self,
        aliases: tuple[str, ...] = (),
        remembered: frozenset[str] = frozenset(),
        flat: Iterable[Place] = (),
    ) -> None:
        self._aliases = aliases
        self._remembered = remembered
        self._flat = frozenset(flat)
        self._bound: dict[str, Any] = {"EMPTY": _NOTHING, "text_of": to_text, "number_of": to_number}
        #: Names are numbered: those of locals that live as long as their block (the numbers are used again
        #: behind it, for every local costs each call), of other locals, of what is bound.
        self._numbers, self._kept_numbers, self._bound_numbers = 0, 0, 0
        #: What is taken out of the batch, then everything else.
        self._head: _Lines = []
        self._lines: _Lines = []
        self._indent = 1
        self._frames = [_Frame(0)]
        #: Locals of a scope: the value, and the same where it is an object, else an empty one.
        self._scopes: dict[str, tuple[str, str, int]] = {RECORD: ("record", "record", 0)}
        self._uses: Counter[str] = Counter()
        self._is_sharing = True
        #: Names with dots that would be in the way, by place.
        self._dotted: dict[tuple[str, Place], set[str]] = {}

    # Lines.

    def line(self, text: str) -> None:
        """Add a line."""
        self._lines.append("    " * self._indent + text)

    def name(self, what: str) -> str:
        """Return the name of a local that is new in the block in hand, and not used behind it."""
        self._numbers += 1
        return f"{what}{self._numbers}"

    def kept_name(self, what: str) -> str:
        """Return the name of a local that is new everywhere."""
        self._kept_numbers += 1
        return f"{what}_{self._kept_numbers}"

    def bind(self, value: object, what: str = "bound") -> str:
        """Return the name by which the source calls an object."""
        self._bound_numbers += 1
        name = f"{what}__{self._bound_numbers}"
        self._bound[name] = value
        return name

    def bind_as(self, name: str, value: object) -> str:
        """Bind an object to a name of the program's own; the same one each time."""
        self._bound[name] = value
        return name

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write what is in hand below a line that ends with a colon."""
        self.line(head)
        self._indent += 1
        self._frames.append(_Frame(self.depth))
        at, numbers = len(self._lines), self._numbers
        yield
        if len(self._lines) == at:
            self.line("pass")
        self._numbers = numbers
        self._frames.pop()
        self._indent -= 1

    @contextmanager
    def loop(self, alias: str, items: str) -> Iterator[None]:
        """Write the body of a loop over items; ``alias`` is what the mapping calls one of them."""
        before: _Lines = []
        self._lines.append(before)
        value, table, numbers = self.kept_name("item"), self.kept_name("object"), self._numbers
        self.line(f"for {value} in {items}:")
        self._frames.append(_Frame(self.depth + 1, {}, before, self._indent))
        self._indent += 1
        self._scopes[alias] = (value, table, self.depth)
        self.line(f"{table} = {value} if type({value}) is dict else EMPTY")
        yield
        del self._scopes[alias]
        self._numbers = numbers
        self._indent -= 1
        self._frames.pop()

    @property
    def depth(self) -> int:
        """How many items are in hand."""
        return self._frames[-1].depth

    def use(self, name: str) -> str:
        """Return the name of a member of the batch, which the function takes out of it first."""
        if name in (PATH, FILE):
            self._scopes.setdefault(name, (name, name, 0))
        line = f"    {name} = batch.{name}"
        if line not in self._head:
            self._head.append(line)
        return name

    def expect(self, values: Iterable[object]) -> None:
        """Take notice of what is going to be read, so that what comes several times is read once."""
        self._uses = Counter(text for value in values for text in _texts_in(value))

    def function(self, parameters: str) -> Callable[..., Any]:
        """Compile all lines into a function of these parameters."""
        source = "\n".join([f"def made({parameters}):", *self._head, *_flattened(self._lines), "    pass"])
        made: dict[str, Any] = {}
        exec(compile(source, "<mapping>", "exec"), self._bound, made)  # noqa: S102 (see above)
        function: Callable[..., Any] = made["made"]
        return function

    # What is known at a line.

    def _known(self, key: tuple[str, object]) -> str | None:
        for frame in reversed(self._frames):
            found = frame.known.get(key)
            if found is not None:
                return found
        return None

    def _put(self, key: tuple[str, object], what: str, depth: int, lines: Callable[[str], list[str]]) -> str:
        """Write lines that give a local its value, as early as the items are in hand that it depends on."""
        name = self.kept_name(what)
        for number, frame in enumerate(self._frames):
            if frame.before is not None and frame.depth > depth:
                frame.before += ["    " * frame.indent + line for line in lines(name)]
                self._frames[number - 1].known[key] = name
                return name
        for line in lines(name):
            self.line(line)
        self._frames[-1].known[key] = name
        return name

    def forget(self, base: str, names: tuple[str, ...]) -> None:
        """Forget what was read at a place, or below it: it is changed there."""

        def is_changed(place: Place) -> bool:
            scope, path = place
            # Another scope may lead to the same object.
            return path[: len(names)] == names if scope == base else names[-1] in path

        for frame in self._frames:
            for key in list(frame.known):
                kind, what = key
                places = [what] if kind in _PLACED else map(self.place, _paths_in(what))
                if kind == _ONCE or any(map(is_changed, places)):  # type: ignore[arg-type]
                    del frame.known[key]

    def place(self, path: str) -> Place:
        """Return the scope and the names behind it that a path means."""
        base = scope_of(path, self._aliases)
        names = path.split(".")
        return base, tuple(names[1:] if names[0] == base else names)

    def depth_of(self, value: object) -> int:
        """Return how many items have to be in hand for a value; all, where it changes meanwhile."""
        depth = 0
        for path in _paths_in(value):
            base = scope_of(path, self._aliases)
            depth = max(depth, self.depth if base == KEPT else self._scopes.get(base, ("", "", 0))[2])
        return depth

    def once(self, value: object, what: str, expression: Callable[[], str]) -> str:
        """Return a local that holds what only outer items tell, read when an inner one first needs it."""
        key = (_ONCE, f"{what} {value!r}")
        name = self._known(key)
        if name is None:
            name = self._put(key, what, self.depth_of(value), lambda name: [f"{name} = ..."])
        with self.block(f"if {name} is ...:"):
            self.line(f"{name} = {expression()}")
        return name

    # Values.

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
        found = self.raw(value, depth)
        if not self._may_be_empty(value):
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
        if self._is_sharing and self._uses[value] > 1 and 1 < len(paths_of(value)) <= _MAX_EARLY and not _is_kept(value):
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
        return f"{self.bind_as('is_one_of', is_one_of)}({self.value(name, depth)}, {allowed})"

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
        for value in first:
            name = self.name("first")
            empty = f" and {name} != ''" if self._may_be_empty(value) else ""
            result += f"{name} if ({name} := {self.raw(value, depth + 1)}) is not None{empty} else "
        return f"({result}{self.raw(last, depth + 1)})"

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
        self.line(f"{name} = {self.bind(getter(list(names)), 'get')}({self._scopes[base][0]})")
        with self.block(f"if type({name}) is not dict:"):
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
            return f"{self.bind(getter(list(names)), 'get')}({whole})"
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
            above = self._is_plain(base, names[: end - 1])
            texts = self.bind(blocking, "texts")
            is_flat = self._put(
                key, "flat", depth, lambda name: [f"{name} = {above} and {holder}.keys().isdisjoint({texts})"]
            )
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
        texts = self.bind(self._dotted.setdefault(key, set()), "texts")
        test = f"{self._object(base, names)}.keys().isdisjoint({texts})"
        if names:
            test = f"{self._is_plain(base, names[:-1])} and {test}"
        return self._put(key, "plain", self._scopes[base][2], lambda name: [f"{name} = {test}"])


def _flattened(lines: _Lines) -> Iterator[str]:
    for line in lines:
        if isinstance(line, list):
            yield from _flattened(line)
        else:
            yield line


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


def _paths_in(value: object) -> Iterator[str]:
    """Yield the paths of a value, and more: everything that might be one."""
    if isinstance(value, str):
        yield from paths_of(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _paths_in(name)
            yield from _paths_in(item)


def _is_kept(value: str) -> bool:
    return any(path == KEPT or path.startswith(KEPT + ".") for path in paths_of(value))

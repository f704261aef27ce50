"""Code generation: a function under construction, so that a record is read by one call.

``Writer`` holds the lines of a function, and knows at each of them what has been read already, so that
``payload`` is looked up once for all that look into it. What is told of an outer item is read before the loop
over the inner ones.

Nothing of a mapping gets into the source but as a literal (``repr``) or by the name of an object that is
bound to it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sentineld.selector import FILE, KEPT, PATH, RECORD, paths_of, scope_of

_NOTHING: dict[Any, Any] = {}

#: Kinds of what is known that stand for a place, and the one that stands for a field.
_PLACED, _ONCE = ("object", "plain", "flat"), "once"

#: A scope and the names behind it.
Place: TypeAlias = tuple[str, tuple[str, ...]]
#: A line, or what makes it when all lines behind it are known too.
Line: TypeAlias = str | Callable[[], str]
_Lines: TypeAlias = list[Any]


@dataclass(slots=True)
class _Frame:
    """A block: the number of items in hand, what is known in it, and where its loop is prepared, if any."""

    depth: int
    #: Names of locals by what they hold.
    known: dict[tuple[str, object], str] = field(default_factory=dict)
    before: _Lines | None = None
    indent: int = 0


class Writer:
    """One function under construction.

    ``aliases`` are all names that ``each`` gives in the mapping, ``changing`` those of the memory that the
    function may change.
    """

    def __init__(self, aliases: tuple[str, ...] = (), changing: frozenset[str] = frozenset()) -> None:
        self._aliases = aliases
        self._changing = changing
        self._bound: dict[str, Any] = {"EMPTY": _NOTHING}
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

    # Lines.

    def line(self, text: Line) -> None:
        """Add a line."""
        self._lines.append(_indented(self._indent, text))

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

    def _put(
        self, key: tuple[str, object], what: str, depth: int, lines: Callable[[str], Sequence[Line]]
    ) -> str:
        """Write lines that give a local its value, as early as the items are in hand that it depends on."""
        name = self.kept_name(what)
        for number, frame in enumerate(self._frames):
            if frame.before is not None and frame.depth > depth:
                frame.before += [_indented(frame.indent, line) for line in lines(name)]
                self._frames[number - 1].known[key] = name
                return name
        for line in lines(name):
            self.line(line)
        self._frames[-1].known[key] = name
        return name

    def early(self, what: str, depth: int, expression: str) -> str:
        """Return a new local with a value that outer items tell, read before the loops inside of them."""
        return self._put((what, self.kept_name(what)), what, depth, lambda name: [f"{name} = {expression}"])

    def give(self, alias: str, value: str, table: str) -> None:
        """Take notice of a scope that the function is given: the value, and the same as an object."""
        self._scopes[alias] = (value, table, 0)

    def give_object(self, place: Place, name: str) -> None:
        """Take notice of an object that the function is given."""
        self._frames[0].known["object", place] = name

    def scope(self, alias: str) -> tuple[str, str, int]:
        """Return the locals of a scope (value, object), and how many items are in hand for it."""
        return self._scopes[alias]

    def note(self, what: object) -> None:
        """Note that something has been done wherever the block in hand goes on."""
        self._frames[-1].known["done", what] = ""

    def is_noted(self, what: object) -> bool:
        """Say whether something was noted in the block in hand, or in one around it."""
        return self._known(("done", what)) is not None

    def forget(self, base: str, names: tuple[str, ...]) -> None:
        """Forget what was read at a place, or below it: it is changed there."""

        def is_changed(place: Place) -> bool:
            scope, path = place
            # Another scope may lead to the same object.
            return path[: len(names)] == names if scope == base else names[-1] in path

        for frame in self._frames:
            for key in list(frame.known):
                kind, what = key
                places = [what] if kind in _PLACED else map(self.place, paths_in(what))
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
        for path in paths_in(value):
            base, _, rest = path.partition(".")
            if base == KEPT:
                # What is remembered under a key has no name here.
                depth = self.depth if not rest or rest in self._changing else depth
            else:
                depth = max(depth, self._scopes.get(scope_of(path, self._aliases), ("", "", 0))[2])
        return depth

    def share(self, value: object, what: str) -> None:
        """Take notice of a value of the record that is read in several places, by ``once``.

        It is called before anything is written.
        """
        if not self.depth_of(value) and not self._is_changing(value):
            name = self.kept_name(what)
            self.line(f"{name} = ...")
            self._frames[0].known[_once_key(value, what)] = name

    def is_shared(self, value: object, what: str) -> bool:
        """Say whether a value is in hand once it was read, or is going to be."""
        return self._known(_once_key(value, what)) is not None

    def _is_changing(self, value: object) -> bool:
        rests = [path.partition(".")[2] for path in paths_in(value) if path.partition(".")[0] == KEPT]
        return any(not rest or rest in self._changing for rest in rests)

    def once(self, value: object, what: str, expression: Callable[[], str]) -> str:
        """Return a local that holds what only outer items tell, read when an inner one first needs it."""
        key = _once_key(value, what)
        name = self._known(key)
        if name is None:
            name = self._put(key, what, self.depth_of(value), lambda name: [f"{name} = ..."])
        with self.block(f"if {name} is ...:"):
            self.line(f"{name} = {expression()}")
        return name


def _once_key(value: object, what: str) -> tuple[str, object]:
    return _ONCE, f"{what} {value!r}"


def _indented(indent: int, line: Line) -> Line:
    if isinstance(line, str):
        return "    " * indent + line
    return lambda: "    " * indent + line()


def _flattened(lines: _Lines) -> Iterator[str]:
    for line in lines:
        if isinstance(line, list):
            yield from _flattened(line)
        else:
            yield line if isinstance(line, str) else line()


def paths_in(value: object) -> Iterator[str]:
    """Yield the paths of a value, and more: everything that might be one."""
    if isinstance(value, str):
        yield from paths_of(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from paths_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from paths_in(name)
            yield from paths_in(item)

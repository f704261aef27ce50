"""Walk: how a record is tried on the tables of a mapping, written as one function.

Conditions, loops over items, the decoding of values and the events themselves stand in it one behind the
other, as the tables do; items are told apart by a value of theirs where several tables ask for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from sentineld.codegen import Place, paths_in
from sentineld.declaration import Declaration, Decode, EventTable
from sentineld.emission import Emission, settled_in, share_common
from sentineld.expression import Code
from sentineld.knowledge import Known, NoneOf, options, reduced
from sentineld.selector import RECORD
from sentineld.shapes import OuterShapes, Parts, Quota, Shape, Shapes, Variants, names_of
from sentineld.values import DECODERS

#: Items of one record that are gone through, over all tables.
_MAX_ITEMS = 20_000
#: How often items are told apart by another selector.
_MAX_DISPATCH = 3
#: Tables that ask for one value of an item which make it worth that.
_MIN_ALIKE = 2
_UNKNOWN = "(unnamed)"
_PARAMETERS = "record, offset, batch"

#: Reads one record: the record, its offset, and where its events go; what is for one shape of items is given
#: these and their objects besides.
Walk: TypeAlias = Callable[..., None]


class WalkWriter:
    """Writes one function, for tables of which one ``[[source]]`` has these and more."""

    def __init__(
        self,
        declaration: Declaration,
        emission: Emission,
        flat: frozenset[Place],
        quota: Quota,
        *,
        is_traced: bool,
        shape: Shape | None = None,
        parts: frozenset[str] | None = None,
        changing: frozenset[str] | None = None,
    ) -> None:
        """Prepare one function.

        ``quota`` bounds the functions for single shapes; ``shape`` is the one that this is for, if any.
        ``parts`` are the named parts of the file's path that are not empty, where that is known;
        ``changing`` the names of the memory that the function changes (all, if nothing is said).
        """
        self._declaration, self._flat, self._quota, self._shape = declaration, flat, quota, shape
        self._kinds = declaration.kinds
        self._each_keys = dict.fromkeys(table.each_key for table in declaration.tables)
        self._emission = emission
        self._is_traced = is_traced
        self._parts, self._changing = parts, changing
        self._code = Code(declaration.aliases, declaration.remembered, flat, shape, parts, changing)
        emission.bind(self._code)
        #: Whether a record is known that gets to the end.
        self._is_known = False
        #: How many tables decode a value of the record; what says that it was done, where several do.
        self._decodes: Counter[Decode] = Counter()
        self._flags: dict[Decode, str] = {}
        self._begun: set[Decode] = set()
        #: Parameters that a function for one shape has besides.
        self._given: list[str] = []

    def write(self, tables: Sequence[EventTable]) -> Walk | None:
        """Return the function for these tables; None where it would do nothing."""
        code = self._code
        for table in tables:
            self._decodes.update(decode for decode in table.decodes if decode.scope == RECORD)
        # In one order, whichever of their tables are left.
        groups = {
            key: found for key in self._each_keys if (found := [t for t in tables if t.each_key == key])
        }
        self._is_known = any(map(_is_always_known, groups.values()))
        if self._is_known and not any(table.each or self._does_something(table) for table in tables):
            return None
        if not self._is_known:
            code.line("is_known = False")
        if any(members[0].each for members in groups.values()):
            code.line(f"budget = {_MAX_ITEMS}")
        for decode, count in self._decodes.items():
            if count > 1:
                code.line(f"{self._flag(decode)} = False")
        share_common(code, tables)
        code.prepare((table.when, table.values, table.remember) for table in tables)
        for members in groups.values():
            if members[0].each:
                self._write_items(members)
            else:
                self._write_record(members)
        if not self._is_known:
            with code.block("if not is_known:"):
                self._tell_unknown(RECORD, "")
        return code.function(_PARAMETERS)

    # Shapes.

    def _item_places(
        self, members: list[EventTable], flags: dict[int, str]
    ) -> tuple[list[Place], list[Place]]:
        """Return the objects by whose names items are told apart: of those around an item, and of its own.

        None of its own: items of this kind are not told apart by names.
        """
        if flags or self._shape is not None or self._is_traced or not any(map(self._does_something, members)):
            return [], []
        code, each = self._code, members[0].each
        decodes = [{code.place(decode.path) for decode in table.decodes} for table in members]
        changed = {names[-1] for places in decodes for _, names in places if names}
        found: dict[str, list[Place]] = {alias: [] for alias, _ in each}
        for base, names in sorted(set.intersection(*decodes) & self._flat):
            if base in found and changed.isdisjoint(names[:-1]):
                found[base] += [(base, names[:end]) for end in range(len(names) + 1)]
        inner = found.pop(each[-1][0])
        outer = [place for places in found.values() for place in dict.fromkeys(places)]
        return (outer, [*dict.fromkeys(inner)]) if inner else ([], [])

    def _outer_shapes(self, members: list[EventTable], outer: list[Place], inner: list[Place]) -> str:
        """Write what finds the table of shapes of items, by the objects around them; return its name."""
        code = self._code
        places = [*outer, *inner]
        scopes = members[0].items

        def make(shape: Shape) -> Walk:
            return self._special(shape).write_item(members, scopes, places)

        paths = self._paths_of(members)
        variants = Variants(places, [names_of(place, paths) for place in places], make, self._quota)
        if not outer:
            return code.bind(Shapes(variants), "shapes")
        found = _names_in([code.object_at(*place) for place in outer])
        depth = max(code.scope(base)[2] for base, _ in outer)
        return code.early("shapes", depth, f"{code.bind(OuterShapes(variants), 'shapes')}[{found}]")

    def _write_item_shapes(
        self, members: list[EventTable], shapes: str, outer: list[Place], inner: list[Place]
    ) -> None:
        """Write what leaves an item to the function for its shape, if there is one."""
        code = self._code
        names = _names_in([code.object_at(*place) for place in inner])
        code.line(f"special = {shapes}.get(shape := {names})")
        # `[...]` of a dictionary that makes what is missing takes three times as long.
        with code.block("if special is None:"):
            code.line(f"special = {shapes}[shape]")
        scopes = [name for alias in members[0].items for name in code.scope(alias)[:2]]
        objects = [code.object_at(*place) for place in (*outer, *inner) if place[1]]
        with code.block("if special is not None:"):
            code.line(f"special({', '.join([_PARAMETERS, *scopes, *objects])})")
            code.line("continue")

    def write_item(
        self,
        members: Sequence[EventTable],
        scopes: Sequence[str],
        places: Sequence[Place],
        used: tuple[str, ...] = (),
    ) -> Walk:
        """Return the function for one item, which takes the items and the objects at these places too.

        ``used`` are selectors that have told it apart.
        """
        for number, alias in enumerate(scopes):
            names = (f"value_of_{number}", f"table_of_{number}")
            self._code.give(alias, *names)
            self._given += names
        for number, place in enumerate(places):
            # Those of whole scopes are at hand.
            if place[1]:
                self._code.give_object(place, f"given_{number}")
                self._given.append(f"given_{number}")
        left = [found for table in members if (found := self._left_of(table))]
        parameters = ", ".join([_PARAMETERS, *self._given])
        told = None if used else _told_apart(left, ())
        if told is None:
            self._write_tables(left, {}, scopes[-1], used)
            return self._code.function(parameters)

        # Items of one shape are of one kind: what is for others may never be needed.
        def make(place: int) -> Walk:
            return self._special(self._shape).write_item(told.branches[place], scopes, places, (told.name,))

        parts = self._code.bind(Parts(make), "parts")
        self._code.line(f"{parts}[{self._branch_number(told)}]({parameters})")
        return self._code.function(parameters)

    def _special(self, shape: Shape | None) -> "WalkWriter":
        return WalkWriter(
            self._declaration,
            self._emission,
            self._flat,
            self._quota,
            is_traced=False,
            shape=shape,
            parts=self._parts,
            changing=self._changing,
        )

    def _paths_of(self, tables: Iterable[EventTable]) -> list[Place]:
        """Return all paths that functions for these tables may follow."""
        values = [(table.when, table.values, table.remember) for table in tables]
        paths = paths_in([values, [*self._kinds.values()]])
        return [*dict.fromkeys(map(self._code.place, paths))]

    def _left_of(self, table: EventTable) -> EventTable | None:
        """Return a table less the tests of items that the shape answers; None where it can never be met."""
        left = [self._code.left_of(condition) for condition in table.of_items]
        if any(condition is None for condition in left):
            return None
        return replace(table, of_items=tuple(condition for condition in left if condition != {}))

    # The record.

    def _write_record(self, members: list[EventTable]) -> None:
        code = self._code
        chains = [list(chain) for _, chain in groupby(members, key=lambda table: table.chain)]
        if len(chains) == 1:
            self._expect(members)
            self._write_chain(chains[0], self._take_record, self._met, _is_sure)
            return
        if self._is_known:
            # Nobody asks any more which of these was met.
            chains = [chain for chain in chains if any(map(self._matters, chain))]
        # What a table remembers is no matter of the conditions of those beside it.
        self._expect(members)
        chosen = []
        for chain in chains:
            number = code.kept_name("chosen")
            chosen.append(number)
            code.line(f"{number} = -1")

            def choose(table: EventTable, number: str = number) -> None:
                code.line(f"{number} = {table.number}")

            self._write_chain(chain, choose, self._met, _is_sure)
        for number, chain in zip(chosen, chains, strict=True):
            for table in chain:
                if self._does_something(table):
                    with code.block(f"if {number} == {table.number}:"):
                        self._take_record(table)
            if not self._is_known:
                with code.block(f"if {number} >= 0:"):
                    code.line("is_known = True")

    def _take_record(self, table: EventTable) -> None:
        if not self._is_known:
            self._code.line("is_known = True")
        self._emission.take(self._code, table, is_traced=self._is_traced)

    def _does_something(self, table: EventTable) -> bool:
        return table.emits or bool(table.remember) or self._is_traced or bool(settled_in(table))

    def _matters(self, table: EventTable) -> bool:
        return self._does_something(table) or any(decode.scope == RECORD for decode in table.decodes)

    @contextmanager
    def _met(self, table: EventTable) -> Iterator[None]:
        """Write what is in hand where the conditions of a table hold."""
        with ExitStack() as stack:
            if table.early:
                stack.enter_context(self._code.block(f"if {self._all_of(table.early)}:"))
            for decode in table.decodes:
                if decode.scope == RECORD:
                    self._decode_once(decode)
            if table.late:
                stack.enter_context(self._code.block(f"if {self._all_of(table.late)}:"))
            yield

    # Items.

    def _write_items(self, members: list[EventTable]) -> None:
        """Write the loops over the items that some tables go through."""
        code = self._code
        self._expect(members)
        flags: dict[int, str] = {}
        for table in members:
            if not _is_plain(table):
                flags[table.number] = flag = code.kept_name("meets")
                code.line(f"{flag} = False")
                with self._met(table):
                    code.line(f"{flag} = True")
        with ExitStack() as stack:
            if len(flags) == len(members):
                stack.enter_context(code.block(f"if {' or '.join(flags.values())}:"))
            is_known = self._is_known
            if not is_known:
                asking = [table for table in members if table.asks]
                if any(table.number not in flags for table in asking):
                    code.line("is_known = True")
                    is_known = True
                elif asking:
                    with code.block(f"if {' or '.join(flags[table.number] for table in asking)}:"):
                        code.line("is_known = True")
            self._write_level(members, flags, 0, is_known=is_known)
            with code.block("if budget < 0:"):
                code.line(f"{code.use('unknown')}.append((offset, 'too many items'))")
                code.line("budget = 0")

    def _write_level(
        self, members: list[EventTable], flags: dict[int, str], level: int, *, is_known: bool
    ) -> None:
        code, each = self._code, members[0].each
        alias, path = each[level]
        is_last = level + 1 == len(each)
        items = code.name("items")
        code.line(f"{items} = {code.value(path) if level == 0 and not is_known else code.raw(path)}")
        if level == 0 and not is_known:
            # Tables that ask nothing of the record know those that have their items.
            with code.block(f"if {items} is not None:"):
                code.line("is_known = True")
        with code.block(f"if type({items}) is not list:"):
            # One where several could be is one.
            code.line(f"{items} = [{items}] if type({items}) is dict else ()")
        if is_last:
            with code.block(f"if len({items}) <= budget:"):
                code.line(f"budget -= len({items})")
            with code.block("else:"):
                code.line(f"{items}, budget = {items}[:budget], -1")
        outer, inner = self._item_places(members, flags) if is_last else ([], [])
        shapes = self._outer_shapes(members, outer, inner) if inner else ""
        with code.loop(alias, items):
            self._expect(members)
            self._decode_items(members, flags, alias)
            if shapes:
                self._write_item_shapes(members, shapes, outer, inner)
            if is_last:
                self._write_tables(members, flags, alias)
            else:
                self._write_level(members, flags, level + 1, is_known=True)
                with code.block("if budget < 0:"):
                    code.line("break")

    def _decode_items(self, members: list[EventTable], flags: dict[int, str], alias: str) -> None:
        owners: dict[Decode, list[EventTable]] = {}
        for table in members:
            for decode in table.decodes:
                if decode.scope == alias:
                    owners.setdefault(decode, []).append(table)
        for decode, tables in owners.items():
            if all(table.number in flags for table in tables) and len(tables) < len(members):
                with self._code.block(f"if {' or '.join(flags[table.number] for table in tables)}:"):
                    self._decode(decode)
            else:
                self._decode(decode)

    def _write_tables(
        self, members: list[EventTable], flags: dict[int, str], alias: str, used: tuple[str, ...] = ()
    ) -> None:
        """Write the tables that an item is tried on; ``used`` are selectors that have told it apart."""
        code = self._code
        is_counted = alias in self._kinds
        if is_counted:
            code.line("is_met = False")

        def take(table: EventTable) -> None:
            if is_counted:
                code.line("is_met = True")
            self._emission.take(code, table, is_traced=self._is_traced)

        self._dispatch(members, flags, take, used)
        if is_counted:
            with code.block("if not is_met:"):
                self._tell_unknown(alias, f"{alias}:")

    def _dispatch(
        self,
        members: list[EventTable],
        flags: dict[int, str],
        take: Callable[[EventTable], None],
        used: tuple[str, ...],
    ) -> None:
        """Write the tables of an item, told apart by a value of it where several ask for that."""
        told = _told_apart(members, used)
        if told is None:
            for _, chain in groupby(members, key=lambda table: table.chain):
                tables = list(chain)
                self._expect(tables)
                self._write_chain(
                    tables,
                    take,
                    lambda table: self._met_item(table, flags.get(table.number)),
                    lambda table: not table.of_items and table.number not in flags,
                )
            return
        number, head = self._branch_number(told), "if"
        # All other values come last.
        for place, left in [*list(enumerate(told.branches))[1:], (0, told.branches[0])]:
            if left:
                with self._code.block(f"{head} {number} == {place}:"):
                    self._dispatch(left, flags, take, (*used, told.name))
                head = "elif"

    def _branch_number(self, told: "_Told") -> str:
        """Write what finds the branch of an item; return the name of the local that holds its number."""
        code = self._code
        found, number = code.name("found"), code.name("branch")
        code.line(f"{found} = {code.raw(told.name)}")
        # Empty text counts as nothing.
        texts = {text: place for text, place in told.numbers.items() if text is not None}
        bound = code.bind(texts | {"": told.numbers[None]}, "branches")
        code.line(
            f"{number} = {bound}.get({found}, 0) if type({found}) is str"
            f" else {told.numbers[None]} if {found} is None else 0"
        )
        return number

    @contextmanager
    def _met_item(self, table: EventTable, flag: str | None) -> Iterator[None]:
        tests = [flag] if flag else []
        tests += [self._code.condition(condition) for condition in table.of_items]
        with ExitStack() as stack:
            if tests:
                stack.enter_context(self._code.block(f"if {' and '.join(tests)}:"))
            yield

    # Both.

    def _write_chain(
        self,
        chain: list[EventTable],
        take: Callable[[EventTable], None],
        met: Callable[[EventTable], AbstractContextManager[None]],
        is_sure: Callable[[EventTable], bool],
    ) -> None:
        """Write tables of which the first counts whose conditions hold."""
        # Behind one that is always met the rest does not count.
        sure = next((end for end, table in enumerate(chain, 1) if is_sure(table)), len(chain))
        chain = chain[:sure]
        if len(chain) == 1:
            with met(chain[0]):
                take(chain[0])
            return
        with self._code.block("while True:"):
            for table in chain:
                with met(table):
                    take(table)
                    self._code.line("break")
            if not is_sure(chain[-1]):
                self._code.line("break")

    def _all_of(self, conditions: Sequence[object]) -> str:
        return " and ".join(map(self._code.condition, conditions))

    def _expect(self, members: list[EventTable]) -> None:
        """Take notice of what the conditions of these tables are going to ask for."""
        self._code.expect((table.early, table.late, table.of_items) for table in members)

    def _flag(self, decode: Decode) -> str:
        if decode not in self._flags:
            self._flags[decode] = self._code.kept_name("decoded")
        return self._flags[decode]

    def _decode_once(self, decode: Decode) -> None:
        """Decode a value of the record, unless another table has done so."""
        code = self._code
        if code.is_noted(decode) or code.is_nothing(decode.path):
            return
        if decode not in self._begun:
            self._begun.add(decode)
            if self._decodes[decode] > 1:
                code.line(f"{self._flag(decode)} = True")
            self._decode(decode)
        else:
            with code.block(f"if not {self._flag(decode)}:"):
                code.line(f"{self._flag(decode)} = True")
                self._decode(decode)
        code.note(decode)

    def _decode(self, decode: Decode) -> None:
        # Each record is read once, so it may be changed; what was decoded before stays as it is.
        code = self._code
        base, names = code.place(decode.path)
        holder, value = code.holder(base, names[:-1]), code.name("value")
        last = names[-1] if names else base
        kind = "str" if decode.how == "json" else "list"
        with code.block(f"if type({value} := {holder}.get({last!r})) is {kind}:"):
            code.line(f"{holder}[{last!r}] = {code.bind(DECODERS[decode.how], 'decode')}({value})")
        code.forget(base, names)

    def _tell_unknown(self, scope: str, prefix: str) -> None:
        code = self._code
        kind = self._kinds.get(scope)
        name = code.name("name")
        text = "''" if kind is None else f"clean({code.text(kind)})"
        code.line(f"{name} = {text} or {_UNKNOWN!r}")
        told = f"{prefix!r} + {name}" if prefix else name
        code.line(f"{code.use('unknown')}.append((offset, {told}))")


def _names_in(objects: Sequence[str]) -> str:
    """Return what gives the names of some objects, by which shapes are found."""
    return f"({', None, '.join(f'*{name}' for name in objects)},)"


def _is_sure(table: EventTable) -> bool:
    return not (table.early or table.late)


def _is_plain(table: EventTable) -> bool:
    """Say whether nothing of the record is asked, or decoded, for a table any more."""
    return not (table.early or table.late or any(decode.scope == RECORD for decode in table.decodes))


def _is_always_known(members: list[EventTable]) -> bool:
    """Say whether every record is known that these tables are tried on."""
    if members[0].each:
        return any(table.asks and _is_plain(table) for table in members)
    chains = groupby(members, key=lambda table: table.chain)
    return any(not (first.early or first.late) for first in (next(chain) for _, chain in chains))


@dataclass(frozen=True, slots=True)
class _Told:
    """What tells items apart: a selector, the number of the branch of each value, and what is left there.

    Branch 0 is for all other values.
    """

    name: str
    numbers: dict[str | None, int]
    branches: list[list[EventTable]]


def _told_apart(members: list[EventTable], used: tuple[str, ...]) -> _Told | None:
    """Return what tells items apart best, besides selectors that have done so; None: nothing is worth it."""
    asked = [_options(table) for table in members]
    counts = Counter(name for names in asked for name in names if name not in used)
    name, count = counts.most_common(1)[0] if counts else ("", 0)
    if count < _MIN_ALIKE or len(used) >= _MAX_DISPATCH:
        return None
    texts = {text for names in asked for text in names.get(name, ()) if text is not None}
    # Values with which the same is left share a branch.
    branches: dict[object, tuple[int, list[EventTable]]] = {}
    numbers: dict[str | None, int] = {}
    values: list[Known] = [NoneOf(frozenset(texts), is_present=True), None, *sorted(texts)]
    for value in values:
        left = [one for table in members if (one := _left_of_items(table, {name: value}))]
        alike = tuple((table.number, repr(table.of_items)) for table in left)
        number, _ = branches.setdefault(alike, (len(branches), left))
        if not isinstance(value, NoneOf):
            numbers[value] = number
    # Tables stand in each branch that they can be met in: there is an end to that.
    if used and sum(len(left) for _, left in branches.values()) > 2 * len(members):
        return None
    return _Told(name, numbers, [left for _, left in branches.values()])


def _options(table: EventTable) -> dict[str, frozenset[str | None]]:
    """Return which values of selectors of items alone can meet the conditions of a table."""
    found: dict[str, frozenset[str | None]] = {}
    for condition in table.of_items:
        for name, values in options(condition, table.items).items():
            found[name] = found.get(name, values) & values
    return found


def _left_of_items(table: EventTable, known: dict[str, Known]) -> EventTable | None:
    """Return a table less what is known of an item; None where that rules it out."""
    left = [reduced(condition, known) for condition in table.of_items]
    if any(condition is None for condition in left):
        return None
    return replace(table, of_items=tuple(condition for condition in left if condition != {}))

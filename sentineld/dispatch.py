"""Dispatch: finds the function that reads a record, by the values of a few selectors of it (the pivots).

Records are alike where these are the same: for each combination of them only the tables are left that can be
met, and of their conditions only what is still open. Functions are made when they are first needed; there are
no more of them than there are ways in which tables can be left.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from sentineld.codegen import Place
from sentineld.declaration import Declaration, EventTable, is_changed
from sentineld.emission import Emission
from sentineld.expression import Code
from sentineld.knowledge import Known, NoneOf, patterns_of, reduced
from sentineld.reading import Reading
from sentineld.selector import RECORD, paths_of, scope_of
from sentineld.shapes import Quota
from sentineld.walk import Walk, WalkWriter

#: Selectors by whose values functions are found, and combinations of their values that are looked up.
_MAX_PIVOTS = 3
_MAX_WALKS = 1024
#: Longest value of a pivot that counts as one of its own whatever it is.
_MAX_OPEN = 64
#: Patterns asked of a selector that make it worth that.
_MIN_PATTERNS = 4

#: A value of a pivot as it is looked up; ``True`` stands for one that is none of its texts, or too long.
_Key: TypeAlias = str | bool | None


class Dispatch:
    """All functions that read the records of one format; each is made when it is first needed.

    ``parts`` are the named parts of the path that are not empty, where all files have the same; None: any.
    """

    def __init__(
        self, declaration: Declaration, emission: Emission, parts: frozenset[str] | None = None
    ) -> None:
        self._declaration = declaration
        self._parts = parts
        self._emission = emission
        self._pivots = self._choose_pivots()
        self._flat = self._flat_places()
        self._quota = Quota()
        self._made: dict[object, Walk | None] = {}
        self._read = _Found(self, is_traced=False)
        self._traced = _Found(self, is_traced=True)
        self._run = self._make_run()

    def run(
        self, records: Sequence[dict[str, Any]], offsets: Sequence[int], reading: Reading, *, is_traced: bool
    ) -> None:
        """Read records, in order."""
        self._run(records, offsets, self._traced if is_traced else self._read, reading)

    def make_all(self) -> None:
        """Make what reads records of which nothing is known, which has all tables in it."""
        self.make({}, is_traced=False)

    def walk_of(self, key: tuple[_Key, ...], *, is_traced: bool) -> Walk | None:
        """Make the function for records whose pivots have these values."""
        known: dict[str, Known] = {}
        for (name, texts), value in zip(self._pivots, key, strict=True):
            if value is not True:
                known[name] = value  # type: ignore[assignment]
            elif texts is not None:
                known[name] = NoneOf(texts)
        return self.make(known, is_traced=is_traced)

    def make(self, known: dict[str, Known], *, is_traced: bool) -> Walk | None:
        """Make a function; the same one where no more of the tables is left."""
        tables = [found for table in self._declaration.tables if (found := self._left_of(table, known))]
        alike = (is_traced, tuple((table.number, repr(table.when)) for table in tables))
        if alike not in self._made:
            if len(self._made) > 2 * _MAX_WALKS:
                self._made.clear()
            self._made[alike] = WalkWriter(
                self._declaration,
                self._emission,
                self._flat,
                self._quota,
                is_traced=is_traced,
                parts=self._parts,
                changing=frozenset(name for table in tables for name, _, _ in table.remember),
            ).write(tables)
        return self._made[alike]

    def _left_of(self, table: EventTable, known: dict[str, Known]) -> EventTable | None:
        """Return a table less the tests that known values answer; None where those rule it out."""
        when = reduced(table.when, known)
        if when is None:
            return None
        if when == table.when:
            return table
        stages = self._declaration.stages(when, table.items, table.decodes)
        return replace(table, when=when, early=stages.early, late=stages.late, of_items=stages.of_items)

    def _choose_pivots(self) -> list[tuple[str, frozenset[str] | None]]:
        """Return the selectors that most tables ask for one of some texts, with all of these texts.

        Without texts: every short value counts, for patterns are asked of it.
        """
        texts: dict[str, set[str]] = {}
        counts: Counter[str] = Counter()
        patterns: Counter[str] = Counter()
        changed = [
            decode.path
            for table in self._declaration.tables
            for decode in table.decodes
            if decode.scope == RECORD
        ]
        for table in self._declaration.tables:
            for name, found in table.equals.items():
                texts.setdefault(name, set()).update(found)
                counts[name] += 1
            for name in patterns_of(table.when):
                if all(scope_of(path, self._declaration.aliases) == RECORD for path in paths_of(name)):
                    patterns[name] += 1
        for name, count in patterns.items():
            if count >= _MIN_PATTERNS:
                counts[name] += count
        names = [name for name, _ in counts.most_common() if not is_changed(paths_of(name), changed)]
        # One that few tables ask for costs every record more than it saves.
        names = [name for name in names[:_MAX_PIVOTS] if counts[name] > 3 or name == names[0]]
        return [(name, None if patterns[name] >= _MIN_PATTERNS else frozenset(texts[name])) for name in names]

    def _flat_places(self) -> frozenset[Place]:
        code = Code(self._declaration.aliases)
        return frozenset(
            code.place(decode.path)
            for table in self._declaration.tables
            for decode in table.decodes
            if decode.how != "json"
        )

    def _make_run(self) -> Callable[..., None]:
        """Return what finds the function of each record, and calls it."""
        code = Code(self._declaration.aliases, self._declaration.remembered, self._flat)
        code.line("known = walks.get")
        with code.block("for record, offset in zip(records, offsets):"):
            if all(_is_plain(code, name, texts) for name, texts in self._pivots):
                # What is found by the values as they stand is found by what they count as, too: no other text
                # is ever a key, and what equals True is no text.
                found = [code.plain(name) for name, _ in self._pivots]
                with code.block("try:"):
                    code.line(f"walk = known({_joined(found)})")
                with code.block("except TypeError:"):
                    code.line("walk = None")
                with code.block("if walk is None:"):
                    self._find(code)
            else:
                self._find(code)
            with code.block("if walk:"):
                code.line("walk(record, offset, batch)")
        return code.function("records, offsets, walks, batch")

    def _find(self, code: Code) -> None:
        """Write what finds the function of a record by what the values of its pivots count as."""
        keys = []
        for name, texts in self._pivots:
            key = code.name("key")
            code.line(f"{key} = {code.value(name)}")
            if texts is None:
                test = f"{key} is not None and (type({key}) is not str or len({key}) > {_MAX_OPEN})"
            else:
                test = f"type({key}) is not str or {key} not in {code.bind(texts)}"
            with code.block(f"if {test}:"):
                code.line(f"{key} = True")
            keys.append(key)
        code.line(f"walk = walks[{_joined(keys)}]")


def _joined(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"({', '.join(keys)})"


def _is_plain(code: Code, name: str, texts: frozenset[str] | None) -> bool:
    """Say whether what stands at a name of the record, or of an object in it, is what a pivot means.

    A name with dots may stand for the latter: that matters where nothing at all is a key of its own.
    """
    depth = code.plain_depth(name) if paths_of(name) == (name,) else 0
    return depth == 1 or (depth == 2 and texts is not None)


class _Found(dict["_Key | tuple[_Key, ...]", Walk | Literal[False]]):
    """Functions by the values of the pivots, or by the value of the only one; False: nothing to do."""

    def __init__(self, dispatch: Dispatch, *, is_traced: bool) -> None:
        super().__init__()
        self._dispatch = dispatch
        self._is_traced = is_traced
        self._general: Walk | None = None

    def __missing__(self, key: _Key | tuple[_Key, ...]) -> Walk | Literal[False]:
        if len(self) >= _MAX_WALKS:
            # Whoever writes the strangest combinations gets the slower way.
            if self._general is None:
                self._general = self._dispatch.make({}, is_traced=self._is_traced)
            return self._general or False
        values = key if isinstance(key, tuple) else (key,)
        found = self._dispatch.walk_of(values, is_traced=self._is_traced)
        self[key] = found or False
        return found or False

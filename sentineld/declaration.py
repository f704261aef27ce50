"""Declaration: one ``[[source]]`` of a mapping file, checked, as the tables that its records are tried on.

The language is documented in docs/mapping.md; its values in ``selector`` and ``condition``. Everything that
means nothing is a ``MappingError`` that says where it stands.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as Table
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sentineld.condition import Condition, compile_condition, compile_value
from sentineld.path_glob import GlobError
from sentineld.rows import ERROR, OK, REFUSED
from sentineld.selector import (
    FILE,
    KEPT,
    PATH,
    RECORD,
    SCOPES,
    SelectorError,
    compile_selector,
    paths_of,
    scope_of,
)
from sentineld.values import DECODERS

FIELDS = (
    "agent",
    "role",
    "session",
    "time",
    "id",
    "call_id",
    "type",
    "tool",
    "arguments",
    "meta",
    "outcome",
    "duration_ms",
    "tokens",
    "entities",
    "prompt",
    "seq",
    "done",
    "denied",
)
#: Fields that hold the id of a call of which a record tells what became; a table without an event too.
SETTLED = ("done", "denied")
#: Outcomes, in the order in which their conditions are asked.
OUTCOMES = (REFUSED, ERROR, OK)
_EVENT_KEYS = (*FIELDS, "name", "note", "when", "each", "decode", "emit", "otherwise", "remember")
_DEFAULT_KEYS = (*FIELDS, "decode")
_ITEM = "item"
_ALIAS = re.compile(r"[A-Za-z_]\w{0,63}")
_DEFINED = re.compile(r"<([A-Za-z_]\w{0,63})>")
_MAX_DEEP = 8
_ENTITY = {"kind": ("path", "host", "recipient", "account"), "role": ("source", "sink")}


class MappingError(ValueError):
    """A mapping that means nothing: ``key`` says where, the message what, ``hint`` what to write."""

    def __init__(self, key: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Decode:
    """A value that is decoded in place: ``path`` leads to it, ``scope`` is the record or an item."""

    path: str
    scope: str
    how: str


@dataclass(frozen=True, slots=True)
class EventTable:
    """One ``[[source.event]]``, checked; conditions and values are as they are written.

    ``early`` and ``late`` are the conditions on the record before and after its values are decoded,
    ``of_items`` those that speak of items. ``equals`` says for selectors of the record which texts alone can
    meet the condition.
    """

    number: int
    label: str
    note: str
    when: object
    early: tuple[object, ...]
    late: tuple[object, ...]
    of_items: tuple[object, ...]
    equals: dict[str, frozenset[str]]
    #: Whether anything is asked of the record at all.
    asks: bool
    each: tuple[tuple[str, str], ...]
    each_key: str
    decodes: tuple[Decode, ...]
    emits: bool
    #: Tables of one chain follow each other; of these the first counts whose conditions hold.
    chain: int
    #: What is remembered: name, key and value.
    remember: tuple[tuple[str, object, object], ...]
    values: dict[str, Any]

    @property
    def items(self) -> tuple[str, ...]:
        """The names of the items that the table may speak of."""
        return tuple(alias for alias, _ in self.each)


@dataclass(frozen=True, slots=True)
class Stages:
    """A condition by what has to be known before its parts can be asked, and what it narrows down."""

    early: tuple[object, ...]
    late: tuple[object, ...]
    of_items: tuple[object, ...]
    equals: dict[str, frozenset[str]]


class Declaration:
    """The tables of a source, and what they share. ``key`` is where it stands. Raises ``MappingError``."""

    def __init__(self, table: Table[str, Any], key: str) -> None:
        defaults = table.get("defaults", {})
        if not isinstance(defaults, dict):
            raise MappingError(f"{key}.defaults", "a table was expected")
        check_keys(defaults, _DEFAULT_KEYS, f"{key}.defaults")
        events = table.get("event")
        if not isinstance(events, list) or not events or not all(isinstance(item, dict) for item in events):
            raise MappingError(f"{key}.event", "no event is declared", "[[source.event]]")
        self.remembered = _remembered_names(events, key)
        self._each: Table[str, Any] = _table(table.get("each", {}), f"{key}.each")
        aliases = _all_aliases(events, self._each)
        #: All names that ``each`` gives.
        self.aliases = tuple(sorted(aliases))
        self.tables: list[EventTable] = []
        for number, event in enumerate(events):
            self.tables.append(self._event(event, defaults, f"{key}.event[{number}]"))
        kinds = table.get("kind", {})
        #: What names the records, and the items, that no table knows.
        self.kinds: dict[str, object] = kinds if isinstance(kinds, dict) else {RECORD: kinds}
        check_keys(self.kinds, (RECORD, *self.aliases), f"{key}.kind")
        for name, value in self.kinds.items():
            with at_key(f"{key}.kind.{name}"):
                compile_value(value, self.aliases, self.remembered)

    def stages(self, when: object, items: tuple[str, ...], decodes: Iterable[Decode]) -> Stages:
        """Return a condition by its stages. Raises ``SelectorError``."""
        changed = [decode.path for decode in decodes if decode.scope == RECORD]

        def stage(condition: Condition) -> int:
            if not condition.scopes <= {RECORD, PATH, FILE, KEPT}:
                return 2
            return int(is_changed(condition.paths, changed))

        stages: tuple[list[object], list[object], list[object]] = ([], [], [])
        equals: dict[str, frozenset[str]] = {}
        if isinstance(when, list):
            condition = compile_condition(when, items, self.remembered)
            chosen = stage(condition)
            stages[chosen].append(when)
            # What all alternatives ask of the record can be asked before anything else.
            equals = {
                name: texts
                for name, texts in condition.equals.items()
                if not is_changed(paths_of(name), changed)
            }
            if equals and chosen:
                stages[0].append({name: sorted(texts) for name, texts in equals.items()})
        elif isinstance(when, dict):
            for path, expected in when.items():
                condition = compile_condition({path: expected}, items, self.remembered)
                chosen = stage(condition)
                stages[chosen].append({path: expected})
                if chosen == 0:
                    equals.update(condition.equals)
        else:
            raise SelectorError("a table of paths, or a list of these, was expected")
        early, late, of_items = map(tuple, stages)
        return Stages(early, late, of_items, equals)

    def _event(self, table: Table[str, Any], defaults: Table[str, Any], key: str) -> EventTable:
        check_keys(table, _EVENT_KEYS, key)
        each, items = self._compile_each(table.get("each", {}), f"{key}.each")
        decodes = []
        others = set(self.aliases) - set(items)
        for path, how in {**defaults.get("decode", {}), **table.get("decode", {})}.items():
            if scope_of(path, (*items, *others)) in (*items, RECORD):
                decodes.append(_decode(path, how, items, f"{key}.decode"))
        when = table.get("when", {})
        with at_key(f"{key}.when"):
            stages = self.stages(when, items, decodes)
        values = {}
        for name in FIELDS:
            value = table[name] if name in table else self._in_reach(defaults.get(name), items)
            if value is not None:
                values[name] = value
                with at_key(f"{key}.{name}"):
                    self._check_field(name, value, items)
        emits = _truth(table, "emit", key, True)
        each_key = json.dumps(table.get("each", {}))
        chain = len(self.tables)
        if _truth(table, "otherwise", key, False):
            before = self.tables[-1] if self.tables else None
            if before is None or before.each_key != each_key:
                raise MappingError(
                    f"{key}.otherwise", "no table with the same `each` stands before it", "otherwise = false"
                )
            chain = before.chain
        if emits and not {"type", "tool"} & values.keys():
            raise MappingError(key, "the event has neither `type` nor `tool`", 'type = "=model_call"')
        return EventTable(
            number=len(self.tables),
            label=str(table.get("name") or _label(table)),
            note=str(table.get("note", "")),
            when=when,
            early=stages.early,
            late=stages.late,
            of_items=stages.of_items,
            equals=stages.equals,
            asks=bool(stages.early or stages.late),
            each=each,
            each_key=each_key,
            decodes=tuple(decodes),
            emits=emits,
            chain=chain,
            remember=self._remember(table.get("remember", {}), items, f"{key}.remember"),
            values=values,
        )

    def _compile_each(self, value: object, key: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        table = self._each.get(value, {_ITEM: value}) if isinstance(value, str) else value
        if not isinstance(table, dict):
            raise MappingError(key, "a path, or a table from names to paths, was expected")
        each: list[tuple[str, str]] = []
        items: tuple[str, ...] = ()
        for alias, path in table.items():
            if not _ALIAS.fullmatch(alias) or alias in SCOPES:
                raise MappingError(key, f"{alias!r} is no name of an item", "letters, digits and _")
            if not isinstance(path, str):
                raise MappingError(f"{key}.{alias}", "a path was expected")
            with at_key(f"{key}.{alias}"):
                compile_selector(path, items, self.remembered)
            each.append((alias, path))
            items = (*items, alias)
        if len(each) > _MAX_DEEP:
            raise MappingError(key, f"more than {_MAX_DEEP} levels")
        return tuple(each), items

    def _in_reach(self, value: object, items: tuple[str, ...]) -> object:
        """Return what an event can use of a default, which may speak of items that only others have."""
        if isinstance(value, list):
            return [item for item in value if self._is_in_reach(item, items)] or None
        return value if self._is_in_reach(value, items) else None

    def _is_in_reach(self, value: object, items: tuple[str, ...]) -> bool:
        aliases = set(self.aliases) - set(items)
        text = json.dumps(value)
        return not any(re.search(rf"(?<![\w.]){alias}(?:\.|\b(?=\"|}}))", text) for alias in aliases)

    def _check_field(self, name: str, value: object, items: tuple[str, ...]) -> None:
        def check(item: object) -> None:
            compile_value(item, items, self.remembered)

        def check_number(item: object) -> None:
            if isinstance(item, dict) and "value" not in item:
                _only(item, ("sum",))
                for part in item.get("sum", ()):
                    check(part)
            else:
                check(item)

        if name == "meta":
            for item in _table(value).values():
                check(item)
        elif name == "outcome" and isinstance(value, dict):
            _only(value, OUTCOMES)
            for item in value.values():
                compile_condition(item, items, self.remembered)
        elif name == "outcome":
            compile_selector(value, items, self.remembered)
        elif name == "entities":
            for item in map(_table, value if isinstance(value, list) else [value]):
                _check_entity(item)
                check(item.get("value"))
        elif name == "tokens":
            _only(_table(value), ("input", "output"))
            for item in _table(value).values():
                check_number(item)
        elif name == "duration_ms" and isinstance(value, dict) and "from" in value:
            _only(value, ("from", "to"))
            check(value.get("from"))
            check(value.get("to"))
        elif name == "duration_ms":
            check_number(value)
        else:
            check(value)

    def _remember(
        self, value: object, items: tuple[str, ...], key: str
    ) -> tuple[tuple[str, object, object], ...]:
        result: list[tuple[str, object, object]] = []
        for name, item in _table(value, key).items():
            with at_key(f"{key}.{name}"):
                table = dict(item) if isinstance(item, dict) else {"value": item}
                under = table.pop("key", None)
                if under is not None:
                    compile_value(under, items, self.remembered)
                compile_value(table, items, self.remembered)
                result.append((name, under, table))
        return tuple(result)


def is_changed(paths: Iterable[str], changed: Iterable[str]) -> bool:
    """Say whether any of some paths leads to what is decoded in place, or into it."""
    return any(path == d or path.startswith(d + ".") for d in changed for path in paths)


def defined(table: Table[str, Any], key: str) -> Table[str, Any]:
    """Return a table with what ``define`` declares put in wherever it stands between angle brackets."""
    texts = _table(table.get("define", {}), f"{key}.define")
    for name, text in texts.items():
        if not _ALIAS.fullmatch(name) or not isinstance(text, str):
            raise MappingError(
                f"{key}.define.{name}", "a name with a text was expected", 'call = "payload.id"'
            )

    def put(found: re.Match[str]) -> str:
        return str(texts.get(found[1], found[0]))

    def expand(value: Any) -> Any:  # noqa: ANN401 (TOML)
        if isinstance(value, str):
            # One may use others, which use others.
            for _ in range(_MAX_DEEP):
                before, value = value, _DEFINED.sub(put, value)
                if value == before:
                    break
            return value
        if isinstance(value, list):
            return [expand(item) for item in value]
        if isinstance(value, dict):
            return {expand(name): expand(item) for name, item in value.items()}
        return value

    return expand(table) if texts else table


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """Say where a selector or a condition stands that means nothing."""
    try:
        yield
    except (SelectorError, GlobError) as error:
        raise MappingError(key, str(error)) from error


def check_keys(table: Table[str, Any], known: Sequence[str], key: str) -> None:
    """Raise ``MappingError`` for a key that is none of the known ones."""
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise MappingError(f"{key}.{name}", f"there is no {name!r} here", hint)


def _only(table: Table[str, Any], known: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            raise SelectorError(f"there is no {name!r} here: {', '.join(known)}")


def _table(value: object, key: str = "") -> Table[str, Any]:
    if not isinstance(value, dict):
        if key:
            raise MappingError(key, "a table was expected")
        raise SelectorError("a table was expected")
    return value


def _truth(table: Table[str, Any], name: str, key: str, default: bool) -> bool:
    value = table.get(name, default)
    if not isinstance(value, bool):
        raise MappingError(f"{key}.{name}", "true or false was expected")
    return value


def _check_entity(table: Table[str, Any]) -> None:
    for name, known in _ENTITY.items():
        if table.get(name) not in known:
            raise SelectorError(f"{name} is one of {', '.join(known)}, not {table.get(name)!r}")


def _decode(path: str, how: object, items: tuple[str, ...], key: str) -> Decode:
    if how not in DECODERS:
        raise MappingError(f"{key}.{path}", f"{how!r} is none of {', '.join(DECODERS)}")
    with at_key(f"{key}.{path}"):
        compile_selector(path.rpartition(".")[0] or RECORD, items)
    return Decode(path, scope_of(path, items), str(how))


def _remembered_names(events: Iterable[Table[str, Any]], key: str) -> frozenset[str]:
    names: set[str] = set()
    for at, event in enumerate(events):
        names.update(_table(event.get("remember", {}), f"{key}.event[{at}].remember"))
    return frozenset(names)


def _all_aliases(events: Iterable[Table[str, Any]], named: Table[str, Any]) -> frozenset[str]:
    names: set[str] = set()
    for event in events:
        each = event.get("each", {})
        each = named.get(each, each) if isinstance(each, str) else each
        names.update([_ITEM] if isinstance(each, str) else each if isinstance(each, dict) else ())
    return frozenset(names)


def _label(table: Table[str, Any]) -> str:
    when = table.get("when", {})
    first = when[0] if isinstance(when, list) and when else when
    return ", ".join(f"{path} = {json.dumps(value)}" for path, value in first.items()) or "every record"

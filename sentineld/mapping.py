"""Mapping: from decoded records of any format to rows, as a TOML file declares.

The language is documented in docs/mapping.md; its values in ``selector`` and ``condition``. A file holds one
or more ``[[source]]``; each has ``[[source.event]]`` tables. A record is every event whose ``when`` holds
(for ``each`` item of it where that is given), or none; one that no table knows is counted by its ``kind``.

Everything is compiled once. What an agent writes can make an event odd, but never an error: values of the
wrong kind count as absent, and a tool call without a usable time, id or agent still counts.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Table
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, TypeAlias

from sentineld.condition import Condition, Test, compile_condition, compile_value
from sentineld.decode import Decoded, Record, Reject, encode_element
from sentineld.entropy import batch_entropy_units, encode_canonical
from sentineld.event import OPERATION_KIND, OTHER, Entity
from sentineld.expression import Expressions
from sentineld.instant import parse_iso
from sentineld.memory import Memory, remember
from sentineld.path_glob import GlobError, compile_glob
from sentineld.rows import ERROR, OK, REFUSED, Facts, Remembered, Rows, is_agent_id
from sentineld.selector import (
    FILE,
    KEPT,
    PATH,
    RECORD,
    SCOPES,
    Scope,
    Selector,
    SelectorError,
    compile_selector,
    paths_of,
    scope_of,
    to_text,
)
from sentineld.values import DECODERS, to_count, to_instant, to_number
from sentineld.visible import visible

#: How a file holds its records.
FRAMINGS = ("jsonl", "stream", "document")
TIME_UNITS = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 0.001}

_FIELDS = (
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
    "seq",
)
_EVENT_KEYS = (*_FIELDS, "name", "note", "when", "each", "decode", "emit", "otherwise", "remember")
_DEFAULT_KEYS = (*_FIELDS, "decode")
_SOURCE_KEYS = (
    "name",
    "description",
    "glob",
    "match",
    "framing",
    "places",
    "kind",
    "time_unit",
    "define",
    "each",
    "defaults",
    "event",
)
_OUTCOMES = (REFUSED, ERROR, OK)
_ITEM = "item"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_ALIAS = re.compile(r"[A-Za-z_]\w{0,63}")
_DEFINED = re.compile(r"<([A-Za-z_]\w{0,63})>")
_NOT_ID = re.compile(r"[^A-Za-z0-9._:/@+~-]")
_MAX_ID = 128
_MAX_NAME = 128
_MAX_DEEP = 8
_MAX_ENTITIES = 16
#: Items of one record that are gone through, over all tables.
_MAX_ITEMS = 20_000
_CACHE_SIZE = 16_384
#: Selectors by whose values tables are found, and combinations of their values that are prepared.
_MAX_PIVOTS = 3
_MAX_GROUPS = 1024
_UNKNOWN = "(unnamed)"
#: Name of a tool that has none that can be read: the call counts.
_UNNAMED = "unnamed"
#: Type of an event whose mapping gives it none that can be used.
_OTHER_TYPE = "other"


class Call(Protocol):
    """What the taxonomy says of a call of a tool."""

    @property
    def event_class(self) -> str:
        """One of ``event.EVENT_CLASSES``."""

    @property
    def entities(self) -> tuple[Entity, ...]:
        """What the call touches."""


#: A tool's name and its arguments, to the class of the call.
Classify: TypeAlias = Callable[[str, object], Call]


class MappingError(ValueError):
    """A mapping that means nothing: ``key`` says where, the message what, ``hint`` what to write."""

    def __init__(self, key: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


@dataclass(slots=True)
class FileContext:
    """What a mapping may know of the file: its path and owner (uid), and what its records have said so far.

    ``role`` is the one that the configuration gives to its agents (empty: none). ``memory`` grows while
    records are read.
    """

    path: str
    owner: int
    role: str = ""
    memory: Memory = field(default_factory=dict)


class TracedEvent(NamedTuple):
    """One event of a record: the name of its table, the record's own id (empty: none), and the payload."""

    label: str
    id: str
    payload: dict[str, Any]


@dataclass(slots=True)
class Trace:
    """What became of one record: its events, in the order of their rows, and why it is none."""

    events: list[TracedEvent] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Readers:
    """What reads the fields of a table, and what it is to remember; made when first used."""

    fields: Callable[[Scope], tuple[Any, ...]] | None = None
    remember: Callable[[Scope], tuple[Any, ...]] | None = None


@dataclass(slots=True)
class _Event:
    label: str
    note: str
    #: Tests of the record before and after its values are decoded, and of its items.
    early: Test | None
    late: Test | None
    of_items: Test | None
    equals: dict[str, frozenset[str]]
    #: Whether anything is asked of the record at all.
    asks: bool
    #: The condition as it is written, and the items that it may speak of.
    when: object
    items: tuple[str, ...]
    number: int
    #: What values of its items' selectors can meet it; None stands for an absent one.
    options: dict[str, frozenset[str | None]]
    each: tuple[tuple[str, Selector], ...]
    each_key: str
    decode: tuple["_Decode", ...]
    emits: bool
    #: Tables of one chain follow each other; of these the first counts whose conditions hold.
    chain: int
    #: What is remembered: name, key and value as they are written.
    remember: tuple[tuple[str, object, object], ...]
    #: Fields, compiled and as they are written.
    fields: dict[str, Any]
    values: dict[str, Any]
    readers: "_Readers"


@dataclass(slots=True)
class _Decode:
    key: str
    path: str
    scope: str
    parent: Selector
    name: str
    how: Callable[[Any], Any]


@dataclass(slots=True)
class _Group:
    """Tables that go through the same items."""

    each: tuple[tuple[str, Selector], ...]
    events: tuple[_Event, ...]
    #: How items are called that none of the tables knows.
    kind: Selector | None
    #: How items are read where the tables ask nothing more of the record.
    plan: "_Plan | None"
    is_plain: bool
    #: Whether the tables know a record whatever items it has.
    is_known: bool


class Mapping:
    """One compiled ``[[source]]``."""

    def __init__(self, table: Table[str, Any], classify: Classify, key: str = "source") -> None:
        """Compile a table; ``classify`` gives tools their classes. Raises ``MappingError``."""
        if not isinstance(table, dict):
            raise MappingError(key, "a table was expected", "[[source]]")
        self._classify = classify
        self.digest = _digest(json.dumps(table, sort_keys=True, default=str).encode())
        _check_keys(table, _SOURCE_KEYS, key)
        table = _defined(table, key)
        self.name = _text(table, "name", key)
        if not _NAME.fullmatch(self.name):
            raise MappingError(f"{key}.name", f"{self.name!r} is no name", "a-z 0-9 _ -, at most 64")
        self.description = str(table.get("description", ""))
        self.framing = _choice(table, "framing", FRAMINGS, key, "")
        self.places = tuple(_texts(table, "places", key))
        self.globs = tuple(_texts(table, "glob", key))
        with _at(f"{key}.glob"):
            self._globs = [compile_glob(glob) for glob in self.globs]
        unit = _choice(table, "time_unit", tuple(TIME_UNITS), key, "")
        self._factor = TIME_UNITS[unit] if unit else None
        with _at(f"{key}.match"):
            self._match = compile_condition(table["match"]).test if "match" in table else None
        defaults = table.get("defaults", {})
        if not isinstance(defaults, dict):
            raise MappingError(f"{key}.defaults", "a table was expected")
        _check_keys(defaults, _DEFAULT_KEYS, f"{key}.defaults")
        events = table.get("event")
        if not isinstance(events, list) or not events or not all(isinstance(item, dict) for item in events):
            raise MappingError(f"{key}.event", "no event is declared", "[[source.event]]")
        self._remembered = _remembered_names(events, key)
        self._each: Table[str, Any] = _table(table.get("each", {}), f"{key}.each")
        self._all_aliases = _all_aliases(events, self._each)
        self._events: list[_Event] = []
        for number, event in enumerate(events):
            self._events.append(self._compile_event(event, defaults, f"{key}.event[{number}]"))
        kinds = table.get("kind", {})
        kinds = kinds if isinstance(kinds, dict) else {RECORD: kinds}
        aliases = tuple(sorted(self._all_aliases))
        _check_keys(kinds, (RECORD, *aliases), f"{key}.kind")
        self._kinds: dict[str, Selector] = {}
        for name, value in kinds.items():
            with _at(f"{key}.kind.{name}"):
                self._kinds[name] = compile_value(value, aliases, self._remembered)
        self._numbers = len(self._events)
        self._pivots = self._choose_pivots()
        self._key = self._compile_key()
        self._groups: dict[tuple[str | None, ...], tuple[_Group, ...]] = {}
        self._general = self._group(self._events)
        self._plans: dict[tuple[int, ...], _Plan] = {}
        self._agents: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._bare_contents: dict[str, bytes] = {}
        self._paths: dict[str, dict[str, str] | None] = {}

    # Recognising.

    def parts(self, path: str) -> dict[str, str] | None:
        """Return the named parts of a path that one of the globs matches; None where none does."""
        try:
            return self._paths[path]
        except KeyError:
            # The watch asks too, from a thread of its own.
            if len(self._paths) >= _CACHE_SIZE:
                self._paths.clear()
            found = next(filter(None, (glob.fullmatch(path) for glob in self._globs)), None)
            parts = None if found is None else {k: v or "" for k, v in found.groupdict().items()}
            self._paths[path] = parts
            return parts

    def matches(self, record: Record) -> bool:
        """Say whether a record looks like one of this format; False where nothing is said of that."""
        return self._match is not None and self._match(Scope({RECORD: record}))

    @property
    def has_match(self) -> bool:
        """Whether the format says what its records look like."""
        return self._match is not None

    # Reading.

    def rows(self, decoded: Decoded, context: FileContext) -> tuple[Rows, list[Reject]]:
        """Turn decoded records into rows, in order. Nothing is rejected: what is no event is ignored."""
        rows = Rows(is_one_each=False)
        payloads: list[bytes] = []
        scope = self._scope(context)
        for record, offset in zip(decoded.records, decoded.offsets, strict=True):
            before = len(rows.offsets)
            self._read(record, offset, scope, context, rows, payloads, None)
            if len(rows.offsets) == before:
                rows.ignored.append(offset)
        rows.entropies = batch_entropy_units(payloads)
        return rows, []

    def trace(self, record: Record, offset: int, context: FileContext) -> tuple[Rows, Trace]:
        """Read one record as ``rows`` does, and tell what became of it."""
        rows, trace, payloads = Rows(is_one_each=False), Trace(), list[bytes]()
        self._read(record, offset, self._scope(context), context, rows, payloads, trace)
        if not len(rows):
            rows.ignored.append(offset)
        rows.entropies = batch_entropy_units(payloads)
        return rows, trace

    def _scope(self, context: FileContext) -> Scope:
        path = context.path
        described = {"path": path, "name": path.rpartition("/")[2], "owner": context.owner}
        return Scope({PATH: self.parts(path) or {}, FILE: described}, context.memory)

    def _read(
        self,
        record: Record,
        offset: int,
        scope: Scope,
        context: FileContext,
        rows: Rows,
        payloads: list[bytes],
        trace: Trace | None,
    ) -> None:
        scope.names[RECORD] = record
        is_known = False
        budget = _MAX_ITEMS
        for group in self._groups_of(scope):
            each = group.each
            chosen = group.events if group.is_plain else self._choose(group.events, each, scope)
            if not chosen:
                continue
            if not is_known:
                # Tables that ask nothing of the record know those that have their items.
                is_known = group.is_known or _asks(chosen) or each[0][1](scope) is not None
            if not each:
                for event in chosen:
                    self._take(event, offset, scope, context, rows, payloads, trace)
                continue
            plan = group.plan or self._plan(each, chosen)
            for _ in _walk(each, scope, 0):
                budget -= 1
                if budget < 0:
                    rows.unknown.append((offset, "too many items"))
                    break
                for decode in plan.decodes:
                    _decode_in_place(decode, scope)
                met = -1
                for event in plan.events(scope):
                    if event.chain != met and (event.of_items is None or event.of_items(scope)):
                        met = event.chain
                        self._take(event, offset, scope, context, rows, payloads, trace)
                if met < 0 and group.kind is not None:
                    name = _clean(to_text(group.kind(scope))) or _UNKNOWN
                    rows.unknown.append((offset, f"{each[-1][0]}:{name}"))
        if not is_known:
            kind = self._kinds.get(RECORD)
            name = "" if kind is None else _clean(to_text(kind(scope)))
            rows.unknown.append((offset, name or _UNKNOWN))

    @staticmethod
    def _choose(
        events: Sequence[_Event], each: tuple[tuple[str, Selector], ...], scope: Scope
    ) -> Sequence[_Event]:
        """Return the tables whose conditions on the record hold."""
        chosen: list[_Event] = []
        met = -1
        for event in events:
            if event.chain == met and not each:
                continue
            if event.early is not None and not event.early(scope):
                continue
            for decode in event.decode:
                if decode.scope == RECORD:
                    _decode_in_place(decode, scope)
            if event.late is not None and not event.late(scope):
                continue
            chosen.append(event)
            met = event.chain
        return chosen

    def _take(
        self,
        event: _Event,
        offset: int,
        scope: Scope,
        context: FileContext,
        rows: Rows,
        payloads: list[bytes],
        trace: Trace | None,
    ) -> None:
        # An event tells of what was known before it; what it adds is for those behind it.
        if event.emits:
            self._emit(event, offset, scope, context, rows, payloads, trace)
        elif trace is not None:
            trace.ignored.append(event.note or event.label)
        if event.remember:
            self._remember(event, offset, scope, context, rows)

    def _remember(self, event: _Event, offset: int, scope: Scope, context: FileContext, rows: Rows) -> None:
        read = event.readers.remember
        if read is None:
            expressions = Expressions(event.items, self._remembered)
            texts = [
                expressions.text(text) if text is not None else "None"
                for _, key, value in event.remember
                for text in (key, value)
            ]
            read = event.readers.remember = expressions.function(texts)
        found = iter(read(scope))
        for name, _, _ in event.remember:
            key, text = next(found), next(found)
            if not text or key == "":
                continue
            known = context.memory.get(name)
            # Of values by key the latest ones are kept, so it matters that this one was seen again.
            if key or known is None or known.get("") != text:
                remember(context.memory, name, key or "", text)
                rows.remembered.append(Remembered(offset, name, key or "", text))

    def _emit(
        self,
        event: _Event,
        offset: int,
        scope: Scope,
        context: FileContext,
        rows: Rows,
        payloads: list[bytes],
        trace: Trace | None,
    ) -> None:
        read = event.readers.fields or self._compile_read(event)
        (
            tool,
            event_type,
            arguments,
            identity,
            call_id,
            session,
            role,
            agent,
            at,
            outcome,
            duration_ms,
            input_tokens,
            output_tokens,
            seq,
            *values,
        ) = read(scope)
        number = len(rows.offsets)
        fields = event.fields
        metadata: dict[str, Any] = {}
        if values:
            for (name, _), value in zip(fields["meta"], values, strict=True):
                if value is not None:
                    metadata[name] = value
        entities: tuple[Entity, ...] = ()
        is_call = "type" not in fields
        if is_call and not tool:
            tool = _UNNAMED
        names = self._names
        event_type = names.get(event_type) or self._name_of(event_type)
        if tool:
            call = self._classify(tool, metadata.copy() if arguments is None else arguments)
            entities = call.entities
            if is_call:
                rows.tool_calls.append(number)
            event_type = event_type or call.event_class
            metadata["tool"] = tool
        event_type = event_type or _OTHER_TYPE
        if arguments is not None:
            metadata["args"] = arguments
        if "entities" in fields:
            entities = (*entities, *_entities(fields["entities"], scope))[:_MAX_ENTITIES]
        if identity:
            content = (
                self._bare_contents.get(tool or event_type) or self._bare_content(tool or event_type)
                if arguments is None
                else _digest(encode_element([tool or event_type, arguments]))
            )
            key = f"{self.name}\0{identity}".encode("utf-8", "surrogatepass")
            rows.identities[number] = (_digest(key), content)
        if session:
            rows.sessions[number] = names.get(session) or self._name_of(session)
        rows.facts[number] = Facts(
            names.get(tool) or self._name_of(tool),
            context.role or names.get(role) or self._name_of(role),
            _clean(call_id or (identity if tool else "")),
            outcome,
            entities,
            duration_ms,
            None if input_tokens is None else to_count(input_tokens),
            None if output_tokens is None else to_count(output_tokens),
        )
        if seq is not None:
            count = to_count(seq)
            if count is not None:
                rows.seqs[number] = count
        rows.at_us.append(None if at is None else self._time(at))
        rows.agent_ids.append(self._agents.get(agent) or self._agent(agent))
        rows.kinds.append(OPERATION_KIND.get(event_type, OTHER))
        rows.event_types.append(event_type)
        rows.offsets.append(offset)
        payloads.append(encode_canonical(metadata) if metadata else b"")
        if trace is not None:
            trace.events.append(TracedEvent(event.label, identity, metadata))

    def _compile_read(self, event: _Event) -> Callable[[Scope], tuple[Any, ...]]:
        """Return what reads all fields of an event at once, in the order in which ``_emit`` takes them."""
        expressions = Expressions(event.items, self._remembered)
        values, fields = event.values, event.fields

        def text(name: str) -> str:
            return expressions.text(values[name]) if name in values else "''"

        def number(value: object) -> str:
            return "None" if value is None else expressions.number(value)

        duration = values.get("duration_ms")
        is_between = isinstance(duration, dict) and "from" in duration
        tokens = values.get("tokens", {})
        parts = [
            text("tool"),
            text("type"),
            expressions.value(values["arguments"]) if "arguments" in values else "None",
            *(text(name) for name in ("id", "call_id", "session", "role", "agent")),
            expressions.value(values["time"]) if "time" in values else "None",
            expressions.call(fields["outcome"]) if "outcome" in values else "''",
            expressions.call(fields["duration_ms"]) if is_between else number(duration),
            number(tokens.get("input")),
            number(tokens.get("output")),
            number(values.get("seq")),
            *(expressions.value(value) for value in values.get("meta", {}).values()),
        ]
        read = event.readers.fields = expressions.function(parts)
        return read

    def _name_of(self, text: str) -> str:
        """Return a text as a name, kept: the same few come again and again."""
        if len(self._names) >= _CACHE_SIZE:
            self._names.clear()
        name = _clean(text)
        if len(text) <= _MAX_NAME:
            self._names[text] = name
        return name

    def _bare_content(self, what: str) -> bytes:
        """Return the digest of an event's content without arguments."""
        if len(self._bare_contents) >= _CACHE_SIZE:
            self._bare_contents.clear()
        digest = _digest(encode_element([what, None]))
        if len(what) <= _MAX_NAME:
            self._bare_contents[what] = digest
        return digest

    def _agent(self, claim: str) -> str:
        known = self._agents.get(claim)
        if known is None:
            if len(self._agents) >= _CACHE_SIZE:
                self._agents.clear()
            known = self._agents[claim] = agent_id(claim) if claim else self.name
        return known

    def _time(self, value: object) -> int | None:
        if isinstance(value, str):
            try:
                return parse_iso(value)
            except ValueError:
                value = to_number(value)
        return to_instant(value, self._factor)

    # Compiling.

    def _compile_event(self, table: Table[str, Any], defaults: Table[str, Any], key: str) -> _Event:
        _check_keys(table, _EVENT_KEYS, key)
        each, items = self._compile_each(table.get("each", {}), f"{key}.each")
        decode = []
        decoded = {**defaults.get("decode", {}), **table.get("decode", {})}
        others = self._all_aliases - set(items)
        for path, how in decoded.items():
            if scope_of(path, (*items, *others)) in (*items, RECORD):
                decode.append(_compile_decode(path, how, items, f"{key}.decode"))
        with _at(f"{key}.when"):
            early, late, of_items, equals = self._compile_when(table.get("when", {}), items, decoded)
        fields = {}
        values = {}
        for name in _FIELDS:
            value = table[name] if name in table else self._in_reach(defaults.get(name), items)
            if value is None:
                continue
            values[name] = value
            with _at(f"{key}.{name}"):
                fields[name] = self._compile_field(name, value, items)
        emits = _truth(table, "emit", key, True)
        each_key = json.dumps(table.get("each", {}))
        chain = len(self._events)
        if _truth(table, "otherwise", key, False):
            before = self._events[-1] if self._events else None
            if before is None or before.each_key != each_key:
                raise MappingError(
                    f"{key}.otherwise", "no table with the same `each` stands before it", "otherwise = false"
                )
            chain = before.chain
        if emits and not {"type", "tool"} & fields.keys():
            raise MappingError(key, "the event has neither `type` nor `tool`", 'type = "=model_call"')
        return _Event(
            label=str(table.get("name") or _label(table)),
            note=str(table.get("note", "")),
            early=early,
            late=late,
            of_items=of_items,
            equals=equals,
            asks=early is not None or late is not None,
            when=table.get("when", {}),
            items=items,
            number=len(self._events),
            options=_options(table.get("when", {}), items),
            each=each,
            each_key=each_key,
            decode=tuple(decode),
            emits=emits,
            chain=chain,
            remember=self._compile_remember(table.get("remember", {}), items, f"{key}.remember"),
            fields=fields,
            values=values,
            readers=_Readers(),
        )

    def _compile_each(
        self, value: object, key: str
    ) -> tuple[tuple[tuple[str, Selector], ...], tuple[str, ...]]:
        table = self._each.get(value, {_ITEM: value}) if isinstance(value, str) else value
        if not isinstance(table, dict):
            raise MappingError(key, "a path, or a table from names to paths, was expected")
        each: list[tuple[str, Selector]] = []
        items: tuple[str, ...] = ()
        for alias, path in table.items():
            if not _ALIAS.fullmatch(alias) or alias in SCOPES:
                raise MappingError(key, f"{alias!r} is no name of an item", "letters, digits and _")
            if not isinstance(path, str):
                raise MappingError(f"{key}.{alias}", "a path was expected")
            with _at(f"{key}.{alias}"):
                each.append((alias, compile_selector(path, items, self._remembered)))
            items = (*items, alias)
        if len(each) > _MAX_DEEP:
            raise MappingError(key, f"more than {_MAX_DEEP} levels")
        return tuple(each), items

    def _compile_when(
        self, value: object, items: tuple[str, ...], decoded: Iterable[str], *, is_used: bool = False
    ) -> tuple[Test | None, Test | None, Test | None, dict[str, frozenset[str]]]:
        changed = [path for path in decoded if scope_of(path, items) == RECORD]

        def stage(condition: Condition) -> int:
            if not condition.scopes <= {RECORD, PATH, FILE, KEPT}:
                return 2
            return int(is_changed(condition.paths))

        def is_changed(paths: Iterable[str]) -> bool:
            return any(path == d or path.startswith(d + ".") for d in changed for path in paths)

        stages: tuple[list[object], list[object], list[object]] = ([], [], [])
        equals: dict[str, frozenset[str]] = {}
        if isinstance(value, list):
            condition = compile_condition(value, items, self._remembered)
            chosen = stage(condition)
            stages[chosen].append(value)
            # What all alternatives ask of the record can be asked before anything else.
            equals = {
                name: texts for name, texts in condition.equals.items() if not is_changed(paths_of(name))
            }
            if equals and chosen:
                stages[0].append({name: sorted(texts) for name, texts in equals.items()})
        elif isinstance(value, dict):
            for path, expected in value.items():
                condition = compile_condition({path: expected}, items, self._remembered)
                chosen = stage(condition)
                stages[chosen].append({path: expected})
                if chosen == 0:
                    equals.update(condition.equals)
        else:
            raise SelectorError("a table of paths, or a list of these, was expected")
        early, late, of_items = (self._compile_test(conditions, items, is_used) for conditions in stages)
        return early, late, of_items, equals

    def _compile_test(self, conditions: list[object], items: tuple[str, ...], is_used: bool) -> Test | None:
        """Return what tells whether all of some conditions hold; compiled at its first use, if not now."""
        if not conditions:
            return None

        def made() -> Test:
            expressions = Expressions(items, self._remembered)
            return expressions.test(" and ".join(map(expressions.condition, conditions)))

        if is_used:
            return made()
        kept: list[Test] = []

        def test(scope: Scope) -> bool:
            if not kept:
                kept.append(made())
            return kept[0](scope)

        return test

    def _in_reach(self, value: object, items: tuple[str, ...]) -> object:
        """Return what an event can use of a default, which may speak of items that only others have."""
        if isinstance(value, list):
            return [item for item in value if self._is_in_reach(item, items)] or None
        return value if self._is_in_reach(value, items) else None

    def _is_in_reach(self, value: object, items: tuple[str, ...]) -> bool:
        aliases = self._all_aliases - set(items)
        text = json.dumps(value)
        return not any(re.search(rf"(?<![\w.]){alias}(?:\.|\b(?=\"|}}))", text) for alias in aliases)

    def _compile_field(self, name: str, value: object, items: tuple[str, ...]) -> Any:  # noqa: ANN401
        def select(item: object) -> Selector:
            return compile_value(item, items, self._remembered)

        if name == "meta":
            return tuple((key, select(item)) for key, item in _table(value).items())
        if name == "outcome":
            return self._compile_outcome(value, items)
        if name == "entities":
            return [
                (_one_of(item, "kind"), _one_of(item, "role"), select(item.get("value")))
                for item in map(_table, value if isinstance(value, list) else [value])
            ]
        if name == "tokens":
            table = _table(value)
            _only(table, ("input", "output"))
            return {key: _compile_number(item, select) for key, item in table.items()}
        if name == "duration_ms":
            return self._compile_duration(value, select)
        return select(value)

    def _compile_outcome(self, value: object, items: tuple[str, ...]) -> Callable[[Scope], str]:
        if not isinstance(value, dict):
            select = compile_selector(value, items, self._remembered)

            def told(scope: Scope) -> str:
                found = to_text(select(scope))
                return found if found in _OUTCOMES else ""

            return told
        _only(value, _OUTCOMES)
        tests = [
            (name, compile_condition(value[name], items, self._remembered).test)
            for name in _OUTCOMES
            if name in value
        ]

        def outcome(scope: Scope) -> str:
            return next((name for name, test in tests if test(scope)), "")

        return outcome

    def _compile_duration(
        self, value: object, select: Callable[[object], Selector]
    ) -> Callable[[Scope], float | None]:
        if isinstance(value, dict) and "from" in value:
            _only(value, ("from", "to"))
            start, end = select(value.get("from")), select(value.get("to"))

            def between(scope: Scope) -> float | None:
                first, last = self._time(start(scope)), self._time(end(scope))
                return None if first is None or last is None or last < first else (last - first) / 1000

            return between
        return _compile_number(value, select)

    def _compile_remember(
        self, value: object, items: tuple[str, ...], key: str
    ) -> tuple[tuple[str, object, object], ...]:
        result: list[tuple[str, object, object]] = []
        for name, item in _table(value, key).items():
            with _at(f"{key}.{name}"):
                table = dict(item) if isinstance(item, dict) else {"value": item}
                at = table.pop("key", None)
                if at is not None:
                    compile_value(at, items, self._remembered)
                compile_value(table, items, self._remembered)
                result.append((name, at, table))
        return tuple(result)

    # Finding the tables of a record without trying all of them.

    def _choose_pivots(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """Return the selectors that most tables ask for one of some texts, with all of these texts."""
        values: dict[str, list[frozenset[str]]] = {}
        for event in self._events:
            for path, texts in event.equals.items():
                values.setdefault(path, []).append(texts)
        paths = sorted(values, key=lambda path: -len(values[path]))[:_MAX_PIVOTS]
        # One that few tables ask for costs every record more than it saves.
        paths = [path for path in paths if len(values[path]) > 3 or path == paths[0]]
        return tuple((path, frozenset[str]().union(*values[path])) for path in paths)

    def _compile_key(self) -> Callable[[Scope], tuple[str | None, ...]]:
        """Return what gives the values of a record's pivots; None for what no table asks for."""
        expressions = Expressions((), self._remembered)
        return expressions.function([expressions.one_of(path, texts) for path, texts in self._pivots])

    def _groups_of(self, scope: Scope) -> tuple[_Group, ...]:
        key = self._key(scope)
        groups = self._groups.get(key)
        if groups is None:
            if len(self._groups) >= _MAX_GROUPS:
                # Whoever writes the strangest combinations gets the slower way.
                return self._general
            groups = self._groups[key] = self._group(self._possible(key))
        return groups

    def _possible(self, key: tuple[str | None, ...]) -> list[_Event]:
        """Return the tables that records can meet whose pivots have these values, less what that answers."""
        pivots = [path for path, _ in self._pivots]
        known = {path: value for path, value in zip(pivots, key, strict=True) if value is not None}
        events = []
        for event in self._events:
            if any(
                path in event.equals and value not in event.equals[path]
                for path, value in zip(pivots, key, strict=True)
            ):
                continue
            found = self._specialised(event, known)
            if found is not None:
                events.append(found)
        return events

    def _specialised(self, event: _Event, known: Table[str, str]) -> _Event | None:
        """Return a table less the tests that known values answer; None where those rule it out."""
        decoded = [decode.path for decode in event.decode]
        known = {
            name: text
            for name, text in known.items()
            if not any(path == d or path.startswith(d + ".") for d in decoded for path in paths_of(name))
        }
        when = _reduced(event.when, known)
        if when is None:
            return None
        early, late, of_items, _ = self._compile_when(when, event.items, decoded, is_used=True)
        self._numbers += 1
        return replace(
            event,
            when=when,
            early=early,
            late=late,
            of_items=of_items,
            options=_options(when, event.items),
            number=self._numbers,
        )

    def _plan(self, each: tuple[tuple[str, Selector], ...], chosen: Sequence[_Event]) -> "_Plan":
        """Return how the items of a record are read by these tables, which go through the same ones."""
        key = tuple([event.number for event in chosen])
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _CACHE_SIZE:
                self._plans.clear()
            plan = self._plans[key] = self._make_plan(each, chosen)
        return plan

    def _make_plan(self, each: tuple[tuple[str, Selector], ...], chosen: Sequence[_Event]) -> "_Plan":
        return _Plan(chosen, tuple(alias for alias, _ in each), self._remembered, self._specialised)

    def _group(self, events: list[_Event]) -> tuple[_Group, ...]:
        groups: dict[str, list[_Event]] = {}
        for event in events:
            groups.setdefault(event.each_key, []).append(event)
        return tuple(self._make_group(members) for members in groups.values())

    def _make_group(self, members: list[_Event]) -> _Group:
        each, is_plain = members[0].each, _is_plain(members)
        return _Group(
            each=each,
            events=tuple(members),
            kind=self._kinds.get(each[-1][0]) if each else None,
            plan=self._make_plan(each, members) if each and is_plain else None,
            is_plain=is_plain,
            is_known=not each or (is_plain and _asks(members)),
        )


class _Plan:
    """How the items of a record are read: what is decoded first, and which tables may be met by an item."""

    def __init__(
        self,
        events: Sequence[_Event],
        items: tuple[str, ...],
        remembered: frozenset[str],
        specialised: Callable[[_Event, Table[str, str]], _Event | None],
    ) -> None:
        found: dict[str, _Decode] = {}
        for event in events:
            for decode in event.decode:
                if decode.scope != RECORD:
                    found[decode.key] = decode
        self.decodes = tuple(found.values())
        counts: dict[str, int] = {}
        for event in events:
            for path in event.options:
                counts[path] = counts.get(path, 0) + 1
        self._path = max(counts, key=lambda path: counts[path], default="")
        self._all = tuple(events)
        self._select = (
            compile_selector(self._path, items, remembered) if self._path and counts[self._path] > 1 else None
        )
        self._values = {None, *(value for event in events for value in event.options.get(self._path, ()))}
        self._others = tuple(event for event in events if self._path not in event.options)
        self._of: dict[str | None, tuple[_Event, ...]] = {}
        self._specialised = specialised

    def events(self, scope: Scope) -> tuple[_Event, ...]:
        """Return the tables that an item can meet, in order."""
        if self._select is None:
            return self._all
        found = self._select(scope)
        if found is not None and (type(found) is not str or found not in self._values):
            return self._others
        events = self._of.get(found)
        return self._possible(found) if events is None else events

    def _possible(self, value: str | None) -> tuple[_Event, ...]:
        events = [
            event
            for event in self._all
            if self._path not in event.options or value in event.options[self._path]
        ]
        if value is not None:
            known = {self._path: value}
            events = [found for event in events if (found := self._specialised(event, known)) is not None]
        self._of[value] = tuple(events)
        return self._of[value]


# What records hold.


def _walk(each: tuple[tuple[str, Selector], ...], scope: Scope, level: int) -> Iterator[None]:
    """Go through all items; ``scope`` holds the ones in hand by their names."""
    alias, select = each[level]
    found = select(scope)
    # One where several could be is one.
    items = found if isinstance(found, list) else [found] if isinstance(found, dict) else []
    for item in items:
        scope.names[alias] = item
        if level + 1 == len(each):
            yield
        else:
            yield from _walk(each, scope, level + 1)
    scope.names.pop(alias, None)


def _decode_in_place(decode: _Decode, scope: Scope) -> None:
    # Each record is read once, so it may be changed; what was decoded before stays as it is.
    parent = decode.parent(scope)
    if type(parent) is dict:
        value = parent.get(decode.name)
        if value is not None:
            parent[decode.name] = decode.how(value)


def _entities(specs: Iterable[tuple[str, str, Selector]], scope: Scope) -> Iterator[Entity]:
    for kind, role, select in specs:
        found = select(scope)
        for item in found[:_MAX_ENTITIES] if isinstance(found, list) else [found]:
            text = _clean(to_text(item))
            if text:
                yield Entity(kind, role, text)


def _clean(text: str) -> str:
    """Return a text as a name: printable and short."""
    if len(text) > _MAX_NAME:
        text = text[: _MAX_NAME - 1] + "\u2026"
    return text if text.isascii() and text.isprintable() else visible(text)


def agent_id(claim: str) -> str:
    """Make an agent's id of any text; what cannot stand in one is replaced, and a hash keeps ids apart.

    The same text always gives the same id, and different texts different ones.
    """
    if is_agent_id(claim):
        return claim
    digest = blake2b(claim.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{_NOT_ID.sub('-', claim)[: _MAX_ID - 9]}~{digest}"


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


# What mappings hold.


@contextmanager
def _at(key: str) -> Iterator[None]:
    """Say where a selector or a condition stands that means nothing."""
    try:
        yield
    except (SelectorError, GlobError) as error:
        raise MappingError(key, str(error)) from error


def _check_keys(table: Table[str, Any], known: Sequence[str], key: str) -> None:
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


def _defined(table: Table[str, Any], key: str) -> Table[str, Any]:
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


def _text(table: Table[str, Any], name: str, key: str) -> str:
    value = table.get(name)
    if not isinstance(value, str):
        raise MappingError(f"{key}.{name}", f"`{name}` is missing or no text")
    return value


def _truth(table: Table[str, Any], name: str, key: str, default: bool) -> bool:
    value = table.get(name, default)
    if not isinstance(value, bool):
        raise MappingError(f"{key}.{name}", "true or false was expected")
    return value


def _texts(table: Table[str, Any], name: str, key: str) -> list[str]:
    value = table.get(name, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(item, str) and item for item in texts):
        raise MappingError(f"{key}.{name}", "a list of texts was expected")
    return texts


def _choice(table: Table[str, Any], name: str, known: Sequence[str], key: str, default: str) -> str:
    value = table.get(name, default)
    if value != default and value not in known:
        raise MappingError(f"{key}.{name}", f"{value!r} is none of {', '.join(known)}")
    return str(value)


_ENTITY = {"kind": ("path", "host", "recipient", "account"), "role": ("source", "sink")}


def _one_of(table: Table[str, Any], name: str) -> str:
    value = table.get(name)
    if value not in _ENTITY[name]:
        raise SelectorError(f"{name} is one of {', '.join(_ENTITY[name])}, not {value!r}")
    return str(value)


def _compile_number(value: object, select: Callable[[object], Selector]) -> Callable[[Scope], float | None]:
    """Compile a selector of a number, or ``{sum = [...]}`` of several; absent ones count as none."""
    if isinstance(value, dict) and "value" not in value:
        _only(value, ("sum",))
        parts = [select(item) for item in value.get("sum", ())]

        def total(scope: Scope) -> float | None:
            numbers = [found for part in parts if (found := to_number(part(scope))) is not None]
            return sum(numbers) if numbers else None

        return total
    one = select(value)
    return lambda scope: to_number(one(scope))


def _compile_decode(path: str, how: object, items: tuple[str, ...], key: str) -> _Decode:
    if how not in DECODERS:
        raise MappingError(f"{key}.{path}", f"{how!r} is none of {', '.join(DECODERS)}")
    parent, _, name = path.rpartition(".")
    with _at(f"{key}.{path}"):
        return _Decode(
            f"{path} {how}",
            path,
            scope_of(path, items),
            compile_selector(parent or RECORD, items),
            name,
            DECODERS[str(how)],
        )


def _asks(events: Sequence[_Event]) -> bool:
    """Say whether any of some tables asks anything of the record."""
    return any(event.asks for event in events)


def _is_plain(events: Sequence[_Event]) -> bool:
    """Say whether tables ask nothing of the record any more."""
    is_chained = len({event.chain for event in events}) < len(events)
    return (not is_chained or bool(events[0].each)) and not any(
        event.early or event.late or any(decode.scope == RECORD for decode in event.decode)
        for event in events
    )


def _reduced(when: object, known: Table[str, str]) -> object:
    """Return a condition less what known values of selectors answer; None where they make it impossible."""
    if isinstance(when, list):
        alternatives = [item for item in (_reduced(item, known) for item in when) if item is not None]
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


def _answer(expected: object, text: str) -> bool | None:
    """Say whether a text is what a condition expects; None where it takes more to tell."""
    if isinstance(expected, dict):
        if "not" in expected:
            answer = _answer(expected["not"], text)
            return None if answer is None else not answer
        return expected.get("present")
    return text in expected if isinstance(expected, list) else text == expected


def _options(when: object, items: tuple[str, ...]) -> dict[str, frozenset[str | None]]:
    """Return which values of selectors of items can meet a condition, where it narrows them down."""
    if isinstance(when, list):
        found = [_options(item, items) for item in when]
        shared = set.intersection(*(set(item) for item in found)) if found else set()
        return {name: frozenset[str | None]().union(*(item[name] for item in found)) for name in shared}
    options: dict[str, frozenset[str | None]] = {}
    for name, expected in when.items() if isinstance(when, dict) else ():
        if not all(scope_of(path, items) in items for path in paths_of(name)):
            continue
        values = expected if isinstance(expected, list) else [expected]
        if all(isinstance(value, str) for value in values):
            options[name] = frozenset(values)
        elif expected == {"present": False}:
            options[name] = frozenset({None})
    return options


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

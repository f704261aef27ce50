"""Emission: how a table of a mapping becomes an event, and what it remembers, as lines of a function.

The values of a table are read, the taxonomy asked, ids and contents made digests, and all of it added to the
``Reading`` as one tuple. What is told by constants of the mapping is worked out here, once.
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from sentineld import kernel
from sentineld.declaration import OUTCOMES, SETTLED, EventTable
from sentineld.entropy import encode_canonical
from sentineld.event import Entity, Feature
from sentineld.expression import NEVER, NOTHING, Code, texts_of
from sentineld.features.intent import asked_in
from sentineld.instant import parse_iso
from sentineld.memory import MAX_TEXT, remember
from sentineld.names import MAX_NAME, Agents, Contents, Encoded, Keys, Names, clean, digest
from sentineld.reading import TracedEvent
from sentineld.rows import Facts
from sentineld.selector import to_text
from sentineld.values import to_instant, to_number

_MAX_ENTITIES = 16
#: Digits from which on a text can be no date, and those of nanoseconds since 2001.
_MIN_DIGITS, _NANO_DIGITS = 16, 19
#: Nanoseconds of that many digits.
_MIN_NANOS = 10**18
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

    @property
    def features(self) -> tuple[Feature, ...]:
        """What habits count of it, where learned detection decides."""


#: A tool's name and its arguments, to the class of the call; it changes and keeps none of them.
Classify: TypeAlias = Callable[[str, object], Call]


class Emission:
    """Writes the events of one format, by its name; ``factor``: microseconds of its unit of time, or None."""

    def __init__(self, name: str, classify: Classify, factor: float | None) -> None:
        self._nameless = name
        self._tables: dict[str, Any] = {
            "names": Names(),
            "agents": Agents(name),
            "encoded": Encoded(),
            "contents": Contents(),
        }
        self._globals: dict[str, Any] = {
            "classify": classify,
            **self._tables,
            # Asked first: `[...]` of a dictionary that makes what is missing takes three times as long.
            **{f"known_{what}": table.get for what, table in self._tables.items()},
            # Bound, for it is called for every event.
            "key_of": Keys(name).__call__,
            "time_of": _time_reader(factor),
            "digest": digest,
            "encode": encode_canonical,
            "join": b"".join,
            "clean": clean,
            "entities_of": _entities,
            "asked_in": asked_in,
            "remember": remember,
            "TracedEvent": TracedEvent,
        }

    def bind(self, code: Code) -> None:
        """Give a function the objects that its lines call."""
        for name, value in self._globals.items():
            code.bind_as(name, value)

    def take(self, code: Code, table: EventTable, *, is_traced: bool) -> None:
        """Write what becomes of a record, or an item of it, that meets the conditions of a table."""
        # An event tells of what was known before it; what it adds is for those behind it.
        settled = settled_in(table)
        values = table.values if table.emits else {name: table.values.get(name) for name in settled}
        with code.expecting((values, table.remember)):
            if table.emits:
                self._emit(code, table, is_traced=is_traced)
            elif is_traced:
                code.line(f"{code.use('trace')}.ignored.append({table.note or table.label!r})")
            for name in settled:
                self._settle(code, table.values, name)
            if table.remember:
                _remember(code, table)

    def _emit(self, code: Code, table: EventTable, *, is_traced: bool) -> None:
        values = table.values
        is_call = "type" not in values
        tool, has_tool = _tool(code, values, is_call=is_call)
        arguments = ""
        if "arguments" in values and not code.is_nothing(values["arguments"]):
            arguments = code.name("arguments")
            code.line(f"{arguments} = {code.value(values['arguments'])}")
        has_payload = is_traced or bool(values.get("meta"))
        metadata = _metadata(code, values.get("meta", {})) if has_payload else "{}"
        subject = f"{metadata} if {arguments} is None else {arguments}" if arguments else metadata
        event_type, entities, features = self._classify(
            code, values, tool, has_tool, subject, is_call=is_call
        )
        if "entities" in values:
            specs = values["entities"] if isinstance(values["entities"], list) else [values["entities"]]
            specs = [item for item in specs if not code.is_nothing(item.get("value"))]
            bound = code.bind(tuple((item["kind"], item["role"]) for item in specs), "specs")
            found = ", ".join([*(code.value(item.get("value")) for item in specs), ""])
            own = f"(*{entities}, *entities_of({bound}, ({found})))[:{_MAX_ENTITIES}]"
            entities = code.name("entities")
            code.line(f"{entities} = {own}")
        identity = ""
        if "id" in values and not code.is_nothing(values["id"]):
            identity = code.name("id")
            code.line(f"{identity} = {code.text(values['id'])}")
        what = tool if has_tool else event_type if has_tool is False else f"({tool} or {event_type})"
        if has_payload:
            payload, content = self._encoded(code, metadata, tool, has_tool, arguments, what)
        else:
            payload, content = self._assembled(code, tool, has_tool, arguments, what)
        pair = f"(key_of({identity}), {content}) if {identity} else None" if identity else "None"
        at, raw = self._time(code, values)
        session = self._named(code, values, "session", "names", "''")
        if not session.isidentifier() and session != "''":
            local = code.name("session")
            code.line(f"{local} = {session}")
            session = local
        agent = self._named(code, values, "agent", "agents", repr(self._nameless))
        own_role = self._named(code, values, "role", "names", "''")
        tokens = values.get("tokens", {})
        told = {
            "tool": self._in_table(code, "names", tool) if "tool" in values else "''",
            "role": f"{code.use('role')} or {own_role}",
            "call_id": _call_id(code, values, identity, tool, has_tool),
            "outcome": _outcome(code, values.get("outcome")),
            "entities": entities,
            "duration_ms": _duration(code, values.get("duration_ms"), at, raw),
            "input_tokens": _count(code, tokens.get("input")),
            "output_tokens": _count(code, tokens.get("output")),
            "session": session,
            "features": features,
            "asked": _asked(code, values.get("prompt")),
        }
        facts = ", ".join(told[name] for name in Facts._fields)
        code.line(
            f"{code.use('add')}((offset, {at}, {agent}, {event_type}, {payload}, {session}, {pair},"
            f" ({facts}), {_count(code, values.get('seq'))}, {is_call}))"
        )
        if is_traced:
            event = f"TracedEvent({table.label!r}, {identity or repr('')}, {metadata})"
            code.line(f"{code.use('trace')}.events.append({event})")

    def _settle(self, code: Code, values: Mapping[str, Any], name: str) -> None:
        """Write what tells of a call that it was carried out, or denied."""
        if code.is_nothing(values[name]):
            return
        call = code.name("call")
        code.line(f"{call} = {code.text(values[name])}")
        with code.block(f"if {call}:"):
            at, _ = self._time(code, values)
            agent = self._named(code, values, "agent", "agents", repr(self._nameless))
            session = self._named(code, values, "session", "names", "''")
            told = f"{at}, {agent}, {session}, {self._in_table(code, 'names', call)}, {name == 'denied'}"
            code.line(f"{code.use('settled')}.append((offset, {told}))")

    def _classify(
        self,
        code: Code,
        values: Mapping[str, Any],
        tool: str,
        has_tool: bool | None,
        subject: str,
        *,
        is_call: bool,
    ) -> tuple[str, str, str]:
        """Write the question to the taxonomy; return what holds the event's type, its entities and features.

        Features are those of calls alone: what a result says of its call has been told.
        """
        given = values.get("type")
        fixed = clean(given[1:]) if isinstance(given, str) and given.startswith("=") else ""
        call, entities = code.name("call"), code.name("entities")
        features = f"{call}.features" if is_call else "()"
        others = (
            []
            if given is None or code.is_nothing(given)
            else [self._in_table(code, "names", code.text(given))]
        )
        if has_tool:
            code.line(f"{call} = classify({tool}, {subject})")
            entities = f"{call}.entities"
            others.append(f"{call}.event_class")
        elif has_tool is None:
            with code.block(f"if {tool}:"):
                code.line(f"{call} = classify({tool}, {subject})")
                code.line(f"{entities}, {call} = {call}.entities, {call}.event_class")
            with code.block("else:"):
                code.line(f"{entities}, {call} = (), ''")
            others.append(call)
        else:
            entities = "()"
        if fixed:
            return repr(fixed), entities, features
        event_type = code.name("type")
        code.line(f"{event_type} = {' or '.join([*others, repr(_OTHER_TYPE)])}")
        return event_type, entities, features

    def _encoded(
        self, code: Code, metadata: str, tool: str, has_tool: bool | None, arguments: str, what: str
    ) -> tuple[str, str]:
        """Return a payload as its canonical JSON, and the digest of an event's content."""
        if has_tool:
            code.line(f"{metadata}['tool'] = {tool}")
        elif has_tool is None:
            with code.block(f"if {tool}:"):
                code.line(f"{metadata}['tool'] = {tool}")
        content = self._in_table(code, "contents", what)
        if arguments:
            with code.block(f"if {arguments} is not None:"):
                code.line(f"{metadata}['args'] = {arguments}")
            content = f"({content} if {arguments} is None else digest(encode([{what}, {arguments}])))"
        return f"encode({metadata}) if {metadata} else b''", content

    def _assembled(
        self, code: Code, tool: str, has_tool: bool | None, arguments: str, what: str
    ) -> tuple[str, str]:
        """Return the same of an event that has a tool and arguments at most: those are encoded once."""
        encoded = self._in_table(code, "encoded", tool) if has_tool is not False else ""
        alone = f"b'{{\"tool\":' + {encoded} + b'}}'"
        if has_tool is None:
            alone = f"({alone} if {tool} else b'')"
        elif has_tool is False:
            alone = "b''"
        content = self._in_table(code, "contents", what)
        if not arguments:
            return alone, content
        text = code.name("encoded")
        code.line(f"{text} = None if {arguments} is None else encode({arguments})")
        both = f"join((b'{{\"args\":', {text}, b',\"tool\":', {encoded}, b'}}'))"
        bare = f"join((b'{{\"args\":', {text}, b'}}'))"
        if has_tool is None:
            both = f"({both} if {tool} else {bare})"
        payload = f"({alone} if {text} is None else {both if has_tool is not False else bare})"
        subject = self._in_table(code, "encoded", what)
        whole = f"digest(join((b'[', {subject}, b',', {text}, b']')))"
        return payload, f"({content} if {text} is None else {whole})"

    def _named(self, code: Code, values: Mapping[str, Any], field: str, table: str, default: str) -> str:
        """Return an agent, a role or a session by the table that keeps its names."""
        value = values.get(field)
        if value is None or code.is_nothing(value):
            return default
        constant = code.constant(value)
        if constant is not None and table == "names":
            return repr(clean(constant))
        if table == "names" and all(map(_is_name, texts_of(value) or [""])):
            return code.text(value)
        if code.depth_of(value) < code.depth or code.is_shared(value, field):
            return code.once(value, field, lambda: self._in_table(code, table, code.text(value)))
        return self._in_table(code, table, code.text(value))

    def _in_table(self, code: Code, table: str, text: str) -> str:
        """Return what a table has for a text; the text itself is what gives it, or a constant."""
        with suppress(ValueError):
            return repr(self._tables[table][ast.literal_eval(text)])
        if text.isidentifier():
            return f"(known_{table}({text}) or {table}[{text}])"
        name = code.name("text")
        return f"(known_{table}({name} := {text}) or {table}[{name}])"

    @staticmethod
    def _time(code: Code, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return locals that hold an event's time, and what it was read from (empty: it is not at hand)."""
        value = values.get("time")
        if value is None or code.is_nothing(value):
            return "None", ""
        if code.depth_of(value) < code.depth or code.is_shared(value, "at"):
            return code.once(value, "at", lambda: f"time_of({code.raw(value)})"), ""
        at, raw = code.name("at"), code.name("time")
        code.line(f"{raw} = {code.raw(value)}")
        code.line(f"{at} = time_of({raw})")
        return at, raw


#: Fields that events of one record have in common, and what their locals are called.
_COMMON = {"time": "at", "agent": "agent", "session": "session", "role": "role"}


def share_common(code: Code, tables: Sequence[EventTable]) -> None:
    """Take notice of the fields that events of a record and events of its items have in common."""
    telling = [table for table in tables if table.emits or settled_in(table)]
    for field, what in _COMMON.items():
        of_record = [table.values.get(field) for table in telling if not table.each]
        of_items = [table.values.get(field) for table in telling if table.each]
        for number, value in enumerate(of_items):
            if value is not None and value in of_record and value not in of_items[:number]:
                code.share(value, what)


def _is_name(text: str) -> bool:
    return text != "" and clean(text) == text


def settled_in(table: EventTable) -> tuple[str, ...]:
    """Return the fields of a table that tell what became of a call."""
    return tuple(name for name in SETTLED if name in table.values)


def _tool(code: Code, values: Mapping[str, Any], *, is_call: bool) -> tuple[str, bool | None]:
    """Return what holds the tool, and whether there is one; None: that shows when a record is read."""
    value = values.get("tool")
    if value is None or code.is_nothing(value):
        return ("''", False) if not is_call else (repr(_UNNAMED), True)
    if isinstance(value, str) and value.startswith("=") and len(value) > 1:
        return repr(value[1:]), True
    tool = code.name("tool")
    code.line(f"{tool} = {code.text(value)}" + (f" or {_UNNAMED!r}" if is_call else ""))
    return tool, True if is_call else None


def _metadata(code: Code, meta: Mapping[str, object]) -> str:
    metadata = code.name("metadata")
    code.line(f"{metadata} = {{}}")
    for name, value in meta.items():
        if code.is_nothing(value):
            continue
        test, found = code.is_there(value)
        with code.block(f"if {test}:"):
            code.line(f"{metadata}[{name!r}] = {found}")
    return metadata


def _call_id(code: Code, values: Mapping[str, Any], identity: str, tool: str, has_tool: bool | None) -> str:
    value = values.get("call_id")
    parts = [] if value is None or code.is_nothing(value) else [code.text(value)]
    if identity and has_tool is not False:
        parts.append(identity if has_tool else f"({identity} if {tool} else '')")
    if not parts:
        return "''"
    found = code.name("call_id")
    code.line(f"{found} = {' or '.join(parts)}")
    with code.block(f"if not (len({found}) <= {MAX_NAME} and {found}.isascii() and {found}.isprintable()):"):
        code.line(f"{found} = clean({found})")
    return found


def _outcome(code: Code, value: object) -> str:
    if value is None:
        return "''"
    if isinstance(value, dict):
        asked = [(name, code.condition(value[name])) for name in OUTCOMES if name in value]
        tests = [f"{name!r} if {test} else " for name, test in asked if test != NEVER]
        return f"({''.join(tests)}'')"
    if isinstance(value, str) and value.startswith("="):
        return repr(value[1:] if value[1:] in OUTCOMES else "")
    found = code.name("outcome")
    return f"({found} if ({found} := {code.text(value)}) in {OUTCOMES!r} else '')"


def _duration(code: Code, value: object, at: str, raw: str) -> str:
    """Return a duration in milliseconds; ``raw`` is what the time ``at`` was read from."""
    if value is None:
        return NOTHING
    if not (isinstance(value, dict) and "from" in value):
        return code.number(value)
    if code.is_nothing(value["from"]) or code.is_nothing(value.get("to")):
        return NOTHING
    told, start, end = code.name("told"), code.name("start"), code.name("end")
    code.line(f"{told} = {code.raw(value['from'])}")
    # It often begins when the event happens.
    same = f"{at} if {told} is {raw} else " if raw else ""
    code.line(f"{start} = {same}time_of({told})")
    code.line(f"{end} = time_of({code.raw(value.get('to'))})")
    is_none = f"{start} is None or {end} is None or {end} < {start}"
    return f"(None if {is_none} else ({end} - {start}) / 1000)"


def _count(code: Code, value: object) -> str:
    return NOTHING if value is None else code.count(value)


def _asked(code: Code, value: object) -> str:
    return "()" if value is None or code.is_nothing(value) else f"asked_in({code.raw(value)})"


def _remember(code: Code, table: EventTable) -> None:
    # All of it is read before anything is remembered.
    found: list[tuple[str, str, str]] = []
    for name, key, value in table.remember:
        if code.is_nothing(value) or (key is not None and code.is_nothing(key)):
            continue
        text, under = code.name("text"), ""
        if key is not None:
            under = code.name("key")
            code.line(f"{under} = {code.text(key)}")
        code.line(f"{text} = {code.text(value)}")
        found.append((name, under, text))
    for name, under, text in found:
        kept = code.use("kept")
        # Of values by key the latest ones are kept, so it matters that this one was seen again.
        is_new = under or f"{kept}.get({name!r}, EMPTY).get('') != {text}[:{MAX_TEXT}]"
        with code.block(f"if {text} and {is_new}:"):
            code.line(f"remember({kept}, {name!r}, {under or repr('')}, {text})")
            told = f"(offset, {name!r}, {under or repr('')}, {text})"
            code.line(f"{code.use('remembered')}.append({told})")


def _entities(specs: Iterable[tuple[str, str]], values: Iterable[object]) -> list[Entity]:
    entities: list[Entity] = []
    for (kind, role), value in zip(specs, values, strict=True):
        for item in value[:_MAX_ENTITIES] if isinstance(value, list) else [value]:
            text = clean(to_text(item))
            if text:
                entities.append(Entity(kind, role, text))
    return entities


def _time_reader(factor: float | None) -> Callable[[object], int | None]:
    """Return what reads a time as microseconds; None for what is none."""
    is_open = factor is None

    def time_of(value: object) -> int | None:
        if type(value) is str:
            if kernel.compiled is not None:
                found: int | None = kernel.compiled.instant(value)
                if found is not None:
                    return found
            # Digits alone are no date from here on: asking takes longer than all else.
            if len(value) >= _MIN_DIGITS and value.isdecimal():
                if is_open and len(value) == _NANO_DIGITS:
                    number = int(value)
                    if number >= _MIN_NANOS:
                        return number // 1000
            else:
                try:
                    return parse_iso(value)
                except ValueError:
                    pass
            return to_instant(to_number(value), factor)
        return None if value is None else to_instant(value, factor)

    return time_of

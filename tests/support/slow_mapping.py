"""Reading records as docs/mapping.md says it: table by table and value by value, whatever it takes."""

import json
from typing import Any

from sentineld.condition import compile_condition, compile_value
from sentineld.declaration import OUTCOMES, Declaration, Decode, EventTable, defined
from sentineld.decode import Decoded, encode_element
from sentineld.entropy import entropy_units, metadata_entropy
from sentineld.event import Entity
from sentineld.features.intent import asked_in
from sentineld.instant import parse_iso
from sentineld.mapping import FileContext, Mapping, agent_id
from sentineld.memory import remember
from sentineld.names import Keys, clean, digest
from sentineld.rows import Remembered, Rows, Settled
from sentineld.selector import Scope, compile_selector, to_text
from sentineld.values import DECODERS, to_count, to_instant, to_number, total

MAX_ITEMS = 20_000


class SlowMapping:
    """A source, read slowly; ``classify`` is that of the mapping that it is compared with."""

    def __init__(self, table: dict[str, Any], classify: Any) -> None:
        self.name = table["name"]
        self.parts = Mapping(table, classify).parts
        self.classify = classify
        self.factor = {"": None, "s": 1_000_000, "ms": 1000, "us": 1, "ns": 0.001}[table.get("time_unit", "")]
        self.declared = Declaration(defined(table, "source"), "source")

    def read(self, record: Any, offset: int, context: FileContext) -> "Outcome":
        """Read one record; it is changed where values are decoded."""
        return Outcome(self, record, offset, context)


class Outcome:
    """What became of a record: ``rows``, one tuple an event, what is ``unknown`` and ``remembered``."""

    def __init__(self, form: SlowMapping, record: Any, offset: int, context: FileContext) -> None:
        self.form, self.offset, self.context = form, offset, context
        file = {"path": context.path, "name": context.path.rpartition("/")[2], "owner": context.owner}
        parts = form.parts(context.path) or {}
        self.scope = Scope({"record": record, "path": parts, "file": file}, context.memory)
        self.rows: list[tuple[Any, ...]] = []
        self.unknown: list[tuple[int, str]] = []
        self.remembered: list[Remembered] = []
        self.settled: list[Settled] = []
        self.decoded: set[Decode] = set()
        self.is_known = False
        self.budget = MAX_ITEMS
        groups: dict[str, list[EventTable]] = {}
        for table in form.declared.tables:
            groups.setdefault(table.each_key, []).append(table)
        for members in groups.values():
            self._group(members)
        if not self.is_known:
            self.unknown.append((offset, self._kind("record")))

    def _group(self, members: list[EventTable]) -> None:
        chosen: list[EventTable] = []
        for table in members:
            is_taken = chosen and chosen[-1].chain == table.chain and not table.each
            if not is_taken and self._meets(table):
                chosen.append(table)
        if not chosen:
            return
        each = chosen[0].each
        self.is_known |= not each or any(table.asks for table in chosen)
        if not each:
            for table in chosen:
                self._take(table)
        elif not self._walk(chosen, each):
            self.unknown.append((self.offset, "too many items"))
            self.budget = 0

    def _meets(self, table: EventTable) -> bool:
        if not self._all(table.early, table):
            return False
        for decode in table.decodes:
            if decode.scope == "record" and decode not in self.decoded:
                self.decoded.add(decode)
                self._decode(decode, table)
        return self._all(table.late, table)

    def _all(self, conditions: Any, table: EventTable) -> bool:
        return all(
            compile_condition(condition, table.items, self.form.declared.remembered).test(self.scope)
            for condition in conditions
        )

    def _decode(self, decode: Decode, table: EventTable) -> None:
        parent, _, name = decode.path.rpartition(".")
        holder = compile_selector(parent or "record", table.items)(self.scope)
        if isinstance(holder, dict) and holder.get(name) is not None:
            holder[name] = DECODERS[decode.how](holder[name])

    def _walk(self, chosen: list[EventTable], each: Any) -> bool:
        """Go through items; False where there are too many."""
        ((alias, path), *inner) = each
        table = chosen[0]
        found = compile_selector(path, table.items, self.form.declared.remembered)(self.scope)
        self.is_known |= found is not None
        for item in found if isinstance(found, list) else [found] if isinstance(found, dict) else []:
            if not inner:
                self.budget -= 1
                if self.budget < 0:
                    return False
            self.scope.names[alias] = item
            for decode in dict.fromkeys(d for t in chosen for d in t.decodes if d.scope == alias):
                self._decode(decode, table)
            if inner and not self._walk(chosen, inner):
                return False
            if not inner:
                self._item(chosen, alias)
        self.scope.names.pop(alias, None)
        return True

    def _item(self, chosen: list[EventTable], alias: str) -> None:
        met = -1
        for table in chosen:
            if table.chain != met and self._all(table.of_items, table):
                met = table.chain
                self._take(table)
        if met < 0 and alias in self.form.declared.kinds:
            self.unknown.append((self.offset, f"{alias}:{self._kind(alias)}"))

    def _kind(self, name: str) -> str:
        declared = self.form.declared
        if name not in declared.kinds:
            return "(unnamed)"
        select = compile_value(declared.kinds[name], declared.aliases, declared.remembered)
        return clean(to_text(select(self.scope))) or "(unnamed)"

    def _take(self, table: EventTable) -> None:
        if table.emits:
            self._emit(table)
        for name in ("done", "denied"):
            call = self._text(table.values.get(name), table)
            if call:
                agent = self._text(table.values.get("agent"), table)
                self.settled.append(
                    Settled(
                        self.offset,
                        self._time(self._value(table.values.get("time"), table)),
                        agent_id(agent) if agent else self.form.name,
                        clean(self._text(table.values.get("session"), table)),
                        clean(call),
                        name == "denied",
                    )
                )
        texts = [
            (name, key is None, self._text(key, table), self._text(value, table))
            for name, key, value in table.remember
        ]
        for name, has_no_key, key, text in texts:
            known = self.context.memory.get(name, {}).get("")
            if text and (has_no_key or key) and (key or known != text[:512]):
                remember(self.context.memory, name, key, text)
                self.remembered.append(Remembered(self.offset, name, key, text))

    def _value(self, value: Any, table: EventTable) -> Any:
        if value is None:
            return None
        return compile_value(value, table.items, self.form.declared.remembered)(self.scope)

    def _text(self, value: Any, table: EventTable) -> str:
        return to_text(self._value(value, table))

    def _number(self, value: Any, table: EventTable) -> float | None:
        if isinstance(value, dict) and "sum" in value:
            return total([self._number(part, table) for part in value["sum"]])
        return to_number(self._value(value, table))

    def _time(self, value: Any) -> int | None:
        if isinstance(value, str):
            try:
                return parse_iso(value)
            except ValueError:
                value = to_number(value)
        return to_instant(value, self.form.factor)

    def _emit(self, table: EventTable) -> None:
        values = table.values
        names = ("tool", "type", "id", "call_id", "session", "role", "agent")
        text = {name: self._text(values.get(name), table) for name in names}
        is_call = "type" not in values
        tool = text["tool"] or ("unnamed" if is_call else "")
        arguments = self._value(values.get("arguments"), table)
        payload = {}
        for name, value in values.get("meta", {}).items():
            found = self._value(value, table)
            if found is not None:
                payload[name] = found
        event_type, entities = clean(text["type"]), ()
        if tool:
            call = self.form.classify(tool, dict(payload) if arguments is None else arguments)
            event_type, entities = event_type or call.event_class, call.entities
            payload["tool"] = tool
        event_type = event_type or "other"
        if arguments is not None:
            payload["args"] = arguments
        content = digest(encode_element([tool or event_type, arguments]))
        identity = (Keys(self.form.name)(text["id"]), content) if text["id"] else None
        facts = (
            clean(tool),
            self.context.role or clean(text["role"]),
            clean(text["call_id"] or (text["id"] if tool else "")),
            self._outcome(values.get("outcome"), table),
            (*entities, *self._entities(values.get("entities", []), table))[:16],
            self._duration(values.get("duration_ms"), table),
            to_count(self._number(values.get("tokens", {}).get("input"), table)),
            to_count(self._number(values.get("tokens", {}).get("output"), table)),
            asked_in(self._value(values.get("prompt"), table)),
        )
        self.rows.append(
            (
                self.offset,
                self._time(self._value(values.get("time"), table)),
                agent_id(text["agent"]) if text["agent"] else self.form.name,
                event_type,
                entropy_units(metadata_entropy(payload)) if payload else 0,
                clean(text["session"]),
                identity,
                facts,
                to_count(self._number(values.get("seq"), table)),
                is_call,
            )
        )

    def _outcome(self, value: Any, table: EventTable) -> str:
        if isinstance(value, dict):
            return next((name for name in OUTCOMES if name in value and self._all([value[name]], table)), "")
        found = self._text(value, table)
        return found if found in OUTCOMES else ""

    def _duration(self, value: Any, table: EventTable) -> float | None:
        if isinstance(value, dict) and "from" in value:
            start = self._time(self._value(value["from"], table))
            end = self._time(self._value(value.get("to"), table))
            return None if start is None or end is None or end < start else (end - start) / 1000
        return self._number(value, table)

    def _entities(self, specs: Any, table: EventTable) -> list[Entity]:
        result = []
        for spec in specs if isinstance(specs, list) else [specs]:
            found = self._value(spec["value"], table)
            texts = [clean(to_text(item)) for item in (found[:16] if isinstance(found, list) else [found])]
            result += [Entity(spec["kind"], spec["role"], text) for text in texts if text]
        return result


def compare(quick: Mapping, slow: SlowMapping, records: list[dict[str, Any]], role: str = "") -> None:
    """Read records in both ways, one by one and all at once."""
    copies = [json.loads(json.dumps(records)) for _ in range(3)]
    contexts = [FileContext("/x/-p/a.jsonl", 1000, role) for _ in range(3)]
    rows, _ = quick.rows(Decoded(copies[0], list(range(len(records))), [], []), contexts[0])
    expected = [slow.read(record, n, contexts[1]) for n, record in enumerate(copies[1])]
    traced = [quick.trace(record, n, contexts[2])[0] for n, record in enumerate(copies[2])]
    assert _plain(rows) == [row for one in traced for row in _plain(one)]
    assert _plain(rows) == [row for one in expected for row in one.rows]
    assert rows.unknown == [item for one in expected for item in one.unknown]
    assert rows.unknown == [item for one in traced for item in one.unknown]
    assert rows.remembered == [item for one in expected for item in one.remembered]
    assert rows.settled == [item for one in expected for item in one.settled]
    assert rows.settled == [item for one in traced for item in one.settled]
    assert contexts[0].memory == contexts[1].memory == contexts[2].memory
    assert rows.ignored == sorted(set(range(len(records))) - set(rows.offsets))


def _plain(rows: Rows) -> list[tuple[Any, ...]]:
    return [
        (
            offset,
            rows.at_us[number],
            rows.agent_ids[number],
            rows.event_types[number],
            rows.entropies[number],
            rows.sessions.get(number, ""),
            rows.identities.get(number),
            (*rows.facts[number][:8], rows.facts[number].asked),
            rows.seqs.get(number),
            number in rows.tool_calls,
        )
        for number, offset in enumerate(rows.offsets)
    ]

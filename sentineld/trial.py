"""Trial: one file, read as the daemon reads it, with what became of each record and why.

The reading is the line's own: ``Tail`` frames, ``Intake`` decodes, the format makes rows, ``Trust`` says
whose they are. Only the last step is another: records are read one by one and told of, and nothing is
judged or stored. Memory is bounded, whatever the file's size.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sentineld.batch import Part
from sentineld.clock import now_us
from sentineld.content import Claims
from sentineld.credentials import is_secret_name
from sentineld.decode import Decoded, Record, Reject
from sentineld.event import event_class
from sentineld.evidence import Trouble
from sentineld.framing import DOCUMENT
from sentineld.identity import Source
from sentineld.instant import iso
from sentineld.intake import Intake, Items
from sentineld.lines import Chunk
from sentineld.mapping import FileContext, Trace, TracedEvent
from sentineld.masking import MASK, mask
from sentineld.native import native_metadata
from sentineld.recognition import Formats
from sentineld.rows import Facts, Rows
from sentineld.tail import Tail
from sentineld.trust import Trust

#: What can become of a record.
EVENTS, DUPLICATE, IGNORED, UNKNOWN, REJECTED = "events", "duplicate", "ignored", "unknown", "rejected"
FATES = (EVENTS, DUPLICATE, IGNORED, UNKNOWN, REJECTED)

#: Record ids that are remembered; the oldest leave first.
_MAX_SEEN = 1 << 20
#: Names of one kind that are counted apart; further ones are counted under ``_OTHERS``.
_MAX_NAMES = 1000
_OTHERS = "(others)"
#: Characters of a payload, of a text in it, and of a rejected record that are shown.
_PAYLOAD_CHARS, _TEXT_CHARS = 400, 160
_MAX_MEMBERS, _MAX_DEPTH = 24, 4
_BLANK = "blank line"
_NO_EVENT = "no event"


@dataclass(slots=True)
class Summary:
    """Counts over a whole file: ``fates`` of records; events and tool calls without duplicates.

    ``ignored`` counts by the note of the table, ``unknown`` by name (items of records too), ``rejected`` by
    reason. ``conflicts`` are events whose id another one with other content had.
    """

    fates: Counter[str] = field(default_factory=Counter)
    events: int = 0
    tool_calls: int = 0
    by_class: Counter[str] = field(default_factory=Counter)
    by_type: Counter[str] = field(default_factory=Counter)
    agents: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    conflicts: int = 0
    timeless: int = 0

    @property
    def records(self) -> int:
        """All records, with what could not be read as one."""
        return self.fates.total()


class Trial:
    """Reads one regular file. ``own`` is the format to use whatever is recognised (empty: none).

    ``limit`` is how many records are told of in detail (0: all); every one is counted.
    """

    def __init__(
        self,
        path: str,
        formats: Formats,
        trust: Trust,
        claims: Claims,
        *,
        line_bytes: int,
        own: str = "",
        limit: int = 0,
    ) -> None:
        self.path = path
        self.own = own
        self.limit = limit
        self.summary = Summary()
        #: The format in use and why; ``recognised`` is what the daemon would use.
        self.recognised, self.recognised_why = "", "it holds no record yet"
        self.format, self.why = own, "it is the one that --mapping declares" if own else self.recognised_why
        self.framing = ""
        self.unread_bytes = 0
        self.troubles: list[Trouble] = []
        tail = Tail([path], lambda: 1, self.troubles.append, now_us, line_bytes=line_bytes, claims=claims)
        tail.is_final = True
        self._reader = _Reader(self, tail, formats, trust)
        self._seen: dict[bytes, bytes] = {}

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield what became of each record, in the order of the file, up to ``limit``; count all of them."""
        tail = self._reader.tail
        try:
            tail.scan()
            for source in tail.sources():
                self.framing = source.kind
            while (batch := self._reader.live()) or self._reader.is_full:
                for part in batch.parts:
                    # What was refused as a whole never came to its records.
                    self._reader.tell_rejects(part)
                yield from self._reader.take()
                for _, source in batch.sources.values():
                    tail.accept(source)
            self.unread_bytes = sum(
                max(0, tail.size(source) - source.pos) for source in tail.sources() if source.kind != DOCUMENT
            )
        finally:
            tail.close()

    def count_event(self, rows: Rows, number: int, name: str) -> str:
        """Count an event; returns ``duplicate``, ``conflict`` or nothing."""
        summary = self.summary
        state = ""
        identity = rows.identities.get(number)
        if identity is not None:
            known = self._seen.get(identity[0])
            if known == identity[1]:
                summary.duplicates += 1
                return "duplicate"
            if known is not None:
                summary.conflicts += 1
                state = "conflict"
            elif len(self._seen) >= _MAX_SEEN:
                del self._seen[next(iter(self._seen))]
            self._seen[identity[0]] = identity[1]
        facts = rows.facts.get(number, Facts())
        summary.events += 1
        summary.tool_calls += number in rows.tool_calls
        summary.by_class[name] += 1
        _count(summary.by_type, rows.event_types[number])
        _count(summary.agents, rows.agent_ids[number])
        if facts.outcome:
            summary.outcomes[facts.outcome] += 1
        summary.timeless += rows.at_us[number] is None
        return state


class _Reader(Intake):
    """An intake that tells of each record instead of filling parts with rows."""

    def __init__(self, trial: Trial, tail: Tail, formats: Formats, trust: Trust) -> None:
        super().__init__(tail, formats, trust)
        self._trial = trial
        self._context: FileContext | None = None
        self._told: list[dict[str, Any]] = []
        self._chunk: Chunk | None = None
        self._line = 1

    def take(self) -> list[dict[str, Any]]:
        """Return, once, what was told of in detail."""
        told, self._told = self._told, []
        return told

    def begin(self, chunk: Chunk, *, is_history: bool) -> tuple[Part, Decoded]:
        """Remember the bytes: lines are numbered by them."""
        self._chunk = chunk
        return super().begin(chunk, is_history=is_history)

    def decode_at_once(self, chunk: Chunk, *, is_history: bool) -> None:
        """Every record is looked at by itself."""

    def fill(self, part: Part, decoded: Decoded, source: Source) -> None:
        """Tell of decoded records, each with what came out of it."""
        self._recognise(part, decoded, source)
        if self._context is None:
            role = self.trust.belief(source.path, part.owner).role
            self._context = FileContext(source.path, part.owner, role)
        items: list[tuple[int, Record | Reject | None]] = [
            *zip(decoded.offsets, decoded.records, strict=True),
            *((item.offset, item) for item in (*part.rejects, *decoded.rejects)),
            *((offset, None) for offset in decoded.ignored),
        ]
        part.rejects = []
        items.sort(key=lambda item: item[0])
        lines = self._lines([offset for offset, _ in items])
        for (offset, item), line in zip(items, lines, strict=True):
            self._tell(offset, line, item, source.path, part)

    @contextmanager
    def setting_aside(self, _source: Source) -> Iterator[None]:
        """See ``sift``."""
        yield

    def sift(self, part: Part, items: Items, source: Source) -> Decoded:  # noqa: ARG002 (as it is there)
        """Whoever tries a mapping wants to see where sentineld fails."""
        raise part.failure or AssertionError

    def tell_rejects(self, part: Part) -> None:
        """Tell of what was refused before any record could be made of it."""
        for item in part.rejects:
            self._tell(item.offset, None, item, self._trial.path, part)
        part.rejects = []

    def _recognise(self, part: Part, decoded: Decoded, source: Source) -> None:
        trial = self._trial
        if not trial.recognised:
            named = self.trust.belief(source.path, part.owner).format
            if named and not self.formats.forced:
                trial.recognised, trial.recognised_why = named, "a rule of [[telemetry.sources]] names it"
            elif decoded.records:
                trial.recognised, trial.recognised_why = self.formats.explain(source.path, decoded.records)
        if not trial.own:
            trial.format, trial.why = trial.recognised, trial.recognised_why
        part.format = trial.recognised

    def _lines(self, offsets: list[int]) -> list[int | None]:
        """Return the number of the line in which each offset lies; none in a document."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return [None] * len(offsets)
        length = chunk.end - chunk.start
        data = chunk.raw[-length:] if chunk.raw else b""
        numbers: list[int | None] = []
        at = 0
        for offset in offsets:
            self._line += data.count(b"\n", at, offset - chunk.start)
            at = offset - chunk.start
            numbers.append(self._line)
        self._line += data.count(b"\n", at)
        return numbers

    def _tell(
        self, offset: int, line: int | None, item: Record | Reject | None, path: str, part: Part
    ) -> None:
        trial, summary = self._trial, self._trial.summary
        told: dict[str, Any] = {"record": summary.records + 1, "line": line, "offset": offset}
        wants = not trial.limit or summary.records < trial.limit
        if item is None:
            summary.fates[IGNORED] += 1
            _count(summary.ignored, _BLANK)
            told |= _fate(IGNORED, notes=[_BLANK])
        elif isinstance(item, Reject):
            told |= self._refuse(item)
        else:
            told |= self._read(item, offset, path, part, wants=wants)
        if wants:
            self._told.append(told)

    def _refuse(self, item: Reject) -> dict[str, Any]:
        self._trial.summary.fates[REJECTED] += 1
        self._trial.summary.rejected[item.reason] += 1
        head = mask(item.head.decode("utf-8", "replace"))
        return _fate(REJECTED, reason=item.reason, detail=mask(item.detail), text=_cut(head, _TEXT_CHARS))

    def _read(self, record: Record, offset: int, path: str, part: Part, *, wants: bool) -> dict[str, Any]:
        trial, summary, context = self._trial, self._trial.summary, self._context
        assert context is not None
        mapping = self.formats.mapping(trial.format)
        trace = Trace()
        if mapping is not None:
            rows, trace = mapping.trace(record, offset, context)
        else:
            agent = self.trust.belief(path, part.owner).agent
            rows, misfits = self.formats.native.rows(Decoded([record], [offset], [], []), agent)
            if misfits:
                return self._refuse(misfits[0])
            payload = native_metadata(record)
            trace.events.append(TracedEvent("", _native_id(record), payload))
        self.trust.apply(rows, path, part.owner)
        events = []
        for number in range(len(rows)):
            name = event_class(rows.event_types[number])
            state = trial.count_event(rows, number, name)
            events.append(
                _event(rows, number, name, state, trace.events[number]) if wants else {"state": state}
            )
        unknown = [name for _, name in rows.unknown]
        for name in unknown:
            _count(summary.unknown, name)
        fate = EVENTS if any(event["state"] != DUPLICATE for event in events) else DUPLICATE
        if not events:
            fate = UNKNOWN if unknown else IGNORED
        notes = list(dict.fromkeys(trace.ignored))
        if fate == IGNORED:
            notes = notes or [_NO_EVENT]
            _count(summary.ignored, notes[0])
        summary.fates[fate] += 1
        return _fate(fate, events=events, notes=notes, unknown=list(dict.fromkeys(unknown)))


def _fate(fate: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (plain data)
    empty: dict[str, Any] = {"events": [], "notes": [], "unknown": [], "reason": "", "detail": "", "text": ""}
    return {"fate": fate, **empty, **more}


def _event(rows: Rows, number: int, name: str, state: str, traced: TracedEvent) -> dict[str, Any]:
    facts = rows.facts.get(number, Facts())
    at = rows.at_us[number]
    tool = facts.tool or traced.payload.get("tool")
    return {
        "table": traced.label,
        "type": rows.event_types[number],
        "class": name,
        "is_tool_call": number in rows.tool_calls,
        "tool": tool if isinstance(tool, str) else "",
        "agent": rows.agent_ids[number],
        "claimed": rows.forged.get(number, ""),
        "role": facts.role,
        "session": rows.sessions.get(number, ""),
        "time": None if at is None else iso(at),
        "id": traced.id,
        "call_id": facts.call_id,
        "state": state,
        "outcome": facts.outcome,
        "duration_ms": facts.duration_ms,
        "input_tokens": facts.input_tokens,
        "output_tokens": facts.output_tokens,
        "entities": [
            {"kind": item.kind, "role": item.role, "value": mask(item.value)} for item in facts.entities
        ],
        # Every prompt has one hash that stands for no name.
        "asked": len(facts.asked) - 1 if facts.asked else None,
        "payload": shortened(traced.payload),
    }


def shortened(payload: dict[str, Any]) -> str:
    """Return a payload as JSON, without its secrets and cut to what people can read."""
    return _cut(mask(json.dumps(_short(payload, 0), ensure_ascii=False, default=str)), _PAYLOAD_CHARS)


def _short(value: object, depth: int) -> object:
    if isinstance(value, str):
        return _cut(mask(_cut(value, 4 * _TEXT_CHARS)), _TEXT_CHARS)
    if isinstance(value, dict):
        if depth >= _MAX_DEPTH:
            return "{...}" if value else {}
        shown = {
            _cut(key, _TEXT_CHARS): MASK
            if isinstance(inner, str) and is_secret_name(key)
            else _short(inner, depth + 1)
            for key, inner in list(value.items())[:_MAX_MEMBERS]
        }
        return shown | ({"...": len(value) - _MAX_MEMBERS} if len(value) > _MAX_MEMBERS else {})
    if isinstance(value, list):
        if depth >= _MAX_DEPTH:
            return "[...]" if value else []
        more = ["..."] if len(value) > _MAX_MEMBERS else []
        return [*(_short(item, depth + 1) for item in value[:_MAX_MEMBERS]), *more]
    return value


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "..."


def _count(counts: Counter[str], name: str) -> None:
    counts[name if name in counts or len(counts) < _MAX_NAMES else _OTHERS] += 1


def _native_id(record: Record) -> str:
    found = record.get("event_id") or record.get("id")
    return str(found)[:_TEXT_CHARS] if isinstance(found, str | int) else ""

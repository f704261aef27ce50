"""Reading samples by a built-in format, as rows and as plain JSON."""

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from sentineld.decode import Decoded
from sentineld.mapping import FileContext, Mapping
from sentineld.mapping_files import parse_mappings
from sentineld.memory import Memory
from sentineld.rows import Rows
from sentineld.taxonomy import Taxonomy

SAMPLES = Path(__file__).parent.parent / "data" / "formats"


class Event(NamedTuple):
    """One event as a detector gets it; ``identity`` is the digest of its id and of its content."""

    offset: int
    agent: str
    session: str
    at_us: int | None
    type: str
    tool: str
    role: str
    outcome: str
    call_id: str
    tokens: tuple[int | None, int | None]
    identity: tuple[bytes, bytes] | None
    is_call: bool


class Reading(NamedTuple):
    """What a file holds: all events, those that no earlier one tells of already, and what is unknown."""

    all: list[Event]
    events: list[Event]
    unknown: list[str]
    rows: Rows

    @property
    def calls(self) -> list[Event]:
        return [event for event in self.events if event.is_call]

    def of(self, event_type: str) -> list[Event]:
        return [event for event in self.events if event.type == event_type]


@cache
def form(name: str) -> Mapping:
    data = (resources.files("sentineld") / "formats" / f"{name}.toml").read_bytes()
    (mapping,) = parse_mappings(data, f"{name}.toml", Taxonomy().classify)
    return mapping


def samples(name: str) -> list[Path]:
    found = sorted(path for path in (SAMPLES / name).rglob("*") if path.suffix in (".jsonl", ".json", ".log"))
    assert found
    return found


def label(path: Path) -> str:
    return "/".join(path.parts[-2:])


def plain(path: Path) -> list[dict[str, Any]]:
    """Return all values of a file, one behind the other, those of arrays each by itself."""
    text, decoder, found, at = path.read_text().strip(), json.JSONDecoder(), [], 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found += value if isinstance(value, list) else [value]
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def read(
    name: str, records: list[Any], path: str = "/samples/a.jsonl", memory: Memory | None = None
) -> Reading:
    """Read records that one file holds; what comes again (same id, same content) is dropped as live."""
    copies = json.loads(json.dumps(records))
    context = FileContext(path, 1000, memory={} if memory is None else memory)
    rows, rejects = form(name).rows(Decoded(copies, list(range(len(copies))), [], []), context)
    assert not rejects
    calls = set(rows.tool_calls)
    found = []
    for number, offset in enumerate(rows.offsets):
        facts = rows.facts[number]
        found.append(
            Event(
                offset,
                rows.agent_ids[number],
                rows.sessions.get(number, ""),
                rows.at_us[number],
                rows.event_types[number],
                facts.tool,
                facts.role,
                facts.outcome,
                facts.call_id,
                (facts.input_tokens, facts.output_tokens),
                rows.identities.get(number),
                number in calls,
            )
        )
    seen: set[tuple[bytes, bytes]] = set()
    events = []
    for event in found:
        if event.identity is None or event.identity not in seen:
            events.append(event)
        if event.identity is not None:
            seen.add(event.identity)
    return Reading(found, events, [name for _, name in rows.unknown], rows)


def read_file(name: str, path: Path) -> Reading:
    return read(name, plain(path), str(path))


def conflicts(reading: Reading) -> int:
    """Count ids that stand for several contents."""
    contents: dict[bytes, set[bytes]] = {}
    for event in reading.all:
        if event.identity is not None:
            contents.setdefault(event.identity[0], set()).add(event.identity[1])
    return sum(len(of_one) > 1 for of_one in contents.values())


def mutated(record: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Return a record with one value somewhere inside replaced by another kind of value."""
    copy: dict[str, Any] = json.loads(json.dumps(record))
    target: Any = copy
    for _ in range(8):
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(target[key], dict | list) or data.draw(st.booleans()):
            target[key] = data.draw(st.sampled_from([None, 7, "", "x", [], {}, [[]], True, 1e300, -1]))
            break
        target = target[key]
    return copy

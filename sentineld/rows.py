"""Rows: events on their way from records to agents, column by column, with the facts that some carry."""

from dataclasses import dataclass, field
from typing import NamedTuple

from sentineld.event import ERROR, OK, OUTCOMES, REFUSED, Facts
from sentineld.ids import is_agent_id

__all__ = [
    "ERROR",
    "OK",
    "OUTCOMES",
    "REFUSED",
    "Facts",
    "Remembered",
    "Rows",
    "Settled",
    "is_agent_id",
]


class Remembered(NamedTuple):
    """One thing that a record adds to its file's memory: ``key`` is empty where ``name`` has one value.

    ``offset`` is that of the record: what stands before it did not know it.
    """

    offset: int
    name: str
    key: str
    value: str


class Settled(NamedTuple):
    """What became of one call of a tool: it was carried out without an error, or a gate denied it.

    ``offset`` is that of the record, ``at_us`` what it claims (None: nothing); ``call_id`` is not empty.
    """

    offset: int
    at_us: int | None
    agent_id: str
    session: str
    call_id: str
    is_denied: bool


@dataclass(slots=True)
class Rows:
    """Events on their way, column by column: what each says of itself, before anybody decides when it counts.

    ``at_us`` is the claimed time (None: it has none), ``entropies`` are in billionths, ``offsets`` those of
    the records' lines. Rare values are kept by row number: sessions, which rows are tool calls, facts,
    numbers that the agent itself gave (``seqs``), (record id, content hash) where a record carries an
    explicit id, and claimed ids that were not believed (see ``trust``; ``agent_ids`` then says who is
    charged).

    One record may be several events, or none: ``ignored`` are the offsets of records that are no event;
    ``unknown`` names what the mapping does not know, with the offset of each; ``remembered`` is what the
    records add to the memory of their file, in order; ``settled`` are calls of which it is told that they
    were carried out, or denied.
    """

    at_us: list[int | None] = field(default_factory=list)
    agent_ids: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    entropies: list[int] = field(default_factory=list)
    event_types: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sessions: dict[int, str] = field(default_factory=dict)
    tool_calls: list[int] = field(default_factory=list)
    identities: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    forged: dict[int, str] = field(default_factory=dict)
    seqs: dict[int, int] = field(default_factory=dict)
    facts: dict[int, Facts] = field(default_factory=dict)
    ignored: list[int] = field(default_factory=list)
    unknown: list[tuple[int, str]] = field(default_factory=list)
    remembered: list[Remembered] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    #: Whether every record is one event (native telemetry): then nothing has to be counted by offset.
    is_one_each: bool = True

    def __len__(self) -> int:
        return len(self.offsets)

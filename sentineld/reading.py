"""Reading: what a mapping knows of a file while it reads records of it, and what those have come to."""

from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from itertools import compress, count, repeat
from typing import Any, NamedTuple

from sentineld.entropy import batch_entropy_units
from sentineld.event import OPERATION_KIND, OTHER
from sentineld.memory import Memory
from sentineld.rows import Facts, Remembered, Rows, Settled


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


class Found(NamedTuple):
    """One event, as the functions that read records give it (as a plain tuple, and its facts as one too)."""

    offset: int
    at_us: int | None
    agent_id: str
    event_type: str
    payload: bytes
    session: str
    identity: tuple[bytes, bytes] | None
    facts: Facts
    seq: int | None
    is_call: bool


#: Makes named tuples of plain ones, which are sooner written where they are found.
_made: Any = tuple.__new__


class Reading:
    """What functions that read records take their files' state from, and put what they find into."""

    __slots__ = (
        "add", "events", "file", "kept", "path", "remembered", "role", "settled", "trace", "unknown",
    )  # fmt: skip

    def __init__(self, context: FileContext, parts: Table[str, str], trace: Trace | None = None) -> None:
        """``parts`` are the named ones of the file's path."""
        path = context.path
        self.path = parts
        self.file = {"path": path, "name": path.rpartition("/")[2], "owner": context.owner}
        self.kept = context.memory
        self.role = context.role
        self.trace = trace
        self.events: list[Found] = []
        self.add = self.events.append
        self.unknown: list[tuple[int, str]] = []
        self.remembered: list[tuple[int, str, str, str]] = []
        self.settled: list[tuple[int, int | None, str, str, str, bool]] = []

    def rows(self, offsets: list[int]) -> Rows:
        """Return all events as rows; ``offsets`` are those of all records that were read."""
        remembered = list(map(_made, repeat(Remembered), self.remembered))
        rows = Rows(is_one_each=False, unknown=self.unknown, remembered=remembered)
        rows.settled = list(map(_made, repeat(Settled), self.settled))
        if not self.events:
            rows.ignored = list(offsets)
            return rows
        # Column by column: that takes half of what it takes row by row.
        columns = map(list, zip(*self.events, strict=True))
        places, at_us, agent_ids, event_types, payloads, sessions, identities, facts, seqs, calls = columns
        rows.offsets, rows.at_us, rows.agent_ids, rows.event_types = places, at_us, agent_ids, event_types
        rows.kinds = list(map(OPERATION_KIND.get, event_types, repeat(OTHER)))
        # Spelled out: to make a dictionary of pairs takes twice as long.
        rows.sessions = {number: session for number, session in enumerate(sessions) if session}
        rows.identities = {number: pair for number, pair in enumerate(identities) if pair is not None}
        made = _made
        rows.facts = {number: made(Facts, found) for number, found in enumerate(facts)}
        if seqs.count(None) < len(seqs):
            rows.seqs = {number: seq for number, seq in enumerate(seqs) if seq is not None}
        rows.tool_calls = list(compress(count(), calls))
        seen = set(places)
        rows.ignored = [offset for offset in offsets if offset not in seen]
        rows.entropies = batch_entropy_units(payloads)
        return rows

"""Batches: rows of several files become the inputs of several agents, in a stated order.

A ``Part`` is what one file contributes: a stretch of its bytes, decoded, with the bracket in which those
bytes were written. An event counts at its effective time: its own, clamped into the bracket; for history
its own time, never later than the read. Order inside a file is the order; between files it is the running
maximum of effective time, then the order of the parts. All of it is pure: the same parts give the same
inputs, live and in replay.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate, repeat
from operator import attrgetter, itemgetter
from typing import TypeVar

from sentineld import kernel
from sentineld.decode import Reject
from sentineld.event import Observation
from sentineld.rows import Rows

T = TypeVar("T")


@dataclass(slots=True)
class Part:
    """A stretch of one file: bytes ``start`` to ``end`` (documents: elements).

    It was written between ``lo`` and ``hi`` (microseconds). ``source_id`` and ``owner`` (uid) name the file;
    ``is_history`` says that own times count; ``skip`` is 1 where a line over the limit begins, 2 where it
    goes on and 3 where a hole was skipped. ``ignored`` counts lines without content.
    """

    source_id: int
    owner: int
    start: int
    end: int
    lo: int
    hi: int
    file_time: int
    is_history: bool
    rows: Rows = field(default_factory=Rows)
    rejects: list[Reject] = field(default_factory=list)
    ignored: int = 0
    skip: int = 0
    is_skipping: bool = False
    #: Which rows are copies of records that were read before; they do not count.
    duplicates: set[int] = field(default_factory=set)
    #: The format that the rows were read by; empty where it is not known yet.
    format: str = ""
    conflicts: int = 0
    clamped: int = 0
    timeless: int = 0
    #: What became of its lines, once that was counted.
    told: "Accounts | None" = field(default=None, compare=False)
    #: What was raised over a record of it, which was left out for that.
    failure: Exception | None = field(default=None, compare=False)


@dataclass(slots=True)
class Accounts:
    """What became of the lines of a part: lines = accepted + ignored + rejected + duplicates."""

    accepted: int
    ignored: int
    rejected: int
    duplicates: int

    @property
    def lines(self) -> int:
        """All of them."""
        return self.accepted + self.ignored + self.rejected + self.duplicates


def accounts(part: Part) -> Accounts:
    """Count the lines of a part by what became of them.

    A record that is several events is accepted where one of them counts, a duplicate where none does.
    """
    rows = part.rows
    if rows.is_one_each:
        accepted, duplicates = len(rows) - len(part.duplicates), len(part.duplicates)
    else:
        kept = {offset for number, offset in enumerate(rows.offsets) if number not in part.duplicates}
        accepted, duplicates = len(kept), len(set(rows.offsets) - kept)
    return Accounts(accepted, part.ignored + len(rows.ignored), len(part.rejects), duplicates)


#: Which agent an event belongs to: (owner uid, claimed id).
Key = tuple[int, str]


@dataclass(slots=True)
class Inputs:
    """What a batch means: observations by agent, in order, and counts.

    ``sessions`` runs parallel to the observations of an agent where any event of it names a session.
    """

    observations: dict[Key, list[Observation]]
    sessions: dict[Key, list[str]]
    event_types: Counter[str]
    tool_calls: int
    events: int


def effective_times(part: Part) -> list[int]:
    """Return when each row of the part counts, and set ``part.clamped`` and ``part.timeless``."""
    times: list[int]
    # Nearly always none is None, which their types tell sooner than comparing each of them.
    is_timeless = type(None) in set(map(type, part.rows.at_us))
    part.clamped, part.timeless = 0, part.rows.at_us.count(None) if is_timeless else 0
    if part.timeless:
        times = [part.file_time if at is None else at for at in part.rows.at_us]
    else:
        times = part.rows.at_us  # type: ignore[assignment]
    if not times or (max(times) <= part.hi and (part.is_history or min(times) >= part.lo)):
        return times
    if part.is_history:
        clamped = [min(at, part.hi) for at in times]
    else:
        clamped = [max(part.lo, min(at, part.hi)) for at in times]
    part.clamped = sum(map(int.__ne__, times, clamped))
    return clamped


def merge_keys(times: list[int], latest: int | None = None) -> list[int]:
    """Return the keys by which files are merged: the running maximum, so that file order holds.

    ``latest`` is the last key of the same file before these rows.
    """
    if times and (latest is None or latest <= times[0]) and sorted(times) == times:
        # As nearly always; telling so takes a fifth of the time.
        return times.copy()
    keys = list(accumulate(times, max, initial=latest))
    return keys if latest is None else keys[1:]


def record_keys(keys: list[int], offsets: list[int]) -> list[int]:
    """Give all rows of one record the key of its last: a file is never cut inside of a record."""
    for number in range(len(keys) - 2, -1, -1):
        if offsets[number] == offsets[number + 1]:
            keys[number] = keys[number + 1]
    return keys


def combine(parts: list[Part], key_of: Callable[[int, str], Key]) -> Inputs:
    """Order the rows of all parts and group them by agent; rows marked as duplicates are left out.

    ``key_of(owner, claimed id)`` decides which agent a row is charged to; it is asked once a claim, in the
    order in which the claims appear.
    """
    if len({part.source_id for part in parts}) == 1 and not any(
        part.duplicates or part.rows.sessions for part in parts
    ):
        return _combine_one_file(parts, key_of)
    stream: list[tuple[int, Key, Observation, str]] = []
    latest: dict[int, int] = {}
    types: list[str] = []
    tool_calls = 0
    for part in parts:
        rows, duplicates = part.rows, part.duplicates
        times = effective_times(part)
        keys = merge_keys(times, latest.get(part.source_id))
        if keys:
            latest[part.source_id] = keys[-1]
        facts = map(rows.facts.get, range(len(rows))) if rows.facts else repeat(None)
        observations = zip(
            times, rows.kinds, rows.entropies, rows.event_types, repeat(part.source_id), rows.offsets, facts
        )
        names = map(rows.sessions.get, range(len(rows)), repeat("")) if rows.sessions else repeat("")
        # The endless columns end with the keys.
        items = zip(keys, zip(repeat(part.owner), rows.agent_ids), observations, names)  # noqa: B905
        if duplicates:
            kept = [item for number, item in enumerate(items) if number not in duplicates]
            stream += kept
            types += (item[2][3] for item in kept)
        else:
            stream += items
            types += rows.event_types
        tool_calls += len(rows.tool_calls) - len(duplicates.intersection(rows.tool_calls))
    if len(latest) > 1:
        # Stable: equal keys keep the order of parts, and inside a part the order of the file.
        stream.sort(key=itemgetter(0))
    key_of_claim: dict[Key, Key] = {}
    by_key: dict[Key, list[Observation]] = {}
    adders: dict[Key, Callable[[Observation], None]] = {}
    for _, claim, observation, _ in stream:
        add = adders.get(claim)
        if add is None:
            key = key_of_claim[claim] = key_of(*claim)
            add = adders[claim] = by_key.setdefault(key, []).append
        add(observation)
    sessions: dict[Key, list[str]] = {}
    if any(part.rows.sessions for part in parts):
        for _, claim, _, name in stream:
            sessions.setdefault(key_of_claim[claim], []).append(name)
        sessions = {key: names for key, names in sessions.items() if any(names)}
    return Inputs(by_key, sessions, Counter(types), tool_calls, len(stream))


def _combine_one_file(parts: list[Part], key_of: Callable[[int, str], Key]) -> Inputs:
    # One file, in its own order, nothing left out: no merging, so no keys, and no tuple but the observation.
    by_claim: dict[str, list[Observation]] = {}
    event_types: Counter[str] = Counter()
    for part in parts:
        rows = part.rows
        times = effective_times(part)
        event_types.update(rows.event_types)
        if kernel.compiled is not None:
            facts = list(map(rows.facts.get, range(len(rows)))) if rows.facts else None
            columns = (times, rows.kinds, rows.entropies, rows.event_types)
            kernel.compiled.group(by_claim, rows.agent_ids, *columns, part.source_id, rows.offsets, facts)
            continue
        observations = zip(
            times,
            rows.kinds,
            rows.entropies,
            rows.event_types,
            repeat(part.source_id),
            rows.offsets,
            map(rows.facts.get, range(len(rows))) if rows.facts else repeat(None),
        )
        for agent_id, observation in zip(rows.agent_ids, observations, strict=True):
            run = by_claim.get(agent_id)
            if run is None:
                by_claim[agent_id] = [observation]
            else:
                run.append(observation)
    by_key: dict[Key, list[Observation]] = {}
    shared: set[Key] = set()
    for agent_id, run in by_claim.items():
        key = key_of(parts[0].owner, agent_id)
        if key in by_key:
            by_key[key] += run
            shared.add(key)
        else:
            by_key[key] = run
    for key in shared:
        # Several claims are charged to one agent: back into the order of the file.
        by_key[key].sort(key=itemgetter(5))
    tool_calls = sum(len(part.rows.tool_calls) for part in parts)
    return Inputs(by_key, {}, event_types, tool_calls, sum(len(part.rows) for part in parts))


def split_rows(rows: Rows, count: int) -> tuple[Rows, Rows]:
    """Split rows before row number ``count``, which is the first one of its record."""
    cut = rows.offsets[count]
    return _slice(rows, 0, count, 0, cut), _slice(rows, count, len(rows), cut, _END)


_END = 1 << 62


def cut_part(part: Part, offset: int) -> tuple[Part, Part]:
    """Cut a part before the record that begins at ``offset``; its blank lines are counted with the rest."""
    count = bisect_left(part.rows.offsets, offset)
    before = [item for item in part.rejects if item.offset < offset]
    behind = [item for item in part.rejects if item.offset >= offset]
    first = _slice(part.rows, 0, count, 0, offset)
    rest = _slice(part.rows, count, len(part.rows), offset, _END)
    return (
        replace(part, end=offset, rows=first, rejects=before, ignored=0),
        replace(part, start=offset, rows=rest, rejects=behind),
    )


def leave_out(part: Part, rejects: Iterable[Reject]) -> Part:
    """Return a part without the records that begin where these rejects do, which stand in their place.

    What those records add to the memory of their file stays: others were read with it.
    """
    refused = {item.offset for item in part.rejects}
    added = {item.offset: item for item in rejects if item.offset not in refused}
    rejects = sorted([*part.rejects, *added.values()], key=attrgetter("offset"))
    return replace(part, rows=_without(part.rows, added), rejects=rejects)


def _without(rows: Rows, offsets: Container[int]) -> Rows:
    kept = [number for number, offset in enumerate(rows.offsets) if offset not in offsets]
    new_numbers = {number: place for place, number in enumerate(kept)}

    def column(values: list[T]) -> list[T]:
        return [values[number] for number in kept]

    def some(values: dict[int, T]) -> dict[int, T]:
        return {new_numbers[number]: value for number, value in values.items() if number in new_numbers}

    return Rows(
        column(rows.at_us),
        column(rows.agent_ids),
        column(rows.kinds),
        column(rows.entropies),
        column(rows.event_types),
        column(rows.offsets),
        some(rows.sessions),
        [new_numbers[number] for number in rows.tool_calls if number in new_numbers],
        some(rows.identities),
        some(rows.forged),
        some(rows.seqs),
        some(rows.facts),
        [offset for offset in rows.ignored if offset not in offsets],
        [item for item in rows.unknown if item[0] not in offsets],
        rows.remembered,
        [item for item in rows.settled if item.offset not in offsets],
        rows.is_one_each,
    )


def _slice(rows: Rows, start: int, stop: int, first: int, last: int) -> Rows:
    """Return rows ``start`` to ``stop``, and what the records from offset ``first`` to ``last`` left."""

    def some(values: dict[int, T]) -> dict[int, T]:
        return {number - start: value for number, value in values.items() if start <= number < stop}

    return Rows(
        rows.at_us[start:stop],
        rows.agent_ids[start:stop],
        rows.kinds[start:stop],
        rows.entropies[start:stop],
        rows.event_types[start:stop],
        rows.offsets[start:stop],
        some(rows.sessions),
        [number - start for number in rows.tool_calls if start <= number < stop],
        some(rows.identities),
        some(rows.forged),
        some(rows.seqs),
        some(rows.facts),
        [offset for offset in rows.ignored if first <= offset < last],
        [item for item in rows.unknown if first <= item[0] < last],
        [item for item in rows.remembered if first <= item.offset < last],
        [item for item in rows.settled if first <= item.offset < last],
        rows.is_one_each,
    )

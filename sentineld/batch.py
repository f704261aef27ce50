"""Batches: rows of several files become the inputs of several agents, in a stated order.

A ``Part`` is what one file contributes: a stretch of its bytes, decoded, with the bracket in which those
bytes were written. An event counts at its effective time: its own, clamped into the bracket; for history
its own time, never later than the read. Order inside a file is the order; between files it is the running
maximum of effective time, then the order of the parts. All of it is pure: the same parts give the same
inputs, live and in replay.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, repeat

from sentineld.decode import Reject
from sentineld.event import Observation
from sentineld.mapping import Rows


@dataclass(slots=True)
class Part:
    """A stretch of one file: bytes ``start`` to ``end`` (documents: elements), read between ``lo`` and ``hi``.

    ``source_id`` and ``owner`` (uid) name the file; ``is_history`` says that own times count; ``skip`` is 1
    where a line over the limit begins and 2 where it goes on. ``ignored`` counts lines without content.
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
    conflicts: int = 0
    clamped: int = 0
    timeless: int = 0


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
    lo, hi, file_time = part.lo, part.hi, part.file_time
    own = part.rows.at_us
    if None in own:
        part.timeless = own.count(None)
    times = [file_time if at is None else at for at in own]
    if part.is_history:
        clamped = [at if at <= hi else hi for at in times]
    else:
        clamped = [lo if at < lo else hi if at > hi else at for at in times]
    part.clamped = sum(map(int.__ne__, times, clamped))
    return clamped


def merge_keys(times: list[int], latest: int | None = None) -> list[int]:
    """Return the keys by which files are merged: the running maximum, so that file order holds.

    ``latest`` is the last key of the same file before these rows.
    """
    keys = list(accumulate(times, max, initial=latest))
    return keys if latest is None else keys[1:]


def combine(parts: list[Part], key_of: Callable[[int, str], Key]) -> Inputs:
    """Order the rows of all parts and group them by agent; rows marked as duplicates are left out.

    ``key_of(owner, claimed id)`` decides which agent a row is charged to.
    """
    observations: dict[Key, list[Observation]] = {}
    sessions: dict[Key, list[str]] = {}
    event_types: Counter[str] = Counter()
    tool_calls = events = 0
    has_sessions = any(part.rows.sessions for part in parts)
    has_one_source = len({part.source_id for part in parts}) <= 1
    stream: list[tuple[int, int, str, Observation, str]] = []
    latest: dict[int, int] = {}
    for part in parts:
        rows = part.rows
        times = effective_times(part)
        columns = zip(
            times, rows.kinds, rows.entropies, rows.event_types, repeat(part.source_id), rows.offsets
        )
        tool_calls += len(rows.tool_calls) - len(part.duplicates.intersection(rows.tool_calls))
        if has_one_source and not has_sessions and not part.duplicates:
            _group(observations, part.owner, rows.agent_ids, columns, key_of)
            event_types.update(rows.event_types)
            events += len(rows)
            continue
        keys = merge_keys(times, latest.get(part.source_id))
        if keys:
            latest[part.source_id] = keys[-1]
        for number, (merge_key, agent_id, observation) in enumerate(
            zip(keys, rows.agent_ids, columns, strict=False)
        ):
            if number not in part.duplicates:
                stream.append(
                    (merge_key, part.owner, agent_id, observation, rows.sessions.get(number, ""))
                )
    if stream:
        # Stable: equal keys keep the order of parts, and inside a part the order of the file.
        stream.sort(key=lambda item: item[0])
        events += len(stream)
        event_types.update(item[3][3] for item in stream)
        for _, owner, agent_id, observation, session in stream:
            key = key_of(owner, agent_id)
            observations.setdefault(key, []).append(observation)
            if has_sessions:
                sessions.setdefault(key, []).append(session)
    return Inputs(observations, sessions, event_types, tool_calls, events)


def _group(
    observations: dict[Key, list[Observation]],
    owner: int,
    agent_ids: list[str],
    columns: "zip[Observation]",
    key_of: Callable[[int, str], Key],
) -> None:
    by_id: dict[str, list[Observation]] = {}
    for agent_id, observation in zip(agent_ids, columns, strict=False):
        run = by_id.get(agent_id)
        if run is None:
            by_id[agent_id] = [observation]
        else:
            run.append(observation)
    for agent_id, run in by_id.items():
        observations.setdefault(key_of(owner, agent_id), []).extend(run)


def split_rows(rows: Rows, count: int) -> tuple[Rows, Rows]:
    """Split rows before row number ``count``."""
    return _slice(rows, 0, count), _slice(rows, count, len(rows))


def _slice(rows: Rows, start: int, stop: int) -> Rows:
    return Rows(
        rows.at_us[start:stop],
        rows.agent_ids[start:stop],
        rows.kinds[start:stop],
        rows.entropies[start:stop],
        rows.event_types[start:stop],
        rows.offsets[start:stop],
        {number - start: value for number, value in rows.sessions.items() if start <= number < stop},
        [number - start for number in rows.tool_calls if start <= number < stop],
        {number - start: value for number, value in rows.identities.items() if start <= number < stop},
    )

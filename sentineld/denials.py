"""Denials: calls that the gate denied, and those of them that were carried out all the same.

``sentineld gate`` writes its denials to a log that is telemetry like any other (format ``sentineld_gate``).
A denied call of which any telemetry of the same owner tells that it worked was executed past the gate: the
incident ``gate_bypassed``. Asks are no denials: a user may have said yes. Both orders count: files are read
one after the other, and whoever ignores a hook does not wait for its answer.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from sentineld.batch import Part
from sentineld.event import Incident
from sentineld.instant import SECOND_US, iso
from sentineld.intake import Batch
from sentineld.rows import Settled
from sentineld.store import MAX_DONE_CALLS, Store
from sentineld.tables import DenialRow, DoneRow

#: Denials that are remembered for each owner, and calls that were carried out, for all; the oldest go first.
MAX_DENIALS, MAX_DONE = 10_000, MAX_DONE_CALLS
#: Calls of one batch that are remembered: a denial that comes late is late by moments.
_MAX_NEW = 64
#: An id that no other call has too. Counters accuse nobody: they begin again, and subagents have their own.
_UNIQUE = re.compile(r"[\w|-]{20,}")


class Bypass(NamedTuple):
    """An incident, and the claimed ids of those who answer for it: who did it, and who was denied."""

    incident: Incident
    agents: tuple[str, ...]


class Denials:
    """Finds bypassed denials over one database; ``found`` what is read, commit what ``take_new`` returns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_loaded = False
        self._denied: dict[int, dict[str, DenialRow]] = {}
        self._done: dict[tuple[int, str], DoneRow] = {}
        self._new: tuple[list[DenialRow], list[DoneRow], list[tuple[int, str]]] = ([], [], [])

    def found(self, batch: Batch) -> Iterator[Bypass]:
        """Yield the denials that were bypassed, by what a batch tells; those alike of one file in one."""
        found: dict[tuple[int, tuple[str, ...]], Bypass] = {}
        for bypass in self._found(batch):
            alike = (bypass.incident.source_id, bypass.agents)
            if alike in found:
                first = found[alike].incident
                bypass = Bypass(replace(first, count=first.count + 1), bypass.agents)
            found[alike] = bypass
        yield from found.values()

    def _found(self, batch: Batch) -> Iterator[Bypass]:
        settled = [
            (part, [item for item in part.rows.settled if _UNIQUE.fullmatch(item.call_id)])
            for part in batch.parts
        ]
        if not any(items for _, items in settled):
            return
        self._load()
        paths = {source.id: source.path for _, source in batch.sources.values()}
        for part, items in settled:
            for item in items:
                if item.is_denied:
                    denial = DenialRow(part.owner, item.call_id, item.agent_id, _at(part, item), item.call_id)
                    done = self._done.get((denial.owner, denial.key))
                    if done is None:
                        self._deny(denial)
                    else:
                        yield self._bypass(denial, done, paths)
        for part, items in settled:
            done_here = [item for item in items if not item.is_denied]
            denied = self._denied.get(part.owner, {})
            for item in done_here if denied else ():
                if found := denied.get(item.call_id):
                    yield self._bypass(found, _done(part, item), paths)
            if not part.is_history:
                # History is read in the order of its times, over all files.
                self._remember([_done(part, item) for item in done_here[-_MAX_NEW:]])

    def forgive(self, owner: int, agent_id: str) -> list[tuple[int, str]]:
        """Forget what was denied to an agent, which was pardoned; returns what the database must forget."""
        self._load()
        denied = self._denied.get(owner, {})
        keys = [key for key, row in denied.items() if row.agent_id == agent_id]
        for key in keys:
            del denied[key]
        return [(owner, key) for key in keys]

    def reload(self) -> None:
        """Read anew from the database, once it is needed: an agent has another id, or none any more."""
        self._is_loaded = False

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        self._denied.clear()
        for row in self._store.denials():
            self._denied.setdefault(row.owner, {})[row.key] = row
        self._done = {(row.owner, row.key): row for row in self._store.done_calls()}

    def take_new(self) -> tuple[list[DenialRow], list[DoneRow], list[tuple[int, str]]]:
        """Return, once, what the database does not hold yet: denials, calls; and denials to be forgotten."""
        new, self._new = self._new, ([], [], [])
        return new

    def _deny(self, denial: DenialRow) -> None:
        denied = self._denied.setdefault(denial.owner, {})
        if denial.key in denied:
            return
        if len(denied) >= MAX_DENIALS:
            oldest = next(iter(denied))
            del denied[oldest]
            self._new[2].append((denial.owner, oldest))
        denied[denial.key] = denial
        self._new[0].append(denial)

    def _remember(self, calls: list[DoneRow]) -> None:
        for call in calls:
            self._done.pop((call.owner, call.key), None)
            self._done[call.owner, call.key] = call
            if len(self._done) > MAX_DONE:
                del self._done[next(iter(self._done))]
        self._new[1].extend(calls)

    def _bypass(self, denial: DenialRow, done: DoneRow, paths: dict[int, str]) -> Bypass:
        # It is told once.
        if self._denied.get(denial.owner, {}).pop(denial.key, None) is not None:
            self._new[2].append((denial.owner, denial.key))
        self._done.pop((done.owner, done.key), None)
        path = paths.get(done.source_id) or self._store.source_path(done.source_id)
        at = iso(denial.at_us // SECOND_US * SECOND_US)
        detail = f"{done.agent_id}: call {denial.call_id!r}, denied at {at}"
        incident = Incident(
            max(done.at_us, denial.at_us),
            "gate_bypassed",
            done.owner,
            done.source_id,
            path,
            done.offset,
            done.offset,
            detail,
        )
        return Bypass(incident, tuple(dict.fromkeys((done.agent_id, denial.agent_id))))


def _at(part: Part, item: Settled) -> int:
    at_us = part.file_time if item.at_us is None else item.at_us
    return min(at_us, part.hi) if part.is_history else max(part.lo, min(at_us, part.hi))


def _done(part: Part, item: Settled) -> DoneRow:
    return DoneRow(part.owner, item.call_id, item.agent_id, _at(part, item), part.source_id, item.offset)

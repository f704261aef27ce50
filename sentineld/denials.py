"""Denials: calls that the gate denied, and those of them that were carried out all the same.

``sentineld gate`` writes its denials to a log that is telemetry like any other (format ``sentineld_gate``).
A denied call of which any telemetry of the same owner tells that it worked was executed past the gate: the
incident ``gate_bypassed``. Asks are no denials: a user may have said yes. Both orders count: files are read
one after the other, and whoever ignores a hook does not wait for its answer.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from sentineld.batch import Part
from sentineld.event import Incident
from sentineld.instant import SECOND_US, iso
from sentineld.intake import Batch
from sentineld.rows import Settled
from sentineld.store import MAX_DONE_CALLS, Store
from sentineld.tables import DenialRow, DoneRow

#: Denials, and calls that were carried out, that are remembered for each owner: no owner's flood pushes out
#: what another one's telemetry told. Among its denials the oldest of the agent with the most go first.
MAX_DENIALS, MAX_DONE = 10_000, MAX_DONE_CALLS
#: Calls of one batch that are remembered: a denial that comes late is late by moments.
_MAX_NEW = 64
#: An id that no other call has too. Counters accuse nobody: they begin again, and subagents have their own.
_UNIQUE = re.compile(r"[\w|-]{20,}")


class Finding(NamedTuple):
    """An incident, and the claimed ids of those whom it is about: who did it, and who was denied."""

    incident: Incident
    agents: tuple[str, ...]


class _Denied:
    """The denials of one owner, by call, in shares: one for each agent, and one for all that nobody knows.

    A log can name agents at will, so made-up ones must not make the share of a real one the largest.
    """

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        self._is_known = is_known
        self._share_of: dict[str, str] = {}
        self._shares: dict[str, dict[str, DenialRow]] = {}
        #: The shares of each size, and the largest size: with ten thousand shares nobody has to look at all.
        self._of_size: dict[int, dict[str, None]] = {}
        self._largest = 0

    def __len__(self) -> int:
        return len(self._share_of)

    def __contains__(self, key: str) -> bool:
        return key in self._share_of

    def get(self, key: str) -> DenialRow | None:
        share = self._share_of.get(key)
        return None if share is None else self._shares[share][key]

    def add(self, row: DenialRow) -> None:
        share = row.agent_id if self._is_known(row.agent_id) else ""
        self._share_of[row.key] = share
        self._shares.setdefault(share, {})[row.key] = row
        self._resized(share, -1)

    def pop(self, key: str) -> DenialRow | None:
        share = self._share_of.pop(key, None)
        if share is None:
            return None
        row = self._shares[share].pop(key)
        self._resized(share, 1)
        if not self._shares[share]:
            del self._shares[share]
        return row

    def _resized(self, share: str, less: int) -> None:
        """Put a share where it belongs, which had ``less`` more denials than it has."""
        size = len(self._shares[share])
        self._of_size.get(size + less, {}).pop(share, None)
        if size:
            self._of_size.setdefault(size, {})[share] = None
        if size > self._largest or not self._of_size[self._largest]:
            self._largest = size

    def pop_oldest_of_most(self) -> DenialRow:
        share = next(iter(self._of_size[self._largest]))
        row = self.pop(next(iter(self._shares[share])))
        assert row is not None
        return row

    def of(self, agent_id: str) -> list[str]:
        shares = (self._shares.get(share, {}) for share in (agent_id, ""))
        return [key for share in shares for key, row in share.items() if row.agent_id == agent_id]


class Denials:
    """Finds bypassed denials over one database; ``found`` what is read, commit what ``take_new`` returns.

    ``is_known`` says whether an owner has an agent of a claimed id.
    """

    def __init__(self, store: Store, is_known: Callable[[int, str], bool]) -> None:
        self._store = store
        self._is_known = is_known
        self._is_loaded = False
        self._denied: dict[int, _Denied] = {}
        self._done: dict[int, dict[str, DoneRow]] = {}
        self._new: tuple[list[DenialRow], list[DoneRow], list[tuple[int, str]]] = ([], [], [])

    def found(self, batch: Batch) -> Iterator[Finding]:
        """Yield the denials that were bypassed, by what a batch tells, and those that were forgotten.

        Those alike of one file are one.
        """
        found: dict[tuple[str, int, tuple[str, ...]], Finding] = {}
        for finding in self._found(batch):
            alike = (finding.incident.kind, finding.incident.source_id, finding.agents)
            if alike in found:
                first = found[alike].incident
                finding = Finding(replace(first, count=first.count + 1), finding.agents)
            found[alike] = finding
        yield from found.values()

    def _found(self, batch: Batch) -> Iterator[Finding]:
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
                    done = self._done.get(denial.owner, {}).get(denial.key)
                    if done is not None:
                        yield self._bypass(denial, done, paths)
                    elif (forgotten := self._deny(denial)) is not None:
                        yield _overflow(forgotten, part, item, paths)
        for part, items in settled:
            done_here = [item for item in items if not item.is_denied]
            denied = self._denied_of(part.owner)
            for item in done_here if denied else ():
                if found := denied.get(item.call_id):
                    yield self._bypass(found, _done(part, item), paths)
            if not part.is_history:
                # History is read in the order of its times, over all files.
                self._remember([_done(part, item) for item in done_here[-_MAX_NEW:]])

    def forgive(self, owner: int, agent_id: str) -> list[tuple[int, str]]:
        """Forget what was denied to an agent, which was pardoned; returns what the database must forget."""
        self._load()
        denied = self._denied_of(owner)
        keys = denied.of(agent_id)
        for key in keys:
            denied.pop(key)
        return [(owner, key) for key in keys]

    def reload(self) -> None:
        """Read anew from the database, once it is needed: an agent has another id, or none any more."""
        self._is_loaded = False

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        self._denied.clear()
        self._done.clear()
        for denial in self._store.denials():
            self._denied_of(denial.owner).add(denial)
        for done in self._store.done_calls():
            self._keep(done)

    def _denied_of(self, owner: int) -> _Denied:
        denied = self._denied.get(owner)
        if denied is None:
            denied = self._denied[owner] = _Denied(partial(self._is_known, owner))
        return denied

    def take_new(self) -> tuple[list[DenialRow], list[DoneRow], list[tuple[int, str]]]:
        """Return, once, what the database does not hold yet: denials, calls; and denials to be forgotten."""
        new, self._new = self._new, ([], [], [])
        return new

    def _deny(self, denial: DenialRow) -> DenialRow | None:
        """Remember a denial; returns the one that is forgotten for it, if one is."""
        denied = self._denied_of(denial.owner)
        if denial.key in denied:
            return None
        denied.add(denial)
        self._new[0].append(denial)
        if len(denied) <= MAX_DENIALS:
            return None
        forgotten = denied.pop_oldest_of_most()
        self._new[2].append((denial.owner, forgotten.key))
        return forgotten

    def _remember(self, calls: list[DoneRow]) -> None:
        for call in calls:
            self._keep(call)
        self._new[1].extend(calls)

    def _keep(self, call: DoneRow) -> None:
        done = self._done.setdefault(call.owner, {})
        done.pop(call.key, None)
        done[call.key] = call
        if len(done) > MAX_DONE:
            del done[next(iter(done))]

    def _bypass(self, denial: DenialRow, done: DoneRow, paths: dict[int, str]) -> Finding:
        # It is told once.
        if self._denied_of(denial.owner).pop(denial.key) is not None:
            self._new[2].append((denial.owner, denial.key))
        self._done.get(done.owner, {}).pop(done.key, None)
        path = paths.get(done.source_id) or self._store.source_path(done.source_id)
        at = iso(denial.at_us // SECOND_US * SECOND_US)
        to = "" if denial.agent_id == done.agent_id else f" to {denial.agent_id!r}"
        if to and not self._is_known(denial.owner, denial.agent_id):
            to += " (no agent of that id is known)"
        detail = f"{done.agent_id}: call {denial.call_id!r}, denied{to} at {at}"
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
        return Finding(incident, tuple(dict.fromkeys((done.agent_id, denial.agent_id))))


def _overflow(forgotten: DenialRow, part: Part, item: Settled, paths: dict[int, str]) -> Finding:
    """Tell that a denial was forgotten for one that is newer."""
    where = (part.owner, part.source_id, paths[part.source_id], item.offset, item.offset)
    detail = f"{forgotten.agent_id}: its oldest, as those of one owner are more than {MAX_DENIALS}"
    return Finding(Incident(_at(part, item), "too_many_denials", *where, detail), (forgotten.agent_id,))


def _at(part: Part, item: Settled) -> int:
    at_us = part.file_time if item.at_us is None else item.at_us
    return min(at_us, part.hi) if part.is_history else max(part.lo, min(at_us, part.hi))


def _done(part: Part, item: Settled) -> DoneRow:
    return DoneRow(part.owner, item.call_id, item.agent_id, _at(part, item), part.source_id, item.offset)

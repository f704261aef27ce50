"""Incidents: what a batch tells of tampering by itself, and whom an incident is charged to.

Evidence is charged to whoever owns the file (its uid), never to the agent that a record names. Where one
owner runs several agents, the agents that wrote the file share the charge, for each of them may have done
it; nobody else does. Where an owner writes under names that are not its own, all of its agents share it.
"""

from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple

from sentineld.batch import Inputs, Key, Part, effective_times, merge_keys
from sentineld.decode import INTERNAL_ERROR
from sentineld.denials import Denials
from sentineld.event import Incident, Observation
from sentineld.intake import Batch
from sentineld.integrity import KINDS
from sentineld.lines import SKIP_BEGINS
from sentineld.numbering import Item, Numbering
from sentineld.roster import OVERFLOW_ID, Roster
from sentineld.step import AgentState
from sentineld.store import Store
from sentineld.trust import UNNAMED_ID, forged

_SOURCE_ID = itemgetter(4)
#: Writers remembered for each file; a file that claims more ids is a flood, and charged as such.
MAX_WRITERS = 256
#: An owner of more agents than this answers as ``<unnamed>`` for what no file of it explains.
_MAX_CHARGED = 64
#: Lies about who writes are charged to all agents of the owner: any of them may stand behind a false name.
_CHARGED_TO_ALL = ("identity", "forgery", "flood")
#: Files whose writers are held in memory.
_MAX_CACHED = 10_000


class Incidents:
    """Finds and attributes incidents over one database; ``note`` what is read, commit ``take_new``."""

    def __init__(self, store: Store, roster: Roster) -> None:
        self._store = store
        self._roster = roster
        self._writers: dict[int, set[str]] = {}
        self._new: list[tuple[int, str]] = []
        #: Calls that the gate denied.
        self.denials = Denials(store, lambda owner, agent_id: roster.knows((owner, agent_id)))
        #: Who answers for incidents of this batch of which that is known exactly, by source and detail.
        self._accused: dict[tuple[int, str], tuple[str, ...]] = {}

    def note(self, agent_id: str, run: list[Observation]) -> None:
        """Take note that an agent (by its claimed id) wrote the files of these observations."""
        for source_id in set(map(_SOURCE_ID, run)):
            known = self._of(source_id)
            if agent_id not in known and len(known) < MAX_WRITERS:
                known.add(agent_id)
                self._new.append((source_id, agent_id))

    def take_new(self) -> list[tuple[int, str]]:
        """Return, once, the pairs of source and writer that the database does not hold yet."""
        new, self._new = self._new, []
        return new

    def forget_writers(self) -> None:
        """Read anew from the database who wrote which file: an agent has another id, or none any more."""
        self._writers.clear()
        self.denials.reload()

    def derived(self, batch: Batch, inputs: Inputs) -> Iterator[Incident]:
        """Yield the incidents that what was read shows by itself; replay finds the same."""
        paths = {source.id: source.path for _, source in batch.sources.values()}

        def at(item: Observation, kind: str, owner: int, detail: str, count: int = 1) -> Incident:
            at_us, _, _, _, source_id, offset, _ = item
            return Incident(at_us, kind, owner, source_id, paths[source_id], offset, offset, detail, count)

        for owner, agent_id in self._roster.take_foreign():
            detail = f"it claims {agent_id!r}, the id of an agent of uid {self._roster.owner_of(agent_id)}"
            yield at(inputs.observations[owner, agent_id][0], "foreign_id", owner, detail)
        for (owner, agent_id), run in inputs.observations.items():
            if agent_id == OVERFLOW_ID:
                detail = f"uid {owner} uses more than {self._roster.agents_per_owner} ids"
                yield at(run[-1], "too_many_agents", owner, detail, len(run))
        yield from forged(batch.parts, paths.__getitem__)
        self._accused.clear()
        for incident, agents in self.denials.found(batch):
            self._accused[incident.source_id, incident.detail] = agents
            yield incident
        for part in batch.parts:
            if part.skip == SKIP_BEGINS:
                where = (part.source_id, paths[part.source_id], part.start, part.end)
                yield Incident(part.hi, "line_too_long", part.owner, *where, "the line begins there")
            if left_out := [item for item in part.rejects if item.reason == INTERNAL_ERROR]:
                where = (part.source_id, paths[part.source_id], left_out[0].offset, part.end)
                yield Incident(
                    part.hi, "internal_error", part.owner, *where, left_out[0].detail, len(left_out)
                )
            if part.conflicts:
                where = (part.source_id, paths[part.source_id], part.start, part.end)
                detail = "what it says the second time counts as well"
                yield Incident(part.hi, "id_conflict", part.owner, *where, detail, part.conflicts)

    def numbered(self, batch: Batch) -> tuple[list[Incident], list[AgentState]]:
        """Return what the agents' own numbers tell, and the agents whose numbers were followed.

        An agent's files are merged as its events are; at one instant older files come first.
        """
        if not self._may_number(batch.parts):
            return [], []
        paths = {source.id: source.path for _, source in batch.sources.values()}
        states: dict[Key, AgentState] = {}
        records: dict[Key, list[_Record]] = {}
        unread: dict[int, int] = {}
        latest: dict[int, int] = {}
        for part in sorted(batch.parts, key=lambda part: part.source_id):
            source = batch.sources[part.source_id][1]
            before = unread.get(source.id, source.rejected + source.ignored)
            unread[source.id] = before + len(part.rejects) + part.ignored
            numberers = {(part.owner, agent_id): state for agent_id, state in self._numberers(part)}
            if numberers:
                states |= numberers
                _collect(records, part, numberers, before, latest)
        found: dict[tuple[str, Key, int], Incident] = {}
        for key, run in records.items():
            numbering = states[key].numbering = states[key].numbering or Numbering()
            run.sort(key=attrgetter("key"))
            for source_id, group in groupby(run, key=attrgetter("source_id")):
                stretch = list(group)
                for finding in numbering.follow(source_id, [record.item for record in stretch]):
                    alike = (finding.kind, key, finding.source_id)
                    if alike in found:
                        found[alike] = replace(found[alike], count=found[alike].count + 1)
                        continue
                    at_us = stretch[finding.position].at_us
                    path = paths.get(finding.source_id) or self._store.source_path(finding.source_id)
                    where = (finding.source_id, path, finding.offset, finding.offset)
                    found[alike] = Incident(
                        at_us, finding.kind, key[0], *where, f"{key[1]}: {finding.detail}"
                    )
        return list(found.values()), [states[key] for key in records]

    def _may_number(self, parts: Sequence[Part]) -> bool:
        """Say whether any record, or any agent of one, may be numbered: most agents number nothing."""
        if any(part.rows.seqs for part in parts):
            return True
        claims: dict[int, set[str]] = {}
        copied: dict[int, set[str]] = {}
        for part in parts:
            agent_ids = part.rows.agent_ids
            claims.setdefault(part.owner, set()).update(agent_ids)
            copied.setdefault(part.owner, set()).update(agent_ids[number] for number in part.duplicates)
        for owner, names in claims.items():
            for agent_id in names:
                # Who is not in memory now has nothing but copies here, or has no name of its own.
                state = self._roster.find((owner, agent_id), is_stored=agent_id in copied[owner])
                if state is not None and state.numbering is not None:
                    return True
        return False

    def _numberers(self, part: Part) -> Iterator[tuple[str, AgentState]]:
        numbered = {part.rows.agent_ids[number] for number in part.rows.seqs}
        copied = {part.rows.agent_ids[number] for number in part.duplicates}
        for agent_id in sorted(set(part.rows.agent_ids) - {UNNAMED_ID}):
            # Who is not in memory now has nothing but copies here.
            is_stored = agent_id in copied
            state = self._roster.find((part.owner, agent_id), is_stored=is_stored)
            if state is not None and (agent_id in numbered or state.numbering is not None):
                yield agent_id, state

    def charged(self, incident: Incident) -> list[Key]:
        """Return the agents that answer for an incident, all of its owner.

        None does where root, who owns no agent, did it: operators move directories.
        """
        owner = incident.owner
        if incident.kind == "too_many_agents":
            return [(owner, OVERFLOW_ID)]
        if incident.kind == "gate_bypassed":
            did_it, *denied = self._accused[incident.source_id, incident.detail]
            # Never everybody: who did it is named by its own telemetry. Whom the gate named may be nobody.
            known = [key for agent in denied if self._roster.knows(key := (owner, agent))]
            return [self._roster.key_of(owner, did_it), *known]
        found = set(self._of(incident.source_id)) if incident.source_id else set()
        if not incident.source_id:
            # The path is a directory's, or that of a file in it.
            found.update(
                self._store.writers_below(incident.path, owner)
                or self._store.writers_below(incident.path.rpartition("/")[0], owner)
            )
        if not found or KINDS[incident.kind].family in _CHARGED_TO_ALL:
            everybody = self._roster.owned_by(owner, _MAX_CHARGED + 1)
            if len(everybody) <= _MAX_CHARGED:
                found.update(everybody)
                if not found and owner == 0:
                    return []
        return [(owner, agent_id) for agent_id in sorted(found) or [UNNAMED_ID]]

    def _of(self, source_id: int) -> set[str]:
        known = self._writers.get(source_id)
        if known is None:
            if len(self._writers) >= _MAX_CACHED and not self._new:
                self._writers.clear()
            known = self._writers[source_id] = set(self._store.writers(source_id))
        return known


class _Record(NamedTuple):
    #: By which files are merged (see ``batch``), and effective time.
    key: int
    at_us: int
    source_id: int
    item: Item


def _collect(
    records: dict[Key, list[_Record]],
    part: Part,
    keys: Container[Key],
    unread: int,
    latest: dict[int, int],
) -> None:
    """Add the records of some agents in a part.

    ``unread`` lines of the file, that could not be read or are no events, came before the part; ``latest`` is
    the last merge key of each file.
    """
    rows, owner = part.rows, part.owner
    gone = sorted(chain((item.offset for item in part.rejects), rows.ignored))
    # Blank lines stand nobody knows where.
    unread += part.ignored - len(rows.ignored)
    times = effective_times(part)
    merge = merge_keys(times, latest.get(part.source_id))
    if merge:
        latest[part.source_id] = merge[-1]
    for number, (agent_id, offset) in enumerate(zip(rows.agent_ids, rows.offsets, strict=True)):
        key = (owner, agent_id)
        if key not in keys or number in rows.forged:
            continue
        run = records.setdefault(key, [])
        if run and run[-1].source_id == part.source_id and run[-1].item.offset == offset:
            # A record of several events has one number.
            continue
        refused = unread + bisect_left(gone, offset) if gone else unread
        item = Item(offset, rows.seqs.get(number), refused, number in part.duplicates)
        run.append(_Record(merge[number], times[number], part.source_id, item))

"""Incidents: what a batch tells of tampering by itself, and whom an incident is charged to.

Evidence is charged to whoever owns the file (its uid), never to the agent that a record names. Where one
owner runs several agents, the agents that wrote the file share the charge, for each of them may have done
it; nobody else does. Where an owner writes under names that are not its own, all of its agents share it.
"""

from bisect import bisect_left
from collections.abc import Container, Iterator
from dataclasses import replace
from itertools import chain

from sentineld.batch import Inputs, Key, Part, effective_times
from sentineld.event import Incident, Observation
from sentineld.intake import Batch
from sentineld.integrity import KINDS
from sentineld.lines import SKIP_BEGINS
from sentineld.numbering import Item, Numbering
from sentineld.roster import OVERFLOW_ID, Roster
from sentineld.step import AgentState
from sentineld.store import Store
from sentineld.trust import UNNAMED_ID, forged

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

    def note(self, agent_id: str, run: list[Observation]) -> None:
        """Take note that an agent (by its claimed id) wrote the files of these observations."""
        for source_id in {item[4] for item in run}:
            known = self._of(source_id)
            if agent_id not in known and len(known) < MAX_WRITERS:
                known.add(agent_id)
                self._new.append((source_id, agent_id))

    def take_new(self) -> list[tuple[int, str]]:
        """Return, once, the pairs of source and writer that the database does not hold yet."""
        new, self._new = self._new, []
        return new

    def derived(self, batch: Batch, inputs: Inputs) -> Iterator[Incident]:
        """Yield the incidents that what was read shows by itself; replay finds the same."""
        paths = {source.id: source.path for _, source in batch.sources.values()}

        def at(item: Observation, kind: str, owner: int, detail: str, count: int = 1) -> Incident:
            at_us, _, _, _, source_id, offset = item
            return Incident(at_us, kind, owner, source_id, paths[source_id], offset, offset, detail, count)

        for owner, agent_id in self._roster.take_foreign():
            detail = f"it claims {agent_id!r}, the id of an agent of uid {self._roster.owner_of(agent_id)}"
            yield at(inputs.observations[owner, agent_id][0], "foreign_id", owner, detail)
        for (owner, agent_id), run in inputs.observations.items():
            if agent_id == OVERFLOW_ID:
                detail = f"uid {owner} uses more than {self._roster.agents_per_owner} ids"
                yield at(run[-1], "too_many_agents", owner, detail, len(run))
        yield from forged(batch.parts, paths.__getitem__)
        for part in batch.parts:
            if part.skip == SKIP_BEGINS:
                where = (part.source_id, paths[part.source_id], part.start, part.end)
                yield Incident(part.hi, "line_too_long", part.owner, *where, "the line begins there")
            if part.conflicts:
                where = (part.source_id, paths[part.source_id], part.start, part.end)
                detail = "what it says the second time counts as well"
                yield Incident(part.hi, "id_conflict", part.owner, *where, detail, part.conflicts)

    def numbered(self, batch: Batch) -> tuple[list[Incident], list[AgentState]]:
        """Return what the agents' own numbers tell, and the agents whose numbers were followed.

        Older files come first: what was rotated away continues in the one that took its place.
        """
        paths = {source.id: source.path for _, source in batch.sources.values()}
        found: dict[tuple[str, str, int], Incident] = {}
        followed: dict[Key, AgentState] = {}
        unread: dict[int, int] = {}
        for part in sorted(batch.parts, key=lambda part: part.source_id):
            source = batch.sources[part.source_id][1]
            before = unread.get(source.id, source.rejected + source.ignored)
            unread[source.id] = before + len(part.rejects) + part.ignored
            numberers = dict(self._numberers(part))
            if not numberers:
                continue
            times = effective_times(part)
            for agent_id, (rows, items) in _records(part, numberers, before).items():
                state = followed[part.owner, agent_id] = numberers[agent_id]
                state.numbering = state.numbering or Numbering()
                for finding in state.numbering.follow(source.id, items):
                    key = (finding.kind, agent_id, finding.source_id)
                    if key in found:
                        found[key] = replace(found[key], count=found[key].count + 1)
                        continue
                    at_us = times[rows[finding.position]]
                    path = paths.get(finding.source_id) or self._store.source_path(finding.source_id)
                    where = (finding.source_id, path, finding.offset, finding.offset)
                    detail = f"{agent_id}: {finding.detail}"
                    found[key] = Incident(at_us, finding.kind, part.owner, *where, detail)
        return list(found.values()), list(followed.values())

    def _numberers(self, part: Part) -> Iterator[tuple[str, AgentState]]:
        numbered = {part.rows.agent_ids[number] for number in part.rows.seqs}
        for agent_id in sorted(set(part.rows.agent_ids) - {UNNAMED_ID}):
            # Who is not in memory now has nothing but copies here, or has no name of its own.
            is_stored = agent_id in numbered and bool(part.duplicates)
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


def _records(part: Part, agent_ids: Container[str], unread: int) -> dict[str, tuple[list[int], list[Item]]]:
    """Return the records of some agents: of each its first row, and an item.

    ``unread`` lines of the file, that could not be read or are no events, came before the part.
    """
    rows = part.rows
    gone = sorted(chain((item.offset for item in part.rejects), rows.ignored))
    # Blank lines stand nobody knows where.
    unread += part.ignored - len(rows.ignored)
    records: dict[str, tuple[list[int], list[Item]]] = {}
    for number, (agent_id, offset) in enumerate(zip(rows.agent_ids, rows.offsets, strict=True)):
        if agent_id not in agent_ids or number in rows.forged:
            continue
        numbers, items = records.setdefault(agent_id, ([], []))
        if items and items[-1].offset == offset:
            continue
        numbers.append(number)
        refused = unread + bisect_left(gone, offset) if gone else unread
        items.append(Item(offset, rows.seqs.get(number), refused, number in part.duplicates))
    return records

"""Roster: the agents in memory, between the pure step and the database.

An agent is keyed by (owner uid, claimed id). The published id belongs to the owner to whom it is bound, else
to its first owner; an agent of another owner that claims the same id is published as ``id#uid`` (``#`` cannot
stand in a claimed id).
Of the agents at tier 1 those that acted last are in memory, so many and no more; all others are in the
database, and come back when they act again or are due. What is decided is the same, whoever is in memory.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest
from itertools import islice

from sentineld.batch import Key
from sentineld.monitor import NEVER_US
from sentineld.schedule import Schedule, due_us
from sentineld.step import (
    AgentState,
    Draft,
    Prior,
    absorb,
    distrust,
    dump_state,
    elapse,
    load_checked,
    new_state,
)
from sentineld.store import Store
from sentineld.tables import AgentRow
from sentineld.trust import UNNAMED_ID

#: Where events of ids beyond an owner's quota are counted; no record can claim this id.
OVERFLOW_ID = "<other>"
#: So many agents are asked for one by one.
_FEW = 4
#: Agents at tier 1 that are kept in memory between two commits, unless told otherwise.
AGENTS_IN_MEMORY = 10_000
#: Makes a named tuple in half the time; there is one for each agent that a batch touches.
_new = tuple.__new__
#: So many published ids are remembered of which something else is to be said than before.
_MAX_CHANGES = 4096


class Roster:
    """The agents in memory, at most about ``agents_in_memory``, and the way to the others."""

    def __init__(
        self,
        store: Store,
        prior: Prior,
        agents_per_owner: int,
        clock_us: int = 0,
        agents_in_memory: int = AGENTS_IN_MEMORY,
    ) -> None:
        self._store = store
        #: The latest instant that everybody has been told of. Whoever is not due before it is told when
        #: somebody looks.
        self.clock_us = clock_us
        self.agents_per_owner = agents_per_owner
        self.agents_in_memory = agents_in_memory
        self.prior = prior
        #: Whoever acted last is last.
        self._states: dict[Key, AgentState] = {}
        self._schedule = Schedule()
        #: Nobody who is not in memory is due earlier; the database is asked where this is not known.
        self._others_due_us: int = NEVER_US
        self._is_others_due_known = False
        #: Grows whenever somebody above tier 1 may be published otherwise, or another id is known.
        self.edition = 0
        #: Who was published otherwise, and with which edition last, the latest at the end; complete behind
        #: the edition ``_changes_since``.
        self._changes: dict[str, tuple[int, Key]] = {}
        self._changes_since = 0
        #: Published ids that are not the claimed ones, of agents in memory.
        self._aliases: dict[Key, str] = {}
        #: Published ids that the database may not hold yet.
        self._new_names: dict[str, Key] = {}
        self._owner_counts: dict[int, int] = {}
        self._admitted: set[Key] = set()
        #: Agents, and published ids, that the database is known not to have, until the next commit.
        self._absent: set[Key] = set()
        self._free_names: set[str] = set()
        self._bindings: dict[str, int] = {}
        #: All published ids, once somebody has asked for them.
        self._known: dict[str, None] | None = None
        #: Owners that went beyond their quota of ids, and agents that claim another owner's id, of late.
        self.overflowed: set[int] = set()
        self.foreign: list[Key] = []
        #: Agents whose stored state could not be read, with the tier that they were published with.
        self._damaged: dict[Key, int] = {}
        #: Who is above tier 1, and whom more than new events can change: by the policy, time or a pin.
        self._above: set[Key] = set()
        #: The former by published id, in the order of ids; None: to be found anew.
        self._listed: list[tuple[str, Key]] | None = None
        self._held: set[Key] = set()
        #: Who was looked at since the last commit: all others are as they were.
        self._unsettled: set[Key] = set()
        #: Of these, who may be due at another time since; and when the others are.
        self._unplaced: set[Key] = set()
        self._dues: dict[Key, int | None] = {}
        #: What time did to agents that were looked at, if anything, since the last commit.
        self._late: list[tuple[AgentState, Draft]] = []
        self.reload()

    def reload(self) -> None:
        """Forget what memory holds and start from the database again."""
        self._states.clear()
        self._schedule.clear()
        self._aliases.clear()
        self._new_names.clear()
        self._admitted.clear()
        self._absent.clear()
        self._free_names.clear()
        self._is_others_due_known = False
        self._damaged.clear()
        self._above.clear()
        self._listed = None
        self._held.clear()
        self._unsettled.clear()
        self._unplaced.clear()
        self._dues.clear()
        self._late.clear()
        self._known = None
        self._owner_counts = self._store.owner_counts()
        for row in self._store.agents(held_only=True):
            self._remember(row)
        self._begin_editions(self.edition + 1)

    def succeed(self, former: "Roster") -> None:
        """Go on with the editions behind those of a roster that this one takes the place of."""
        self._begin_editions(self.edition + former.edition + 1)

    def _begin_editions(self, edition: int) -> None:
        self._changes.clear()
        self.edition = self._changes_since = edition

    def set_prior(self, prior: Prior) -> None:
        """Judge by other thresholds and rules from here on; what happened before stays as it was judged."""
        for key in self._held:
            self.catch_up(self._states[key])
        self.prior = prior
        for state in self._states.values():
            self._fit(state)
        self._look_at(self._states)
        # By other rules others are due at other times.
        self._store.wake_all()
        self._is_others_due_known = False

    def bind(self, bindings: Mapping[str, int]) -> list[AgentRow]:
        """Let ids belong to uids; return the agents whose published ids change, to be committed in order."""
        self._bindings = dict(bindings)
        self._known = None
        rows = []
        for agent_id, owner in bindings.items():
            former = self.owner_of(agent_id)
            if former in (-1, owner):
                continue
            # First the one who has to give it up, for no two may have one id.
            for key, name in (((former, agent_id), f"{agent_id}#{former}"), ((owner, agent_id), agent_id)):
                state = self._states.get(key) or self._load(key)
                if state is not None:
                    self._uncall(key)
                    self._call(key, name)
                    rows.append(self.row(state))
        return rows

    def expect(self, keys: Iterable[Key]) -> None:
        """Ask the database at once for all of these agents, which are about to act."""
        strange = [key for key in keys if key not in self._states]
        if len(strange) < _FEW:
            return
        for row in self._store.agents_of(strange):
            self._remember(row)
        self._absent = {key for key in strange if key not in self._states}
        self._free_names = {name for _, name in self._absent}
        owners = {owner for owner, _ in self._absent}
        if len(owners.union(self._owner_counts)) > 1:
            # An owner alone has every name for itself.
            self._free_names -= self._store.names_of(self._free_names)

    def key_of(self, owner: int, agent_id: str) -> Key:
        """Return the key that an event is charged to: the claimed id, or the owner's overflow id."""
        key = (owner, agent_id)
        if key in self._states or key in self._admitted:
            return key
        if key not in self._absent and self._load(key) is not None:
            return key
        count = self._owner_counts.get(owner, 0)
        if count >= self.agents_per_owner:
            self.overflowed.add(owner)
            return (owner, OVERFLOW_ID)
        self._owner_counts[owner] = count + 1
        self._admitted.add(key)
        return key

    def get(self, key: Key, at_us: int) -> AgentState:
        """Return the agent's state at the present instant; one seen for the first time gets a new one."""
        state = self._states.pop(key, None)
        if state is not None:
            self._states[key] = state
        elif key not in self._admitted:
            state = self._load(key)
        if state is None:
            state = self._states[key] = new_state(*key, self.prior, at_us)
            name = key[1]
            is_bound = bool(self._bindings) and self._bindings.get(name, key[0]) != key[0]
            if is_bound or self._is_taken(name):
                name = f"{key[1]}#{key[0]}"
                if key[1] not in (OVERFLOW_ID, UNNAMED_ID):
                    self.foreign.append(key)
            self._call(key, name)
        self._unsettled.add(key)
        self._unplaced.add(key)
        if state.clock_us < self.clock_us:
            self.catch_up(state)
        return state

    def _is_taken(self, name: str) -> bool:
        if name in self._new_names:
            return True
        return name not in self._free_names and self._store.name_taken(name)

    def due(self, at_us: int) -> list[AgentState]:
        """Return the agents that are due before ``at_us``, each as of an earlier instant."""
        self._place()
        found = []
        for key in self._schedule.take(at_us):
            state = self._states[key]
            due = due_us(state, self.prior)
            if due is not None and due < at_us:
                found.append(state)
                self._look_at((key,))
            else:
                self._schedule.put(key, due)
        if not self._is_others_due_known or self._others_due_us < at_us:
            # Whoever is in memory is known better there.
            keys, next_us = self._store.due(at_us, self._states)
            self._note_others_due(next_us)
            found += [self._remember(row) for row in self._store.agents_of(keys)]
        return found

    def _note_others_due(self, due: int | None) -> None:
        self._others_due_us = NEVER_US if due is None else due
        self._is_others_due_known = True

    def next_due_us(self) -> int | None:
        """Return the instant up to which time alone does nothing that others can see; None: for ever."""
        self._place()
        while (first := self._schedule.first()) is not None:
            key, placed_us = first
            exact_us = due_us(self._states[key], self.prior)
            if exact_us == placed_us:
                break
            self._schedule.remove(key)
            self._schedule.put(key, exact_us)
        if not self._is_others_due_known:
            self._note_others_due(self._store.due(-NEVER_US, self._states)[1])
        due = min(self._others_due_us, NEVER_US if first is None else first[1])
        return None if due == NEVER_US else due

    def set_clock(self, at_us: int) -> None:
        """Take note that all agents were moved in time, so that it is now ``at_us`` for them."""
        self.clock_us = at_us
        self._is_others_due_known = False
        self._schedule.clear()
        self._look_at(self._states)

    def _look_at(self, keys: Iterable[Key]) -> None:
        self._unsettled.update(keys)
        self._unplaced.update(keys)

    def _place(self) -> None:
        states, prior, schedule, dues = self._states, self.prior, self._schedule, self._dues
        placed = schedule.placed
        for key in self._unplaced:
            state = states.get(key)
            if state is not None:
                due = dues[key] = due_us(state, prior)
                if due is not None or placed(key) is not None:
                    schedule.put(key, due)
        self._unplaced.clear()

    def find(self, key: Key, *, is_stored: bool = True) -> AgentState | None:
        """Return an agent's state, from the database too if ``is_stored``; None where it has none."""
        return self._states.get(key) or (self._load(key) if is_stored else None)

    def rename(self, state: AgentState, new_id: str) -> tuple[AgentState, str, str]:
        """Let an agent go on under another claimed id: (its state, the former published id, the new one).

        Where its owner has an agent of that id, that one takes it in.
        """
        old_name = self.name(state)
        key = (state.owner, new_id)
        other = self._states.get(key) or self._load(key)
        self._drop(state)
        if other is not None:
            self._owner_counts[state.owner] = max(0, self._owner_counts.get(state.owner, 0) - 1)
            absorb(other, state)
            return other, old_name, self.name(other)
        state.profile.agent_id = new_id
        self._states[key] = state
        self._look_at((key,))
        self._rank(key, state)
        self._call(key, new_id)
        return state, old_name, new_id

    def forget(self, state: AgentState) -> None:
        """Know nothing of an agent any more; the database must forget it in the next commit."""
        self._drop(state)
        self._owner_counts[state.owner] = max(0, self._owner_counts.get(state.owner, 0) - 1)

    def _drop(self, state: AgentState) -> None:
        self.edition += 1
        key = (state.owner, state.agent_id)
        name = self.name(state)
        self._leave(key)
        self._damaged.pop(key, None)
        self._above.discard(key)
        self._listed = None
        self._held.discard(key)
        if self._known is not None:
            self._known.pop(name, None)

    def _leave(self, key: Key) -> None:
        del self._states[key]
        self._schedule.remove(key)
        self._uncall(key)

    def _uncall(self, key: Key) -> None:
        if key in self._above:
            self._listed = None
            self._note(self._aliases.get(key, key[1]), key)
        self._new_names.pop(self._aliases.pop(key, key[1]), None)

    def take_foreign(self) -> list[Key]:
        """Return, once, the agents that are new and claim an id of another owner's."""
        foreign, self.foreign = self.foreign, []
        return foreign

    def take_late(self, at_us: int) -> list[tuple[AgentState, Draft]]:
        """Return, once, what else there is to decide, on damaged agents as of ``at_us``.

        Damaged are those whose stored state could not be read. The rest is what time did to others.
        """
        found, self._late = self._late, []
        damaged, self._damaged = self._damaged, {}
        for key, tier in damaged.items():
            drafts: list[Draft] = []
            distrust(self._states[key], self.prior, at_us, tier, drafts)
            found += [(self._states[key], draft) for draft in drafts]
        return found

    def owner_of(self, name: str) -> int:
        """Return the owner of a published id; -1 for an unknown one."""
        key = self._new_names.get(name)
        if key is None:
            row = self._store.agent_named(name)
            return -1 if row is None else row.owner
        return key[0]

    def name(self, state: AgentState) -> str:
        """Return the id under which an agent is published."""
        return self._aliases.get((state.owner, state.agent_id), state.agent_id)

    def row(self, state: AgentState) -> AgentRow:
        """Return what the database keeps of an agent."""
        return self.rows((state,))[0]

    def rows(self, states: Iterable[AgentState]) -> list[AgentRow]:
        """Return what the database keeps of these agents."""
        aliases, dues, unplaced, prior = self._aliases, self._dues, self._unplaced, self.prior
        found = []
        for state in states:
            owner, agent_id, standing = state.owner, state.profile.agent_id, state.standing
            key = (owner, agent_id)
            due = dues[key] if key in dues and key not in unplaced else due_us(state, prior)
            tier, is_plain = standing.effective_tier, standing.is_plain
            row = owner, agent_id, aliases.get(key, agent_id), tier, is_plain, dump_state(state), due
            found.append(_new(AgentRow, row))
        return found

    def owned_by(self, owner: int, limit: int) -> list[str]:
        """Return the claimed ids of an owner's agents, in memory or not, at most about ``limit``."""
        found = set(self._store.owned_by(owner, limit))
        found.update(agent_id for uid, agent_id in self._states if uid == owner)
        return sorted(found - {OVERFLOW_ID, UNNAMED_ID})

    def knows(self, key: Key) -> bool:
        """Say whether there is such an agent, in memory or not."""
        return key in self._states or key in self._admitted or self._store.has_agent(key)

    def holds(self, key: Key) -> bool:
        """Say whether an agent is in memory."""
        return key in self._states

    def all(self) -> list[AgentState]:
        """Return every agent in memory."""
        return list(self._states.values())

    def held(self) -> list[AgentState]:
        """Return the agents that are demoted or pinned, or that a pardon protects: all of these are here."""
        return [self._states[key] for key in self._held]

    def settle(self, touched: Iterable[AgentState]) -> list[AgentState]:
        """Before a commit that touched these: rank them and return who leaves memory behind it.

        Cost: O(1) for each of them, and for each that was looked at since the last commit.
        """
        self._look_at([(state.owner, state.profile.agent_id) for state in touched])
        # Not ``intersection_update``, which looks at everybody.
        self._unsettled = {key for key in self._unsettled if key in self._states}
        self._place()
        leaving = set()
        states, held, dues = self._states, self._held, self._dues
        for key in self._unsettled:
            state = states[key]
            if not state.standing.is_plain or key in held:
                self._rank(key, state)
            if dues[key] is None and state.is_cold:
                leaving.add(key)
        surplus = max(0, len(self._states) - len(leaving) - self.agents_in_memory)
        for key in [*islice(self._states, surplus)]:
            if key in self._held:
                # It stays: to be passed over once is enough.
                self._states[key] = self._states.pop(key)
            else:
                leaving.add(key)
        return [self._states[key] for key in leaving]

    def committed(self, leaving: Iterable[AgentState], *, is_durable: bool) -> None:
        """After that commit: let them leave. ``is_durable``: the database holds all that it touched."""
        self._admitted.clear()
        self._absent.clear()
        self._free_names.clear()
        self._unsettled.clear()
        self._dues.clear()
        if is_durable:
            self._new_names.clear()
        states, schedule = self._states, self._schedule
        for state in leaving:
            key = (state.owner, state.profile.agent_id)
            placed_us = schedule.placed(key)
            if placed_us is not None:
                self._others_due_us = min(self._others_due_us, placed_us)
                schedule.remove(key)
            del states[key]
            if self._aliases or self._new_names:
                self._uncall(key)

    def demoted(self) -> Iterator[tuple[str, AgentState]]:
        """Yield published id and state of every agent above tier 1, in the order of ids."""
        if self._listed is None:
            aliases = self._aliases
            self._listed = sorted((aliases.get(key, key[1]), key) for key in self._above)
        for name, key in self._listed:
            yield name, self._states[key]

    def changes(self, since: int) -> list[tuple[str, AgentState | None]] | None:
        """Return who is published otherwise than with an edition; None: that is not known any more.

        Published id, and state; None where nobody of that id is above tier 1.
        """
        if since < self._changes_since:
            return None
        found: list[tuple[str, AgentState | None]] = []
        for name in reversed(self._changes):
            edition, key = self._changes[name]
            if edition <= since:
                break
            is_listed = key in self._above and self._aliases.get(key, key[1]) == name
            found.append((name, self._states[key] if is_listed else None))
        return found

    def tiers(self) -> dict[int, int]:
        """Return how many agents are published at each tier. Cost: O(1) for each above tier 1."""
        counts = Counter(self._states[key].standing.effective_tier for key in self._above)
        all_agents = sum(self._owner_counts.values())
        return {1: max(0, all_agents - len(self._above)), 2: counts[2], 3: counts[3]}

    def most_suspicious(self, limit: int) -> list[tuple[str, AgentState]]:
        """Return published id and state of agents in memory: the highest tiers first, then the latest."""
        chosen = nsmallest(
            limit,
            self._states.items(),
            key=lambda item: (-item[1].standing.effective_tier, -item[1].last_activity_us, item[0]),
        )
        return [(self.name(state), state) for _, state in chosen]

    def known(self) -> Iterable[str]:
        """Return every published id, of agents in memory or not."""
        if self._known is None:
            self._known = dict.fromkeys([*self._store.agent_names(), *self._new_names])
        return self._known.keys()

    def by_name(self, name: str) -> AgentState | None:
        """Return the state of a published agent, None for an unknown id."""
        if name in self._new_names:
            return self._states[self._new_names[name]]
        row = self._store.agent_named(name)
        if row is None:
            return None
        return self._states.get((row.owner, row.agent_id)) or self._remember(row)

    def _note(self, name: str, key: Key) -> None:
        """Note that something else is to be said of a published id."""
        self.edition += 1
        self._changes.pop(name, None)
        self._changes[name] = self.edition, key
        if len(self._changes) > _MAX_CHANGES:
            self._changes_since, _ = self._changes.pop(next(iter(self._changes)))

    def _rank(self, key: Key, state: AgentState) -> None:
        standing = state.standing
        if key in self._held or not standing.is_plain:
            self._note(self._aliases.get(key, key[1]), key)
        is_above = standing.effective_tier > 1
        if is_above != (key in self._above):
            self._listed = None
            _set(self._above, key, is_in=is_above)
        _set(self._held, key, is_in=not standing.is_plain)

    def _call(self, key: Key, name: str) -> None:
        self.edition += 1
        if name != key[1]:
            self._aliases[key] = name
        if key in self._above:
            self._listed = None
            self._note(name, key)
        self._new_names[name] = key
        if self._known is not None:
            self._known[name] = None

    def _load(self, key: Key) -> AgentState | None:
        row = self._store.agent(key)
        return None if row is None else self._remember(row)

    def _remember(self, row: AgentRow) -> AgentState:
        key = (row.owner, row.agent_id)
        try:
            state = load_checked(row.state, row.owner, row.agent_id, row.tier)
        except ValueError:
            # Its own loss alone: whoever is not the cause must not suffer for it. Restricted from now on;
            # when that was decided is said with the next commit.
            state = new_state(*key, self.prior, self.clock_us)
            state.standing.tier = 3
            self._damaged[key] = row.tier
        self._states[key] = state
        self._look_at((key,))
        self._fit(state)
        if row.name != row.agent_id:
            self._aliases[key] = row.name
        self._rank(key, state)
        return state

    def catch_up(self, state: AgentState) -> None:
        """Tell an agent what time it is for everybody."""
        # Else the result would depend on who happens to be in memory. Nothing is decided here, for who was
        # due has been told before; should it be all the same, it is not lost.
        if state.clock_us < self.clock_us:
            found: list[Draft] = []
            elapse(state, self.prior, self.clock_us, found)
            self._late += [(state, draft) for draft in found]

    def _fit(self, state: AgentState) -> None:
        if self.prior.detection is None and state.learned is not None:
            # Nothing would ever end them, and the agent would never leave memory.
            state.learned.sessions, state.learned.finished = [], []
        if state.profile.window.bucket_us != self.prior.monitor.bucket_us:
            # Another window width was configured: old buckets cannot be carried over.
            state.profile.window = self.prior.monitor.new_window()


def _set(keys: set[Key], key: Key, *, is_in: bool) -> None:
    if is_in:
        keys.add(key)
    else:
        keys.discard(key)

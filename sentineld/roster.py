"""Roster: the agents in memory, between the pure step and the database.

An agent is keyed by (owner uid, claimed id). The published id belongs to the owner to whom it is bound, else
to its first owner; an agent of another owner that claims the same id is published as ``id#uid`` (``#`` cannot
stand in a claimed id).
Cold agents (empty window, tier 1) leave memory and come back from the database when they act again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest

from sentineld.batch import Key
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


class Roster:
    """All agents that are warm, and the way to the others."""

    def __init__(self, store: Store, prior: Prior, agents_per_owner: int, clock_us: int = 0) -> None:
        self._store = store
        #: The latest tick; agents that come back from the database are told of it.
        self.clock_us = clock_us
        self.agents_per_owner = agents_per_owner
        self.prior = prior
        self._states: dict[Key, AgentState] = {}
        self._names: dict[Key, str] = {}
        self._new_names: dict[str, Key] = {}
        self._owner_counts: dict[int, int] = {}
        self._admitted: set[Key] = set()
        self._bindings: dict[str, int] = {}
        #: All published ids, once somebody has asked for them.
        self._known: dict[str, None] | None = None
        #: Owners that went beyond their quota of ids, and agents that claim another owner's id, of late.
        self.overflowed: set[int] = set()
        self.foreign: list[Key] = []
        #: Agents whose stored state could not be read, with the tier that they were published with.
        self._damaged: dict[Key, int] = {}
        #: Who is above tier 1, and who came to memory since the last commit: what neither came nor was
        #: touched is as it was, and is not looked at.
        self._above: set[Key] = set()
        self._unsettled: set[Key] = set()
        self.reload()

    def reload(self) -> None:
        """Forget what memory holds and start from the database again."""
        self._states.clear()
        self._names.clear()
        self._new_names.clear()
        self._admitted.clear()
        self._damaged.clear()
        self._above.clear()
        self._unsettled.clear()
        self._known = None
        self._owner_counts = self._store.owner_counts()
        for row in self._store.agents(warm_only=True):
            self._remember(row)

    def set_prior(self, prior: Prior) -> None:
        """Judge by other thresholds and rules from here on; what happened before stays as it was judged."""
        self.prior = prior
        for state in self._states.values():
            self._fit(state)
        self._unsettled.update(self._states)

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
                    self._new_names.pop(self.name(state), None)
                    self._call(key, name)
                    rows.append(self.row(state))
        return rows

    def key_of(self, owner: int, agent_id: str) -> Key:
        """Return the key that an event is charged to: the claimed id, or the owner's overflow id."""
        key = (owner, agent_id)
        if key in self._states or key in self._admitted or self._load(key) is not None:
            return key
        count = self._owner_counts.get(owner, 0)
        if count >= self.agents_per_owner:
            self.overflowed.add(owner)
            return (owner, OVERFLOW_ID)
        self._owner_counts[owner] = count + 1
        self._admitted.add(key)
        return key

    def get(self, key: Key, at_us: int) -> AgentState:
        """Return the agent's state; an agent seen for the first time gets a new one."""
        state = self._states.get(key) or self._load(key)
        if state is None:
            state = self._states[key] = new_state(*key, self.prior, at_us)
            name = key[1]
            is_bound = self._bindings.get(name, key[0]) != key[0]
            if is_bound or name in self._new_names or self._store.name_taken(name):
                name = f"{key[1]}#{key[0]}"
                if key[1] not in (OVERFLOW_ID, UNNAMED_ID):
                    self.foreign.append(key)
            self._call(key, name)
            self._unsettled.add(key)
            self._catch_up(state)
        return state

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
        self._rank(key, state)
        self._call(key, new_id)
        return state, old_name, new_id

    def forget(self, state: AgentState) -> None:
        """Know nothing of an agent any more; the database must forget it in the next commit."""
        self._drop(state)
        self._owner_counts[state.owner] = max(0, self._owner_counts.get(state.owner, 0) - 1)

    def _drop(self, state: AgentState) -> None:
        key = (state.owner, state.agent_id)
        del self._states[key]
        self._damaged.pop(key, None)
        self._above.discard(key)
        name = self._names.pop(key)
        self._new_names.pop(name, None)
        if self._known is not None:
            self._known.pop(name, None)

    def take_foreign(self) -> list[Key]:
        """Return, once, the agents that are new and claim an id of another owner's."""
        foreign, self.foreign = self.foreign, []
        return foreign

    def distrust_damaged(self, at_us: int) -> list[tuple[AgentState, Draft]]:
        """Decide on the agents whose stored state could not be read, each as of ``at_us``."""
        found: list[tuple[AgentState, Draft]] = []
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
        return self._names[(state.owner, state.agent_id)]

    def row(self, state: AgentState) -> AgentRow:
        """Return what the database keeps of an agent."""
        return AgentRow(
            state.owner,
            state.agent_id,
            self.name(state),
            state.standing.effective_tier,
            state.is_cold,
            dump_state(state),
        )

    def owned_by(self, owner: int, limit: int) -> list[str]:
        """Return the claimed ids of an owner's agents, in memory or not, at most about ``limit``."""
        found = set(self._store.owned_by(owner, limit))
        found.update(agent_id for uid, agent_id in self._states if uid == owner)
        return sorted(found - {OVERFLOW_ID, UNNAMED_ID})

    def holds(self, key: Key) -> bool:
        """Say whether an agent is in memory."""
        return key in self._states

    def all(self) -> list[AgentState]:
        """Return every agent in memory."""
        return list(self._states.values())

    def warm(self) -> list[AgentState]:
        """Return the agents that the passing of time can change."""
        return [state for state in self._states.values() if not state.is_cold]

    @property
    def has_warm(self) -> bool:
        """Whether there are any."""
        return any(not state.is_cold for state in self._states.values())

    def settle(self, touched: Iterable[AgentState]) -> None:
        """After a commit that touched these: who nothing but a new event can change leaves memory.

        Cost: O(1) for each of them, and for each that came to memory since the last commit.
        """
        self._admitted.clear()
        keys = {(state.owner, state.agent_id) for state in touched} | self._unsettled
        self._unsettled.clear()
        for key in keys:
            state = self._states.get(key)
            if state is None:
                continue
            self._rank(key, state)
            if state.is_cold:
                del self._states[key]
                name = self._names.pop(key)
                self._new_names.pop(name, None)

    def demoted(self) -> Iterator[tuple[str, AgentState]]:
        """Yield published id and state of every agent above tier 1, in the order of ids."""
        names = self._names
        above = sorted((names[key], key) for key in self._above)
        return ((name, self._states[key]) for name, key in above)

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
        return [(self._names[key], state) for key, state in chosen]

    def known(self) -> Iterable[str]:
        """Return every published id, of agents in memory or not."""
        if self._known is None:
            self._known = dict.fromkeys([*self._store.agent_names(), *self._names.values()])
        return self._known.keys()

    def by_name(self, name: str) -> AgentState | None:
        """Return the state of a published agent, None for an unknown id."""
        for key, known in self._names.items():
            if known == name:
                return self._states[key]
        row = self._store.agent_named(name)
        if row is None:
            return None
        return self._states.get((row.owner, row.agent_id)) or self._remember(row)

    def _rank(self, key: Key, state: AgentState) -> None:
        if state.standing.effective_tier > 1:
            self._above.add(key)
        else:
            self._above.discard(key)

    def _call(self, key: Key, name: str) -> None:
        self._names[key] = name
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
        self._unsettled.add(key)
        self._fit(state)
        self._catch_up(state)
        self._rank(key, state)
        self._names[key] = row.name
        return state

    def _catch_up(self, state: AgentState) -> None:
        # Everybody has heard of the latest tick, also who was not in memory then: else the result would
        # depend on who happened to be, and a restart, after which all are told, would change it. Nothing is
        # decided here: what that tick decided was committed with it.
        elapse(state, self.prior, self.clock_us, [])

    def _fit(self, state: AgentState) -> None:
        if self.prior.detection is None and state.learned is not None:
            # Nothing would ever end them, and the agent would never leave memory.
            state.learned.sessions, state.learned.finished = [], []
        if state.profile.window.bucket_us != self.prior.monitor.bucket_us:
            # Another window width was configured: old buckets cannot be carried over.
            state.profile.window = self.prior.monitor.new_window()

"""Operators: what they ask for, prepared as one commit: acts on habits, and on agents as a whole.

Pardons and pins are the step's own affair. What stands here needs more than one agent's state: habits that
many share, sessions that are kept, the names under which agents are known. ``pipeline`` commits what is
prepared; nothing is published or logged here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sentineld.baseline import own_of, role_of
from sentineld.decision import Decision
from sentineld.detection import Detection, RoleKey
from sentineld.event import Tick
from sentineld.explain import done
from sentineld.habits import Role
from sentineld.incidents import Incidents
from sentineld.instant import iso
from sentineld.monitor import NEVER_US
from sentineld.requests import Request
from sentineld.roster import OVERFLOW_ID, Roster
from sentineld.rows import is_agent_id
from sentineld.step import AgentState, Draft, Wish, load_checked, step
from sentineld.store import Store
from sentineld.tables import Commit, Renaming, RoleRow
from sentineld.teaching import learn_anew, own_anew
from sentineld.trust import UNNAMED_ID
from sentineld.wishes import AgentWish, Erase, Freeze, HabitWish, Import, Rename, Renew, Reset


@dataclass(slots=True)
class Act:
    """What is to be committed: ``records`` are decisions without a number, about no agent's tier."""

    commit: Commit
    touched: list[AgentState] = field(default_factory=list)
    drafts: list[tuple[AgentState, Draft]] = field(default_factory=list)
    records: list[Decision] = field(default_factory=list)


class Operators:
    """Carries out operators' acts over one database; ``roles`` are the habits in force."""

    def __init__(
        self, store: Store, roster: Roster, incidents: Incidents, roles: dict[RoleKey, Role]
    ) -> None:
        self._store = store
        self._roster = roster
        self._incidents = incidents
        self._roles = roles

    @property
    def _detection(self) -> Detection | None:
        return self._roster.prior.detection

    def refusal(self, request: Request, at_us: int) -> str:
        """Say why a request cannot be carried out at ``at_us``; empty: it can."""
        state = None
        if request.role is None:
            state = self._roster.by_name(request.agent)
            if state is None:
                return "it names an unknown agent"
        if request.kind in ("freeze", "unfreeze", "reset", "import") and self._detection is None:
            return 'habits are learned, and can be changed, where detection.mode is "learned"'
        if request.since_us > at_us:
            return "its time has not come yet"
        if request.kind == "rename" and state is not None:
            return self._rename_refusal(state, request.to)
        if request.role is not None:
            role = self._roles.get((request.owner, request.role))
            if request.kind != "import" and role is None:
                return f"uid {request.owner} has no role of this name"
            known = 0 if role is None else role.own_sessions
            if request.kind == "import" and known and not request.replaces:
                return f"the role has learned from {known} sessions, and the wish is not to replace them"
        return ""

    def _rename_refusal(self, state: AgentState, new_id: str) -> str:
        if not is_agent_id(new_id):
            return "the new id cannot be an agent's"
        if state.agent_id in (OVERFLOW_ID, UNNAMED_ID):
            return f"{state.agent_id} is no agent of its own"
        if new_id == state.agent_id:
            return "that is its id already"
        if self._roster.owner_of(new_id) not in (-1, state.owner):
            return "the new id belongs to another owner's agent"
        return ""

    def for_step(self, state: AgentState, wish: Wish | Reset | Import) -> Wish:
        """Return a wish about one agent as the step obeys it."""
        if isinstance(wish, Reset):
            if wish.since_us is None:
                count, own = own_anew(())
                said = "its own habits and open sessions are forgotten"
                since_us = NEVER_US
            else:
                lessons = self._store.lessons(state.owner, agent_id=state.agent_id)
                since_us = wish.since_us
                count, own = own_anew(item for item in lessons if self._is_after(item.ended_us, since_us))
                said = f"its own habits are those of {count} kept sessions that went on after {iso(since_us)}"
            return Renew(wish.at_us, wish.actor, wish.reason, own, since_us, self._gap_us, "reset", said)
        if isinstance(wish, Import):
            own = own_of(wish.baseline)
            said = f"own habits of {own.sessions} sessions, {wish.baseline.digest[:16]}"
            return Renew(wish.at_us, wish.actor, wish.reason, own, 0, self._gap_us, "imported", said)
        return wish

    def on_agent(self, state: AgentState, wish: Rename | Erase, act: Act) -> None:
        """Prepare what is done to an agent as a whole."""
        act.drafts += self._roster.take_late(wish.at_us)
        act.touched += [item for item, _ in act.drafts]
        # As for any other wish, time has passed first.
        _, found = step(state, self._roster.prior, [Tick(wish.at_us)])
        before = state.standing.effective_tier
        if isinstance(wish, Erase):
            name = self._roster.name(state)
            act.touched = [item for item in act.touched if item is not state]
            act.drafts = [item for item in act.drafts if item[0] is not state]
            act.commit.erased = (state.owner, state.agent_id, name)
            self._roster.forget(state)
            said = "its state, decisions and sessions were removed; what its role learned stays, as hashes"
            act.records.append(self._told("erased", wish, said, agent_id=name, tiers=(before, 1)))
        else:
            old_id = state.agent_id
            renamed, old_name, new_name = self._roster.rename(state, wish.new_id)
            act.touched.append(renamed)
            if renamed is state:
                act.drafts += [(state, draft) for draft in found]
            else:
                act.touched = [item for item in act.touched if item is not state]
                act.drafts = [(renamed if item is state else item, draft) for item, draft in act.drafts]
            act.commit.renamed = Renaming(state.owner, old_id, wish.new_id, old_name, new_name)
            said = f"it was {old_name}" + (
                "" if renamed is state else "; what both had done is one agent's now"
            )
            tier = renamed.standing.effective_tier
            act.records.append(self._told("renamed", wish, said, agent_id=new_name, tiers=(tier, tier)))
        self._incidents.forget_writers()

    def on_role(self, key: RoleKey, wish: HabitWish, act: Act) -> None:
        """Prepare what is done to the habits of a role."""
        detection = self._detection
        assert detection is not None
        role = detection.role(key)
        if isinstance(wish, Freeze):
            if role.is_frozen == wish.is_frozen:
                return
            role.is_frozen = wish.is_frozen
            cause = wish.cause
            said = "sessions rank, and teach nothing" if wish.is_frozen else "sessions teach again"
        elif isinstance(wish, Import):
            cause, fresh = "imported", role_of(wish.baseline)
            said = (
                f"habits of {fresh.sessions} sessions of {wish.baseline.name!r}, {wish.baseline.digest[:16]}"
            )
            act.commit.forgotten = (*key, NEVER_US)
            role = self._go_on_as(key, role, fresh)
        else:
            cause, said = "reset", self._reset(key, role, wish, act)
            role = self._roles[key]
        act.commit.roles = [RoleRow(*key, role.dump())]
        act.records.append(self._told(cause, wish, f"uid {key[0]}: {said}", role=key[1]))

    def mend(self, keys: list[RoleKey], at_us: int, act: Act) -> None:
        """Prepare a new beginning of habits that could not be read: from the sessions that are kept."""
        for key in keys:
            fresh = self._new(key)
            count, _ = learn_anew(fresh, self._store.lessons(key[0], role=key[1]))
            self._roles[key] = fresh
            act.commit.roles.append(RoleRow(*key, fresh.dump()))
            note = "its habits are damaged in the database; they begin anew"
            said = f"uid {key[0]}: learned anew from {count} kept sessions"
            act.records.append(self._record("mended", at_us, said, note=note, role=key[1]))

    def _reset(self, key: RoleKey, role: Role, wish: Reset, act: Act) -> str:
        since_us = NEVER_US if wish.since_us is None else wish.since_us
        lessons = [
            item
            for item in self._store.lessons(key[0], role=key[1])
            if self._is_after(item.ended_us, since_us)
        ]
        fresh = self._new(key)
        count, owns = learn_anew(fresh, lessons)
        self._go_on_as(key, role, fresh)
        act.commit.forgotten = (*key, min(NEVER_US, since_us + self._gap_us))
        for state in self._agents_of(key):
            agent = state.learned
            assert agent is not None
            own = agent.own
            if agent.role == key[1]:
                own = owns.get(state.agent_id) or type(own)()
                own.is_frozen = agent.own.is_frozen
            agent.renew(own, since_us, self._gap_us, key[1])
            act.touched.append(state)
        if wish.since_us is None:
            return "all habits are forgotten"
        return f"habits are those of {count} kept sessions that went on after {iso(wish.since_us)}"

    def _go_on_as(self, key: RoleKey, role: Role, fresh: Role) -> Role:
        fresh.version, fresh.is_frozen = role.version + 1, role.is_frozen
        self._roles[key] = fresh
        return fresh

    def _new(self, key: RoleKey) -> Role:
        starter = None if self._detection is None else self._detection.starter(key[1])
        return starter or Role()

    @property
    def _gap_us(self) -> int:
        return 0 if self._detection is None else self._detection.settings.gap_us

    def _is_after(self, ended_us: int, since_us: int) -> bool:
        # A session ends a gap after its last event.
        return ended_us - self._gap_us > since_us

    def _agents_of(self, key: RoleKey) -> Iterator[AgentState]:
        """Yield the agents that have to do with a role, in memory or not, in the order of their ids."""
        names = {self._roster.name(state) for state in self._roster.all() if state.owner == key[0]}
        for row in self._store.agents():
            if row.owner != key[0] or self._roster.holds((row.owner, row.agent_id)):
                continue
            try:
                learned = load_checked(row.state, row.owner, row.agent_id, row.tier).learned
            except ValueError:
                # Found, and restricted, when it acts again.
                continue
            if learned is not None:
                names.add(row.name)
        for name in sorted(names):
            state = self._roster.by_name(name)
            agent = None if state is None else state.learned
            if state is None or agent is None:
                continue
            finished = (*agent.finished, *agent.held)
            roles = {agent.role, *(one.role for one in agent.sessions), *(one.role for one in finished)}
            if key[1] in roles:
                yield state

    def _told(
        self,
        cause: str,
        wish: HabitWish | AgentWish,
        said: str,
        *,
        agent_id: str = "",
        role: str | None = None,
        tiers: tuple[int, int] = (1, 1),
    ) -> Decision:
        record = self._record(cause, wish.at_us, said, note=wish.reason, role=role)
        return replace(record, agent_id=agent_id, from_tier=tiers[0], to_tier=tiers[1], actor=wish.actor)

    def _record(self, cause: str, at_us: int, said: str, *, note: str, role: str | None) -> Decision:
        return Decision(
            decision_no=0,
            decision_id="",
            agent_id="",
            from_tier=1,
            to_tier=1,
            score=0.0,
            decided_at=iso(at_us),
            cause=cause,
            prior_version=self._roster.prior.version,
            evidence=[done(said)],
            note=note,
            role=role,
        )

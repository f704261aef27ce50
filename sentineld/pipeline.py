"""The one line: batch -> effective time and order -> step -> commit -> publish -> log.

Open this file first. ``Pipeline`` is the line with its far ends left open: live runs give it a database on
disk, a publisher and a decision log; replay gives it a database in memory and neither of the others.

Order is the promise: a batch commits whole (positions, agents, decisions), then the state file shows it,
then the log tells of it. A crash in between repeats the later steps, never the earlier ones.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from sentineld.batch import Inputs, Key, Part, accounts, combine
from sentineld.decision import Decision, decision_id
from sentineld.decode import INTERNAL_ERROR
from sentineld.detection import RoleKey, Verdict
from sentineld.event import Incident, Observation
from sentineld.explain import decide
from sentineld.identity import Source
from sentineld.incidents import Incidents
from sentineld.intake import Batch, inheritance
from sentineld.monitor import NEVER_US
from sentineld.operators import Act, Operators
from sentineld.requests import Request
from sentineld.roster import AGENTS_IN_MEMORY, Roster
from sentineld.schedule import due_us
from sentineld.step import (
    AgentState,
    Draft,
    Pardon,
    Prior,
    Wish,
    charge,
    dump_state,
    elapse,
    load_checked,
    observe,
    shift,
    step,
)
from sentineld.store import Store
from sentineld.tables import AgentRow, Commit, LessonRow, RoleRow
from sentineld.teaching import SLICE_US, Teaching, load_roles
from sentineld.wishes import Erase, Freeze, Import, Rename, Reset

#: Agents that are read at once where all are.
_ROWS_AT_ONCE = 1000
#: Agents that are told of the time between two commits, where that can be cut: some more.
_TOLD_AT_ONCE = 1000


class Observer(Protocol):
    """Looks on while a batch is judged, without a say in it: replay follows sessions this way."""

    def runs(self, key: Key, run: list[Observation], names: list[str] | None) -> list[list[Observation]]:
        """Cut an agent's observations (and their session names, if any has one) into consecutive runs."""

    def judged(self, key: Key, peak: float) -> None:
        """Take note of the highest score in the run that was just judged."""

    def learned(self, key: Key, run: list[Observation], verdicts: list[Verdict]) -> None:
        """Take note of what learned detection thinks of the events of a run, where it is anything new."""


@dataclass(slots=True)
class Outcome:
    """What one call did: the decisions that were committed, and how many events were read."""

    decisions: list[Decision] = field(default_factory=list)
    events: int = 0
    #: Agents that were touched.
    agents: int = 0
    #: Incidents that what was read showed by itself.
    derived: Sequence[Incident] = ()
    #: Of the agents that were touched: the latest instant that any was told of, and when time alone changes
    #: the standing of one (effective time, microseconds).
    clock_us: int = 0
    deadlines: Sequence[int] = ()


@dataclass(slots=True)
class _Work:
    """What goes into the next commit: who was touched, what was decided, and what roles learned."""

    touched: list[AgentState] = field(default_factory=list)
    drafts: list[tuple[AgentState, Draft]] = field(default_factory=list)
    roles: set[RoleKey] = field(default_factory=set)
    lessons: list[LessonRow] = field(default_factory=list)

    def clear(self) -> None:
        """Begin anew: the lists are others, for a commit has the former ones."""
        self.touched, self.drafts, self.roles, self.lessons = [], [], set(), []


class Pipeline:
    """The line of one database. Every method is one transaction; nothing is published or logged here.

    Without ``is_durable`` (replay, whose database is in memory) agents are written once, by ``flush``. Where
    learned detection decides, history is learned from, and judged as ``judges_history`` says (None: as the
    settings do).
    """

    def __init__(
        self,
        store: Store,
        prior: Prior,
        *,
        agents_per_owner: int,
        clock_us: int = 0,
        observer: Observer | None = None,
        is_durable: bool = True,
        judges_history: bool | None = None,
        agents_in_memory: int = AGENTS_IN_MEMORY,
    ) -> None:
        self.store = store
        #: Entered for a commit of decisions, which are known by then: what tells of them may be prepared.
        self.announcing: Callable[[], AbstractContextManager[None]] = nullcontext
        #: Habits that could not be read; ``mend`` begins them anew.
        self._roles, self.damaged_roles = load_roles(store.roles())
        self.roster = Roster(store, self._with_roles(prior), agents_per_owner, clock_us, agents_in_memory)
        self._judges_history = judges_history
        self._teaching = Teaching(self.prior.detection, clock_us)
        self._observer = observer
        self._is_durable = is_durable
        self._incidents = Incidents(store, self.roster)
        self._operators = Operators(store, self.roster, self._incidents, self._roles)
        self._decision_no = store.meta().decision_no

    @property
    def prior(self) -> Prior:
        """The thresholds and rules in force."""
        return self.roster.prior

    def set_prior(self, prior: Prior) -> None:
        """Judge by other thresholds and rules from here on."""
        self.roster.set_prior(self._with_roles(prior))
        self._teaching.detection = self.prior.detection

    @property
    def _is_history_judged(self) -> bool:
        detection = self.prior.detection
        if detection is None or self._judges_history is not None:
            return self._judges_history is not False
        return detection.settings.judges_history

    def _with_roles(self, prior: Prior) -> Prior:
        detection = prior.detection
        if detection is None:
            return prior
        return replace(prior, detection=replace(detection, roles=self._roles))

    def bind(self, bindings: Mapping[str, int]) -> None:
        """Let ids belong to uids from here on, whoever was published under them before."""
        rows = self.roster.bind(bindings)
        if rows:
            self.store.commit(Commit("publish", 0, agents=rows))

    def number_on(self, decision_no: int) -> None:
        """Give the next decision a number above this one."""
        self._decision_no = max(self._decision_no, decision_no)

    def read(self, batch: Batch, at_us: int, *, last_scan_us: int = 0) -> Outcome:
        """Take in a batch of parts that were read by ``at_us``."""
        seen = self._mark_duplicates(batch.parts)
        claims: dict[int, set[str]] = {}
        for part in batch.parts:
            claims.setdefault(part.owner, set()).update(part.rows.agent_ids)
        self.roster.expect({(owner, name) for owner, names in claims.items() for name in names})
        inputs = combine(batch.parts, self.roster.key_of)
        work = _Work()
        earlier: list[Outcome] = []
        is_learning = any(part.is_history for part in batch.parts) and not self._is_history_judged
        is_first = True
        for border, runs in self._teaching.stretches(inputs.observations):
            if border is not None:
                # What happened before all that is in the batch needs not wait for its commit.
                self._cross(border, work, earlier if is_first else None)
            is_first = False
            touched, drafts = work.touched, work.drafts
            for key, run in runs.items():
                state = self.roster.get(key, run[0][0])
                touched.append(state)
                found = self._judge(key, state, run, inputs.sessions.get(key), is_learning=is_learning)
                if found:
                    drafts += [(state, draft) for draft in found]
                self._incidents.note(key[1], run)
        touched, drafts = work.touched, work.drafts
        numbered, followed = self._incidents.numbered(batch)
        derived = [*self._incidents.derived(batch, inputs), *numbered]
        known = set(map(id, touched))
        touched += (state for state in followed if id(state) not in known)
        for incident in (*batch.incidents, *derived):
            for state, found in self._charge(incident):
                touched.append(state)
                drafts += [(state, draft) for draft in found]
        commit = Commit("read", at_us, parts=batch.parts, seen=seen, last_scan_us=last_scan_us)
        commit.clock_us = self.roster.clock_us
        commit.incidents, commit.writers = [*batch.incidents, *derived], self._incidents.take_new()
        commit.denials, commit.done_calls, commit.lifted = self._incidents.denials.take_new()
        if batch.incidents:
            commit.document["incidents"] = [asdict(item) for item in batch.incidents]
        if begun := {str(source.id): inheritance(source) for source in batch.begun if source.format}:
            commit.document["begun"] = begun
        if left_out := _left_out(batch.parts):
            commit.document["left_out"] = left_out
        commit.sources = _account(batch)
        commit.event_types, commit.events = dict(inputs.event_types), inputs.events
        commit.tool_calls = inputs.tool_calls
        commit.unknown = Counter((part.format, name) for part in batch.parts for _, name in part.rows.unknown)
        outcome = self._conclude(commit, work, inputs, batch)
        outcome.derived = derived
        return _joined([*earlier, outcome])

    def tick(self, at_us: int) -> Outcome:
        """Tell everybody what time it is. Cost: O(1) for each agent that is due; see ``is_due``."""
        work = _Work()
        earlier: list[Outcome] = []
        border = self._teaching.border(at_us)
        if border is not None:
            self._cross(border, work, earlier)
        self._pass_time(at_us, work)
        return _joined([*earlier, self._conclude(Commit("tick", at_us, clock_us=at_us), work)])

    def is_due(self, at_us: int) -> bool:
        """Say whether a tick could change anything by then: else it can wait."""
        due = self.roster.next_due_us()
        return due is not None and due < at_us

    def obey(self, request_id: str, agent: str, wish: Wish, document: dict[str, Any]) -> Outcome:
        """Carry out an operator's wish once; an unknown agent or a repeated request changes nothing."""
        state = self.roster.by_name(agent)
        if state is None or self.store.has_request(request_id):
            return Outcome()
        # Before the wish, which is the last word on it.
        drafts = self.roster.take_late(wish.at_us)
        _, found = step(state, self.prior, [wish])
        drafts += [(state, draft) for draft in found]
        commit = Commit("wish", wish.at_us, request_id=request_id, document=document)
        if isinstance(wish, Pardon):
            commit.lifted = self._incidents.denials.forgive(state.owner, state.agent_id)
        return self._finish(commit, [state, *(item for item, _ in drafts)], drafts)

    def refusal(self, request: Request, at_us: int) -> str:
        """Say why an operator's request cannot be carried out at ``at_us``; empty: it can."""
        return self._operators.refusal(request, at_us)

    def carry_out(
        self, request_id: str, request: Request, at_us: int, actor: str, document: dict[str, Any]
    ) -> Outcome:
        """Carry out an operator's request once; one that is repeated, or refused, changes nothing.

        Raises ``ValueError`` for a time in it that cannot be read.
        """
        if self.store.has_request(request_id) or self.refusal(request, at_us):
            return Outcome()
        wish = request.wish(at_us, actor)
        act = Act(Commit("wish", at_us, request_id=request_id, document=document))
        if request.role is not None:
            if not isinstance(wish, Freeze | Reset | Import):
                return Outcome()
            self._operators.on_role((request.owner, request.role), wish, act)
            return self._finish(act.commit, act.touched, act.drafts, records=act.records)
        state = self.roster.by_name(request.agent)
        if state is None:
            return Outcome()
        if isinstance(wish, Rename | Erase):
            self._operators.on_agent(state, wish, act)
            return self._finish(act.commit, act.touched, act.drafts, records=act.records)
        stepped = self._operators.for_step(state, wish)
        return self.obey(request_id, request.agent, stepped, document)

    def mend(self, roles: list[RoleKey], at_us: int) -> Outcome:
        """Begin habits anew that could not be read, from the sessions that are kept."""
        document = {"roles": [list(key) for key in roles]}
        act = Act(Commit("mended", at_us, document=document))
        self._operators.mend(roles, at_us, act)
        self.damaged_roles = [key for key in self.damaged_roles if key not in roles]
        return self._finish(act.commit, act.touched, act.drafts, records=act.records)

    def set_clock(self, delta_us: int, at_us: int) -> None:
        """Take note that the wall clock was set by ``delta_us`` and shows ``at_us`` now.

        The past of every agent moves along: a clock that jumps ends no quiet time and empties no window, and
        one that is set back does not stop time for anybody.
        """
        rows = self._shifted(delta_us, at_us)
        document = {"delta_us": delta_us}
        self.store.commit(
            Commit("clock", at_us, agents=rows, document=document, clock_us=at_us, shift_us=delta_us)
        )
        self.roster.set_clock(at_us)
        self._teaching = Teaching(self.prior.detection, at_us)

    def _shifted(self, delta_us: int, at_us: int) -> Iterator[AgentRow]:
        for state in self.roster.all():
            self.roster.catch_up(state)
            shift(state, delta_us, at_us)
            yield self.roster.row(state)
        key: Key = (-1, "")
        while rows := self.store.agents_after(key, _ROWS_AT_ONCE):
            for row in rows:
                key = (row.owner, row.agent_id)
                state_of = None if self.roster.holds(key) else self._stored(row)
                # Who is done for good has no past to keep, unless the present has to come back to it.
                if state_of is not None and (delta_us < 0 or not state_of.is_cold):
                    self.roster.catch_up(state_of)
                    shift(state_of, delta_us, at_us)
                    due = due_us(state_of, self.prior)
                    yield row._replace(state=dump_state(state_of), due_us=due)

    @staticmethod
    def _stored(row: AgentRow) -> AgentState | None:
        try:
            return load_checked(row.state, row.owner, row.agent_id, row.tier)
        except ValueError:
            # Found, and restricted, when it acts again.
            return None

    def flush(self) -> None:
        """Write every agent that only memory holds; nothing to do on a durable line."""
        if not self._is_durable:
            rows = [self.roster.row(state) for state in self.roster.all()]
            self.store.commit(Commit("publish", 0, agents=rows))

    def _cross(self, until_us: int, work: _Work, earlier: list[Outcome] | None) -> None:
        """Tell everybody that slices of time have ended up to ``until_us``, and let their roles learn.

        Each slice in which anybody was due ends for itself: the same is learned and decided, whoever looks
        how often. Where many are due, who was told is committed before the next ones, if ``earlier`` is
        there to take in what that did: a long silence needs no more memory than a short one.
        """
        border_us = 0
        while border_us < until_us:
            if earlier is not None and len(work.touched) >= _TOLD_AT_ONCE:
                earlier.append(self._conclude(Commit("tick", border_us, clock_us=border_us), work))
                work.clear()
            border_us = min(until_us, self._next_border(border_us))
            due = self._pass_time(border_us, work)
            learnt = self._teaching.learn(due, border_us)
            work.roles.update(learnt.roles)
            work.lessons += learnt.lessons

    def _next_border(self, after_us: int) -> int:
        """Return the first border of slices, behind ``after_us``, at which anybody is due."""
        due = self.roster.next_due_us()
        if due is None:
            return NEVER_US
        return (max(due, after_us, self.roster.clock_us) // SLICE_US + 1) * SLICE_US

    def _pass_time(self, at_us: int, work: _Work) -> list[AgentState]:
        """Tell everybody what time it is; return those who were due, which have changed."""
        due = self.roster.due(at_us)
        for state in due:
            found: list[Draft] = []
            elapse(state, self.prior, at_us, found)
            work.drafts += [(state, draft) for draft in found]
        work.touched += due
        self.roster.clock_us = max(self.roster.clock_us, at_us)
        return due

    def _charge(self, incident: Incident) -> Iterator[tuple[AgentState, list[Draft]]]:
        if self.prior.charges.tier(incident.kind) == 1:
            return
        for key in self._incidents.charged(incident):
            state = self.roster.get(key, incident.at_us)
            drafts: list[Draft] = []
            charge(state, self.prior, incident, drafts)
            yield state, drafts

    def _judge(
        self,
        key: Key,
        state: AgentState,
        run: list[Observation],
        names: list[str] | None,
        *,
        is_learning: bool,
    ) -> list[Draft]:
        drafts: list[Draft] = []
        if self._observer is None:
            observe(state, self.prior, run, drafts, is_learning=is_learning)
            return drafts
        if self.prior.detection is not None:
            verdicts: list[Verdict] = []
            observe(state, self.prior, run, drafts, is_learning=is_learning, verdicts=verdicts)
            self._observer.learned(key, run, verdicts)
            return drafts
        for part in self._observer.runs(key, run, names):
            peak, state.peak = state.peak, 0.0
            observe(state, self.prior, part, drafts)
            self._observer.judged(key, state.peak)
            state.peak = max(peak, state.peak)
        return drafts

    def _mark_duplicates(self, parts: Sequence[Part]) -> list[tuple[int, bytes, bytes]]:
        fresh: dict[tuple[int, bytes], list[bytes]] = {}
        new: list[tuple[int, bytes, bytes]] = []
        for part in parts:
            for number, (record_id, content) in part.rows.identities.items():
                key = (part.owner, record_id)
                if key not in fresh:
                    fresh[key] = self.store.seen(*key)
                known = fresh[key]
                if content in known:
                    part.duplicates.add(number)
                    continue
                part.conflicts += bool(known)
                known.append(content)
                new.append((*key, content))
        return new

    def _conclude(
        self, commit: Commit, work: _Work, inputs: Inputs | None = None, batch: Batch | None = None
    ) -> Outcome:
        # Once, as they are now, however many slices have ended.
        commit.roles = [RoleRow(*key, self._roles[key].dump()) for key in sorted(work.roles)]
        commit.lessons = work.lessons
        return self._finish(commit, work.touched, work.drafts, inputs, batch)

    def _finish(
        self,
        commit: Commit,
        touched: Sequence[AgentState],
        drafts: Sequence[tuple[AgentState, Draft]],
        inputs: Inputs | None = None,
        batch: Batch | None = None,
        records: Sequence[Decision] = (),
    ) -> Outcome:
        late = self.roster.take_late(commit.at_us)
        drafts = [*drafts, *late]
        touched = _once([*touched, *(state for state, _ in late)])
        number = self._decision_no
        paths = {} if batch is None else {source.id: source.path for _, source in batch.sources.values()}
        for state, draft in sorted(
            drafts, key=lambda item: (item[1].change.at_us, self.roster.name(item[0]))
        ):
            number += 1
            name = self.roster.name(state)
            commit.decisions.append(decide(number, name, state, draft, self.prior, self._path, paths))
        for record in records:
            number += 1
            commit.decisions.append(replace(record, decision_no=number, decision_id=decision_id(number)))
        leaving = self.roster.settle(touched)
        # A line in memory writes an agent when it leaves memory, and all others at its end.
        commit.agents = self.roster.rows(touched if self._is_durable else leaving)
        commit.bumps_seq = bool(commit.decisions)
        with self.announcing() if commit.decisions else nullcontext():
            self.store.commit(commit)
        self._decision_no = number
        self.roster.committed(leaving, is_durable=self._is_durable)
        return Outcome(
            commit.decisions,
            0 if inputs is None else inputs.events,
            len(touched),
            clock_us=max((state.clock_us for state in touched), default=0),
            deadlines=self._deadlines(touched),
        )

    def _deadlines(self, states: Sequence[AgentState]) -> list[int]:
        policy = self.prior.policy
        found = (policy.next_deadline(state.standing) for state in states if not state.standing.is_plain)
        return [at_us for at_us in found if at_us is not None]

    def _path(self, source_id: int) -> str:
        return self.store.source_path(source_id)


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return what all of them did, one after the other."""
    *earlier, last = outcomes
    for outcome in reversed(earlier):
        last.decisions = [*outcome.decisions, *last.decisions]
        last.deadlines = [*outcome.deadlines, *last.deadlines]
        last.agents += outcome.agents
        last.clock_us = max(last.clock_us, outcome.clock_us)
    return last


def _once(states: Sequence[AgentState]) -> list[AgentState]:
    return list({id(state): state for state in states}.values())


def _left_out(parts: Sequence[Part]) -> dict[str, list[int]]:
    """Return, as plain data, by source where the records begin that sentineld itself fails on."""
    found: dict[str, list[int]] = {}
    for part in parts:
        if offsets := [item.offset for item in part.rejects if item.reason == INTERNAL_ERROR]:
            found.setdefault(str(part.source_id), []).extend(offsets)
    return found


def _account(batch: Batch) -> list[tuple[int, Source]]:
    for part in batch.parts:
        source = batch.sources[part.source_id][1]
        told = part.told = accounts(part)
        source.duplicates += told.duplicates
        source.accepted += told.accepted
        source.rejected += told.rejected
        source.ignored += told.ignored
        source.conflicts += part.conflicts
        source.clamped += part.clamped
        source.timeless += part.timeless
        source.lines += told.lines
        source.blank += part.ignored
        if part.rows.unknown:
            # Some records are known in part.
            source.unknown += len({offset for offset, _ in part.rows.unknown}.intersection(part.rows.ignored))
    return list(batch.sources.values())

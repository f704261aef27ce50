"""The experiments: who learns from what, what is scored when. Each returns outcomes for tables."""

import copy
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .attacks import CAMPAIGNS, cases, divided, host_of, splice
from .metrics import Conformal
from .protocol import Case, Cost, Factory, Method, Outcome, Session, moved, stamp, unix
from .sessions import AgentDojo, end_of

#: Simulated pipelines: the first learn, the others are scored.
LEARNING, SCORED = tuple(range(6)), (6, 7, 8)
FOLDS = 5
#: Sessions that an agent has finished before it counts as known.
WARM_SESSIONS = 3
DAY_ONE_SESSIONS = 20
#: How first days begin.
STARTS = ("cold", "warm", "later")
BUSY_RATES = (1, 2, 5, 10, 20, 40)
#: Pipelines whose sessions make the long history of the volume tests: enough of them to calibrate 1 %.
BUSY_HISTORY = tuple(range(20, 32))


@dataclass(slots=True)
class Results:
    """Outcomes of one experiment: benign sessions, attacks, and what it took."""

    benign: list[Outcome] = field(default_factory=list)
    attacks: list[Outcome] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)


class Judge:
    """Scores and teaches a method, keeps the clock and the calibration set."""

    def __init__(self, method: Method, cost: Cost, calibration: Conformal | None = None) -> None:
        self.method = method
        self.cost = cost
        self.calibration = calibration or Conformal()

    def score(self, case: Case) -> Outcome:
        """Score a case; nothing is learned from it."""
        session = case.session
        start = time.process_time()
        tiers: list[int] | None = None
        if hasattr(self.method, "judge"):
            scored, reached = self.method.judge(session)
            scores, tiers = list(scored), list(reached)
        else:
            scores = list(self.method.score(session))
        self.cost.scored_s += time.process_time() - start
        self.cost.scored_events += len(session.events)
        if tiers is None and hasattr(self.method, "tiers"):
            tiers = list(self.method.tiers(session))
        for name, given in (("score", scores), ("tiers", tiers)):
            if given is not None and len(given) != len(session.events):
                raise ValueError(f"{name}({session.id}) gave {len(given)} for {len(session.events)} events")
        first = case.malicious[0] if case.malicious else -1
        p = self.calibration.p(max(scores))
        return Outcome(
            case.suite, case.task, case.kind, case.rule, session.agent, session.start, first, scores, tiers,
            p, session.id,
        )  # fmt: skip

    def learn(self, session: Session) -> None:
        """Let the method learn."""
        start = time.process_time()
        self.method.learn(session)
        self.cost.learned_s += time.process_time() - start
        self.cost.learned_events += len(session.events)

    def teach(self, sessions: Sequence[Session], calibrate_from: float = 2 / 3) -> None:
        """Learn sessions in order; those behind the given share are scored first and calibrate."""
        begin = int(len(sessions) * calibrate_from)
        for number, session in enumerate(sessions):
            if number >= begin:
                self.calibration.add(self.score(Case(session, "", "")).peak)
            self.learn(session)

    def branch(self) -> "Judge":
        """Return an independent copy."""
        return Judge(copy.deepcopy(self.method), self.cost, copy.deepcopy(self.calibration))


def agentdojo(data: AgentDojo, factory: Factory, *, novel: bool, share: float = 1.0) -> Results:
    """Score held-out pipelines; ``novel``: on kinds of task that nobody did before, in folds of tasks.

    ``share`` of the hijacks are scored, evenly chosen.
    """
    learned = data.benign(LEARNING)
    later = end_of(learned) + 3600
    benign = data.benign(SCORED, later)
    hijacks = data.hijacks(SCORED, later)
    hijacks = random.Random("share").sample(hijacks, round(len(hijacks) * share))
    results = Results()
    folds: list[set[str]] = [set(data.tasks)]
    if novel:
        tasks = list(data.tasks)
        random.Random("folds").shuffle(tasks)
        folds = [set(tasks[number::FOLDS]) for number in range(FOLDS if share == 1.0 else 2)]
    for fold in folds:
        judge = Judge(factory(), results.cost)
        judge.teach([case.session for case in learned if not novel or case.task not in fold])
        results.benign += [judge.score(case) for case in benign if case.task in fold]
        results.attacks += [judge.score(case) for case in hijacks if case.task in fold]
    return results


def replay(judge: Judge, sessions: Sequence[Session], results: Results, attacks: Iterable[Case] = ()) -> None:
    """Score sessions as they begin and learn them as they end, in time order; attacks beside their session.

    No session is scored with anything that was not over when it began.
    """
    beside: dict[str, list[Case]] = {}
    for case in attacks:
        beside.setdefault(case.session.id, []).append(case)
    steps = [(session.start, 1, number) for number, session in enumerate(sessions)]
    steps += [(session.end, 0, number) for number, session in enumerate(sessions)]
    # What ends at an instant may be known to what begins then, but a session of one instant begins first.
    steps.sort(key=lambda step: (step[0], step[1] != (sessions[step[2]].end == sessions[step[2]].start)))
    peaks: dict[int, float] = {}
    for _at, begins, number in steps:
        session = sessions[number]
        if begins:
            outcome = judge.score(Case(session, "coding", session.id))
            results.benign.append(outcome)
            peaks[number] = outcome.peak
            results.attacks += [judge.score(case) for case in beside.get(session.id, ())]
        else:
            judge.calibration.add(peaks[number])
            judge.learn(session)


def warm_sessions(sessions: Sequence[Session]) -> list[Session]:
    """Return the later two thirds of the sessions, as far as their agents had finished some by then."""
    begin = sessions[len(sessions) // 3].start
    return [
        session
        for session in sessions
        if session.start >= begin
        and sum(other.agent == session.agent and other.end < session.start for other in sessions)
        >= WARM_SESSIONS
    ]


def real(
    sessions: Sequence[Session], factory: Factory, variants: int, *, is_divided: bool = False
) -> Results:
    """Replay the real sessions in time order, with hijacks spliced into the later ones of known agents.

    ``is_divided``: each call of a hijack has a session name of its own.
    """
    results = Results()
    judge = Judge(factory(), results.cost)
    attacks = cases(warm_sessions(sessions), variants)
    replay(judge, sessions, results, map(divided, attacks) if is_divided else attacks)
    return results


def state_bytes(sessions: Sequence[Session], factory: Factory, events: int = 10_000) -> int | None:
    """Return the state of one agent that did at least this many events: all sessions, in turn, as its own."""
    method = factory()
    if not hasattr(method, "state_bytes"):
        return None
    seen, start = 0, sessions[0].start
    while seen < events:
        for session in sessions:
            method.learn(moved(session, start, agent="one"))
            seen += len(session.events)
            start += 3600
    return method.state_bytes("one")


def owner(agent: str) -> str:
    """Return who runs an agent; agents of one owner share habits, so they are held out together."""
    return "-".join(agent.split("-")[:2])


def half_time(sessions: Sequence[Session]) -> float:
    """Return the instant by which half of the sessions have ended."""
    return sorted(session.end for session in sessions)[len(sessions) // 2]


def day_one(sessions: Sequence[Session], factory: Factory, variants: int, start: str) -> Results:
    """Score the first sessions of agents of one owner at a time, with nothing of that owner learned before.

    ``start`` is one of ``STARTS``. ``warm``: a starter baseline was learned from all other owners' sessions.
    ``later``: from those that had ended at half time, and the first sessions after that are scored.
    """
    results = Results()
    half = half_time(sessions)
    taught = [session for session in sessions if start == "warm" or session.end <= half]
    scored = [session for session in sessions if start != "later" or session.start > half]
    for name in sorted({owner(session.agent) for session in scored}):
        own = [session for session in scored if owner(session.agent) == name]
        judge = Judge(factory(), results.cost)
        if start != "cold":
            others = sorted(
                (session for session in taught if owner(session.agent) != name),
                key=lambda session: session.end,
            )
            if hasattr(judge.method, "starter"):
                judge.method.starter(others)
            else:
                judge.teach(others)
        first: list[Session] = []
        for agent in sorted({session.agent for session in own}):
            first += [session for session in own if session.agent == agent][:DAY_ONE_SESSIONS]
        first.sort(key=lambda session: session.start)
        replay(judge, first, results, cases(first, variants, f"day one {name}"))
    return results


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign against one agent: its outcomes session by session, on a branch that learns along."""

    kind: str
    agent: str
    outcomes: tuple[Outcome, ...]


def campaigns(
    sessions: Sequence[Session], factory: Factory, per_kind: int, length: int = 4
) -> list[Campaign]:
    """Attack an agent a little in each of several sessions, with what it did before learned."""
    told: list[Campaign] = []
    by_agent: dict[str, list[Session]] = {}
    for session in sorted(sessions, key=lambda session: session.end):
        by_agent.setdefault(session.agent, []).append(session)
    known = sorted(agent for agent, own in by_agent.items() if len(own) >= WARM_SESSIONS + length)
    plans = []
    for kind in CAMPAIGNS:
        rng = random.Random(f"campaigns {kind.name}")
        for number in range(per_kind):
            own = by_agent[rng.choice(known)]
            begin = rng.randint(WARM_SESSIONS, len(own) - length)
            plans.append((own[begin].start, kind, own[begin : begin + length], f"{number}"))
    plans.sort(key=lambda plan: plan[0])
    judge = Judge(factory(), Cost())
    history = sorted(sessions, key=lambda session: session.end)
    position = 0
    for start, kind, own, seed in plans:
        while position < len(history) and history[position].end < start:
            session = history[position]
            if position >= len(history) // 4:
                judge.calibration.add(judge.score(Case(session, "", "")).peak)
            judge.learn(session)
            position += 1
        branch = judge.branch()
        outcomes = []
        for session in own:
            case = splice(session, kind, seed, host=host_of(seed))
            outcome = branch.score(case)
            outcomes.append(outcome)
            branch.calibration.add(outcome.peak)
            branch.learn(case.session)
        told.append(Campaign(kind.name, own[0].agent, tuple(outcomes)))
    return told


@dataclass(frozen=True, slots=True)
class Volume:
    """One rate of the volume test; ``rate`` sessions per five minutes."""

    rate: int
    benign: list[Outcome]
    attacks: list[Outcome]


def volume(data: AgentDojo, factory: Factory, rates: Sequence[int] = BUSY_RATES) -> list[Volume]:
    """Score honest and hijacked sessions of agents that are equally able and differ in how busy they are.

    Each agent's history is as busy as its test: volume alone must change nothing.
    """
    told = []
    history = [case for case in data.benign(BUSY_HISTORY) if case.suite == "workspace"]
    rng = random.Random("volume")
    for rate in rates:
        judge = Judge(factory(), Cost())
        gap = 300.0 / rate
        agent, at = f"busy-{rate}", history[0].session.start
        packed = []
        for case in history:
            packed.append(moved(case.session, at, agent=agent))
            at += gap
        judge.teach(packed, 1 / 3)
        benign, attacks = [], []
        honest = [case for case in data.benign(SCORED) if case.suite == "workspace"]
        hijacks = [case for case in data.hijacks(SCORED, at) if case.suite == "workspace"]
        rng.shuffle(honest)
        for number, case in enumerate(honest[:80]):
            session = moved(case.session, at, agent=agent)
            benign.append(judge.score(Case(session, case.suite, case.task)))
            if number % 2:
                bad = hijacks[(number * 7) % len(hijacks)]
                session_bad = moved(bad.session, at, agent=agent)
                attacks.append(judge.score(Case(session_bad, bad.suite, bad.task, bad.kind, bad.malicious)))
            judge.learn(session)
            at += gap
        told.append(Volume(rate, benign, attacks))
    return told


def rush(data: AgentDojo, factory: Factory, times: int = 10, runs: int = 12) -> list[Campaign]:
    """Let an agent of a steady rate do the same work ``times`` as fast, for ten sessions, by a branch each.

    The calibration sessions are its own; kind ``steady`` goes on at the usual rate, ``rush`` does not.
    """
    history = [case for case in data.benign(BUSY_HISTORY) if case.suite == "workspace"]
    judge = Judge(factory(), Cost())
    at, gap = history[0].session.start, 1800.0
    packed = []
    for case in history:
        packed.append(moved(case.session, at, agent="steady"))
        at += gap
    judge.teach(packed, 1 / 3)
    later = [case for case in data.benign(SCORED) if case.suite == "workspace"]
    rng = random.Random("rush")
    told = []
    for run in range(2 * runs):
        kind, step = ("rush", gap / times) if run % 2 else ("steady", gap)
        branch = judge.branch()
        begin, outcomes = at, []
        for case in rng.sample(later, 10):
            session = moved(case.session, begin, agent="steady")
            if kind == "rush":
                session = _faster(session, times)
            outcome = branch.score(Case(session, case.suite, case.task, kind, (0,)))
            outcomes.append(outcome)
            branch.calibration.add(outcome.peak)
            branch.learn(session)
            begin += step
        told.append(Campaign(kind, "steady", tuple(outcomes)))
    return told


def _faster(session: Session, times: int) -> Session:
    start = session.start
    events = tuple(
        {**event, "timestamp": stamp(start + (unix(event["timestamp"]) - start) / times)}
        for event in session.events
    )
    return Session(session.id, session.agent, session.role, events)

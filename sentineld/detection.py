"""Detection: learned detection as the step sees it. Sessions begin and end, and each event gets a verdict.

What a session's events mean is said by ``detectors`` (channels of surprise, in bits, over the role's
``habits``) and by ``rules``. Here their channels become one score, the score a p-value by the role's
``calibration``, and the p-value a tier:

* tier 2 while what happens now is as unusual as at most ``false_alarms_per_session`` of all sessions;
* tier 3 when one session is so unusual that, at the agent's pace, at most ``false_alarms_per_week`` of all
  agent-weeks hold such a session, or when several sessions add up to that (``e_detector``); or by a rule.

Pure: the same habits and the same observations give the same verdicts. Habits change between slices of time
only (``Role.merge``, called by the pipeline), so that it does not matter in which pieces events arrive.
"""

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from msgspec import structs

from sentineld.calibration import NEW_AGENT, RANKED_FULLY, Where, sessions_needed
from sentineld.detectors import GRAVE_FEATURES
from sentineld.e_detector import Block, drift_limit, threshold
from sentineld.event import Facts, Observation
from sentineld.habits import Role, key_of
from sentineld.instant import SECOND_US, iso
from sentineld.learned import MAX_HELD, OF_TREE, UNUSUAL, USUAL, Finished, Learned, Touched
from sentineld.masking import mask
from sentineld.rules import RULES, Rule, rules_of
from sentineld.scoring import finish, judge, score
from sentineld.session import MAX_OPEN, SEEN, Finding, Session

_NO_FACTS = Facts()

#: What drift adds to the false alarms of tier 2: one part in so many.
_DRIFT_SHARE = 4.0
#: Sessions without suspicion after which one that called for tier 2, and that nobody judged, teaches after
#: all; and how many calls such a session must have: half as many as that one, these at most.
LAPSES_AFTER = 3
_SUBSTANCE = 10
#: How often at least something grave comes in such sessions until it teaches; and what tells habits of it.
_FEWEST_LAPSES = 2
_LAPSED = "lapsed"
#: Silence after which a session ends when its agent begins another one, microseconds.
LEFT_US = 300 * SECOND_US

#: Roles of one owner, for telemetry may name them; sessions of further ones share the habits of the nameless.
MAX_ROLES = 64

#: Features that tell of credentials; of the last one's they belong to the session's own tree.
_TREE = "secret.tree"
_CREDENTIALS = ("secret.home", "secret.tool", _TREE)
_MAX_VALUE = 120

#: Which habits: (owner uid, role). Nobody teaches another owner's agents.
RoleKey = tuple[int, str]


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """How learned detection decides.

    Rates are shares: of sessions for tier 2, of agent-weeks for tier 3; ``sessions_per_week`` is the least
    that an agent is taken to have: with more of them its own pace counts. ``gap_us`` of silence ends a
    session. ``rules`` are those in force; ``max_session_tokens`` is what one of them allows a session
    (0: no limit). Without ``judges_history`` what was there at the first start is learned from, and nobody is
    demoted for it; without ``believes_prompts`` nothing counts as asked for.
    """

    false_alarms_per_session: float = 0.01
    false_alarms_per_week: float = 0.05
    sessions_per_week: float = 20.0
    gap_us: int = 1800 * SECOND_US
    rules: tuple[str, ...] = tuple(RULES)
    judges_history: bool = False
    max_session_tokens: int = 0
    believes_prompts: bool = True

    @property
    def sessions_for_tier2(self) -> int:
        """How many sessions a role must have finished before a bound on tier 2 can be kept."""
        return sessions_needed(self.false_alarms_per_session)

    @property
    def rate_at_once(self) -> float:
        """The p-value at which one session alone is tier 3."""
        return self.false_alarms_per_week / self.sessions_per_week

    @property
    def drift_limit(self) -> float:
        """The value of the CUSUM from which an agent's sessions together are tier 2."""
        return drift_limit(self.false_alarms_per_session / _DRIFT_SHARE)

    @property
    def sessions_for_tier3(self) -> int:
        """How many sessions a role must have finished before one session alone can be tier 3."""
        return sessions_needed(self.rate_at_once)

    def pace(self, agent: Learned, at_us: int) -> float:
        """Return how many sessions a week an agent is taken to have."""
        return max(self.sessions_per_week, agent.pace.per_week(at_us))

    def evidence_limit(self, agent: Learned, at_us: int) -> float:
        """Return the Shiryaev-Roberts statistic from which an agent's sessions together are tier 3."""
        return threshold(self.pace(agent, at_us), self.false_alarms_per_week)


class Verdict(NamedTuple):
    """What is thought of an agent at one instant.

    ``score`` (0..1) is that of its session so far, ``p`` its p-value by an estimate and ``rank`` the exact
    one; ``level`` the tier that what happens now calls for, ``tier`` the one that its session so far does;
    ``cause`` is ``detected`` or ``rule``,
    ``findings`` what it rests on, ``bound`` the promise that holds, in words. ``session`` began at
    ``began_us`` (one name may have several, one after another); ``known`` is how many sessions of its
    role's own it was ranked among.
    """

    score: float
    p: float
    level: int
    cause: str = "detected"
    findings: tuple[Finding, ...] = ()
    bound: str = ""
    session: str = ""
    tier: int = 1
    began_us: int = 0
    known: int = 0
    rank: float = 1.0


CALM = Verdict(0.0, 1.0, 1)

#: What an event comes to: its session, ``level`` and ``cause`` as in ``Verdict``, and whether it calls for a
#: tier or has changed what is thought of its session.
Weighed: TypeAlias = tuple[Session, int, str, bool]


def no_starter(_role: str) -> Role | None:
    """Give no role a starter."""
    return None


@dataclass(slots=True)
class Detection:
    """Learned detection over the habits of ``roles``; ``starter`` gives those that a new role begins with."""

    settings: DetectionSettings = field(default_factory=DetectionSettings)
    roles: MutableMapping[RoleKey, Role] = field(default_factory=dict)
    starter: Callable[[str], Role | None] = no_starter
    _rules: Mapping[str, Rule] = field(init=False, repr=False, compare=False)
    _least_odd: float = field(init=False, repr=False, compare=False)
    _drift_limit: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self._rules = rules_of(settings.rules, settings.max_session_tokens)
        self._least_odd = max(settings.false_alarms_per_session, settings.rate_at_once)
        self._drift_limit = settings.drift_limit

    @property
    def version(self) -> str:
        """Name these settings: equal settings have equal names."""
        settings = self.settings
        return (
            f"learned-{settings.false_alarms_per_session:g}-{settings.false_alarms_per_week:g}"
            f"-{settings.sessions_per_week:g}-g{settings.gap_us // SECOND_US}-r{'.'.join(self._rules)}"
            f"{'' if self.starter is no_starter else '-starter'}"
            f"{'' if settings.believes_prompts else '-unasked'}"
        )

    def role(self, key: RoleKey) -> Role:
        """Return the habits of a role; one that was never heard of gets the starter's, or none."""
        role = self.roles.get(key)
        if role is None:
            role = self.roles[key] = self.starter(key[1]) or Role()
        return role

    def observe(
        self,
        agent: Learned,
        owner: int,
        item: Observation,
        at_us: int,
        *,
        is_frozen: bool,
        is_judged: bool = True,
    ) -> Verdict:
        """Judge one event of an agent; ``at_us`` is the latest instant, not before the event.

        ``is_frozen``: the agent is demoted, so that its evidence stays as it is. Without ``is_judged`` the
        event is only learned from: sessions of nothing else are no evidence.
        """
        return self.verdict(
            self.weigh(agent, owner, item, at_us, is_frozen=is_frozen, is_judged=is_judged), agent, owner
        )

    def weigh(
        self,
        agent: Learned,
        owner: int,
        item: Observation,
        at_us: int,
        *,
        is_frozen: bool,
        is_judged: bool = True,
    ) -> Weighed:
        """Do what ``observe`` does, and leave it to the caller whether to put the verdict in words."""
        facts = item[6] or _NO_FACTS
        if facts.asked and not self.settings.believes_prompts:
            facts = facts._replace(asked=())
        session = agent.sessions[0] if agent.sessions else None
        # Most agents have one session.
        if session is None or session.name != facts.session or (facts.role and session.role != facts.role):
            session = self._session(agent, owner, facts, at_us, is_frozen=is_frozen)
        role = self.roles.get((owner, session.role)) or self.role((owner, session.role))
        if at_us > session.latest_us:
            session.latest_us = at_us
        session.events += 1
        if is_judged:
            session.is_judged = True
        has_risen = judge(session, role, agent.own, item, facts)
        is_news = has_risen or session.version != role.version
        if is_news:
            self._rank(session, role)
        level = 1
        if session.p <= self._least_odd:
            # What made the session odder than ever is what happens now.
            where = Where(session.is_new_agent, session.is_unfamiliar, session.events)
            if has_risen:
                now = session.bests[int(session.is_unfamiliar)]
            else:
                now = score(role, session.levels, is_new=session.is_new_agent)
            level = self._level(now, where, role, self.settings.pace(agent, at_us))
        cause = "detected"
        # Rules are about what is new, or how many tokens were used.
        if session.fresh or session.tokens:
            before: Sequence[Touched] = ()
            if session.fresh and agent.touched:
                before = agent.touched_before(session, has_habits=role.is_ranking)
            for name, rule in self._rules.items():
                broken = None if name in session.broken else rule(session, facts, item, before)
                if broken is not None:
                    session.breaks(name, broken)
                    level = 3
                    cause = "rule"
            if is_judged and session.fresh:
                _touch(agent, session, role, facts)
            session.fresh = {}
        is_odd = session.rank < 1.0 or agent.evidence > 0.0 or agent.drift > 0.0
        if is_odd and level < 3 and not is_frozen and session.is_judged and not session.is_forgiven:
            # An estimate has no bound, so these go by ranks alone.
            block = self._block(agent, session)
            if block.evidence_with(session.rank) >= self.settings.evidence_limit(agent, at_us):
                level = 3
            elif level < 2 and block.drift_with(session.rank) >= self._drift_limit:
                level = 2
        if level > session.tier:
            session.tier = level
        return session, level, cause, is_news or level > 1

    def _rank(self, session: Session, role: Role) -> None:
        ranks, is_new = role.calibration, session.is_new_agent
        session.version = role.version
        rank = estimate = shown = 1.0
        for state, best in session.bests.items():
            judged = ranks.judge(best, Where(is_new, bool(state), session.events))
            rank, estimate = min(rank, judged.p), min(estimate, judged.estimate)
            shown = min(shown, judged.graded)
        session.rank, session.p = rank, estimate
        session.shown = score_of(shown)
        session.known = ranks.known(Where(is_new, False))

    def _level(self, now: float, where: Where, role: Role, pace: float) -> int:
        """Return the tier that a score calls for; ``pace`` is how many sessions its agent has a week."""
        judged = role.calibration.judge(now, where)
        if judged.p <= self.settings.false_alarms_per_week / pace:
            # Never below one part in so many of its own sessions, so this needs as many to be known.
            return 3
        return 2 if judged.estimate <= self.settings.false_alarms_per_session else 1

    def look(self, agent: Learned, owner: int) -> Verdict:
        """Return what is thought of an agent's open sessions: the worst of them."""
        session = agent.worst()
        return CALM if session is None else self.verdict((session, 1, "detected", True), agent, owner)

    def end_due(self, agent: Learned, owner: int, until_us: int, *, is_frozen: bool) -> None:
        """End every session that has been silent for the gap before ``until_us``.

        ``is_frozen``: the agent is demoted, so that its evidence stays as it is.
        """
        gap_us = self.settings.gap_us
        for session in [one for one in agent.sessions if one.latest_us + gap_us < until_us]:
            self._end(agent, owner, session, session.latest_us + gap_us, is_frozen=is_frozen)

    def forgive(self, agent: Learned, *, is_attack: bool) -> None:
        """Carry out a pardon: evidence and levels are emptied, and suspicious sessions teach after all.

        With ``is_attack`` the operator says that it was one: they are struck out of habits and ranks.
        """
        agent.acquit()
        agent.touched = []
        for held in agent.held:
            held.is_rank, held.is_suspicious, held.is_attack = False, False, is_attack
            agent.finished.append(held)
        agent.held = []
        for session in agent.sessions:
            session.is_forgiven = True
            session.is_attack = session.is_attack or (is_attack and session.tier > 1)
            session.levels = {}
            session.findings = []
            session.tier = 1

    def _session(self, agent: Learned, owner: int, facts: Facts, at_us: int, *, is_frozen: bool) -> Session:
        name, role = facts.session, facts.role and self._role_name(owner, facts.role)
        for session in agent.sessions:
            if session.name == name and (not role or session.role == role):
                return session
        for other in [one for one in agent.sessions if one.latest_us + LEFT_US <= at_us]:
            # Who begins another one has most likely left it; if not, what comes is one more session.
            self._end(agent, owner, other, at_us, is_frozen=is_frozen)
        going_on = agent.unfinished(name, role)
        if going_on is not None:
            going_on.go_on_as(name)
            going_on.ask(tuple(agent.recall_asked(name)))
            return going_on
        while len(agent.sessions) >= MAX_OPEN:
            longest = min(agent.sessions, key=lambda one: one.latest_us)
            self._end(agent, owner, longest, at_us, is_frozen=is_frozen)
        role = role or (agent.sessions[-1].role if agent.sessions else agent.role)
        agent.role = role
        session = Session(name, role, at_us, at_us, is_new_agent=agent.own.sessions < NEW_AGENT)
        session.is_early = not self.role((owner, role)).is_ranking
        session.asked = agent.recall_asked(name)
        agent.pace.count(at_us)
        agent.sessions.append(session)
        return session

    def _role_name(self, owner: int, name: str) -> str:
        if not name or (owner, name) in self.roles:
            return name
        return name if sum(uid == owner for uid, _ in self.roles) < MAX_ROLES else ""

    def _end(self, agent: Learned, owner: int, session: Session, at_us: int, *, is_frozen: bool) -> None:
        agent.sessions.remove(session)
        agent.keep_asked(session)
        agent.count_length(session)
        role = self.role((owner, session.role))
        self._rank(session, role)
        if not is_frozen and session.is_evidence:
            block = agent.block = self._block(agent, session)
            agent.evidence, agent.drift = block.evidence_with(session.rank), block.drift_with(session.rank)
            block.add(session.rank)
            block.latest_us = max(block.latest_us, session.latest_us)
        done = finish(session, at_us)
        done.is_rank = not session.is_early
        if done.is_attack:
            return
        agent.finished.append(done)
        if done.is_suspicious:
            agent.held = [*agent.held, done][-MAX_HELD:]
        elif not is_frozen:
            agent.finished += self._lapse(agent, role, at_us, calls=len(done.symbols))

    def _block(self, agent: Learned, session: Session) -> Block:
        """Return the sessions of an agent among which one counts."""
        block = agent.block
        if block is not None and block.holds(session.began_us, self.settings.gap_us):
            return block
        return Block(session.began_us, session.latest_us, evidence=agent.evidence, drift=agent.drift)

    def _lapse(self, agent: Learned, role: Role, at_us: int, *, calls: int) -> list[Finished]:
        """Return the held sessions that teach after all, because the agent went on without suspicion.

        A new kind of work is suspicious the first time; if it never taught, each further time would be as
        well, and hide what is worse. What is grave is taught only when it comes again and again, before its
        sessions take up half of the ranks that are above an alarm (and twice at least); until then it does
        not count as new either: the same thing every time says nothing of how often there is another one.
        A session of much fewer ``calls`` than theirs shows nothing: three times ``git status`` is soon done.
        """
        limit = max(_FEWEST_LAPSES, self.settings.false_alarms_per_session * len(role.calibration) / 2)
        lapsed, stays = [], []
        for held in agent.held:
            held.calm += calls >= min(len(held.symbols) / 2, _SUBSTANCE)
            if held.tier > 2 or held.calm < LAPSES_AFTER:
                stays.append(held)
                continue
            seen, new, again = {}, dict(held.new), {}
            for feature, keys in held.seen.items():
                if feature not in GRAVE_FEATURES:
                    seen[feature] = keys
                    continue
                lapses = {key: key_of(_LAPSED, str(key)) for key in keys if key not in role.known}
                again.update(dict.fromkeys(lapses.values(), SEEN))
                taught = {key: keys[key] for key in lapses if role.known.get(lapses[key], 0) + 1 >= limit}
                if taught:
                    seen[feature] = taught
                else:
                    new.pop(feature, None)
            if again:
                seen[_LAPSED] = again
            lapsed.append(
                structs.replace(held, ended_us=at_us, seen=seen, new=new, is_rank=False, is_suspicious=False)
            )
        agent.held = stays
        return lapsed

    def verdict(self, weighed: Weighed, agent: Learned, owner: int) -> Verdict:
        """Return what is thought of an agent after an event was weighed, and before the next one is."""
        session, level, cause, _ = weighed
        is_odd = level > 1
        return Verdict(
            session.shown,
            session.p,
            level,
            cause,
            tuple(session.findings) if is_odd else (),
            self._bound(agent, self.role((owner, session.role)), session) if is_odd else "",
            session.name or iso(session.began_us),
            session.tier,
            session.began_us,
            session.known,
            session.rank,
        )

    def _bound(self, agent: Learned, role: Role, session: Session) -> str:
        pace = self.settings.pace(agent, session.latest_us)
        return self.bound(role, is_new=session.is_new_agent, pace=pace)

    def bound(self, role: Role, *, is_new: bool, pace: float = 0.0) -> str:
        """Return in words what is promised of false alarms with a role's calibration as it is.

        ``is_new``: to sessions of a new agent; ``pace``: of one that has so many a week.
        """
        settings, borrowed = self.settings, role.calibration.together
        known = role.calibration.known(Where(is_new, False))
        if known < settings.sessions_for_tier2:
            how = f"estimated, mostly from {borrowed} sessions of other people's agents (its starter)"
            return (
                f"no bound is attainable yet: {known} of {settings.sessions_for_tier2} sessions are known to"
                f" rank by; how rare this is was {how if borrowed else 'extrapolated from them'}"
            )
        rate = f"{settings.false_alarms_per_session:.2%} of honest sessions reach tier 2"
        drift = f"{settings.false_alarms_per_session / _DRIFT_SHARE:.2%} more because of those before"
        if known < RANKED_FULLY:
            text = (
                f"about {rate}, at most {drift}; an estimate from {known} sessions, exact from {RANKED_FULLY}"
            )
        else:
            text = f"at most {rate}, {drift}"
        needed = sessions_needed(settings.false_alarms_per_week / max(settings.sessions_per_week, pace))
        if known < needed:
            return f"{text}; tier 3 needs several odd sessions, or {needed} to rank by"
        return f"{text}, at most {settings.false_alarms_per_week:.0%} of honest agent-weeks tier 3"


def _touch(agent: Learned, session: Session, role: Role, facts: Facts) -> None:
    """Have the agent remember the credentials that an event touched, if it did."""
    fresh = session.fresh
    for name in _CREDENTIALS:
        value = fresh.get(name)
        if value is None:
            continue
        kind = OF_TREE
        if name != _TREE:
            kind = USUAL if key_of(name, value) in role.known else UNUSUAL
        path = next((told for raw, told in facts.features if raw == "secret" and told.endswith(value)), value)
        agent.touch(Touched(session.name, session.latest_us, mask(path)[-_MAX_VALUE:], kind))


def score_of(p: float) -> float:
    """Turn a p-value into a score: ``s / (1 + s)`` with ``s = -log10 p``; 1 % is 0.667, 0.1 % is 0.75."""
    nines = max(0.0, -math.log10(max(p, 1e-300)))
    return nines / (1.0 + nines)


def p_of(score: float) -> float:
    """Turn a score back into its p-value."""
    return 10.0 ** (-score / (1.0 - score)) if score < 1.0 else 0.0

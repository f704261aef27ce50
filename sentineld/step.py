"""The keyed step: one agent's state and its next inputs in, the new state and its decisions out.

Every engine runs this function: the daemon, replay, and a distributed engine. It reads no clock and no
file; ``step(step(s, a), b)`` equals ``step(s, a + b)``; and ticks may be as rare or as frequent as one
likes, because time acts at exact instants (see ``policy``). The state that is passed in is consumed: use
the returned one. What an engine keeps of it is ``dump_state``, versioned bytes.

Decisions leave as ``Draft``: numbers, file names and texts are given where decisions are committed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import cast

import msgspec

from sentineld.detection import CALM, Detection, Verdict
from sentineld.event import FILE, NETWORK, Incident, Observation, Tick
from sentineld.instant import SECOND_US
from sentineld.integrity import CAUSES, KINDS, Charges
from sentineld.kernel import span
from sentineld.learned import Learned
from sentineld.monitor import NEVER_US, BehavioralMonitor, Crossing
from sentineld.numbering import Numbering
from sentineld.policy import Change, Policy, Standing
from sentineld.tier import Tier
from sentineld.trail import ACTIVITY, LEARNED, Trail, end_us
from sentineld.window import Window
from sentineld.wishes import ACTS, Freeze, Renew, Retire

#: Observations kept as evidence for the next decision.
RECENT = 8

#: Version of the bytes that ``dump_state`` gives.
STATE_VERSION = 2


@dataclass(frozen=True, slots=True)
class Prior:
    """What all agents share: versioned inputs of the step.

    Without ``detection`` the activity score decides. The habits that it holds change between steps only.
    """

    monitor: BehavioralMonitor
    policy: Policy
    charges: Charges = field(default_factory=Charges)
    detection: Detection | None = None

    @property
    def version(self) -> str:
        """Name these inputs: equal inputs have equal names."""
        how = self.monitor.version if self.detection is None else self.detection.version
        return (
            f"{how}/q{self.policy.quiet_us // 1_000_000}"
            + ("p" if self.policy.tier3_needs_pardon else "")
            + ("" if self.charges == Charges() else f"/{self.charges.version}")
        )


class Profile(msgspec.Struct, omit_defaults=True, gc=False):
    """What is kept of an agent's ``AgentBehavioralProfile``: its claimed id and the window."""

    agent_id: str
    window: Window


class AgentState(msgspec.Struct, omit_defaults=True, gc=False):
    """Everything that is known of one agent; a value. What is as it always begins takes no room as bytes.

    ``owner`` is the uid that wrote the telemetry. ``events`` and ``last_activity_us`` are over the agent's
    life; ``clock_us`` is the latest instant it was told of; ``level`` the tier that its score calls for;
    ``decision_no``, ``decision_score`` and ``reason_code`` tell of the decision that gave it its present
    tier (0: none); whoever numbers decisions sets them. ``numbering`` follows the numbers that the agent
    gives its own records (None: it gives none), ``learned`` what learned detection knows of it (None: nothing
    yet). ``retired_us`` is when an operator retired it (None: it works, or has acted since).
    ``trail`` are its latest scores; nothing is decided by them.
    """

    owner: int
    profile: Profile
    standing: Standing = msgspec.field(default_factory=Standing)
    clock_us: int = 0
    level: int = 1
    events: int = 0
    last_activity_us: int = 0
    peak: float = 0.0
    decision_no: int = 0
    decision_score: float = 0.0
    reason_code: str = ""
    recent: list[Observation] = msgspec.field(default_factory=list)
    numbering: Numbering | None = None
    learned: Learned | None = None
    retired_us: int | None = None
    trail: Trail = msgspec.field(default_factory=Trail)

    @property
    def agent_id(self) -> str:
        """The id that the agent claims."""
        return self.profile.agent_id

    @property
    def is_cold(self) -> bool:
        """Whether time can change nothing: empty window, tier 1, no pin, no grace, no session."""
        return (
            self.standing.is_plain
            and not self.profile.window.buckets
            and (self.learned is None or self.learned.is_settled)
        )


@dataclass(frozen=True, slots=True)
class Pardon:
    """An operator's wish: back to tier 1, with ``grace_us`` microseconds in which only rules demote."""

    at_us: int
    actor: str
    reason: str
    grace_us: int
    attack: bool = False


@dataclass(frozen=True, slots=True)
class Pin:
    """An operator's wish: hold this tier, until an instant (None: until unpinned)."""

    at_us: int
    actor: str
    reason: str
    tier: int
    until_us: int | None


@dataclass(frozen=True, slots=True)
class Unpin:
    """An operator's wish: lift the pin."""

    at_us: int
    actor: str
    reason: str


Wish = Pardon | Pin | Unpin | Freeze | Renew | Retire
Input = Observation | Tick | Incident | Wish


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision before it has a number: the change, the window at that moment, and the last records."""

    change: Change
    crossing: Crossing
    recent: tuple[Observation, ...]
    actor: str = ""
    note: str = ""
    attack: bool = False
    incident: Incident | None = None
    #: What learned detection thinks, where it decides.
    verdict: Verdict | None = None
    #: What an operator's act has done, in words.
    said: str = ""

    @property
    def gives_tier(self) -> bool:
        """Whether the agent has its tier by this: acts on habits and names leave it as it was."""
        return self.change.cause not in ACTS or self.change.from_tier != self.change.to_tier


def new_state(owner: int, agent_id: str, prior: Prior, at_us: int) -> AgentState:
    """Return the state of an agent that was never seen before ``at_us``."""
    profile = Profile(agent_id, prior.monitor.new_window())
    return AgentState(owner, profile, Standing(since_us=at_us), clock_us=at_us, last_activity_us=at_us)


def step(state: AgentState, prior: Prior, inputs: Iterable[Input]) -> tuple[AgentState, list[Draft]]:
    """Apply inputs in order: observations, ticks, incidents and operator wishes.

    An observation older than the latest instant counts in its own bucket, if the window still holds that,
    and is judged at the latest instant. Cost: O(1) amortised an observation.
    """
    drafts: list[Draft] = []
    for is_run, group in groupby(inputs, key=_is_observation):
        if is_run:
            observe(state, prior, cast("list[Observation]", list(group)), drafts)
            continue
        for item in group:
            if isinstance(item, Tick):
                elapse(state, prior, item.at_us, drafts)
            elif isinstance(item, Incident):
                charge(state, prior, item, drafts)
            else:
                _obey(state, prior, cast("Wish", item), drafts)
    return state, drafts


def _is_observation(item: Input) -> bool:
    return type(item) is tuple


def observe(
    state: AgentState,
    prior: Prior,
    run: Sequence[Observation],
    drafts: list[Draft],
    *,
    is_learning: bool = False,
    verdicts: list[Verdict] | None = None,
) -> None:
    """Apply a run of observations (not empty); decisions are appended to ``drafts``.

    Where learned detection decides, ``is_learning`` says that habits are learned and nothing is decided, and
    ``verdicts`` gets those on events that call for a tier or change what is thought of their session.
    """
    latest_us = span(run)[1]
    if prior.detection is None:
        _observe_activity(state, prior, run, latest_us, drafts)
    else:
        _observe_learned(state, prior, prior.detection, run, drafts, is_learning, verdicts)
    state.retired_us = None
    state.events += len(run)
    state.recent = _latest(state, run)
    state.last_activity_us = max(state.last_activity_us, latest_us)


def _observe_activity(
    state: AgentState, prior: Prior, run: Sequence[Observation], latest_us: int, drafts: list[Draft]
) -> None:
    monitor, policy, standing = prior.monitor, prior.policy, state.standing
    window, trail = state.profile.window, state.trail
    position = 0
    if len(run) == 1 and standing.quiet_since_us is None and standing.is_plain:
        # As nearly always where agents are many: nothing is due before it, and it is in one slot.
        stop = monitor.observe(window, state.clock_us, state.level, run, 0, NEVER_US)
        position, state.clock_us, state.peak = stop.position, stop.clock_us, max(state.peak, stop.peak)
        if position:
            trail.add(state.clock_us, stop.peak, ACTIVITY)
        if stop.crossing is None:
            return
        _cross(state, prior, stop.crossing, run[:position], drafts)
    # The last of the slots that the trail will hold no more; behind it each slot is looked at for itself.
    last_us = end_us(max(state.clock_us, latest_us), ACTIVITY) - ACTIVITY[0] * ACTIVITY[1] * SECOND_US
    border = max(last_us, end_us(run[0][0], ACTIVITY))
    while True:
        deadline = policy.next_deadline(standing)
        limit = border if deadline is None or border < deadline else deadline
        before = position
        stop = monitor.observe(window, state.clock_us, state.level, run, position, limit)
        position, state.clock_us, state.peak = stop.position, stop.clock_us, max(state.peak, stop.peak)
        if position > before:
            trail.add(state.clock_us, stop.peak, ACTIVITY)
        if stop.crossing is not None:
            _cross(state, prior, stop.crossing, run[max(0, position - RECENT) : position], drafts)
        elif position == len(run):
            return
        elif deadline is not None and run[position][0] > deadline:
            _elapse(state, prior, run[position][0], run[max(0, position - RECENT) : position], drafts)
        else:
            border = end_us(run[position][0], ACTIVITY)


def _observe_learned(
    state: AgentState,
    prior: Prior,
    detection: Detection,
    run: Sequence[Observation],
    drafts: list[Draft],
    is_learning: bool,
    verdicts: list[Verdict] | None,
) -> None:
    policy, standing, trail, window = prior.policy, state.standing, state.trail, state.profile.window
    agent = state.learned
    if agent is None:
        agent = state.learned = Learned()
    gap_us = detection.settings.gap_us
    # Nothing ends or falls due up to ``due_us``. The window has taken in all before ``counted``, the trail no
    # score above ``highest`` in the slot that ends at ``slot_us``.
    due_us, counted, slot_us, highest = -1, 0, -1, 0.0
    for position, item in enumerate(run):
        if item[0] > state.clock_us:
            if item[0] > due_us:
                _count(window, state.clock_us, run[counted:position])
                counted = position
                _elapse(state, prior, item[0], run[max(0, position - RECENT) : position], drafts)
                due_us = _due_us(standing, policy, agent, gap_us, item[0])
            state.clock_us = item[0]
        at_us = state.clock_us
        weighed = detection.weigh(
            agent, state.owner, item, at_us, is_frozen=standing.tier > 1, is_judged=not is_learning
        )
        session, level, cause, is_news = weighed
        if at_us > slot_us or session.shown > highest:
            highest, slot_us = session.shown, end_us(at_us, LEARNED)
            state.peak = max(state.peak, highest)
            trail.add(at_us, highest, LEARNED)
        if verdicts is not None and is_news:
            verdicts.append(detection.verdict(weighed, agent, state.owner))
        if is_learning:
            continue
        state.level = level
        if level == standing.tier and standing.quiet_since_us is None:
            # It goes on as it was: the policy has nothing to take note of.
            continue
        before = standing.tier
        if cause == "rule":
            changes = policy.charge(standing, at_us, level, level, "rule")
        else:
            changes = policy.call(standing, at_us, level)
        due_us = -1
        if changes or standing.tier != before:
            _count(window, at_us, run[counted : position + 1])
            counted = position + 1
            verdict = detection.verdict(weighed, agent, state.owner)
            moment = _moment(state, prior, verdict)
            recent = tuple(_latest(state, run[max(0, position + 1 - RECENT) : position + 1]))
            drafts.extend(Draft(change, moment, recent, verdict=verdict) for change in changes)
    _count(window, state.clock_us, run[counted:])


def _count(window: Window, clock_us: int, run: Sequence[Observation]) -> None:
    """Let a window take in observations by which nothing is decided; ``clock_us`` is the latest instant."""
    width = window.bucket_us
    window.advance(clock_us // width)
    # One behind the other, most fall into one bucket: they are added to it at once.
    filling, events, file_ops, network_ops, units = window.newest, 0, 0, 0, 0
    for at_us, kind, entropy, _, _, _, _ in run:
        bucket = at_us // width
        if bucket != filling:
            if events:
                window.add(filling, events, file_ops, network_ops, units)
            window.advance(bucket)
            filling, events, file_ops, network_ops, units = bucket, 0, 0, 0, 0
        events += 1
        file_ops += kind == FILE
        network_ops += kind == NETWORK
        units += entropy
    if events:
        window.add(filling, events, file_ops, network_ops, units)


def _due_us(standing: Standing, policy: Policy, agent: Learned, gap_us: int, from_us: int) -> int:
    """Return up to when time alone changes nothing, whatever is observed from ``from_us`` on.

    Sessions that begin later end later, and those that go on too.
    """
    deadline, ends_us = policy.next_deadline(standing), agent.next_end_us(gap_us)
    return min(
        NEVER_US if deadline is None else deadline, NEVER_US if ends_us is None else ends_us, from_us + gap_us
    )


def _moment(state: AgentState, prior: Prior, verdict: Verdict | None = None) -> Crossing:
    """Return the agent's window at its latest instant, with the score by which it is judged."""
    moment = prior.monitor.look(state.profile.window, state.clock_us)
    if prior.detection is None:
        return moment
    if verdict is None:
        verdict = CALM if state.learned is None else prior.detection.look(state.learned, state.owner)
    return moment._replace(level=state.level, score=verdict.score)


def elapse(state: AgentState, prior: Prior, at_us: int, drafts: list[Draft]) -> None:
    """Let time pass until ``at_us``; decisions are appended to ``drafts``. Going back is ignored."""
    if at_us > state.clock_us:
        if prior.detection is None:
            moment = _moment(state, prior)
            if moment.level != state.level:
                # Other thresholds, or another width of the window, came into force since the last input.
                _cross(state, prior, moment, (), drafts)
        _elapse(state, prior, at_us, (), drafts)
        state.clock_us = at_us


def shift(state: AgentState, delta_us: int, at_us: int) -> None:
    """Move the agent's past by ``delta_us``: the wall clock was set by that much and shows ``at_us`` now.

    How long ago everything was stays as it was, to a bucket's width. The end of a pin stays where the
    operator put it. An agent that has met the new time already moves no further than to ``at_us``.
    """
    width = state.profile.window.bucket_us
    delta_us = min(delta_us, at_us - state.clock_us) // width * width
    if delta_us <= 0 <= at_us - state.clock_us:
        return
    state.profile.window.shift(delta_us // width)
    state.trail.shift(delta_us)
    state.clock_us += delta_us
    state.last_activity_us += delta_us
    if state.learned is not None:
        state.learned.shift(delta_us)
    standing = state.standing
    standing.since_us += delta_us
    if standing.quiet_since_us is not None:
        standing.quiet_since_us += delta_us
    if standing.grace_until_us is not None:
        standing.grace_until_us += delta_us


def charge(state: AgentState, prior: Prior, incident: Incident, drafts: list[Draft]) -> None:
    """Charge the agent with an incident; a decision that follows is appended to ``drafts``."""
    at_us = max(incident.at_us, state.clock_us)
    elapse(state, prior, at_us, drafts)
    cause = CAUSES[KINDS[incident.kind].family]
    changes = prior.policy.charge(
        state.standing, at_us, prior.charges.tier(incident.kind), state.level, cause
    )
    if not changes and incident.kind == "gate_bypassed" != state.reason_code:
        # Whoever is denied calls has its tier already: that the gate does not hold must be told all the same.
        tier = state.standing.effective_tier
        changes = [Change(at_us, tier, tier, cause)]
    moment = _moment(state, prior)
    drafts.extend(Draft(change, moment, tuple(state.recent), incident=incident) for change in changes)


def _elapse(
    state: AgentState, prior: Prior, until_us: int, seen: Sequence[Observation], drafts: list[Draft]
) -> None:
    # Two things happen in silence, each at its own instant and in the order of those: events leave the
    # window, and deadlines act. A deadline acts strictly before ``until_us``: input of the same instant
    # comes first.
    policy = prior.policy
    while True:
        deadline = policy.next_deadline(state.standing)
        is_due = deadline is not None and deadline < until_us
        # A deadline in the past (other settings came into force, a pin came too late) acts now.
        at_us = max(deadline, state.clock_us) if deadline is not None and is_due else until_us
        crossing = _expire(state, prior, at_us)
        if crossing is not None:
            _cross(state, prior, crossing, seen, drafts)
        elif is_due:
            state.clock_us = at_us
            before = state.standing.tier
            changes = policy.pass_deadline(state.standing, at_us, state.level)
            moment = _moment(state, prior)
            drafts.extend(Draft(change, moment, tuple(_latest(state, seen))) for change in changes)
            if state.learned is not None and before > state.standing.tier == 1:
                state.learned.acquit()
        else:
            return


def _expire(state: AgentState, prior: Prior, until_us: int) -> Crossing | None:
    """Let what is too old leave the window, and end sessions that have been silent for too long."""
    window = state.profile.window
    if prior.detection is None:
        return prior.monitor.elapse(window, state.level, until_us)
    window.advance(until_us // window.bucket_us)
    if state.learned is not None:
        is_frozen = state.standing.tier > 1
        prior.detection.end_due(state.learned, state.owner, until_us, is_frozen=is_frozen)
    return None


def _cross(
    state: AgentState, prior: Prior, crossing: Crossing, seen: Sequence[Observation], drafts: list[Draft]
) -> None:
    state.level = crossing.level
    changes = prior.policy.call(state.standing, crossing.at_us, crossing.level)
    drafts.extend(Draft(change, crossing, tuple(_latest(state, seen))) for change in changes)


def _latest(state: AgentState, seen: Sequence[Observation]) -> list[Observation]:
    # What the facts say of them has been judged.
    latest = [item if item[6] is None else (*item[:6], None) for item in seen[-RECENT:]]
    return latest if len(latest) == RECENT else [*state.recent, *latest][-RECENT:]


def _obey(state: AgentState, prior: Prior, wish: Wish, drafts: list[Draft]) -> None:
    at_us = max(wish.at_us, state.clock_us)
    elapse(state, prior, at_us, drafts)
    moment = _moment(state, prior)
    recent = tuple(state.recent)
    if isinstance(wish, Pardon):
        change = prior.policy.pardon(state.standing, at_us, wish.grace_us)
        state.profile.window.clear()
        state.trail.clear()
        state.recent = []
        state.level = 1
        if state.numbering is not None:
            state.numbering.forgive()
        if state.learned is not None and prior.detection is not None:
            prior.detection.forgive(state.learned, is_attack=wish.attack)
        drafts.append(Draft(change, moment, recent, wish.actor, wish.reason, wish.attack))
    elif isinstance(wish, Pin):
        change = prior.policy.pin(state.standing, at_us, Tier(wish.tier), wish.until_us)
        drafts.append(Draft(change, moment, recent, wish.actor, wish.reason))
    elif isinstance(wish, Unpin):
        if state.standing.pinned_tier is not None:
            change = prior.policy.unpin(state.standing, at_us)
            drafts.append(Draft(change, moment, recent, wish.actor, wish.reason))
    else:
        tier = state.standing.effective_tier
        cause, said = _act(state, prior, at_us, wish)
        if cause:
            change = Change(at_us, tier, state.standing.effective_tier, cause)
            drafts.append(Draft(change, moment, (), wish.actor, wish.reason, said=said))


def _act(state: AgentState, prior: Prior, at_us: int, wish: Freeze | Renew | Retire) -> tuple[str, str]:
    """Do to an agent what leaves its behaviour as it was: (cause, what was done), empty for nothing."""
    agent = state.learned
    if isinstance(wish, Retire):
        if agent is not None and prior.detection is not None:
            is_frozen = state.standing.tier > 1
            prior.detection.end_due(agent, state.owner, NEVER_US, is_frozen=is_frozen)
        state.retired_us = at_us
        if not wish.is_final:
            return "retired", "its sessions ended; it is listed again when it acts"
        prior.policy.pin(state.standing, at_us, Tier.ANOMALOUS, None)
        return "retired", "for good: whoever acts under its id is at tier 3"
    if agent is None:
        agent = state.learned = Learned()
    if isinstance(wish, Freeze):
        if agent.own.is_frozen == wish.is_frozen:
            return "", ""
        agent.own.is_frozen = wish.is_frozen
        return (
            wish.cause,
            "its sessions rank, and teach nothing" if wish.is_frozen else "its sessions teach again",
        )
    wish.own.is_frozen = agent.own.is_frozen
    agent.renew(wish.own, wish.since_us, wish.gap_us)
    return wish.cause, wish.said


def distrust(state: AgentState, prior: Prior, at_us: int, from_tier: int, drafts: list[Draft]) -> None:
    """Restrict an agent whose past cannot be read; ``from_tier`` is what it was published with."""
    at_us = max(at_us, state.clock_us)
    moment = _moment(state, prior)
    prior.policy.charge(state.standing, at_us, 3, state.level, "damaged")
    state.standing.since_us = at_us
    note = "what was known of it is damaged in the database; it begins anew"
    drafts.append(Draft(Change(at_us, from_tier, 3, "damaged"), moment, (), note=note))


#: What the bytes of a state begin with.
_PREFIX = b"%d:" % STATE_VERSION
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AgentState)


def absorb(state: AgentState, other: AgentState) -> None:
    """Let an agent go on for another one too: with the stricter tier, and what both had learned."""
    if other.standing.effective_tier > state.standing.effective_tier:
        state.standing, state.decision_no = other.standing, other.decision_no
        state.decision_score, state.reason_code = other.decision_score, other.reason_code
    state.clock_us = max(state.clock_us, other.clock_us)
    state.events += other.events
    state.last_activity_us = max(state.last_activity_us, other.last_activity_us)
    state.peak = max(state.peak, other.peak)
    if state.learned is None or other.learned is None:
        state.learned = state.learned or other.learned
    else:
        state.learned.absorb(other.learned)


def dump_state(state: AgentState) -> bytes:
    """Return the state as bytes: the version number, a colon, MessagePack."""
    return _PREFIX + _encoder.encode(state)


def load_state(data: bytes) -> AgentState:
    """Read what ``dump_state`` gave, in this version or the one before it.

    Raises ``ValueError`` for other versions and damaged bytes.
    """
    version, _, body = data.partition(b":")
    if version == b"1":
        return _load_version_1(body)
    if version != b"%d" % STATE_VERSION:
        raise ValueError(f"agent state of version {version[:8]!r}, this program reads {STATE_VERSION}")
    return _decoder.decode(body)


def _load_version_1(body: bytes) -> AgentState:
    plain = msgspec.json.decode(body)
    try:
        plain["recent"] = [[*item, None] for item in plain["recent"]]
        buckets = plain["profile"]["window"]["buckets"]
        plain["profile"]["window"]["buckets"] = {int(number): cell for number, cell in buckets.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged agent state: {error}") from error
    return msgspec.convert(plain, AgentState)


def load_checked(data: bytes, owner: int, agent_id: str, tier: int) -> AgentState:
    """Read a state that must be this agent's, with this published tier. Raises ``ValueError``."""
    state = load_state(data)
    if (state.owner, state.agent_id, state.standing.effective_tier) != (owner, agent_id, tier):
        raise ValueError("the state is another agent's, or of another tier")
    return state

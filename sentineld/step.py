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
from operator import itemgetter
from typing import cast

import msgspec

from sentineld.event import Incident, Observation, Tick
from sentineld.instant import iso
from sentineld.integrity import CAUSES, KINDS, Charges
from sentineld.monitor import NEVER_US, BehavioralMonitor, Crossing
from sentineld.numbering import Numbering
from sentineld.policy import Change, Policy, Standing
from sentineld.profile import AgentBehavioralProfile
from sentineld.tier import Tier

#: When an observation counts.
_AT = itemgetter(0)

#: Observations kept as evidence for the next decision.
RECENT = 8

#: Version of the bytes that ``dump_state`` gives.
STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Prior:
    """What all agents share: immutable, versioned inputs of the step."""

    monitor: BehavioralMonitor
    policy: Policy
    charges: Charges = field(default_factory=Charges)

    @property
    def version(self) -> str:
        """Name these inputs: equal inputs have equal names."""
        return (
            f"{self.monitor.version}/q{self.policy.quiet_us // 1_000_000}"
            + ("p" if self.policy.tier3_needs_pardon else "")
            + ("" if self.charges == Charges() else f"/{self.charges.version}")
        )


@dataclass(slots=True)
class AgentState:
    """Everything that is known of one agent; a value.

    ``owner`` is the uid that wrote the telemetry. ``events`` and ``last_activity_us`` are over the agent's
    life; ``clock_us`` is the latest instant it was told of; ``level`` the tier that its score calls for;
    ``decision_no``, ``decision_score`` and ``reason_code`` tell of the decision that gave it its present
    tier (0: none); whoever numbers decisions sets them. ``numbering`` follows the numbers that the agent
    gives its own records (None: it gives none).
    """

    owner: int
    profile: AgentBehavioralProfile
    standing: Standing = field(default_factory=Standing)
    clock_us: int = 0
    level: int = 1
    events: int = 0
    last_activity_us: int = 0
    peak: float = 0.0
    decision_no: int = 0
    decision_score: float = 0.0
    reason_code: str = ""
    recent: list[Observation] = field(default_factory=list)
    numbering: Numbering | None = None

    @property
    def agent_id(self) -> str:
        """The id that the agent claims."""
        return self.profile.agent_id

    @property
    def is_cold(self) -> bool:
        """Whether the passing of time can change nothing: empty window, tier 1, no pin, no grace."""
        return self.standing.is_plain and not self.profile.window.buckets


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


Wish = Pardon | Pin | Unpin
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


def new_state(owner: int, agent_id: str, prior: Prior, at_us: int) -> AgentState:
    """Return the state of an agent that was never seen before ``at_us``."""
    profile = AgentBehavioralProfile(
        agent_id,
        last_activity=iso(at_us),
        sliding_window_start=iso(at_us),
        window=prior.monitor.new_window(),
    )
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


def observe(state: AgentState, prior: Prior, run: Sequence[Observation], drafts: list[Draft]) -> None:
    """Apply a run of observations (not empty); decisions are appended to ``drafts``."""
    monitor, policy, standing = prior.monitor, prior.policy, state.standing
    window = state.profile.window
    position = 0
    while True:
        deadline = policy.next_deadline(standing)
        stop = monitor.observe(
            window, state.clock_us, state.level, run, position, NEVER_US if deadline is None else deadline
        )
        position, state.clock_us, state.peak = stop.position, stop.clock_us, max(state.peak, stop.peak)
        if stop.crossing is not None:
            _cross(state, prior, stop.crossing, run[max(0, position - RECENT) : position], drafts)
        elif position < len(run):
            _elapse(state, prior, run[position][0], run[max(0, position - RECENT) : position], drafts)
        else:
            break
    state.events += len(run)
    state.recent = _latest(state, run)
    state.last_activity_us = max(state.last_activity_us, max(map(_AT, run)))


def elapse(state: AgentState, prior: Prior, at_us: int, drafts: list[Draft]) -> None:
    """Let time pass until ``at_us``; decisions are appended to ``drafts``. Going back is ignored."""
    if at_us > state.clock_us:
        moment = prior.monitor.look(state.profile.window, state.clock_us)
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
    state.clock_us += delta_us
    state.last_activity_us += delta_us
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
    changes = prior.policy.charge(
        state.standing,
        at_us,
        prior.charges.tier(incident.kind),
        state.level,
        CAUSES[KINDS[incident.kind].family],
    )
    moment = prior.monitor.look(state.profile.window, at_us)
    drafts.extend(Draft(change, moment, tuple(state.recent), incident=incident) for change in changes)


def _elapse(
    state: AgentState, prior: Prior, until_us: int, seen: Sequence[Observation], drafts: list[Draft]
) -> None:
    # Two things happen in silence, each at its own instant and in the order of those: events leave the
    # window, and deadlines act. A deadline acts strictly before ``until_us``: input of the same instant
    # comes first.
    monitor, policy, window = prior.monitor, prior.policy, state.profile.window
    while True:
        deadline = policy.next_deadline(state.standing)
        is_due = deadline is not None and deadline < until_us
        # A deadline in the past (other settings came into force, a pin came too late) acts now.
        at_us = max(deadline, state.clock_us) if deadline is not None and is_due else until_us
        crossing = monitor.elapse(window, state.level, at_us)
        if crossing is not None:
            _cross(state, prior, crossing, seen, drafts)
        elif is_due:
            state.clock_us = at_us
            moment = monitor.look(window, at_us)
            changes = policy.pass_deadline(state.standing, at_us, state.level)
            drafts.extend(Draft(change, moment, tuple(_latest(state, seen))) for change in changes)
        else:
            return


def _cross(
    state: AgentState, prior: Prior, crossing: Crossing, seen: Sequence[Observation], drafts: list[Draft]
) -> None:
    state.level = crossing.level
    changes = prior.policy.call(state.standing, crossing.at_us, crossing.level)
    drafts.extend(Draft(change, crossing, tuple(_latest(state, seen))) for change in changes)


def _latest(state: AgentState, seen: Sequence[Observation]) -> list[Observation]:
    return [*state.recent, *seen[-RECENT:]][-RECENT:]


def _obey(state: AgentState, prior: Prior, wish: Wish, drafts: list[Draft]) -> None:
    at_us = max(wish.at_us, state.clock_us)
    elapse(state, prior, at_us, drafts)
    moment = prior.monitor.look(state.profile.window, at_us)
    recent = tuple(state.recent)
    if isinstance(wish, Pardon):
        change = prior.policy.pardon(state.standing, at_us, wish.grace_us)
        state.profile.window.clear()
        state.recent = []
        state.level = 1
        if state.numbering is not None:
            state.numbering.forgive()
        drafts.append(Draft(change, moment, recent, wish.actor, wish.reason, wish.attack))
    elif isinstance(wish, Pin):
        change = prior.policy.pin(state.standing, at_us, Tier(wish.tier), wish.until_us)
        drafts.append(Draft(change, moment, recent, wish.actor, wish.reason))
    elif state.standing.pinned_tier is not None:
        change = prior.policy.unpin(state.standing, at_us)
        drafts.append(Draft(change, moment, recent, wish.actor, wish.reason))


def distrust(state: AgentState, prior: Prior, at_us: int, from_tier: int, drafts: list[Draft]) -> None:
    """Restrict an agent whose past cannot be read; ``from_tier`` is what it was published with."""
    at_us = max(at_us, state.clock_us)
    moment = prior.monitor.look(state.profile.window, at_us)
    prior.policy.charge(state.standing, at_us, 3, state.level, "damaged")
    state.standing.since_us = at_us
    note = "what was known of it is damaged in the database; it begins anew"
    drafts.append(Draft(Change(at_us, from_tier, 3, "damaged"), moment, (), note=note))


_state_encoder = msgspec.json.Encoder()
_state_decoder = msgspec.json.Decoder(AgentState)


def dump_state(state: AgentState) -> bytes:
    """Return the state as bytes: the version number, a colon, JSON."""
    return b"%d:" % STATE_VERSION + _state_encoder.encode(state)


def load_state(data: bytes) -> AgentState:
    """Read what ``dump_state`` gave. Raises ``ValueError`` for another version or damaged bytes."""
    version, _, body = data.partition(b":")
    if version != b"%d" % STATE_VERSION:
        raise ValueError(f"agent state of version {version[:8]!r}, this program reads {STATE_VERSION}")
    return _state_decoder.decode(body)


def load_checked(data: bytes, owner: int, agent_id: str, tier: int) -> AgentState:
    """Read a state that must be this agent's, with this published tier. Raises ``ValueError``."""
    state = load_state(data)
    if (state.owner, state.agent_id, state.standing.effective_tier) != (owner, agent_id, tier):
        raise ValueError("the state is another agent's, or of another tier")
    return state

"""BehavioralMonitor: turns observations of one agent into a score and the tier that it calls for.

Score (0..1): ``0.40 * file + 0.30 * network + 0.30 * entropy`` over the sliding window, where
``file = min(1, log1p(file_ops) / log1p(100))``, network likewise, and entropy is the mean entropy of the
window's events. Above 0.7 the score calls for tier 3, above 0.5 for tier 2.

Known limits: volume looks like guilt. File operations alone never pass 0.7; twelve file and eight network
operations with ordinary text already pass 0.5; a busy honest agent scores higher than a quiet hijacked one.

Two faces, one arithmetic: ``observe`` and ``elapse`` are pure and work on batches (the daemon, replay and
``step`` use them); ``record_event`` and its neighbours keep profiles by agent id for library users, and
take the present from an argument or from the injected clock.
"""

import hashlib
import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

from sentineld import kernel
from sentineld.clock import now_us
from sentineld.decision import Reason
from sentineld.entropy import UNITS, entropy_units
from sentineld.event import FILE, NETWORK, OPERATION_KIND, OTHER, BehavioralEvent, Observation
from sentineld.instant import SECOND_US, from_unix, iso, parse_iso
from sentineld.profile import AgentBehavioralProfile
from sentineld.prognostics import Forecast, PrognosticsEngine
from sentineld.window import BUCKETS, BUCKETS_BEFORE, EMPTY, Window

#: A point in time as library callers give it: Unix seconds, ISO 8601, or an aware datetime.
When = float | str | datetime

#: Scores that a prognostics engine gets to see.
_HISTORY = 512

#: Entropies are explained to six decimals.
_MICRO = 1_000_000

#: Later than every instant.
NEVER_US = 1 << 62


class Crossing(NamedTuple):
    """The window at one instant, and the tier (``level``, 1..3) that its score calls for.

    ``at_us`` is effective time; counts are operations and events; ``entropy_units`` billionths.
    """

    at_us: int
    level: int
    score: float
    file_ops: int
    network_ops: int
    events: int
    entropy_units: int


class Stop(NamedTuple):
    """Where ``observe`` stopped, and why.

    ``position`` is the next observation's, ``clock_us`` the latest instant, ``peak`` the highest score on the
    way (0 for none), ``crossing`` the change of the called tier, if that was the cause.
    """

    position: int
    clock_us: int
    peak: float
    crossing: Crossing | None


@dataclass(frozen=True, slots=True)
class Score:
    """A score (0..1) and the parts that add up to it."""

    value: float
    file: float
    network: float
    entropy: float

    @property
    def contributions(self) -> dict[str, float]:
        """The parts by name; they add up to the value."""
        return {"file": self.file, "network": self.network, "entropy": self.entropy}


class BehavioralMonitor:
    """Scores agents by their activity.

    Weights must be at least 0 and sum to 1; ``saturation`` is the count of operations at which their part
    is full (at least 1); thresholds lie in 0..1, the suspicious one not above the anomalous one;
    ``window_seconds`` is the span of the sliding window (at least 0.03; the window covers the span plus up
    to a thirtieth of it). Anything else is a ``ValueError`` that names the argument.
    ``clock`` returns Unix seconds; ``prognostics`` is optional.
    """

    FILE_WEIGHT = 0.40
    NETWORK_WEIGHT = 0.30
    ENTROPY_WEIGHT = 0.30
    SATURATION = 100
    SUSPICIOUS_THRESHOLD = 0.5
    ANOMALOUS_THRESHOLD = 0.7
    WINDOW_SECONDS = 300.0

    def __init__(
        self,
        *,
        file_weight: float | None = None,
        network_weight: float | None = None,
        entropy_weight: float | None = None,
        saturation: int | None = None,
        suspicious_threshold: float | None = None,
        anomalous_threshold: float | None = None,
        window_seconds: float | None = None,
        prognostics: PrognosticsEngine | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.file_weight = _given("file_weight", file_weight, self.FILE_WEIGHT)
        self.network_weight = _given("network_weight", network_weight, self.NETWORK_WEIGHT)
        self.entropy_weight = _given("entropy_weight", entropy_weight, self.ENTROPY_WEIGHT)
        self.suspicious_threshold = _given(
            "suspicious_threshold", suspicious_threshold, self.SUSPICIOUS_THRESHOLD
        )
        self.anomalous_threshold = _given(
            "anomalous_threshold", anomalous_threshold, self.ANOMALOUS_THRESHOLD
        )
        self.window_seconds = _given("window_seconds", window_seconds, self.WINDOW_SECONDS)
        self.saturation = self.SATURATION if saturation is None else saturation
        self._validate()
        self.bucket_us = -(-round(self.window_seconds * SECOND_US) // BUCKETS_BEFORE)
        shares = [min(1.0, math.log1p(n) / math.log1p(self.saturation)) for n in range(self.saturation + 1)]
        self._file_parts = [self.file_weight * share for share in shares]
        self._network_parts = [self.network_weight * share for share in shares]
        self._parts = array("d", self._file_parts), array("d", self._network_parts)
        #: Of each level, what its scores are above of, and the highest of them.
        self._bounds = (
            (-math.inf, math.inf),
            (-math.inf, self.suspicious_threshold),
            (self.suspicious_threshold, self.anomalous_threshold),
            (self.anomalous_threshold, math.inf),
        )
        self._clock = clock
        self._prognostics = prognostics
        self.forecast_error: Exception | None = None
        self._profiles: dict[str, AgentBehavioralProfile] = {}
        self._histories: dict[str, deque[tuple[float, float]]] = {}

    def _validate(self) -> None:
        weights = {
            "file_weight": self.file_weight,
            "network_weight": self.network_weight,
            "entropy_weight": self.entropy_weight,
        }
        for name, value in weights.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0, not {value!r}")
        if not math.isclose(sum(weights.values()), 1.0, abs_tol=1e-9):
            raise ValueError(f"{', '.join(weights)} must sum to 1, not to {sum(weights.values())!r}")
        if isinstance(self.saturation, bool) or not isinstance(self.saturation, int):
            raise ValueError(f"saturation must be a whole number, not {self.saturation!r}")  # noqa: TRY004
        if not 1 <= self.saturation <= 1_000_000:
            raise ValueError(f"saturation must be between 1 and 1000000 operations, not {self.saturation!r}")
        for name in ("suspicious_threshold", "anomalous_threshold"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)!r}")
        if self.suspicious_threshold > self.anomalous_threshold:
            raise ValueError(
                f"suspicious_threshold ({self.suspicious_threshold!r}) must not be above "
                f"anomalous_threshold ({self.anomalous_threshold!r})"
            )
        if not (math.isfinite(self.window_seconds) and 0.03 <= self.window_seconds <= 31_536_000):
            raise ValueError(f"window_seconds must be between 0.03 s and a year, not {self.window_seconds!r}")

    @property
    def version(self) -> str:
        """Name these settings: equal settings have equal names."""
        settings = (
            self.file_weight,
            self.network_weight,
            self.entropy_weight,
            self.saturation,
            self.suspicious_threshold,
            self.anomalous_threshold,
            self.bucket_us,
        )
        return "activity-" + hashlib.blake2b(repr(settings).encode(), digest_size=4).hexdigest()

    # The pure face: batches of one agent's observations.

    def new_window(self) -> Window:
        """Return an empty window of this monitor's width."""
        return Window(bucket_us=self.bucket_us)

    def score(self, file_ops: int, network_ops: int, mean_entropy: float) -> Score:
        """Score counts of operations and a mean entropy (0..1)."""
        cap = self.saturation
        file = self._file_parts[min(max(file_ops, 0), cap)]
        network = self._network_parts[min(max(network_ops, 0), cap)]
        entropy = self.entropy_weight * min(1.0, max(0.0, mean_entropy))
        return Score(file + network + entropy, file, network, entropy)

    def score_window(self, window: Window) -> Score:
        """Score what a window holds."""
        mean = window.entropy_units / (window.events * UNITS) if window.events else 0.0
        return self.score(window.file_ops, window.network_ops, mean)

    def score_of(self, window: Window) -> float:
        """Return the value of ``score_window``, and nothing else; for every tick of every agent."""
        if not window.events:
            return 0.0
        mean = window.entropy_units / (window.events * UNITS)
        return self.operations_score(window) + self.entropy_weight * mean

    def operations_score(self, window: Window) -> float:
        """Return what the operations in a window add to its score."""
        cap = self.saturation
        return self._file_parts[min(window.file_ops, cap)] + self._network_parts[min(window.network_ops, cap)]

    def level(self, score: float) -> int:
        """Return the tier that a score calls for, 1..3."""
        return 3 if score > self.anomalous_threshold else 2 if score > self.suspicious_threshold else 1

    def observe(
        self,
        window: Window,
        clock_us: int,
        level: int,
        observations: Sequence[Observation],
        start: int = 0,
        deadline_us: int = NEVER_US,
    ) -> Stop:
        """Add observations to a window, in order, from ``start`` on; the batch entry point.

        ``clock_us`` is the latest instant seen before, ``level`` the tier that the window called for.
        Stops behind the observation that changes the called tier, or before the first one that is later
        than ``deadline_us``, or at the end; the caller acts on it and calls again from ``Stop.position``.
        Splitting a batch anywhere gives the same changes. O(1) amortised an observation.
        """
        # A window that was never told the time (a new one) must not lie behind the clock.
        window.advance(clock_us // window.bucket_us)
        if kernel.compiled is not None:
            found = kernel.compiled.observe(
                observations if type(observations) is list else list(observations),
                start,
                deadline_us,
                clock_us,
                window.newest,
                window.bucket_us,
                window.buckets,
                [window.events, window.file_ops, window.network_ops, window.entropy_units],
                *self._parts,
                self.entropy_weight,
                *self._bounds[level],
            )
            if found is not None:
                return self._taken_in(window, *found)
        # The window's own operations, written out over local names: this loop is most of the daemon's work.
        # What falls into one bucket, one behind the other, is added to that bucket at once.
        file_parts, network_parts, cap = self._file_parts, self._network_parts, self.saturation
        entropy_weight = self.entropy_weight
        # Above the first and up to the second one the score calls for the level that it called for before.
        low, high = self._bounds[level]
        width, buckets = window.bucket_us, window.buckets
        newest, oldest = window.newest, window.oldest
        events, scaled, entropy_units = window.events, window.events * UNITS, window.entropy_units
        file_ops, network_ops = window.file_ops, window.network_ops
        file_part, network_part = file_parts[min(file_ops, cap)], network_parts[min(network_ops, cap)]
        counts = file_part + network_part
        peak = 0.0
        position, end = start, len(observations)
        crossing = None
        while position < end:
            at, kind, entropy, _, _, _, _ = observations[position]
            bucket = at // width
            if at > clock_us:
                if at > deadline_us:
                    break
                if bucket > newest:
                    if oldest + BUCKETS_BEFORE < bucket:
                        # The oldest bucket leaves first, at an instant of its own (see elapse).
                        cell = buckets.pop(oldest)
                        newest = oldest + BUCKETS
                        oldest = oldest + 1 if buckets else EMPTY
                        while oldest not in buckets and buckets:
                            oldest += 1
                        events -= cell[0]
                        file_ops -= cell[1]
                        network_ops -= cell[2]
                        entropy_units -= cell[3]
                        scaled = events * UNITS
                        file_part = file_parts[min(file_ops, cap)]
                        network_part = network_parts[min(network_ops, cap)]
                        counts = file_part + network_part
                        score = counts + (entropy_weight * (entropy_units / scaled) if events else 0.0)
                        if low < score <= high:
                            continue
                        clock_us = newest * width
                        called = self.level(score)
                        crossing = Crossing(
                            clock_us, called, score, file_ops, network_ops, events, entropy_units
                        )
                        break
                    newest = bucket
                clock_us = at
            if bucket < newest - BUCKETS_BEFORE:
                # Older than the window: it counts over the agent's life, not here.
                position += 1
                continue
            if bucket < oldest:
                oldest = bucket
            events_before, file_before, network_before = events, file_ops, network_ops
            entropy_before = entropy_units
            # What counts at once with this one: what lies in the same bucket, and not behind the deadline.
            first_us = bucket * width
            last_us = min(first_us + width - 1, max(deadline_us, clock_us))
            while True:
                position += 1
                scaled += UNITS
                entropy_units += entropy
                if kind == FILE:
                    file_ops += 1
                    if file_ops <= cap:
                        file_part = file_parts[file_ops]
                        counts = file_part + network_part
                elif kind == NETWORK:
                    network_ops += 1
                    if network_ops <= cap:
                        network_part = network_parts[network_ops]
                        counts = file_part + network_part
                score = counts + entropy_weight * (entropy_units / scaled)
                if score > peak:
                    peak = score
                if not low < score <= high:
                    called, count = self.level(score), scaled // UNITS
                    crossing = Crossing(clock_us, called, score, file_ops, network_ops, count, entropy_units)
                    break
                if position == end:
                    break
                at, kind, entropy, _, _, _, _ = observations[position]
                if not first_us <= at <= last_us:
                    break
                if at > clock_us:
                    clock_us = at
            events = scaled // UNITS
            cell = buckets.setdefault(bucket, [0, 0, 0, 0])
            cell[0] += events - events_before
            cell[1] += file_ops - file_before
            cell[2] += network_ops - network_before
            cell[3] += entropy_units - entropy_before
            if crossing is not None:
                break
        window.newest, window.events, window.entropy_units = newest, events, entropy_units
        window.file_ops, window.network_ops, window.oldest = file_ops, network_ops, oldest
        return Stop(position, clock_us, peak, crossing)

    def _taken_in(
        self,
        window: Window,
        position: int,
        clock_us: int,
        peak: float,
        newest: int,
        buckets: dict[int, list[int]],
        events: int,
        file_ops: int,
        network_ops: int,
        entropy_units: int,
        score: float | None,
    ) -> Stop:
        """Let a window be what the kernel made of it."""
        window.newest, window.events, window.entropy_units = newest, events, entropy_units
        window.file_ops, window.network_ops, window.buckets = file_ops, network_ops, buckets
        window.oldest = next(iter(buckets), EMPTY)
        if score is None:
            return Stop(position, clock_us, peak, None)
        level = self.level(score)
        crossing = Crossing(clock_us, level, score, file_ops, network_ops, events, entropy_units)
        return Stop(position, clock_us, peak, crossing)

    def elapse(self, window: Window, level: int, until_us: int) -> Crossing | None:
        """Let time pass until then, or until what leaves the window changes the called tier.

        Each bucket that leaves is an instant of its own, so that a decision's time does not depend on how
        often somebody looks. Call again after a crossing.
        """
        bucket = until_us // window.bucket_us
        while (gone := window.next_expiry()) is not None and gone <= bucket:
            window.advance(gone)
            if self.level(self.score_of(window)) != level:
                return self.look(window, gone * window.bucket_us)
        window.advance(bucket)
        return None

    def look(self, window: Window, at_us: int) -> Crossing:
        """Score the window as it stands at ``at_us``."""
        score = self.score_window(window).value
        return Crossing(
            at_us,
            self.level(score),
            score,
            window.file_ops,
            window.network_ops,
            window.events,
            window.entropy_units,
        )

    def explain(self, crossing: Crossing, threshold: float) -> list[Reason]:
        """Say of each feature what was observed, and the most that would have kept within the threshold.

        That is None where the feature alone decides nothing: the score passes the threshold with none of it,
        or keeps within with any amount of it.
        """
        files, networks = crossing.file_ops, crossing.network_ops
        mean = crossing.entropy_units / (crossing.events * UNITS) if crossing.events else 0.0
        file_parts, network_parts, cap = self._file_parts, self._network_parts, self.saturation
        # As ``score`` adds them up.
        _, file, network, entropy = astuple(self.score(files, networks, mean))
        file_limit = self._limit(lambda n: file_parts[n] + network + entropy, cap, threshold)
        network_limit = self._limit(lambda n: file + network_parts[n] + entropy, cap, threshold)
        entropy_limit = self._limit(
            lambda n: file + network + self.entropy_weight * (n / _MICRO), _MICRO, threshold
        )
        return [
            Reason("activity", "file_operations", files, file_limit),
            Reason("activity", "network_operations", networks, network_limit),
            Reason(
                "activity",
                "mean_entropy",
                round(mean, 6),
                None if entropy_limit is None else entropy_limit / _MICRO,
            ),
        ]

    @staticmethod
    def _limit(score_at: Callable[[int], float], highest: int, threshold: float) -> float | None:
        # The score grows with every feature, so that the largest amount can be found by bisection.
        if score_at(0) > threshold or score_at(highest) <= threshold:
            return None
        return float(bisect_right(range(highest + 1), threshold, key=score_at) - 1)

    # The library face: profiles by agent id.

    def record_event(
        self,
        agent_id: str,
        event_type: str,
        metadata: Mapping[str, Any] | None = None,
        timestamp: When | None = None,
        *,
        now: When | None = None,
    ) -> BehavioralEvent:
        """Record one event; an agent seen for the first time gets a profile.

        ``timestamp`` says when it happened (default: now); the event keeps it, but counts no later than now.
        Raises ``ValueError`` for a time that cannot be read and for an empty id or type.
        """
        present = self._now(now)
        claimed = present if timestamp is None else instant(timestamp)
        event = BehavioralEvent(
            event_id=uuid4().hex,
            agent_id=_name("agent_id", agent_id),
            event_type=_name("event_type", event_type),
            timestamp=iso(claimed),
            metadata=dict(metadata or {}),
        )
        event.calculate_entropy()
        self.record_events([event], now=present / SECOND_US)
        return event

    def record_events(self, events: Iterable[BehavioralEvent], *, now: When | None = None) -> None:
        """Record many events, in order; each counts at its own timestamp, no later than now.

        Of history, ask with its own time as ``now``: the window never slides back. The events' ``entropy``
        counts as it is: see ``BehavioralEvent.calculate_entropy``.
        """
        present = self._now(now)
        by_agent: dict[str, list[Observation]] = {}
        for event in events:
            at = min(instant(event.timestamp), present)
            kind = OPERATION_KIND.get(event.event_type, OTHER)
            by_agent.setdefault(event.agent_id, []).append(
                (at, kind, entropy_units(event.entropy), event.event_type, 0, 0, None)
            )
        for agent_id, observations in by_agent.items():
            latest = iso(max(item[0] for item in observations))
            profile = self._profiles.get(agent_id)
            if profile is None:
                profile = self._profiles[agent_id] = self._fresh(agent_id, present)
                profile.last_activity = latest
            elif parse_iso(latest) > parse_iso(profile.last_activity):
                profile.last_activity = latest
            self._add(profile, observations)
            # As of its own latest event: history may be recorded long after it happened.
            latest_us = max(item[0] for item in observations)
            self._refresh(profile, latest_us)
            self._remember(profile, latest_us)

    def get_profile(self, agent_id: str, *, now: When | None = None) -> AgentBehavioralProfile:
        """Return the agent's profile as of now; an unknown agent gets a fresh one, which is not kept."""
        present = self._now(now)
        profile = self._profiles.get(agent_id)
        if profile is None:
            return self._fresh(agent_id, present)
        self._refresh(profile, present)
        return profile

    def calculate_anomaly_score(self, profile: AgentBehavioralProfile) -> float:
        """Return the score (0..1) of a profile's counts, and store it there."""
        profile.anomaly_score = self.score(
            profile.file_ops_count, profile.network_ops_count, profile.entropy_score
        ).value
        return profile.anomaly_score

    def is_anomalous(self, agent_id: str, *, now: When | None = None) -> bool:
        """Say whether the agent's score is above the anomalous threshold now."""
        return self.get_profile(agent_id, now=now).anomaly_score > self.anomalous_threshold

    def reset_window(self, agent_id: str | None = None) -> None:
        """Empty the window of one agent, or of all; profiles stay. Windows also empty by themselves."""
        profiles = self._profiles.values() if agent_id is None else [self.get_profile(agent_id)]
        for profile in profiles:
            profile.window.clear()
            profile.refresh()
            self.calculate_anomaly_score(profile)

    def forecast(self, agent_id: str, horizon_s: float = 300.0) -> Forecast | None:
        """Ask the prognostics engine, if there is one; None where it is absent, fails or cannot say.

        What it raised last stands in ``forecast_error``.
        """
        if self._prognostics is None:
            return None
        history = list(self._histories.get(agent_id, ()))
        try:
            return self._prognostics.forecast(agent_id, history, horizon_s)
        except Exception as error:  # noqa: BLE001 (somebody else's code: whatever it raises, detection goes on)
            self.forecast_error = error
            return None

    def _add(self, profile: AgentBehavioralProfile, observations: Sequence[Observation]) -> None:
        clock_us, level, position = 0, 1, 0
        while position < len(observations):
            stop = self.observe(profile.window, clock_us, level, observations, position)
            position, clock_us = stop.position, stop.clock_us
            level = level if stop.crossing is None else stop.crossing.level

    def _now(self, now: When | None) -> int:
        if now is not None:
            return instant(now)
        return now_us() if self._clock is None else from_unix(self._clock())

    def _fresh(self, agent_id: str, at_us: int) -> AgentBehavioralProfile:
        window = self.new_window()
        return AgentBehavioralProfile(
            agent_id,
            last_activity=iso(at_us),
            sliding_window_start=iso((at_us // self.bucket_us - BUCKETS_BEFORE) * self.bucket_us),
            window=window,
        )

    def _refresh(self, profile: AgentBehavioralProfile, at_us: int) -> None:
        profile.window.advance(at_us // self.bucket_us)
        profile.refresh()
        self.calculate_anomaly_score(profile)

    def _remember(self, profile: AgentBehavioralProfile, at_us: int) -> None:
        if self._prognostics is not None:
            history = self._histories.setdefault(profile.agent_id, deque(maxlen=_HISTORY))
            history.append((at_us / SECOND_US, profile.anomaly_score))


def _given(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, not {value!r}")  # noqa: TRY004
    return float(value)


def instant(when: When) -> int:
    """Read a caller's point in time as microseconds; without an offset it is UTC.

    Raises ``ValueError`` where it cannot be read.
    """
    if isinstance(when, datetime):
        return parse_iso(when.isoformat())
    if isinstance(when, str):
        return parse_iso(when)
    if isinstance(when, bool) or not isinstance(when, int | float):
        raise ValueError(f"a time is Unix seconds, ISO 8601 or a datetime, not {when!r}")  # noqa: TRY004
    return from_unix(when)


def _name(kind: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{kind} must be a string that is not empty, not {value!r}")
    return value

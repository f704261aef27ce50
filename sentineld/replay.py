"""Replay: the whole line over old telemetry. It publishes nothing, because it has no publisher.

Plain: all files merged by the events' own times, ticks up to the last event. As observed: what a daemon
read, in the order, the pieces and the brackets in which it read them, from its database; the decisions are
then exactly the daemon's.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sentineld.archive import Archive
from sentineld.batch import Key
from sentineld.clock import now_us
from sentineld.config import Config
from sentineld.decision import Decision, decision_id
from sentineld.errors import UsageError
from sentineld.event import Observation
from sentineld.instant import SECOND_US, iso, parse_iso
from sentineld.intake import Intake
from sentineld.mapping import NativeMapping
from sentineld.monitor import BehavioralMonitor
from sentineld.pipeline import Pipeline
from sentineld.requests import Request
from sentineld.settings import recorded_prior
from sentineld.step import Prior
from sentineld.store import Store
from sentineld.tail import Tail, Trouble
from sentineld.window import Window

#: A gap after which a new session begins, where telemetry names none.
SESSION_GAP_US = 30 * 60 * SECOND_US


@dataclass(slots=True)
class SessionPeak:
    """The highest score of one session, and the tier that it calls for."""

    max_score: float = 0.0
    max_tier: int = 1


@dataclass(slots=True)
class _OpenSession:
    name: str
    window: Window
    clock_us: int = 0


@dataclass(slots=True)
class Sessions:
    """Scores every session by its own events, as if the agent had entered it with an empty window.

    A session is what telemetry names, else events without a gap of 30 minutes (named by its first event's
    time). At most ``MAX_OPEN`` named sessions of an agent are followed at once.
    """

    MAX_OPEN = 64

    monitor: BehavioralMonitor
    peaks: dict[Key, dict[str, SessionPeak]] = field(default_factory=dict)
    _open: dict[Key, dict[str, _OpenSession]] = field(default_factory=dict)

    def observe(self, key: Key, run: list[Observation], names: list[str] | None) -> None:
        """Take in a run of one agent's observations with their session names (None: none has one)."""
        if names is None:
            self._add_unnamed(key, run)
            return
        start = 0
        for end in range(1, len(run) + 1):
            if end == len(run) or names[end] != names[start]:
                part = run[start:end]
                if names[start]:
                    self._add(key, names[start], part)
                else:
                    self._add_unnamed(key, part)
                start = end

    def _add_unnamed(self, key: Key, run: list[Observation]) -> None:
        start = 0
        session = self._open.get(key, {}).get("")
        last = session.clock_us if session is not None else None
        for position, item in enumerate(run):
            if last is not None and item[0] - last > SESSION_GAP_US:
                if position > start:
                    self._add(key, "", run[start:position])
                self._open.get(key, {}).pop("", None)
                start = position
            if last is None or item[0] > last:
                last = item[0]
        self._add(key, "", run[start:])

    def _add(self, key: Key, name: str, run: list[Observation]) -> None:
        sessions = self._open.setdefault(key, {})
        session = sessions.get(name)
        if session is None:
            if len(sessions) >= self.MAX_OPEN:
                del sessions[next(iter(sessions))]
            session = sessions[name] = _OpenSession(name or iso(run[0][0]), self.monitor.new_window())
        peak = self.peaks.setdefault(key, {}).setdefault(session.name, SessionPeak())
        position, level = 0, 1
        while position < len(run):
            stop = self.monitor.observe(session.window, session.clock_us, level, run, position)
            position, session.clock_us = stop.position, stop.clock_us
            level = level if stop.crossing is None else stop.crossing.level
            peak.max_score = max(peak.max_score, stop.peak)
        peak.max_tier = self.monitor.level(peak.max_score)


@dataclass(slots=True)
class Replayed:
    """What a replay found. ``missing`` are stretches of input that are no longer there."""

    store: Store
    prior: Prior
    sessions: Sessions
    decisions: list[Decision]
    troubles: list[Trouble]
    missing: list[str]


def replay(paths: Sequence[str], config: Config) -> Replayed:
    """Run the line over files and directories. Raises ``UsageError`` where a path does not exist."""
    for path in paths:
        _check_exists(path)
    prior = config.prior()
    troubles: list[Trouble] = []
    store = Store.open(":memory:", now_us(), is_durable=False)
    tail = Tail(
        [os.path.abspath(path) for path in paths],
        store.next_source_id,
        troubles.append,
        now_us,
        line_bytes=config.limits.line_bytes,
        max_files=config.limits.files,
        is_final=True,
    )
    sessions = Sessions(prior.monitor)
    pipeline = _pipeline(store, prior, config, sessions)
    intake = Intake(tail, NativeMapping())
    tail.scan()
    decisions: list[Decision] = []
    last_us = 0
    for batch in intake.history():
        outcome = pipeline.read(batch, now_us())
        decisions += outcome.decisions
        for _, source in batch.sources.values():
            tail.accept(source)
        last_us = max([last_us, *(state.clock_us for state in pipeline.roster.warm())])
    decisions += pipeline.tick(last_us).decisions
    tail.close()
    return Replayed(store, prior, sessions, _by_time(decisions), troubles, [])


def replay_as_observed(paths: Sequence[str], recorded: Store, config: Config) -> Replayed:
    """Run the line over what a daemon read, as its database tells; the bytes come from ``paths``."""
    for path in paths:
        _check_exists(path)
    prior = config.prior()
    store = Store.open(":memory:", now_us(), is_durable=False)
    sessions = Sessions(prior.monitor)
    pipeline = _pipeline(store, prior, config, sessions)
    decisions: list[Decision] = []
    pruned = recorded.meta().inputs_pruned
    with Archive(recorded, paths) as archive:
        for number, (kind, at_us, document, parts) in enumerate(recorded.inputs()):
            if kind == "settings":
                pipeline.set_prior(recorded_prior(document, config))
                sessions.monitor = pipeline.prior.monitor
            elif kind == "tick":
                decisions += pipeline.tick(at_us).decisions
            elif kind == "wish":
                request = Request(agent=document["agent"], **document["request"])
                wish = request.wish(at_us, document["actor"])
                decisions += pipeline.obey(f"replayed-{number}", request.agent, wish, document).decisions
            else:
                batch = archive.batch(number, parts)
                decisions += pipeline.read(batch, at_us).decisions
                archive.accept(batch)
        missing = archive.missing()
    if pruned:
        missing.insert(0, f"the first {pruned} inputs were pruned from the database")
    return Replayed(store, pipeline.prior, sessions, decisions, [], missing)


def _check_exists(path: str) -> None:
    if not os.path.exists(path):
        raise UsageError(f"there is no file or directory {path}", hint="sentineld replay PATH...")


def _by_time(decisions: list[Decision]) -> list[Decision]:
    # A batch of history tells late of what time alone did meanwhile; here nobody has seen the numbers yet.
    ordered = sorted(decisions, key=lambda decision: parse_iso(decision.decided_at))
    return [
        replace(decision, decision_no=number, decision_id=decision_id(number))
        for number, decision in enumerate(ordered, 1)
    ]


def _pipeline(store: Store, prior: Prior, config: Config, sessions: Sessions) -> Pipeline:
    return Pipeline(
        store, prior, agents_per_owner=config.limits.agents_per_owner, on_observations=sessions.observe
    )



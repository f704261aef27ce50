"""Replay: the whole line over old telemetry. It publishes nothing, because it has no publisher.

Plain: all files merged by the events' own times, ticks up to the last event. As observed: what a daemon
read, in the order, the pieces and the brackets in which it read them, from its database; the decisions are
then exactly the daemon's.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from sentineld.archive import Archive
from sentineld.batch import Key
from sentineld.catch_up import CatchUp, Progress
from sentineld.claims import Claims
from sentineld.clock import monotonic_us, now_us
from sentineld.config import Config
from sentineld.control import judge_control
from sentineld.decision import Decision, decision_id
from sentineld.decode import INTERNAL_ERROR, Reject
from sentineld.detection import Verdict
from sentineld.errors import UsageError
from sentineld.event import Incident, Observation
from sentineld.evidence import Trouble
from sentineld.instant import SECOND_US, iso, parse_iso
from sentineld.intake import Intake
from sentineld.kernel import span
from sentineld.monitor import NEVER_US, BehavioralMonitor
from sentineld.native import NATIVE
from sentineld.pipeline import Pipeline
from sentineld.quarantine import Quarantine, is_over_input
from sentineld.requests import Request
from sentineld.settings import recorded_config, recorded_trust
from sentineld.step import Prior
from sentineld.store import Store
from sentineld.tail import Tail
from sentineld.tuning import week_of
from sentineld.window import BUCKETS, Window

#: A gap after which a new session begins, where telemetry names none.
SESSION_GAP_US = 30 * 60 * SECOND_US


@dataclass(slots=True)
class SessionPeak:
    """The highest score of one session, and the tier that it calls for."""

    max_score: float = 0.0
    max_tier: int = 1


@dataclass(slots=True)
class Stretch:
    """One session as learned detection judged it.

    ``p`` is its lowest estimated p-value and ``rank`` the exact one, ``known`` among how many sessions,
    ``tier`` its highest. ``rule`` is the first that it broke (empty: none).
    """

    score: float = 0.0
    p: float = 1.0
    known: int = 0
    tier: int = 1
    rule: str = ""
    rank: float = 1.0


@dataclass(slots=True)
class _UnnamedSession:
    #: The open session's name, last; before it those that a run went through on its way.
    names: list[str]
    clock_us: int


@dataclass(slots=True)
class _NamedSession:
    name: str
    window: Window
    clock_us: int = 0
    level: int = 1


@dataclass(slots=True)
class Sessions:
    """Scores every session by its own events, as if the agent had entered it with an empty window.

    A session is what telemetry names, else events without a gap of 30 minutes (named by its first event's
    time). After such a gap the agent's own window is empty, so the scores that the agent gets are the
    session's as well; a named session may overlap others and has a window of its own. At most ``MAX_OPEN``
    named sessions of an agent are followed at once.

    ``stretches`` are sessions as learned detection sees them, by name and beginning; ``weeks`` the weeks in
    which an agent did anything.
    """

    MAX_OPEN = 64

    monitor: BehavioralMonitor
    peaks: dict[Key, dict[str, SessionPeak]] = field(default_factory=dict)
    stretches: dict[Key, dict[tuple[str, int], Stretch]] = field(default_factory=dict)
    weeks: dict[Key, set[int]] = field(default_factory=dict)
    first_us: int = NEVER_US
    last_us: int = 0
    _unnamed: dict[Key, _UnnamedSession] = field(default_factory=dict)
    _named: dict[Key, dict[str, _NamedSession]] = field(default_factory=dict)

    def runs(self, key: Key, run: list[Observation], names: list[str] | None) -> list[list[Observation]]:
        """Cut a run of one agent's observations at session gaps; named sessions are scored here."""
        latest = self._note_weeks(key, run)
        if names is not None or key in self._named or self.monitor.bucket_us * BUCKETS > SESSION_GAP_US:
            self._score_named(key, run, names or [""] * len(run))
            return [run]
        session = self._unnamed.get(key)
        is_near = session is not None and latest - session.clock_us <= SESSION_GAP_US
        cuts = [] if is_near else self._gaps(run, None if session is None else session.clock_us)
        if session is not None and not cuts:
            session.clock_us = max(session.clock_us, latest)
            return [run]
        parts = [run[start:end] for start, end in pairwise([*cuts, len(run)])]
        self._unnamed[key] = _UnnamedSession([iso(part[0][0]) for part in parts], latest)
        if cuts[0] == 0:
            return parts
        self._unnamed[key].names.insert(0, session.names[-1] if session is not None else iso(run[0][0]))
        return [run[: cuts[0]], *parts]

    def judged(self, key: Key, peak: float) -> None:
        """Take note of the highest score of the run that ``runs`` gave last and that was just judged."""
        session = self._unnamed.get(key)
        if session is None:
            return
        self._raise(key, session.names[0], peak)
        if len(session.names) > 1:
            session.names.pop(0)

    def learned(self, key: Key, run: list[Observation], verdicts: list[Verdict]) -> None:
        """Take note of what learned detection thinks of a run: of each session its own score and tier.

        ``verdicts`` are those that say anything new.
        """
        self._note_weeks(key, run)
        peaks, stretches = self.peaks.setdefault(key, {}), self.stretches.setdefault(key, {})
        for verdict in verdicts:
            stretch = stretches.setdefault((verdict.session, verdict.began_us), Stretch())
            if verdict.p < stretch.p:
                stretch.p = verdict.p
            stretch.score, stretch.known = (
                max(stretch.score, verdict.score),
                max(stretch.known, verdict.known),
            )
            stretch.tier = max(stretch.tier, verdict.tier, verdict.level)
            if verdict.cause == "rule" and not stretch.rule:
                stretch.rule = next(
                    (one.feature for one in verdict.findings if one.detector == "rule"), "rule"
                )
            stretch.rank = min(stretch.rank, verdict.rank)
            peak = peaks.setdefault(verdict.session, SessionPeak())
            peak.max_score = max(peak.max_score, verdict.score)
            peak.max_tier = max(peak.max_tier, verdict.tier)

    def _note_weeks(self, key: Key, run: list[Observation]) -> int:
        """Note when an agent did anything; return the latest instant of the run."""
        first, last = span(run)
        self.first_us, self.last_us = min(self.first_us, first), max(self.last_us, last)
        weeks = self.weeks.get(key)
        if weeks is None:
            weeks = self.weeks[key] = set()
        week = week_of(first)
        if week == week_of(last):
            weeks.add(week)
        else:
            weeks.update(week_of(at_us) for at_us, *_ in run)
        return last

    @staticmethod
    def _gaps(run: list[Observation], latest: int | None) -> list[int]:
        cuts = [] if latest is not None else [0]
        for position, item in enumerate(run):
            if latest is not None and item[0] - latest > SESSION_GAP_US:
                cuts.append(position)
            if latest is None or item[0] > latest:
                latest = item[0]
        return cuts

    def _score_named(self, key: Key, run: list[Observation], names: list[str]) -> None:
        sessions = self._named.setdefault(key, {})
        for item, name in zip(run, names, strict=True):
            session = sessions.get(name)
            if session is None or (not name and item[0] - session.clock_us > SESSION_GAP_US):
                sessions.pop(name, None)
                if len(sessions) >= self.MAX_OPEN:
                    del sessions[next(iter(sessions))]
                session = sessions[name] = _NamedSession(name or iso(item[0]), self.monitor.new_window())
            stop = self.monitor.observe(session.window, session.clock_us, session.level, [item])
            while stop.position == 0:
                # Time alone has changed the level; the observation itself is still to come.
                session.level = session.level if stop.crossing is None else stop.crossing.level
                stop = self.monitor.observe(session.window, stop.clock_us, session.level, [item])
            session.clock_us = stop.clock_us
            session.level = session.level if stop.crossing is None else stop.crossing.level
            self._raise(key, session.name, stop.peak)

    def _raise(self, key: Key, name: str, score: float) -> None:
        peak = self.peaks.setdefault(key, {}).setdefault(name, SessionPeak())
        peak.max_score = max(peak.max_score, score)
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


def replay(
    paths: Sequence[str], config: Config, show: Callable[[Progress | None], None] = lambda _progress: None
) -> Replayed:
    """Run the line over files and directories. Raises ``UsageError`` where a path does not exist.

    ``show`` is told how far it is, several times a second.
    """
    for path in paths:
        _check_exists(path)
    try:
        return _replay(paths, config, show, {})
    except Exception as error:
        left_out = _failing(paths, config) if is_over_input(error) else {}
        if not left_out:
            raise
    return _replay(paths, config, show, left_out)


def _replay(
    paths: Sequence[str],
    config: Config,
    show: Callable[[Progress | None], None],
    left_out: dict[str, list[Reject]],
) -> Replayed:
    """Run the line over files, but for some records, by path: sentineld itself fails on these."""
    prior = config.prior()
    troubles = [
        Trouble(INTERNAL_ERROR, path, f"{len(rejects)} records; the first at {rejects[0].offset}")
        for path, rejects in left_out.items()
    ]
    store = Store.open(":memory:", now_us(), is_durable=False)
    intake = _intake(paths, config, store, troubles)
    intake.left_out, tail = left_out, intake.tail
    sessions = Sessions(prior.monitor)
    pipeline = _pipeline(store, prior, config, sessions, judges_history=True)
    pipeline.bind(intake.trust.bindings)
    decisions: list[Decision] = []
    last_us = 0
    catch_up, whole = CatchUp(), tail.unread_bytes()
    for batch in intake.history():
        if catch_up.is_due(now := monotonic_us()):
            left = tail.unread_bytes()
            show(catch_up.note(now, whole - left, left))
        if not batch:
            continue
        outcome = pipeline.read(batch, now_us())
        decisions += outcome.decisions
        for _, source in batch.sources.values():
            tail.accept(source)
        troubles += (
            Trouble(INTERNAL_ERROR, batch.sources[part.source_id][1].path, str(part.failure))
            for part in batch.parts
            if part.failure is not None
        )
        last_us = max(last_us, outcome.clock_us)
        intake.spare(outcome.agents)
    decisions += pipeline.tick(last_us).decisions
    pipeline.flush()
    tail.close()
    return Replayed(store, prior, sessions, _by_time(decisions), troubles, [])


def _failing(paths: Sequence[str], config: Config) -> dict[str, list[Reject]]:
    """Return the records, by path, that a daemon would leave out because sentineld itself fails on them."""
    store = Store.open(":memory:", now_us(), is_durable=False)
    intake = _intake(paths, config, store, [])
    found: dict[str, list[Reject]] = {}

    def new_pipeline() -> Pipeline:
        made = _pipeline(store, config.prior(), config, None, judges_history=True)
        made.bind(intake.trust.bindings)
        return made

    pipeline = new_pipeline()

    def renew() -> None:
        nonlocal pipeline
        pipeline = new_pipeline()

    def add(path: str, rejects: list[Reject], _error: Exception) -> None:
        found.setdefault(path, []).extend(rejects)

    def control() -> None:
        judge_control(config.prior(), intake.formats, now_us())

    quarantine = Quarantine(intake.tail, lambda: pipeline, renew, control, add)
    for batch in intake.history():
        for piece, _ in quarantine.read(batch, now_us()) if batch else ():
            for _, source in piece.sources.values():
                intake.tail.accept(source)
    intake.tail.close()
    store.close()
    return found


def _intake(paths: Sequence[str], config: Config, store: Store, troubles: list[Trouble]) -> Intake:
    """Return an intake that has looked at all files."""
    places = [os.path.abspath(path) for path in paths]
    trust, formats = config.trust(places), config.formats()
    tail = Tail(
        places,
        store.next_source_id,
        troubles.append,
        now_us,
        line_bytes=config.limits.line_bytes,
        max_files=config.limits.files,
        files_per_owner=config.limits.files,
        claims=Claims(formats, trust, os.environ, os.geteuid()),
        is_final=True,
    )
    tail.scan()
    return Intake(tail, formats, trust)


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
    formats = config.formats()
    by_mode = {config.detection.mode: formats}
    digest, is_changed = formats.to_plain()["digest"], False
    with Archive(recorded, paths, formats) as archive:
        for number, (kind, at_us, document, parts) in enumerate(recorded.inputs()):
            if kind == "settings":
                settings = recorded_config(document, config)
                pipeline.set_prior(settings.prior())
                pipeline.roster.agents_per_owner = document["agents_per_owner"]
                archive.trust = recorded_trust(document)
                # A database that an older version wrote knows native telemetry alone.
                recorded_formats = document.get("formats", {"forced": NATIVE})
                if settings.detection.mode not in by_mode:
                    # Learned detection reads more of every record.
                    by_mode[settings.detection.mode] = settings.formats()
                archive.formats = by_mode[settings.detection.mode].force(recorded_formats["forced"])
                is_changed = is_changed or recorded_formats.get("digest") not in (None, digest)
                pipeline.bind(archive.trust.bindings)
                sessions.monitor = pipeline.prior.monitor
            elif kind == "tick":
                decisions += pipeline.tick(at_us).decisions
            elif kind == "numbered":
                pipeline.number_on(document["decision_no"])
            elif kind == "clock":
                pipeline.set_clock(document["delta_us"], at_us)
            elif kind == "wish":
                request = Request.of_document(document["agent"], document["request"])
                outcome = pipeline.carry_out(
                    f"replayed-{number}", request, at_us, document["actor"], document
                )
                decisions += outcome.decisions
                if request.kind == "erase":
                    # As the daemon did: what was decided on that agent is known no more.
                    decisions = store.decisions()
            elif kind == "mended":
                decisions += pipeline.mend(
                    [(owner, name) for owner, name in document["roles"]], at_us
                ).decisions
            else:
                archive.begin(document.get("begun", {}))
                batch = archive.batch(number, parts, document.get("left_out", {}))
                batch.incidents = [Incident(**item) for item in document.get("incidents", ())]
                decisions += pipeline.read(batch, at_us).decisions
                archive.accept(batch)
        missing = archive.missing()
    if is_changed:
        missing.insert(0, "the formats as they were declared when some of it was read")
    if pruned:
        missing.insert(0, f"the first {pruned} inputs were pruned from the database")
    pipeline.flush()
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


def _pipeline(
    store: Store,
    prior: Prior,
    config: Config,
    sessions: Sessions | None,
    *,
    judges_history: bool | None = None,
) -> Pipeline:
    """Return a pipeline in memory; only one that nobody watches writes what it knows with every commit."""
    return Pipeline(
        store,
        prior,
        agents_per_owner=config.limits.agents_per_owner,
        agents_in_memory=config.limits.agents_in_memory,
        observer=sessions,
        is_durable=sessions is None,
        clock_us=store.meta().clock,
        judges_history=judges_history,
    )

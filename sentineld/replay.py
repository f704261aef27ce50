"""Replay: the whole line over old telemetry. It publishes nothing, because it has no publisher.

Plain: all files merged by the events' own times, ticks up to the last event. As observed: what a daemon
read, in the order, the pieces and the brackets in which it read them, from its database; the decisions are
then exactly the daemon's.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sentineld.batch import Key, Part
from sentineld.clock import now_us
from sentineld.config import Config
from sentineld.decision import Decision
from sentineld.decode import Decoded, Reject, decode_document, decode_lines
from sentineld.errors import UsageError
from sentineld.event import Observation
from sentineld.instant import SECOND_US, iso
from sentineld.intake import Batch, Intake
from sentineld.mapping import NativeMapping
from sentineld.monitor import BehavioralMonitor
from sentineld.pipeline import Pipeline
from sentineld.requests import Request
from sentineld.settings import recorded_prior
from sentineld.step import Prior
from sentineld.store import Store
from sentineld.tail import DOCUMENT, Source, Tail, Trouble, matches, open_regular, walk
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
        if not os.path.exists(path):
            raise UsageError(f"there is no file or directory {path}", hint="sentineld replay PATH...")
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
    return Replayed(store, prior, sessions, decisions, troubles, [])


def replay_as_observed(paths: Sequence[str], recorded: Store, config: Config) -> Replayed:
    """Run the line over what a daemon read, as its database tells; the bytes come from ``paths``."""
    prior = config.prior()
    store = Store.open(":memory:", now_us(), is_durable=False)
    sessions = Sessions(prior.monitor)
    pipeline = _pipeline(store, prior, config, sessions)
    archive = _Archive(recorded.sources(), paths)
    intake_mapping = NativeMapping()
    decisions: list[Decision] = []
    missing: list[str] = []
    if recorded.meta().inputs_pruned:
        missing.append(f"the first {recorded.meta().inputs_pruned} inputs were pruned from the database")
    for kind, at_us, document, parts in recorded.inputs():
        if kind == "settings":
            pipeline.set_prior(recorded_prior(document, config))
            sessions.monitor = pipeline.prior.monitor
        elif kind == "tick":
            decisions += pipeline.tick(at_us).decisions
        elif kind == "wish":
            request = Request(agent=document["agent"], **document["request"])
            wish = request.wish(at_us, document["actor"])
            decisions += pipeline.obey(f"replayed-{at_us}-{len(decisions)}", request.agent, wish, document).decisions
        else:
            batch = Batch()
            for part in parts:
                archive.fill(part, batch, intake_mapping, missing)
            decisions += pipeline.read(batch, at_us).decisions
    archive.close()
    return Replayed(store, pipeline.prior, sessions, decisions, [], missing)


class _Archive:
    """The files that a daemon read, found again by identity and content, wherever they are now."""

    def __init__(self, sources: Sequence[Source], paths: Sequence[str]) -> None:
        self._sources = {source.id: source for source in sources}
        self._fds: dict[int, int | None] = {}
        self._documents: dict[int, list[Any]] = {}
        self._by_inode: dict[tuple[int, int], str] = {}
        self._by_path: dict[str, str] = {}
        for path in paths:
            for name in _files(os.path.abspath(path)):
                self._by_path[name] = name
                status = os.stat(name, follow_symlinks=False)
                self._by_inode[(status.st_dev, status.st_ino)] = name

    def fill(self, part: Part, batch: Batch, mapping: NativeMapping, missing: list[str]) -> None:
        """Read a part's bytes and decode them into it; what is gone is noted."""
        source = self._sources.get(part.source_id)
        if source is None:
            missing.append(f"source {part.source_id} is unknown to the database")
            return
        before = batch.latest(_blank(source))
        batch.put(before, replace(before, pos=part.end))
        batch.parts.append(part)
        if part.skip == 1:
            part.rejects.append(Reject("line_too_long", "", part.start, part.end - part.start, b""))
        if part.skip:
            return
        if source.kind == DOCUMENT:
            self._fill_elements(part, source, mapping, missing)
            return
        fd = self._open(source)
        if fd is None:
            missing.append(f"{source.path}, bytes {part.start} to {part.end}")
            return
        data = os.pread(fd, part.end - part.start, part.start)
        if len(data) != part.end - part.start:
            missing.append(f"{source.path}, bytes {part.start + len(data)} to {part.end}")
        # The last line of a file that ended without newline was read as a line.
        decoded = decode_lines(data if data.endswith(b"\n") else data + b"\n", part.start)
        _fill(part, decoded, mapping)

    def close(self) -> None:
        """Close every file."""
        for fd in self._fds.values():
            if fd is not None:
                os.close(fd)

    def _fill_elements(self, part: Part, source: Source, mapping: NativeMapping, missing: list[str]) -> None:
        elements = self._elements(source)
        chosen = elements[part.start : part.end]
        if len(chosen) != part.end - part.start:
            missing.append(f"{source.path}, elements {part.start} to {part.end}")
        decoded = Decoded([], [], [], [])
        for number, element in enumerate(chosen, part.start):
            if isinstance(element, Reject):
                decoded.rejects.append(element)
            else:
                decoded.records.append(element)
                decoded.offsets.append(number)
        _fill(part, decoded, mapping)

    def _elements(self, source: Source) -> list[Any]:
        if source.id not in self._documents:
            path = self._by_path.get(source.last_path) or self._by_path.get(source.path)
            found: list[Any] = []
            if path is not None:
                with os.fdopen(open_regular(path), "rb") as file:
                    decoded = decode_document(file.read())
                found = decoded if isinstance(decoded, list) else []
            self._documents[source.id] = found
        return self._documents[source.id]

    def _open(self, source: Source) -> int | None:
        if source.id not in self._fds:
            self._fds[source.id] = None
            names = [
                self._by_inode.get((source.dev, source.ino)),
                self._by_path.get(source.last_path),
                self._by_path.get(source.path),
                *self._by_path,
            ]
            for name in dict.fromkeys(name for name in names if name is not None):
                fd = open_regular(name)
                if matches(fd, source):
                    self._fds[source.id] = fd
                    break
                os.close(fd)
        return self._fds[source.id]


def _files(path: str) -> list[str]:
    if os.path.isfile(path):
        return [path]
    return [
        entry.path
        for entry in walk(path, lambda _: None)
        if entry.is_file(follow_symlinks=False)
    ]


def _fill(part: Part, decoded: Decoded, mapping: NativeMapping) -> None:
    part.rows, misfits = mapping.rows(decoded)
    part.rejects += decoded.rejects + misfits
    part.ignored += len(decoded.ignored)


def _blank(source: Source) -> Source:
    return Source(
        source.id, source.path, source.last_path, source.kind, source.dev, source.ino, source.generation, source.owner, 0
    )


def _pipeline(store: Store, prior: Prior, config: Config, sessions: Sessions) -> Pipeline:
    return Pipeline(
        store, prior, agents_per_owner=config.limits.agents_per_owner, on_observations=sessions.observe
    )



"""The daemon's life: lock, start, loop, signals, reload, stop.

One thread does all the work, and the heartbeat comes from that thread: a daemon that hangs stops
publishing, its state file expires, and readers fail closed. The observer's thread only collects paths.
"""

import contextlib
import fcntl
import grp
import json
import os
import select
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import structlog

from sentineld import clock, log, requests
from sentineld.config import Config, key_file_path
from sentineld.decision import Decision
from sentineld.errors import AccessError, ConfigError, LockedError, SentineldError
from sentineld.explain import printable_path
from sentineld.instant import SECOND_US
from sentineld.intake import Batch, Intake
from sentineld.journal import Journal
from sentineld.mapping import NativeMapping
from sentineld.paths import default_state_dir, default_state_file
from sentineld.pipeline import Outcome, Pipeline
from sentineld.publisher import ObservingPublisher, Publisher
from sentineld.rejects import Rejects
from sentineld.sd_notify import Notifier
from sentineld.state_file import load_key, remove_leftovers
from sentineld.store import Commit, Store
from sentineld.tail import Tail, Trouble
from sentineld.watch import Watch

#: A backlog above this is told as ``catching_up``.
_BACKLOG_BYTES = 1 << 20
_MAX_WAIT_S = 1.0
_MAX_BACKOFF_S = 5.0


@dataclass(frozen=True, slots=True)
class Paths:
    """Where one daemon keeps its things."""

    state_dir: str
    state_file: str

    @property
    def database(self) -> str:
        """The SQLite database."""
        return os.path.join(self.state_dir, "sentineld.db")

    @property
    def journal(self) -> str:
        """The decision log."""
        return os.path.join(self.state_dir, "decisions.jsonl")

    @property
    def requests(self) -> str:
        """The directory of operators' wishes."""
        return os.path.join(self.state_dir, "requests")

    @property
    def rejects(self) -> str:
        """The directory of refused input."""
        return os.path.join(self.state_dir, "rejects")

    @property
    def lock(self) -> str:
        """The file whose lock one daemon holds."""
        return os.path.join(self.state_dir, "lock")


def resolve_paths(config: Config, env: Mapping[str, str], uid: int) -> Paths:
    """Find the state directory and the state file: as configured, else the usual places."""
    given = os.path.abspath(config.state_dir) if config.state_dir else None
    state_dir = given or default_state_dir(env, uid)
    file = os.path.abspath(config.state.file) if config.state.file else default_state_file(given, env, uid)
    return Paths(state_dir, file)


def prepare(paths: Paths) -> None:
    """Create the directories that are missing. Raises ``AccessError``."""
    # The state file must be reachable for readers; everything secret inside has its own mode.
    is_shared = os.path.dirname(paths.state_file) == paths.state_dir
    try:
        os.makedirs(paths.state_dir, mode=0o755 if is_shared else 0o700, exist_ok=True)
        os.makedirs(os.path.dirname(paths.state_file), mode=0o755, exist_ok=True)
        for directory in (paths.requests, paths.rejects):
            os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise AccessError(
            f"cannot create {error.filename}: {error.strerror}", hint="choose another place with --state-dir"
        ) from error


@contextlib.contextmanager
def hold_lock(paths: Paths) -> Iterator[int]:
    """Hold the state directory's lock. Raises ``LockedError`` where another daemon does.

    It is a lock on an open file (flock(2)): it ends with its holder, and a file left behind locks nothing.
    """
    try:
        fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AccessError(f"cannot open {paths.lock}: {error.strerror}", hint="check owner and mode") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LockedError(
                f"another daemon (process {holder}) holds {paths.state_dir}", hint="stop it, or use another --state-dir"
            ) from None
        yield fd
    finally:
        os.close(fd)


def is_locked(paths: Paths) -> bool:
    """Say whether a daemon runs on this state directory."""
    try:
        with hold_lock(paths):
            return False
    except LockedError:
        return True
    except AccessError:
        return False


class Service:
    """One daemon over one state directory. ``load`` reads the configuration again, for SIGHUP."""

    def __init__(self, config: Config, paths: Paths, env: Mapping[str, str], load: Callable[[], Config]) -> None:
        self.config = config
        self.paths = paths
        self._env = env
        self._load = load
        self._log = structlog.get_logger()
        self._reporter = log.Reporter(clock.now_us)
        self._notifier = Notifier(env)
        self._journal = Journal(paths.journal)
        self._rejects = Rejects(paths.rejects, config.limits.rejects_bytes)
        self._is_stopping = False
        self._wants_reload = False
        self._is_degraded = False
        self._is_ready = False
        self._wake_read, self._wake_write = -1, -1
        self._store: Store
        self._pipeline: Pipeline
        self._tail: Tail
        self._intake: Intake
        self._publisher: Publisher
        self._epoch = self._seq = self._logged_no = 0
        self._next_scan = self._next_tick = self._next_heartbeat = 0

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises ``SentineldError`` for what an operator must mend first."""
        with self._signals():
            self._publisher = self._make_publisher(self.config)
            remove_leftovers(self.paths.state_file)
            backoff_s = 0.0
            while not self._is_stopping:
                try:
                    self._run_connected()
                    backoff_s = 0.0
                except (sqlite3.Error, OSError) as error:
                    # Nothing was committed: everything is read again from the database once it works.
                    self._is_degraded = True
                    self._reporter.warn("storage_failed", type(error).__name__, error=str(error))
                    backoff_s = min(_MAX_BACKOFF_S, backoff_s * 2 or 0.25)
                    self._wait(backoff_s)

    def run_once(self, valid_for_us: int) -> None:
        """Process what is there, publish, and return."""
        self._publisher = self._make_publisher(self.config)
        self._publisher.valid_for_us = valid_for_us
        remove_leftovers(self.paths.state_file)
        with self._open():
            self._tail.is_final = True
            self._scan()
            self._obey_requests()
            self._catch_up_history()
            while self._drain():
                pass
            self._tick(clock.now_us())
            self._publish()
            self._commit_bookkeeping()

    def _run_connected(self) -> None:
        with self._open():
            watch = Watch([*self.config.telemetry.directories, self.paths.requests], self._wake)
            self._watch_started(watch.start())
            try:
                self._publish()
                self._scan()
                self._ready()
                self._catch_up_history()
                self._loop(watch)
                self._publish(status="shutdown")
                self._commit_bookkeeping()
            finally:
                watch.stop()
                self._notifier.send("STOPPING=1")
        self._log.info("stopped", seq=self._seq)

    def _loop(self, watch: Watch) -> None:
        while not self._is_stopping:
            if self._wants_reload:
                self._wants_reload = False
                if self._reload():
                    watch.stop()
                    watch = Watch([*self.config.telemetry.directories, self.paths.requests], self._wake)
                    self._watch_started(watch.start())
            self._obey_requests()
            paths, needs_scan = watch.take()
            if needs_scan or clock.now_us() >= self._next_scan:
                if not watch.is_healthy():
                    self._watch_started(watch.restart())
                self._scan()
            else:
                for path in paths:
                    if not path.startswith(self.paths.requests):
                        self._tail.notice(path)
            is_busy = self._drain()
            self._beat()
            if not is_busy:
                self._wait(self._wait_s())

    # Start and stop.

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        now = clock.now_us()
        store = Store.open(self.paths.database, now, epoch_floor=_published_epoch(self.paths.state_file))
        tail: Tail | None = None
        try:
            meta = store.meta()
            self._store = store
            self._pipeline = Pipeline(
                store,
                self.config.prior(),
                agents_per_owner=self.config.limits.agents_per_owner,
                clock_us=meta.clock,
            )
            tail = self._tail = Tail(
                [os.path.abspath(path) for path in self.config.telemetry.directories],
                store.next_source_id,
                self._trouble,
                clock.now_us,
                line_bytes=self.config.limits.line_bytes,
                max_open=_max_open_files(),
                max_files=self.config.limits.files,
            )
            tail.restore(store.sources(with_gone=False), meta.last_scan)
            self._intake = Intake(tail, NativeMapping())
            self._epoch, self._seq, self._logged_no = meta.epoch, meta.seq, meta.logged_no
            self._next_tick = self._next_heartbeat = self._next_scan = 0
            self._record_settings(meta.settings)
            self._log.info(
                "started",
                mode=self._publisher.mode,
                state_file=self.paths.state_file,
                state_dir=self.paths.state_dir,
                telemetry=list(tail.directories),
                epoch=self._epoch,
                is_signed=self._publisher.key is not None,
            )
            # What a crash left between commit and log is told now.
            self._tell(store.decisions(after=meta.logged_no), is_new=False)
            yield
        finally:
            if tail is not None:
                tail.close()
            store.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        previous_fd = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _on_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_stopping = True

    def _on_reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._wants_reload = True

    def _ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._notifier.send("READY=1", f"STATUS=watching {len(self._tail.directories)} directories")

    # Work.

    def _scan(self) -> None:
        self._tail.scan()
        self._next_scan = clock.now_us() + self.config.telemetry.rescan_interval.us
        self._publisher.isolation = self._isolation()
        if batch := self._intake.torn():
            self._take(batch)

    def _drain(self) -> bool:
        batch = self._intake.live()
        if batch:
            self._take(batch)
        return bool(batch)

    def _catch_up_history(self) -> None:
        if not self._store.meta().has_history:
            return
        # History counts at its own times, so it is read in their order, over all files.
        for batch in self._intake.history():
            self._take(batch)
            self._obey_requests()
            self._beat(status="catching_up")
            if self._is_stopping:
                return
        self._store.commit(Commit("publish", clock.now_us(), is_history_done=True))

    def _take(self, batch: Batch) -> None:
        now = clock.now_us()
        for part in batch.parts:
            if part.rejects:
                self._keep_rejects(batch, part.source_id, part.rejects, now)
        outcome = self._pipeline.read(batch, now, last_scan_us=self._tail.last_scan_us)
        for _, source in batch.sources.values():
            self._tail.accept(source)
        self._after(outcome)

    def _keep_rejects(self, batch: Batch, source_id: int, rejects: Sequence[Any], now: int) -> None:
        path = batch.sources[source_id][1].path
        for item in rejects:
            self._reporter.warn(
                "line_rejected",
                f"{item.reason} in {printable_path(path)}",
                given={"path": printable_path(path), "offset": item.offset, "detail": item.detail},
                kept_in=self.paths.rejects,
            )
        try:
            self._rejects.keep(path, rejects, now)
        except OSError as error:
            self._reporter.warn("rejects_not_kept", type(error).__name__, error=str(error))

    def _after(self, outcome: Outcome) -> None:
        if self._pipeline.roster.overflowed:
            for owner in sorted(self._pipeline.roster.overflowed):
                self._reporter.warn(
                    "too_many_agents", f"owner {owner}", limit=self.config.limits.agents_per_owner
                )
            self._pipeline.roster.overflowed.clear()
        if outcome.decisions:
            self._seq += 1
            self._publish(is_numbered=True)
            self._tell(outcome.decisions, is_new=True)

    def _obey_requests(self) -> None:
        for request_id in requests.pending(self.paths.requests):
            try:
                request, actor = requests.load(self.paths.requests, request_id)
                wish = request.wish(clock.now_us(), actor)
            except (ValueError, OSError) as error:
                self._reporter.warn("request_refused", type(error).__name__, error=str(error))
                requests.discard(self.paths.requests, request_id)
                continue
            document = {"agent": request.agent, "actor": actor, "request": requests_document(request)}
            outcome = self._pipeline.obey(request_id, request.agent, wish, document)
            self._after(outcome)
            requests.discard(self.paths.requests, request_id)

    def _tick(self, now: int) -> None:
        self._after(self._pipeline.tick(now))

    def _beat(self, status: str = "") -> None:
        now = clock.now_us()
        if now >= self._next_tick:
            self._tick(now)
            self._next_tick = now + self._tick_interval_us()
        if now >= self._next_heartbeat:
            self._publish(status=status)
        self._notifier.send("WATCHDOG=1")

    def _tick_interval_us(self) -> int:
        prior = self._pipeline.prior
        return max(SECOND_US // 4, min(prior.monitor.bucket_us, prior.policy.quiet_us, 10 * SECOND_US))

    # Publishing and telling.

    def _publish(self, *, status: str = "", is_numbered: bool = False) -> None:
        if not is_numbered:
            self._store.commit(
                Commit("publish", clock.now_us(), bumps_seq=True, logged_no=self._logged_no)
            )
            self._seq += 1
        word = status or self._status()
        try:
            self._publisher.publish(self._epoch, self._seq, word, self._pipeline.roster.demoted())
            self._is_degraded = False
        except OSError as error:
            # The old file stays and expires by itself; the next beat tries again.
            self._is_degraded = True
            self._reporter.warn("publish_failed", type(error).__name__, error=str(error))
        self._next_heartbeat = clock.now_us() + (
            SECOND_US if self._is_degraded else self._publisher.valid_for_us // 3
        )

    def _status(self) -> str:
        if self._is_degraded:
            return "degraded"
        return "catching_up" if self._tail.unread_bytes() > _BACKLOG_BYTES else "ok"

    def _tell(self, decisions: Sequence[Decision], *, is_new: bool) -> None:
        if not decisions:
            return
        try:
            self._journal.append(decisions)
            self._logged_no = decisions[-1].decision_no
        except OSError as error:
            # Told again at the next start: the database remembers what the log holds.
            self._reporter.warn("decision_log_failed", type(error).__name__, error=str(error))
        for decision in decisions if is_new else ():
            self._log.info(
                _EVENT_NAMES.get(decision.cause, "tier_changed"),
                decision_id=decision.decision_id,
                from_tier=decision.from_tier,
                to_tier=decision.to_tier,
                score=decision.score,
                cause=decision.cause,
                decided_at=decision.decided_at,
                mode=self._publisher.mode,
                given={"agent": decision.agent_id, "actor": decision.actor, "reason": decision.note},
            )

    def _commit_bookkeeping(self) -> None:
        self._store.commit(
            Commit("publish", clock.now_us(), logged_no=self._logged_no, last_scan_us=self._tail.last_scan_us)
        )

    def _trouble(self, trouble: Trouble) -> None:
        self._reporter.warn(
            "telemetry_trouble",
            f"{trouble.kind} {printable_path(trouble.path)}",
            given={"path": printable_path(trouble.path), "detail": trouble.detail},
        )

    def _watch_started(self, problem: str) -> None:
        if problem:
            self._reporter.warn(
                "watch_unavailable", problem, fallback=f"rescan every {self.config.telemetry.rescan_interval:g} s"
            )

    # Configuration.

    def _make_publisher(self, config: Config) -> Publisher:
        key = None
        if config.state.key_file:
            key = load_key(key_file_path(config, self._env), config.state.key_id)
        make = ObservingPublisher if config.mode == "observe" else Publisher
        return make(
            self.paths.state_file,
            config.state.valid_for.us,
            self._isolation_of_directory(),
            key,
            self._group(config.state.group),
        )

    def _group(self, name: str) -> int | None:
        if not name:
            return None
        try:
            gid = grp.getgrnam(name).gr_gid
        except KeyError:
            self._reporter.warn("group_unknown", name, hint="the state file keeps the daemon's own group")
            return None
        if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
            self._reporter.warn("group_not_ours", name, hint="the state file keeps the daemon's own group")
            return None
        return gid

    def _isolation_of_directory(self) -> str:
        return "none" if os.stat(self.paths.state_dir).st_mode & 0o022 else "user"

    def _isolation(self) -> str:
        # Agents that run as the daemon's user could rewrite state and keys: advice, not enforcement.
        if self._isolation_of_directory() == "none":
            return "none"
        owners = {source.owner for source in self._tail.sources()}
        return "service" if owners and os.geteuid() not in owners else "user"

    def _record_settings(self, recorded: str) -> None:
        settings = self.config.decision_settings()
        text = json.dumps(settings, sort_keys=True)
        if text != recorded:
            self._store.commit(Commit("settings", clock.now_us(), document=settings, settings=text))

    def _reload(self) -> bool:
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={clock.boottime_ms() * 1000}")
        try:
            config = self._load()
            if resolve_paths(config, self._env, os.geteuid()) != self.paths:
                raise ConfigError(
                    "state_dir and state.file cannot change while the daemon runs", hint="restart it"
                )
            publisher = self._make_publisher(config)
            prior = config.prior()
        except SentineldError as error:
            self._log.error("config_reload_failed", error=str(error), hint=error.hint, kept="the old configuration")
            self._notifier.send("READY=1", "STATUS=the new configuration is faulty; the old one stays")
            return False
        changed = sorted(_differences(self.config, config))
        self.config = config
        self._publisher = replace_isolation(publisher, self._isolation())
        self._pipeline.set_prior(prior)
        self._tail.directories = [os.path.abspath(path) for path in config.telemetry.directories]
        self._tail.line_bytes, self._tail.max_files = config.limits.line_bytes, config.limits.files
        self._rejects = Rejects(self.paths.rejects, config.limits.rejects_bytes)
        log.configure(config.log.level, config.log.format)
        self._record_settings(self._store.meta().settings)
        self._log.info("config_reloaded", changed=changed)
        self._next_scan = 0
        self._publish()
        self._notifier.send("READY=1")
        return True

    # Waiting.

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"\0")

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if poll.poll(max(0.0, seconds) * 1000):
            with contextlib.suppress(BlockingIOError):
                while os.read(self._wake_read, 4096):
                    pass

    def _wait_s(self) -> float:
        now = clock.now_us()
        limits = [_MAX_WAIT_S * 5, (self._next_heartbeat - now) / SECOND_US, (self._next_scan - now) / SECOND_US]
        if self._pipeline.roster.warm():
            limits.append((self._next_tick - now) / SECOND_US)
        if self._notifier.watchdog_us:
            limits.append(self._notifier.watchdog_us / 2 / SECOND_US)
        return min(limits)


_EVENT_NAMES = {
    "detected": "agent_demoted",
    "rule": "agent_demoted",
    "recovered": "agent_recovered",
    "pardoned": "agent_pardoned",
    "pinned": "agent_pinned",
    "unpinned": "agent_unpinned",
    "expired": "pin_expired",
}


def requests_document(request: requests.Request) -> dict[str, Any]:
    """Return a request as plain data, as the database keeps it."""
    return {
        "kind": request.kind,
        "reason": request.reason,
        "grace_s": request.grace_s,
        "attack": request.attack,
        "tier": request.tier,
        "until": request.until,
    }


def replace_isolation(publisher: Publisher, isolation: str) -> Publisher:
    """Return the publisher with another isolation."""
    return replace(publisher, isolation=isolation)


def _differences(old: Config, new: Config) -> Iterator[str]:
    from sentineld.config import options

    for option in options():
        before: Any = old
        after: Any = new
        for name in option.key.split("."):
            before, after = getattr(before, name), getattr(after, name)
        if before != after:
            yield option.key


def _published_epoch(path: str) -> int:
    # Unverified, and used only to go higher: a new database must never publish below an old one's epoch.
    try:
        with open(path, "rb") as file:
            epoch = json.loads(file.read(1 << 24)).get("epoch", 0)
    except (OSError, ValueError, AttributeError, RecursionError):
        return 0
    return epoch if isinstance(epoch, int) and 0 < epoch < 1 << 40 else 0


def _max_open_files() -> int:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(8, min(1024, soft - 64) if soft > 128 else soft // 2)

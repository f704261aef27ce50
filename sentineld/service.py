"""The daemon's life: open, look, loop, reload, stop.

One thread does all the work, and the heartbeat comes from that thread: a daemon that hangs stops
publishing, its state file expires, and readers fail closed. The observer's thread only collects paths.

Schedules run on the monotonic clock, so that a clock that is set back does not silence the heartbeat. What
is judged runs on the wall clock, as telemetry does.
"""

import contextlib
import errno
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from sentineld import clock, log, pause, requests
from sentineld.catch_up import CatchUp, Progress
from sentineld.claims import Claims
from sentineld.config import Change, Config, changes
from sentineld.control import judge_control
from sentineld.database import PATIENCE_S, cannot_open
from sentineld.decode import INTERNAL_ERROR, Reject
from sentineld.errors import AccessError, ConfigError, SentineldError, StorageError, StoreError
from sentineld.evidence import Trouble
from sentineld.explain import printable_path
from sentineld.glance import Glance, Told
from sentineld.governor import Governor
from sentineld.instant import SECOND_US
from sentineld.intake import Batch, Intake
from sentineld.metrics import Sample, Sources, sample, spoken
from sentineld.metrics_exporter import SAMPLE_US, Exporter
from sentineld.monitor import NEVER_US
from sentineld.outlet import PROGRESS_US, Outlet
from sentineld.override import override_path
from sentineld.pipeline import Outcome, Pipeline
from sentineld.published_file import remove_leftovers
from sentineld.quarantine import Quarantine
from sentineld.recovery import open_store, rescue
from sentineld.rejects import Rejects
from sentineld.roots import Roots
from sentineld.sd_notify import Notifier
from sentineld.settings import recorded_prior, recorded_trust
from sentineld.signals import Signals
from sentineld.starters import SHIPPED
from sentineld.statedir import Paths, resolve_paths
from sentineld.step import Prior
from sentineld.store import Store
from sentineld.tables import Commit
from sentineld.tail import Tail
from sentineld.trust import Trust
from sentineld.watch import Watch

#: Paths in trouble that are counted.
_MAX_TROUBLES = 10_000
#: A backlog above this is told as ``catching_up``.
_BACKLOG_BYTES = 1 << 20
#: When the first figures about a catch-up are published, microseconds.
_FIRST_PROGRESS_US = SECOND_US // 2
#: Longest sleep, seconds; nothing waits for it, for everything that is due ends a sleep before.
_MAX_WAIT_S = 5.0
#: Errors that say nothing of the file that could not be read.
_PASSING_ERRORS = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EINTR)
#: Pauses between attempts to reopen a database that failed, seconds: doubling from the first to the last.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 5.0
#: Pause between steps of pruning while there is nothing else to do, seconds.
_PRUNE_PAUSE_S = 0.05
#: Least time between two attempts to watch again, microseconds.
_REWATCH_US = SECOND_US
#: Longest stretch of a scan between two turns of the loop, microseconds.
_SCAN_SLICE_US = 50_000
#: Scans pause for so many times as long as the last one took.
_SCAN_PAUSES = 4


class Service:
    """One daemon over one state directory. ``load`` reads the configuration again, for SIGHUP.

    ``config_file`` is where it stands, empty for none. ``show`` is told how far a catch-up is, several times
    a second, and None when it is over.

    Raises ``ConfigError`` for a key that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        paths: Paths,
        env: Mapping[str, str],
        load: Callable[[], Config],
        config_file: str = "",
        show: Callable[[Progress | None], None] = lambda _progress: None,
    ) -> None:
        self.config = config
        self.paths = paths
        self._env = env
        self._load = load
        self._log = structlog.get_logger()
        self._reporter = log.Reporter(clock.monotonic_us)
        self._outlet = Outlet(config, paths, env, self._reporter, config_file)
        self._exporter = Exporter(config.metrics, paths.database, self._reporter)
        self._outlet.meter = self._exporter.meter
        self._governor = Governor(config.throttle, self._reporter)
        self._catch_up = CatchUp()
        self._show = show
        self._formats = config.formats()
        self._rejects = Rejects(paths.rejects, config.limits.rejects_bytes)
        self._was_open = False
        self._pause_s = _FIRST_PAUSE_S
        self._signals: Signals
        self._watch: Watch
        self._store: Store
        self._pipeline: Pipeline
        self._tail: Tail
        self._told: Told
        self._glance: Glance
        self._intake: Intake
        self._quarantine: Quarantine
        self._trust: Trust
        self._is_first_run = self._is_caught_up = False
        #: Whether the gate's denials are waited for.
        self._has_gate = bool(config.gate.directory) or os.path.isdir(paths.gate_dir)
        self._roots = Roots()
        #: Who writes telemetry (uids), as far as the last scan and what was read since tell.
        self._owners: set[int] = set()
        # On the monotonic clock, but the deadline, which is an instant of effective time.
        self._next_scan = self._next_tick = self._next_ping = 0
        self._earliest_scan = self._scan_work = self._next_rewatch = 0
        #: CPU time of the present scan.
        self._scan_cpu = 0
        #: Since when it works without a rest.
        self._works_since = 0
        #: Whether the kernel tells of every change, as far as anybody knows.
        self._is_watch_whole = False
        self._next_deadline = NEVER_US
        self._steps = clock.Steps()

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises ``SentineldError`` for what an operator must mend first."""
        self._outlet.notifier = Notifier(self._env)
        if os.geteuid() == 0:
            self._log.warning("running_as_root", hint="give it a user of its own: docs/install-systemd.md")
        with Signals() as self._signals:
            while not self._signals.is_stopping:
                try:
                    self._run_connected()
                except (sqlite3.Error, OSError, StoreError, StorageError, AccessError) as error:
                    if isinstance(error, StoreError | AccessError) and not self._was_open:
                        raise
                    # Nothing was committed: everything is read again from the database once it works.
                    self._outlet.fail_storage(error)
                    self._exporter.amend(spoken(self._exporter.meter, self._outlet))
                    self._signals.wait(self._pause_s)
                    self._pause_s = min(_LAST_PAUSE_S, self._third_s(), self._pause_s * 2)
            self._exporter.stop()

    def run_once(self, valid_for_us: int) -> None:
        """Process what is there, publish, and return.

        Raises ``AccessError`` where the state file cannot be written, ``StorageError`` where the disk fails;
        what was committed until then stays.
        """
        self._outlet.publisher.valid_for_us = valid_for_us
        try:
            with self._open():
                self._tail.is_final = True
                self._obey_requests()
                self._scan(lambda: True)
                self._read_history(self._follow)
                self._obey_requests()
                while self._drain():
                    self._follow()
                self._tick()
                self._check_memory()
                self._end_catch_up(is_caught_up=True)
                self._publish()
                self._outlet.keep_books(last_scan_us=self._tail.last_scan_us)
                self._exporter.write_once(self._sample(is_watching=False))
        except sqlite3.Error as error:
            raise cannot_open(self.paths.database, error) from error
        if "publish" in self._outlet.faults:
            raise AccessError(
                f"cannot publish {self.paths.state_file}", hint="check the directory's owner, mode and space"
            )

    # The loop.

    def _run_connected(self) -> None:
        with self._open():
            self._watch = self._make_watch()
            try:
                self._publish()
                self._obey_requests()
                self._scan(self._beat)
                self._read_history(self._beat_and_rest)
                self._loop()
                self._outlet.notifier.send("STOPPING=1")
                self._end_catch_up(is_caught_up=self._is_caught_up)
                self._publish(status="shutdown")
                self._outlet.keep_books(last_scan_us=self._tail.last_scan_us)
            finally:
                self._watch.stop()
        self._log.info("stopped", seq=self._outlet.seq)

    def _loop(self) -> None:
        while not self._signals.is_stopping:
            self._works_since = clock.monotonic_us()
            if self._signals.take_reload():
                self._reload()
            self._follow_clock(self._steps.take())
            # Wishes come before what is read next: a pardon forgives what was there when it was given.
            self._obey_requests()
            self._look()
            is_busy = self._drain()
            self._exporter.note_busy(is_busy=is_busy)
            if not is_busy:
                # Only now: whatever waits has waited for all rests since then.
                self._governor.all_read()
            if is_busy and self._tail.unread_bytes() > _BACKLOG_BYTES:
                self._is_caught_up = False
            elif not self._is_caught_up:
                self._end_catch_up(is_caught_up=True)
            if not is_busy and self._store.retention.is_behind:
                self._store.prune()
            is_alive = self._beat() if self._is_caught_up else self._beat_and_rest()
            is_looking = self._tail.is_scanning or self._told.is_busy or self._glance.is_busy
            if is_alive and not (is_busy or is_looking):
                self._signals.wait(self._wait_s())

    def _end_catch_up(self, *, is_caught_up: bool) -> None:
        """Tell of no progress any more: it has caught up, begins anew, or stops."""
        self._is_caught_up, self._outlet.progress = is_caught_up, None
        self._catch_up.end()
        self._show(None)

    def _follow(self) -> bool:
        """Take note, now and then, of how far it has caught up; always True."""
        now = clock.monotonic_us()
        if self._catch_up.is_due(now):
            progress = self._catch_up.note(now, self._exporter.meter.read_bytes, self._tail.unread_bytes())
            # The first figures are told soon; a backlog that is gone by then is none.
            soon_us = _FIRST_PROGRESS_US if self._outlet.progress is None else self._outlet.progress_us
            self._outlet.progress = progress
            self._outlet.next_heartbeat = min(self._outlet.next_heartbeat, now + soon_us)
            self._show(progress)
        return True

    def _beat_and_rest(self) -> bool:
        """Do what is due while there is more to catch up with, and rest if others need the machine."""
        self._follow()
        if not self._beat():
            return False
        began = clock.monotonic_us()
        end = began + self._governor.rest_us(began - self._works_since)
        # Not the first hint ends it, as it does other waits: somebody always writes.
        while (now := clock.monotonic_us()) < end and not self._signals.is_stopping:
            self._signals.wait((end - now) / SECOND_US)
        self._works_since = clock.monotonic_us()
        self._governor.rested(self._works_since - began)
        return not self._signals.is_stopping

    def _step_back(self) -> None:
        """Do as the pressure on the machine asks."""
        governor = self._governor
        if governor.look(clock.monotonic_us()):
            measures = governor.throttle.measures
            self._intake.divisor = measures.batches
            self._outlet.progress_us = PROGRESS_US * measures.reports
            self._exporter.sample_us = SAMPLE_US * measures.reports
            self._exporter.meter.changes += 1
            self._outlet.next_heartbeat = 0
        self._outlet.throttle = governor.document() if governor.throttle.step else None

    def _follow_clock(self, step_us: int) -> None:
        """Keep how long ago everything was, where somebody set the wall clock."""
        if not step_us:
            return
        now = clock.now_us()
        self._pipeline.set_clock(step_us, now)
        self._tail.shift(step_us)
        self._next_tick = self._outlet.next_heartbeat = 0
        self._next_deadline = NEVER_US
        self._log.warning("clock_stepped", step_s=step_us / SECOND_US)

    def _look(self) -> None:
        # Taken before anything is looked at: what is reported from here on ends the next wait.
        hints = self._watch.take()
        self._tail.incidents += hints.incidents
        for problem in hints.problems:
            self._tell_watch(problem)
        is_renewed = self._is_watch_renewed()
        needs_scan = not self._told.add(hints.paths) or hints.needs_scan or is_renewed
        self._told.step(_SCAN_SLICE_US)
        self._glance.is_wanted |= needs_scan
        self._glance.step(_SCAN_SLICE_US)
        if needs_scan or self._tail.wants_scan:
            self._next_scan = min(self._next_scan, self._earliest_scan)
        if self._tail.is_scanning or clock.monotonic_us() >= self._next_scan:
            self._scan_step()

    def _is_watch_renewed(self) -> bool:
        """Start the watch anew where its thread is dead; True if it lives again."""
        now = clock.monotonic_us()
        if self._watch.is_healthy() or now < self._next_rewatch:
            return False
        self._next_rewatch = now + _REWATCH_US
        problem = self._watch.restart()
        self._tell_watch(problem)
        return not problem

    def _beat(self) -> bool:
        """Do what is due by time; False once the daemon should stop."""
        now = clock.monotonic_us()
        # History counts at its own times: the present reaches it when all of it has been read.
        if not self._is_first_run and (now >= self._next_tick or clock.now_us() > self._next_deadline):
            # Whoever sets the clock while a batch is read must not end a quiet time by it.
            self._follow_clock(self._steps.take())
            self._tick()
            self._next_tick = now + self._tick_interval_us()
            self._find_deadline()
        # Work was committed: the storage works.
        self._outlet.faults.discard("storage")
        self._pause_s = _FIRST_PAUSE_S
        self._check_storage()
        self._check_memory()
        self._outlet.look_at_log()
        self._step_back()
        if now >= self._outlet.next_heartbeat or self._outlet.word != self._status():
            self._outlet.write_log()
            self._publish()
        self._exporter.offer(lambda: self._sample(is_watching=self._watch.is_healthy()))
        self._ping(now)
        return not self._signals.is_stopping

    def _sample(self, *, is_watching: bool) -> Sample:
        detection = self._pipeline.prior.detection
        self._exporter.sessions_needed = 0 if detection is None else detection.settings.sessions_for_tier2
        return sample(
            self._exporter.meter,
            Sources(
                self.config,
                self._outlet,
                self._pipeline.roster,
                detection,
                self._tail,
                self._store,
                is_watching,
                self._exporter.lag_us,
                self._governor,
            ),
        )

    def _check_storage(self) -> None:
        """See whether the database is where it belongs, and within its bounds."""
        if not self._store.is_at(self.paths.database):
            # We still hold the open file, and so all that was known: it is written anew.
            try:
                rescue(self._store, self.paths)
            except (OSError, sqlite3.Error, AccessError, StorageError) as error:
                self._outlet.fault("storage", "storage_failed", error)
                return
            raise StorageError(
                f"the database {self.paths.database} was removed or replaced; it was written anew",
                hint="nothing is lost; find out who did it",
            )
        if not self._store.retention.is_stuck:
            self._outlet.faults.discard("database_size")
        elif "database_size" not in self._outlet.faults:
            limit = self.config.limits.database_bytes
            self._outlet.faults.add("database_size")
            self._reporter.warn("database_over_limit", str(limit), hint="raise limits.database_bytes")

    def _check_memory(self) -> None:
        """End the restriction that a loss of memory brought: what is there was read, and time has passed."""
        if "memory_lost" not in self._outlet.faults or self._is_first_run:
            return
        wait_us = max(self.config.recovery.quiet_time.us, self.config.detection.window.us)
        now = clock.now_us()
        if now >= self._store.meta().lost_at + wait_us:
            self._store.commit(Commit("publish", now, lost=(0, "")))
            self._outlet.faults.discard("memory_lost")
            self._log.info("memory_rebuilt", after_s=wait_us // SECOND_US)

    def _ping(self, now: int) -> None:
        # A daemon that cannot publish is no living one to systemd: a restart makes its directories anew.
        notifier = self._outlet.notifier
        if notifier.watchdog_us and now >= self._next_ping and "publish" not in self._outlet.faults:
            self._next_ping = now + notifier.watchdog_us // 4
            notifier.send("WATCHDOG=1")

    def _wait_s(self) -> float:
        due = [self._outlet.next_heartbeat, self._next_scan]
        if self._pipeline.roster.next_due_us() is not None:
            due.append(self._next_tick)
        if self._outlet.notifier.watchdog_us:
            due.append(self._next_ping)
        if self._glance.is_wanted:
            due.append(self._glance.earliest_us)
        if (sample_due := self._exporter.due_us()) is not None:
            due.append(sample_due)
        if self._store.retention.is_behind:
            return _PRUNE_PAUSE_S
        sleep_us = min(min(due) - clock.monotonic_us(), self._next_deadline + 1 - clock.now_us())
        return min(_MAX_WAIT_S, sleep_us / SECOND_US)

    def _find_deadline(self) -> None:
        """Find when time alone will next change a tier: a pin ends, a quiet time is over."""
        policy, now = self._pipeline.prior.policy, clock.now_us()
        deadlines = (policy.next_deadline(state.standing) for state in self._pipeline.roster.held())
        # What should be over is left to the next regular tick, lest a clock that was set back keep us awake.
        self._next_deadline = min((at for at in deadlines if at is not None and at >= now), default=NEVER_US)

    def _third_s(self) -> float:
        # Whatever is waited for, the state file must not expire for the wait alone.
        return max(_FIRST_PAUSE_S, self._outlet.publisher.valid_for_us / 3 / SECOND_US)

    def _tick_interval_us(self) -> int:
        prior = self._pipeline.prior
        return max(SECOND_US // 4, min(prior.monitor.bucket_us, prior.policy.quiet_us, 10 * SECOND_US))

    # Opening.

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        now = clock.now_us()
        with contextlib.suppress(OSError):
            remove_leftovers(self.paths.state_file)
            remove_leftovers(override_path(self.paths.state_file), before_ns=(now - 60 * SECOND_US) * 1000)
        store = open_store(
            self.paths,
            now,
            lambda event, cause: self._reporter.warn(event, cause, docs="docs/operations.md"),
            limit_bytes=self.config.limits.database_bytes,
            patience_s=min(PATIENCE_S, self._third_s()),
        )
        tail: Tail | None = None
        try:
            meta = store.meta()
            self._store = store
            store.on_commit = self._exporter.meter.committed
            # First by the settings of the last run: what time has done since then, it did under those.
            prior = (
                recorded_prior(json.loads(meta.settings), self.config)
                if meta.settings
                else self.config.prior()
            )
            self._pipeline = self._make_pipeline(prior)
            self._record_settings(meta.settings)
            tail = self._tail = Tail(
                self._directories(),
                store.next_source_id,
                self._trouble,
                clock.now_us,
                line_bytes=self.config.limits.line_bytes,
                max_open=_max_open_files(),
                max_files=self.config.limits.files,
                files_per_owner=self.config.limits.files_per_owner,
                claims=self._claims(),
                on_failure=self._tell_failure,
            )
            sources = store.sources(with_gone=False)
            tail.restore(sources, meta.last_scan)
            self._roots.restore(self._directories(), (source.last_path for source in sources))
            self._told = Told(tail.notice, clock.monotonic_us)
            self._glance = Glance(
                lambda: [source.last_path for source in tail.sources()], tail.notice, clock.monotonic_us
            )
            self._intake = Intake(tail, self._formats, self._trust)
            self._intake.divisor = self._governor.throttle.measures.batches
            self._intake.on_set_aside = self._tell_failure
            self._quarantine = Quarantine(
                tail,
                lambda: self._pipeline,
                self._renew_pipeline,
                lambda: judge_control(self._pipeline.prior, self._formats, clock.now_us()),
                self._left_out,
                self._stay_alive,
            )
            self._is_first_run = meta.has_history
            self._works_since = clock.monotonic_us()
            self._end_catch_up(is_caught_up=False)
            self._next_tick = self._next_scan = 0
            self._next_deadline = NEVER_US
            self._was_open = True
            self._outlet.open(store)
            self._mend_habits()
            yield
        finally:
            if tail is not None:
                tail.close()
            store.close()

    def _make_pipeline(self, prior: Prior) -> Pipeline:
        pipeline = Pipeline(
            self._store,
            prior,
            agents_per_owner=self.config.limits.agents_per_owner,
            clock_us=self._store.meta().clock,
            agents_in_memory=self.config.limits.agents_in_memory,
        )
        pipeline.announcing = self._announcing
        return pipeline

    def _renew_pipeline(self) -> None:
        """Forget what memory holds and the database does not."""
        former = self._pipeline
        self._pipeline = self._make_pipeline(former.prior)
        self._pipeline.bind(self._trust.bindings)
        # Whoever publishes knows by it that these are others.
        self._pipeline.roster.succeed(former.roster)

    def _make_watch(self) -> Watch:
        watch = Watch(
            self._directories(),
            self._signals.wake,
            self._tail.followed,
            clock.now_us,
            inboxes=[self.paths.requests],
            is_telemetry=self._tail.is_telemetry,
        )
        problem = watch.start()
        self._is_watch_whole = True
        self._tell_watch(problem)
        return watch

    def _claims(self) -> Claims:
        return Claims(self._formats, self._trust, self._env, os.geteuid())

    def _directories(self) -> list[str]:
        directories = [os.path.abspath(path) for path in self.config.telemetry.directories]
        gate_dir = self.paths.gate_dir
        is_inside = any(f"{gate_dir}/".startswith(os.path.join(path, "")) for path in directories)
        return directories if not self._has_gate or is_inside else [*directories, gate_dir]

    # Work.

    def _scan(self, goes_on: Callable[[], bool]) -> None:
        """Do a whole scan; ``goes_on`` is asked between its slices."""
        while not self._scan_step() and goes_on():
            pass

    def _scan_step(self) -> bool:
        """Do a slice of a scan, and what follows a complete one; True once it is complete."""
        began, cpu = clock.monotonic_us(), clock.thread_us()
        if not self._tail.is_scanning:
            self._next_scan = began + self.config.telemetry.rescan_interval.us
            self._scan_work = self._scan_cpu = 0
            self._roots.begin(self._directories())
        is_complete = self._tail.scan_step(_SCAN_SLICE_US)
        now = clock.monotonic_us()
        self._scan_work += now - began
        self._scan_cpu += clock.thread_us() - cpu
        if not is_complete:
            return False
        # Whoever provokes scans, or makes them long, gets a part of our time, not all of it.
        self._earliest_scan = now + _SCAN_PAUSES * self._scan_work
        self._next_scan = max(self._next_scan, self._earliest_scan)
        if self._is_watch_whole and not self._tail.is_auditing:
            interval_us = self.config.telemetry.rescan_interval.us * self._governor.throttle.measures.scans
            pause_us = pause.after_scan_us(interval_us, self._scan_cpu)
            self._next_scan = max(self._next_scan, now + pause_us)
        self._tell_roots(self._roots.end(self._directories()))
        there = filter(os.path.exists, self._directories())
        self._outlet.troubles -= {("missing_directory", printable_path(path)) for path in there}
        self._owners = self._tail.owners()
        self._outlet.judge_isolation(self._owners)
        if batch := self._intake.torn():
            self._take(batch)
        return True

    def _drain(self) -> bool:
        began = clock.monotonic_us()
        batch = self._intake.live()
        if batch:
            self._take(batch)
            self._intake.pace(clock.monotonic_us() - began)
        return bool(batch) or self._intake.is_full

    def _read_history(self, goes_on: Callable[[], bool]) -> None:
        if not self._is_first_run:
            return
        # History counts at its own times, so it is read in their order, over all files.
        for batch in self._intake.history():
            if batch:
                self._intake.spare(self._take(batch))
            if not goes_on():
                return
        self._store.commit(Commit("publish", clock.now_us(), is_history_done=True))
        self._is_first_run = False

    def _take(self, batch: Batch) -> int:
        """Carry a batch through the line; return how many agents it had."""
        now = clock.now_us()
        for part in batch.parts:
            if part.rejects:
                path = batch.sources[part.source_id][1].path
                self._keep_rejects(path, part.rejects, now)
                if part.failure is not None:
                    self._tell_failure(path, part.failure)
        owners = self._owners.union(part.owner for part in batch.parts)
        if owners != self._owners:
            self._owners = owners
            self._outlet.judge_isolation(owners)
        agents = 0
        for piece, outcome in self._quarantine.read(batch, now, last_scan_us=self._tail.last_scan_us):
            for _, source in piece.sources.values():
                self._tail.accept(source)
            self._after(outcome)
            agents = max(agents, outcome.agents)
        return agents

    def _left_out(self, path: str, rejects: Sequence[Reject], error: Exception) -> None:
        """Keep records that sentineld itself fails on, and say so."""
        self._keep_rejects(path, rejects, clock.now_us())
        self._tell_failure(path, error)

    def _tell_failure(self, path: str, error: Exception) -> None:
        self._outlet.faults.add(INTERNAL_ERROR)
        if len(self._outlet.troubles) < _MAX_TROUBLES:
            self._outlet.troubles.add((INTERNAL_ERROR, printable_path(path)))
        self._reporter.error(
            "internal_error",
            f"{type(error).__name__} in {printable_path(path)}",
            given={"path": printable_path(path)},
            hint="report this; docs/operations.md#faults",
            exc_info=error,
        )

    def _stay_alive(self) -> None:
        """Keep the state file fresh while a batch is taken in pieces."""
        now = clock.monotonic_us()
        if now >= self._outlet.next_heartbeat:
            self._publish()
        self._ping(now)

    def _keep_rejects(self, path: str, rejects: Sequence[Reject], now: int) -> None:
        counts = Counter(item.reason for item in rejects)
        firsts = {item.reason: item for item in reversed(rejects)}
        for reason, count in counts.items():
            first = firsts[reason]
            self._reporter.warn(
                "line_rejected",
                f"{reason} in {printable_path(path)}",
                lines=count,
                given={"path": printable_path(path), "offset": first.offset, "detail": first.detail},
                kept_in=self.paths.rejects,
            )
        try:
            self._rejects.keep(path, rejects, now)
            self._outlet.faults.discard("rejects")
        except OSError as error:
            self._outlet.fault("rejects", "rejects_not_kept", error)

    def _after(self, outcome: Outcome) -> None:
        roster = self._pipeline.roster
        for owner in sorted(roster.overflowed):
            self._reporter.warn(
                "too_many_agents", f"owner {owner}", limit=self.config.limits.agents_per_owner
            )
        roster.overflowed.clear()
        for incident in outcome.derived:
            self._reporter.warn(
                "telemetry_incident",
                f"{incident.kind} of uid {incident.owner}",
                given={"path": printable_path(incident.path), "detail": incident.detail},
                offset=incident.start,
                count=incident.count,
            )
        now = clock.now_us()
        self._next_deadline = min([self._next_deadline, *(at for at in outcome.deadlines if at >= now)])
        if outcome.decisions:
            self._publish(is_numbered=True)
            if "publish" not in self._outlet.faults and not self._is_first_run:
                self._exporter.meter.told(outcome.decisions, clock.now_us())
            self._outlet.tell(outcome.decisions)

    def _obey_requests(self) -> None:
        # Until history has been read, the agents are not what the operator saw.
        if self._is_first_run:
            return
        for request_id in requests.pending(self.paths.requests):
            try:
                request, actor = requests.load(self.paths.requests, request_id)
                now = clock.now_us()
                request.wish(now, actor)
                is_new = not self._store.has_request(request_id)
                if is_new and (refusal := self._pipeline.refusal(request, now)):
                    raise ValueError(refusal)  # noqa: TRY301 (refused like the others)
                if is_new and request.kind == "erase":
                    self._erase_rejects(request.agent)
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno in _PASSING_ERRORS:
                    # A disk that fails for a moment must not lose an operator's wish, nor let a later one
                    # come before it.
                    self._reporter.warn("request_unreadable", request_id, error=str(error))
                    return
                self._reporter.warn("request_refused", request_id, given={"error": str(error)})
            else:
                document = {"agent": request.agent, "actor": actor, "request": request.document()}
                self._after(self._pipeline.carry_out(request_id, request, now, actor, document))
                if request.kind == "erase":
                    self._scrub(request_id)
            try:
                requests.discard(self.paths.requests, request_id)
            except OSError as error:
                # It is carried out once, however often it is found.
                self._reporter.warn("request_not_removed", request_id, error=str(error))

    def _erase_rejects(self, agent: str) -> None:
        """Remove refused lines of the files that this agent alone wrote; done again after a crash."""
        row = self._store.agent_named(agent)
        if row is not None:
            self._rejects.forget(self._store.files_of(row.owner, row.agent_id))

    def _scrub(self, request_id: str) -> None:
        try:
            if not self._store.scrub():
                self._reporter.warn(
                    "erased_in_place",
                    request_id,
                    hint="unused parts of the database may hold remnants until they are written again",
                )
        except sqlite3.Error as error:
            # It is erased, and what is left in unused parts goes when they are used.
            self._reporter.warn("not_scrubbed", request_id, error=str(error))

    def _mend_habits(self) -> None:
        """Begin habits anew that could not be read, and say so."""
        damaged = self._pipeline.damaged_roles
        if not damaged:
            return
        for owner, name in damaged:
            self._outlet.troubles.add(("damaged_habits", f"uid {owner}: {name}"))
            self._reporter.warn(
                "habits_damaged", f"uid {owner}", given={"role": name}, docs="docs/baselines.md"
            )
        self._after(self._pipeline.mend(list(damaged), clock.now_us()))

    def _tell_starters(self) -> None:
        """Say once that a starter was passed over; they are read when a role first needs them."""
        for path, reason in SHIPPED.troubles.items():
            trouble = ("damaged_starter", path)
            if trouble not in self._outlet.troubles:
                self._outlet.troubles.add(trouble)
                self._reporter.warn("starter_damaged", path, error=reason, hint="install sentineld again")

    def _tick(self) -> None:
        now = clock.now_us()
        if self._pipeline.is_due(now):
            self._after(self._pipeline.tick(now))

    def _publish(self, *, status: str = "", is_numbered: bool = False) -> None:
        self._tell_starters()
        self._outlet.publish(status or self._status(), self._pipeline.roster, is_numbered=is_numbered)

    def _announcing(self) -> contextlib.AbstractContextManager[None]:
        return self._outlet.announcing(self._status(), self._pipeline.roster)

    def _status(self) -> str:
        # A document that says that it could not be written would be a contradiction.
        if self._outlet.faults - {"publish"}:
            return "degraded"
        return "ok" if self._is_caught_up else "catching_up"

    def _trouble(self, trouble: Trouble) -> None:
        self._roots.note(trouble)
        path = printable_path(trouble.path)
        if len(self._outlet.troubles) < _MAX_TROUBLES:
            self._outlet.troubles.add((trouble.kind, path))
        self._reporter.warn(
            "telemetry_trouble", f"{trouble.kind} {path}", given={"path": path, "detail": trouble.detail}
        )

    def _tell_roots(self, lost: list[str]) -> None:
        """Tell of directories that were read before and cannot be now: silence there is no good behaviour."""
        faults = self._outlet.faults
        if lost:
            faults.add("telemetry")
            for path in lost:
                hint = "see whether it is mounted, there, and may be read"
                self._reporter.warn("telemetry_lost", printable_path(path), hint=hint)
        elif "telemetry" in faults:
            faults.discard("telemetry")
            self._log.info("telemetry_resumed")

    def _tell_watch(self, problem: str) -> None:
        if problem:
            # From here on scans are all that is sure to find changes: they never come less often.
            self._is_watch_whole = False
            interval = self.config.telemetry.rescan_interval
            self._next_scan = min(self._next_scan, clock.monotonic_us() + interval.us)
            self._reporter.warn("watch_unavailable", problem, fallback=f"rescan every {interval:g} s")

    # Configuration.

    def _record_settings(self, recorded: str) -> None:
        settings = {**self.config.decision_settings(), "formats": self._formats.to_plain()}
        self._trust = recorded_trust(settings)
        text = json.dumps(settings, sort_keys=True)
        if text != recorded:
            # First who is due when: should the settings never be noted, they are only looked at in vain.
            self._pipeline.set_prior(self.config.prior())
            self._store.commit(Commit("settings", clock.now_us(), document=settings, settings=text))
        self._pipeline.bind(self._trust.bindings)

    def _reload(self) -> None:
        self._outlet.notifier.send("RELOADING=1", f"MONOTONIC_USEC={clock.monotonic_us()}")
        try:
            config = self._load()
            if resolve_paths(config, self._env, os.geteuid()) != self.paths:
                keys = ", ".join(item.key for item in changes(self.config, config) if item.needs_restart)
                raise ConfigError(f"{keys} cannot change while the daemon runs", hint="restart it")
            publisher = self._outlet.make_publisher(config)
            formats = config.formats()
        except SentineldError as error:
            self._log.error(
                "config_reload_failed", error=str(error), hint=error.hint, kept="the old configuration"
            )
            self._exporter.meter.reloaded(is_good=False)
            self._outlet.notifier.send("READY=1", "STATUS=the new configuration is faulty; the old one stays")
            return
        changed = list(changes(self.config, config))
        self.config, self._outlet.publisher, self._formats = config, publisher, formats
        self._outlet.take_limits(config)
        self._exporter.meter.reloaded(is_good=True)
        self._exporter.configure(config.metrics)
        self._governor.configure(config.throttle)
        self._store.retention.limit_bytes = config.limits.database_bytes
        log.configure(config.log.level, config.log.format)
        self._record_settings(self._store.meta().settings)
        self._intake.trust, self._intake.formats = self._trust, self._formats
        self._pipeline.roster.agents_per_owner = config.limits.agents_per_owner
        self._pipeline.roster.agents_in_memory = config.limits.agents_in_memory
        limits = config.limits
        self._tail.configure(
            self._directories(),
            line_bytes=limits.line_bytes,
            max_files=limits.files,
            files_per_owner=limits.files_per_owner,
            claims=self._claims(),
        )
        self._rejects = Rejects(self.paths.rejects, config.limits.rejects_bytes)
        self._tail.incidents += self._watch.take().incidents
        self._watch.stop()
        self._watch = self._make_watch()
        self._tell_reloaded(changed)
        self._next_scan = 0
        self._next_tick = 0
        self._publish()
        self._outlet.notifier.send("READY=1")

    def _tell_reloaded(self, changed: Sequence[Change]) -> None:
        self._log.info(
            "config_reloaded",
            changed=sorted(item.key for item in changed),
            needs_restart=sorted(item.key for item in changed if item.needs_restart),
        )
        for item in changed:
            self._log.info(
                "option_changed",
                option=item.key,
                old=item.old,
                new=item.new,
                in_force="after a restart" if item.needs_restart else "now",
            )


def _max_open_files() -> int:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(8, min(1024, soft - 64) if soft > 128 else soft // 2)

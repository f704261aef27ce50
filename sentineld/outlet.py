"""Outlet: all that the daemon says: the state file, the decision log, the process log, systemd.

What is said was committed before. A state file or a decision log that cannot be written never stops the
work: it is a fault, told, tried again every second, and made up for when it works.
"""

import contextlib
import grp
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import structlog

from sentineld import clock, isolation, log
from sentineld.catch_up import Progress, size_text
from sentineld.config import Config, key_file_path
from sentineld.decision import Decision
from sentineld.instant import SECOND_US, iso
from sentineld.journal import Journal
from sentineld.keyring import reader_keys, signing_key
from sentineld.keys import expiry_warning, parse_key_table
from sentineld.log import Reporter
from sentineld.meter import Meter
from sentineld.publisher import Listable, ObservingPublisher, Publisher
from sentineld.sd_notify import Notifier
from sentineld.state_reader import StateReader
from sentineld.statedir import Paths
from sentineld.store import Store
from sentineld.tables import Commit

#: How often a daemon that could not publish or log tries again.
_RETRY_US = SECOND_US
#: How often it tells how far a catch-up is.
PROGRESS_US = 2 * SECOND_US
#: What may not work.
FAULTS = (
    "storage",
    "memory_lost",
    "database_size",
    "telemetry",
    "publish",
    "decision_log",
    "rejects",
    "log",
    "internal_error",
)
_RETRIED = {"storage", "publish", "decision_log", "rejects"}

_EVENT_NAMES = {
    "detected": "agent_demoted",
    "rule": "agent_demoted",
    "telemetry_gap": "agent_demoted",
    "tamper": "agent_demoted",
    "identity": "agent_demoted",
    "flood": "agent_demoted",
    "gate_bypassed": "gate_bypassed",
    "damaged": "agent_demoted",
    "recovered": "agent_recovered",
    "pardoned": "agent_pardoned",
    "pinned": "agent_pinned",
    "unpinned": "agent_unpinned",
    "expired": "pin_expired",
    "frozen": "baseline_frozen",
    "unfrozen": "baseline_unfrozen",
    "reset": "baseline_reset",
    "imported": "baseline_imported",
    "mended": "baseline_mended",
    "renamed": "agent_renamed",
    "retired": "agent_retired",
    "erased": "agent_erased",
}


class Outlet:
    """The voice of one daemon. Raises ``ConfigError`` for a key that cannot be used."""

    def __init__(
        self,
        config: Config,
        paths: Paths,
        env: Mapping[str, str],
        reporter: Reporter,
        config_file: str = "",
    ) -> None:
        self._paths = paths
        self._env = env
        self._reporter = reporter
        self._log = structlog.get_logger()
        self._journal = Journal(
            paths.journal, config.limits.decision_log_bytes, config.limits.decision_log_files
        )
        #: What agents must not be able to change: what the daemon writes, obeys and is made of.
        self._own_files = [
            paths.state_dir,
            paths.state_file,
            paths.database,
            paths.journal,
            paths.requests,
            os.path.dirname(os.path.abspath(__file__)),
            *([config_file] if config_file else []),
        ]
        self.publisher = self.make_publisher(config)
        self.notifier = Notifier({})
        self.meter = Meter()
        #: What does not work now, of ``FAULTS``.
        self.faults: set[str] = set()
        #: The status that was published last, and when the next heartbeat is due (monotonic microseconds).
        self.word = ""
        self.next_heartbeat = 0
        self.seq = 0
        #: Paths that could not be read as they should since the start, each with the kind of trouble.
        self.troubles: set[tuple[str, str]] = set()
        #: How far a catch-up is, told every ``progress_us``, and how the daemon steps back; None: neither.
        self.progress: Progress | None = None
        self.progress_us = PROGRESS_US
        self.throttle: Mapping[str, object] | None = None
        self._store: Store
        self._epoch = self._logged_no = self._told_no = 0
        self._is_ready = False
        #: Whether the database holds a number of the state file that nothing was published under.
        self._has_reserve = False
        #: What was told of the signing key and of an operator's override, so as not to repeat it.
        self._told_key = self._told_ignored = ""
        self._told_override = self._override_floor = 0

    def open(self, store: Store) -> None:
        """Speak for this database from now on; what a crash left untold is told."""
        meta = store.meta()
        self._store = store
        self._epoch, self.seq = meta.epoch, meta.seq
        self._logged_no, self._told_no = meta.logged_no, meta.decision_no
        # A crash may have come between an append and its note: what stands there is not written twice.
        with contextlib.suppress(OSError):
            self._logged_no = max(meta.logged_no, min(self._journal.settle(), meta.decision_no))
        # When the database fails, there is one number left under which to say so.
        store.commit(Commit("publish", clock.now_us(), bumps_seq=True))
        self._has_reserve = True
        if meta.lost_at:
            self.faults.add("memory_lost")
        self.next_heartbeat = 0
        if self.publisher.reader is not None:
            # What was published last knows which overrides are over.
            self.publisher.reader.behavior("-")
        self._log.info(
            "started",
            mode=self.publisher.mode,
            state_file=self._paths.state_file,
            state_dir=self._paths.state_dir,
            epoch=self._epoch,
            is_signed=self.publisher.key is not None,
        )
        self.write_log()

    def publish(self, word: str, agents: Listable, *, is_numbered: bool = False) -> None:
        """Publish the state file under the next number.

        ``is_numbered``: a commit has counted it already, which was announced.
        """
        if is_numbered:
            self.seq += 1
        else:
            self.keep_books(bumps_seq=True)
            self._tell_override()
            self._brief_publisher()
        began = clock.monotonic_us()
        try:
            self.publisher.publish(self._epoch, self.seq, word, agents)
        except OSError as error:
            # The old file stays and expires by itself; the next beat tries again.
            self.fault("publish", "publish_failed", error)
            self.meter.publish_failures += 1
        else:
            self.meter.published(clock.monotonic_us() - began)
            self.faults.discard("publish")
            self._tell_systemd(word)
        self._tell_key()
        self.word = word
        interval_us = _RETRY_US if self.faults & _RETRIED else self.publisher.valid_for_us // 3
        if self.progress is not None:
            interval_us = min(interval_us, self.progress_us)
        self.next_heartbeat = clock.monotonic_us() + interval_us

    @contextlib.contextmanager
    def announcing(self, word: str, agents: Listable) -> Iterator[None]:
        """Bring the next state file to the disk while the block commits what it tells of.

        Readers see it when ``publish`` is called with the same, and never where the block fails.
        """
        self._tell_override()
        self._brief_publisher()
        # What cannot be written now is told when it is published.
        with contextlib.suppress(OSError):
            self.publisher.publish_ahead(self._epoch, self.seq + 1, word, agents)
        try:
            yield
        except BaseException:
            self.publisher.withdraw()
            raise

    def tell(self, decisions: Sequence[Decision]) -> None:
        """Write decisions that were just committed to the decision log and to the process log."""
        self._told_no = decisions[-1].decision_no
        self.write_log(decisions)
        for decision in decisions:
            self._log.info(
                _EVENT_NAMES.get(decision.cause, "tier_changed"),
                decision_id=decision.decision_id,
                from_tier=decision.from_tier,
                to_tier=decision.to_tier,
                score=decision.score,
                cause=decision.cause,
                decided_at=decision.decided_at,
                mode=self.publisher.mode,
                given={
                    "agent": decision.agent_id,
                    **({} if decision.role is None else {"role": decision.role}),
                    "actor": decision.actor,
                    "reason": decision.note,
                },
            )

    def write_log(self, latest: Sequence[Decision] = ()) -> None:
        """Append to the decision log what it does not hold yet, however often that failed before.

        ``latest`` are the last decisions that were committed, where they are at hand.
        """
        if self._logged_no == self._told_no:
            return
        try:
            if self._journal.is_full:
                # What is rotated may go one day: first it is noted that all of it was logged.
                self.keep_books()
                self._journal.rotate()
            if not latest or latest[0].decision_no != self._logged_no + 1:
                latest = self._store.decisions(after=self._logged_no)
            self._journal.append(latest)
        except OSError as error:
            self.fault("decision_log", "decision_log_failed", error)
        else:
            self._logged_no = self._told_no
            self.faults.discard("decision_log")

    def keep_books(self, *, bumps_seq: bool = False, last_scan_us: int = 0) -> None:
        """Commit how far the decision log goes; ``bumps_seq`` takes the next number of the state file."""
        self._store.commit(
            Commit(
                "publish",
                clock.now_us(),
                bumps_seq=bumps_seq,
                logged_no=self._logged_no,
                last_scan_us=last_scan_us,
                troubles=self._count_troubles(),
            )
        )
        self.seq += bumps_seq

    def look_at_log(self) -> None:
        """Write what waits in the process log; note whether records of it are being lost."""
        is_flushed = log.flush()
        if log.is_failing():
            self.faults.add("log")
        if is_flushed and "log" in self.faults:
            self._log.warning("log_resumed", records_lost=log.records_lost())
            if not log.is_failing():
                self.faults.discard("log")

    def _count_troubles(self) -> dict[str, int]:
        counts = dict(Counter(kind for kind, _ in self.troubles))
        if lost := log.records_lost():
            counts["log_drops"] = lost
        return counts

    def fault(self, kind: str, event: str, error: Exception) -> None:
        """Note and tell what does not work; ``kind`` leaves ``faults`` when it works again."""
        self.faults.add(kind)
        self._reporter.warn(event, type(error).__name__, error=str(error))
        if kind in ("storage", "publish"):
            self.notifier.send(f"STATUS=degraded: {error}")

    def fail_storage(self, error: Exception) -> None:
        """Note that the database failed, and say so to readers once; what they know expires as it would."""
        self.fault("storage", "storage_failed", error)
        if not self._has_reserve:
            return
        self._has_reserve = False
        self._brief_publisher()
        try:
            self.publisher.repeat(self._epoch, self.seq + 1, "degraded")
        except OSError as failure:
            self.fault("publish", "publish_failed", failure)

    def _brief_publisher(self) -> None:
        # A document that says that it could not be written would be a contradiction.
        self.publisher.faults = sorted(self.faults - {"publish"})
        self.publisher.is_restricting = "memory_lost" in self.faults
        self.publisher.catching_up = None if self.progress is None else self.progress.to_dict()
        self.publisher.throttle = self.throttle
        reader = self.publisher.reader
        if reader is not None:
            self._override_floor = max(self._override_floor, reader.newest_override)
        self.publisher.override_floor = self._override_floor

    def take_limits(self, config: Config) -> None:
        """Obey the limits of another configuration."""
        self._journal.max_bytes = config.limits.decision_log_bytes
        self._journal.kept_files = config.limits.decision_log_files

    def make_publisher(self, config: Config) -> Publisher:
        """Make the publisher that a configuration asks for. Raises ``ConfigError`` for an unusable key."""
        key = signing_key(config, self._env, clock.now_us())
        make = ObservingPublisher if config.mode == "observe" else Publisher
        key_file = key_file_path(config, self._env) if config.state.key_file else ""
        key_files = [entry.file for entry in parse_key_table(config.state.keys)]
        self._relied_on = [*self._own_files, *([key_file] if key_file else []), *key_files]
        return make(
            self._paths.state_file,
            config.state.valid_for.us,
            self._isolation(set()),
            key,
            self._group(config.state.group),
            config.state.unlisted_tier,
            StateReader(self._paths.state_file, reader_keys(config, self._env), clock=clock),
        )

    def _tell_key(self) -> None:
        """Warn of the signing key's end, once a day from 30 days before it."""
        key = self.publisher.key
        # The number of days stands in the sentence, so it is a new one every day.
        warning = "" if key is None else expiry_warning(key.key_id, key.not_after_us, clock.now_us())
        if key is not None and warning and warning != self._told_key:
            self._log.warning("key_expires", key_id=key.key_id, warning=warning, hint="docs/state-file.md")
        self._told_key = warning

    def _tell_override(self) -> None:
        """Tell of an operator's override: that it is obeyed, is no more, or never was."""
        reader = self.publisher.reader
        override = None if reader is None else reader.override()
        number = 0 if override is None else override.number
        if number != self._told_override:
            if override is None:
                self._log.info("override_ended", number=self._told_override)
            else:
                self._log.warning(
                    "override_in_force",
                    number=number,
                    tier=override.tier,
                    valid_until=iso(override.valid_until_us),
                    given={
                        "actor": override.actor,
                        "reason": override.reason,
                        "agents": "all" if override.agents is None else sorted(override.agents),
                    },
                )
            self._told_override = number
        ignored = "" if reader is None else reader.ignored
        if ignored and ignored != self._told_ignored:
            self._log.warning("override_ignored", error=ignored, hint="sentineld break-glass --end")
        self._told_ignored = ignored

    def judge_isolation(self, owners: set[int]) -> None:
        """Publish from now on what the guarantees are worth, given the uids that write telemetry."""
        self.publisher.isolation = self._isolation(owners)

    def _isolation(self, owners: set[int]) -> str:
        if not isolation.sees_real_uids():
            return "none"
        exposures = isolation.exposures(self._relied_on, owners, os.geteuid())
        for item in exposures:
            self._reporter.warn(
                "exposed", item.path, reason=item.reason, hint="agents could change what the daemon relies on"
            )
        return isolation.judge(exposures, owners, os.geteuid())

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

    def _tell_systemd(self, word: str) -> None:
        behind = "" if self.progress is None else f", {size_text(self.progress.left)} left to read"
        states = [f"STATUS={word}: published number {self.seq}, mode {self.publisher.mode}{behind}"]
        if not self._is_ready:
            self._is_ready = True
            states.insert(0, "READY=1")
        self.notifier.send(*states)

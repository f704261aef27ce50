"""Outlet: all that the daemon says: the state file, the decision log, the process log, systemd.

What is said was committed before. A state file or a decision log that cannot be written never stops the
work: it is a fault, told, tried again every second, and made up for when it works.
"""

import grp
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from sentineld import clock, log
from sentineld.config import Config
from sentineld.decision import Decision
from sentineld.instant import SECOND_US
from sentineld.journal import Journal
from sentineld.keyring import signing_key
from sentineld.log import Reporter
from sentineld.publisher import ObservingPublisher, Publisher
from sentineld.sd_notify import Notifier
from sentineld.statedir import Paths
from sentineld.step import AgentState
from sentineld.store import Commit, Store

#: How often a daemon that could not publish or log tries again.
_RETRY_US = SECOND_US

_EVENT_NAMES = {
    "detected": "agent_demoted",
    "rule": "agent_demoted",
    "telemetry_gap": "agent_demoted",
    "tamper": "agent_demoted",
    "identity": "agent_demoted",
    "flood": "agent_demoted",
    "recovered": "agent_recovered",
    "pardoned": "agent_pardoned",
    "pinned": "agent_pinned",
    "unpinned": "agent_unpinned",
    "expired": "pin_expired",
}


class Outlet:
    """The voice of one daemon. Raises ``ConfigError`` for a key that cannot be used."""

    def __init__(self, config: Config, paths: Paths, env: Mapping[str, str], reporter: Reporter) -> None:
        self._paths = paths
        self._env = env
        self._reporter = reporter
        self._log = structlog.get_logger()
        self._journal = Journal(paths.journal)
        self.publisher = self.make_publisher(config)
        self.notifier = Notifier({})
        #: What does not work now: storage, publish, decision_log, rejects, log.
        self.faults: set[str] = set()
        #: The status that was published last, and when the next heartbeat is due (monotonic microseconds).
        self.word = ""
        self.next_heartbeat = 0
        self.seq = 0
        #: Paths that could not be read as they should since the start, each with the kind of trouble.
        self.troubles: set[tuple[str, str]] = set()
        self._store: Store
        self._epoch = self._logged_no = self._told_no = 0
        self._is_ready = False

    def open(self, store: Store) -> None:
        """Speak for this database from now on; what a crash left untold is told."""
        meta = store.meta()
        self._store = store
        self._epoch, self.seq = meta.epoch, meta.seq
        self._logged_no, self._told_no = meta.logged_no, meta.decision_no
        self.next_heartbeat = 0
        self._log.info(
            "started",
            mode=self.publisher.mode,
            state_file=self._paths.state_file,
            state_dir=self._paths.state_dir,
            epoch=self._epoch,
            is_signed=self.publisher.key is not None,
        )
        self.write_log()

    def publish(
        self,
        word: str,
        demoted: Iterable[tuple[str, AgentState]],
        known: Callable[[], Iterable[str]],
        *,
        is_numbered: bool = False,
    ) -> None:
        """Publish the state file under the next number; ``is_numbered``: a commit has counted it already.

        ``known`` gives the ids of all agents.
        """
        if is_numbered:
            self.seq += 1
        else:
            self.keep_books(bumps_seq=True)
        try:
            self.publisher.publish(self._epoch, self.seq, word, demoted, known)
        except OSError as error:
            # The old file stays and expires by itself; the next beat tries again.
            self.fault("publish", "publish_failed", error)
        else:
            self.faults.discard("publish")
            self._tell_systemd(word)
        self.word = word
        interval_us = _RETRY_US if self.faults - {"log"} else self.publisher.valid_for_us // 3
        self.next_heartbeat = clock.monotonic_us() + interval_us

    def tell(self, decisions: Sequence[Decision]) -> None:
        """Write decisions that were just committed to the decision log and to the process log."""
        self._told_no = decisions[-1].decision_no
        self.write_log()
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
                given={"agent": decision.agent_id, "actor": decision.actor, "reason": decision.note},
            )

    def write_log(self) -> None:
        """Append to the decision log what it does not hold yet, however often that failed before."""
        if self._logged_no == self._told_no:
            return
        try:
            self._journal.append(self._store.decisions(after=self._logged_no))
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

    def make_publisher(self, config: Config) -> Publisher:
        """Make the publisher that a configuration asks for. Raises ``ConfigError`` for an unusable key."""
        key = signing_key(config, self._env, clock.now_us())
        make = ObservingPublisher if config.mode == "observe" else Publisher
        return make(
            self._paths.state_file,
            config.state.valid_for.us,
            self._isolation_of_directory(),
            key,
            self._group(config.state.group),
        )

    def judge_isolation(self, owners: set[int]) -> None:
        """Publish from now on what the guarantees are worth, given the uids that write telemetry."""
        # Agents that run as the daemon's user could rewrite state and keys: advice, not enforcement.
        isolation = self._isolation_of_directory()
        if isolation != "none" and owners and os.geteuid() not in owners:
            isolation = "service"
        self.publisher.isolation = isolation

    def _isolation_of_directory(self) -> str:
        return "none" if os.stat(self._paths.state_dir).st_mode & 0o022 else "user"

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
        states = [f"STATUS={word}: published number {self.seq}, mode {self.publisher.mode}"]
        if not self._is_ready:
            self._is_ready = True
            states.insert(0, "READY=1")
        self.notifier.send(*states)

"""The notifier: a process of its own that reads the decision log and tells people. The daemon never waits.

What it knows (`notices.State`) is one file in a directory of its own, replaced atomically: a decision is in
there, on its way, before the log is read further, and a message before it is first sent. Killed at any
moment, it goes on with the same messages under the same keys.

The main thread alone changes the state. Each attempt runs in a thread, one at a time for a target, so that
one that hangs holds up no other; it is given up then, and few of those may hang on.
"""

import contextlib
import errno
import fcntl
import json
import os
import queue
import random
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from sentineld import clock, log
from sentineld.config import Config
from sentineld.errors import AccessError, ConfigError, LockedError, SentineldError, StorageError
from sentineld.instant import SECOND_US, iso
from sentineld.journal import Journal
from sentineld.journal_reader import JournalReader, number_of
from sentineld.notices import (
    Message,
    Notice,
    Outbox,
    Outcome,
    State,
    Terms,
    decision_key,
    notice,
    trial_message,
)
from sentineld.published_file import READ_FLAGS, publish, remove_leftovers
from sentineld.sd_notify import Notifier as Systemd
from sentineld.signals import Signals
from sentineld.statedir import PASSING_ERRORS, Paths
from sentineld.targets import Attempt, Target, make_targets

#: How often the log is looked at, seconds.
_POLL_S = 0.5
#: How long a stop waits for attempts that are under way, seconds.
_PATIENCE_S = 3.0
#: Attempts of one target that may hang at the same time.
_MAX_STUCK = 4
#: Decisions taken from the log between two saves.
_MAX_TAKEN = 1000


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a notifier keeps its things."""

    directory: str

    @property
    def state(self) -> str:
        """What it remembers."""
        return os.path.join(self.directory, "notifier.json")

    @property
    def lock(self) -> str:
        """The file whose lock one notifier holds."""
        return os.path.join(self.directory, "lock")


def desk_of(config: Config, paths: Paths) -> Desk:
    """Find the notifier's directory: as configured, else beside the state directory."""
    return Desk(os.path.abspath(config.notify.directory or paths.state_dir.rstrip("/") + "-notify"))


def terms_of(config: Config) -> Terms:
    """Return how the operator wants to be told."""
    options = config.notify
    return Terms(
        options.lowest_tier,
        frozenset(options.causes),
        tuple(options.agents),
        options.digest.us,
        options.cooldown.us,
        options.first_retry.us,
        options.last_retry.us,
        options.give_up.us,
        options.queue,
        socket.gethostname(),
        config.mode,
    )


def load_state(desk: Desk) -> State | None:
    """Read what a notifier remembers, None for nothing.

    Raises ``AccessError`` where it may not be read, ``ValueError`` where it is damaged.
    """
    try:
        with open(os.open(desk.state, READ_FLAGS), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("it is no ordinary file")
            state = msgspec.json.decode(file.read(), type=State)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("it is a link") from error
        raise AccessError(
            f"cannot read {desk.state}: {error.strerror}", hint="run it as the notifier's user"
        ) from error
    if state.version != 1:
        raise ValueError(f"version {state.version} is not known")
    return state


class NotifierService:
    """One notifier over one decision log. ``load`` reads the configuration again, for SIGHUP.

    Raises ``ConfigError`` where no target is configured, and for one that cannot be made.
    """

    def __init__(
        self,
        config: Config,
        paths: Paths,
        env: Mapping[str, str],
        load: Callable[[], Config],
    ) -> None:
        self._desk = desk_of(config, paths)
        self._journal = paths.journal
        self._env = env
        self._load = load
        self._log = structlog.get_logger()
        self._reporter = log.Reporter(clock.monotonic_us)
        self._systemd = Systemd({})
        self._next_ping = 0
        self._reader = JournalReader(self._journal)
        #: Whether the log may be another one than the one that was read until now.
        self._is_log_new = True
        self._lines: list[bytes] = []
        self._is_saved = True
        self._done: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        #: When the attempt that a target makes now should have ended, by its name, monotonic microseconds.
        self._under_way: dict[str, tuple[str, int]] = {}
        #: The threads of attempts that have not ended, those that were given up among them.
        self._threads: dict[str, list[threading.Thread]] = {}
        self._wake: Callable[[], None] = lambda: None
        #: Whether nothing was remembered, so that it begins behind the decisions that are there.
        self.is_first_start = False
        self._outbox = Outbox(State(), terms_of(config))
        self._targets: dict[str, Target] = {}
        self._take(config)

    @property
    def state(self) -> State:
        """What it remembers."""
        return self._outbox.state

    def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        self._systemd = Systemd(self._env)
        with self._open(), Signals() as signals:
            self._wake = signals.wake
            self._log.info(
                "notifier_started",
                targets=list(self._targets),
                decision_log=self._journal,
                cursor=self.state.cursor,
            )
            self._systemd.send("READY=1", f"STATUS=telling {', '.join(self._targets)}")
            while not signals.is_stopping:
                if signals.take_reload():
                    self._reload()
                is_busy = self._step()
                self._ping()
                if not is_busy:
                    signals.wait(self._wait_s())
            self._systemd.send("STOPPING=1")
            self._finish(clock.monotonic_us() + round(_PATIENCE_S * SECOND_US))
            self._log.info("notifier_stopped", cursor=self.state.cursor)

    def run_once(self) -> list[Message]:
        """Tell what is due, and return the messages that were made now.

        A digest ends at once; what waits for a cool-down, or for another attempt, goes on waiting.
        """
        made: list[Message] = []
        with self._open():
            while self._read():
                made += self._compose(is_closing=True)
            made += self._compose(is_closing=True)
            self._save()
            tried: set[tuple[str, str]] = set()
            while True:
                self._start_attempts(tried)
                if not self._under_way:
                    break
                self._note(self._next_attempt())
            self._tell_given_up()
        return made

    def rehearse(self) -> list[Message]:
        """Return the messages that ``run_once`` would make, and change nothing."""
        self._outbox.state = self._remembered()
        self._outbox.set_targets(self._targets)
        made: list[Message] = []
        with self._reader:
            while self._read():
                made += self._outbox.compose(clock.now_us(), is_closing=True)
        return made + self._outbox.compose(clock.now_us(), is_closing=True)

    def try_targets(self) -> list[Attempt]:
        """Deliver a test message to every target, and nothing else."""
        message = trial_message(clock.now_us(), self._outbox.terms)
        for name, target in self._targets.items():
            self._begin(name, target, message)
        ended = {}
        while self._under_way:
            attempt = self._next_attempt()
            del self._under_way[attempt.target]
            ended[attempt.target] = attempt
        return [ended[name] for name in self._targets]

    # Memory.

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        with hold_desk(self._desk):
            with contextlib.suppress(OSError):
                remove_leftovers(self._desk.state)
            self._outbox.state = self._remembered(sets_aside=True)
            self._outbox.set_targets(self._targets)
            self._save()
            with self._reader:
                yield

    def _remembered(self, *, sets_aside: bool = False) -> State:
        """Return the state that goes on: the saved one, or a new one at the end of the log."""
        try:
            state = load_state(self._desk)
        except ValueError as error:
            # Twice is better than never: it tells the whole log again.
            self._reporter.warn("notifier_state_damaged", self._desk.state, error=str(error))
            if sets_aside:
                with contextlib.suppress(OSError):
                    os.replace(self._desk.state, self._desk.state + ".damaged")
            return State()
        if state is not None:
            return state
        self.is_first_start = True
        outbox = Outbox(State(), self._outbox.terms)
        outbox.begin_at((number, _key(line)) for number, line in self._numbered())
        return outbox.state

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and line of every decision in the log."""
        with JournalReader(self._journal) as reader:
            while lines := self._next_lines(reader)[0]:
                for line in lines:
                    number = number_of(line)
                    if number is not None:
                        yield number, line

    def _next_lines(self, reader: JournalReader) -> tuple[list[bytes], bool]:
        try:
            return reader.read()
        except OSError as error:
            raise AccessError(
                f"cannot read the decision log {self._journal}: {error.strerror or error}",
                hint="docs/notify.md says who may",
            ) from error

    def _save(self) -> None:
        try:
            publish(self._desk.state, msgspec.json.encode(self.state), mode=0o600)
        except OSError as error:
            # It goes on from memory: that people are told matters more than that they are told once.
            self._is_saved = False
            self._reporter.warn("notifier_state_failed", self._desk.state, error=str(error))
        else:
            self._is_saved = True

    # Work.

    def _step(self) -> bool:
        """Do what can be done now; True if there is more."""
        while not self._done.empty():
            self._note(self._done.get())
        self._abandon()
        try:
            is_busy = self._read()
        except AccessError as error:
            self._reporter.warn("decision_log_unreadable", self._journal, error=str(error), hint=error.hint)
            is_busy = False
        if self._compose() or is_busy or not self._is_saved:
            self._save()
        self._start_attempts()
        self._tell_given_up()
        return is_busy

    def _read(self) -> bool:
        """Take decisions from the log; True if some came. Raises ``AccessError``."""
        if not self._lines:
            self._lines, is_new = self._next_lines(self._reader)
            self._is_log_new |= is_new
        if self._lines and self._is_log_new:
            self._meet()
        now, state = clock.now_us(), self.state
        missed = state.missed
        lines, self._lines = self._lines[:_MAX_TAKEN], self._lines[_MAX_TAKEN:]
        for line in lines:
            number = number_of(line)
            if number is not None and number <= state.cursor:
                continue
            found = _notice(line)
            if found is not None:
                self._outbox.take(found, now)
            elif line and number is not None:
                # Of what a crash tore, the whole stands on a later line.
                state.unreadable += 1
                self._reporter.warn("decision_unreadable", str(number))
        if state.missed > missed:
            self._reporter.warn(
                "decisions_missed", str(state.cursor), count=state.missed - missed, hint="docs/notify.md"
            )
        return bool(lines)

    def _meet(self) -> None:
        """See whether the log that is there now is the one that was read before."""
        seen = (
            (number, _key(line) if self._outbox.is_recent(number) else "")
            for number, line in self._numbered()
        )
        if self._outbox.meet(seen):
            self._reporter.warn("decision_log_begun_anew", self._journal)
        self._is_log_new = False

    def _compose(self, *, is_closing: bool = False) -> list[Message]:
        return self._outbox.compose(clock.now_us(), is_closing=is_closing)

    def _start_attempts(self, tried: set[tuple[str, str]] | None = None) -> None:
        """Begin an attempt for every target that is free and has something due; none of ``tried`` again."""
        now = clock.now_us()
        for name, target in self._targets.items():
            if name in self._under_way or self._is_stuck(name):
                continue
            message = self._outbox.next_delivery(name, now)
            if message is None or (tried is not None and (name, message.key) in tried):
                continue
            if tried is not None:
                tried.add((name, message.key))
            self._begin(name, target, message)

    def _begin(self, name: str, target: Target, message: Message) -> None:
        # The time-out is that of each step; a receiver that answers byte by byte takes many.
        limit_us = 2 * self._timeout_us + SECOND_US
        self._under_way[name] = (message.key, clock.monotonic_us() + limit_us)
        thread = threading.Thread(target=self._attempt, args=(target, message), daemon=True)
        self._threads.setdefault(name, []).append(thread)
        thread.start()

    def _is_stuck(self, name: str) -> bool:
        """Say whether so many attempts that were given up hang still that another one would add to a heap."""
        alive = [thread for thread in self._threads.get(name, ()) if thread.is_alive()]
        self._threads[name] = alive
        return len(alive) >= _MAX_STUCK

    def _attempt(self, target: Target, message: Message) -> None:
        try:
            outcome = target.deliver(message, clock.now_us())
        except Exception as error:  # noqa: BLE001 (whatever it is, the message waits for another attempt)
            outcome = Outcome(f"it failed: {type(error).__name__}")
        self._done.put(Attempt(target.name, message.key, outcome))
        self._wake()

    def _next_attempt(self) -> Attempt:
        """Wait for the end of an attempt, or for the time at which one should have ended."""
        deadline = min(limit for _, limit in self._under_way.values())
        try:
            return self._done.get(timeout=max(0.0, (deadline - clock.monotonic_us()) / SECOND_US))
        except queue.Empty:
            name = min(self._under_way, key=lambda item: self._under_way[item][1])
            return Attempt(name, self._under_way[name][0], Outcome("no answer in time"))

    def _abandon(self) -> None:
        """Give up waiting for attempts that should have ended: a receiver may answer for ever."""
        now = clock.monotonic_us()
        for name, (key, limit) in list(self._under_way.items()):
            if now > limit:
                self._note(Attempt(name, key, Outcome("no answer in time")))

    def _note(self, attempt: Attempt) -> None:
        if self._under_way.get(attempt.target, ("", 0))[0] != attempt.key:
            # It was given up on before.
            return
        del self._under_way[attempt.target]
        # Chance for the pause between attempts, not for secrets.
        self._outbox.note(attempt.target, attempt.key, attempt.outcome, clock.now_us(), random.random())  # noqa: S311
        if attempt.outcome.error:
            self._reporter.warn(
                "notice_failed", f"{attempt.target}: {attempt.outcome.error}", key=attempt.key
            )
        else:
            self._log.info("notice_delivered", target=attempt.target, key=attempt.key)
        self._save()

    def _tell_given_up(self) -> None:
        for item in self._outbox.given_up:
            self._log.warning(
                "notice_given_up", target=item.target, key=item.key, decisions=item.decisions, cause=item.why
            )
        self._outbox.given_up.clear()

    def _finish(self, deadline: int) -> None:
        """Wait a little for attempts that are under way: what they deliver need not be sent again."""
        while self._under_way and (left_us := deadline - clock.monotonic_us()) > 0:
            with contextlib.suppress(queue.Empty):
                self._note(self._done.get(timeout=left_us / SECOND_US))

    def _wait_s(self) -> float:
        due = self._outbox.next_due()
        wait_s = _POLL_S if due is None else min(_POLL_S, (due - clock.now_us()) / SECOND_US)
        # What is due and cannot begin waits for the end of an attempt, and that wakes us.
        is_waiting = self._under_way or any(map(self._is_stuck, self._targets))
        return wait_s if wait_s > 0 or not is_waiting else _POLL_S

    def _ping(self) -> None:
        now = clock.monotonic_us()
        if self._systemd.watchdog_us and now >= self._next_ping:
            self._next_ping = now + self._systemd.watchdog_us // 4
            self._systemd.send("WATCHDOG=1")

    # Configuration.

    def _take(self, config: Config) -> None:
        targets = make_targets(config.notify, self._env)
        if not targets:
            raise ConfigError(
                "nobody is to be told: [notify] names no webhook, command or Apprise URL",
                hint="docs/notify.md",
            )
        self._targets = {target.name: target for target in targets}
        self._outbox.terms = terms_of(config)
        self._timeout_us = config.notify.timeout.us

    def _reload(self) -> None:
        try:
            self._take(self._load())
        except SentineldError as error:
            self._log.error(
                "config_reload_failed", error=str(error), hint=error.hint, kept="the old configuration"
            )
            return
        self._outbox.set_targets(self._targets)
        self._save()
        self._log.info("config_reloaded", targets=list(self._targets))


@contextlib.contextmanager
def hold_desk(desk: Desk) -> Iterator[None]:
    """Make a notifier's directory where it is missing, and hold its lock.

    Raises ``LockedError`` where another notifier does, ``AccessError`` and ``StorageError`` where it fails.
    """
    try:
        os.makedirs(desk.directory, mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and (owner := os.stat(desk.directory).st_uid) != 0:
            raise AccessError(
                f"{desk.directory} belongs to uid {owner}, and this is root",
                hint=f"run it as that user: sudo -u '#{owner}' sentineld notify ...",
            )
        fd = os.open(desk.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        text = f"cannot use {desk.directory}: {error.strerror}"
        if error.errno in PASSING_ERRORS:
            raise StorageError(text, hint="make room on the disk") from error
        raise AccessError(text, hint="set notify.directory to one that the notifier may write") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise LockedError(
            f"another notifier holds {desk.directory}", hint="systemctl stop sentineld-notify"
        ) from error
    try:
        yield
    finally:
        os.close(fd)


def status_document(state: State, paths: Paths) -> dict[str, Any]:
    """Return how a notifier stands (schema ``notify``), by its own file."""
    last_no = Journal(paths.journal).last_no()
    return {
        "cursor": state.cursor,
        # A number below the cursor: the log has begun anew, and all of it is to be read.
        "behind": last_no - state.cursor if last_no >= state.cursor else last_no,
        "waiting": len(state.waiting),
        "matched": state.matched,
        "passed_over": state.passed_over,
        "missed": state.missed,
        "unreadable": state.unreadable,
        "targets": [
            {
                "target": name,
                "delivered": target.delivered,
                "failed": target.failed,
                "given_up": target.given_up,
                "queued": len(target.queue),
                "last_delivered_at": _at(target.last_delivered_us),
                "last_error": target.last_error,
                "last_error_at": _at(target.last_error_us),
                "paused_until": _at(target.until_us if target.queue else 0),
            }
            for name, target in state.targets.items()
        ],
    }


def _at(at_us: int) -> str | None:
    return iso(at_us) if at_us else None


#: What is raised for a line that is no decision.
_NO_DECISION = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def _notice(line: bytes) -> Notice | None:
    try:
        return notice(json.loads(line))
    except _NO_DECISION:
        return None


def _key(line: bytes) -> str:
    try:
        return decision_key(json.loads(line))
    except _NO_DECISION:
        return ""

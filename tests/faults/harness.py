"""A place in which sentineld is disturbed, and what must hold of it afterwards: the invariants.

Everything is real: processes, files, SQLite, strace. A ``Place`` is one telemetry directory and one state
directory; ``calm`` and ``disturbed`` run the program over them, ``assert_invariants`` looks at what is left.
``Watcher`` reads the state file all the while, as a router would.

The numbers of the invariants, as the failures name them:

1   each event counts exactly once            7   the database is sound, positions are ends of lines
2   nobody else's profile changes             8   a demotion that was visible stays
3   the state file says what the database does 9  a restart is up within 10 s
4   published numbers were committed before   10  decisions equal those of an undisturbed run
5   the state file verifies at every instant  11  memory, descriptors and threads are bounded
6   (epoch, seq) never falls or repeats       12  every byte is read once, or pending, or told as a gap

Numbers of our own: LOG (the decision log tells of nothing that was not committed, and of all that was) and
TOLD (a refused fsync is told).
"""

import atexit
import base64
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import sentineld
from sentineld import requests
from sentineld.clock import boot_id, boottime_ms, now_us
from sentineld.config import Config
from sentineld.errors import StateFileError
from sentineld.keys import HMAC_SHA256, SigningKey
from sentineld.replay import replay_as_observed
from sentineld.state_file import parse_state, read_state
from sentineld.store import Store

#: Where the program under test is imported from, unless a place names another.
PACKAGE = Path(sentineld.__file__).parents[1]
KEY = SigningKey("k1", HMAC_SHA256, b"k" * 32)
AGENTS = ("biller", "mailer", "planner", "scraper")
FLOODING = "scraper"
#: Event types that carry an event's number; the database counts at most 512 types by name.
NUMBERS = 110
#: Bytes that each record is padded with, so that one batch holds few of them and a run has many batches.
PAD = 180_000
ROUNDS = 3
#: Seconds after which a run that has not ended hangs; a whole one takes less than one.
RUN_S = 120
RECORDS = 10
CONFIG = """
[telemetry]
rescan_interval = "200ms"
[state]
valid_for = "60s"
key_file = "signing.key"
key_id = "k1"
"""

#: What can be done to each call by which state reaches the disk.
ACTIONS = {
    "pwrite64": ("signal=KILL", "signal=KILL", "error=EIO", "error=ENOSPC"),
    "write": ("signal=KILL", "error=EIO", "error=ENOSPC"),
    "fdatasync": ("signal=KILL", "signal=KILL", "error=EIO", "error=ENOSPC"),
    "fsync": ("signal=KILL", "error=EIO", "error=ENOSPC"),
    "renameat": ("signal=KILL", "error=EIO", "error=ENOSPC"),
    "ftruncate": ("signal=KILL", "error=EIO", "error=ENOSPC"),
    "unlink": ("signal=KILL", "error=EIO"),
    "unlinkat": ("signal=KILL", "error=EIO"),
    "openat": ("signal=KILL", "error=EIO", "error=ENOSPC"),
}


class Violation(AssertionError):  # noqa: N818 (it reads as what it is)
    """An invariant does not hold; the sentence begins with its name."""


def check(name: str, holds: object, detail: object) -> None:
    if not holds:
        raise Violation(f"{name}: {detail}")


@dataclass(frozen=True)
class Fault:
    """One disturbance: what is done at the ``k``-th call of a kind."""

    syscall: str
    action: str
    k: int

    @property
    def is_kill(self) -> bool:
        return self.action == "signal=KILL"

    def __str__(self) -> str:
        return f"{self.syscall}:{self.action}:when={self.k}"


@dataclass
class Watcher:
    """Reads the state file all the time; ``wrong`` holds what must not happen."""

    path: Path
    database: Path
    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    versions: int = 0
    demotions: set[str] = field(default_factory=set)
    _last: tuple[tuple[int, int], bytes] | None = None
    _is_done: threading.Event = field(default_factory=threading.Event)
    #: Tests look as well, beside the thread.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Watcher":
        self._is_done.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_done.set()
        self._thread.join()
        self.look()

    def _run(self) -> None:
        while not self._is_done.wait(0.002):
            self.look()

    def look(self) -> None:
        """Read once."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            if self._last is not None:
                self.wrong.append("INV5: the state file is gone")
            return
        if self._last is not None and data == self._last[1]:
            return
        try:
            view = parse_state(data, [KEY])
        except StateFileError as error:
            self.wrong.append(f"INV5: {error}")
            return
        self.reads += 1
        if self._last is not None and view.version <= self._last[0]:
            self.wrong.append(f"INV6: version {view.version} after {self._last[0]}")
        self._last = (view.version, data)
        # Where those that are not listed are restricted, all that are known are listed.
        self.demotions |= {str(agent["decision"]) for agent in view.agents.values() if "decision" in agent}
        # The file was read first: by now its number is in the database, or was published ahead of it.
        committed = committed_version(self.database)
        if committed is not None and view.version > committed:
            self.wrong.append(f"INV4: published {view.version}, committed {committed}")


def committed_version(database: Path) -> tuple[int, int] | None:
    """Return (epoch, seq) of a database; None where there is none, or none that is ready."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as db:
            epoch, seq = db.execute("SELECT epoch, seq FROM meta").fetchone()
            return epoch, seq
    except (sqlite3.OperationalError, TypeError):
        return None


def environment(package: Path) -> dict[str, str]:
    """Return the environment of a run that is told everything by its arguments."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SENTINELD_")}
    for name in ("NOTIFY_SOCKET", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        clean.pop(name, None)
    # What is known to demote here is a flood, which only the activity score minds.
    mode = {"SENTINELD_DETECTION_MODE": "activity"}
    return {**clean, **mode, "PYTHONPATH": str(package), "OPENBLAS_NUM_THREADS": "1"}


class Forker:
    """A process that has imported one package, see `forker.py`; runs are forked off it, one at a time."""

    def __init__(self, package: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(package),
        )

    def fork(self, place: "Place", *, is_traced: bool) -> "Run":
        job = {
            "argv": place.argv("--once"),
            "cwd": str(place.base),
            "output": str(place.base / "output"),
            "is_traced": is_traced,
        }
        (place.base / "begun").unlink(missing_ok=True)
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return Run(self, int(self.answer()), place.base / "begun")

    def answer(self) -> str:
        line = self._process.stdout.readline()
        assert line, "the process that runs are forked off has ended"
        return line

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(120)


@dataclass
class Run:
    """One run that was forked; ``spent_s`` is its processor time, once it has ended."""

    _forker: Forker
    pid: int
    begun: Path
    spent_s: float = 0.0

    def let_go(self, tracer: subprocess.Popen[bytes]) -> None:
        """Let a stopped run begin, once it is traced."""
        while "TracerPid:\t0\n" in self._status():
            assert tracer.poll() is None, "strace cannot attach"
            time.sleep(0.001)
        while not self.begun.is_symlink():
            # Sent again while it stands: one that arrives while strace attaches is lost.
            if re.search(r"State:\t[Tt]", self._status()):
                os.kill(self.pid, signal.SIGCONT)
            time.sleep(0.001)

    def await_stop(self) -> None:
        while "State:\tT" not in self._status():
            time.sleep(0.001)

    def _status(self) -> str:
        return Path(f"/proc/{self.pid}/status").read_text()

    def wait(self) -> int:
        """Wait for its end; return its exit code, or the negative number of its signal."""
        alarm = threading.Timer(RUN_S, os.kill, (self.pid, signal.SIGKILL))
        alarm.start()
        status, spent_s = self._forker.answer().split()
        check("INV9", alarm.is_alive(), f"a run did not end within {RUN_S} s")
        alarm.cancel()
        self.spent_s = float(spent_s)
        return os.waitstatus_to_exitcode(int(status))


@cache
def forker(package: Path) -> Forker:
    made = Forker(package)
    atexit.register(made.close)
    return made


class Place:
    """One telemetry directory and one state directory. ``package`` is where the program is imported from."""

    def __init__(self, base: Path, package: Path | None = None) -> None:
        shutil.rmtree(base, ignore_errors=True)
        self.base, self.package = base, package or PACKAGE
        self.telemetry, self.state_dir = base / "telemetry", base / "state"
        self.telemetry.mkdir(parents=True)
        (self.state_dir / "requests").mkdir(parents=True, mode=0o700)
        (base / "signing.key").touch(0o600)
        (base / "signing.key").write_bytes(KEY.secret)
        (base / "sentineld.toml").write_text(CONFIG)
        self.watcher = Watcher(self.state_file, self.database)
        #: What was written: how many events of each type, and of each agent.
        self.by_type: Counter[str] = Counter()
        self.by_agent: Counter[str] = Counter()
        self.pieces: list[tuple[str, bytes]] = []
        self.numbers: Counter[str] = Counter()
        self.wished = 0
        self.spent_s = 0.0

    @property
    def state_file(self) -> Path:
        return self.state_dir / "state.json"

    @property
    def database(self) -> Path:
        return self.state_dir / "sentineld.db"

    @property
    def journal(self) -> Path:
        return self.state_dir / "decisions.jsonl"

    def argv(self, *options: str) -> list[str]:
        command = ["run", *options, "--config", "sentineld.toml"]
        return [*command, "--telemetry", str(self.telemetry), "--state-dir", str(self.state_dir)]

    # What agents do.

    def append(self, agent: str, records: list[dict[str, object]], *, pieces: int = 1) -> None:
        """Append records to the agent's file, the bytes in so many writes."""
        data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        self.by_agent[agent] += len(records)
        self.by_type.update(str(record["type"]) for record in records)
        self.pieces.append((agent, data))
        with self.file(agent).open("ab", buffering=0) as file:
            for number in range(pieces):
                file.write(data[len(data) * number // pieces : len(data) * (number + 1) // pieces])

    def records(self, agent: str, count: int, *, pad: int = 0, is_flood: bool = False) -> list[dict]:
        """Make records that carry their number, also in their type; of a flood every fifth does that."""
        made = []
        for _ in range(count):
            number = self.numbers[agent]
            self.numbers[agent] += 1
            kind = f"{agent}.{number % NUMBERS}"
            if is_flood and number % 5:
                kind = ("file_write", "network_request")[number % 2]
            noise = random.Random(number).randbytes(pad * 3 // 4) if is_flood else b""
            note = base64.b64encode(noise).decode() if is_flood else "x" * pad
            now = round(time.time(), 3)
            record = {"type": kind, "source": agent, "timestamp": now, "data": {"note": note}, "seq": number}
            made.append(record)
        return made

    def file(self, agent: str) -> Path:
        return self.telemetry / f"{agent}.jsonl"

    def rotate(self, agent: str) -> Path:
        """Rename an agent's file away."""
        path = self.file(agent)
        number = 1 + len(list(self.telemetry.glob(f"{agent}.jsonl.*")))
        while (rotated := path.with_name(f"{path.name}.{number}")).exists():
            number += 1
        path.rename(rotated)
        return rotated

    def copytruncate(self, agent: str) -> Path:
        """Copy an agent's file and empty it, as logrotate does."""
        rotated = self.file(agent).with_name(f"{agent}.jsonl.{time.monotonic_ns()}")
        shutil.copyfile(self.file(agent), rotated)
        os.truncate(self.file(agent), 0)
        return rotated

    def write_round(self, number: int) -> None:
        """Do what agents and operators do between two runs of the workload."""
        if number == 2:
            self.rotate("mailer")
        if number == 3:
            # It was read to its end by the run before; a file that is gone takes nothing with it.
            for path in self.telemetry.glob("mailer.jsonl.*"):
                path.unlink()
            self.copytruncate("planner")
        for agent in AGENTS:
            is_flood = agent == FLOODING
            self.append(agent, self.records(agent, RECORDS * (1 + is_flood), pad=PAD, is_flood=is_flood))
        for kind in ("pin", "unpin"):
            wish = requests.Request(kind, "biller", f"drill {number}", tier=2)
            requests.submit(str(self.state_dir / "requests"), wish)
            self.wished += 1

    # Runs.

    def calm(self) -> None:
        """Run once, undisturbed, and expect success within the time that a restart may take."""
        code, told = self.run()
        check("INV9", code == 0, f"the restart failed: {told[-2000:]}")
        # On a machine that does nothing else it is the time that passes.
        check("INV9", self.spent_s < 10, "the restart took more than 10 s")

    def run(self, *strace: str) -> tuple[int, str]:
        """Run once, under strace where its options are given; return (exit code or -signal, what was told).

        All threads are traced. What they did is in ``calls``; a fault strikes each thread's k-th call.
        """
        with self.watcher:
            run = forker(self.package).fork(self, is_traced=bool(strace))
            if strace:
                run.await_stop()
                command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(self.base / "trace"), *strace]
                with subprocess.Popen([*command, "-p", str(run.pid)], stderr=subprocess.DEVNULL) as tracer:
                    run.let_go(tracer)
                    code = run.wait()
            else:
                code = run.wait()
        self.spent_s = run.spent_s
        return code, (self.base / "output").read_text(errors="replace")

    def calls(self) -> Iterator[tuple[str, str]]:
        """Yield thread and call of the run that was traced last, in the order in which calls began."""
        for line in (self.base / "trace").read_text(errors="replace").splitlines():
            thread, _, call = line.partition(" ")
            yield thread, call.lstrip()

    def disturbed(self, fault: Fault) -> bool:
        """Run once with a fault; say whether it struck. A refused fsync must be told."""
        inject = f"inject={fault.syscall}:{fault.action}:when={fault.k}"
        code, told = self.run("-e", f"trace={fault.syscall}", "-e", inject)
        trace = (self.base / "trace").read_text(errors="replace")
        has_struck = code == -signal.SIGKILL if fault.is_kill else "(INJECTED)" in trace
        if has_struck and not fault.is_kill and fault.syscall == "fsync":
            is_told = code != 0 or re.search(r'"level": ?"(warning|error)"', told)
            check("TOLD", is_told, f"{fault}: exit {code}, and no warning")
        return has_struck

    def db(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)


@dataclass(frozen=True)
class Reference:
    """The workload undisturbed, by round: the calls by which state reaches the disk, and the decisions."""

    calls: dict[int, dict[str, list[int]]]
    decisions: dict[int, list[tuple[str, int, int, str]]]


@cache
def reference_run(base: Path) -> Reference:
    """Run the workload with nothing but a trace; the ordinals are of calls on the state directory."""
    place, reference = Place(base), Reference({}, {})
    for number in range(1, ROUNDS + 1):
        place.write_round(number)
        code, told = place.run("-e", "trace=" + ",".join(ACTIONS))
        assert code == 0, told
        assert_invariants(place)
        reference.calls[number] = persistence_calls(place)
        reference.decisions[number] = decisions_of(place)
    assert_replays(place)
    assert (FLOODING, 2, 3, "detected") in reference.decisions[ROUNDS]
    return reference


def persistence_calls(place: Place) -> dict[str, list[int]]:
    seen: Counter[tuple[str, str]] = Counter()
    calls: dict[str, list[int]] = {name: [] for name in ACTIONS}
    for thread, call in place.calls():
        match = re.match(r"(\w+)\(", call)
        if match and match[1] in ACTIONS:
            seen[thread, match[1]] += 1
            if str(place.state_dir) in call:
                calls[match[1]].append(seen[thread, match[1]])
    return {name: ordinals for name, ordinals in calls.items() if ordinals}


def draw(rng: random.Random, calls: dict[str, list[int]]) -> Fault:
    """Draw a fault: rare calls get more than their share, and of each kind every call is as likely."""
    names = sorted(calls)
    syscall = rng.choices(names, [len(calls[name]) ** 0.5 for name in names])[0]
    return Fault(syscall, rng.choice(ACTIONS[syscall]), rng.choice(calls[syscall]))


@dataclass
class Tally:
    """What a series of faults came to."""

    runs: int = 0
    struck: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = Counter(text.partition(":")[0] for text in self.violations)
        return f"{self.runs} runs, {self.struck} struck, {len(self.violations)} violations {dict(kinds)}"


def series(
    directory: Path, seed: int, faults: int, package: Path | None = None, *, enough: int = 1 << 30
) -> Tally:
    """Run so many faults, a few in each place; stop after ``enough`` violations.

    Whatever was found in a place ends that place: what follows from a violation is not counted again.
    """
    reference = reference_run(directory / "calm")
    rng = random.Random(seed)
    tally = Tally()
    while tally.runs < faults and len(tally.violations) < enough:
        place, done = Place(directory / "place", package), []
        try:
            for number in range(1, ROUNDS + 1):
                place.write_round(number)
                fault = draw(rng, reference.calls[number])
                done.append(str(fault))
                tally.runs += 1
                tally.struck += place.disturbed(fault)
                assert_sound(place)
                place.calm()
                assert_invariants(place, reference=reference.decisions[number])
            assert_replays(place)
        except Violation as violation:
            tally.violations.append(f"{violation} [seed {seed}, {', '.join(done)}]")
    return tally


# What must hold.


def assert_sound(place: Place) -> None:
    """Check what must hold at any moment at which nothing runs, also right after a crash."""
    place.watcher.look()
    if place.watcher.wrong:
        raise Violation("; ".join(place.watcher.wrong[:3]))
    committed = committed_version(place.database)
    published = None
    if place.state_file.exists():
        published = parse_state(place.state_file.read_bytes(), [KEY])
        check("INV4", committed is not None, "published, but nothing is committed")
        check("INV4", published.version <= committed, f"published {published.version}, committed {committed}")
    if committed is None:
        check("LOG", not place.journal.exists(), "decisions are logged, but nothing is committed")
        return
    with closing(place.db()) as db:
        check("INV7", db.execute("PRAGMA quick_check").fetchall() == [("ok",)], "quick_check")
        check("INV7", not db.execute("PRAGMA foreign_key_check").fetchall(), "foreign_key_check")
        known = dict(db.execute("SELECT decision_no, document FROM decision"))
        check("INV7", sorted(known) == list(range(1, len(known) + 1)), "decision numbers are not dense")
        _check_brackets(db)
    ids = {json.loads(text)["decision_id"] for text in known.values()}
    check("INV8", place.watcher.demotions <= ids, f"visible, then gone: {place.watcher.demotions - ids}")
    for line in _logged(place):
        check("LOG", line["decision_no"] in known, f"logged, but not committed: {line['decision_no']}")
        check("LOG", json.loads(known[line["decision_no"]]) == line, f"logged otherwise: {line}")


def assert_invariants(place: Place, *, reference: list | None = None) -> None:
    """Check everything, after a run that took in all that was written."""
    assert_sound(place)
    with closing(place.db()) as db:
        by_type = dict(db.execute("SELECT name, events FROM event_type"))
        wrong = {
            name: (by_type.get(name, 0), place.by_type[name])
            for name in by_type.keys() | place.by_type.keys()
            if by_type.get(name, 0) != place.by_type[name]
        }
        check("INV1", not wrong, f"type: (counted, written) {dict(list(wrong.items())[:5])}")
        totals = "SELECT sum(lines), sum(accepted), sum(rejected), sum(ignored), sum(duplicates) FROM source"
        lines, accepted, *others = db.execute(totals).fetchone()
        check("INV1", (lines, accepted) == (place.by_type.total(),) * 2, (lines, accepted, others))
        tiers = dict(db.execute("SELECT name, tier FROM agent"))
        pending = db.execute("SELECT count(*) FROM request").fetchone()[0]
        epoch, seq, logged_no = db.execute("SELECT epoch, seq, logged_no FROM meta").fetchone()
        _check_positions(place, db)
    check("INV2", set(tiers) == set(place.by_agent), f"agents {sorted(tiers)}")
    check("INV1", pending == place.wished, f"{pending} of {place.wished} wishes")
    check("INV1", _events(place) == place.by_agent, f"events {_events(place)}, written {place.by_agent}")
    view = read_state(
        place.state_file, keys=[KEY], now_us=now_us(), boottime_ms=boottime_ms(), boot_id=boot_id()
    )
    shown = {name: int(entry["tier"]) for name, entry in view.agents.items()}
    check("INV3", shown == {name: tier for name, tier in tiers.items() if tier > 1}, f"{shown} and {tiers}")
    # One number is committed ahead, for a daemon whose database fails to say so.
    is_last = view.epoch == epoch and view.seq in (seq, seq - 1)
    check("INV3", is_last, f"published {view.version}, committed {(epoch, seq)}")
    check("INV3", view.status in ("ok", "shutdown"), view.status)
    numbers = {line["decision_no"] for line in _logged(place)}
    check("LOG", numbers == set(range(1, logged_no + 1)), f"logged {sorted(numbers)} of {logged_no}")
    leftovers = list(place.state_dir.glob(".*.tmp"))
    check("INV11", not leftovers, f"temporary files are left: {leftovers}")
    got = decisions_of(place)
    if reference is not None:
        check("INV10", sorted(got) == sorted(reference), f"decided {got}, undisturbed {reference}")


def decisions_of(place: Place) -> list[tuple[str, int, int, str]]:
    """Return what was decided, without the instants: (agent, from, to, cause)."""
    with closing(place.db()) as db:
        rows = [
            json.loads(row[0]) for row in db.execute("SELECT document FROM decision ORDER BY decision_no")
        ]
    return [(row["agent_id"], row["from_tier"], row["to_tier"], row["cause"]) for row in rows]


def assert_replays(place: Place) -> None:
    """Judge anew, from the files, what the database says was read: the decisions are equal to the digit."""
    with Store.open_readonly(str(place.database)) as recorded:
        again = replay_as_observed([str(place.telemetry)], recorded, Config())
        try:
            if not again.missing:
                before = [decision.to_dict() for decision in recorded.decisions()]
                after = [decision.to_dict() for decision in again.decisions]
                check("INV10", _judged(before) == _judged(after), f"live {before}, as observed {after}")
        finally:
            again.store.close()


def _judged(decisions: list[dict]) -> list[tuple]:
    names = ("decision_no", "agent_id", "from_tier", "to_tier", "score", "decided_at", "cause")
    return [tuple(decision[name] for name in names) for decision in decisions]


def _events(place: Place) -> Counter[str]:
    from sentineld.step import load_state

    with Store.open_readonly(str(place.database)) as store:
        return Counter({row.name: load_state(row.state).events for row in store.agents()})


def _logged(place: Place) -> Iterator[dict]:
    """Yield the decisions of the log; a crash may have torn a line, which is written again."""
    lines = place.journal.read_bytes().splitlines() if place.journal.exists() else []
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _check_positions(place: Place, db: sqlite3.Connection) -> None:
    by_inode = {}
    for path in place.telemetry.iterdir():
        status = path.stat()
        by_inode[(str(status.st_dev), str(status.st_ino))] = path
    newest = "SELECT max(id) FROM source GROUP BY dev, ino"
    query = f"SELECT dev, ino, pos FROM source WHERE is_gone = 0 AND id IN ({newest})"
    for dev, ino, pos in db.execute(query):
        if path := by_inode.get((dev, ino)):
            data = path.read_bytes()
            # A shorter file was cut after it was read; the next look will see that.
            is_end = pos == 0 or len(data) < pos or data[pos - 1 : pos] == b"\n"
            check("INV7", is_end, f"position {pos} of {path} is no end of a line")


def _check_brackets(db: sqlite3.Connection) -> None:
    """Check that each read of a source goes on where the last one ended: no byte twice, none left out."""
    reached: dict[int, int] = {}
    query = 'SELECT source, "from", "to" FROM bracket ORDER BY input_no, ordinal'
    for source, start, end in db.execute(query):
        expected = reached.get(source, start)
        check("INV12", start == expected, f"source {source} was read up to {expected}, then from {start}")
        reached[source] = end
    positions = dict(db.execute("SELECT id, pos FROM source"))
    for source, end in reached.items():
        # One that was read and that nothing is known of stands nowhere.
        position = positions.get(source)
        check("INV12", position == end, f"source {source} stands at {position}, read {end}")

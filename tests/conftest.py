"""What tests share: telemetry as agents write it, one state directory, and the real command line."""

import base64
import ctypes
import faulthandler
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import command_line
import pytest
from activity import BY_ACTIVITY
from hypothesis import HealthCheck, Phase, settings

from sentineld.event import Incident
from sentineld.identity import Source
from sentineld.intake import Batch, Intake
from sentineld.pipeline import Pipeline
from sentineld.recognition import Formats
from sentineld.store import Store
from sentineld.tail import Tail

# Every process and every run would compile anew what it imports, which takes a third of the time of a run.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

NORMAL = ("biller", "mailer", "researcher")
FLOODING = "scraper"
#: For whatever must happen some time: only what never happens is a failure, however slow the machine is.
PATIENCE_S = 120.0

# Tests whose examples are costly take a share of these numbers, cheap ones a multiple: what is said there is
# read when a test is collected, after ``--hypothesis-profile``.
settings.register_profile(
    "suite",
    max_examples=50,
    # A red run is red again, and a green one green: what chance finds is for the soak.
    derandomize=True,
    deadline=None,
    # To make a failing example small takes minutes: that is for who asks for it.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
SHRINKING = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("shrink", settings.get_profile("suite"), phases=SHRINKING)
settings.register_profile("soak", settings.get_profile("shrink"), max_examples=3000, derandomize=False)
settings.load_profile("suite")


def wait_for(condition: Callable[[], Any], what: str = "", deadline_s: float = PATIENCE_S) -> Any:
    """Return the first true value of the condition; fail with ``what`` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        began = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > end:
            pytest.fail(f"not within {deadline_s:g} s: {what or condition}")
        # Whoever asks by a command leaves half of the time to what is waited for.
        time.sleep(max(0.02, now - began))


@dataclass
class Telemetry:
    """A telemetry directory, written to as agents do: whole lines appended to files."""

    directory: Path
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def record(self, agent: str, event_type: str, at: float, **data: Any) -> dict[str, Any]:
        return {"type": event_type, "source": agent, "timestamp": round(at, 3), "data": data}

    def normal(
        self, agent: str, count: int = 40, end: float | None = None, every: float = 6.0
    ) -> list[dict[str, Any]]:
        end = time.time() if end is None else end
        kinds = (
            "model_call",
            "plan",
            "file_read",
            "model_call",
            "api_call",
            "model_call",
            "model_call",
            "model_call",
        )
        return [
            self.record(
                agent,
                kinds[n % 8] if n % 16 < 8 else "model_call",
                end - (count - n) * every,
                note="reads a report",
            )
            for n in range(count)
        ]

    def flood(
        self, agent: str = FLOODING, count: int = 300, end: float | None = None, every: float = 0.1
    ) -> list[dict[str, Any]]:
        end = time.time() if end is None else end
        return [
            self.record(
                agent,
                ("file_write", "network_request")[n % 2],
                end - (count - n) * every,
                blob=base64.b64encode(self.rng.randbytes(300)).decode(),
            )
            for n in range(count)
        ]

    def append(self, name: str, *records: Any) -> Path:
        """Append records, one line each; bytes are written as they are."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records)
        with path.open("ab") as file:
            file.write(lines)
        return path

    def fill(self) -> None:
        """Write what three honest agents and one flooding one did in the last minutes."""
        for agent in NORMAL:
            self.append(f"{agent}.jsonl", *self.normal(agent))
        self.append(f"{FLOODING}.jsonl", *self.flood(every=0.01))


@dataclass
class Daemon:
    """A daemon process; its logs are read from the file that its stderr goes to."""

    process: subprocess.Popen[bytes] | command_line.Started
    stderr: Path
    stdout: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def logs(self, event: str | None = None) -> list[dict[str, Any]]:
        lines = self.stderr.read_text().splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [item for item in records if event is None or item["event"] == event]

    def wait_log(self, event: str, count: int = 1) -> dict[str, Any]:
        found = wait_for(lambda: (logs := self.logs(event))[count - 1 :] and logs, f"log record {event}")
        return found[count - 1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Place:
    """One state directory and one telemetry directory, and the commands over them."""

    base: Path
    telemetry: Telemetry
    env: dict[str, str] = field(default_factory=dict)
    daemons: list[Daemon] = field(default_factory=list)
    #: Which detection decides; empty: the default, or what a configuration says.
    detection_mode: str = ""

    @property
    def state_dir(self) -> Path:
        return self.base / "state"

    @property
    def state_file(self) -> Path:
        return self.state_dir / "state.json"

    def environment(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SENTINELD_")}
        for name in ("NOTIFY_SOCKET", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "COLUMNS"):
            clean.pop(name, None)
        if self.detection_mode:
            clean["SENTINELD_DETECTION_MODE"] = self.detection_mode
        # However busy the machine is that tests run on.
        clean["SENTINELD_THROTTLE_ENABLED"] = "false"
        return {**clean, "HOME": str(self.base), "XDG_CONFIG_HOME": str(self.base / "none"), **self.env}

    def command(self, *args: object, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run one command with this state directory; never raises for its exit code."""
        arguments = [*map(str, args)]
        if not {"keygen", "init", "--help", "--state-dir"} & set(args):
            arguments += ["--state-dir", str(self.state_dir)]
        # Where lines end is tested for itself.
        env = {"COLUMNS": "1000", **self.environment()}
        if not (self.env or more or "--daemonize" in args):
            return command_line.run(arguments, env, self.base, PATIENCE_S)
        return subprocess.run(
            [sys.executable, "-m", "sentineld", *arguments],
            capture_output=True,
            text=True,
            env=env,
            cwd=self.base,
            timeout=PATIENCE_S,
            check=False,
            **more,
        )

    def json(self, *args: object, code: int | None = 0) -> Any:
        """Run one command with ``--json`` and return its document; with None the exit code is no matter."""
        done = self.command(*args, "--json")
        assert code in (None, done.returncode), done.stderr
        return json.loads(done.stdout)

    def once(self, *args: object, **more: Any) -> subprocess.CompletedProcess[str]:
        done = self.command("run", "--once", "--telemetry", self.telemetry.directory, *args, **more)
        assert done.returncode == 0, done.stderr
        return done

    def start(
        self, *args: object, wait: bool = True, telemetry: bool = True, fresh: bool = False, **more: Any
    ) -> Daemon:
        """Start the daemon; unless told otherwise, wait until it has published.

        ``fresh`` is for tests of the start itself: Python is started too, as it is with an environment or
        options of its own.
        """
        number = len(self.daemons)
        stderr, stdout = self.base / f"daemon{number}.err", self.base / f"daemon{number}.out"
        arguments = ["run", *map(str, args), "--state-dir", str(self.state_dir)]
        if telemetry:
            arguments += ["--telemetry", str(self.telemetry.directory)]
        process: subprocess.Popen[bytes] | command_line.Started
        with stderr.open("wb") as err, stdout.open("wb") as out:
            if fresh or more or self.env or "--daemonize" in args:
                argv = [sys.executable, "-m", "sentineld", *arguments]
                process = subprocess.Popen(
                    argv, env=self.environment(), cwd=self.base, stderr=err, stdout=out, **more
                )
            else:
                process = command_line.Started(
                    arguments, self.environment(), self.base, out.fileno(), err.fileno()
                )
        daemon = Daemon(process, stderr, stdout)
        self.daemons.append(daemon)
        if wait:
            wait_for(
                lambda: (
                    daemon.process.poll() is not None
                    or ((self.state() or {}).get("status") == "ok" and daemon.logs("started"))
                ),
                "first publish",
            )
            assert daemon.process.poll() is None, stderr.read_text()
        return daemon

    def state(self) -> dict[str, Any] | None:
        """Return the state file as it is, unverified; None where there is none."""
        try:
            return json.loads(self.state_file.read_bytes())
        except FileNotFoundError:
            return None

    def tier(self, agent: str) -> int:
        state = self.state() or {"agents": {}}
        return state["agents"].get(agent, {"tier": 1})["tier"]

    def decisions(self) -> list[dict[str, Any]]:
        return self.json("log", "--limit", 100_000)["decisions"]

    def config(self, text: str, name: str = "sentineld.toml") -> Path:
        path = self.base / name
        path.write_text(text)
        return path


class Hang(BaseException):
    """A test did not end. No ``Exception``: hypothesis would take it for a falsified example, and try on."""


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item) -> Iterator[None]:
    """Tell where all threads are when the time is up, and end the test with what it is."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        faulthandler.dump_traceback(2)
        raise Hang(f"{item.nodeid} does not end")

    done = yield
    signal.signal(signal.SIGALRM, end)
    return done


@pytest.fixture
def telemetry(tmp_path: Path) -> Telemetry:
    """Make a telemetry directory."""
    directory = tmp_path / "telemetry"
    directory.mkdir()
    return Telemetry(directory)


@pytest.fixture
def place(tmp_path: Path, telemetry: Telemetry) -> Iterator[Place]:
    """Make a state directory and a telemetry directory; kill daemons that a test leaves behind."""
    here = Place(tmp_path, telemetry)
    yield here
    for daemon in here.daemons:
        if daemon.process.poll() is None:
            daemon.kill()


@pytest.fixture
def by_activity(place: Place) -> None:
    """Let the activity score decide: for tests that are about it, or for which a flood is misbehaviour."""
    place.detection_mode = "activity"


def _without_override() -> None:
    """Take from root the power to ignore file modes; in the child, before the program starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if libc.prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
            raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture
def as_mortal() -> dict[str, Any]:
    """Arguments for starting a process to which file modes apply, also where tests run as root."""
    return {"preexec_fn": _without_override} if os.geteuid() == 0 else {}


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[..., Any]:
    """Wait for a condition, with a deadline."""
    return wait_for


class Line:
    """The line from files to the database, without a process around it: for tests of one edge at a time.

    ``now_us`` is the clock; it moves when a test moves it. ``counted`` holds the event types of all
    observations that were committed: tests give every line a type of its own. ``order`` holds them by batch.
    """

    def __init__(self, directory: Path, database: Path, **tail_options: Any) -> None:
        self.directory = directory
        self.database = database
        self.tail_options = tail_options
        self.now_us = 1_763_858_410_000_000
        self.counted: Counter[str] = Counter()
        self.order: list[list[str]] = []
        self.troubles: list[Any] = []
        self.incidents: list[Incident] = []
        self.rejects: list[Any] = []
        self.agents_per_owner = 10_000
        self.formats = Formats()
        self._pending: list[str] = []
        self.open()

    def open(self) -> None:
        self.store = Store.open(str(self.database), self.now_us)
        # No power fails here: a restart finds what the system has, and disks that sync slowly cost nothing.
        self.store._db.execute("PRAGMA synchronous=OFF")
        self.pipeline = Pipeline(
            self.store,
            # What is told of every run is told by the activity score.
            BY_ACTIVITY.prior(),
            agents_per_owner=self.agents_per_owner,
            observer=self,
        )
        self.tail = Tail(
            [str(self.directory)],
            self.store.next_source_id,
            self.troubles.append,
            lambda: self.now_us,
            **self.tail_options,
        )
        self.tail.restore(self.store.sources(with_gone=False), self.store.meta().last_scan)
        self.intake = Intake(self.tail, self.formats)

    def runs(self, _key: Any, run: list[Any], _names: Any) -> list[list[Any]]:
        """Note what the pipeline judges, in its order; see ``pipeline.Observer``."""
        self._pending += [item[3] for item in run]
        return [run]

    def judged(self, _key: Any, _peak: float) -> None:
        """Nothing to note of scores."""

    def close(self) -> None:
        self.tail.close()
        self.store.close()

    def restart(self) -> None:
        """Lose everything that is not in the database."""
        self.close()
        self.open()

    def commit(self, batch: Batch) -> None:
        """Commit a batch as the daemon does."""
        self._pending.clear()
        self.pipeline.read(batch, self.now_us, last_scan_us=self.tail.last_scan_us)
        self.incidents += batch.incidents
        for part in batch.parts:
            self.rejects += part.rejects
        for _, source in batch.sources.values():
            self.tail.accept(source)
        self.counted.update(self._pending)
        self.order.append(list(self._pending))

    def poll(self, *, after_s: float = 1.0, scan: bool = True) -> None:
        """Let time pass, look at everything, and read what is there."""
        self.now_us += round(after_s * 1_000_000)
        if scan:
            self.tail.scan()
            if batch := self.intake.torn():
                self.commit(batch)
        while batch := self.intake.live():
            self.commit(batch)

    def kinds(self) -> list[str]:
        """Return the kinds of trouble told so far, without repetition."""
        return list(dict.fromkeys(trouble.kind for trouble in self.troubles))

    def source(self, path: Path | str) -> Source:
        """Return the newest committed source that is or was at a path."""
        return [item for item in self.store.sources() if str(path) in (item.last_path, item.path)][-1]

    def check_accounts(self) -> None:
        """Lines = accepted + ignored + rejected + duplicates, of every source."""
        for item in self.store.sources():
            assert item.lines == item.accepted + item.ignored + item.rejected + item.duplicates, item


@pytest.fixture
def line(tmp_path: Path, telemetry: Telemetry) -> Iterator[Callable[..., Line]]:
    """Make lines over the telemetry directory."""
    made: list[Line] = []

    def make(**tail_options: Any) -> Line:
        made.append(Line(telemetry.directory, tmp_path / "line.db", **tail_options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def make_line() -> type[Line]:
    """Make lines anywhere; whoever makes one closes it."""
    return Line


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured: their properties named ``figure``."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = [text for report in reports for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.line(str(text))

"""What the benchmarks share: generated telemetry, a daemon, tables and JSON results."""

import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
#: Which detection decides; the first one is the default.
MODES = ("learned", "activity")
TYPES = ("file_read", "file_write", "api_call", "model_call", "network_request", "diagnostic_pulse")


def record(at: float, agent: str, rng: random.Random, event_type: str | None = None) -> str:
    """Return one native record of about 200 bytes."""
    return json.dumps(
        {
            "type": event_type or rng.choice(TYPES),
            "timestamp": int(at),
            "source": agent,
            "data": {
                "path": f"/srv/www/wp-content/uploads/{rng.random()}",
                "status": "CRITICAL",
                "message": "cURL error 7: Failed to connect to 127.0.0.1 port 8768",
            },
        },
        separators=(",", ":"),
    )


def write_events(
    path: Path, events: int, agents: int, span_s: int, seed: int = 3, *, start: float | None = None
) -> None:
    """Write events of many agents, evenly over ``span_s`` seconds from ``start`` (None: until now)."""
    rng = random.Random(seed)
    start = time.time() - span_s if start is None else start
    with path.open("w") as file:
        for number in range(events):
            agent = f"agent-{rng.randrange(agents):05d}"
            file.write(record(start + number * span_s / events, agent, rng) + "\n")


def by(mode: str) -> dict[str, str]:
    """Return the environment in which this detection decides: one of ``MODES``; nobody steps back in it."""
    return os.environ | {"SENTINELD_DETECTION_MODE": mode, "SENTINELD_THROTTLE_ENABLED": "false"}


@contextmanager
def daemon(telemetry: Path, state: Path, mode: str):
    """Run ``sentineld run`` until the block ends."""
    command = [
        sys.executable,
        "-m",
        "sentineld",
        "run",
        "--telemetry",
        str(telemetry),
        "--state-dir",
        str(state),
    ]
    with (state.parent / "daemon.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, env=by(mode))
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_for(condition, what: str, timeout_s: float = 120.0, every_s: float = 0.005):
    """Poll until the condition gives something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    raise SystemExit(f"gave up waiting for {what}")


def state_of(path: Path) -> dict:
    """Read the state file, empty where there is none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def memory_mib(pid: int) -> tuple[float, float]:
    """Return resident and peak resident memory of a process, MiB."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def cpu_s_of(pid: int) -> float:
    """Return the CPU time that a process has used, user and system, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fdatasync_ms(directory: Path, rounds: int = 50) -> float:
    """Return the median time of one fdatasync after a 4 KiB write, milliseconds."""
    path = directory / "fdatasync"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    times = []
    for _ in range(rounds):
        os.pwrite(fd, b"x" * 4096, 0)
        start = time.perf_counter()
        os.fdatasync(fd)
        times.append(time.perf_counter() - start)
    os.close(fd)
    path.unlink()
    return sorted(times)[rounds // 2] * 1e3


def report(name: str, rows: list[tuple[str, object, str]], data: dict) -> None:
    """Print a table and write ``results/NAME.json``."""
    width = max(len(row[0]) for row in rows)
    for label, value, unit in rows:
        shown = (
            f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        )
        print(f"{label:<{width}}  {shown:>14} {unit}")
    RESULTS.mkdir(exist_ok=True)
    data |= {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": sys.version,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1))

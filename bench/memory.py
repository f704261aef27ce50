"""Memory of the daemon: idle, and after catching up with many events; and the CPU it uses when idle.

python bench/memory.py [--events 300000] [--agents 500] [--idle 20] [--mode learned]
"""

import argparse
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from common import MODES, daemon, memory_mib, report, state_of, wait_for, write_events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--idle", type=int, default=20, help="seconds of idling that are measured")
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        telemetry, state = root / "telemetry", root / "state"
        telemetry.mkdir()
        with daemon(telemetry, state, options.mode) as process:
            wait_for(lambda: state_of(state / "state.json").get("status") == "ok", "the daemon")
            before = _cpu_s(process.pid)
            time.sleep(options.idle)
            idle_share = (_cpu_s(process.pid) - before) / options.idle
            idle, _ = memory_mib(process.pid)
            path = root / "events.jsonl"
            write_events(path, options.events, options.agents, 3600)
            start = time.monotonic()
            path.rename(telemetry / "events.jsonl")
            wait_for(lambda: _events(state) >= options.events, "the catch-up", 600)
            seconds = time.monotonic() - start
            after, peak = memory_mib(process.pid)
    data = {
        "mode": options.mode,
        "events": options.events,
        "agents": options.agents,
        "idle_mib": idle,
        "idle_cpu_share": idle_share,
        "after_mib": after,
        "peak_mib": peak,
        "live_events_per_s": options.events / seconds,
    }
    report(
        "memory",
        [
            ("idle, resident", idle, "MiB"),
            ("idle, share of a core", idle_share * 100, "%"),
            (f"after {options.events:,} events of {options.agents} agents, resident", after, "MiB"),
            ("peak", peak, "MiB"),
            ("live catch-up, everything durable", data["live_events_per_s"], "events/s"),
        ],
        data,
    )


def _events(state: Path) -> int:
    with sqlite3.connect(f"file:{state}/sentineld.db?mode=ro", uri=True) as database:
        return database.execute("SELECT events FROM meta").fetchone()[0]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

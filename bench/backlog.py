"""How fast the daemon catches up with a backlog, everything durable, against ``replay`` of the same file.

python bench/backlog.py [--events 200000] [--agents 500] [--runs 2] [--modes learned activity]
[--work "first start" restart]

Two backlogs: ``first start`` (history, merged by the events' own times) and ``restart`` (what was appended
while the daemon was down). Ratios are of CPU time; walls stand beside them, for the disk's part.
"""

import argparse
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from common import MODES, by, cpu_s_of, daemon, memory_mib, report, wait_for, write_events
from replay import cpu_s

#: Lines of the file that are there before the daemon of ``restart`` is stopped.
_HEAD_LINES = 1000
_PATIENCE_S = 7200.0


def run_s(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its CPU time and its wall time, seconds."""
    began = time.monotonic()
    cpu = cpu_s(command, env)
    return cpu, time.monotonic() - began


def caught_up(database: Path, size: int) -> bool:
    """Say whether so many bytes are committed."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1)) as connection:
            return connection.execute("SELECT coalesce(sum(pos), 0) FROM source").fetchone()[0] >= size
    except sqlite3.Error:
        return False


def catch_up(telemetry: Path, state: Path, mode: str) -> tuple[float, float, float]:
    """Start a daemon, wait until it has caught up; return its CPU and wall seconds, and its peak MiB."""
    size = sum(path.stat().st_size for path in telemetry.iterdir())
    began = time.monotonic()
    with daemon(telemetry, state, mode) as process:
        wait_for(lambda: caught_up(state / "sentineld.db", size), "all to be committed", _PATIENCE_S, 0.05)
        return cpu_s_of(process.pid), time.monotonic() - began, memory_mib(process.pid)[1]


def restart(source: Path, place: Path, mode: str) -> tuple[float, float, float]:
    """Let a daemon read the file's first lines, stop it, append the rest, and start it again."""
    telemetry, state = place / "telemetry", place / "state"
    telemetry.mkdir()
    with source.open("rb") as whole, (telemetry / "events.jsonl").open("wb") as file:
        for _ in range(_HEAD_LINES):
            file.write(whole.readline())
        file.flush()
        command = [sys.executable, "-m", "sentineld", "run", "--once", "--telemetry", str(telemetry)]
        subprocess.run(
            [*command, "--state-dir", str(state)], check=True, stderr=subprocess.DEVNULL, env=by(mode)
        )
        shutil.copyfileobj(whole, file, 1 << 20)
    return catch_up(telemetry, state, mode)


def first_start(source: Path, place: Path, mode: str) -> tuple[float, float, float]:
    """Let a daemon that knows nothing read the file."""
    telemetry, state = place / "telemetry", place / "state"
    telemetry.mkdir()
    shutil.copyfile(source, telemetry / "events.jsonl")
    return catch_up(telemetry, state, mode)


WORK = {"first start": first_start, "restart": restart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    options = parser.parse_args()
    found: dict[str, dict[str, list[tuple[float, ...]]]] = {
        mode: {name: [] for name in ("replay", *options.work)} for mode in options.modes
    }
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "events.jsonl"
        write_events(source, options.events, options.agents, 3600)
        size = source.stat().st_size
        for number in range(options.runs):
            for mode, times in found.items():
                command = [sys.executable, "-m", "sentineld", "replay", str(source), "--json"]
                times["replay"].append(run_s(command, by(mode)))
                for name in options.work:
                    place = Path(directory) / f"{number}-{mode}-{name.replace(' ', '-')}"
                    place.mkdir()
                    times[name].append(WORK[name](source, place, mode))
                    shutil.rmtree(place)
    rows: list[tuple[str, object, str]] = [("events", options.events, ""), ("bytes", size, "")]
    data: dict[str, object] = {"events": options.events, "agents": options.agents, "bytes": size}
    for mode, times in found.items():
        replay_cpu, replay_wall = (min(each[at] for each in times["replay"]) for at in (0, 1))
        rows.append((f"replay, {mode}", options.events / replay_cpu, "events per CPU second"))
        told = {"replay": {"runs": times["replay"], "events_per_cpu_s": options.events / replay_cpu}}
        for name in options.work:
            cpu, wall = (min(each[at] for each in times[name]) for at in (0, 1))
            peak = max(each[2] for each in times[name])
            told[name] = {
                "runs": times[name],
                "events_per_cpu_s": options.events / cpu,
                "of_replay_cpu": replay_cpu / cpu,
                "of_replay_wall": replay_wall / wall,
                "peak_mib": peak,
            }
            rows += [
                (f"{name}, {mode}", options.events / cpu, "events per CPU second"),
                ("  of replay's rate, by CPU time", replay_cpu / cpu, ""),
                ("  of replay's rate, by the wall", replay_wall / wall, ""),
                ("  peak memory", peak, "MiB"),
            ]
        data[mode] = told
    report("backlog", rows, data)


if __name__ == "__main__":
    main()

"""How cost grows with agents, events, files and history; and what an idle daemon costs.

python bench/scale.py [--events 300000] [--agents 500 10000 100000] [--modes activity learned] [--runs 2]
                      [--parts agents events files history idle publish] [--idle 60] [--plot docs/scale.svg]

CPU time, user and system, of whole processes, less that of one over a single event; of several runs the
least. Every part has the same number of events throughout, so that what differs is what the part is about.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import MODES, by, cpu_s_of, daemon, memory_mib, report, state_of, wait_for, write_events
from plot import Panel, draw

from sentineld.config import load_config
from sentineld.publisher import Publisher
from sentineld.roster import Roster
from sentineld.store import Store

PARTS = ("agents", "events", "files", "history", "idle", "publish")
#: Agents that may be known, and bytes of a database: more than any part here needs.
_RAISED = {"SENTINELD_LIMITS_AGENTS_PER_OWNER": "2000000", "SENTINELD_LIMITS_DATABASE_BYTES": str(16 << 30)}
_RAISED |= {"SENTINELD_LIMITS_FILES_PER_OWNER": "100000"}
_SPAN_S = 3600
_NOW_US = 1_763_858_410_000_000

Rows = list[tuple[str, object, str]]


def cost(arguments: list[str], mode: str) -> tuple[float, float]:
    """Run a command of sentineld; return its CPU time in seconds and its peak resident memory in MiB."""
    command = [sys.executable, "-m", "sentineld", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=by(mode) | _RAISED
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Bench:
    """The parts of the benchmark, each a method that yields rows; figures are in ``data``."""

    def __init__(self, options: argparse.Namespace, root: Path) -> None:
        self.options, self.root = options, root
        self.data: dict[str, dict[str, object]] = {}
        self.panels: list[Panel] = []
        self._number = 0
        self._starts: dict[tuple[str, str], float] = {}

    def place(self) -> tuple[Path, list[str]]:
        """Make a new place; return its telemetry directory and the arguments of ``run --once`` there."""
        self._number += 1
        place = self.root / str(self._number)
        (place / "telemetry").mkdir(parents=True)
        run = ["run", "--once", "--telemetry", str(place / "telemetry"), "--state-dir", str(place / "state")]
        return place / "telemetry", run

    def start_s(self, command: str, mode: str) -> float:
        """Return the CPU time of a command that finds one event."""
        if (command, mode) not in self._starts:
            times = []
            for _ in range(self.options.runs):
                telemetry, run = self.place()
                write_events(telemetry / "one.jsonl", 1, 1, 1)
                times.append(cost(run if command == "run" else ["replay", str(telemetry), "--json"], mode)[0])
            self._starts[command, mode] = min(times)
        return self._starts[command, mode]

    def _us(self, seconds: float, command: str, mode: str, events: int) -> float:
        return (seconds - self.start_s(command, mode)) / events * 1e6

    def agents(self) -> Iterator[tuple[str, object, str]]:
        """Measure the same events of more and more agents."""
        found: dict[str, dict[str, dict[int, float]]] = {}
        events = self.options.events
        for command in ("replay", "run"):
            for mode in self.options.modes:
                best: dict[int, tuple[float, float]] = {}
                for _ in range(self.options.runs):
                    for agents in self.options.agents:
                        telemetry, run = self.place()
                        write_events(telemetry / "events.jsonl", events, agents, _SPAN_S)
                        arguments = run if command == "run" else ["replay", str(telemetry), "--json"]
                        spent = cost(arguments, mode)
                        best[agents] = min(best.get(agents, spent), spent)
                rates = {n: self._us(seconds, command, mode, events) for n, (seconds, _) in best.items()}
                found[f"{command}, {mode}"] = {"us": rates, "mib": {n: mib for n, (_, mib) in best.items()}}
                for agents, us in rates.items():
                    ratio = rates[self.options.agents[0]] / us
                    yield f"{command}, {mode}, {agents:,} agents", us, "us an event"
                    yield f"  rate, of that of {self.options.agents[0]} agents", ratio, ""
                    yield "  peak resident", best[agents][1], "MiB"
        self.data["agents"] = found
        lines = {name: values["us"] for name, values in found.items()}
        self.panels.append(Panel("agents", "us an event", lines))
        self.panels.append(
            Panel("agents", "MiB, peak", {name: values["mib"] for name, values in found.items()})
        )

    def events(self) -> Iterator[tuple[str, object, str]]:
        """Measure more and more events of the same agents."""
        found: dict[str, dict[int, float]] = {}
        for mode in self.options.modes:
            for share in (8, 4, 2, 1):
                events = self.options.events // share
                telemetry, _ = self.place()
                write_events(telemetry / "events.jsonl", events, 500, _SPAN_S)
                seconds = min(
                    cost(["replay", str(telemetry), "--json"], mode)[0] for _ in range(self.options.runs)
                )
                us = found.setdefault(f"replay, {mode}", {})[events] = self._us(
                    seconds, "replay", mode, events
                )
                yield f"replay, {mode}, {events:,} events", us, "us an event"
        self.data["events"] = dict(found)
        self.panels.append(Panel("events", "us an event", found))

    def files(self) -> Iterator[tuple[str, object, str]]:
        """Measure the same events in more and more files, by a daemon that begins with them."""
        found: dict[str, dict[int, float]] = {}
        events = min(self.options.events, 100_000)
        for mode in self.options.modes:
            for files in (50, 1000, 10_000):
                times = []
                for _ in range(self.options.runs):
                    telemetry, run = self.place()
                    whole = telemetry.parent / "events"
                    write_events(whole, events, 500, _SPAN_S)
                    _spread(whole, telemetry, files)
                    times.append(cost(run, mode)[0])
                us = found.setdefault(f"run, {mode}", {})[files] = self._us(min(times), "run", mode, events)
                yield f"run, {mode}, {events:,} events in {files:,} files", us, "us an event"
        self.data["files"] = dict(found)
        self.panels.append(Panel("files", "us an event", found))

    def history(self) -> Iterator[tuple[str, object, str]]:
        """Measure the next events of the same agents, after more and more of them."""
        found: dict[str, dict[int, float]] = {}
        events = min(self.options.events, 100_000)
        for mode in self.options.modes:
            telemetry, run = self.place()
            start = time.time() - 6 * _SPAN_S
            for part in range(5):
                piece = telemetry.parent / "piece"
                write_events(piece, events, 500, _SPAN_S, seed=part, start=start + part * _SPAN_S)
                with (telemetry / "events.jsonl").open("ab") as file:
                    file.write(piece.read_bytes())
                us = self._us(cost(run, mode)[0], "run", mode, events)
                # The first part is history, which is read in the order of its own times.
                if part:
                    found.setdefault(f"run, {mode}", {})[part * events] = us
                    yield f"run, {mode}, {events:,} events after {part * events:,}", us, "us an event"
        self.data["history"] = dict(found)
        self.panels.append(Panel("events before", "us an event", found))

    def idle(self) -> Iterator[tuple[str, object, str]]:
        """Measure a daemon that has nothing to do."""
        found: dict[str, dict[str, float]] = {}
        for files in (50, 10_000):
            telemetry, _ = self.place()
            whole = telemetry.parent / "events"
            # Their sessions and windows are over.
            write_events(whole, max(files, 5000), 500, 60, start=time.time() - 2 * 86400)
            _spread(whole, telemetry, files)
            state = telemetry.parent / "state"
            os.environ |= _RAISED
            with daemon(telemetry, state, MODES[0]) as process:
                wait_for(lambda: state_of(state / "state.json").get("status") == "ok", "the daemon", 600)  # noqa: B023
                time.sleep(5)
                before = cpu_s_of(process.pid)
                time.sleep(self.options.idle)
                share = (cpu_s_of(process.pid) - before) / self.options.idle
                resident, _ = memory_mib(process.pid)
            found[f"{files} files"] = {"share": share, "mib": resident}
            yield f"idle, {files:,} files, 500 agents, share of a core", share * 100, "%"
            yield "  resident", resident, "MiB"
        self.data["idle"] = dict(found)

    def publish(self) -> Iterator[tuple[str, object, str]]:
        """Measure the state file of 100,000 agents, by how many are demoted; each time one changed."""
        found: dict[int, dict[str, float]] = {}
        for demoted in (100, 1000, 10_000, 100_000):
            change, repeat = _publish_ms(self.root, 100_000, demoted)
            found[demoted] = {"change_ms": change, "heartbeat_ms": repeat}
            yield f"publish, 100,000 agents, {demoted:,} demoted, one of them changed", change, "ms"
            yield "  heartbeat without a change", repeat, "ms"
        self.data["publish"] = {str(key): value for key, value in found.items()}


def _spread(whole: Path, directory: Path, files: int) -> None:
    """Write the lines of a file into many, in turn."""
    pieces: list[list[bytes]] = [[] for _ in range(files)]
    with whole.open("rb") as file:
        for number, line in enumerate(file):
            pieces[number % files].append(line)
    for number, lines in enumerate(pieces):
        (directory / f"{number:05d}.jsonl").write_bytes(b"".join(lines))


def _publish_ms(root: Path, agents: int, demoted: int) -> tuple[float, float]:
    """Return the least time of a publish after a change, and of one without, milliseconds."""
    prior = load_config(None, by("activity")).prior()
    publisher = Publisher(str(root / "state.json"), 30_000_000, "service")
    with Store.open(":memory:", _NOW_US, is_durable=False) as store:
        roster = Roster(store, prior, agents, agents_in_memory=agents)
        states = []
        for number in range(agents):
            state = roster.get(roster.key_of(1000, f"agent-{number:06d}"), _NOW_US)
            if number < demoted:
                state.standing.tier, state.decision_no, state.reason_code = 3, number + 1, "first_use"
            states.append(state)
        roster.settle(states)
        times: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(12):
            has_changed = turn % 2 == 0
            if has_changed:
                states[turn].decision_no += agents
                roster.committed(roster.settle(states[turn : turn + 1]), is_durable=True)
            began = time.perf_counter()
            publisher.publish(1, turn, "ok", roster)
            times[has_changed].append((time.perf_counter() - began) * 1e3)
    return min(times[True][1:]), min(times[False])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--agents", type=int, nargs="+", default=[500, 10_000, 100_000])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=[*MODES])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--idle", type=int, default=60, help="seconds of idling that are measured")
    parser.add_argument("--plot", type=Path, help="where the picture goes, as SVG")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(options, Path(directory))
        rows: Rows = []
        for part in options.parts:
            for row in getattr(bench, part)():
                print(json.dumps(row), file=sys.stderr, flush=True)
                rows.append(row)
    if options.plot is not None and bench.panels:
        options.plot.write_text(draw(bench.panels))
    report("scale", rows, {"events": options.events, **bench.data})


if __name__ == "__main__":
    main()

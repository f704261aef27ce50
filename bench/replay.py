"""Throughput of ``sentineld replay``, whole process, against what decoding alone costs.

python bench/replay.py [--events 1000000] [--agents 500] [--runs 3]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import MODES, by, report, write_events

_DECODE = """
import msgspec, sys
decoder = msgspec.json.Decoder()
with open(sys.argv[1], "rb") as file:
    rest = b""
    while data := file.read(65536):
        whole, _, rest = (rest + data).rpartition(b"\\n")
        decoder.decode_lines(whole)
"""


def cpu_s(command: list[str], env: dict[str, str] | None = None) -> float:
    """Run a command and return its CPU time, user and system, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        write_events(path, options.events, options.agents, 3600)
        decode: list[float] = []
        whole: dict[str, list[float]] = {mode: [] for mode in MODES}
        for _ in range(options.runs):
            decode.append(cpu_s([sys.executable, "-c", _DECODE, str(path)]))
            for mode in MODES:
                command = [sys.executable, "-m", "sentineld", "replay", str(path), "--json"]
                whole[mode].append(cpu_s(command, by(mode)))
        size = path.stat().st_size
    data = {
        "events": options.events,
        "agents": options.agents,
        "bytes": size,
        "decode_cpu_s": decode,
        "replay_cpu_s": whole,
        "events_per_cpu_s": {mode: options.events / min(times) for mode, times in whole.items()},
        "of_decode": {mode: min(decode) / min(times) for mode, times in whole.items()},
    }
    report(
        "replay",
        [
            ("events", options.events, ""),
            ("agents", options.agents, ""),
            ("decoding alone", options.events / min(decode), "events per CPU second"),
            *(
                (f"sentineld replay, {mode}", data["events_per_cpu_s"][mode], "events per CPU second")
                for mode in MODES
            ),
            *((f"ratio to decoding alone, {mode}", data["of_decode"][mode], "") for mode in MODES),
        ],
        data,
    )


if __name__ == "__main__":
    main()

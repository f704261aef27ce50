"""Throughput of ``sentineld replay``, whole process, against what decoding alone costs.

python bench/replay.py [--events 1000000] [--agents 500] [--runs 3]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import report, write_events

_DECODE = """
import msgspec, sys
decoder = msgspec.json.Decoder()
with open(sys.argv[1], "rb") as file:
    rest = b""
    while data := file.read(65536):
        whole, _, rest = (rest + data).rpartition(b"\\n")
        decoder.decode_lines(whole)
"""


def cpu_s(command: list[str]) -> float:
    """Run a command and return its CPU time, user and system, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
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
        decode, whole = [], []
        for _ in range(options.runs):
            decode.append(cpu_s([sys.executable, "-c", _DECODE, str(path)]))
            whole.append(cpu_s([sys.executable, "-m", "sentineld", "replay", str(path), "--json"]))
        size = path.stat().st_size
    ratios = sorted(a / b for a, b in zip(decode, whole, strict=True))
    best = min(whole)
    data = {
        "events": options.events,
        "agents": options.agents,
        "bytes": size,
        "replay_cpu_s": whole,
        "decode_cpu_s": decode,
        "events_per_cpu_s": options.events / best,
        "of_decode": ratios[len(ratios) // 2],
    }
    report(
        "replay",
        [
            ("events", options.events, ""),
            ("agents", options.agents, ""),
            ("decoding alone", options.events / min(decode), "events per CPU second"),
            ("sentineld replay, whole process", options.events / best, "events per CPU second"),
            ("ratio to decoding alone (median)", data["of_decode"], ""),
        ],
        data,
    )


if __name__ == "__main__":
    main()

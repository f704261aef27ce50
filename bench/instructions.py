"""Instructions of key paths, counted by valgrind: they tell of a slower program on a machine that is busy.

python bench/instructions.py [--record]

Compares with what stands in ``bench/instructions.json``: more than 3 % above it is a failure (exit 1), and
more than 3 % below it should be recorded. Counts hold for one version of Python and of the libraries on one
kind of processor; elsewhere nothing is compared, and the command says so. Takes half a minute.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import by, write_events

from sentineld import kernel

RECORDED = Path(__file__).parent / "instructions.json"
TOLERANCE = 0.03
EVENTS, AGENTS = 2000, 20
#: Fixed, for the counts depend on what lies in which bucket.
_START = 1_763_856_000


def replay(mode: str, directory: Path) -> Callable[[], object]:
    """Prepare a replay of native events in memory, without the start of the program."""
    from sentineld.config import Config
    from sentineld.options import DetectionOptions
    from sentineld.replay import replay as run

    path = directory / "events.jsonl"
    write_events(path, EVENTS, AGENTS, 600, start=_START)
    config = Config(detection=DetectionOptions(mode=mode))
    # What is read and made once belongs to the start.
    few = directory / "few.jsonl"
    write_events(few, 50, 2, 600, start=_START)
    run([str(few)], config)
    return lambda: run([str(path)], config)


def tier(directory: Path) -> Callable[[], object]:
    """Prepare the question that a hook asks again and again: which tier does this agent have."""
    from sentineld import TierRouter
    from sentineld.published_file import publish

    document = {
        "schema": 1, "writer": "bench", "epoch": 1, "seq": 1, "mode": "enforce", "status": "ok",
        "isolation": "user", "generated_at": "2025-11-23T00:00:00.000Z",
        "valid_until": "2099-01-01T00:00:00.000Z",
        "boot_id": "", "boottime_ms": 0, "valid_for_ms": 1 << 40, "unlisted_tier": 1,
        "agents": {f"agent-{n}": {"tier": 2} for n in range(100)}, "would": {},
    }  # fmt: skip
    path = directory / "state.json"
    publish(path, json.dumps(document, separators=(",", ":")).encode())
    router = TierRouter(state_file=str(path))
    if router.behavior_tier("agent-1") != 2:
        raise SystemExit(f"the state file is not accepted: {router.behavior('agent-1')}")
    return lambda: [router.behavior_tier("agent-1") for _ in range(1000)]


PATHS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "replay, activity": lambda directory: replay("activity", directory),
    "replay, learned": lambda directory: replay("learned", directory),
    "TierRouter.behavior_tier, 1000 times": tier,
}


def measured(name: str) -> None:
    """Run one path, with valgrind counting while it runs; this is the process that it looks at."""
    with tempfile.TemporaryDirectory() as directory:
        run = PATHS[name](Path(directory))
        _count("on")
        run()
        _count("off")
    # What ends the interpreter is not counted, and takes long under valgrind.
    os._exit(0)


def _count(state: str) -> None:
    subprocess.run(
        ["callgrind_control", "-i", state, str(os.getpid())], check=True, stdout=subprocess.DEVNULL
    )


def instructions(name: str) -> int:
    """Return how many instructions a path takes."""
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
    env = by("learned") | {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, sys.executable, __file__, "--path", name],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{name}: valgrind failed: {done.stderr[-2000:]}")
    return int(found[1])


def where() -> dict[str, str]:
    """Return what counts depend on besides this program."""
    libraries = {name: importlib.metadata.version(name) for name in ("msgspec", "numpy")}
    program = {"python": platform.python_version(), "kernel": kernel.name()}
    return program | {"machine": platform.machine()} | libraries


def compare(recorded: dict[str, int], counts: dict[str, int]) -> dict[str, float]:
    """Return by which share each path takes more than recorded; 0 for one that was never recorded."""
    return {name: count / recorded.get(name, count) - 1 for name, count in counts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write what is measured as the new standard")
    parser.add_argument("--path", choices=PATHS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.path:
        measured(options.path)
    if not (shutil.which("valgrind") and shutil.which("callgrind_control")):
        print("valgrind is not installed: nothing is compared")
        return 0
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if recorded.get("where") != where() and not options.record:
        print(f"recorded with {recorded.get('where')}, this is {where()}: nothing is compared")
        return 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip(PATHS, pool.map(instructions, PATHS), strict=True))
    changes = compare(recorded.get("instructions", {}), counts)
    for name, change in changes.items():
        word = "SLOWER" if change > TOLERANCE else "faster: record it" if change < -TOLERANCE else ""
        print(f"{name:<38}  {counts[name]:>13,} instructions  {change:+7.2%}  {word}")
    if options.record:
        RECORDED.write_text(json.dumps({"where": where(), "instructions": counts}, indent=1) + "\n")
        return 0
    return int(max(changes.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())

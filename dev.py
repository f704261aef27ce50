"""Set-up and checks with nothing but Python 3.11 and git: makes a local virtual environment in .venv.

python3 dev.py demo     install sentineld, run it on a synthetic sample with an attack in it, show the result
python3 dev.py test     install what the tests need and run them (further arguments go to pytest)
python3 dev.py lint     ruff and mypy
python3 dev.py bench    print the speed, latency and memory tables
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
SENTINELD = VENV / "bin" / "sentineld"


def install(*groups: str) -> None:
    """Install sentineld (editable) and dependency groups, unless the same set is installed already."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [item for group in groups for item in project["dependency-groups"][group]]
    state = hashlib.sha256(repr((project["project"], wanted, sys.version)).encode()).hexdigest()
    stamp = VENV / f".installed-{'-'.join(groups) or 'run'}"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == state:
        return
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    print("installing into .venv ...", flush=True)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--editable", str(ROOT), *wanted], check=True)
    stamp.write_text(state)


def demo() -> int:
    """Run the main job on the sample, in the directory sentineld-demo, which stays for a look around."""
    install()
    place = Path("sentineld-demo")
    shutil.rmtree(place, ignore_errors=True)
    telemetry, state = place / "telemetry", place / "state"
    sample = (PYTHON, ROOT / "examples" / "write_sample.py", telemetry)
    show(*sample)
    show(SENTINELD, "run", "--once", "--telemetry", telemetry, "--state-dir", state, quiet=True)
    show(*sample, "--today")
    show(SENTINELD, "run", "--once", "--telemetry", telemetry, "--state-dir", state, quiet=True)
    show(SENTINELD, "status", "--state-dir", state)
    show(SENTINELD, "why", "mailer", "--state-dir", state)
    show(PYTHON, ROOT / "examples" / "route_change.py", state / "state.json")
    print("\nThe commands are in .venv/bin; the demo's files are in sentineld-demo.")
    return 0


def show(*command: object, quiet: bool = False) -> None:
    """Print a command as one would type it, and run it."""
    words = [str(word) for word in command]
    typed = [
        "python" if word == str(PYTHON) else word.removeprefix(f"{ROOT}/").removeprefix(".venv/bin/")
        for word in words
    ]
    print(f"\n$ {' '.join(typed)}", flush=True)
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL if quiet else None)


def test(arguments: list[str]) -> int:
    """Run the tests, two at a time."""
    install("test")
    command = [PYTHON, "-m", "pytest", "-n", "2", "--dist", "worksteal", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def lint() -> int:
    """Check style and types."""
    install("test", "lint")
    commands = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
    return max(
        subprocess.run([PYTHON, "-m", *command], cwd=ROOT, check=False).returncode for command in commands
    )


def bench() -> int:
    """Run the benchmarks, one after the other."""
    install()
    for name in ("replay", "latency", "memory", "formats"):
        print(f"\nbench/{name}.py", flush=True)
        subprocess.run([PYTHON, ROOT / "bench" / f"{name}.py"], check=True)
    return 0


def main() -> int:
    """Carry out one command."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    name, *arguments = sys.argv[1:] or [""]
    if name == "test":
        return test(arguments)
    commands = {"demo": demo, "lint": lint, "bench": bench}
    if name not in commands:
        print(__doc__)
        return 2
    return commands[name]()


if __name__ == "__main__":
    sys.exit(main())

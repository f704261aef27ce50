"""Set-up and checks with nothing but Python 3.11 and git: makes a local virtual environment in .venv.

python3 dev.py demo     install sentineld and run its demo (further arguments go to it)
python3 dev.py test     install what the tests need and run them (further arguments go to pytest)
python3 dev.py lint     ruff and mypy
python3 dev.py wheels   build sdist, manylinux wheel with the compiled kernel and pure wheel, to dist/
python3 dev.py bench    print the speed, latency and memory tables
python3 dev.py sanitize run the tests of the kernel with the sanitizers of addresses and undefined behaviour
python3 dev.py docs     write the documentation as a site to docs/_build
python3 dev.py charts   fetch the chart library of reports anew from npm, at the version and hash named below
"""

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
SENTINELD = VENV / "bin" / "sentineld"

#: What a wheel with the compiled kernel runs on: glibc 2.17 and later.
PLATFORM = f"manylinux_2_17_{platform.machine()}"

#: The chart library of reports: the package, what its registry tells it by, what is taken of it, and the
#: SHA-256 of that.
CHARTS = "uplot@1.6.32"
CHARTS_SHA512 = "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="
CHARTS_FILES = {
    "uPlot.iife.min.js": (
        "dist/uPlot.iife.min.js",
        "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    ),
    "uPlot.min.css": (
        "dist/uPlot.min.css",
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    ),
    "uPlot.LICENSE": ("LICENSE", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
}


def install(*groups: str) -> None:
    """Install sentineld (editable) and dependency groups, unless the same set is installed already."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [item for group in groups for item in project["dependency-groups"][group]]
    # An editable installation compiles the kernel.
    sources = [(ROOT / name).read_text() for name in ("hatch_build.py", "sentineld/_kernel.c")]
    state = hashlib.sha256(repr((project["project"], wanted, sources, sys.version)).encode()).hexdigest()
    stamp = VENV / f".installed-{'-'.join(groups) or 'run'}"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == state:
        return
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    print("installing into .venv ...", flush=True)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--editable", str(ROOT), *wanted], check=True)
    stamp.write_text(state)


def demo(arguments: list[str]) -> int:
    """Install sentineld and let it show itself."""
    install()
    done = subprocess.run([SENTINELD, "demo", *arguments], check=False).returncode
    print("The commands are in .venv/bin.")
    return done


def test(arguments: list[str]) -> int:
    """Run the tests, three at a time: many wait."""
    install("test")
    command = [PYTHON, "-m", "pytest", "-n", "3", "--dist", "worksteal", *arguments]
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
    for name in ("replay", "backlog", "latency", "memory", "formats"):
        print(f"\nbench/{name}.py", flush=True)
        subprocess.run([PYTHON, ROOT / "bench" / f"{name}.py"], check=True)
    return 0


def wheels() -> int:
    """Build what is published; auditwheel checks that the compiled wheel needs an old C library alone."""
    install("wheels")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    build = [PYTHON, "-m", "build", "--outdir"]
    with tempfile.TemporaryDirectory() as directory:
        for kind in ("compiled", "pure"):
            subprocess.run([*build, directory, ROOT], env=os.environ | {"SENTINELD_BUILD": kind}, check=True)
        (plain,), (pure,) = Path(directory).glob("*-abi3-*.whl"), Path(directory).glob("*-none-any.whl")
        command = [PYTHON, "-m", "auditwheel", "repair", "--plat", PLATFORM, "--wheel-dir", dist, plain]
        path = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command, env=os.environ | {"PATH": path}, check=True)
        for file in (pure, *Path(directory).glob("*.tar.gz")):
            shutil.copy(file, dist)
    print(*sorted(path.name for path in dist.iterdir()), sep="\n")
    return 0


def sanitize() -> int:
    """Run the tests of the kernel over a build that stops at undefined behaviour and reads out of bounds."""
    install("test")
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "sentineld"
        shutil.copytree(ROOT / "sentineld", copy, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        shutil.copytree(ROOT / "tests", Path(directory) / "tests")
        shutil.copy(ROOT / "pyproject.toml", directory)
        include = subprocess.run(
            [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        flags = ["-std=c11", "-O1", "-g", "-ffp-contract=off", "-fPIC", "-shared", f"-I{include}"]
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        target = copy / "_kernel.abi3.so"
        subprocess.run(["cc", *flags, copy / "_kernel.c", "-o", target, "-lm"], check=True)
        asan = subprocess.run(
            ["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
        )
        env = os.environ | {
            "LD_PRELOAD": asan.stdout.strip(),
            # The interpreter never gives back what it has at its end.
            "ASAN_OPTIONS": "detect_leaks=0",
            "PYTHONMALLOC": "malloc",
            "PYTHONPATH": directory,
        }
        command = [PYTHON, "-m", "pytest", "-q", "-n", "0", "tests/test_kernel.py"]
        return subprocess.run(command, cwd=directory, env=env, check=False).returncode


def docs() -> int:
    """Build the documentation; a link that leads nowhere is an error."""
    install("docs")
    site = ROOT / "docs" / "_build"
    command = [PYTHON, "-m", "sphinx", "--quiet", "--fail-on-warning", "--jobs", "2", ROOT / "docs", site]
    failed = subprocess.run(command, check=False).returncode
    if not failed:
        print(f"open {site / 'index.html'}")
    return failed


def charts() -> int:
    """Replace the shipped files of the chart library by those of its package; needs npm."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["npm", "pack", "--silent", "--pack-destination", directory, CHARTS]
        name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        data = (Path(directory) / name).read_bytes()
        found = base64.b64encode(hashlib.sha512(data).digest()).decode()
        if found != CHARTS_SHA512:
            print(f"{CHARTS} is not the package that was looked at: its SHA-512 is {found}")
            return 1
        with tarfile.open(Path(directory) / name) as package:
            for target, (member, _) in CHARTS_FILES.items():
                file = package.extractfile(f"package/{member}")
                (ROOT / "sentineld" / "report" / "assets" / target).write_bytes(file.read())
    return 0


def main() -> int:
    """Carry out one command."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    name, *arguments = sys.argv[1:] or [""]
    if name in ("demo", "test"):
        return {"demo": demo, "test": test}[name](arguments)
    commands = {
        "lint": lint,
        "bench": bench,
        "wheels": wheels,
        "sanitize": sanitize,
        "docs": docs,
        "charts": charts,
    }
    if name not in commands:
        print(__doc__)
        return 2
    return commands[name]()


if __name__ == "__main__":
    sys.exit(main())

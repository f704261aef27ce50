"""Wheel and sdist, installed as users do it (pipx, uv) with every Python from 3.11 on; fetches from PyPI."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NEWEST = 14

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]


def pythons():
    """Return an interpreter of each version that is here."""
    versions = Path.home() / ".pyenv" / "versions"
    found = {}
    for minor in range(11, NEWEST + 1):
        places = [*versions.glob(f"3.{minor}.*/bin/python"), shutil.which(f"python3.{minor}")]
        working = [str(place) for place in places if place is not None and works(place)]
        if working:
            found[minor] = working[0]
    return found or {sys.version_info[1]: sys.executable}


def works(place):
    # What a version manager puts in the path may lead nowhere.
    return not subprocess.run([place, "-c", "import venv"], capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    place = tmp_path_factory.mktemp("tools")
    venv.create(place, with_pip=True)
    run(place / "bin" / "pip", "install", "--quiet", "build", "pipx", "uv")
    return place / "bin"


@pytest.fixture(scope="module")
def built(tools, tmp_path_factory):
    place = tmp_path_factory.mktemp("built")
    source = tmp_path_factory.mktemp("source") / "sentineld"
    run("git", "clone", "--quiet", REPOSITORY, source)
    run(tools / "python", "-m", "build", "--outdir", place, source)
    (wheel,), (sdist,) = place.glob("*.whl"), place.glob("*.tar.gz")
    return {"pipx": wheel, "uv": sdist}


def without_compiler(place):
    """Return an environment in whose path there is no compiler."""
    place.mkdir()
    (place / "uname").symlink_to(shutil.which("uname"))
    env = os.environ | {"PATH": str(place)}
    for name in ("CC", "PYTHONPATH"):
        env.pop(name, None)
    return env


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("minor", pythons(), ids=lambda minor: f"3.{minor}")
def test_the_wheel_has_the_kernel_for_every_python_and_needs_no_compiler(built, tmp_path, minor):
    env = without_compiler(tmp_path / "path")
    run(pythons()[minor], "-m", "venv", tmp_path / "venv", env=env)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", built["pipx"], env=env)

    found = run(python, "-c", "from sentineld import kernel; print(kernel.name())", env=env, cwd=tmp_path)

    assert "-cp311-abi3-" in built["pipx"].name
    assert found == "compiled\n"


def test_without_a_compiler_the_wheel_is_pure(tools, built, tmp_path):
    env = without_compiler(tmp_path / "path")
    command = [tools / "python", "-m", "pip", "wheel", "-v", "--no-cache-dir", "--no-deps", "-w", tmp_path]

    done = subprocess.run([*command, built["uv"]], env=env, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr

    assert done.returncode == 0, told
    assert told.count("built without its compiled kernel") == 1
    assert [path.name.partition("-py3")[2] for path in tmp_path.glob("*.whl")] == ["-none-any.whl"]


@pytest.mark.parametrize("tool", ["pipx", "uv"])
@pytest.mark.parametrize("minor", pythons(), ids=lambda minor: f"3.{minor}")
def test_it_installs_and_shows_what_it_does(tools, built, tmp_path, tool, minor):
    commands = {
        "pipx": (tools / "pipx", "install", "--python", pythons()[minor], built["pipx"]),
        "uv": (tools / "uv", "tool", "install", "--quiet", "--python", pythons()[minor], built["uv"]),
    }
    places = ("PIPX_HOME", "PIPX_BIN_DIR", "UV_TOOL_DIR", "UV_TOOL_BIN_DIR", "HOME")
    env = os.environ | {name: str(tmp_path / name) for name in places} | {"UV_PYTHON_DOWNLOADS": "never"}
    env.pop("PYTHONPATH", None)
    run(*commands[tool], env=env)
    (program,) = [path for name in places if (path := tmp_path / name / "sentineld").is_file()]

    assert re.match(r"sentineld \d", run(program, "--version", env=env))
    assert "sentineld" in run(program, "demo", "--fast", env=env)

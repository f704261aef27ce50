"""The state directory: one daemon holds it, and looking whether one does disturbs nobody."""

import fcntl
import os
import stat
import threading
import time

import pytest

from sentineld.config import Config
from sentineld.errors import AccessError, ConfigError, LockedError
from sentineld.statedir import Paths, check_apart, hold_lock, is_locked, prepare, resolve_paths


@pytest.fixture
def paths(tmp_path):
    here = Paths(str(tmp_path / "state"), str(tmp_path / "state" / "state.json"))
    prepare(here)
    return here


def test_the_second_holder_is_refused_and_told_of_the_first(paths):
    with hold_lock(paths) as fd:
        os.pwrite(fd, b"4711\n", 0)
        with pytest.raises(LockedError, match="process 4711"), hold_lock(paths):
            pass
    with hold_lock(paths):
        pass


def test_garbage_in_the_lock_file_is_neither_a_holder_nor_repeated(paths):
    with open(paths.lock, "wb") as file:
        file.write(b"\x1b[2J garbage")
    with hold_lock(paths), pytest.raises(LockedError) as refused, hold_lock(paths):
        pass
    assert "\x1b" not in str(refused.value)


def test_a_command_that_looks_for_an_instant_does_not_keep_a_daemon_from_starting(paths):
    looking = os.open(paths.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_EX)
    release = threading.Timer(0.1, os.close, [looking])
    release.start()
    began = time.monotonic()

    with hold_lock(paths):
        assert time.monotonic() - began >= 0.05, "it was held when we came"
    release.join()


def test_looking_tells_whether_a_daemon_runs(paths):
    assert not is_locked(paths)
    with hold_lock(paths):
        assert is_locked(paths)
    assert not is_locked(paths)


def test_a_lock_that_is_a_link_is_refused(paths, tmp_path):
    (tmp_path / "victim").write_text("precious")
    os.symlink(tmp_path / "victim", paths.lock)
    with pytest.raises(AccessError), hold_lock(paths):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_directories_with_secrets_are_closed_and_the_readers_one_is_not(tmp_path):
    paths = Paths(str(tmp_path / "state"), str(tmp_path / "run" / "state.json"))

    prepare(paths)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"state": 0o700, "run": 0o755, "requests": 0o700, "rejects": 0o700}


def test_the_state_file_is_in_the_state_directory_that_was_given():
    paths = resolve_paths(Config(state_dir="/x"), {"RUNTIME_DIRECTORY": "/run/y"}, 1000)
    assert paths == Paths("/x", "/x/state.json", "/x-gate")


@pytest.mark.parametrize(
    ("telemetry", "is_apart"),
    [
        ("/a", True),
        ("/v/state/telemetry", True),
        ("/v/state2", True),
        ("/v/state", False),
        ("/v", False),
        ("/", False),
        ("/v/state/requests", False),
        ("/v/state/rejects/deeper", False),
        ("/run/s", False),
    ],
)
def test_telemetry_and_the_daemons_own_places_lie_apart(telemetry, is_apart):
    paths = Paths("/v/state", "/run/s/state.json")
    if is_apart:
        check_apart(paths, [telemetry])
    else:
        with pytest.raises(ConfigError):
            check_apart(paths, [telemetry])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_root_does_not_run_in_another_users_state_directory(tmp_path):
    os.chown(tmp_path, 65534, 65534)

    with pytest.raises(AccessError, match="belongs to uid 65534"):
        prepare(Paths(str(tmp_path), str(tmp_path / "state.json")))


def test_asking_whether_a_daemon_runs_leaves_no_lock_behind(tmp_path):
    paths = Paths(str(tmp_path), str(tmp_path / "state.json"))

    assert not is_locked(paths)
    assert not os.path.exists(paths.lock)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_root_leaves_nothing_in_the_state_directory_of_another_user(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 1234, 1234)
    with pytest.raises(AccessError, match="belongs to uid 1234"):
        prepare(Paths(str(state), str(state / "state.json")))

    assert list(state.iterdir()) == []

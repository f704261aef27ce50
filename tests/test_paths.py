"""Default places: systemd's directories, root's, and a user's."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import sentineld
from sentineld.errors import ConfigError
from sentineld.paths import default_config_file, default_state_dir, default_state_file, may_exist

ROOT = str(Path(sentineld.__file__).parent.parent)
HOME = {"HOME": "/home/ada"}
XDG = {
    "HOME": "/home/ada",
    "XDG_STATE_HOME": "/xdg/state",
    "XDG_RUNTIME_DIR": "/xdg/run",
    "XDG_CONFIG_HOME": "/xdg/config",
}
SYSTEMD = {**XDG, "STATE_DIRECTORY": "/sd/state:/sd/more", "RUNTIME_DIRECTORY": "/sd/run:/sd/more"}


@pytest.mark.parametrize(
    ("env", "uid", "expected"),
    [
        ({}, 0, "/var/lib/sentineld"),
        (XDG, 0, "/var/lib/sentineld"),
        (HOME, 1000, "/home/ada/.local/state/sentineld"),
        (XDG, 1000, "/xdg/state/sentineld"),
        (SYSTEMD, 0, "/sd/state"),
        (SYSTEMD, 1000, "/sd/state"),
        ({**HOME, "STATE_DIRECTORY": "", "XDG_STATE_HOME": ""}, 1000, "/home/ada/.local/state/sentineld"),
        ({**HOME, "STATE_DIRECTORY": "a", "XDG_STATE_HOME": "b"}, 1000, "/home/ada/.local/state/sentineld"),
    ],
)
def test_the_state_directory_is_systemds_then_roots_then_the_users(env, uid, expected):
    assert default_state_dir(env, uid) == expected


@pytest.mark.parametrize(
    ("env", "uid", "expected"),
    [
        ({}, 0, "/run/sentineld/state.json"),
        (XDG, 0, "/run/sentineld/state.json"),
        (HOME, 1000, "/home/ada/.local/state/sentineld/state.json"),
        (XDG, 1000, "/xdg/run/sentineld/state.json"),
        ({**XDG, "XDG_RUNTIME_DIR": ""}, 1000, "/xdg/state/sentineld/state.json"),
        (SYSTEMD, 0, "/sd/run/state.json"),
        (SYSTEMD, 1000, "/sd/run/state.json"),
        ({"STATE_DIRECTORY": "/sd/state"}, 0, "/run/sentineld/state.json"),
    ],
)
def test_the_state_file_is_in_a_runtime_directory_where_there_is_one(env, uid, expected):
    assert default_state_file(None, env, uid) == expected


def test_the_state_file_is_in_the_state_directory_that_was_given():
    assert default_state_file("/srv/state", SYSTEMD, 0) == "/srv/state/state.json"
    assert default_state_file("state", {}, 1000) == "state/state.json"


def test_root_and_everybody_on_a_machine_with_a_configuration_use_that_one(tmp_path):
    system = tmp_path / "sentineld.toml"

    assert default_config_file(XDG, 0, system=str(system)) == str(system)
    assert default_config_file(XDG, 1000, system=str(system)) == "/xdg/config/sentineld/sentineld.toml"
    assert default_config_file(HOME, 1000, system=str(system)) == "/home/ada/.config/sentineld/sentineld.toml"
    system.touch()
    assert default_config_file(XDG, 1000, system=str(system)) == str(system)
    system.unlink()
    system.symlink_to("nowhere")
    assert default_config_file(XDG, 1000, system=str(system)) == str(system)


def test_the_machines_configuration_is_in_etc():
    assert default_config_file({}, 0) == "/etc/sentineld/sentineld.toml"


def test_a_user_without_home_in_the_environment_has_the_one_of_the_password_file():
    entry = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    expected = os.path.join(entry.pw_dir, ".local/state/sentineld")

    assert default_state_dir({}, entry.pw_uid) == expected
    assert default_state_dir({"HOME": "not/absolute"}, entry.pw_uid) == expected


def test_a_user_without_any_home_is_told_what_to_give():
    for find in (default_state_dir, default_config_file):
        with pytest.raises(ConfigError) as caught:
            find({}, 4_000_000)
        assert "--state-dir" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_configuration_in_a_closed_directory_is_not_passed_over(tmp_path):
    """Falling back to a user's own configuration would drop the machine's signing key."""
    system = tmp_path / "closed" / "sentineld.toml"
    system.parent.mkdir(0o700)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.name.startswith(("pytest-", "popen-", "test_")):
            directory.chmod(0o755)
    # Dropped inside, after all is loaded: somebody else may not be able to reach the interpreter's library.
    code = """
import os, sys
from sentineld.paths import default_config_file
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(default_config_file({}, 65534, system=sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, system], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    assert done.stdout == f"{system}\n"


def test_only_a_clear_no_means_that_nothing_is_there(tmp_path):
    (tmp_path / "file").touch()

    assert may_exist(str(tmp_path / "file"))
    assert not may_exist(str(tmp_path / "nothing"))
    assert not may_exist(str(tmp_path / "file" / "below"))
    assert may_exist(str(tmp_path / ("x" * 300)))

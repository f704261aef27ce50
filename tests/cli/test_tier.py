"""``sentineld tier``: the number that a router would use, and an exit status that scripts can rely on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sentineld
from sentineld import clock
from sentineld.instant import iso_ms
from sentineld.keys import HMAC_SHA256, SigningKey
from sentineld.published_file import publish
from sentineld.state_file import encode_state

ROOT = str(Path(sentineld.__file__).parent.parent)
SECRET = b"k" * 32
KEY = SigningKey("2026-11a", HMAC_SHA256, SECRET)
COMMAND = "import sys; from sentineld.cli.tier import main; sys.exit(main(sys.argv[1:]))"


class Home:
    """A directory with a state file, and the command run as if it were a user's home."""

    def __init__(self, path):
        self.path = path
        self.state_file = path / "state.json"
        self.env = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "HOME": str(path)}

    def publish(self, path=None, key=None, **changes):
        now_us = clock.now_us()
        document = {
            "schema": 1,
            "epoch": 7,
            "seq": 12,
            "mode": "enforce",
            "generated_at": iso_ms(now_us),
            "valid_until": iso_ms(now_us + 600_000_000),
            "boot_id": clock.boot_id(),
            "boottime_ms": clock.boottime_ms(),
            "valid_for_ms": 600_000,
            "unlisted_tier": 1,
            "agents": {
                "mailer": {"tier": 3},
                "scribe": {"tier": 2},
                "--help": {"tier": 3},
                "-x": {"tier": 2},
            },
            "would": {},
            **changes,
        }
        path = self.state_file if path is None else path
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, encode_state(document, key))
        return path

    def config(self, text, mode=0o644):
        path = self.path / "sentineld.toml"
        path.write_text(text)
        path.chmod(mode)
        return path

    def key_file(self, secret=SECRET, mode=0o600):
        path = self.path / "key"
        path.write_bytes(secret)
        path.chmod(mode)
        return path

    def run(self, *args, **options):
        options = {"env": self.env, "cwd": self.path, "capture_output": True, "text": True, **options}
        return subprocess.run([sys.executable, "-c", COMMAND, *map(str, args)], check=False, **options)

    def ask(self, *args, **env):
        """Return exit status and document of ``--json``."""
        done = self.run(
            "--json", *args, env={**self.env, **{name: str(value) for name, value in env.items()}}
        )
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.mark.parametrize(
    ("args", "number", "status"),
    [
        (["nobody"], "1\n", 0),
        (["scribe"], "2\n", 1),
        (["mailer"], "3\n", 1),
        (["scribe", "--max-tier", "2"], "2\n", 0),
        (["--max-tier=2", "mailer"], "3\n", 1),
        (["mailer", "--max-tier", "3"], "3\n", 0),
    ],
)
def test_the_number_is_printed_and_the_exit_status_compares_it(home, args, number, status):
    home.publish()
    done = home.run(*args, "--state-file", home.state_file)

    assert (done.stdout, done.stderr, done.returncode) == (number, "", status)


def test_the_document_has_the_documented_members(home):
    home.publish()

    assert home.ask("scribe", "--state-file", home.state_file, "--max-tier", "2") == (
        0,
        {
            "agent": "scribe",
            "tier": 2,
            "max_tier": 2,
            "allowed": True,
            "reason": "the state file lists the agent with tier 2",
            "state_file": str(home.state_file),
            "verified": False,
            "mode": "enforce",
            "seq": 12,
            "is_overridden": False,
            "warnings": [],
        },
    )


def test_a_missing_state_is_tier_three_with_a_sentence_and_a_next_step(home):
    done = home.run("nobody", "--state-file", home.state_file)

    assert (done.stdout, done.returncode) == ("3\n", 1)
    assert " ".join(done.stderr.split()) == (
        f"error: state file {home.state_file} is missing try: sentineld status"
    )


def test_a_missing_state_is_a_document_too(home):
    status, answer = home.ask("nobody", "--state-file", home.state_file)

    assert status == 1
    assert (answer["tier"], answer["allowed"], answer["verified"]) == (3, False, False)
    assert (answer["mode"], answer["seq"]) == (None, None)
    assert answer["reason"].endswith("is missing")


def test_the_exit_status_follows_from_the_tier_even_where_the_state_is_missing(home):
    assert home.run("nobody", "--state-file", home.state_file, "--max-tier", "3").returncode == 0


def test_a_stale_state_is_tier_three_and_still_named(home):
    home.publish(boot_id="another boot", valid_until="2026-01-01T00:00:00Z")
    status, answer = home.ask("nobody", "--state-file", home.state_file)

    assert (status, answer["tier"], answer["seq"]) == (1, 3, 12)
    assert "stale" in answer["reason"]


def test_a_fifo_in_the_place_of_the_state_does_not_hang_the_command(home):
    os.mkfifo(home.state_file)

    assert home.run("nobody", "--state-file", home.state_file, timeout=30).stdout == "3\n"


# Command line


@pytest.mark.parametrize(
    "args",
    [
        [],
        [""],
        ["a", "b"],
        ["a", "--max-tier", "0"],
        ["a", "--max-tier", "4"],
        ["a", "--max-tier", "two"],
        ["a", "--max-tier"],
        ["a", "--max", "2"],
        ["a", "--state-file", ""],
        ["a", "--state-dir="],
        ["a", "--config", ""],
        ["--unknown"],
        ["--max-tier=3"],
        ["a", "--\x1b[31m"],
    ],
)
def test_a_wrong_command_line_is_status_two_with_error_and_next_step(home, args):
    done = home.run(*args)
    error, hint = done.stderr.splitlines()

    assert (done.stdout, done.returncode) == ("", 2)
    assert error.startswith("error: ")
    assert hint.startswith("try: sentineld tier")
    assert error.isprintable()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option_and_the_exit_status(home, flag):
    done = home.run(flag)

    assert done.returncode == 0
    assert done.stderr == ""
    for word in ("AGENT", "--max-tier", "--state-file", "--state-dir", "--config", "--json", "Exit status"):
        assert word in done.stdout


def test_an_agent_that_calls_itself_help_is_not_let_through(home):
    home.publish()
    flags = ["--state-file", str(home.state_file)]

    assert home.run(*flags, "--help").returncode == 2
    assert home.run("--json", "--help").returncode == 2
    assert home.run(*flags, "--", "--help").stdout == "3\n"
    assert home.run(*flags, "--", "-x").stdout == "2\n"


def test_a_terminal_is_not_sent_what_an_argument_or_a_path_holds(home):
    done = home.run("a", "--state-file", home.path / "\x1b[2J\u202e\udcff")

    assert done.returncode == 1
    assert all(line.isprintable() for line in done.stderr.splitlines())
    assert "\\x1b[2J" in done.stderr


@pytest.mark.parametrize("target", ["/dev/full", None])
def test_a_full_or_closed_output_does_not_change_the_exit_status(home, target):
    home.publish()
    flags = ["--state-file", str(home.state_file)]
    for agent, status in (("nobody", 0), ("mailer", 1)):
        if target is None:
            done = home.run(agent, *flags, capture_output=False, preexec_fn=lambda: os.close(1))
        else:
            with open(target, "w") as full:
                done = home.run(agent, *flags, capture_output=False, stdout=full, stderr=full)
        assert done.returncode == status


def test_a_reader_that_went_away_does_not_change_the_exit_status(home):
    home.publish()
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        done = home.run("nobody", "--state-file", home.state_file, capture_output=False, stdout=pipe)

    assert done.returncode == 0


# Which state file


def places(home):
    """Publish one document per place, each with its own seq, and return the place of each."""
    config = home.config(
        f"state_dir = '{home.path}/by-config-dir'\n[state]\nfile = '{home.path}/by-config.json'\n"
    )
    places = {
        "flag": home.path / "by-flag.json",
        "variable": home.path / "by-variable.json",
        "config": home.path / "by-config.json",
        "flag dir": home.path / "by-flag-dir" / "state.json",
        "variable dir": home.path / "by-variable-dir" / "state.json",
        "config dir": home.path / "by-config-dir" / "state.json",
        "runtime": home.path / "sd" / "state.json",
        "default": home.path / ("run" if os.geteuid() else "never") / "sentineld" / "state.json",
    }
    return config, places


def test_flags_win_over_the_environment_and_that_over_the_configuration(home):
    config, place = places(home)

    def found(*args, **env):
        return Path(home.ask("nobody", *args, **env)[1]["state_file"])

    with_config = ["--config", config]
    file_flag = ["--state-file", place["flag"]]
    dir_flag = ["--state-dir", place["flag dir"].parent]
    file_env = {"SENTINELD_STATE_FILE": place["variable"]}
    dir_env = {"SENTINELD_STATE_DIR": place["variable dir"].parent}
    runtime = {"RUNTIME_DIRECTORY": place["runtime"].parent}

    assert found(*with_config, *file_flag, *dir_flag, **file_env, **dir_env) == place["flag"]
    assert found(*with_config, *dir_flag, **file_env, **dir_env) == place["variable"]
    assert found(*with_config, *dir_flag, **dir_env) == place["config"]
    config.write_text(f"state_dir = '{place['config dir'].parent}'\n[state]\nfile = ''\n")
    assert found(*with_config, *dir_flag, **dir_env, **runtime) == place["flag dir"]
    assert found(*with_config, **dir_env, **runtime) == place["variable dir"]
    assert found(*with_config, **runtime) == place["config dir"]
    assert found(**runtime) == place["runtime"]
    assert found(SENTINELD_STATE_FILE="", SENTINELD_STATE_DIR="", **runtime) == place["runtime"]


def test_a_relative_state_directory_is_seen_from_the_working_directory(home):
    home.publish(home.path / "state" / "state.json")

    assert home.ask("scribe", "--state-dir", "state")[1]["tier"] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_finds_configuration_key_and_state_in_the_usual_places(home):
    for directory in (home.path, *home.path.parents):
        if directory.name.startswith(("pytest-", "popen-", "test_")):
            directory.chmod(0o755)
    state = home.publish(home.path / "run" / "sentineld" / "state.json", key=KEY)
    key = home.key_file()
    config = home.path / ".config" / "sentineld" / "sentineld.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"[state]\nkey_file = '{key}'\nkey_id = '{KEY.key_id}'\n")
    os.chown(key, 65534, 65534)
    os.chown(state, -1, 65534)
    # Dropped inside, after a first call has loaded all: another user may not be able to reach the library.
    code = """
import hmac, os, sys, tomllib
from sentineld.cli.tier import main
main(["warm", "--state-file", sys.argv[1]])
os.chdir("/"); os.setgroups([]); os.setgid(65534); os.setuid(65534)
main(["--json", "scribe"])
"""
    env = {**home.env, "XDG_RUNTIME_DIR": str(home.path / "run")}
    done = subprocess.run([sys.executable, "-c", code, state], env=env, capture_output=True)
    answer = json.loads(done.stdout.splitlines()[-1])

    assert (answer["state_file"], answer["tier"], answer["verified"]) == (str(state), 2, True)


# Keys and configuration


def test_with_a_configured_key_a_signed_state_is_verified(home):
    home.publish(key=KEY)
    config = home.config(f"[state]\nkey_file = '{home.key_file()}'\nkey_id = '{KEY.key_id}'\n")
    status, answer = home.ask("nobody", "--config", config, "--state-file", home.state_file)

    assert (status, answer["tier"], answer["verified"]) == (0, 1, True)


def test_the_key_may_come_from_the_environment_and_is_called_default_where_it_has_no_id(home):
    home.publish(key=SigningKey("default", HMAC_SHA256, SECRET))
    key = home.key_file()

    assert home.ask("nobody", "--state-file", home.state_file, SENTINELD_STATE_KEY_FILE=key)[1]["verified"]


def test_an_empty_variable_does_not_switch_verification_off(home):
    home.publish()
    config = home.config(f"[state]\nkey_file = '{home.key_file()}'\n")
    flags = ["--config", config, "--state-file", home.state_file]

    assert home.ask("nobody", *flags, SENTINELD_STATE_KEY_FILE="")[1]["tier"] == 3


def test_a_key_in_systemds_credentials_is_found_by_the_service_and_by_nobody_else(home):
    home.publish(key=SigningKey("default", HMAC_SHA256, SECRET))
    home.key_file()
    config = home.config("[state]\nkey_file = '${CREDENTIALS_DIRECTORY}/key'\n")
    flags = ["nobody", "--config", config, "--state-file", home.state_file]

    assert home.ask(*flags, CREDENTIALS_DIRECTORY=home.path)[1]["verified"]
    status, answer = home.ask(*flags)
    assert (status, answer["tier"]) == (1, 3)
    assert "only a systemd service" in answer["reason"]


@pytest.mark.parametrize("kind", ["unsigned", "signed with another secret", "changed"])
def test_with_a_configured_key_a_forged_state_is_tier_three(home, kind):
    config = home.config(f"[state]\nkey_file = '{home.key_file()}'\nkey_id = '{KEY.key_id}'\n")
    key = {"unsigned": None, "changed": KEY}.get(kind, SigningKey(KEY.key_id, HMAC_SHA256, b"w" * 32))
    home.publish(key=key)
    if kind == "changed":
        home.state_file.write_bytes(home.state_file.read_bytes().replace(b'"tier":3', b'"tier":1'))
    status, answer = home.ask("mailer", "--config", config, "--state-file", home.state_file)

    assert (status, answer["tier"], answer["verified"], answer["seq"]) == (1, 3, False, None)
    assert "signature" in answer["reason"]


@pytest.mark.parametrize("kind", ["missing", "open to others", "too short", "named by a number"])
def test_a_key_that_cannot_be_used_is_tier_three_and_not_a_state_without_a_key(home, kind):
    home.publish()
    key = home.key_file(SECRET if kind != "too short" else b"k", 0o644 if kind == "open to others" else 0o600)
    if kind == "missing":
        key.unlink()
    config = home.config(f"[state]\nkey_file = {3 if kind == 'named by a number' else repr(str(key))}\n")
    done = home.run("nobody", "--config", config, "--state-file", home.state_file)

    assert (done.stdout, done.returncode) == ("3\n", 1)
    assert done.stderr.startswith("error: ")
    assert "\ntry: " in done.stderr


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("[state", 0o644),
        ("state = 3", 0o644),
        ("state_dir = []", 0o644),
        ("[state]\nfile = 3", 0o644),
        ("x = " + "[" * 100_000, 0o644),
        ("# " + "x" * 2_000_000, 0o644),
        ("", 0o666),
    ],
    ids=["torn", "no table", "list", "number", "deep", "large", "open to all"],
)
def test_a_configuration_that_cannot_be_used_is_tier_three(home, text, mode):
    """Nobody knows then whether the state has to be signed, and by whom."""
    home.publish(home.path / "state.json")
    status, answer = home.ask("nobody", "--config", home.config(text, mode), "--state-dir", home.path)

    assert (status, answer["tier"]) == (1, 3)
    assert str(home.path / "sentineld.toml") in answer["reason"]


def test_a_configuration_that_was_given_and_is_not_there_is_tier_three(home):
    home.publish()
    os.mkfifo(home.path / "fifo")
    for name in ("nothing.toml", "fifo", "."):
        flags = ["--config", home.path / name, "--state-file", home.state_file]
        assert home.ask("nobody", *flags)[1]["tier"] == 3


def test_keys_that_only_the_daemon_knows_are_no_concern_of_this_command(home):
    home.publish()
    config = home.config("mode = 'observe'\n[detection]\nmode = 'learned'\n[state]\nvalid_for = '30s'\n")

    assert home.ask("scribe", "--config", config, "--state-file", home.state_file)[1]["tier"] == 2


# Import


def test_the_command_loads_without_the_daemons_libraries(home):
    home.publish()
    code = f"""
import argparse, sys
argparse.ArgumentParser().format_help()
# What the parser itself needs differs from Python to Python.
before = set(sys.modules)
from sentineld.cli.tier import main
main(["nobody", "--state-file", {str(home.state_file)!r}, "--config", {str(home.config(""))!r}])
heavy = {{"click", "msgspec", "structlog", "numpy", "sqlite3", "logging", "dataclasses", "inspect"}}
print(sorted(heavy & (set(sys.modules) - before)), "tomllib" in sys.modules)
main(["nobody", "--help"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=home.env, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("1\n[] True\n")

"""What all commands share: help, errors with a next step, exit codes, text for 80 columns."""

import grp
import json
import os
import resource
import stat
import subprocess
import sys

import pytest
import schemas
from command_line import error_of
from terminal import Terminal

from sentineld.cli.app import COMMANDS, SECTIONS

#: Every command, with the groups by their members.
ALL = [name for name in COMMANDS if name not in ("mapping", "baseline", "agent")] + [
    *("mapping try", "mapping list"),
    *(f"baseline {name}" for name in ("list", "freeze", "unfreeze", "reset", "export", "import")),
    *(f"agent {name}" for name in ("rename", "retire", "erase")),
]


@pytest.mark.parametrize("name", ALL)
def test_help_has_a_sentence_an_example_and_the_common_options(place, name):
    done = place.command(*name.split(), "--help")

    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--json", "--state-dir", "--config"):
        assert option in done.stdout
    if name != "tier":
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert f"Example: sentineld {name} " in " ".join(done.stdout.split())


def test_the_list_of_commands_names_each_in_its_section_on_one_line(place):
    listed = place.command("--help").stdout.splitlines()

    assert max(map(len, listed)) <= 80
    for title, commands in SECTIONS.items():
        at = listed.index(f"{title}:") + 1
        assert [line.split(maxsplit=1) for line in listed[at : at + len(commands)]] == [
            [name, text] for name, text in commands.items()
        ]


@pytest.mark.parametrize("name", ["mapping", "baseline", "agent"])
def test_no_summary_in_a_group_is_cut_off(place, name):
    assert "..." not in place.command(name, "--help").stdout.partition("Commands:")[2]


def test_an_unknown_command_names_the_nearest(place):
    done = place.command("statsu")

    assert error_of(done, 2) == "error: there is no command 'statsu'"
    assert "try: sentineld status" in done.stderr


@pytest.mark.parametrize(
    "command", [["why"], ["log"], ["status"], ["pardon", "--reason", "x"], ["unpin", "--reason", "x"]]
)
def test_an_unknown_agent_names_the_nearest(place, command):
    place.telemetry.fill()
    place.once()

    done = place.command(*command, "scrapr")

    assert error_of(done, 2) == "error: agent 'scrapr' is unknown"
    assert "nearest: scraper" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "command", [["why", "a"], ["log"], ["pardon", "a", "--reason", "x"], ["replay", "--as-observed", "."]]
)
def test_without_a_database_the_next_step_is_to_run(place, command):
    done = place.command(*command)

    assert done.returncode != 0
    assert "sentineld run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run"], 78),
        (["run", "--telemetry", "telemetry", "--valid-for", "1h"], 2),
        (["run", "--telemetry", "telemetry", "--once", "--daemonize"], 2),
        (["run", "--telemetry", "telemetry", "--once", "--valid-for", "soon"], 2),
        (["run", "--telemetry", "telemetry", "--format", "nativ"], 78),
        (["run", "--telemetry", "telemetry", "--mode", "off"], 2),
        (["run", "--config", "missing.toml"], 78),
        (["status", "--nonsense"], 2),
        (["pin", "a", "4", "--reason", "x"], 2),
        (["log", "--limit", "0"], 2),
        (["replay"], 2),
        (["check", "--config", "missing.toml"], 78),
    ],
)
def test_errors_have_a_code_and_a_next_step(place, arguments, code):
    error_of(place.command(*arguments), code)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "--config", "missing.toml"], 78),
        (["why", "nobody"], 3),
        (["status", "--nonsense"], 2),
        (["no-such-command"], 2),
        (["tier"], 2),
        (["tier", "a", "--max-tier", "9"], 2),
        (["gate", "--client", "generic"], 2),
    ],
)
def test_an_error_is_a_document_where_one_was_asked_for(place, arguments, code):
    done = place.command(*arguments, "--json")

    error_of(done, code)
    document = json.loads(done.stdout)
    schemas.check("error", document)
    assert document["exit_code"] == code
    assert " ".join(done.stderr.split()).startswith(f"error: {document['errors'][0]['error']}")
    # It may be the name of somebody.
    assert place.command(*arguments, "--", "--json").stdout == ""


def test_errors_fit_the_terminal_and_what_is_to_be_copied_stays_whole(place):
    place.env["COLUMNS"] = "60"
    missing = place.base / "a directory with a long name that does not exist anywhere"

    done = place.command("run", "--once", "--telemetry", missing)

    error_of(done, 2)
    lines = done.stderr.splitlines()
    assert f"try: mkdir -p '{missing}'," in lines
    assert lines[0].startswith("error: telemetry directory")
    assert [line for line in lines if len(line) > 60 and str(place.base) not in line] == []
    assert len(lines) > 3


def test_the_native_format_has_one_name_and_answers_to_native(place):
    place.telemetry.fill()
    place.once("--format", "native")
    document = place.json("status")

    assert {item["format"] for item in document["files"].values()} == {"wordpress"}
    tried = place.json("mapping", "try", next(iter(document["files"])), "--format", "native")
    assert tried["file"]["format"] == "wordpress"


def test_a_configuration_that_may_not_be_read_is_no_permission(place, as_mortal):
    config = place.config("")
    config.chmod(0)

    error_of(place.command("status", "--config", config, **as_mortal), 77)


def test_an_unknown_option_names_the_nearest(place):
    done = place.command("status", "--config", place.config("[detection]\nsuspicous_threshold = 1\n"))

    error_of(done, 78)
    assert "suspicious_threshold" in done.stderr.splitlines()[-1]


def test_logs_go_to_stderr_and_documents_to_stdout(place):
    place.telemetry.fill()

    done = place.once("--json")

    json.loads(done.stdout)
    assert all(json.loads(line)["event"] for line in done.stderr.splitlines())


@pytest.mark.usefixtures("by_activity")
def test_text_fits_80_columns(place):
    place.telemetry.fill()
    place.telemetry.append(
        "x.jsonl", *place.telemetry.flood("a-very-long-name/of-an-agent@some.host.example.org", every=0.01)
    )
    place.once()
    place.once("--mode", "observe")
    texts = [place.command("status"), place.command("log"), place.command("status", "scraper")]
    for done in texts:
        assert done.returncode == 0
        assert done.stdout.count("\n") > 2
        assert wide(done.stdout, "some.host", str(place.base)) == []
    assert wide(place.command("why", "scraper").stdout, str(place.base)) == []


def test_log_fills_a_terminal_and_gives_a_pipe_whole_lines(place):
    place.telemetry.fill()
    place.once()
    reason = "what it did was asked for, by all of us, and is no reason for anything at all"
    place.json("pin", "biller", 2, "--reason", reason)
    place.once()
    command = [sys.executable, "-m", "sentineld", "log", "--state-dir", str(place.state_dir)]

    with Terminal(command, place.environment()) as terminal:
        terminal.wait_text("anything at all")
        assert reason in " ".join(terminal.text.split())
        assert max(map(len, terminal.lines)) <= 80
        assert terminal.wait_end() == 0
    assert any(line.endswith(reason) for line in place.command("log").stdout.splitlines())


def test_run_says_on_a_terminal_what_it_waits_for(place):
    where = ["--telemetry", "none", "--state-dir", str(place.state_dir)]
    with Terminal([sys.executable, "-m", "sentineld", "run", *where], place.environment()) as terminal:
        terminal.wait_text("watching nothing yet, in enforce mode", "warning: ", "waiting for it", "started")
        terminal.press("\x03")
        assert terminal.wait_end() == 0


def wide(text, *whole):
    """Return the lines that are too wide, but for those with something that must not be cut."""
    return [line for line in text.splitlines() if len(line) > 80 and not any(word in line for word in whole)]


@pytest.mark.usefixtures("by_activity")
def test_the_command_that_why_gives_shows_the_last_record(place):
    place.telemetry.fill()
    place.once()

    text = place.command("why", "scraper").stdout
    recipe = next(line.partition(": ")[2] for line in text.splitlines() if "tail -c" in line)

    record = json.loads(subprocess.run(recipe, shell=True, capture_output=True, check=True).stdout)
    assert record["source"] == "scraper"


def test_a_terminal_is_not_moved_by_what_an_operator_wrote(place):
    place.telemetry.fill()
    place.once()
    place.json("pardon", "scraper", "--reason", "fine\x1b[2J\nerror: forged")
    place.once()

    for done in (place.command("log"), place.command("why", "scraper")):
        assert "\x1b" not in done.stdout
        assert "\nerror: forged" not in done.stdout


def test_keygen_makes_a_pair_that_only_its_owner_can_sign_with(place):
    made = place.json("keygen", "k")
    private, public = place.base / "k", place.base / "k.pub"

    assert made == {"written": str(private), "public": str(public), "algorithm": "ed25519"}
    assert (stat.S_IMODE(private.stat().st_mode), stat.S_IMODE(public.stat().st_mode)) == (0o600, 0o644)
    assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----\n")


def test_keygen_makes_one_secret_for_hmac(place):
    assert place.command("keygen", "k", "--algorithm", "hmac-sha256").returncode == 0

    assert stat.S_IMODE((place.base / "k").stat().st_mode) == 0o600
    assert len(bytes.fromhex((place.base / "k").read_text().strip())) == 32
    assert not (place.base / "k.pub").exists()


def test_keygen_can_let_a_group_read_the_private_key(place):
    group = grp.getgrgid(os.getegid()).gr_name
    assert place.command("keygen", "k", "--group", group).returncode == 0

    assert stat.S_IMODE((place.base / "k").stat().st_mode) == 0o640
    error_of(place.command("keygen", "k2", "--group", "no-such-group"), 2)
    assert not (place.base / "k2").exists()


@pytest.mark.parametrize("there", ["k", "k.pub"])
def test_keygen_never_replaces_a_file(place, there):
    (place.base / there).write_text("precious")

    error_of(place.command("keygen", "k"), 2)
    assert (place.base / there).read_text() == "precious"
    assert len(list(place.base.glob("k*"))) == 1


def test_init_writes_a_configuration_that_runs_and_observes(place):
    done = place.command("init", "--config", "new.toml", "--telemetry", place.telemetry.directory)
    assert done.returncode == 0
    place.telemetry.fill()

    checked = place.command("check", "--config", "new.toml")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert place.command("run", "--once", "--config", "new.toml").returncode == 0
    assert place.state()["mode"] == "observe"
    error_of(place.command("init", "--config", "new.toml"), 2)


def test_init_says_what_it_writes_and_how_to_undo_it(place):
    config = place.base / "new dir" / "new.toml"
    config.parent.mkdir()
    config.write_text("# precious")
    config.chmod(0o640)

    done = place.command("init", "--config", config, "--telemetry", "none", "--force")

    assert f"writing a configuration: {config}" in done.stdout
    assert f"Not there yet, and waited for: {place.base}/none" in " ".join(done.stdout.split())
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    undo = next(line.removeprefix("undo: ") for line in done.stdout.splitlines() if line.startswith("undo: "))
    subprocess.run(undo, shell=True, check=True)
    assert config.read_text() == "# precious"
    other = place.command("init", "--config", "other.toml").stdout
    assert f"undo: rm {place.base}/other.toml" in other


def test_init_leaves_what_is_there_where_it_cannot_write_all_of_another(place):
    config = place.config("# precious")

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = place.command("init", "--config", config, "--force", preexec_fn=limited)

    error_of(done, 77)
    assert config.read_text() == "# precious"
    assert list(config.parent.glob(f"{config.name}?*")) == []


def test_check_tells_the_line_of_what_is_only_wrong_on_this_machine(place):
    config = place.config(
        "[telemetry]\nformat = 'codx'\n[[telemetry.sources]]\npath = '**'\nowner = 'roto'\n"
    )

    problems = place.json("check", "--config", config, code=78)["problems"]

    assert [(item["line"], item["hint"]) for item in problems if item["severity"] == "error"] == [
        (2, "did you mean codex?"),
        (5, "did you mean root?"),
    ]


def test_check_tells_all_mistakes_at_once(place):
    config = place.config('mode = "on"\n[limits]\nfiles = 5\nfile = 6\n[state]\nvalid_for = "1ms"\n')

    document = place.json("check", "--config", config, code=78)
    text = place.command("check", "--config", config)

    schemas.check("check", document)
    found = [(item["key"], item["file"], item["line"]) for item in document["problems"]]
    assert found == [
        ("mode", str(config), 1),
        ("limits.file", str(config), 4),
        ("state.valid_for", str(config), 6),
    ]
    assert text.returncode == 78
    assert [line.split(": ")[0] for line in text.stderr.splitlines()] == ["error", "try"] * 3
    assert f"error: {config}:4: unknown option limits.file\ntry: did you mean limits.files?\n" in text.stderr


@pytest.mark.parametrize(("command", "choice"), [("share", "alerts"), ("completion", "bash")])
def test_a_choice_that_is_missing_is_asked_for_in_one_sentence(place, command, choice):
    message = error_of(place.command(command), 2)

    assert choice in message
    assert "\\" not in message


def test_check_finds_what_would_not_work(place):
    inside = place.config(
        f'state_dir = "{place.base}/state"\n[telemetry]\ndirectories = ["{place.base}"]\n', "inside.toml"
    )
    no_key = place.config(
        f'[telemetry]\ndirectories = ["{place.telemetry.directory}"]\n[state]\nkey_file = "/none"\n',
        "key.toml",
    )
    missing = place.config('[telemetry]\ndirectories = ["/none"]\n', "missing.toml")

    assert [p["severity"] for p in place.json("check", "--config", inside, code=78)["problems"]] == ["error"]
    assert [p["severity"] for p in place.json("check", "--config", no_key, code=78)["problems"]] == ["error"]
    assert [p["severity"] for p in place.json("check", "--config", missing, code=1)["problems"]] == [
        "warning"
    ]


def test_status_goes_by_the_state_file_where_the_database_is_not_ours_to_find(place):
    place.once()
    config = place.config(f'[state]\nfile = "{place.state_file}"\n')
    done = place.command("status", "--config", config, "--state-dir", place.base / "elsewhere")

    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("ok, mode enforce")
    assert "there is no database" in done.stdout
    place.state_file.unlink()
    again = place.command("status", "--config", config, "--state-dir", place.base / "elsewhere")
    assert again.returncode == 3
    assert again.stdout.startswith("NOT FRESH")


def test_commands_that_only_read_exit_3_where_no_daemon_has_run(tmp_path):
    for command in (["why", "a"], ["log"], ["pardon", "a", "--reason", "r"]):
        done = subprocess.run(
            [sys.executable, "-m", "sentineld", *command, "--state-dir", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("error: there is no database")


def test_a_stop_while_the_daemon_is_still_importing_ends_with_0():
    program = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "sentineld.cli.app":
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
from sentineld.cli import main
sys.exit(main(["run"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert done.returncode == 0


def test_a_command_is_left_without_a_traceback_while_it_is_still_importing():
    program = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "sentineld.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from sentineld.cli import main
sys.exit(main(["demo"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.usefixtures("by_activity")
def test_why_names_what_holds_a_tier_that_behaviour_does_not_call_for(place):
    place.telemetry.fill()
    place.once()
    place.json("break-glass", "--tier", 1, "--agent", "scraper", "--reason", "month end")
    shown = place.command("why", "scraper").stdout

    assert "It would be at tier 3 (anomalous): an operator's override is in force." in shown
    assert "observes" not in shown
    assert place.json("why", "scraper")["held_by"] == "override"
    assert place.json("why", "biller")["held_by"] == ""
    place.json("break-glass", "--end", "--reason", "over")
    (place.state_dir / "sentineld.db").unlink()
    place.once()
    assert "memory was lost; all are restricted for now." in place.command("why", "biller").stdout
    place.once("--mode", "observe")
    assert "the daemon observes and restricts nobody." in place.command("why", "scraper").stdout
    assert "nobody is restricted, for it observes" in " ".join(place.command("status").stdout.split())


def test_status_says_until_when_a_stopped_daemon_is_believed_and_what_counts_after_that(place, wait_for):
    place.telemetry.fill()
    assert place.start().stop() == 0
    until = place.state()["valid_until"]
    shown = place.command("status").stdout
    assert f"routers use tier 3 for every agent from {until[:19]}" in " ".join(shown.split())

    place.json("break-glass", "--tier", 1, "--agent", "scraper", "--reason", "a reason " * 15)
    assert place.start("--config", place.config('[state]\nvalid_for = "1s"\n')).stop() == 0
    wait_for(lambda: place.command("status").returncode == 3, "expiry")
    shown = place.command("status").stdout
    words = " ".join(shown.split())
    assert "routers use tier 3 for every agent, but for the override, until a daemon publishes again" in words
    assert "What the database says, for when it is published again:" in words
    assert all(len(line) <= 80 for line in shown.splitlines() if str(place.state_dir) not in line)


def test_a_damaged_database_is_told_in_words(place):
    place.telemetry.fill()
    place.once()
    database = place.state_dir / "sentineld.db"
    database.write_bytes(database.read_bytes()[:100] + b"x" * 50_000)

    for command in ("status", "log"):
        error_of(place.command(command), 78)


def test_once_goes_on_where_one_of_several_directories_is_missing(place):
    place.telemetry.fill()
    missing = str(place.base / "none")
    arguments = ["run", "--once", "--telemetry", str(place.telemetry.directory), "--telemetry", missing]

    assert place.command(*arguments).returncode == 0
    error_of(place.command("run", "--once", "--telemetry", missing), 2)

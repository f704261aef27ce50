"""The demonstration, by the real command: what it promises is seen, and nothing of it stays behind."""

import os
import re
import shlex
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path

import command_line
import pytest
from pages import steps
from schemas import check

from sentineld.cli.demo import Teller, demo_promises
from sentineld.decision import Decision, Evidence
from sentineld.demo.agents import AGENTS
from sentineld.demo.stage import Change, Stage
from sentineld.demo.story import story
from sentineld.errors import SentineldError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stage(place):
    """Let the demo make its directory where a test finds it."""
    place.env["TMPDIR"] = str(place.base)
    return place


def left_behind(place):
    return list(place.base.glob("sentineld-demo-*"))


def pid_of_daemon(place):
    locks = [path.read_text() for path in place.base.glob("sentineld-demo-*/state/lock")]
    return int(locks[0]) if locks and locks[0].strip() else 0


def test_the_demo_shows_what_it_promises_and_keeps_what_is_wanted(stage):
    document = stage.json("demo", "--fast", "--keep")
    check("demo", document)

    assert document["ok"] is True
    assert {name: entry["tier"] for name, entry in document["agents"].items()} == {
        **dict.fromkeys(AGENTS, 1),
        "researcher": 2,
        "mailer": 3,
    }
    assert [(item["agent"], item["to_tier"]) for item in document["decisions"]] == [
        ("researcher", 2),
        ("mailer", 2),
        ("mailer", 3),
    ]
    assert all(0 < item["delay_ms"] < 10_000 for item in document["decisions"])
    # Ten times as much as ever: volume is no guilt.
    assert document["agents"]["biller"]["calls"] > 9 * document["agents"]["biller"]["usual_calls"]
    assert [str(path) for path in left_behind(stage)] == [document["directory"]]
    look_around(stage, document["state_dir"])


def look_around(place, state_dir):
    why = place.json("why", "mailer", "--state-dir", state_dir)
    first = why["demotion"]["evidence"][0]
    with open(first["path"], "rb") as file:
        file.seek(first["offset"])
        assert b"drop.example.net" in file.readline()
    assert why["demotion"]["reasons"][0]["feature"] == "credential_sent"
    (step,) = [step for step in steps(ROOT / "README.md") if step.command.startswith("sentineld why mailer")]
    directory = re.search(r"/tmp/sentineld-demo-\w+", step.command)[0]
    printed = place.command("why", "mailer", "--state-dir", state_dir).stdout
    assert step.fits(printed.replace(state_dir.removesuffix("/state"), directory))
    look_at_the_page_of_top_and_report(place, state_dir)
    router = subprocess.run(
        [sys.executable, ROOT / "examples" / "route_change.py", f"{state_dir}/state.json"],
        capture_output=True,
        text=True,
        check=True,
        env=place.environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert router.stdout.splitlines() == [
        "coder: code tier 1, final tier 1: merge",
        "mailer: code tier 1, final tier 3: wait for a human",
    ]


def look_at_the_page_of_top_and_report(place, state_dir):
    top, report = steps(ROOT / "docs" / "top-and-report.md")
    env = place.environment() | {"COLUMNS": "80"}
    printed = []
    for step in (top, report):
        arguments = [*shlex.split(step.command)[1:], "--state-dir", state_dir]
        done = command_line.run(arguments, env, place.base, 60)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    seen, shown = (
        [line.split() for line in text.splitlines() if line.strip()] for text in (printed[0], top.output)
    )
    # The counts, the columns and the agents with their tiers; scores and times are of another day.
    assert seen[1:3] == shown[1:3]
    assert sorted(row[:2] for row in seen[3:]) == sorted(row[:2] for row in shown[3:])
    assert seen[3][-4:] == shown[3][-4:]
    assert report.fits(printed[1])


def test_the_demo_is_plain_text_for_80_columns_and_tidies_up(stage):
    done = stage.command("demo", "--fast")

    assert (done.returncode, done.stderr) == (0, "")
    assert left_behind(stage) == []
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    for text in ("-> tier 3, anomalous, ", " ms after the call", "-> still tier 1", "next: sentineld run"):
        assert text in done.stdout


@pytest.mark.parametrize("columns", [40, 60])
def test_the_story_is_told_in_as_many_columns_as_there_are(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    teller = Teller()
    seen = Evidence("a.jsonl", 0, "", "credentials were read, and now something goes where nothing ever went")
    decision = Decision(1, "d-000001", "mailer", 1, 3, 0.9, "2026-11-23T00:00:00Z", "rule", "", [], [seen])
    for beat in story():
        teller.beat(beat)
    teller.change(Change("mailer", 28.0, 12.0, decision))
    teller.spared(1)
    agents = {agent: {"calls": 8, "usual_calls": 8.0, "tier": 1, "change": "merged"} for agent in AGENTS}
    told = [{"delay_ms": 12.0}]
    teller.end({"agents": agents, "promises": [], "decisions": told, "directory": None, "state_dir": None})

    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if len(line) > columns and "sentineld" not in line] == []
    assert "-> tier 3, anomalous, 12 ms after the call that showed it" in " ".join(printed.split())
    assert "mailer           8 1 normal\n" in printed
    assert "sentineld run --mode observe\n" in printed


@pytest.mark.parametrize(
    ("number", "code", "begun"),
    [
        (signal.SIGINT, 130, pid_of_daemon),
        (signal.SIGTERM, 143, left_behind),
        (signal.SIGQUIT, 131, left_behind),
    ],
)
def test_whoever_ends_the_demo_leaves_nothing_behind(stage, wait_for, number, code, begun):
    # Whoever runs the tests in the background has had SIGINT ignored.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "sentineld", "demo"],
        env=stage.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: begun(stage), "the demo's directory, or its daemon")
        pid = pid_of_daemon(stage)
        process.send_signal(number)

        assert process.wait(30) == code
    finally:
        process.kill()
        process.wait()
    assert left_behind(stage) == []
    assert not pid or not Path(f"/proc/{pid}").exists()


def test_the_demo_fails_where_it_does_not_see_what_it_promises():
    seen = {**dict.fromkeys(AGENTS, 1), "researcher": 2, "mailer": 3}
    calls, usual = dict.fromkeys(AGENTS, 200), dict.fromkeys(AGENTS, 16.0)

    assert all(kept for _, kept in demo_promises(seen, calls, usual))
    for agent, tier in (("researcher", 1), ("mailer", 2), ("biller", 2), ("coder", 2)):
        assert [kept for _, kept in demo_promises(seen | {agent: tier}, calls, usual)].count(False) == 1
    assert not all(kept for _, kept in demo_promises(seen, calls | {"biller": 20}, usual))


def test_a_daemon_that_does_not_start_is_told_by_its_own_words():
    with Stage() as stage:
        Path(stage.state_dir).write_text("no directory")
        with pytest.raises(SentineldError, match=r"did not get ready: error: .*/state"):
            stage.learn()

    assert not Path(stage.directory).exists()


def test_the_picture_of_the_readme_shows_the_story_that_is_played():
    assert "](docs/demo.svg)" in (ROOT / "README.md").read_text()
    shown = unescape((ROOT / "docs" / "demo.svg").read_text()).replace("\xa0", " ")

    assert [beat.says for beat in story() if beat.says not in shown] == []
    for text in ("tier 2, suspicious, ", "tier 3, anomalous, ", "still tier 1", "waits for a human"):
        assert text in shown


def test_colour_is_for_terminals_that_want_it(stage):
    program = """
import os
from sentineld.cli.demo import Teller

for name, value in (("TERM", "xterm"), ("NO_COLOR", "1"), ("TERM", "dumb")):
    os.environ.pop("NO_COLOR", None)
    os.environ[name] = value
    Teller().say("text", fg="red")
"""
    read, write = os.openpty()
    subprocess.run([sys.executable, "-c", program], env=stage.environment(), stdout=write, check=True)
    shown = os.read(read, 4096).splitlines()
    os.close(read)
    os.close(write)

    assert [b"\x1b[" in line for line in shown] == [True, False, False]

"""Baselines and agents by the real commands: with and without a daemon, over kills, and replayed."""

import json
import sqlite3

import pytest
from schemas import check

from sentineld.requests import Request, submit

CONFIG = '[detection]\nmode = "learned"\n'
DAY = 86_400
AGENT = "coder"
START = 1_763_000_000


def sessions(telemetry, count=12, agent=AGENT, begin=0):
    for number in range(begin, begin + count):
        records = []
        for step in range(4):
            args = {"file_path": f"/home/ann/shop/src/{'abcd'[(number + step) % 4]}.py"}
            data = {"session": f"{agent}-{number}", "tool": "Read", "args": args}
            at = START + number * DAY + step
            records.append({"type": "tool_call", "source": agent, "timestamp": at, "data": data})
        telemetry.append(f"{agent}.jsonl", *records)


@pytest.fixture
def learned(place):
    """Let a daemon learn from twelve sessions of one agent and one of another."""
    sessions(place.telemetry)
    sessions(place.telemetry, 1, "mailer", 11)
    config = place.config(CONFIG)
    place.once("--config", config)
    place.config_path = config
    return place


def ask(place, *arguments):
    return place.json(*arguments, "--reason", "a test", "--config", place.config_path)


def role_of(place):
    document = place.json("baseline", "list", "--config", place.config_path)
    check("baseline-list", document)
    (role,) = document["roles"]
    return role, document


def test_every_command_works_live_goes_on_record_and_is_replayed(learned, tmp_path):
    place = learned
    place.start("--config", place.config_path)
    role, _ = role_of(place)
    assert (role["sessions"], role["frozen"], role["kept_sessions"]) == (13, False, 13)
    assert role["agents"] == [AGENT, "mailer"]
    assert role["learning"]
    exported = tmp_path / "b.json"
    written = place.json("baseline", "export", "-o", exported, "--config", place.config_path)
    check("baseline-export", written)
    check("baseline", json.loads(exported.read_text()))
    assert "/home/ann" not in exported.read_text()
    assert exported.stat().st_mode & 0o777 == 0o600
    check("baseline", place.json("baseline", "export", "--agent", AGENT, "--config", place.config_path))

    answers = [
        ask(place, "baseline", "freeze"),
        ask(place, "baseline", "freeze", "--agent", "mailer"),
    ]
    role, listed = role_of(place)
    assert (role["frozen"], listed["frozen_agents"]) == (True, ["mailer"])
    answers += [
        ask(place, "baseline", "unfreeze", "--role", role["role"]),
        ask(place, "baseline", "reset", "--since", "2025-11-20T00:00:00Z"),
    ]
    assert 0 < role_of(place)[0]["sessions"] < 13
    answers.append(ask(place, "baseline", "reset"))
    assert role_of(place)[0]["sessions"] == 0
    answers.append(ask(place, "baseline", "import", exported))
    assert role_of(place)[0]["sessions"] == 13
    answers += [
        ask(place, "agent", "rename", AGENT, "coder-2"),
        ask(place, "agent", "retire", "mailer"),
    ]
    status = place.json("status", "--config", place.config_path)
    assert list(status["agents"]) == ["coder-2"]
    everybody = place.json("status", "--all", "--config", place.config_path)
    check("status", everybody)
    assert list(everybody["agents"]) == ["coder-2", "mailer"]
    assert list(place.json("status", "--all", "--config", place.config_path)["agents"]) == [
        "coder-2",
        "mailer",
    ]
    check("why", place.json("why", "mailer", "--config", place.config_path))
    answers.append(ask(place, "agent", "erase", "mailer", "--yes"))
    for answer in answers:
        check("wish", answer)
        assert answer["status"] == "applied"
        assert answer["decision"]["note"] == "a test"

    decisions = place.decisions()
    causes = ["frozen", "unfrozen", "reset", "reset", "imported", "renamed", "erased"]
    # What had been decided on the erased agent went with it.
    assert [d["cause"] for d in decisions] == causes
    logged = [json.loads(line) for line in (place.state_dir / "decisions.jsonl").read_text().splitlines()]
    assert logged[-1] == decisions[-1]
    for item in logged:
        check("decision", item)
    told = place.command("log", "--config", place.config_path).stdout
    assert "erased" in told
    replayed = place.json("replay", "--as-observed", place.telemetry.directory, "--config", place.config_path)
    assert replayed["decisions"] == decisions
    assert list(replayed["agents"]) == ["coder-2"]


def test_wishes_wait_for_the_next_start_and_a_killed_daemon_repeats_none(learned, wait_for):
    place = learned
    answer = ask(place, "baseline", "freeze")
    assert answer["status"] == "pending"
    request = place.state_dir / "requests"
    data = {path.name: path.read_bytes() for path in request.iterdir()}
    daemon = place.start("--config", place.config_path)
    wait_for(lambda: role_of(place)[0]["frozen"], "frozen")
    ask(place, "baseline", "unfreeze")
    daemon.kill()
    for name, content in data.items():
        # As if it had been killed between its commit and removing the file.
        (request / name).write_bytes(content)
    place.start("--config", place.config_path)

    assert not role_of(place)[0]["frozen"]
    assert [d["cause"] for d in place.decisions()] == ["frozen", "unfrozen"]


def test_what_makes_no_sense_is_refused_with_a_next_step(learned, tmp_path):
    place = learned
    (tmp_path / "foreign.json").write_text("{}")
    exported = place.command("baseline", "export", "--config", place.config_path).stdout
    (tmp_path / "damaged.json").write_text(exported.replace('"sessions": 13', '"sessions": 14'))
    (tmp_path / "whole.json").write_text(exported)
    for arguments, words in [
        (["baseline", "freeze", "--role", "none"], "there is no role none"),
        (["baseline", "freeze", "--agent", "codr"], "nearest: coder"),
        (["baseline", "freeze", "--agent", "a", "--role", "b"], "exclude each other"),
        (["baseline", "reset", "--since", "2099-01-01T00:00:00Z"], "has not come yet"),
        (["baseline", "import", "foreign.json"], "no baseline"),
        (["baseline", "import", "damaged.json"], "digest"),
        (["baseline", "import", "whole.json"], "--replace"),
        (["agent", "rename", AGENT, "no good"], "cannot be an agent's id"),
        (["agent", "erase", AGENT], "--yes"),
    ]:
        done = place.command(*arguments, "--reason", "x", "--config", place.config_path)
        assert done.returncode == 2, arguments
        assert words in done.stderr
    assert place.command("baseline", "import", "none.json", "--reason", "x").returncode == 77

    submit(str(place.state_dir / "requests"), Request("rename", "coder", "x", to="<other>"))
    done = place.once("--config", place.config_path)
    assert "the new id cannot be an agent's" in done.stderr
    assert place.decisions() == []


@pytest.mark.usefixtures("by_activity")
def test_without_learned_detection_it_is_said_that_nothing_is_learned(place):
    place.telemetry.fill()
    place.once()

    done = place.command("baseline", "freeze", "--agent", "biller", "--reason", "x")
    assert (done.returncode, "detection.mode" in done.stderr) == (2, True)
    check("baseline-list", place.json("baseline", "list"))
    assert ask_plain(place, "agent", "retire", "biller")["status"] == "pending"
    place.once()
    assert "biller" not in place.json("status")["agents"]


def ask_plain(place, *arguments):
    return place.json(*arguments, "--reason", "a test")


def test_a_damaged_role_stops_nobody_and_is_told(learned):
    place = learned
    with sqlite3.connect(place.state_dir / "sentineld.db") as db:
        db.execute("UPDATE role SET habits = x'00'")
    db.close()
    listed = place.json("baseline", "list", "--config", place.config_path)
    check("baseline-list", listed)
    assert listed["damaged"]
    place.json("status", "--config", place.config_path)
    done = place.once("--config", place.config_path)

    assert "habits_damaged" in done.stderr
    assert role_of(place)[0]["sessions"] == 13
    (decision,) = place.decisions()
    assert (decision["cause"], decision["actor"]) == ("mended", "")
    assert place.json("status", "--config", place.config_path)["totals"]["troubles"]["damaged_habits"] == 1
    replayed = place.json("replay", "--as-observed", place.telemetry.directory, "--config", place.config_path)
    assert replayed["decisions"] == [decision]


def test_refused_lines_of_an_erased_agent_go_and_those_of_others_stay(learned):
    place = learned
    place.telemetry.append("coder.jsonl", b'{"secret of coder\n')
    place.telemetry.append("mailer.jsonl", b'{"secret of mailer\n')
    place.once("--config", place.config_path)
    rejects = place.state_dir / "rejects" / "rejects.jsonl"
    assert "secret of coder" in rejects.read_text()
    ask(place, "agent", "erase", AGENT, "--yes")
    before = place.json("status", "--config", place.config_path)["files"]
    place.once("--config", place.config_path)

    assert "secret of coder" not in rejects.read_text()
    assert "secret of mailer" in rejects.read_text()
    status = place.json("status", "--config", place.config_path)
    assert list(status["agents"]) == ["mailer"], "nothing is read again"
    assert status["files"] == before

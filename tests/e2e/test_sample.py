"""The sample of the README, by the real command at its defaults: a past is learned, then comes an attack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AGENTS = {"biller", "coder", "mailer", "planner", "researcher"}


def write_sample(place, *arguments):
    script = ROOT / "examples" / "write_sample.py"
    subprocess.run([sys.executable, script, place.telemetry.directory, *arguments], check=True)


@pytest.fixture
def judged(place):
    """Let the daemon learn from four weeks, and judge a day."""
    write_sample(place)
    place.once()
    assert place.decisions() == []
    write_sample(place, "--today")
    place.once()
    return place


def test_the_hijacked_agent_is_demoted_and_the_busy_one_is_not(judged):
    status = judged.json("status")["agents"]

    assert {name: entry["tier"] for name, entry in status.items()} == {
        **dict.fromkeys(AGENTS, 1),
        "mailer": 3,
    }
    # Ten times as much as ever: volume is no guilt.
    assert status["biller"]["file_ops"] > 10 * status["coder"]["file_ops"]
    assert {name for name, entry in judged.state()["agents"].items() if entry["tier"] > 1} == {"mailer"}
    router = subprocess.run(
        [sys.executable, ROOT / "examples" / "route_change.py", judged.state_file],
        capture_output=True,
        text=True,
        check=True,
        env=judged.environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert router.stdout.splitlines() == [
        "coder: code tier 1, final tier 1: merge",
        "mailer: code tier 1, final tier 3: wait for a human",
    ]


def test_why_names_the_rule_and_the_records_and_so_does_the_readme(judged):
    why = judged.json("why", "mailer")
    first = why["demotion"]["evidence"][0]
    path, offset = first["path"], first["offset"]

    assert why["demotion"]["cause"] == "rule"
    assert why["lifted_by"] == ["sentineld pardon mailer --reason WHY"]
    assert why["demotion"]["reasons"][0]["feature"] == "credential_sent"
    with open(path, "rb") as file:
        file.seek(offset)
        assert b"drop.example.net" in file.readline()
    assert judged.state()["agents"]["mailer"]["reason_code"] == "credential_sent"
    readme = (ROOT / "README.md").read_text()
    for line in judged.command("status").stdout.splitlines():
        # Times and scores of a run may differ.
        if line.split(" ")[0] in AGENTS:
            name, tier, label = line.split()[:3]
            assert f"\n{name:<10}  {tier} {label}" in readme
    assert judged.command("why", "mailer").stdout.splitlines()[0] in readme
    assert "(rule credential_sent)" in readme

"""``run --once`` with the real process: telemetry of the last minutes becomes tiers."""

import json
import os
import time

import pytest
from command_line import error_of

from sentineld import TierRouter
from sentineld.errors import StateFileError
from sentineld.keys import load_key
from sentineld.state_file import parse_state

NORMAL, FLOODING = ("biller", "mailer", "researcher"), "scraper"


@pytest.mark.usefixtures("by_activity")
def test_only_the_flooding_agent_is_restricted_and_every_reader_agrees(place):
    place.telemetry.fill()

    place.once()

    state = place.state()
    assert {name: entry["tier"] for name, entry in state["agents"].items()} == {FLOODING: 3}
    router = TierRouter(state_file=place.state_file)
    for agent, tier in {FLOODING: 3, **dict.fromkeys(NORMAL, 1), "never-seen": 1}.items():
        asked = place.command("tier", agent)
        assert asked.stdout == f"{tier}\n"
        assert asked.returncode == (0 if tier == 1 else 1)
        assert router.behavior_tier(agent) == tier


@pytest.mark.usefixtures("by_activity")
def test_why_names_numbers_and_real_lines(place):
    place.telemetry.fill()
    place.once()

    why = place.json("why", FLOODING)

    assert (why["tier"], why["decision"]["to_tier"], why["decision"]["cause"]) == (3, 3, "detected")
    reasons = {reason["feature"]: reason for reason in why["decision"]["reasons"]}
    assert reasons.keys() == {"file_operations", "network_operations", "mean_entropy"}
    assert all(reason["observed"] > reason["expected"] for reason in reasons.values())
    evidence = why["decision"]["evidence"]
    assert len(evidence) == 8
    for item in evidence:
        with open(item["path"], "rb") as file:
            file.seek(item["offset"])
            record = json.loads(file.readline())
        assert record["source"] == FLOODING
        assert record["type"] in item["summary"]


@pytest.mark.usefixtures("by_activity")
def test_observe_mode_gives_tier_1_and_says_what_would_have_been(place):
    place.telemetry.fill()

    place.once("--mode", "observe")

    state = place.state()
    assert (state["mode"], state["agents"], state["unlisted_tier"]) == ("observe", {}, 1)
    assert {name: entry["tier"] for name, entry in state["would"].items()} == {FLOODING: 3}
    assert place.command("tier", FLOODING).stdout == "1\n"
    entry = place.json("status")["agents"][FLOODING]
    assert (entry["tier"], entry["would"]) == (1, 3)
    assert "would be at tier 3" in place.command("why", FLOODING).stdout


@pytest.mark.usefixtures("by_activity")
def test_a_second_run_reads_nothing_twice(place):
    place.telemetry.fill()
    first = json.loads(place.once("--json").stdout)

    second = json.loads(place.once("--json").stdout)

    assert second["totals"] == first["totals"]
    assert second["files"] == first["files"]
    assert second["state"]["seq"] > first["state"]["seq"]
    assert {name: a["events"] for name, a in second["agents"].items()} == {
        FLOODING: 300,
        **dict.fromkeys(NORMAL, 40),
    }


def test_every_line_is_accounted_for(place):
    t = place.telemetry
    good = t.normal("biller", 5)
    with_id = {**t.record("biller", "plan", 1_700_000_000), "event_id": "e-1"}
    t.append("a.jsonl", *good, b"\n", b"   \n", b"{broken\n", b'{"type": 3, "source": "biller"}\n', b"[1]\n")
    t.append("a.jsonl", with_id, with_id, {**with_id, "data": {"other": 1}}, b'{"type": "plan", "sou')
    t.append("sub/deep/b.jsonl", *t.normal("mailer", 3))
    (t.directory / "one.json").write_text(json.dumps(t.normal("researcher", 1)[0]))
    (t.directory / "many.json").write_text(json.dumps([*t.normal("researcher", 4), 7]))
    (t.directory / "bad.json").write_text('[{"type": plan}]')
    (t.directory / "half.json").write_text('[{"type": "plan"')
    (t.directory / "notes.txt").write_text("not telemetry\n")
    os.mkfifo(t.directory / "pipe.jsonl")
    os.symlink("/etc/passwd", t.directory / "link.jsonl")

    status = json.loads(place.once("--json").stdout)

    files = {os.path.relpath(path, t.directory): entry for path, entry in status["files"].items()}
    assert {
        name: (f["lines"], f["accepted"], f["ignored"], f["rejects"], f["duplicates"])
        for name, f in files.items()
    } == {
        "a.jsonl": (13, 7, 2, 3, 1),
        "sub/deep/b.jsonl": (3, 3, 0, 0, 0),
        "one.json": (1, 1, 0, 0, 0),
        "many.json": (5, 4, 0, 1, 0),
        "bad.json": (1, 0, 0, 1, 0),
    }
    assert files["a.jsonl"]["id_conflicts"] == 1
    totals = status["totals"]
    assert totals["events"] == totals["accepted"] == sum(f["accepted"] for f in files.values()) == 15
    assert (totals["ignored"], totals["rejects"], totals["duplicates"]) == (2, 5, 1)
    assert sum(totals["by_type"].values()) == 15
    assert totals["troubles"] == {"incomplete_document": 1, "not_a_file": 2}
    assert files["a.jsonl"]["offset"] == (t.directory / "a.jsonl").stat().st_size - len(
        b'{"type": "plan", "sou'
    )


def test_rejected_lines_are_told_with_path_and_offset_and_kept(place):
    path = place.telemetry.append("a.jsonl", *place.telemetry.normal("biller", 2))
    offset = path.stat().st_size
    place.telemetry.append("a.jsonl", b"{broken\n", *place.telemetry.normal("biller", 1))

    done = place.once("--json")

    rejected = [json.loads(line) for line in done.stderr.splitlines() if "line_rejected" in line]
    assert [(item["given"]["path"], item["given"]["offset"]) for item in rejected] == [(str(path), offset)]
    kept = [
        json.loads(line) for line in (place.state_dir / "rejects" / "rejects.jsonl").read_text().splitlines()
    ]
    assert [(item["path"], item["offset"], item["head"]) for item in kept] == [(str(path), offset, "{broken")]
    assert json.loads(done.stdout)["agents"]["biller"]["events"] == 3


def test_an_unreadable_file_is_told_and_nothing_else_is_lost(place, as_mortal):
    place.telemetry.append("a.jsonl", *place.telemetry.normal("biller", 2))
    hidden = place.telemetry.append("b.jsonl", *place.telemetry.normal("mailer", 2))
    hidden.chmod(0)

    done = place.once("--json", **as_mortal)

    assert json.loads(done.stdout)["totals"]["events"] == 2
    assert f"unreadable {hidden}" in done.stderr


def test_a_replaced_document_counts_only_what_is_new(place):
    path = place.telemetry.directory / "log.json"
    records = place.telemetry.normal("biller", 4)
    path.write_text(json.dumps(records[:2]))
    place.once()

    path.write_text(json.dumps(records))
    place.once()

    assert place.json("status")["agents"]["biller"]["events"] == 4


def test_the_result_is_valid_for_as_long_as_was_asked(place):
    place.telemetry.fill()

    place.once("--valid-for", "90s")

    assert place.state()["valid_for_ms"] == 90_000
    assert place.state()["status"] == "ok"


def test_a_missing_telemetry_directory_ends_a_single_run_before_it_publishes(place):
    place.telemetry.directory.rmdir()

    done = place.command("run", "--once", "--telemetry", place.telemetry.directory)

    assert str(place.telemetry.directory) in error_of(done, 2)
    assert not place.state_file.exists()


@pytest.mark.usefixtures("by_activity")
def test_a_signed_file_is_believed_with_the_right_key_only(place):
    place.telemetry.fill()
    for name in ("right", "wrong"):
        assert place.command("keygen", f"{name}.key").returncode == 0
    configs = {
        name: place.config(f'[state]\nkey_file = "{place.base / name}.key"\nkey_id = "k1"\n', f"{name}.toml")
        for name in ("right", "wrong")
    }
    place.once("--config", configs["right"])

    assert place.json("tier", "biller", "--config", configs["right"])["verified"] is True
    assert place.command("tier", "biller", "--config", configs["right"]).stdout == "1\n"
    assert place.command("tier", "biller", "--config", configs["wrong"]).stdout == "3\n"
    assert place.json("status", "--config", configs["right"])["state"]["verified"] is True
    assert place.json("status", "--config", configs["wrong"], code=3)["state"]["fresh"] is False

    data = place.state_file.read_bytes()
    place.state_file.write_bytes(data.replace(b'"tier":3', b'"tier":1'))

    forged = place.command("tier", "scraper", "--config", configs["right"])
    assert (forged.stdout, forged.returncode) == ("3\n", 1)
    assert place.command("tier", "biller", "--config", configs["right"]).stdout == "3\n"
    key = load_key(place.base / "right.key", "k1")
    assert parse_state(data, [key]).verified
    with pytest.raises(StateFileError):
        parse_state(place.state_file.read_bytes(), [key])


@pytest.mark.usefixtures("by_activity")
def test_a_shorter_quiet_time_promotes_by_decisions_and_not_in_silence(place):
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(end=time.time() - 400))
    place.once()
    assert place.tier(FLOODING) == 3

    place.once("--config", place.config('[recovery]\nquiet_time = "1s"\n'))

    assert place.tier(FLOODING) == 2
    assert [(d["from_tier"], d["to_tier"]) for d in place.decisions()] == [(1, 2), (2, 3), (3, 2)]


def test_a_loose_umask_opens_nothing_to_others(place):
    place.once("--state-dir", place.base / "some" / "where" / "state", umask=0)

    made = [place.base / "some", *(place.base / "some").rglob("*")]
    assert len(made) > 6
    assert {path.name: oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o022} == {}

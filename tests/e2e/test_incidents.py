"""Incidents, end to end: what agents do to telemetry demotes them, is explained, and replays exactly."""

import gzip
import json
import os
import signal
import sys
import time

import pytest

QUICK = '[telemetry]\nrescan_interval = "200ms"\n'


def as_observed(place):
    return place.json("replay", "--as-observed", place.telemetry.directory)


def told(place):
    return [(d["agent_id"], d["cause"], d["to_tier"]) for d in place.decisions()]


def test_rewritten_history_demotes_its_writer_and_nobody_else(place, wait_for):
    place.telemetry.append("one.jsonl", *place.telemetry.normal("biller"))
    place.telemetry.append("two.jsonl", *place.telemetry.normal("mailer"))
    daemon = place.start("--config", place.config(QUICK))
    path = place.telemetry.directory / "two.jsonl"
    middle = path.read_bytes().index(b"report", path.stat().st_size // 2)
    with path.open("r+b") as file:
        file.seek(middle)
        file.write(b"REPORT")

    wait_for(lambda: place.tier("mailer") == 3, "demotion")
    assert place.tier("biller") == 1
    assert told(place) == [("mailer", "tamper", 3)]
    assert place.json("tier", "mailer", code=1)["tier"] == 3
    document = place.json("why", "mailer")
    assert document["demotion"]["reasons"][0]["feature"] == "rewritten"
    assert document["demotion"]["evidence"][-1]["path"] == str(path)
    assert [item["kind"] for item in document["incidents"]] == ["rewritten"]
    text = place.command("why", "mailer").stdout
    assert "bytes that had been read were changed" in text
    assert str(path) in text
    assert place.json("status")["totals"]["incidents"] == {"rewritten": 1}
    assert place.json("status")["agents"]["mailer"]["events"] == 80, "what it says now counts as well"
    assert daemon.stop() == 0


def test_telemetry_that_is_destroyed_unread_is_charged_and_replays_exactly(place, wait_for):
    own = place.telemetry.append("mine/own.jsonl", *place.telemetry.normal("biller"))
    place.telemetry.append("other/own.jsonl", *place.telemetry.normal("mailer"))
    daemon = place.start("--config", place.config(QUICK))
    assert place.json("status")["agents"].keys() == {"biller", "mailer"}
    daemon.signal(signal.SIGSTOP)
    for n in range(20):
        path = place.telemetry.append(f"mine/secret{n}.jsonl", {"type": "file_read", "source": "x"})
        path.unlink()
    daemon.signal(signal.SIGCONT)

    wait_for(lambda: place.tier("biller") == 2, "demotion")
    assert place.tier("mailer") == 1
    place.telemetry.append("mine/own.jsonl", *place.telemetry.normal("biller", 3))
    wait_for(lambda: place.json("status")["agents"]["biller"]["events"] == 43, "the agent is still read")
    assert daemon.stop() == 0

    assert told(place) == [("biller", "telemetry_gap", 2)]
    incidents = place.json("why", "biller")["incidents"]
    assert {item["kind"] for item in incidents} == {"vanished"}
    assert sum(item["count"] for item in incidents) == 20
    assert {item["path"] for item in incidents} == {str(own.parent)}
    replayed = as_observed(place)
    assert replayed["missing"] == []
    assert replayed["decisions"] == place.decisions()
    assert replayed["totals"]["incidents"] == {"vanished": 20}


def test_a_file_that_is_cut_is_a_gap_and_ordinary_rotation_is_not(place, wait_for):
    lines = place.telemetry.normal("biller")
    for agent in ("biller", "mailer", "researcher"):
        place.telemetry.append(f"{agent}.jsonl", *place.telemetry.normal(agent))
    daemon = place.start("--config", place.config(QUICK))
    directory = place.telemetry.directory
    # Renamed and begun anew; copied and cut; deleted and begun anew: all was read before.
    (directory / "biller.jsonl").rename(directory / "biller.jsonl.1")
    place.telemetry.append("biller.jsonl", *lines[:5])
    data = (directory / "mailer.jsonl").read_bytes()
    (directory / "mailer.jsonl.1").write_bytes(data)
    os.truncate(directory / "mailer.jsonl", 0)
    (directory / "researcher.jsonl").unlink()
    place.telemetry.append("researcher.jsonl", *place.telemetry.normal("researcher", 5))
    place.telemetry.append("scraper.jsonl", *place.telemetry.normal("scraper"))
    wait_for(lambda: len(place.json("status")["agents"]) == 4, "all are read")
    os.truncate(directory / "scraper.jsonl", 0)

    wait_for(lambda: place.tier("scraper") == 2, "demotion")
    assert told(place) == [("scraper", "telemetry_gap", 2)]
    document = place.json("status")
    assert document["agents"]["biller"]["events"] == 45
    assert document["agents"]["mailer"]["events"] == 40
    assert document["agents"]["researcher"]["events"] == 45
    assert document["totals"]["incidents"] == {"truncated": 1}
    assert daemon.stop() == 0
    records = [json.loads(line) for line in (place.state_dir / "decisions.jsonl").read_text().splitlines()]
    assert [record["cause"] for record in records] == ["telemetry_gap"]


def test_observe_mode_records_and_restricts_nobody(place, wait_for):
    path = place.telemetry.append("a.jsonl", *place.telemetry.normal("biller"))
    daemon = place.start("--mode", "observe", "--config", place.config(QUICK))
    with path.open("r+b") as file:
        file.write(b"[")

    wait_for(lambda: place.json("status")["agents"]["biller"]["would"] == 3, "it is seen")
    assert place.json("tier", "biller")["tier"] == 1
    assert daemon.stop() == 0


def test_files_that_are_rewritten_whole_and_copies_that_are_compressed_demote_nobody(place, wait_for):
    lines = [json.dumps(item).encode() + b"\n" for item in place.telemetry.normal("biller", 60)]
    path = place.telemetry.append("biller.jsonl", *lines[:20])
    other = place.telemetry.append("mailer.jsonl", *place.telemetry.normal("mailer"))
    daemon = place.start("--config", place.config(QUICK))
    for end in range(21, 61):
        # As atomic writers do it: their temporary names may look like those of rotated files.
        temporary = path.with_name(f"biller.jsonl.{end}")
        temporary.write_bytes(b"".join(lines[:end]))
        temporary.replace(path)
    wait_for(lambda: place.json("status")["agents"]["biller"]["events"] == 60, "every line, once")

    copy = other.with_name("mailer.jsonl.1")
    copy.write_bytes(other.read_bytes())
    os.truncate(other, 0)
    copy.with_name("mailer.jsonl.1.gz").write_bytes(gzip.compress(copy.read_bytes()))
    copy.unlink()
    place.telemetry.append("mailer.jsonl", *place.telemetry.normal("mailer", 3))
    wait_for(lambda: place.json("status")["agents"]["mailer"]["events"] == 43, "the file is still read")
    for n in range(2):
        # What is found by two whole scans has been decided.
        place.telemetry.append(f"last{n}.jsonl", *place.telemetry.normal(f"last{n}", 1))
        wait_for(lambda n=n: f"last{n}" in place.json("status")["agents"], "a later file")
    assert place.json("status")["totals"]["incidents"].keys() <= {"compressed"}
    assert daemon.stop() == 0

    assert told(place) == []
    replayed = as_observed(place)
    assert replayed["decisions"] == []
    # Of what was compressed only the note is left.
    assert [item.partition(",")[0] for item in replayed["missing"]] == [str(other)]
    assert replayed["totals"]["events"] == 60 + 3 + 2


@pytest.mark.parametrize("rotated", ["", "-20261123"])
def test_a_file_that_came_while_the_daemon_ran_may_be_compressed(place, wait_for, rotated):
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    daemon = place.start("--config", place.config(QUICK))
    path = place.telemetry.append("mailer.jsonl", *place.telemetry.normal("mailer"))
    wait_for(lambda: "mailer" in place.json("status")["agents"], "the file is read")
    plain = path.rename(path.with_name(f"mailer{rotated}.jsonl"))
    temporary = plain.with_name("temporary")
    temporary.write_bytes(zstd.compress(plain.read_bytes()))
    temporary.rename(f"{plain}.zst")
    plain.unlink()
    for n in range(3):
        # What is found by two whole scans has been decided.
        place.telemetry.append(f"last{n}.jsonl", *place.telemetry.normal(f"last{n}", 1))
        wait_for(lambda n=n: f"last{n}" in place.json("status")["agents"], "a later file")
    assert daemon.stop() == 0

    status = place.json("status")
    assert status["totals"]["incidents"] == {}
    assert status["agents"]["mailer"]["events"] == 40


def test_numbers_that_are_missing_demote_over_a_kill_and_replay_exactly(place, wait_for):
    def numbered(agent, numbers):
        return [place.telemetry.record(agent, "plan", time.time()) | {"seq": number} for number in numbers]

    place.telemetry.append("mine.jsonl", *numbered("biller", range(1, 41)))
    place.telemetry.append("other.jsonl", *numbered("mailer", range(1, 41)))
    daemon = place.start("--config", place.config(QUICK))
    place.telemetry.append("mine.jsonl", *numbered("biller", range(45, 50)))
    wait_for(lambda: place.json("status")["agents"]["biller"]["events"] == 45, "the jump is read")
    daemon.kill()
    daemon = place.start("--config", place.config(QUICK))
    assert place.tier("biller") == 1, "what is missing may come late"
    place.telemetry.append("mine.jsonl", *numbered("biller", range(50, 70)))
    place.telemetry.append("other.jsonl", *numbered("mailer", range(41, 70)))

    wait_for(lambda: place.tier("biller") == 2, "demotion")
    wait_for(lambda: place.json("status")["agents"]["mailer"]["events"] == 69, "all is read")
    assert daemon.stop() == 0
    assert told(place) == [("biller", "telemetry_gap", 2)]
    [incident] = place.json("why", "biller")["incidents"]
    assert (incident["kind"], incident["detail"]) == ("seq_gap", "biller: missing before it: 41 to 44")
    replayed = as_observed(place)
    assert replayed["missing"] == []
    assert replayed["decisions"] == place.decisions()
    assert replayed["totals"]["incidents"] == {"seq_gap": 1}
    plain = place.json("replay", place.telemetry.directory)
    assert [(d["agent_id"], d["cause"]) for d in plain["decisions"]] == [("biller", "telemetry_gap")]

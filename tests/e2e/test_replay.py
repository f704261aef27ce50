"""Replay against a live run: as observed it gives the daemon's own decisions, plainly the same demotions."""

import json
import shutil
import signal
import time

import pytest

FLOODING = "scraper"
CONFIG = """
[detection]
window = "3s"
suspicious_threshold = {suspicious}
[recovery]
quiet_time = "1s"
[state]
valid_for = "3s"
"""


@pytest.mark.usefixtures("by_activity")
def test_as_observed_gives_exactly_the_live_decisions(place, wait_for):
    t = place.telemetry
    config = place.config(CONFIG.format(suspicious=0.5))
    # History, judged by its own times: two files of one agent, merged by time.
    start = time.time()
    t.append("scraper-a.jsonl", *t.flood(count=120, end=start - 60))
    t.append("scraper-b.jsonl", *t.flood(count=120, end=start - 66))
    (t.directory / "array.json").write_text(json.dumps(t.flood("batcher", 80, end=start - 100)))
    daemon = place.start("--config", config)
    wait_for(lambda: place.tier(FLOODING) == 1 and len(place.decisions()) >= 6, "history judged")

    # Live, in two files of one agent; a bad line, a repeated id; a kill in the middle.
    t.append("scraper-a.jsonl", *t.flood(count=100, every=0.01), b"{bad\n")
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
    daemon.kill()
    twice = {**t.record("biller", "file_read", time.time()), "event_id": "x"}
    t.append("scraper-b.jsonl", *t.flood(count=100, every=0.01))
    t.append("biller.jsonl", twice, twice, *t.normal("biller", 5))
    daemon = place.start("--config", config)
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion after the kill")

    # Operators: a pardon with grace, a pin that ends, one that is lifted.
    assert (
        place.json("pardon", FLOODING, "--reason", "mistake", "--for", "2s")["decision"]["cause"]
        == "pardoned"
    )
    t.append("scraper-a.jsonl", *t.flood(count=100, every=0.01))
    place.json("pin", "biller", 2, "--reason", "watch it", "--until", "1s")
    wait_for(lambda: any(d["cause"] == "expired" for d in place.decisions()), "end of the pin")
    place.json("pin", "biller", 3, "--reason", "again")
    place.json("unpin", "biller", "--reason", "enough")

    # Another threshold while it runs, then another one over a restart.
    place.config(CONFIG.format(suspicious=0.2))
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("config_reloaded")
    t.append("biller.jsonl", *t.normal("biller", 40, every=0.01))
    wait_for(lambda: place.tier("biller") == 2, "demotion by the new threshold")
    place.config(CONFIG.format(suspicious=0.4))
    daemon.kill()
    daemon = place.start("--config", config)
    t.append("array.jsonl", *t.flood("batcher", 80, every=0.01))
    wait_for(lambda: place.tier("batcher") == 3, "demotion of another agent")
    wait_for(lambda: place.state()["agents"] == {}, "everybody recovered")
    assert daemon.stop() == 0

    live = place.decisions()
    assert {d["cause"] for d in live} == {
        "detected",
        "recovered",
        "pardoned",
        "pinned",
        "unpinned",
        "expired",
    }
    again = place.json("replay", "--as-observed", t.directory)
    assert again["missing"] == []
    assert again["decisions"] == live
    status = place.json("status")
    assert again["totals"] == {**status["totals"], "bytes": again["totals"]["bytes"]}
    assert {name: a["events"] for name, a in again["agents"].items()} == {
        name: a["events"] for name, a in status["agents"].items()
    }


@pytest.mark.usefixtures("by_activity")
def test_as_observed_says_what_is_no_longer_there(place):
    place.telemetry.fill()
    place.once()
    gone = place.telemetry.directory / "scraper.jsonl"
    size = gone.stat().st_size
    gone.unlink()

    replayed = place.json("replay", "--as-observed", place.telemetry.directory)

    assert replayed["missing"] == [f"{gone}, bytes 0 to {size}"]
    assert FLOODING not in replayed["agents"]


@pytest.mark.usefixtures("by_activity")
def test_as_observed_says_when_a_document_was_replaced(place):
    path = place.telemetry.directory / "a.json"
    path.write_text(json.dumps(place.telemetry.flood(count=3)))
    place.once()
    path.write_text(json.dumps(place.telemetry.flood(count=4)))
    place.once()

    replayed = place.json("replay", "--as-observed", place.telemetry.directory)

    assert replayed["missing"] == [f"{path}, elements 0 to 3"]
    assert replayed["agents"][FLOODING]["events"] == 4


def test_as_observed_finds_files_where_they_were_moved_to(place):
    place.telemetry.fill()
    place.once()
    archive = place.base / "archive"
    archive.mkdir()
    for path in place.telemetry.directory.iterdir():
        path.rename(archive / f"{path.name}.1")

    assert place.json("replay", "--as-observed", archive)["decisions"] == place.decisions()


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize("how", ["restored", "older", "lost"])
def test_as_observed_numbers_decisions_as_they_were_where_numbers_were_passed_over(place, how):
    now = time.time()
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(end=now))
    place.once()
    place.command("backup", place.base / "backup.db")
    place.telemetry.append("biller.jsonl", *place.telemetry.flood("biller", end=now))
    place.once()
    last = place.decisions()[-1]["decision_no"]
    if how == "restored":
        place.json("restore", place.base / "backup.db")
    else:
        for path in place.state_dir.glob("sentineld.db*"):
            path.unlink()
    if how == "older":
        shutil.copy(place.base / "backup.db", place.state_dir / "sentineld.db")
    place.once()

    decisions = place.decisions()
    assert decisions[-1]["decision_no"] > last
    assert place.json("replay", "--as-observed", place.telemetry.directory)["decisions"] == decisions


@pytest.mark.usefixtures("by_activity")
def test_plain_replay_gives_the_same_demotions_and_publishes_nothing(place, wait_for):
    place.start()
    now = time.time()
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(count=300, end=now))
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller", end=now))
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
    place.daemons[0].stop()
    before = {path: path.stat().st_mtime_ns for path in place.base.rglob("*") if path.is_file()}

    replayed = place.json("replay", place.telemetry.directory)

    key = ("agent_id", "from_tier", "to_tier", "cause")
    assert [[d[k] for k in key] for d in replayed["decisions"]] == [
        [d[k] for k in key] for d in place.decisions()
    ]
    written = {
        path
        for path in place.base.rglob("*")
        if path.is_file() and before.get(path) != path.stat().st_mtime_ns
    }
    assert {path.suffix for path in written} <= {".db-shm", ".db-wal"}


@pytest.mark.usefixtures("by_activity")
def test_sessions_are_scored_by_their_own_events(place):
    t = place.telemetry
    now = 1_795_000_000
    named = [{**r, "data": {**r["data"], "session": "s1"}} for r in t.flood(count=60, end=now)]
    calm = [{**r, "data": {**r["data"], "session": "s2"}} for r in t.normal(FLOODING, 5, end=now + 1)]
    later = t.normal(FLOODING, 3, end=now + 7200)
    t.append("a.jsonl", *named, *calm, *later)

    agent = place.json("replay", t.directory)["agents"][FLOODING]

    sessions = agent["sessions"]
    assert len(sessions) == 3
    assert sessions["s1"]["max_tier"] == 3
    assert sessions["s2"]["max_tier"] == 1, "the flood before it is not its own"
    assert agent["max_score"] >= sessions["s1"]["max_score"] > sessions["s2"]["max_score"]
    unnamed = next(name for name in sessions if name not in ("s1", "s2"))
    assert unnamed.startswith("20")
    assert (agent["max_tier"], agent["tier"]) == (3, 1), "two hours later it has recovered"


@pytest.mark.usefixtures("by_activity")
def test_decisions_of_a_plain_replay_are_numbered_by_time(place):
    t = place.telemetry
    t.append("a.jsonl", *t.flood("early", end=1_795_000_000))
    t.append("b.jsonl", *t.flood("late", end=1_795_001_200))
    t.append("c.jsonl", *t.normal("clock", 2, end=1_795_010_000))

    decisions = place.json("replay", t.directory)["decisions"]

    assert [d["decision_no"] for d in decisions] == list(range(1, len(decisions) + 1))
    assert [d["decided_at"] for d in decisions] == sorted(d["decided_at"] for d in decisions)
    assert {d["cause"] for d in decisions} == {"detected", "recovered"}


@pytest.mark.parametrize("path", ["missing", "missing.jsonl"])
def test_a_path_that_does_not_exist_is_a_usage_error(place, path):
    done = place.command("replay", path, "--json")

    assert done.returncode == 2
    assert path in json.loads(done.stdout)["errors"][0]["error"]
    assert path in done.stderr

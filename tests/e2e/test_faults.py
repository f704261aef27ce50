"""What happens when the surroundings are broken: a clear end at the start, endurance later."""

import json
import sqlite3

import pytest

FLOODING = "scraper"


def test_a_state_directory_that_cannot_be_written_is_no_permission(place, as_mortal):
    place.state_dir.mkdir(mode=0o555)

    done = place.command("run", "--telemetry", place.telemetry.directory, **as_mortal)

    assert done.returncode == 77
    assert str(place.state_dir) in done.stderr
    assert "try: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_directory_that_cannot_be_made_is_no_permission(place):
    (place.base / "file").write_text("")

    done = place.command("run", "--telemetry", "telemetry", "--state-dir", place.base / "file" / "state")

    assert done.returncode == 77
    assert "cannot create" in done.stderr


@pytest.mark.parametrize(
    ("telemetry", "state_dir"),
    [("t", "t/state"), ("t", "t"), (".", "state"), ("state/rejects", "state"), ("link", "t/s")],
)
def test_telemetry_and_state_must_lie_apart(place, telemetry, state_dir):
    (place.base / "t").mkdir()
    (place.base / "link").symlink_to(place.base / "t")

    done = place.command(
        "run", "--once", "--telemetry", place.base / telemetry, "--state-dir", place.base / state_dir
    )

    assert done.returncode == 78
    assert "inside" in done.stderr
    assert list((place.base / "t").iterdir()) == []


@pytest.mark.usefixtures("by_activity")
def test_telemetry_beside_the_database_is_allowed(place):
    place.telemetry.directory = place.state_dir / "telemetry"
    place.telemetry.fill()

    place.once()

    assert place.tier(FLOODING) == 3


def test_another_programs_database_is_left_alone(place):
    place.state_dir.mkdir()
    path = place.state_dir / "sentineld.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs(x)")
    db.close()
    before = path.read_bytes()

    done = place.command("run", "--once", "--telemetry", place.telemetry.directory)

    assert done.returncode == 78
    assert "try: " in done.stderr
    assert path.read_bytes() == before


def test_what_is_no_database_is_set_aside_as_it_is(place):
    place.state_dir.mkdir()
    path = place.state_dir / "sentineld.db"
    path.write_bytes(b"no database at all, but long enough to look like one" * 40)
    before = path.read_bytes()

    done = place.once()

    assert (place.state_dir / "sentineld.db.corrupt-1").read_bytes() == before
    assert "database_set_aside" in done.stderr
    assert place.state()["faults"] == ["memory_lost"]


def test_publishing_that_fails_ends_a_single_run_with_an_error(place):
    place.telemetry.fill()
    (place.base / "public" / "state.json").mkdir(parents=True)

    done = place.command(
        "run",
        "--once",
        "--telemetry",
        place.telemetry.directory,
        "--state-file",
        place.base / "public" / "state.json",
    )

    assert done.returncode == 77
    assert "cannot publish" in done.stderr
    assert place.command("status", "--json").returncode == 3


@pytest.mark.usefixtures("by_activity")
def test_the_daemon_outlives_a_state_file_that_cannot_be_written(place, wait_for):
    public = place.base / "public"
    args = ("--state-file", public / "state.json", "--config", place.config('[state]\nvalid_for = "1s"\n'))
    daemon = place.start(*args, wait=False)
    wait_for((public / "state.json").exists, "first publish")

    public.rename(place.base / "away")
    public.write_text("a file where the directory was")
    daemon.wait_log("publish_failed")
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(every=0.01))
    wait_for(lambda: len(place.decisions()) == 2, "decisions are made and kept")
    assert daemon.process.poll() is None
    public.unlink()
    (place.base / "away").rename(public)

    def published():
        try:
            return json.loads((public / "state.json").read_bytes())["agents"]
        except FileNotFoundError:
            return None

    assert wait_for(published, "recovery")[FLOODING]["tier"] == 3
    assert place.json("tier", FLOODING, "--state-file", public / "state.json", code=1)["tier"] == 3
    ask = ("tier", "biller", "--state-file", public / "state.json")
    wait_for(lambda: place.json(*ask, code=None)["tier"] == 1, "nobody else is restricted")
    assert daemon.stop() == 0


@pytest.mark.usefixtures("by_activity")
def test_a_decision_log_that_cannot_be_written_degrades_and_is_made_up_for(place, wait_for):
    (place.state_dir / "decisions.jsonl").mkdir(parents=True)
    place.telemetry.fill()
    daemon = place.start(wait=False)

    wait_for(lambda: (place.state() or {}).get("status") == "degraded", "degraded")
    assert place.tier(FLOODING) == 3, "tiers are published all the same"
    assert place.json("status")["state"]["status"] == "degraded"
    (place.state_dir / "decisions.jsonl").rmdir()

    wait_for(lambda: place.state()["status"] == "ok", "recovery")
    assert len((place.state_dir / "decisions.jsonl").read_text().splitlines()) == 2
    assert daemon.stop() == 0


@pytest.mark.usefixtures("by_activity")
def test_a_database_that_fails_in_the_middle_is_opened_again(place, wait_for):
    daemon = place.start("--config", place.config('[state]\nvalid_for = "1s"\n'))
    other = sqlite3.connect(place.state_dir / "sentineld.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood())
    daemon.wait_log("storage_failed")
    other.execute("ROLLBACK")
    other.close()

    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
    assert place.json("status", code=None)["totals"]["events"] == 300
    wait_for(lambda: place.state()["status"] == "ok", "ok")
    assert daemon.stop() == 0

"""Backup and restore: one consistent file of a running daemon, and a way back without a rollback."""

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from sentineld.router import TierRouter

FLOODING = "scraper"


def events(place) -> int:
    return place.json("status")["totals"]["events"]


@pytest.mark.usefixtures("by_activity")
def test_a_backup_of_a_running_daemon_is_brought_back_and_the_rest_is_read_again(place, wait_for):
    mark = place.base / "mark"
    place.telemetry.fill()
    place.start()
    backup = place.base / "backup.db"
    made = place.json("backup", backup)
    assert made["events"] == events(place) == 420
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sorted(item.name for item in place.base.glob("backup.db*")) == ["backup.db"]

    # The daemon goes on: more events, another decision.
    place.telemetry.append("biller.jsonl", *place.telemetry.flood("biller", every=0.01))
    wait_for(lambda: place.tier("biller") == 3, "demotion")
    decided = {item["decision_no"]: item for item in place.decisions()}
    router = TierRouter(state_file=place.state_file, high_water=mark)
    assert router.behavior_tier("biller") == 3
    assert place.daemons[-1].stop() == 0
    before = place.state()

    done = place.json("restore", backup)
    assert done["events"] == 420
    assert done["epoch"] > before["epoch"]
    assert Path(done["former"]).exists()
    daemon = place.start()
    wait_for(lambda: events(place) == 720, "what was written since is read again, once")
    wait_for(lambda: place.tier("biller") == 3, "and judged again")
    assert place.state()["epoch"] > before["epoch"]
    reader = TierRouter(state_file=place.state_file, high_water=mark)
    assert reader.behavior_tier("mailer") == 1, "no reader takes it for a rollback"
    again = [item for item in place.decisions() if item["decision_no"] not in decided]
    assert again, "decisions since the backup are made anew, under numbers of their own"
    assert min(item["decision_no"] for item in again) > max(decided)
    status = place.json("status")
    assert status["storage"]["restored_at"] is not None
    assert status["state"]["faults"] == []
    assert daemon.stop() == 0
    lines = (place.state_dir / "decisions.jsonl").read_text().splitlines()
    logged = [json.loads(line)["decision_no"] for line in lines]
    assert len(logged) == len(set(logged))


def test_backups_are_not_overwritten_unless_asked(place):
    place.telemetry.fill()
    place.once()
    target = place.base / "b.db"
    target.write_text("precious")

    refused = place.command("backup", target)
    assert (refused.returncode, target.read_text()) == (2, "precious")
    assert "--force" in refused.stderr
    assert place.command("backup", target, "--force").returncode == 0
    assert target.read_bytes().startswith(b"SQLite format 3")
    assert place.command("backup", place.base / "no" / "b.db").returncode == 77
    assert [item.name for item in place.base.iterdir() if "part" in item.name] == []


def test_a_restore_is_refused_while_a_daemon_runs_and_for_what_is_no_backup(place):
    place.telemetry.fill()
    daemon = place.start()
    place.json("backup", "b.db")
    held = place.command("restore", "b.db")
    assert held.returncode == 75
    assert str(daemon.pid) in held.stderr
    assert daemon.stop() == 0
    before = (place.state_dir / "sentineld.db").read_bytes()

    good = (place.base / "b.db").read_bytes()
    (place.base / "cut.db").write_bytes(good[: len(good) // 2])
    (place.base / "text.db").write_text("no database at all, but long enough" * 30)
    with closing(sqlite3.connect(place.base / "other.db")) as db:
        db.execute("CREATE TABLE theirs(x)")
    (place.base / "newer.db").write_bytes(good)
    with closing(sqlite3.connect(place.base / "newer.db")) as db:
        db.execute("PRAGMA user_version=99")
    for name in ("cut.db", "text.db", "other.db", "newer.db"):
        refused = place.command("restore", name)
        assert refused.returncode == 78, refused.stderr
        assert "try: " in refused.stderr
        assert "Traceback" not in refused.stderr
    assert place.command("restore", "missing.db").returncode == 3
    assert (place.state_dir / "sentineld.db").read_bytes() == before
    assert sorted(name for name in os.listdir(place.state_dir) if name.startswith("sentineld.db")) == [
        "sentineld.db"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_restores_belongs_to_the_daemons_user(place):
    place.telemetry.fill()
    place.once()
    place.json("backup", "b.db")
    for path in [*place.base.parents[:3], place.base]:
        path.chmod(path.stat().st_mode | 0o055)
    for path in [place.state_dir, *place.state_dir.iterdir()]:
        os.chown(path, 12345, 12346)
    done = place.json("restore", "b.db")

    assert done["events"] == 420
    assert Path(done["former"]).exists()
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in place.state_dir.iterdir()}
    assert set(owners.values()) == {(12345, 12346)}, owners
    assert stat.S_IMODE((place.base / "b.db").stat().st_mode) == 0o600, "that user could not read it"


def test_a_restore_replaces_a_damaged_database_and_keeps_it(place):
    place.telemetry.fill()
    place.once()
    place.json("backup", "b.db")
    before = place.state()
    (place.state_dir / "sentineld.db").write_bytes(b"x" * 9000)

    done = place.json("restore", "b.db")
    assert Path(done["former"]).read_bytes() == b"x" * 9000
    assert done["epoch"] > before["epoch"]
    assert place.json("status")["totals"]["events"] == 420


def test_former_databases_are_bounded(place):
    place.telemetry.fill()
    place.once()
    place.json("backup", "b.db")
    epochs = [place.json("restore", "b.db")["epoch"] for _ in range(5)]

    assert epochs == sorted(set(epochs))
    assert len([name for name in os.listdir(place.state_dir) if "replaced" in name]) == 3

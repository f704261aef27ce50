"""Mounts that change under a running daemon: read-only state, telemetry that goes and comes back."""

import json
import os
import shutil
import subprocess

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

FLOODING = "scraper"


@pytest.fixture
def mount():
    """Mount something, and take it away at the end."""
    places = []

    def run(*arguments):
        place = str(arguments[-1])
        subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)
        if place not in places:
            places.append(place)

    yield run
    for place in reversed(places):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


@pytest.mark.usefixtures("by_activity")
def test_a_state_directory_that_becomes_read_only_degrades_and_loses_nothing(place, mount, wait_for):
    daemon = place.start("--config", place.config('[state]\nvalid_for = "3s"\n'))
    seq = place.state()["seq"]
    mount("--bind", place.state_dir, place.state_dir)
    mount("-o", "remount,ro,bind", place.state_dir)
    daemon.wait_log("publish_failed")
    place.telemetry.append(f"{FLOODING}.jsonl", *place.telemetry.flood())
    wait_for(lambda: place.command("tier", "anybody").returncode == 1, "readers that restrict")
    assert place.tier(FLOODING) == 1
    assert daemon.process.poll() is None
    subprocess.run(["umount", "-l", str(place.state_dir)], check=True)

    wait_for(lambda: place.tier(FLOODING) == 3, "demotion", deadline_s=40)
    wait_for(lambda: place.state()["status"] == "ok", "ok", deadline_s=20)
    assert place.state()["seq"] > seq
    assert place.json("status")["totals"]["events"] == 300
    assert daemon.stop() == 0


def test_a_telemetry_mount_that_goes_and_comes_back_loses_nothing(place, mount, wait_for):
    source, box = place.base / "volume", place.telemetry.directory / "box"
    source.mkdir()
    box.mkdir()
    mount("--bind", source, box)
    records = place.telemetry.normal("biller", 30)
    place.telemetry.append("box/biller.jsonl", *records[:10])
    daemon = place.start("--config", place.config('[telemetry]\nrescan_interval = "200ms"\n'))

    def events():
        return place.json("status")["totals"]["events"]

    wait_for(lambda: events() == 10, "the first ten")
    subprocess.run(["umount", "-l", str(box)], check=True)
    data = "".join(f"{line}\n" for line in map(json.dumps, records[10:20]))
    with (source / "biller.jsonl").open("a") as file:
        file.write(data)
    mount("--bind", source, box)
    place.telemetry.append("box/biller.jsonl", *records[20:])

    wait_for(lambda: events() == 30, "all thirty")
    assert place.tier("biller") == 1
    assert daemon.stop() == 0


def test_a_telemetry_mount_is_busy_while_it_is_read_and_goes_lazily(place, mount, wait_for):
    box = place.telemetry.directory / "box"
    box.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "none", box)
    place.telemetry.append("box/biller.jsonl", *place.telemetry.normal("biller", 30))
    daemon = place.start("--config", place.config('[telemetry]\nrescan_interval = "200ms"\n'))
    wait_for(lambda: place.json("status")["totals"]["events"] == 30, "all thirty")
    busy = subprocess.run(["umount", str(box)], capture_output=True, text=True, check=False)
    assert "busy" in busy.stderr, "docs/operations.md says so"
    subprocess.run(["umount", "-l", str(box)], check=True)
    place.telemetry.append("mailer.jsonl", *place.telemetry.normal("mailer", 5))

    wait_for(lambda: place.json("status")["totals"]["events"] == 35, "the others go on")
    assert place.tier("biller") == 1, "all of it had been read"
    assert daemon.process.poll() is None
    assert daemon.stop() == 0


def test_files_that_bind_mounts_show_twice_count_once(place, mount, wait_for):
    directory = place.telemetry.directory
    for name in ("a", "b", "loop"):
        (directory / name).mkdir()
    place.telemetry.append("a/biller.jsonl", *place.telemetry.normal("biller", 10))
    mount("--bind", directory / "a", directory / "b")
    mount("--rbind", directory, directory / "loop")
    daemon = place.start("--config", place.config('[telemetry]\nrescan_interval = "200ms"\n'))
    place.telemetry.append("b/biller.jsonl", *place.telemetry.normal("biller", 5))
    place.telemetry.append("loop/a/mailer.jsonl", *place.telemetry.normal("mailer", 3))
    wait_for(lambda: place.json("status")["totals"]["events"] >= 18, "everything")
    scans = place.state()["seq"]
    os.kill(daemon.pid, 1)
    wait_for(lambda: place.state()["seq"] > scans, "another look at everything")

    totals = place.json("status")["totals"]
    assert (totals["events"], totals["incidents"]) == (18, {})
    assert daemon.stop() == 0


def test_telemetry_on_a_tmpfs_counts_once_over_rotation_and_replacement(place, mount, wait_for):
    directory = place.telemetry.directory
    mount("-t", "tmpfs", "-o", "size=4m", "none", directory)
    daemon = place.start()
    total = 0

    def write(name, count):
        nonlocal total
        total += count
        place.telemetry.append(name, *place.telemetry.normal("biller", count))
        wait_for(lambda: place.json("status")["totals"]["events"] == total, f"{total} events")

    write("biller.jsonl", 10)
    (directory / "biller.jsonl").rename(directory / "biller.jsonl.1")
    write("biller.jsonl", 7)
    (directory / "biller.jsonl").unlink()
    write("biller.jsonl", 7)
    assert daemon.stop() == 0
    place.once()
    totals = place.json("status")["totals"]
    # The one that was removed just before the stop was not closed yet: that is recorded, and no more.
    assert (totals["events"], totals["incidents"]) == (24, {"missing": 1})
    assert place.tier("biller") == 1


@pytest.mark.usefixtures("by_activity")
def test_a_full_runtime_directory_leaves_the_old_state_file_to_expire(place, mount, wait_for):
    run = place.base / "run"
    run.mkdir()
    mount("-t", "tmpfs", "-o", "size=16k,mode=0755", "none", run)
    text = f'[state]\nvalid_for = "1s"\nfile = "{run}/state.json"\n'
    daemon = place.start("--config", place.config(text), wait=False)
    config = ("--config", place.base / "sentineld.toml")
    wait_for(lambda: place.command("tier", "x", *config).returncode == 0, "first publish")
    ballast = run / "ballast"
    ballast.write_bytes(b"")
    with ballast.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(run).free)
    daemon.wait_log("publish_failed")
    assert sorted(path.name for path in run.iterdir()) == ["ballast", "state.json"], "no temporary file"
    wait_for(lambda: place.command("tier", "x", *config).returncode == 1, "expiry")
    place.telemetry.append(f"{FLOODING}.jsonl", *place.telemetry.flood())
    wait_for(lambda: len(place.decisions()) == 2, "decisions are made all the same")
    ballast.unlink()

    wait_for(lambda: place.command("tier", "x", *config).returncode == 0, "recovery")
    assert json.loads((run / "state.json").read_bytes())["agents"][FLOODING]["tier"] == 3
    assert daemon.stop() == 0

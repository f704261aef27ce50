"""Mounts that change under a running daemon: read-only state, telemetry that goes and comes back."""

import json
import os
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

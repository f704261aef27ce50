"""The daemon as a real process: appended lines become tiers, and time gives them back."""

import json
import os
import time
from pathlib import Path

import pytest

FLOODING = "scraper"
QUICK = """
[detection]
window = "3s"
[recovery]
quiet_time = "1s"
[state]
valid_for = "3s"
"""


@pytest.mark.usefixtures("by_activity")
def test_a_flood_is_published_while_it_happens(place, wait_for):
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller"))
    place.start()
    assert place.state()["agents"] == {}

    place.telemetry.append("scraper.jsonl", *place.telemetry.flood())

    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
    wait_for(lambda: "waiting for" not in place.command("status").stdout, "status")
    assert place.command("tier", FLOODING).stdout == "3\n"
    assert place.command("tier", "biller").stdout == "1\n"


@pytest.mark.usefixtures("by_activity")
def test_a_quiet_agent_is_promoted_step_by_step_without_new_events(place, wait_for):
    place.start("--config", place.config(QUICK))
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(end=time.time()))
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")

    wait_for(lambda: place.tier(FLOODING) == 1, "promotion")

    assert [(d["from_tier"], d["to_tier"], d["cause"]) for d in place.decisions()] == [
        (1, 2, "detected"),
        (2, 3, "detected"),
        (3, 2, "recovered"),
        (2, 1, "recovered"),
    ]
    assert place.json("status")["totals"]["events"] == 300


def test_the_heartbeat_renews_the_state_and_its_number_only_grows(place, wait_for):
    place.start("--config", place.config('[state]\nvalid_for = "1s"\n'))
    seen = []

    def saw_four():
        state = place.state()
        if not seen or state["seq"] != seen[-1]["seq"]:
            seen.append(state)
        return len(seen) >= 4

    wait_for(saw_four, "four heartbeats")
    assert len({state["epoch"] for state in seen}) == 1
    assert [s["seq"] for s in seen] == sorted({s["seq"] for s in seen})
    assert [s["valid_until"] for s in seen] == sorted({s["valid_until"] for s in seen})


def test_a_state_that_nobody_renews_restricts_everybody(place, wait_for):
    place.telemetry.fill()
    place.start("--config", place.config('[state]\nvalid_for = "1s"\n')).kill()

    wait_for(lambda: place.command("tier", "biller").stdout == "3\n", "expiry")

    status = place.command("status", "--json")
    assert status.returncode == 3
    assert json.loads(status.stdout)["state"]["fresh"] is False
    assert json.loads(status.stdout)["agents"]["biller"]["events"] == 40


@pytest.mark.usefixtures("by_activity")
def test_a_telemetry_directory_that_appears_later_is_read(place, wait_for):
    place.telemetry.directory.rmdir()
    daemon = place.start("--config", place.config('[telemetry]\nrescan_interval = "200ms"\n'))
    assert daemon.logs("telemetry_trouble")[0]["cause"].startswith("missing_directory")
    assert daemon.logs("telemetry_missing")[0]["path"] == str(place.telemetry.directory)
    wait_for(lambda: "waiting for a telemetry directory" in place.command("status").stdout, "status")
    assert "the daemon waits for telemetry directories" in place.command("doctor").stdout

    place.telemetry.directory.mkdir()
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood())

    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")


@pytest.mark.usefixtures("by_activity")
def test_what_the_kernel_does_not_report_the_rescan_finds(place, wait_for):
    # A directory swapped by rename: the watch is on the old one.
    config = place.config('[telemetry]\nrescan_interval = "200ms"\n')
    place.start("--config", config)
    place.telemetry.directory.rename(place.base / "old")
    place.telemetry.directory.mkdir()

    place.telemetry.append("scraper.jsonl", *place.telemetry.flood())

    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")


def test_a_relative_directory_in_the_configuration_is_read_once(place, wait_for):
    config = place.config(f'[telemetry]\ndirectories = ["./{place.telemetry.directory.name}/"]\n')
    place.start("--config", config, telemetry=False)

    path = place.telemetry.directory / "one.json"
    path.write_text(json.dumps(place.telemetry.normal("biller", 3)))
    place.telemetry.append("mailer.jsonl", *place.telemetry.normal("mailer", 3))

    wait_for(lambda: place.json("status")["totals"]["events"] >= 6, "events")
    assert place.json("status")["totals"] | {"events": 6, "files": 2} == place.json("status")["totals"]


def test_an_idle_daemon_sleeps(place, wait_for):
    place.telemetry.fill()
    daemon = place.start()

    def cpu_ticks():
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    began, busy = time.monotonic(), cpu_ticks()
    wait_for(lambda: time.monotonic() - began > 2, "two seconds")
    share = (cpu_ticks() - busy) / os.sysconf("SC_CLK_TCK") / 2
    assert share < 0.05, f"{share:.0%} of a core while nothing happens"


@pytest.mark.usefixtures("by_activity")
def test_history_is_judged_by_its_own_times_however_much_there_is(place, wait_for):
    end = time.time() - 3600
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller", 40_000, end=end, every=0.01))
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(end=end + 60))
    place.start()

    keys = ("agent_id", "from_tier", "to_tier", "cause", "decided_at")
    live = [tuple(decision[key] for key in keys) for decision in place.decisions()]

    assert ("scraper", 2, 3, "detected") in [decision[:4] for decision in live]
    replayed = place.json("replay", place.telemetry.directory)["decisions"]
    demotions = [tuple(d[key] for key in keys) for d in replayed if d["cause"] == "detected"]
    assert sorted(d for d in live if d[3] == "detected") == sorted(demotions)

"""Stepping back: a daemon under pressure that a test makes, and that ends when the test says so."""

import json
import re
import signal

import pytest
from schemas import check

pytestmark = pytest.mark.usefixtures("by_activity")


@pytest.fixture
def press(place):
    """Write the pressure files that the daemon reads."""
    directory = place.base / "pressure"
    directory.mkdir()

    def write(**percent):
        for name in ("cpu", "memory", "io"):
            temporary = directory / f"{name}.new"
            temporary.write_text(f"some avg10={percent.get(name, 0):.2f} avg60=0.00 avg300=0.00 total=0\n")
            temporary.rename(directory / name)

    write()
    place.env |= {"SENTINELD_THROTTLE_ENABLED": "true", "SENTINELD_THROTTLE_PRESSURE_DIR": str(directory)}
    return write


def backlog(place, events):
    """Append what an honest agent did long ago, 500 bytes a line."""
    records = place.telemetry.normal("biller", 1000, end=1_790_000_000, every=0.1)
    lines = [json.dumps(record | {"data": {"note": "n" * 400}}) for record in records]
    block = ("\n".join(lines) + "\n").encode()
    with (place.telemetry.directory / "biller.jsonl").open("ab") as file:
        file.write(block * (events // 1000))


def test_it_steps_back_says_so_loses_nothing_and_comes_back(place, press, wait_for):
    textfile = place.base / "metrics.prom"
    text = f'[metrics]\ntextfile = "{textfile}"\ninterval = "1s"\n[telemetry]\nrescan_interval = "250ms"\n'
    config = place.config(f"{text}[throttle]\nhold = '1s'\ncpu = 40\n")
    press(cpu=45, memory=2)
    backlog(place, 20_000)
    daemon = place.start("--config", config)

    document = place.json("status")
    check("state", place.state())
    check("status", document)
    assert document["totals"]["events"] == 20_000
    assert document["state"]["throttle"] == {
        "step": "moderate",
        "causes": ["cpu"],
        "pressure": {"cpu": 45.0, "memory": 2.0, "io": 0.0},
    }
    assert "stepping back under pressure (cpu 45 %): moderate" in place.command("status").stdout
    told = daemon.wait_log("throttle_changed")
    assert (told["cause"], told["former"], told["resources"]) == ("moderate", "none", ["cpu"])

    def rested():
        shown = textfile.read_text() if textfile.exists() else ""
        found = re.search(r"^sentineld_throttle_rest_seconds_total (\S+)", shown, re.MULTILINE)
        return found and float(found[1]) > 0 and 'sentineld_throttle{step="moderate"} 1.0' in shown

    wait_for(rested, "rests in the metrics")

    # A demotion of somebody who is not behind waits for nothing.
    place.telemetry.append("scraper.jsonl", *place.telemetry.flood(every=0.01))
    wait_for(lambda: place.tier("scraper") == 3, "demotion under pressure", 5)

    # By another threshold what is there is below half of what calls for it.
    place.config(f"{text}[throttle]\nhold = '1s'\ncpu = 100\n")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: "throttle" not in place.state(), "the end of it")
    assert place.json("status")["state"]["throttle"] == {"step": "none", "causes": [], "pressure": {}}
    assert daemon.stop() == 0


def test_rests_add_up_to_a_bound_and_a_stop_does_not_wait_for_them(place, press, wait_for):
    press(io=100)
    backlog(place, 40_000)
    place.start("--config", place.config("[throttle]\nmax_delay = '200ms'\n")).stop()
    assert place.json("status")["totals"]["events"] == 40_000

    backlog(place, 100_000)
    daemon = place.start(wait=False)
    wait_for(lambda: (place.state() or {}).get("catching_up"), "a backlog")
    assert daemon.stop(5) == 0
    assert (place.state()["status"], place.state().get("catching_up")) == ("shutdown", None)
    assert place.json("status")["totals"]["events"] < 140_000

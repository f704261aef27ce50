"""The wall clock is set while the daemon runs: nothing is lost, nobody is pardoned, nobody is forgotten."""

import json
import shutil
import time
from pathlib import Path

import pytest

HOUR_S, TEN_YEARS_S = 3600, 10 * 365 * 86_400
#: The way back from tier 3 takes it twice.
QUIET_S = 1
CONFIG = f"""
[telemetry]
rescan_interval = "200ms"
[detection]
window = "1s"
[recovery]
quiet_time = "{QUIET_S}s"
"""


def library() -> str:
    """Return what ``faketime`` loads into a program; empty where it is not installed."""
    found = Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1") if shutil.which("faketime") else ()
    return next(map(str, found), "")


pytestmark = pytest.mark.skipif(not library(), reason="faketime is not installed: nothing sets the clock")


class Clock:
    """The wall clock of one daemon, and of no other program."""

    def __init__(self, place) -> None:
        self.file = place.base / "clock"
        self.set(0)
        place.env |= {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset_s: int) -> None:
        new = self.file.with_name("clock.new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self.file)


def tiers(place, agent) -> list[int]:
    """Return the tiers that an agent was given, as the decision log has them."""
    path = place.state_dir / "decisions.jsonl"
    told = path.read_text().splitlines(keepends=True) if path.exists() else []
    decisions = [json.loads(line) for line in told if line.endswith("\n")]
    return [item["to_tier"] for item in decisions if item["agent_id"] == agent]


@pytest.mark.usefixtures("by_activity")
def test_a_clock_that_is_set_pardons_nobody_forgets_nobody_and_loses_nothing(place, wait_for):
    clock = Clock(place)
    daemon = place.start("--config", place.config(CONFIG))
    stepped = 0
    for agent, offsets in {"one": [HOUR_S], "two": [0], "three": [TEN_YEARS_S, 0]}.items():
        began = time.monotonic()
        place.telemetry.append(f"{agent}.jsonl", *place.telemetry.flood(agent))
        # It may be over by now, on a slow machine.
        wait_for(lambda agent=agent: 3 in tiers(place, agent), "demotion")
        for offset in offsets:
            clock.set(offset)
            stepped += 1
            place.telemetry.append("honest.jsonl", *place.telemetry.normal("honest", 1))
            daemon.wait_log("clock_stepped", stepped)
            place.telemetry.append("honest.jsonl", *place.telemetry.normal("honest", 1))
        wait_for(lambda agent=agent: tiers(place, agent)[-1] == 1, "recovery")
        assert time.monotonic() - began >= 2 * QUIET_S, "the clock ended the quiet time"
    steps = [round(item["step_s"]) for item in daemon.logs("clock_stepped")]
    assert steps == [HOUR_S, -HOUR_S, TEN_YEARS_S, -TEN_YEARS_S]
    wait_for(lambda: place.json("status")["agents"]["honest"]["events"] == 8, "every line")
    assert daemon.stop() == 0

    demoted = [d["agent_id"] for d in place.decisions() if d["to_tier"] > d["from_tier"]]
    assert list(dict.fromkeys(demoted)) == ["one", "two", "three"]
    replayed = place.json("replay", "--as-observed", place.telemetry.directory)
    assert replayed["missing"] == []
    assert replayed["decisions"] == place.decisions()
    assert replayed["totals"]["incidents"] == {}

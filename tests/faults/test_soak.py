"""Sizes that take minutes: a thousand rotations, a line of a gigabyte, a million ids of one owner."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
from harness import FLOODING, Place, assert_invariants, committed_version
from live import Agents, ask, daemon, events_counted, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

GIB = 1 << 30


def peak_mib(pid):
    """Return the most memory that a process had, MiB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024


class Rotating(Agents):
    """Agents of which one rotates in each round."""

    def write(self):
        super().write()
        self.rotate(random.Random(self.round).choice(("biller", "mailer", "planner", FLOODING)))


def test_a_thousand_rotations_lose_nothing(tmp_path, record_property):
    place = Place(tmp_path / "place")
    agents = Rotating(place, random.Random(5), 0.01)
    with place.watcher, daemon(place) as process:
        agents.start()
        wait_until(lambda: agents.rotations >= 1000 or agents.error, "1000 rotations", 600)
        agents.stop()
        total = place.by_agent.total()
        wait_until(lambda: events_counted(place) >= total, f"{total} events", 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert_invariants(place)
    record_property("figure", f"{agents.rotations} rotations, {total} events, {len(agents.deleted)} files deleted")


def test_a_line_of_a_gigabyte_costs_no_memory(tmp_path, record_property):
    place = Place(tmp_path / "place")
    place.append("biller", place.records("biller", 1))
    with daemon(place) as process:
        wait_until(lambda: events_counted(place) == 1, "the first line")
        base = peak_mib(process.pid)
        began = time.monotonic()
        with place.file("biller").open("ab", buffering=0) as file:
            for _ in range(GIB >> 20):
                file.write(b"x" * (1 << 20))
            file.write(b"\n")
        place.append("biller", place.records("biller", 1))
        wait_until(lambda: events_counted(place) == 2, "the line behind", 300)
        took, growth = time.monotonic() - began, peak_mib(process.pid) - base
    record_property("figure", f"a line of 1 GiB: {growth} MiB over {base} MiB, {took:.0f} s")
    assert ask(place.database, "SELECT sum(rejected) FROM source") == 1
    assert growth < 64
    place.file("biller").unlink()


def test_a_million_ids_of_one_owner_are_that_owners_trouble(tmp_path, record_property):
    place, count = Place(tmp_path / "place"), 1_000_000
    place.append("biller", place.records("biller", 20))
    with daemon(place) as process:
        wait_until(lambda: events_counted(place) == 20, "the honest agent")
        base, began = peak_mib(process.pid), time.monotonic()
        with (place.telemetry / "flood.jsonl").open("ab") as file:
            for start in range(0, count, 10_000):
                at = round(time.time(), 3)
                lines = [
                    b'{"type":"model_call","source":"a%d","timestamp":%.3f,"data":{}}\n' % (number, at)
                    for number in range(start, start + 10_000)
                ]
                file.write(b"".join(lines))
        wait_until(lambda: events_counted(place) == count + 20, "a million events", 600)
        wait_until(lambda: demoted(place), "a demotion", 30)
        took, peak = time.monotonic() - began, peak_mib(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    figure = f"{count} ids: peak {peak} MiB (before: {base}), {took:.0f} s, demoted {sorted(demoted(place))}"
    record_property("figure", figure)
    assert committed_version(place.database)
    assert peak < 256
    assert "biller" not in demoted(place)
    assert all(tier == 3 for tier in demoted(place).values())


def demoted(place):
    document = json.loads(place.state_file.read_bytes())
    return {name: entry["tier"] for name, entry in document["agents"].items() if entry["tier"] > 1}

"""Sizes that take minutes: a thousand rotations, a line of a gigabyte, a million ids of one owner."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
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
    record_property("figure", f"{agents.rotations} rotations, {total} events, {len(agents.deleted)} deleted")


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


#: Appends so many bytes a second to a file, for so many seconds.
WRITER = """
import os, sys, time
line = b'{"type":"file_read","source":"noisy","timestamp":%.3f,"data":{"text":"' + b"lorem " * 30 + b'"}}\\n'
rate, end, began, done = float(sys.argv[2]), time.time() + float(sys.argv[3]), time.time(), 0
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
while time.time() < end:
    done += os.write(fd, (line % time.time()) * 2000)
    time.sleep(max(0, done / rate - (time.time() - began)))
"""


def test_a_noisy_file_does_not_hold_up_quiet_ones(tmp_path, record_property):
    place, rng, waits = Place(tmp_path / "place"), random.Random(3), []
    counted = "SELECT sum(events) FROM event_type WHERE name = ?"

    def ask_for(name):
        now = time.time()
        record = {"type": name, "source": "quiet", "timestamp": now, "data": {}}
        with (place.telemetry / f"quiet{rng.randrange(100)}.jsonl").open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
        wait_until(lambda: ask(place.database, counted, name), name)
        waits.append(time.time() - now)

    noisy = place.telemetry / "noisy.jsonl"
    with daemon(place):
        for number in range(100):
            (place.telemetry / f"quiet{number}.jsonl").touch()
        ask_for("first")
        with subprocess.Popen([sys.executable, "-c", WRITER, noisy, "85e6", "15"]) as writer:
            wait_until(noisy.exists, "the writer")
            waits.clear()
            while writer.poll() is None:
                ask_for(f"probe{len(waits)}")
        written = noisy.stat().st_size / 1e6
    middle = sorted(waits)[len(waits) // 2]
    figure = f"{written:.0f} MB in 15 s beside 100 quiet files: a line of those is in the database after"
    record_property("figure", f"{figure} {middle:.2f} s, at most {max(waits):.2f} s ({len(waits)} lines)")
    assert max(waits) < 2


@pytest.fixture
def roomy(tmp_path):
    """Make a directory in memory, where there is any: there a million files are quickly made, and gone."""
    shared = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(dir=shared)) if os.access(shared, os.W_OK) else tmp_path
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as two owners")
def test_a_million_files_are_their_owners_trouble(roomy, record_property):
    place, count, uid = Place(roomy / "place"), 1_000_000, 4242
    place.append("biller", place.records("biller", 20))
    line = b'{"type":"plan","source":"flooder","timestamp":1763858410,"data":{}}\n'
    with daemon(place) as process:
        wait_until(lambda: events_counted(place) == 20, "the honest agent")
        base, began = peak_mib(process.pid), time.monotonic()
        gaps = Gaps(place)
        for start in range(0, count, 1000):
            # One directory holds most of them: what is listed must not fill our memory either.
            directory = place.telemetry / ("flood" if start % 10_000 else f"flood{start // 10_000}")
            if not directory.exists():
                directory.mkdir()
                os.chown(directory, uid, uid)
            for number in range(start, start + 1000):
                fd = os.open(directory / f"{number}.jsonl", os.O_CREAT | os.O_WRONLY, 0o644)
                os.fchown(fd, uid, uid)
                if not number % 1000:
                    os.write(fd, line)
                os.close(fd)
            gaps.look()
        made = time.monotonic() - began
        wait_until(lambda: gaps.look() and 3 in demoted(place).values(), "a demotion", 300)
        place.append("biller", place.records("biller", 20))
        asked = time.monotonic()
        own = "SELECT sum(events) FROM event_type WHERE name LIKE 'biller.%'"
        wait_until(lambda: gaps.look() and ask(place.database, own) == 40, "the honest agent is read", 300)
        waited, peak = time.monotonic() - asked, peak_mib(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    record_property(
        "figure",
        f"{count} files in {made:.0f} s: peak {peak} MiB (before: {base}), the state file was renewed after "
        f"{gaps.longest:.1f} s at most, another owner's line was read after {waited:.1f} s",
    )
    assert peak < 256
    assert gaps.longest < 30
    assert "biller" not in demoted(place)


class Gaps:
    """How long the state file stayed as it was."""

    def __init__(self, place):
        self.path = place.state_file
        self.longest = 0.0
        self._last, self._at = b"", time.monotonic()

    def look(self):
        data, now = self.path.read_bytes(), time.monotonic()
        if data != self._last:
            self.longest = max(self.longest, now - self._at)
            self._last, self._at = data, now
        return True


def demoted(place):
    document = json.loads(place.state_file.read_bytes())
    return {name: entry["tier"] for name, entry in document["agents"].items() if entry["tier"] > 1}

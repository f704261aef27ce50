"""A day in short: a seeded random mix of everything that may happen, for as long as one likes.

`make soak-long MINUTES=10` runs it; `SENTINELD_SOAK_SEED` chooses another course of events. Honest agents
append, number their records, rotate, copy and truncate, and delete what was consumed; operators pin and
unpin and reload; the daemon is killed, stopped, frozen and started again; and, where the tests run as root,
another user does to its own telemetry whatever it can think of.
"""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import closing, suppress

import pytest
from harness import AGENTS, FLOODING, Place, assert_sound, check, decisions_of
from live import FLOOD_ROUND, Agents, daemon, events_counted, has_moved, resources, undisturbed, wait_until

from sentineld import requests
from sentineld.step import load_state
from sentineld.store import Store

MINUTES = float(os.environ.get("SENTINELD_SOAK_MINUTES", "0"))
SEED = int(os.environ.get("SENTINELD_SOAK_SEED", "1"))
HOSTILE_UID = 4242
#: Bounds of a daemon that is disturbed and attacked: resident MiB, descriptors, threads.
BOUNDS = (256, 1100, 16)

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(round(MINUTES * 120) + 600),
    pytest.mark.skipif(not MINUTES, reason="make soak-long MINUTES=10"),
]


class Hostile(threading.Thread):
    """Another user, who does to telemetry what it likes; ``done`` counts what it did."""

    def __init__(self, place, rng, pace_s):
        super().__init__(daemon=True)
        self.place, self.rng, self.pace_s = place, rng, pace_s
        self.directory = place.telemetry / "hostile"
        #: Where things are made its own before they are seen.
        self.workshop = place.base / "workshop"
        self.workshop.mkdir()
        self.make_directory()
        self.done = Counter()
        self.error = None
        self._is_done = threading.Event()

    def stop(self):
        self._is_done.set()
        self.join()
        if self.error is not None:
            raise self.error

    def run(self):
        deeds = [getattr(self, name) for name in dir(type(self)) if name.startswith("do_")]
        try:
            while not self._is_done.wait(self.pace_s):
                deed = self.rng.choice(deeds)
                with suppress(FileNotFoundError):
                    deed(self.directory / f"{self.rng.randrange(6)}.jsonl")
                    self.done[deed.__name__[3:]] += 1
        except BaseException as error:  # noqa: BLE001 (raised by stop)
            self.error = error

    def record(self, agent="hostile", **more):
        kind = self.rng.choice(("file_write", "network_request", "plan"))
        return {"type": kind, "source": agent, "timestamp": time.time(), "data": {}, **more}

    def make_directory(self):
        new = self.workshop / "directory"
        new.mkdir()
        os.chown(new, HOSTILE_UID, HOSTILE_UID)
        new.rename(self.directory)

    def write(self, path, data):
        if path.exists():
            with path.open("ab") as file:
                file.write(data)
            return
        new = self.workshop / "file"
        new.write_bytes(data)
        os.chown(new, HOSTILE_UID, HOSTILE_UID)
        new.rename(path)

    def lines(self, *records):
        return b"".join(json.dumps(record).encode() + b"\n" for record in records)

    def do_append(self, path):
        self.write(path, self.lines(*(self.record(f"h{n % 3}") for n in range(self.rng.randrange(200)))))

    def do_claim_a_foreign_id(self, path):
        self.write(path, self.lines(*(self.record(name) for name in AGENTS)))

    def do_write_rubbish(self, path):
        self.write(path, self.rng.choice([b"{", b"\xff\xfe\x00", b"[" * 5000, b"\0" * 999, b"nan"]) + b"\n")

    def do_write_numbers(self, path):
        self.write(path, self.lines(self.record(data={"x": [1.5e300] * self.rng.randrange(19_000)})))

    def do_write_a_long_line(self, path):
        self.write(path, b"x" * self.rng.randrange(3 << 20) + self.rng.choice([b"", b"\n"]))

    def do_skip_numbers(self, path):
        first = self.rng.randrange(1 << 62)
        skip = self.rng.choice([0, 1, 1000])
        self.write(path, self.lines(*(self.record(seq=first + n + skip * (n > 40)) for n in range(90))))

    def do_write_new_ids(self, path):
        self.write(path, self.lines(*(self.record(f"id{self.rng.randrange(10**6)}") for _ in range(300))))

    def do_cut(self, path):
        os.truncate(path, self.rng.randrange(max(1, path.stat().st_size)))

    def do_rewrite(self, path):
        with path.open("r+b") as file:
            file.seek(self.rng.randrange(max(1, path.stat().st_size)))
            file.write(b"#")

    def do_remove(self, path):
        path.unlink()

    def do_rename(self, path):
        path.rename(path.with_name(f"{path.name}.{self.rng.randrange(4)}"))

    def do_replace(self, path):
        new = path.with_name(".new")
        self.write(new, self.lines(self.record()) * self.rng.randrange(50))
        new.rename(path)

    def do_hide(self, path):
        path.chmod(0)
        time.sleep(self.rng.random() / 5)
        with suppress(FileNotFoundError):
            path.chmod(0o644)

    def do_link(self, path):
        name = path.with_name(f"link{self.rng.randrange(3)}.jsonl")
        name.unlink(missing_ok=True)
        if self.rng.random() < 0.5:
            name.symlink_to(self.place.file(self.rng.choice(AGENTS)))
        else:
            # Hard links to files of others the kernel refuses (fs.protected_hardlinks).
            name.hardlink_to(path)

    def do_make_a_pipe(self, path):
        name = path.with_name("pipe.jsonl")
        name.unlink(missing_ok=True)
        os.mkfifo(name)

    def do_write_and_remove(self, path):
        name = path.with_name(f"gone{self.rng.randrange(9)}.jsonl")
        self.write(name, self.lines(self.record()))
        name.unlink()

    def do_exchange_the_directory(self, _path):
        if self.rng.random() < 0.05:
            away = self.place.base / "away"
            self.directory.rename(away)
            self.make_directory()
            for name in away.iterdir():
                name.unlink()
            away.rmdir()


class Drill:
    """What happens to the daemon, for a while."""

    def __init__(self, place, rng, end):
        self.place, self.rng, self.end = place, rng, end
        self.done = Counter()
        self.peaks = [0, 0, 0]

    def run(self):
        while time.monotonic() < self.end:
            before = events_counted(self.place)
            with daemon(self.place) as process:
                wait_until(lambda p=process, n=before: has_moved(self.place, p, n), "events counted")
                life = min(self.end, time.monotonic() + self.rng.expovariate(1 / 5))
                while time.monotonic() < life:
                    self.disturb(process)
                    time.sleep(self.rng.random() / 4)
                    self.look(process)
                if self.rng.random() < 0.3:
                    self.done["stopped"] += 1
                    process.send_signal(signal.SIGTERM)
                    check("INV9", process.wait(60) == 0, "it does not stop")
                else:
                    self.done["killed"] += 1
            assert_sound(self.place)

    def disturb(self, process):
        deed = self.rng.choice(("freeze", "reload", "wish", "nothing"))
        self.done[deed] += 1
        if deed == "freeze":
            process.send_signal(signal.SIGSTOP)
            time.sleep(self.rng.random())
            process.send_signal(signal.SIGCONT)
        elif deed == "reload":
            process.send_signal(signal.SIGHUP)
        elif deed == "wish":
            wish = requests.Request(self.rng.choice(("pin", "unpin")), "biller", "drill", tier=2)
            requests.submit(str(self.place.state_dir / "requests"), wish)

    def look(self, process):
        check("INV9", process.poll() is None, (self.place.base / "output").read_text()[-2000:])
        self.peaks = list(map(max, self.peaks, resources(process.pid)))
        check("INV11", all(map(int.__le__, self.peaks, BOUNDS)), f"{self.peaks} of {BOUNDS}")


def honest(decisions):
    """Keep what was decided of honest agents, less the drill: who does what is pinned is not compared."""
    return sorted(row for row in decisions if row[0] in AGENTS and row[0] != "biller")


def assert_honest_agents_are_whole(place, calm):
    with Store.open_readonly(str(place.database)) as store:
        counted = {row.name: load_state(row.state).events for row in store.agents()}
        for source in store.sources():
            parts = source.accepted + source.ignored + source.rejected + source.duplicates
            check("INV1", source.lines == parts, source)
    check("INV1", {name: counted.get(name) for name in AGENTS} == dict(place.by_agent), counted)
    own = Counter({name: n for name, n in place.by_type.items() if "." in name})
    with closing(place.db()) as db:
        by_type = dict(db.execute("SELECT name, events FROM event_type"))
    wrong = {name: (by_type.get(name), n) for name, n in own.items() if by_type.get(name) != n}
    check("INV1", not wrong, f"type: (counted, written) {dict(list(wrong.items())[:5])}")
    check("INV10", honest(decisions_of(place)) == honest(decisions_of(calm)), honest(decisions_of(place)))


def test_a_random_mix_over_a_long_time_breaks_nothing(tmp_path, record_property):
    rng = random.Random(SEED)
    place = Place(tmp_path / "place")
    agents = Agents(place, random.Random(rng.random()), 0.2)
    hostile = Hostile(place, random.Random(rng.random()), 0.05) if os.geteuid() == 0 else None
    drill = Drill(place, random.Random(rng.random()), time.monotonic() + 60 * MINUTES)
    with place.watcher:
        agents.start()
        if hostile is not None:
            hostile.start()
        drill.run()
        wait_until(lambda: agents.round >= 5 * FLOOD_ROUND or agents.error, "a flood worth tier 3")
        agents.stop()
        if hostile is not None:
            hostile.stop()
        total = place.by_agent.total()

        def is_whole():
            with Store.open_readonly(str(place.database)) as store:
                return (
                    sum(load_state(row.state).events for row in store.agents() if row.name in AGENTS) >= total
                )

        with daemon(place) as process:
            wait_until(is_whole, f"{total} events of honest agents counted")
            drill.look(process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    assert_sound(place)
    assert_honest_agents_are_whole(place, undisturbed(place, tmp_path / "calm"))
    assert (FLOODING, 3) in {(row[0], row[2]) for row in decisions_of(place)}
    if hostile is not None:
        tiers = {row[2] for row in decisions_of(place) if row[0] not in AGENTS}
        check("charged", 3 in tiers, "whoever did all that was not demoted")
        record_property("figure", f"deeds of another user: {dict(hostile.done)}")
    figures = f"{total} events, {agents.rotations} rotations, {dict(drill.done)}, peaks {drill.peaks}"
    record_property("figure", f"{MINUTES:g} min, seed {SEED}: {figures}, 0 violations")

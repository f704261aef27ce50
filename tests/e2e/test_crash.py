"""Kill -9 at random moments: the result equals that of a run that nobody disturbed.

The writer appends, rotates by rename and deletes what was consumed: a rotated file goes as soon as the
database has its last byte.
"""

import json
import os
import random
import sqlite3
import threading
import time

import pytest

from sentineld.clock import boot_id, boottime_ms, now_us
from sentineld.errors import StateFileError
from sentineld.keys import load_key
from sentineld.state_file import read_state

AGENTS = ("biller", "mailer", "scraper")
CONFIG = """
[telemetry]
rescan_interval = "300ms"
[state]
valid_for = "60s"
key_file = "signing.key"
key_id = "k1"
[detection]
# What goes on is a flood.
mode = "activity"
"""


def rounds(telemetry, count):
    """Yield what is written, round by round: two honest agents, and one that floods from half-way on."""
    now = time.time()
    for number in range(count):
        batch = {
            agent: [
                telemetry.record(agent, "model_call", now - n, note="reads a report", turn=number)
                for n in range(20)
            ]
            for agent in AGENTS[:2]
        }
        is_flooding = number >= count // 2
        batch["scraper"] = telemetry.flood(count=30, end=now) if is_flooding else []
        yield batch


class Writer(threading.Thread):
    """Appends round after round to one file an agent; rotates by rename; deletes what was consumed."""

    def __init__(self, telemetry, batches, database, pace_s):
        super().__init__(daemon=True)
        self.telemetry, self.batches, self.database, self.pace_s = telemetry, batches, database, pace_s
        self.waiting, self.deleted, self.error = [], set(), None

    def ask(self, query, *values):
        try:
            db = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
            try:
                return db.execute(query, values).fetchone()[0]
            finally:
                db.close()
        except sqlite3.OperationalError:
            return 0

    def consumed(self):
        return self.ask("SELECT events FROM meta")

    def is_consumed(self, path):
        status = path.stat()
        query = "SELECT max(id) FROM source WHERE ino = ? AND pos = ? AND is_gone = 0"
        source = self.ask(query, str(status.st_ino), status.st_size) or 0
        # While no daemon looks, its inode may be known as that of another file, which was deleted.
        if status.st_size and source in {0, *self.deleted}:
            return False
        self.deleted.add(source)
        return True

    def run(self):
        try:
            self.write()
        except BaseException as error:
            self.error = error
            raise

    def write(self):
        for number, batch in enumerate(self.batches):
            for agent, records in batch.items():
                # Torn writes: a line arrives in two pieces.
                data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
                for piece in (data[:777], data[777:]):
                    self.telemetry.append(f"{agent}.jsonl", piece)
            if number % 4 == 3:
                agent = AGENTS[number // 4 % len(AGENTS)]
                path = self.telemetry.directory / f"{agent}.jsonl"
                rotated = path.with_name(f"{agent}.jsonl.{number}")
                path.rename(rotated)
                self.waiting.append(rotated)
            self.tidy()
            time.sleep(self.pace_s)  # the pace of the agents; nothing is awaited by it
        end = time.monotonic() + 120
        while self.waiting and time.monotonic() < end:
            self.tidy()
            time.sleep(0.02)

    def tidy(self):
        """Delete what was consumed, as they do who rotate."""
        for path in [path for path in self.waiting if self.is_consumed(path)]:
            path.unlink()
            self.waiting.remove(path)


class Reader(threading.Thread):
    """Reads the state file all the time, as a router does; remembers what must not happen."""

    def __init__(self, path, key):
        super().__init__(daemon=True)
        self.path, self.key, self.is_done = path, key, False
        self.wrong, self.reads, self.highest = [], 0, None

    def run(self):
        while not self.is_done:
            try:
                view = read_state(
                    self.path,
                    keys=[self.key],
                    now_us=now_us(),
                    boottime_ms=boottime_ms(),
                    boot_id=boot_id(),
                    floor=self.highest,
                )
            except StateFileError as error:
                if "missing" not in str(error) or self.highest is not None:
                    self.wrong.append(str(error))
            else:
                self.reads += 1
                self.highest = view.version
            time.sleep(0.005)  # leave the processor to the others


def summary(place):
    status = place.json("status", "--config", place.base / "sentineld.toml")
    totals = status["totals"]
    return {
        "events": {name: entry["events"] for name, entry in status["agents"].items()},
        "tiers": {name: entry["tier"] for name, entry in status["agents"].items()},
        "totals": {
            key: totals[key]
            for key in ("events", "accepted", "ignored", "rejects", "duplicates", "bytes", "by_type")
        },
        "decisions": [(d["agent_id"], d["from_tier"], d["to_tier"], d["cause"]) for d in place.decisions()],
    }


def test_eight_kills_change_nothing(place, wait_for):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    place.command("keygen", "signing.key")
    config = place.config(CONFIG)
    batches = list(rounds(place.telemetry, 70))
    total = sum(len(records) for batch in batches for records in batch.values())
    expected = {agent: sum(len(batch[agent]) for batch in batches) for agent in AGENTS}
    writer = Writer(place.telemetry, batches, place.state_dir / "sentineld.db", 0.09)
    reader = Reader(place.state_file, load_key(place.base / "signing.key", "k1"))
    reader.start()

    daemon = place.start("--config", config)
    writer.start()
    for _ in range(8):
        wait_for(lambda d=daemon: d.logs("started"), "start")
        # From the moment that it works: a moment within which it reads, commits, publishes or starts.
        time.sleep(rng.random() * 0.5)
        daemon.kill()
        daemon = place.start("--config", config, wait=False)
    writer.join()
    assert writer.error is None
    wait_for(lambda: writer.consumed() >= total, "everything read")
    daemon.wait_log("started")
    wait_for(lambda: place.state()["status"] == "ok", "ok")
    assert daemon.stop() == 0
    reader.is_done = True
    reader.join()

    got = summary(place)
    assert got["events"] == expected
    assert reader.wrong == []
    assert reader.reads > 100
    assert writer.waiting == [], "consumed files were deleted"

    # The same input again, undisturbed.
    calm = type(place)(place.base / "calm", type(place.telemetry)(place.base / "calm" / "telemetry"), {})
    calm.telemetry.directory.mkdir(parents=True)
    (calm.base / "signing.key").write_bytes((place.base / "signing.key").read_bytes())
    (calm.base / "signing.key").chmod(0o600)
    undisturbed = calm.start("--config", calm.config(CONFIG))
    other = Writer(calm.telemetry, batches, calm.state_dir / "sentineld.db", 0.02)
    other.start()
    other.join()
    wait_for(lambda: other.consumed() >= total, "everything read")
    assert undisturbed.stop() == 0
    assert got == summary(calm)
    assert ("scraper", 2, 3, "detected") in got["decisions"]

    # The decision log tells of every decision, some twice, all as the database has them.
    lines = [json.loads(line) for line in (place.state_dir / "decisions.jsonl").read_text().splitlines()]
    unique = {line["decision_no"]: line for line in lines}
    assert [unique[number] for number in sorted(unique)] == place.decisions()
    with sqlite3.connect(place.state_dir / "sentineld.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert os.path.getsize(place.state_dir / "decisions.jsonl") > 0


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize("torn", [0, 1, 30])
def test_a_crash_between_the_decision_log_and_its_note_writes_no_line_twice(place, torn):
    place.telemetry.fill()
    place.once()
    path = place.state_dir / "decisions.jsonl"
    whole = path.read_bytes()
    assert whole.count(b"\n") == 2
    with sqlite3.connect(place.state_dir / "sentineld.db") as database:
        database.execute("UPDATE meta SET logged_no = 0")
    database.close()
    path.write_bytes(whole[: len(whole) - torn])
    place.once()

    lines = path.read_bytes().splitlines()
    if torn > 1:
        # What was torn stays on a line of its own, and is written again.
        del lines[1]
    assert lines == whole.splitlines()

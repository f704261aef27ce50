"""The process and what it stands on: stopped and continued, short of memory, blind, its places taken away."""

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from sentineld.instant import parse_iso
from sentineld.router import TierRouter

FLOODING = "scraper"
SHORT = '[state]\nvalid_for = "1s"\n[telemetry]\nrescan_interval = "200ms"\n'
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def count(place) -> int:
    return json.loads(place.command("status", "--json").stdout)["totals"]["events"]


def faults(place) -> list[str]:
    return (place.state() or {}).get("faults", [])


def fill(file) -> None:
    with suppress(OSError):
        while file.write(b"x" * 4096):
            pass


@pytest.fixture
def mount():
    """Mount things; they are unmounted at the end."""
    places: list[Path] = []

    def do(*args: object, at: Path) -> None:
        at.mkdir(exist_ok=True)
        if subprocess.run(["mount", *map(str, args), at], capture_output=True).returncode:
            pytest.skip("this machine does not let us mount")
        places.append(at)

    yield do
    for path in places:
        subprocess.run(["umount", "-l", path], capture_output=True)


def test_a_daemon_that_was_stopped_expires_and_then_catches_up_with_all_of_it(place, wait_for):
    place.telemetry.append("a.jsonl", *place.telemetry.normal("biller", 10))
    daemon = place.start("--config", place.config(SHORT))
    router = TierRouter(state_file=place.state_file)
    wait_for(lambda: router.behavior_tier("biller") == 1, "it is believed")
    daemon.signal(signal.SIGSTOP)
    now = time.time()
    lines = [json.dumps(place.telemetry.record("biller", "plan", now, n=n)) for n in range(5000)]
    for number in range(10):
        place.telemetry.append(f"{number}.jsonl", *(f"{line}\n".encode() for line in lines))
    wait_for(lambda: router.behavior_tier("biller") == 3, "readers restrict")
    assert "stale" in router.behavior("biller").reason
    daemon.signal(signal.SIGCONT)

    wait_for(lambda: router.behavior("biller").is_usable, "it publishes again")
    wait_for(lambda: count(place) == 50_010, "every event")
    wait_for(lambda: router.behavior_tier("biller") == 1, "nobody is restricted")
    assert daemon.stop() == 0
    assert len({item["seq"] for item in daemon.logs("stopped")}) == 1


@pytest.mark.usefixtures("by_activity")
@is_root
def test_a_state_file_without_room_expires_and_is_made_up_for(place, wait_for, mount):
    public = place.base / "public"
    mount("-t", "tmpfs", "-o", "size=16k,mode=0755", "none", at=public)
    state_file = public / "state.json"
    daemon = place.start("--config", place.config(SHORT), "--state-file", state_file, wait=False)
    router = TierRouter(state_file=state_file)
    wait_for(lambda: router.behavior("a").is_usable, "first publish")
    before = state_file.read_bytes()
    with (public / "filler").open("ab", buffering=0) as file:
        # Again and again: a temporary file that was there at the first attempt has left room behind.
        wait_for(lambda: fill(file) or daemon.logs("publish_failed"), "no room")

    wait_for(lambda: "stale" in router.behavior("a").reason, "expiry")
    # An older one, whole, and nothing half written beside it.
    assert json.loads(before)["seq"] <= json.loads(state_file.read_bytes())["seq"]
    assert sorted(os.listdir(public)) == ["filler", "state.json"]
    assert daemon.process.poll() is None
    place.telemetry.fill()
    wait_for(lambda: daemon.logs("agent_demoted"), "decisions go on")
    (public / "filler").unlink()
    wait_for(lambda: router.behavior_tier(FLOODING) == 3 and router.behavior_tier("biller") == 1, "all of it")
    assert daemon.stop() == 0


def test_a_limit_of_memory_is_not_reached_by_hostile_input(place, wait_for):
    limit = 700 << 20
    daemon = place.start(
        "--config",
        place.config(SHORT),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    now = time.time()
    deep = b"[" * 100_000 + b"\n"
    wide = json.dumps(place.telemetry.record("wide", "plan", now, x=list(range(100_000)))).encode() + b"\n"
    ids = [place.telemetry.record(f"id-{n}", "plan", now) for n in range(12_000)]
    place.telemetry.append("a.jsonl", *([deep, wide] * 20), b"x" * (40 << 20), b"\n", *ids)
    place.telemetry.append("b.jsonl", *place.telemetry.normal("biller", 10))

    wait_for(lambda: count(place) >= 12_010, "what is sound counts")
    assert daemon.process.poll() is None
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 256 << 10
    assert daemon.stop() == 0


@pytest.fixture
def memory_group():
    """Make a control group of 128 MiB; yield how to enter it, and how to read one of its files."""
    base = Path("/sys/fs/cgroup/memory")
    base = base if base.is_dir() else Path("/sys/fs/cgroup")
    group = base / f"sentineld-{os.getpid()}"
    names = ("memory.limit_in_bytes", "memory.max")
    try:
        group.mkdir()
        [limit] = [group / name for name in names if (group / name).exists()]
        limit.write_text(str(128 << 20))
    except (OSError, ValueError):
        with suppress(OSError):
            group.rmdir()
        pytest.skip("this machine does not let us make a control group for memory")
    members = group / "cgroup.procs"
    yield lambda: members.write_text(str(os.getpid())), lambda name: (group / name).read_text()
    with suppress(OSError):
        # Busy where a daemon that failed is still in it.
        group.rmdir()


@pytest.mark.soak
def test_inside_a_control_group_bounds_of_our_own_come_before_the_killer(place, wait_for, memory_group):
    enter, read = memory_group
    daemon = place.start("--config", place.config(SHORT), preexec_fn=enter)
    assert str(daemon.pid) in read("cgroup.procs").split()
    now = time.time()
    ids = [place.telemetry.record(f"id-{n}", "plan", now) for n in range(5_000)]
    wide = json.dumps(place.telemetry.record("wide", "plan", now, x=[1e300] * 19_000)).encode() + b"\n"
    place.telemetry.append("a.jsonl", *([wide] * 20), b"x" * (150 << 20), b"\n", *ids)
    place.telemetry.append("b.jsonl", *place.telemetry.normal("biller", 10))

    wait_for(lambda: count(place) > 5_029, "what is sound counts")
    assert daemon.process.poll() is None
    killed = [
        line.split()[1] for name in ("memory.oom_control", "memory.events") for line in lines_of(read, name)
    ]
    assert set(killed) == {"0"}
    assert daemon.stop() == 0


def lines_of(read, name):
    with suppress(FileNotFoundError):
        return [line for line in read(name).splitlines() if line.startswith("oom_kill ")]
    return []


# Suspend


def can_unshare_time() -> bool:
    command = ["unshare", "-T", "--boottime", "1", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare_time(), reason="no time namespaces here")
def test_after_a_suspend_what_was_published_before_is_stale(place):
    place.telemetry.append("a.jsonl", *place.telemetry.normal("biller", 10))
    place.start().kill()
    tier = [
        sys.executable,
        "-m",
        "sentineld",
        "tier",
        "biller",
        "--json",
        "--state-dir",
        str(place.state_dir),
    ]

    def asked(*before: str) -> tuple[int, int, str]:
        done = subprocess.run([*before, *tier], env=place.environment(), capture_output=True, check=False)
        document = json.loads(done.stdout)
        return done.returncode, document["tier"], document["reason"]

    # The wall clock stands where it stood: somebody set it back, or nothing has set it yet.
    assert asked()[:2] == (0, 1)
    code, told, reason = asked("unshare", "-T", "--boottime", "3600")
    assert (code, told) == (1, 3)
    assert "stale" in reason or "expired" in reason


# Blindness


def test_a_telemetry_directory_that_goes_is_a_fault_until_it_is_back(place, wait_for):
    place.telemetry.fill()
    never = place.base / "never"
    daemon = place.start("--config", place.config(SHORT), "--telemetry", never)
    assert faults(place) == []
    place.telemetry.directory.rename(place.base / "away")

    wait_for(lambda: faults(place) == ["telemetry"], "readers are told")
    assert place.state()["status"] == "degraded"
    shown = wait_for(
        lambda: (done := place.command("status")).returncode == 0 and done.stdout, "it is believed"
    )
    assert "telemetry" in shown
    assert str(place.telemetry.directory) in daemon.wait_log("telemetry_lost")["cause"]
    # A restart does not make it forget.
    assert daemon.stop() == 0
    daemon = place.start("--config", place.config(SHORT), wait=False)
    wait_for(lambda: (place.state() or {}).get("status") == "degraded", "told by the next one")
    assert faults(place) == ["telemetry"]

    (place.base / "away").rename(place.telemetry.directory)
    wait_for(lambda: faults(place) == [] and place.state()["status"] == "ok", "ok")
    assert daemon.wait_log("telemetry_resumed")
    assert count(place) == 420
    assert daemon.stop() == 0


@is_root
def test_a_telemetry_directory_that_is_unmounted_is_a_fault_though_its_place_is_there(place, wait_for, mount):
    mount("-t", "tmpfs", "none", at=place.telemetry.directory)
    place.telemetry.fill()
    daemon = place.start("--config", place.config(SHORT))
    wait_for(lambda: count(place) == 420, "all of it")
    subprocess.run(["umount", "-l", place.telemetry.directory], check=True)
    wait_for(lambda: faults(place) == ["telemetry"], "readers are told")
    # Somebody mounts what is meant to be there.
    mount("-t", "tmpfs", "none", at=place.telemetry.directory)
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller", 5))

    wait_for(lambda: faults(place) == [], "it can be read")
    assert daemon.stop() == 0


def test_a_telemetry_directory_that_may_not_be_read_is_a_fault(place, wait_for, as_mortal):
    place.telemetry.fill()
    daemon = place.start("--config", place.config(SHORT), **as_mortal)
    place.telemetry.directory.chmod(0)
    try:
        wait_for(lambda: faults(place) == ["telemetry"], "readers are told")
    finally:
        place.telemetry.directory.chmod(0o755)
    wait_for(lambda: faults(place) == [], "it can be read")
    assert daemon.stop() == 0


# The database: damage that SQLite does not see, and locks


@pytest.mark.usefixtures("by_activity")
def test_an_agent_that_is_damaged_in_the_database_is_restricted_and_nobody_else(place, wait_for):
    place.telemetry.fill()
    place.once()
    with closing(sqlite3.connect(place.state_dir / "sentineld.db")) as db, db:
        db.execute("UPDATE agent SET state = substr(state, 1, 50) WHERE name = 'biller'")
    assert place.command("status").returncode == 0
    daemon = place.start("--config", place.config(SHORT))
    # Whoever is at tier 1 and silent is not even looked for.
    place.telemetry.append("biller.jsonl", *place.telemetry.normal("biller", 1))

    wait_for(
        lambda: place.state()["agents"].get("biller", {}).get("decision", "d-000000") != "d-000000",
        "a decision",
    )
    wait_for(lambda: place.state()["status"] == "ok", "everything is read")
    state = place.state()
    assert state["agents"]["biller"]["reason_code"] == "damaged"
    assert {name: item["tier"] for name, item in state["agents"].items()} == {"biller": 3, FLOODING: 3}
    assert state["unlisted_tier"] == 1
    shown = place.command("why", "biller").stdout
    assert "damaged in the database" in shown
    assert max(len(line) for line in shown.splitlines() if str(place.base) not in line) <= 100
    assert place.json("pardon", "biller", "--reason", "seen")["decision"]["to_tier"] == 1
    assert daemon.stop() == 0
    assert not list(place.state_dir.glob("*.corrupt-*"))


def test_a_lock_that_ends_lets_a_short_lived_state_file_go_on_soon(place, wait_for):
    place.telemetry.fill()
    daemon = place.start("--config", place.config(SHORT))
    router = TierRouter(state_file=place.state_file)

    def delays_s() -> tuple[float, float]:
        with closing(sqlite3.connect(place.state_dir / "sentineld.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            told = wait_for(
                lambda: faults(place) == ["storage"] and place.state(), "readers are told while it lasts"
            )
            until_told = time.monotonic() - began
            assert parse_iso(told["valid_until"]) > parse_iso(told["generated_at"])
            wait_for(lambda: not router.behavior("biller").is_usable, "expiry")
            wait_for(lambda: time.monotonic() - began > 3.5, "a lock of seconds")
            other.execute("ROLLBACK")
        ended = time.monotonic()
        wait_for(lambda: router.behavior_tier("biller") == 1 and not faults(place), "it goes on")
        return until_told, time.monotonic() - ended

    # Before it expires, and not after SQLite's patience of seconds, unless others hold it up.
    assert any(told < 2 and resumed < 1.5 for told, resumed in (delays_s() for _ in range(10)))
    assert daemon.stop() == 0

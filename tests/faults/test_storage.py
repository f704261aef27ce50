"""Storage that fails: what the daemon says, what readers see meanwhile, and that nothing is lost."""

import ctypes
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sentineld.instant import parse_iso

FLOODING = "scraper"
#: A user who owns nothing.
NOBODY = 54_321
SHORT = '[state]\nvalid_for = "2s"\n[telemetry]\nrescan_interval = "1s"\n'
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and give files away")


@pytest.fixture
def small_disk(place):
    """Mount a small file system over the state directory."""
    place.state_dir.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k,mode=0755", "none", place.state_dir], capture_output=True
    )
    if made.returncode:
        pytest.skip("this machine does not let us mount")
    yield place.state_dir
    for daemon in place.daemons:
        if daemon.process.poll() is None:
            daemon.kill()
    subprocess.run(["umount", place.state_dir], check=True)


def resize(directory: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", directory], check=True)


def is_degraded(place, fault: str) -> bool:
    state = place.state() or {}
    return state.get("status") == "degraded" and fault in state.get("faults", ())


def events(place, *args: object) -> int:
    # While it degrades the state file may expire: that is told by the exit code, and no matter here.
    return json.loads(place.command("status", *args, "--json").stdout)["totals"]["events"]


def as_another(place, *args: object, limit: str = "") -> list[str]:
    """Return the command line of a process that imports everything, and then is another user's."""
    code = (
        "import os, resource, sys, sentineld.cli.app\n"
        "from importlib import import_module\n"
        "for name in ('run', 'status', 'why', 'log'): import_module('sentineld.cli.' + name)\n"
        "import watchdog.observers.inotify, json.decoder, encodings.ascii, importlib.resources.readers\n"
        f"os.setgroups([]); os.setgid({NOBODY}); {limit or 0}; os.setuid({NOBODY})\n"
        "from sentineld.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, *map(str, args), "--state-dir", str(place.state_dir)]


def many(place, count: int = 200) -> list[bytes]:
    """Return records of many agents: each is a row of its own."""
    now = time.time()
    return [
        json.dumps(place.telemetry.record(f"a{n}", "file_read", now, note=f"{n}")).encode() + b"\n"
        for n in range(count)
    ]


@is_root
def test_a_disk_that_fills_up_degrades_and_loses_nothing(place, wait_for, small_disk):
    public = place.base / "public"
    public.mkdir()
    config = place.config(SHORT.replace("[state]\n", f'[state]\nfile = "{public}/state.json"\n'))
    daemon = place.start("--config", config, wait=False)
    wait_for((public / "state.json").exists, "first publish")
    (small_disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 20_000))
    place.telemetry.append("a.jsonl", *many(place))
    told = daemon.wait_log("storage_failed")
    assert "full" in told["error"]
    told = wait_for(
        lambda: (doc := json.loads((public / "state.json").read_bytes()))["status"] == "degraded" and doc,
        "readers are told",
    )
    assert told["faults"] == ["storage"]
    assert daemon.process.poll() is None
    resize(small_disk, "16m")

    wait_for(lambda: events(place, "--config", config) == 200, "recovery")
    wait_for(lambda: json.loads((public / "state.json").read_bytes())["status"] == "ok", "ok")
    assert daemon.stop() == 0


@pytest.mark.usefixtures("by_activity")
@is_root
def test_a_first_start_on_a_full_disk_waits_for_room(place, wait_for, small_disk):
    for name in ("requests", "rejects"):
        (small_disk / name).mkdir(mode=0o700)
    (small_disk / "ballast").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
    place.telemetry.fill()
    daemon = place.start(wait=False)
    daemon.wait_log("storage_failed")
    once = place.command("run", "--once", "--telemetry", place.telemetry.directory)
    assert once.returncode == 75, "it lives, and holds the directory"
    (small_disk / "ballast").unlink()
    resize(small_disk, "16m")

    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
    assert daemon.stop() == 0


@is_root
def test_a_single_run_on_a_full_disk_ends_with_a_code_that_is_tried_again(place, small_disk):
    for name in ("requests", "rejects"):
        (small_disk / name).mkdir(mode=0o700)
    (small_disk / "ballast").write_bytes(b"x" * shutil.disk_usage(small_disk).free)

    done = place.command("run", "--once", "--telemetry", place.telemetry.directory)

    assert done.returncode == 74, done.stderr
    assert "try: make room" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_size_limit_degrades_and_loses_nothing(place, wait_for):
    daemon = place.start("--config", place.config(SHORT))
    files = ("sentineld.db", "sentineld.db-wal", "state.json")
    limit = max((place.state_dir / name).stat().st_size for name in files) + 8192
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    place.telemetry.append("a.jsonl", *many(place))
    daemon.wait_log("storage_failed")
    wait_for(lambda: is_degraded(place, "storage"), "readers are told")
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    wait_for(lambda: events(place) == 200, "recovery")
    wait_for(lambda: place.state()["status"] == "ok", "ok")
    assert daemon.stop() == 0


@pytest.mark.usefixtures("by_activity")
def test_a_database_that_is_locked_is_told_without_a_longer_validity(place, wait_for):
    place.telemetry.fill()
    daemon = place.start()
    wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
    with closing(sqlite3.connect(place.state_dir / "sentineld.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = place.state()
        place.telemetry.append("a.jsonl", *many(place, 5))
        wait_for(lambda: is_degraded(place, "storage"), "readers are told, though nothing can be committed")
        told = place.state()
        status = place.json("status")
        other.execute("ROLLBACK")

    assert told["agents"] == before["agents"]
    assert (told["epoch"], told["seq"]) == (before["epoch"], before["seq"] + 1)
    # Two clocks are read one after the other, on a machine that may be busy.
    assert parse_iso(told["valid_until"]) <= parse_iso(before["valid_until"]) + 200_000
    assert status["state"]["faults"] == ["storage"]
    wait_for(lambda: events(place) == 425, "recovery")
    wait_for(lambda: place.state()["status"] == "ok", "ok")
    assert place.state()["seq"] > told["seq"]
    assert daemon.stop() == 0


@pytest.mark.parametrize("kind", ["page", "missing"])
def test_lost_memory_restricts_everybody_until_it_is_made_up_for(place, wait_for, kind):
    place.telemetry.fill()
    place.once()
    before = place.state()
    path = place.state_dir / "sentineld.db"
    if kind == "page":
        data = bytearray(path.read_bytes())
        data[8192:] = os.urandom(len(data) - 8192)
        path.write_bytes(data)
    else:
        path.unlink()
    text = '[recovery]\nquiet_time = "1h"\n[detection]\nwindow = "1s"\n[telemetry]\nrescan_interval = "1s"\n'
    config = place.config(text)
    daemon = place.start("--config", config, wait=False)
    wait_for(lambda: is_degraded(place, "memory_lost"), "degraded")
    state = place.state()
    assert state["unlisted_tier"] == 3
    assert (state["epoch"], state["seq"]) > (before["epoch"], before["seq"])
    assert all(item["tier"] == 3 for item in state["agents"].values())
    assert place.command("tier", "biller").returncode == 1
    status = place.json("status", "--config", config)
    assert status["state"]["faults"] == ["memory_lost"]
    assert status["storage"]["memory_lost_why"]
    wait_for(lambda: place.json("status")["totals"]["events"] == 420, "what is there is read again")
    assert daemon.logs("memory_lost")

    # An hour is long: the configuration is the operator's.
    place.config(text.replace("1h", "1s"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("memory_rebuilt")
    wait_for(lambda: place.state()["status"] == "ok", "ok")
    assert place.command("tier", "biller").returncode == 0
    assert place.json("status")["storage"]["memory_lost_at"] is None
    assert daemon.stop() == 0


def test_observing_restricts_nobody_also_without_memory(place):
    place.telemetry.fill()
    place.once("--mode", "observe")
    (place.state_dir / "sentineld.db").unlink()
    place.once("--mode", "observe")
    state = place.state()

    assert (state["unlisted_tier"], state["agents"], state["faults"]) == (1, {}, ["memory_lost"])


@pytest.mark.usefixtures("by_activity")
def test_a_state_directory_that_is_removed_while_it_is_used_is_made_anew(place, wait_for):
    place.telemetry.fill()
    daemon = place.start("--config", place.config(SHORT))
    decisions = place.decisions()
    shutil.rmtree(place.state_dir)
    place.telemetry.append("a.jsonl", *many(place, 5))

    wait_for(lambda: place.state_file.exists() and place.state()["status"] == "ok", "recovery")
    wait_for(lambda: events(place) == 425, "nothing is lost, nothing counts twice")
    assert place.decisions() == decisions
    assert place.tier(FLOODING) == 3
    second = place.command("run", "--telemetry", place.telemetry.directory)
    assert second.returncode == 75
    assert str(daemon.pid) in second.stderr
    assert daemon.stop() == 0


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize("content", ["999999\n", "x\n", "", "\x1b[31m\xff"])
def test_whatever_a_lock_file_says_it_locks_nothing(place, content):
    place.state_dir.mkdir()
    (place.state_dir / "lock").write_text(content, encoding="latin-1")
    place.telemetry.fill()
    place.once()

    assert place.tier(FLOODING) == 3


def test_a_lock_that_is_a_link_is_not_followed(place):
    place.state_dir.mkdir()
    (place.base / "victim").write_text("precious")
    (place.state_dir / "lock").symlink_to(place.base / "victim")

    done = place.command("run", "--once", "--telemetry", place.telemetry.directory)

    assert done.returncode == 77
    assert (place.base / "victim").read_text() == "precious"


def test_few_descriptors_suffice_for_many_files(place):
    for number in range(500):
        place.telemetry.append(f"{number}.jsonl", place.telemetry.record("a", "file_read", time.time()))
    place.once(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)))

    totals = place.json("status")["totals"]
    assert (totals["events"], totals["files"]) == (500, 500)


@pytest.mark.usefixtures("by_activity")
@is_root
def test_a_limit_of_processes_degrades_to_looking_by_itself(place, wait_for):
    place.telemetry.fill()
    for path in [place.base, *place.base.parents][:4]:
        path.chmod(path.stat().st_mode | 0o055)
    place.state_dir.mkdir()
    os.chown(place.state_dir, NOBODY, NOBODY)
    limit = "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))"
    argv = as_another(
        place, "run", "--config", place.config(SHORT), "--telemetry", place.telemetry.directory, limit=limit
    )
    with (place.base / "err").open("wb") as err:
        process = subprocess.Popen(argv, env=place.environment(), cwd=place.base, stderr=err)
    try:
        wait_for(lambda: place.tier(FLOODING) == 3, "demotion")
        place.telemetry.append("a.jsonl", *many(place, 5))
        wait_for(lambda: events(place) == 425, "what is written later is found by looking")
        process.terminate()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()


def test_a_storm_of_reloads_is_answered_once_and_leaks_nothing(place, wait_for):
    place.telemetry.fill()
    daemon = place.start("--config", place.config(SHORT))
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("config_reloaded")

    def sizes() -> tuple[int, int]:
        base = Path(f"/proc/{daemon.pid}")
        return len(list((base / "fd").iterdir())), len(list((base / "task").iterdir()))

    before = sizes()
    for _ in range(1000):
        daemon.signal(signal.SIGHUP)
    place.telemetry.append("a.jsonl", *many(place, 5))
    wait_for(lambda: events(place) == 425, "it goes on")
    assert len(daemon.logs("config_reloaded")) < 200
    wait_for(lambda: sizes() <= (before[0] + 2, before[1] + 1), f"{before} again")
    assert daemon.stop() == 0


@pytest.mark.parametrize("delay_ms", range(0, 250, 50))
def test_a_stop_in_the_middle_of_a_batch_is_clean(place, wait_for, delay_ms):
    daemon = place.start("--config", place.config(SHORT))
    for number in range(4):
        place.telemetry.append(f"{number}.jsonl", *place.telemetry.normal("biller", 3000, every=0.01))
    time.sleep(delay_ms / 1000)  # The instants are what is tested: they lie in different batches.
    assert daemon.stop() == 0
    assert place.state()["status"] == "shutdown"
    place.once()

    assert events(place) == 12_000


def _without_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):
        libc.prctl(24, capability, 0, 0, 0)


@pytest.mark.usefixtures("by_activity")
@is_root
@pytest.mark.parametrize("is_running", [True, False])
def test_readers_need_no_right_to_write(place, is_running):
    place.telemetry.fill()
    if is_running:
        place.start()
    else:
        place.once()
    before = sorted(os.listdir(place.state_dir))
    mode = place.state_dir.stat().st_mode
    place.state_dir.chmod(0o555)
    try:
        for command in (["status"], ["why", FLOODING], ["log"], ["tier", FLOODING]):
            done = place.command(*command, "--json", preexec_fn=_without_privileges)
            assert done.returncode == (1 if command[0] == "tier" else 0), done.stderr
            assert json.loads(done.stdout)
        assert sorted(os.listdir(place.state_dir)) == before
    finally:
        place.state_dir.chmod(mode)


@pytest.mark.usefixtures("by_activity")
@is_root
def test_a_reader_of_the_state_file_alone_is_told_what_that_says(place):
    place.telemetry.fill()
    place.start()
    for path in [place.base, *place.base.parents][:4]:
        path.chmod(path.stat().st_mode | 0o055)
    (place.state_dir / "state.json").chmod(0o644)

    def ask(*args: str) -> subprocess.CompletedProcess[str]:
        argv = as_another(place, *args)
        return subprocess.run(
            argv, capture_output=True, text=True, env=place.environment(), cwd=place.base, timeout=120
        )

    done = ask("status", "--json")
    assert done.returncode == 0, (done.stdout[:2000], done.stderr)
    document = json.loads(done.stdout)
    assert document["state"]["fresh"] is True
    assert document["storage"]["readable"] is False
    assert "may not be read by this user" in document["storage"]["reason"]
    text = ask("status").stdout
    assert "sentineld tier AGENT" in text
    refused = ask("why", FLOODING)
    assert refused.returncode == 77
    assert "try: be root or the daemon's user" in refused.stderr


@is_root
def test_a_read_only_file_system_is_no_permission_at_the_start(place):
    place.state_dir.mkdir()
    bind = subprocess.run(["mount", "--bind", place.state_dir, place.state_dir], capture_output=True)
    if bind.returncode:
        pytest.skip("this machine does not let us mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place.state_dir], check=True)
        done = place.command("run", "--telemetry", place.telemetry.directory)
    finally:
        subprocess.run(["umount", place.state_dir], check=True)

    assert done.returncode == 77
    assert "Read-only file system" in done.stderr


def test_a_sync_that_fails_once_is_never_taken_for_a_success(place, wait_for):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    daemon = place.start("--config", place.config(SHORT))
    log = place.base / "strace.log"
    inject = "inject=fdatasync,fsync:error=EIO:when=2..4"
    tracer = subprocess.Popen(
        ["strace", "-f", "-q", "-e", "trace=fdatasync,fsync", "-e", inject, "-o", log, "-p", str(daemon.pid)],
        stderr=subprocess.DEVNULL,
    )
    try:
        place.telemetry.append("a.jsonl", *many(place, 50))
        daemon.wait_log("storage_failed")
        wait_for(lambda: events(place) == 50, "recovery")
    finally:
        tracer.terminate()
        tracer.wait()
    assert "EIO" in log.read_text()
    wait_for(lambda: place.state()["status"] == "ok", "ok")
    assert daemon.stop() == 0
    with closing(sqlite3.connect(place.state_dir / "sentineld.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.usefixtures("by_activity")
def test_the_decision_log_is_rotated_only_after_it_was_noted_as_written(place, wait_for):
    config = place.config(SHORT + "[limits]\ndecision_log_bytes = 65536\n")
    daemon = place.start("--config", config)
    for turn in range(12):
        agents = [f"busy-{turn}-{n}" for n in range(3)]
        for agent in agents:
            place.telemetry.append(f"{agent}.jsonl", *place.telemetry.flood(agent, 200, every=0.001))
        wait_for(lambda agents=agents: all(place.tier(agent) == 3 for agent in agents), "demotion")
    assert daemon.stop() == 0
    files = sorted(place.state_dir.glob("decisions*.jsonl"), key=lambda path: path.stat().st_mtime_ns)

    assert len(files) > 1
    logged = [json.loads(line)["decision_no"] for path in files for line in path.read_text().splitlines()]
    assert logged == list(range(logged[0], len(place.decisions()) + 1))
    assert all(path.stat().st_size < 3 * 65536 for path in files)

"""The kernel's reports and their limits, with the daemon as a real process: quick, and never needed."""

import itertools
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

#: Nothing is found by scanning while a test lasts.
NO_SCANS = '[telemetry]\nrescan_interval = "1h"\n'


def line(number: int, agent: str = "a") -> bytes:
    record = {"type": f"kind-{number}", "source": agent, "timestamp": time.time(), "data": {}}
    return json.dumps(record).encode() + b"\n"


def lines(place) -> int:
    return place.json("status")["totals"]["accepted"]


def incidents(place) -> dict[str, int]:
    return place.json("status")["totals"]["incidents"]


def test_files_are_read_at_once_wherever_they_turn_up(place, tmp_path, wait_for):
    place.start("--config", place.config(NO_SCANS))
    directory = place.telemetry.directory
    # In new directories.
    place.telemetry.append("x/y/z/a.jsonl", line(1))
    # In a directory that is moved in.
    (tmp_path / "full" / "deep").mkdir(parents=True)
    (tmp_path / "full" / "deep" / "b.jsonl").write_bytes(line(2))
    (tmp_path / "full").rename(directory / "full")
    wait_for(lambda: lines(place) == 2, "two lines")
    # In a file that leaves, grows, and comes back.
    (directory / "full" / "deep" / "b.jsonl").rename(tmp_path / "b.jsonl")
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(line(3))
    (tmp_path / "b.jsonl").rename(directory / "b.jsonl")
    # And in one whose root was removed and made again.
    wait_for(lambda: lines(place) == 3, "three lines")
    shutil.rmtree(directory)
    directory.mkdir()
    place.telemetry.append("c.jsonl", line(4))
    wait_for(lambda: lines(place) == 4, "four lines")

    assert incidents(place) == {}


def test_a_root_that_is_exchanged_is_evidence_against_the_new_ones_owner(place, tmp_path, wait_for):
    directory = place.telemetry.directory
    place.telemetry.append("a.jsonl", line(1))
    place.start("--config", place.config(NO_SCANS))
    directory.rename(tmp_path / "away")
    directory.mkdir()
    place.telemetry.append("a.jsonl", line(2))

    wait_for(lambda: lines(place) == 2, "two lines")
    wait_for(lambda: incidents(place) == {"replaced_directory": 1}, "incident")


def test_what_is_written_and_removed_unread_is_evidence(place, wait_for):
    daemon = place.start("--config", place.config(NO_SCANS))
    place.telemetry.append("a.jsonl", line(0))
    wait_for(lambda: lines(place) == 1, "one line")
    daemon.signal(signal.SIGSTOP)
    for number in range(100):
        place.telemetry.append(f"{number}.jsonl", line(number)).unlink()
    daemon.signal(signal.SIGCONT)

    wait_for(lambda: incidents(place) == {"vanished": 100}, "incident")
    assert lines(place) == 1


def test_what_is_written_through_a_mapping_is_found_by_the_next_scan(place, wait_for):
    place.start("--config", place.config('[telemetry]\nrescan_interval = "500ms"\n'))
    first, rest = line(0), line(1) + line(2)
    # An unfinished line, which is finished in memory.
    path = place.telemetry.append("a.jsonl", first + b" " * len(rest))
    wait_for(lambda: lines(place) == 1, "first line")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[len(first) :] = rest
        # It stays mapped and open: the kernel tells nothing.
        wait_for(lambda: lines(place) == 3, "three lines")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_many_silent_files_cost_next_to_nothing_and_are_read_at_once_all_the_same(place, wait_for):
    for number in range(1200):
        place.telemetry.append(f"{number % 10}/{number}.jsonl", line(0))
    daemon = place.start("--config", place.config('[telemetry]\nrescan_interval = "20ms"\n'))
    wait_for(lambda: lines(place) == 1200, "every line")

    def is_idle() -> bool:
        before = cpu_s(daemon.pid)
        time.sleep(0.7)
        # At most one tick of that clock.
        return cpu_s(daemon.pid) - before < 0.015

    wait_for(is_idle, "a while without a scan", 15)
    place.telemetry.append("3/33.jsonl", line(1))
    wait_for(lambda: lines(place) == 1201, "one line more")


def test_more_changes_than_the_kernel_keeps_lose_nothing(place, wait_for):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip("the kernel's queue is too long to be filled in a test")
    daemon = place.start("--config", place.config(NO_SCANS))
    place.telemetry.append("a.jsonl", line(0))
    wait_for(lambda: lines(place) == 1, "one line")
    daemon.signal(signal.SIGSTOP)
    directory = place.telemetry.directory
    for number in range(limit // 3 + 500):
        path = directory / f"{number}.tmp"
        path.touch()
        path.unlink()
    for number in range(200):
        (directory / f"{number % 20}").mkdir(exist_ok=True)
        (directory / f"{number % 20}" / f"{number}.jsonl").write_bytes(line(number))
    daemon.signal(signal.SIGCONT)
    wait_for(lambda: lines(place) == 201, "every line")
    assert "overflow" in daemon.wait_log("watch_unavailable")["cause"]
    # And what comes next, in directories that nobody told of.
    for number in range(20):
        (directory / f"{number}" / "late.jsonl").write_bytes(line(number))
    wait_for(lambda: lines(place) == 221, "late lines")

    assert incidents(place) == {}


SABOTAGE = """
import os, sys, threading, time
from sentineld.cli import main

def spoil():
    while not os.path.exists(sys.argv[-1] + "/spoil"):
        time.sleep(0.01)
    for name in os.listdir("/proc/self/fd"):
        try:
            if "inotify" in os.readlink("/proc/self/fd/" + name):
                os.dup2(os.open("/dev/null", os.O_RDONLY), int(name))
        except OSError:
            pass
    os.unlink(sys.argv[-1] + "/spoil")

threading.Thread(target=spoil, daemon=True).start()
main(sys.argv[1:])
"""


def test_a_watching_thread_that_dies_is_replaced_and_nothing_is_lost(place, tmp_path, wait_for):
    argv = [sys.executable, "-c", SABOTAGE, "run", "--config", place.config(NO_SCANS)]
    argv += ["--state-dir", place.state_dir, "--telemetry", place.telemetry.directory]
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        process = subprocess.Popen([*map(str, argv)], env=place.environment(), cwd=tmp_path, stderr=stderr)
    try:
        wait_for(lambda: (place.state() or {}).get("status") == "ok", "first publish")
        spoil = place.telemetry.directory / "spoil"
        spoil.touch()
        wait_for(lambda: not spoil.exists(), "sabotage")
        place.telemetry.append("a.jsonl", line(1))
        wait_for(lambda: lines(place) == 1, "the line")
        assert "thread ended" in errors.read_text()
        # It is watched again: nothing is found by scanning here.
        place.telemetry.append("a.jsonl", line(2))
        wait_for(lambda: lines(place) == 2, "the next line")
    finally:
        process.terminate()
        assert process.wait(120) == 0


def rotate(place, rotations: int) -> int:
    """Write lines and rotate by renaming, as fast as it goes; return how many lines.

    Nothing is removed: what is gone before anybody can read it is another test.
    """
    directory, written = place.telemetry.directory, 0
    path = directory / "a.jsonl"
    ended = threading.Event()
    noise_lines = []

    def make_noise() -> None:
        with (directory / "noise.jsonl").open("ab", buffering=0) as noise:
            while not ended.wait(0.001):
                noise.write(line(len(noise_lines), "noisy"))
                noise_lines.append(1)

    load = threading.Thread(target=make_noise)
    load.start()
    for rotation in range(rotations):
        with path.open("ab", buffering=0) as file:
            for _ in range(3):
                file.write(line(written))
                written += 1
            names = [
                directory / f"a.jsonl-{rotation:08d}",
                *(directory / f"a.jsonl.{n}" for n in (3, 2, 1)),
                path,
            ]
            for older, newer in itertools.pairwise(names):
                if newer.exists():
                    newer.rename(older)
            # A writer that has not noticed yet.
            file.write(line(written))
            written += 1
    ended.set()
    load.join()
    return written + len(noise_lines)


@pytest.mark.parametrize("rotations", [int(os.environ.get("SENTINELD_TEST_ROTATIONS", "1000"))])
@pytest.mark.timeout(900)
def test_rotations_under_load_count_every_line_once(place, wait_for, rotations: int):
    place.start()
    expected = rotate(place, rotations)
    wait_for(lambda: lines(place) >= expected, "every line", deadline_s=120 + rotations / 10)

    totals = place.json("status")["totals"]
    assert (totals["accepted"], totals["rejects"], totals["incidents"]) == (expected, 0, {})


def test_without_an_inotify_instance_everything_is_found_by_scanning(place, tmp_path, wait_for):
    text = '[telemetry]\nrescan_interval = "200ms"\n[identity]\nallow_user_namespace = true\n'
    argv = [sys.executable, "-m", "sentineld", "run", "--config", place.config(text)]
    argv += ["--state-dir", place.state_dir, "--telemetry", place.telemetry.directory]
    limited = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    unshare = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    if subprocess.run([*unshare, limited, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow user namespaces")
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*unshare, limited, "sh", *map(str, argv)], env=place.environment(), cwd=tmp_path, stderr=stderr
        )
    try:
        wait_for(lambda: (place.state() or {}).get("status") == "ok", "first publish")
        for number in range(3):
            place.telemetry.append(f"{number}/a.jsonl", line(number))
            wait_for(lambda n=number: lines(place) == n + 1, "the line")
        assert "max_user_instances" in errors.read_text()
    finally:
        process.terminate()
        assert process.wait(120) == 0

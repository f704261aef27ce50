"""Watch: what wakes the daemon, and what must not."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentineld import watch as watch_module
from sentineld.watch import Watch


class Woken:
    """A watch over one directory, and what it has told so far."""

    def __init__(self, *directories: Path) -> None:
        self.wakes = 0
        self.paths: set[str] = set()
        self.needs_scan = False
        self.watch = Watch([str(item) for item in directories], self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def told(self, path: Path | None = None) -> bool:
        paths, needs_scan = self.watch.take()
        self.paths |= paths
        self.needs_scan |= needs_scan
        return self.needs_scan if path is None else str(path) in self.paths

    def settle(self, marker: Path) -> None:
        """Wait until everything that happened before has been told: a marker file is told last."""
        marker.touch()
        end = time.monotonic() + 10
        while not self.told(marker):
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def directory(tmp_path) -> Path:
    path = tmp_path / "telemetry"
    path.mkdir()
    return path


@pytest.fixture
def woken(directory) -> Iterator[Woken]:
    one = Woken(directory)
    assert one.watch.start() == ""
    yield one
    one.watch.stop()


def test_an_append_wakes(woken, directory, wait_for):
    path = directory / "a.jsonl"
    path.touch()
    woken.settle(directory / "marker")
    woken.paths.clear()
    with path.open("a") as file:
        file.write("x")
        file.flush()
        # The writer keeps the file open, as loggers do.
        wait_for(lambda: woken.told(path), "append")
    assert woken.wakes > 0


@pytest.mark.parametrize("change", ["create", "move", "move in", "move out", "delete"])
def test_files_that_come_and_go_wake(woken, directory, tmp_path, wait_for, change: str):
    path = directory / "a.jsonl"
    changes: dict[str, Callable[[], object]] = {
        "create": path.touch,
        "move": lambda: (directory / "old.jsonl").rename(path),
        "move in": lambda: (tmp_path / "outside").rename(path),
        "move out": lambda: path.rename(tmp_path / "gone"),
        "delete": path.unlink,
    }
    {"move": directory / "old.jsonl", "move in": tmp_path / "outside", "create": tmp_path / "x"}.get(
        change, path
    ).touch()
    woken.settle(directory / "marker")
    woken.paths.clear()
    changes[change]()

    wait_for(lambda: woken.told(path), change)


def test_a_new_directory_asks_for_a_scan_and_its_files_wake(woken, directory, wait_for):
    (directory / "sub").mkdir()
    wait_for(woken.told, "scan")
    path = directory / "sub" / "a.jsonl"
    # The kernel watches a new directory a moment after it was made; until then the scan finds its files.
    wait_for(lambda: path.write_text("x") and woken.told(path), "file in a new directory")


def test_reading_does_not_wake(woken, directory):
    path = directory / "a.jsonl"
    path.write_text("x")
    woken.settle(directory / "first")
    before = woken.wakes
    for _ in range(100):
        path.read_text()
        os.listdir(directory)
    woken.paths.clear()
    woken.settle(directory / "second")

    assert woken.paths == {str(directory / "second")}
    assert woken.wakes - before <= 4


def test_a_directory_that_was_removed_and_made_again_is_noticed_and_watched_again(woken, directory, wait_for):
    assert woken.watch.is_healthy()
    shutil.rmtree(directory)
    directory.mkdir()
    assert not woken.watch.is_healthy()
    assert woken.watch.restart() == ""
    assert woken.watch.is_healthy()
    woken.settle(directory / "marker")


def test_a_directory_that_was_swapped_is_noticed(woken, directory, tmp_path):
    directory.rename(tmp_path / "away")
    directory.mkdir()

    assert not woken.watch.is_healthy()


def test_a_directory_that_does_not_exist_yet_is_noticed_when_it_does(tmp_path):
    one = Woken(tmp_path / "late")
    assert one.watch.start() == ""
    assert one.watch.is_healthy()
    (tmp_path / "late").mkdir()
    assert not one.watch.is_healthy()
    one.watch.restart()
    one.settle(tmp_path / "late" / "marker")
    one.watch.stop()


def test_a_watch_that_cannot_start_says_why_leaves_no_threads_and_can_start_later(directory):
    """In a process of its own, without descriptors left: the kernel's limits are everybody's."""
    program = """
import os, resource, sys, threading
from sentineld.watch import Watch
directories = sys.argv[1:]
watch = Watch(directories, lambda: None)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
highest = max(map(int, os.listdir("/proc/self/fd")))
for spare in range(4):
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
    reason = watch.start()
    assert "max_user_instances" in reason, reason
    assert not watch.is_healthy()
    assert threading.active_count() == 1, threading.enumerate()
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
assert watch.restart() == ""
assert watch.is_healthy()
watch.stop()
"""
    (directory / "other").mkdir()
    argv = [sys.executable, "-c", program, str(directory), str(directory / "other")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)

    assert done.returncode == 0, done.stderr


def test_stopping_leaves_no_threads(directory):
    before = threading.active_count()
    for _ in range(3):
        one = Woken(directory)
        one.watch.start()
        one.watch.stop()
        one.watch.stop()

    assert threading.active_count() == before


def test_paths_are_bounded_and_a_scan_takes_their_place(woken, directory, monkeypatch):
    monkeypatch.setattr(watch_module, "_MAX_PATHS", 10)
    for n in range(50):
        (directory / f"{n}.jsonl").touch()
    woken.settle(directory / "marker")

    assert woken.needs_scan


def test_without_directories_there_is_nothing_to_watch():
    watch = Watch([], lambda: None)

    assert watch.start() == ""
    assert watch.is_healthy()
    watch.stop()

"""Watch: what wakes the daemon, what must not, and what only the kernel's reports can tell."""

import ctypes
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
from sentineld.clock import now_us
from sentineld.event import Incident
from sentineld.tail import Tail
from sentineld.watch import Watch

PATIENCE_S = 120
#: What is quick is so once in so many times, also where others hold it up; what is slow never is.
TRIES = 20


class Woken:
    """A watch over some directories and the tail that it serves, looked after as the daemon does."""

    def __init__(self, *directories: Path, inboxes: tuple[Path, ...] = ()) -> None:
        self.wakes = 0
        self.paths: set[str] = set()
        self.needs_scan = False
        self.incidents: list[Incident] = []
        self.problems: list[str] = []
        names = [str(item) for item in directories]
        numbers = iter(range(1, 1_000_000))
        self.tail = Tail(names, lambda: next(numbers), lambda _: None, now_us)
        self.watch = Watch(
            names, self._wake, self.tail.followed, now_us, inboxes=[str(item) for item in inboxes]
        )

    def _wake(self) -> None:
        self.wakes += 1

    def told(self, path: Path | None = None) -> bool:
        """Take what was told, and look at the paths as the daemon would."""
        hints = self.watch.take()
        self.paths |= hints.paths
        self.needs_scan |= hints.needs_scan
        self.incidents += hints.incidents
        self.problems += hints.problems
        if hints.needs_scan:
            self.tail.scan()
        for name in hints.paths:
            self.tail.notice(name)
        return self.needs_scan if path is None else str(path) in self.paths

    def settle(self, directory: Path) -> None:
        """Wait until everything that happened before was told, and forget what was told of paths."""
        marker = directory / "marker.jsonl"
        for _ in range(2):  # what vanished is told one turn later
            marker.touch()
            end = time.monotonic() + PATIENCE_S
            while not self.told(marker):
                assert time.monotonic() < end
                time.sleep(0.005)
            marker.unlink()
            while not self.told(marker):
                assert time.monotonic() < end
                time.sleep(0.005)
            self.paths.clear()

    def vanished(self) -> int:
        """Return how many files vanished so far."""
        assert {item.kind for item in self.incidents} <= {"vanished", "replaced_directory"}
        return sum(item.count for item in self.incidents if item.kind == "vanished")

    def close(self) -> None:
        self.watch.stop()
        self.tail.close()


@pytest.fixture
def directory(tmp_path) -> Path:
    path = tmp_path / "telemetry"
    path.mkdir()
    return path


@pytest.fixture
def woken(directory) -> Iterator[Woken]:
    one = Woken(directory)
    assert one.watch.start() == ""
    one.settle(directory)
    one.needs_scan = False
    yield one
    one.close()


def write_and_remove(path: Path, data: str = "{}\n") -> None:
    path.write_text(data)
    path.unlink()


def test_an_append_wakes(woken, directory, wait_for):
    path = directory / "a.jsonl"
    path.touch()
    woken.settle(directory)
    with path.open("a") as file:
        file.write("x")
        file.flush()
        # The writer keeps the file open, as loggers do.
        wait_for(lambda: woken.told(path), "append")
    assert woken.wakes > 0


@pytest.mark.parametrize("change", ["create", "move", "move in", "move out", "delete"])
def test_files_that_come_and_go_are_told_at_once(woken, directory, tmp_path, change: str):
    path, old, outside = directory / "a.jsonl", directory / "old.jsonl", tmp_path / "outside"
    first = {"create": tmp_path / "x", "move": old, "move in": outside}.get(change, path)
    changes: dict[str, Callable[[], object]] = {
        "create": path.touch,
        "move": lambda: old.rename(path),
        "move in": lambda: outside.rename(path),
        "move out": lambda: path.rename(outside),
        "delete": path.unlink,
    }

    def delay_s() -> float:
        path.unlink(missing_ok=True)
        first.touch()
        woken.settle(directory)
        woken.watch.take()
        before = time.monotonic()
        changes[change]()
        while not woken.told(path):
            assert time.monotonic() - before < PATIENCE_S
            time.sleep(0.001)
        return time.monotonic() - before

    # Far below the half second that pairing the halves of a rename would take, unless others hold us up.
    assert any(delay_s() < 0.25 for _ in range(TRIES))


def test_what_carries_no_telemetry_does_not_wake(woken, directory):
    before = woken.wakes
    for n in range(50):
        (directory / f"{n}.tmp").write_text("x")
    woken.settle(directory)

    # The marker alone: its coming, its going, and the turn after that.
    assert woken.wakes - before <= 12


def test_reading_does_not_wake(woken, directory):
    path = directory / "a.jsonl"
    path.write_text("x")
    woken.settle(directory)
    before = woken.wakes
    for _ in range(100):
        path.read_text()
        os.listdir(directory)
    woken.settle(directory)

    assert woken.wakes - before <= 12


def test_a_busy_file_wakes_once_a_turn(woken, directory, wait_for):
    path = directory / "a.jsonl"
    path.touch()
    woken.settle(directory)
    before = woken.wakes
    with path.open("ab", buffering=0) as file:
        for _ in range(20_000):
            file.write(b"x")
    # Nobody takes what was told: one wake says it all.
    assert woken.wakes - before <= 1
    wait_for(lambda: woken.told(path), "append")


# Directories.


def test_files_of_a_new_directory_are_told_also_those_made_before_it_was_watched(woken, directory, wait_for):
    path = directory / "a" / "b" / "c" / "x.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    wait_for(lambda: woken.told(path), "file in new directories")
    woken.settle(directory)
    with path.open("a") as file:
        file.write("2\n")
    wait_for(lambda: woken.told(path), "append in a new directory")


def test_a_full_directory_that_is_moved_in_is_scanned_and_watched(woken, directory, tmp_path, wait_for):
    def delay_s(name: str) -> float:
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x.jsonl").write_text("1\n")
        woken.settle(directory)
        woken.needs_scan = False
        before = time.monotonic()
        (tmp_path / name).rename(directory / name)
        wait_for(woken.told, "scan")
        return time.monotonic() - before

    # At once, as above.
    fast = next(name for name in (f"full{n}" for n in range(TRIES)) if delay_s(name) < 0.4)
    path = directory / fast / "deep" / "x.jsonl"
    assert str(path) in [source.path for source in woken.tail.sources()]
    woken.settle(directory)
    with path.open("a") as file:
        file.write("2\n")
    wait_for(lambda: woken.told(path), "append")


def test_a_renamed_directory_is_told_under_its_new_name(woken, directory, wait_for):
    (directory / "a" / "b").mkdir(parents=True)
    woken.settle(directory)
    woken.needs_scan = False
    (directory / "a").rename(directory / "z")
    wait_for(woken.told, "scan")
    woken.settle(directory)
    path = directory / "z" / "b" / "x.jsonl"
    path.write_text("1\n")
    wait_for(lambda: woken.told(path), "file in a renamed directory")
    assert not any("/a/" in name for name in woken.paths)


def test_a_directory_that_was_moved_out_is_let_go(woken, directory, tmp_path, wait_for):
    (directory / "a" / "b").mkdir(parents=True)
    woken.settle(directory)
    before = watches()
    (directory / "a").rename(tmp_path / "a")
    wait_for(lambda: watches() == before - 2, "watches given back")
    (tmp_path / "a" / "b" / "x.jsonl").write_text("1\n")
    woken.settle(directory)

    assert not any("x.jsonl" in name for name in woken.paths)
    assert woken.vanished() == 0


def test_links_to_directories_are_not_followed(woken, directory, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    before = watches()
    (directory / "link").symlink_to(tmp_path / "elsewhere")
    woken.settle(directory)

    assert watches() == before


def watches() -> int:
    """Count this process's inotify watches, as the kernel does."""
    count = 0
    for name in os.listdir("/proc/self/fdinfo"):
        try:
            count += Path("/proc/self/fdinfo", name).read_text().count("inotify wd:")
        except OSError:
            continue
    return count


# Roots.


def test_a_root_that_is_removed_and_made_again_is_watched_and_no_incident(woken, directory, wait_for):
    path = directory / "a.jsonl"

    def delay_s() -> float:
        before = time.monotonic()
        shutil.rmtree(directory)
        directory.mkdir()
        wait_for(lambda: path.write_text("x") and woken.told(path), "file in the new directory")
        woken.paths.clear()
        return time.monotonic() - before

    # Its parent tells at once, unless others hold us up.
    assert any(delay_s() < 0.9 for _ in range(TRIES))
    woken.settle(directory)

    assert woken.watch.is_healthy()
    assert woken.needs_scan
    assert woken.incidents == []


@pytest.mark.parametrize("depth", [0, 1])
def test_a_root_that_is_exchanged_is_told_with_its_new_owner(tmp_path, wait_for, depth: int):
    directory = tmp_path / "above" / "telemetry"
    directory.mkdir(parents=True)
    one = Woken(directory)
    one.watch.start()
    moved = directory if depth == 0 else directory.parent
    moved.rename(tmp_path / "away")
    directory.mkdir(parents=True)
    owner = 12345 if os.geteuid() == 0 else os.getuid()
    os.chown(directory, owner, -1)
    wait_for(lambda: one.told() and one.incidents, "incident")
    one.settle(directory)

    found = {(item.kind, item.path, item.count) for item in one.incidents}
    assert found == {("replaced_directory", str(directory), 1)}
    if depth == 1:
        assert one.incidents[0].owner == owner
    # What happens to the former one is none of ours any more.
    former = tmp_path / "away" if depth == 0 else tmp_path / "away" / "telemetry"
    (former / "old.jsonl").write_text("x")
    path = directory / "new.jsonl"
    path.write_text("x")
    wait_for(lambda: one.told(path), "file in the new directory")
    assert str(directory / "old.jsonl") not in one.paths
    one.close()


def test_two_roots_exchanged_in_one_step_are_told(tmp_path, wait_for):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    one = Woken(first)
    one.watch.start()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, bytes(first), -100, bytes(second), 2) != 0:
        pytest.skip("the file system cannot exchange names")
    wait_for(lambda: one.told() and one.incidents, "incident")

    assert [item.kind for item in one.incidents] == ["replaced_directory"]
    one.close()


def test_a_root_that_comes_back_is_watched_and_no_incident(woken, directory, tmp_path, wait_for):
    directory.rename(tmp_path / "away")
    time.sleep(0.1)
    (tmp_path / "away").rename(directory)
    path = directory / "a.jsonl"
    wait_for(lambda: path.write_text("x") and woken.told(path), "append")
    woken.settle(directory)

    assert woken.incidents == []


def test_a_root_that_does_not_exist_yet_is_watched_once_it_does(tmp_path, wait_for):
    directory = tmp_path / "above" / "late"
    one = Woken(directory)
    assert one.watch.start() == ""
    assert one.watch.is_healthy()
    directory.mkdir(parents=True)
    path = directory / "a.jsonl"
    wait_for(lambda: path.write_text("x") and one.told(path), "append")

    assert one.needs_scan
    assert one.incidents == []
    one.close()


def test_a_single_file_is_watched_whatever_its_name_and_however_it_is_replaced(tmp_path, wait_for):
    path = tmp_path / "agent.log"
    path.touch()
    one = Woken(path)
    one.watch.start()
    one.told()
    one.needs_scan = False
    with path.open("a") as file:
        file.write("x\n")
    wait_for(one.told, "append")
    path.rename(tmp_path / "agent.log.1")
    path.touch()
    wait_for(lambda: one.told() and len(one.tail.sources()) == 2, "new file")
    one.needs_scan = False
    path.write_text("x\n")
    wait_for(one.told, "append to the new file")
    assert one.incidents == []
    one.close()


def test_an_inbox_wakes_by_what_is_put_there_only(directory, tmp_path, wait_for):
    inbox = tmp_path / "requests"
    inbox.mkdir()
    one = Woken(directory, inboxes=(inbox,))
    one.watch.start()
    one.settle(directory)
    (tmp_path / "x").write_text("x")
    (tmp_path / "x").rename(inbox / "x.json")
    wait_for(lambda: one.told(inbox), "request")
    one.settle(directory)
    (inbox / "x.json").unlink()
    marker = directory / "y.jsonl"
    marker.touch()
    wait_for(lambda: one.told(marker), "marker")

    assert str(inbox) not in one.paths
    assert one.incidents == []
    one.close()


# Files that vanish.


def test_files_that_are_written_and_removed_unseen_are_evidence(woken, directory, wait_for):
    for n in range(1000):
        write_and_remove(directory / f"{n}.jsonl")
    woken.settle(directory)

    # A file that is followed is none, and its inode's number may excuse one that had it before.
    assert woken.vanished() >= 1000 - 2 * len(woken.tail.sources())
    assert woken.vanished() >= 500
    assert len(woken.incidents) < 100
    assert {(item.path, item.owner) for item in woken.incidents} == {(str(directory), os.getuid())}


def test_the_same_name_used_again_and_again_hides_nothing(woken, directory):
    # One file of that name is followed, and then removed.
    path = directory / "x.jsonl"
    path.write_text("{}\n")
    woken.settle(directory)
    assert woken.tail.followed(str(path), None)
    path.unlink()
    for _ in range(100):
        write_and_remove(path)
    woken.settle(directory)

    followed = {source.id for source in woken.tail.sources() if source.path == str(path)}
    assert woken.vanished() >= 100 - len(followed)


def test_a_file_in_a_new_directory_that_is_removed_with_it_is_evidence(woken, directory, wait_for):
    (directory / "a").mkdir()
    woken.settle(directory)
    write_and_remove(directory / "a" / "x.jsonl")
    (directory / "a").rmdir()
    wait_for(lambda: [woken.told(), woken.vanished()][1], "incident")

    assert woken.incidents[0].path == str(directory / "a")


def unread(directory: Path, *followed: str) -> Woken:
    """Start a watch over a directory whose files nobody opens, or one that is followed whatever one asks."""
    one = Woken(directory)
    one.watch = Watch([str(directory)], one._wake, lambda *_: followed, now_us)
    assert one.watch.start() == ""
    return one


def test_one_file_that_is_followed_excuses_one_that_is_gone(directory, wait_for):
    one = unread(directory, "7", "/other.jsonl", "/other.jsonl")
    for n in range(3):
        path = directory / f"{n}.jsonl"
        path.write_text("{}\n")
        wait_for(lambda path=path: one.told(path), "file")
        path.unlink()
    wait_for(lambda: [one.told(), one.vanished() == 2][1], "incidents")
    one.close()


def test_a_file_is_evidence_under_the_name_that_its_directory_got(directory, wait_for):
    (directory / "a").mkdir()
    one = unread(directory)
    path = directory / "a" / "x.jsonl"
    path.write_text("{}\n")
    wait_for(lambda: one.told(path), "file")
    (directory / "a").rename(directory / "z")
    (directory / "z" / "x.jsonl").unlink()
    wait_for(lambda: [one.told(), one.vanished()][1], "incident")

    assert [item.path for item in one.incidents] == [str(directory / "z")]
    one.close()


def test_a_file_that_was_opened_in_time_did_not_vanish(woken, directory):
    for n in range(20):
        path = directory / f"{n}.jsonl"
        path.write_text("{}\n")
        woken.settle(directory)
        path.unlink()
    woken.settle(directory)

    assert woken.incidents == []


def test_an_empty_file_that_goes_is_no_evidence(woken, directory):
    for n in range(100):
        path = directory / f"{n}.jsonl"
        path.touch()
        path.unlink()
    woken.settle(directory)

    assert woken.incidents == []


def test_what_carries_no_telemetry_may_go_unseen(woken, directory):
    for n in range(100):
        write_and_remove(directory / f"{n}.txt")
    woken.settle(directory)

    assert woken.incidents == []


def test_renames_lose_nothing(woken, directory):
    path = directory / "x.jsonl"
    for n in range(100):
        path.write_text("{}\n")
        path.rename(directory / f"x.jsonl.{n}")
    woken.settle(directory)

    assert woken.incidents == []
    assert len([item for item in woken.tail.sources() if "/x.jsonl" in item.path]) == 100


def test_documents_may_be_replaced_and_lines_may_not(woken, directory):
    for name in ("x.json", "x.jsonl"):
        for _ in range(100):
            (directory / "x.tmp").write_text("{}\n")
            (directory / "x.tmp").rename(directory / name)
        woken.settle(directory)
        if name == "x.json":
            assert woken.incidents == []

    assert woken.vanished() > 0


@pytest.mark.parametrize("target", ["outside", "another name", "with its directory"])
def test_what_is_hidden_unread_is_evidence(woken, directory, tmp_path, wait_for, target: str):
    (directory / "sub").mkdir()
    woken.settle(directory)
    for n in range(50):
        path = directory / "sub" / f"{n}.jsonl"
        path.write_text("{}\n")
        if target == "outside":
            path.rename(tmp_path / path.name)
        elif target == "another name":
            path.rename(directory / f"{n}.dat")
    if target == "with its directory":
        (directory / "sub").rename(tmp_path / "sub")

    def count() -> int:
        woken.told()
        followed = [item for item in woken.tail.sources() if "/sub/" in item.path]
        return woken.vanished() + len(followed) >= 50

    wait_for(count, "every file is followed or told")


def test_a_link_that_takes_the_place_of_a_file_is_the_file(woken, directory, tmp_path):
    for n in range(20):
        (directory / f"{n}.jsonl").write_text("{}\n")
    woken.settle(directory)
    for n in range(20):
        path = directory / f"{n}.jsonl"
        os.link(path, directory / f"{n}.jsonl.1")
        path.unlink()
    woken.settle(directory)
    assert woken.incidents == []
    for n in range(20):
        (directory / f"{n}.jsonl.1").unlink()
    woken.settle(directory)

    assert woken.incidents == []


def test_a_file_that_nobody_opened_yet_may_live_on_under_another_name(woken, directory, wait_for):
    path = directory / "x.jsonl"
    path.write_text("{}\n")
    wait_for(lambda: str(path) in woken.watch._hints.paths, "file")
    os.link(path, directory / "x.jsonl.1")
    path.unlink()
    wait_for(lambda: woken.watch._ended, "removal")
    woken.settle(directory)

    assert woken.incidents == []


# Names, faults and limits.


def test_no_name_harms(woken, directory, wait_for):
    names = [b"\xff\xfe.jsonl", b"a\nb.jsonl", b"\x1b[2J.jsonl", b"x" * 249 + b".jsonl", b" .jsonl"]
    names += [b"%s{}.jsonl", b"-.jsonl", b"...jsonl", "\u202e.jsonl".encode(), b"\x80" * 255]
    for number, name in enumerate(names):
        path = os.path.join(os.fsencode(directory), name)
        os.mkdir(path)
        os.rmdir(path)
        with open(path, "wb") as file:
            file.write(b"{}\n")
        os.rename(path, os.path.join(os.path.dirname(path), b"\xfe%d.jsonl" % number))
    os.mkfifo(directory / "pipe.jsonl")
    (directory / "link.jsonl").symlink_to("/etc/passwd")
    woken.settle(directory)

    assert woken.problems == []
    assert woken.watch.is_healthy()
    assert woken.incidents == []


def test_names_longer_than_any_path_harm_nothing(woken, directory):
    here = os.open(directory, os.O_RDONLY)
    for _ in range(30):
        os.mkdir(b"d" * 250, dir_fd=here)
        below = os.open(b"d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("x.jsonl", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
    os.close(here)
    woken.settle(directory)

    assert woken.watch.is_healthy()
    assert woken.incidents == []


@pytest.mark.parametrize("has_new_directory", [False, True])
def test_an_overflow_asks_for_a_scan_and_directories_made_meanwhile_are_watched(
    woken, directory, wait_for, has_new_directory: bool
):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip("the kernel's queue is too long to be filled in a test")
    watch = woken.watch
    with watch._lock:  # the thread cannot hand on, and stops reading
        (directory / "first.jsonl").touch()
        for n in range(limit // 3 + 2000):
            path = directory / f"{n}.tmp"
            path.touch()
            path.unlink()
        path = directory / "x.jsonl"
        if has_new_directory:
            path = directory / "sub" / "x.jsonl"
            path.parent.mkdir()
    wait_for(woken.told, "scan")
    wait_for(lambda: woken.told() and woken.problems, "problem")
    assert "overflow" in woken.problems[0]
    wait_for(lambda: path.write_text("x") and woken.told(path), "append")
    assert watch.is_healthy()


@pytest.mark.parametrize("death", ["closed", "replaced"])
def test_a_thread_that_dies_is_noticed_and_replaced(woken, directory, wait_for, death: str):
    fd = woken.watch._inotify.fd
    wakes = woken.wakes
    if death == "closed":
        os.close(fd)
    else:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, fd)
        os.close(null)
    woken.told()
    wait_for(lambda: not woken.watch.is_healthy() and woken.wakes > wakes, "death")
    woken.told()
    assert woken.needs_scan
    assert "thread ended" in woken.problems[0]
    assert woken.watch.restart() == ""
    assert woken.watch.is_healthy()
    woken.settle(directory)


def test_an_error_inside_is_told_and_the_thread_goes_on(woken, directory, monkeypatch, wait_for):
    def fail(*_: object) -> None:
        raise RuntimeError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr(watch_module._Reader, "handle_file", fail)
        (directory / "a.jsonl").touch()
        wait_for(lambda: woken.told() and woken.problems, "problem")
    assert "no such luck" in woken.problems[0]
    assert woken.watch.is_healthy()
    woken.settle(directory)


def test_a_watch_that_cannot_start_says_why_leaves_no_threads_and_can_start_later(directory):
    """In a process of its own, without descriptors left: the kernel's limits are everybody's."""
    program = """
import os, resource, sys, threading
from sentineld.watch import Watch
directories = sys.argv[1:]
watch = Watch(directories, lambda: None, lambda *_: (), lambda: 0)
assert watch.start() == ""
watch.stop()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
before = os.listdir("/proc/self/fd")
highest = max(map(int, before))
for spare in range(2):
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
    reason = watch.start()
    assert "max_user_instances" in reason, reason
    assert not watch.is_healthy()
    assert threading.active_count() == 1, threading.enumerate()
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
assert os.listdir("/proc/self/fd") == before
assert watch.restart() == ""
assert watch.is_healthy()
watch.stop()
"""
    (directory / "other").mkdir()
    argv = [sys.executable, "-c", program, str(directory), str(directory / "other")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr


def test_over_the_limit_of_watches_the_rest_is_scanned_and_it_is_said_once(directory):
    """In a user namespace of its own, where the limit may be lowered."""
    program = """
import os, sys, time
from sentineld import watch as module
from sentineld.watch import Watch
open("/proc/sys/user/max_inotify_watches", "w").write("20")
module._RETRY_S = 0.2
directory = sys.argv[1]
watch = Watch([directory], lambda: None, lambda *_: (), lambda: 0)
assert watch.start() == ""
hints = watch.take()
assert len(hints.problems) == 1 and "max_user_watches" in hints.problems[0], hints
def told(path):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        open(path, "w").write("x")
        hints = watch.take()
        assert not hints.problems, hints
        if path in hints.paths:
            return True
        time.sleep(0.01)
    return False
# What is watched, is; a new directory is looked at although it is not watched.
assert told(directory + "/x.jsonl")
time.sleep(0.5)
open("/proc/sys/user/max_inotify_watches", "w").write("1000")
# Once there is room, everything is.
for n in range(100):
    assert told(f"{directory}/{n}/x.jsonl"), n
assert watch.is_healthy()
watch.stop()
"""
    for n in range(100):
        (directory / str(n)).mkdir()
    unshare = ["unshare", "--user", "--map-root-user"]
    check = "open('/proc/sys/user/max_inotify_watches', 'r+').write('20')"
    try:
        subprocess.run([*unshare, sys.executable, "-c", check], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not allow user namespaces")
    argv = [*unshare, sys.executable, "-c", program, str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr


def test_stopping_leaves_no_threads_and_no_descriptors(directory):
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        one = Woken(directory)
        one.watch.start()
        one.close()
        one.close()

    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_paths_are_bounded_and_a_scan_takes_their_place(woken, directory, monkeypatch, wait_for):
    monkeypatch.setattr(watch_module, "_MAX_PATHS", 10)
    for n in range(50):
        (directory / f"{n}.jsonl").touch()

    wait_for(woken.told, "scan")


def test_an_idle_watch_costs_nearly_nothing(woken):
    before = time.process_time()
    time.sleep(0.5)

    assert time.process_time() - before < 0.05


def test_removals_that_are_too_many_to_be_counted_are_told(woken, directory, monkeypatch, wait_for):
    monkeypatch.setattr(watch_module, "_MAX_ENDED", 10)
    for n in range(50):
        write_and_remove(directory / f"{n}.jsonl")
    wait_for(lambda: [woken.told(), woken.problems][1], "problem")
    assert "not all were counted" in woken.problems[0]
    assert len(woken.watch._ended) <= 10


def test_without_directories_there_is_nothing_to_watch():
    watch = Watch([], lambda: None, lambda *_: (), lambda: 0)

    assert watch.start() == ""
    assert watch.is_healthy()
    watch.stop()


# Files that are written anew, and copies that are compressed at once.


def test_versions_that_a_tool_writes_one_after_the_other_have_not_vanished(woken, directory):
    path = directory / "a.jsonl"
    data = b"".join(b'{"n": %d, "pad": "%s"}\n' % (n, b"x" * 200) for n in range(40))
    path.write_bytes(data[:4000])
    woken.settle(directory)
    (source,) = (item for item in woken.tail.sources() if item.path == str(path))
    end = data[:4000].rindex(b"\n") + 1
    chunk = woken.tail.read(source)
    assert chunk is not None
    woken.tail.accept(woken.tail.advance(source, end, raw=chunk.raw))
    for size in range(4100, len(data), 100):
        temporary = directory / f"a.jsonl.{size}"
        temporary.write_bytes(data[:size])
        temporary.rename(path)
        if size % 300 == 0:
            woken.settle(directory)
    woken.settle(directory)

    assert woken.vanished() == 0
    assert [item.id for item in woken.tail.sources() if item.path == str(path)] == [source.id]


@pytest.mark.parametrize(
    ("copy", "compressed", "kind"),
    [
        ("a.jsonl.1", "a.jsonl.1.gz", "compressed"),
        ("a.jsonl-20261123", "a.jsonl-20261123.zst", "compressed"),
        ("a.jsonl.1", "a.jsonl.2.gz", "vanished"),
        ("b.jsonl.1", "b.jsonl.1.gz", "vanished"),
        ("b.jsonl", "b.jsonl.gz", "vanished"),
    ],
)
def test_a_copy_that_is_compressed_at_once_has_not_vanished(woken, directory, copy, compressed, kind):
    (directory / "a.jsonl").write_text("{}\n")
    woken.settle(directory)
    (directory / compressed).write_bytes(b"compressed")
    # As long as it is open, no other file has its inode.
    with (directory / copy).open("w") as file:
        file.write("{}\n")
        file.flush()
        (directory / copy).unlink()
        woken.settle(directory)

    assert [(item.kind, item.count) for item in woken.incidents] == [(kind, 1)]


def test_what_the_configuration_says_of_a_name_decides_what_is_told(directory):
    said = {"results.log": True, "settings.json": False}
    watch = Watch(
        [str(directory)],
        lambda: None,
        lambda *_: (),
        now_us,
        is_telemetry=lambda path: said.get(os.path.basename(path), path.endswith(".jsonl")),
    )
    assert watch.start() == ""
    try:
        for name in (*said, "a.jsonl"):
            write_and_remove(directory / name)
        paths: set[str] = set()
        vanished = []
        while sum(item.count for item in vanished) < 2:
            hints = watch.take()
            paths |= hints.paths
            vanished += hints.incidents
            time.sleep(0.005)
    finally:
        watch.stop()

    assert paths == {str(directory / "results.log"), str(directory / "a.jsonl")}


def test_links_to_a_file_that_come_and_go_are_no_loss_that_its_owner_is_charged_with(woken, directory):
    honest = directory / "honest.jsonl"
    honest.write_text("{}\n")
    woken.settle(directory)
    names = [directory / f"{number}.jsonl" for number in range(50)]
    for name in names:
        os.link(honest, name)
    woken.settle(directory)
    for name in names:
        name.unlink()
    woken.settle(directory)

    assert woken.vanished() == 0

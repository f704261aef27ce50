"""Tail: whole lines, exact positions, and files that move, shrink, vanish and lie."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sentineld.tail import MAX_DOCUMENT_BYTES, Tail, kind_of


def record(name: str, **more: Any) -> bytes:
    """One line, whose event type is its name."""
    return (
        json.dumps({"type": name, "source": "agent", "timestamp": 1_763_858_400, "data": {}, **more}).encode()
        + b"\n"
    )


def element(name: str) -> dict[str, Any]:
    return json.loads(record(name))


def append(path: Path, *data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(data))
    return path


@pytest.fixture
def a(telemetry) -> Path:
    return telemetry.directory / "a.jsonl"


# Lines and positions.


def test_only_complete_lines_are_read(line, a):
    one = line()
    append(a, record("one"), record("two")[:-9])
    one.poll()

    assert one.counted == {"one": 1}
    assert one.source(a).pos == len(record("one"))


def test_a_partial_line_waits_for_its_newline(line, a):
    one = line()
    append(a, record("one")[:20])
    one.poll()
    append(a, record("one")[20:-1])
    one.poll()
    assert not one.counted

    append(a, b"\n")
    one.poll()

    assert one.counted == {"one": 1}


def test_a_multibyte_character_that_is_torn_between_two_writes_is_whole(line, a):
    one = line()
    data = json.dumps(
        {"type": "one", "source": "agent", "data": {"text": "ü" * 10}}, ensure_ascii=False
    ).encode()
    cut = data.index("ü".encode()) + 1
    append(a, data[:cut])
    one.poll()
    append(a, data[cut:] + b"\n")
    one.poll()

    assert one.counted == {"one": 1}
    assert not one.rejects


def test_a_file_that_grows_by_single_bytes_is_read_as_it_grows(line, a):
    one = line()
    for byte in record("one") + record("two"):
        append(a, bytes([byte]))
        one.poll()

    assert one.counted == {"one": 1, "two": 1}


def test_chunks_carry_the_exact_offsets_of_their_bytes(line, a):
    one = line()
    data = b"".join(record(f"event{n}") for n in range(50))
    append(a, data)
    one.tail.scan()
    (state,) = one.tail.dirty()
    read = b""
    while (chunk := one.tail.read(state, 200)) is not None:
        assert chunk.start == len(read)
        assert chunk.end == chunk.start + len(chunk.data)
        assert chunk.data.endswith(b"\n")
        read += chunk.data
        state = one.tail.advance(state, chunk.end)

    assert data == read


def test_a_restart_goes_on_where_the_last_commit_was(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    one.restart()
    append(a, record("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert len(one.store.sources()) == 1


def test_what_was_read_but_not_committed_is_read_again(line, a):
    one = line()
    append(a, record("one"))
    one.tail.scan()
    assert one.intake.live()

    one.restart()
    one.poll()

    assert one.counted == {"one": 1}


# Brackets of time.


def test_new_lines_were_written_after_the_last_look_at_the_end(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    one.poll(after_s=100)
    looked_us = one.now_us
    append(a, record("two"))
    one.now_us += 5_000_000
    one.tail.notice(str(a))
    (part,) = one.intake.live().parts

    assert looked_us == part.lo
    assert one.now_us == part.hi


def test_a_new_file_was_written_after_the_last_scan_without_it(line, telemetry, a):
    one = line()
    one.poll()
    scanned_us = one.now_us
    append(a, record("one"))
    one.now_us += 3_000_000
    one.tail.scan()
    (part,) = one.intake.live().parts

    assert scanned_us == part.lo


def test_a_directory_that_appears_late_is_not_held_to_scans_that_could_not_see_it(tmp_path):
    troubles: list[Any] = []
    tail = Tail([str(tmp_path / "late")], lambda: 1, troubles.append, lambda: 1_000_000)
    tail.scan()

    assert tail.last_scan_us == 0
    assert [trouble.kind for trouble in troubles] == ["missing_directory"]


# Rotation.


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("name", ["a.jsonl.1", "a.jsonl-20260101", "a.old", "sub/b.jsonl"])
def test_a_renamed_file_is_read_to_its_end_under_any_name(line, telemetry, a, name, is_running):
    one = line()
    append(a, record("one"))
    one.poll()
    append(a, record("two"))
    target = telemetry.directory / name
    target.parent.mkdir(exist_ok=True)
    a.rename(target)
    append(a, record("three"))
    if not is_running:
        one.restart()
    one.poll()
    append(target, record("four"))
    one.poll()

    assert one.counted == dict.fromkeys(["one", "two", "three", "four"], 1)


def test_a_file_that_moves_out_of_the_tree_is_read_to_its_end(line, tmp_path, a):
    one = line()
    append(a, record("one"))
    one.poll()
    append(a, record("two"))
    a.rename(tmp_path / "elsewhere")
    one.poll()
    append(tmp_path / "elsewhere", record("three"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_file_that_comes_back_into_the_tree_resumes(line, tmp_path, a, is_restarted):
    one = line()
    append(a, record("one"))
    one.poll()
    a.rename(tmp_path / "elsewhere")
    one.poll()
    one.poll(after_s=3600)
    assert not one.tail.sources()
    if is_restarted:
        one.restart()
    append(tmp_path / "elsewhere", record("two"))
    (tmp_path / "elsewhere").rename(a)
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


def test_a_consumed_file_may_be_deleted(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    a.unlink()
    one.poll()
    one.poll(after_s=3600)

    assert not one.tail.sources()
    assert one.source(a).is_gone
    assert not one.troubles


def test_unread_lines_of_a_deleted_file_are_read_through_the_open_descriptor(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    append(a, record("two"))
    a.unlink()
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


def test_a_writer_that_keeps_a_deleted_file_open_is_still_heard(line, a):
    one = line()
    with a.open("ab", buffering=0) as file:
        file.write(record("one"))
        one.poll()
        a.unlink()
        for n in range(5):
            one.poll(after_s=50)
            file.write(record(f"late{n}"))
        one.poll()

    assert one.counted == dict.fromkeys(["one", *(f"late{n}" for n in range(5))], 1)


def test_a_deletion_is_read_out_without_waiting_for_a_scan(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    append(a, record("two"))
    a.unlink()
    one.tail.notice(str(a))
    one.poll(scan=False)

    assert one.counted == {"one": 1, "two": 1}


def test_bytes_that_were_deleted_before_they_could_be_read_are_told_as_a_gap(line, telemetry):
    one = line(max_open=1)
    for name in ("a", "b", "c"):
        append(telemetry.directory / f"{name}.jsonl", record(name))
    one.poll()
    # Only one descriptor is open: the others cannot be drained.
    for name in ("a", "b", "c"):
        append(telemetry.directory / f"{name}.jsonl", record(name + "2"))
    one.tail.scan()
    for name in ("a", "b", "c"):
        (telemetry.directory / f"{name}.jsonl").unlink()
    one.poll()
    one.poll(after_s=3600)

    lost = [trouble for trouble in one.troubles if trouble.kind == "gap"]
    assert len(lost) == 3 - sum(one.counted[name + "2"] for name in "abc")
    assert lost
    assert f"bytes {len(record('a'))} to" in lost[0].detail
    assert not one.tail.dirty()


def test_the_unfinished_last_line_of_a_file_that_is_gone_is_read_if_it_is_whole_json(line, a):
    one = line()
    append(a, record("one"), record("two").rstrip())
    one.poll()
    a.unlink()
    one.poll()
    assert one.counted == {"one": 1}
    one.poll(after_s=3600)

    assert one.counted == {"one": 1, "two": 1}
    assert one.source(a).pos == len(record("one")) + len(record("two")) - 1


def test_half_a_line_of_a_file_that_is_gone_is_rejected_as_torn(line, a):
    one = line()
    append(a, record("one"), record("two")[:15])
    one.poll()
    a.unlink()
    one.poll()
    one.poll(after_s=3600)

    assert one.counted == {"one": 1}
    assert [(item.reason, item.offset) for item in one.rejects] == [("torn_line", len(record("one")))]
    one.check_accounts()


# Truncation, copies, rewriting.


def copytruncate(path: Path, copy: Path) -> None:
    copy.write_bytes(path.read_bytes())
    os.truncate(path, 0)


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("count", [1, 200], ids=["short", "many blocks"])
def test_copytruncate_loses_nothing_and_counts_nothing_twice(line, a, count, is_running):
    one = line()
    names = [f"event{n}" for n in range(count)]
    append(a, *map(record, names))
    one.poll()
    append(a, record("late"))
    copytruncate(a, a.with_name("a.jsonl.1"))
    append(a, record("fresh"))
    if not is_running:
        one.restart()
    one.poll()
    one.poll()

    assert one.counted == dict.fromkeys([*names, "late", "fresh"], 1)


def test_a_copy_is_known_again_after_a_restart(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    copytruncate(a, a.with_name("a.jsonl.1"))
    one.poll()
    one.restart()
    append(a, record("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


def test_a_copy_that_is_seen_before_the_original_is_truncated_counts_nothing_twice(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    a.with_name("a.jsonl.1").write_bytes(a.read_bytes())
    one.poll()
    os.truncate(a, 0)
    one.poll()
    append(a, record("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


@pytest.mark.parametrize("is_running", [True, False])
def test_files_with_the_same_lines_are_files_of_their_own(line, a, is_running):
    one = line()
    append(a, *[record("same")] * 100)
    one.poll()
    a.rename(a.with_name("a.jsonl.1"))
    append(a.with_name("a.jsonl.2"), *[record("same")] * 200)
    append(a, record("same"))
    if not is_running:
        one.restart()
    one.poll()

    assert one.counted == {"same": 301}


def test_a_whole_file_that_was_copied_and_not_cut_is_counted_with_its_copy(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    a.with_name("a.jsonl.1").write_bytes(a.read_bytes())
    one.poll()
    assert one.counted == {"one": 1}
    one.poll(after_s=3)

    assert one.counted == {"one": 2}


def test_a_copy_under_another_name_is_known_by_its_whole_content(line, telemetry, a):
    one = line()
    names = [f"event{n}" for n in range(100)]
    append(a, *map(record, names))
    one.poll()
    copytruncate(a, telemetry.directory / "archive.jsonl")
    one.poll()

    assert one.counted == dict.fromkeys(names, 1)


def test_a_forged_copy_with_equal_head_and_tail_is_a_file_of_its_own(line, a):
    one = line()
    names = [f"event{n:04}" for n in range(300)]
    append(a, *map(record, names))
    one.poll()
    forged = [*names]
    forged[150] = "forged150"
    a.with_name("a.jsonl.1").write_bytes(b"".join(map(record, forged)))
    os.truncate(a, 0)
    one.poll()

    assert one.counted["forged150"] == 1
    assert one.counted["event0000"] == 2


def test_a_truncated_file_is_read_again_from_its_start(line, a):
    one = line()
    append(a, record("one"), record("two"))
    one.poll()
    a.write_bytes(record("new"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "new": 1}
    assert one.kinds() == ["truncated"]
    assert [source.is_gone for source in one.store.sources()] == [True, False]


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("more", [0, 1, 50], ids=["same size", "longer", "much longer"])
def test_a_file_that_was_truncated_and_has_grown_again_is_read_from_its_start(line, a, more, is_running):
    one = line()
    append(a, record("aaa0"))
    one.poll()
    if not is_running:
        one.close()
    a.write_bytes(record("bbb0") + b"".join(record(f"more{n}") for n in range(more)))
    os.utime(a, ns=(0, 1_000_000_000 + more))
    if not is_running:
        one.open()
    one.poll()

    assert one.counted == dict.fromkeys(["aaa0", "bbb0", *(f"more{n}" for n in range(more))], 1)
    assert one.kinds() == ["rewritten"]


@pytest.mark.parametrize("offset", [0, -60], ids=["head", "tail"])
def test_history_that_is_rewritten_in_place_is_told(line, a, offset):
    one = line()
    append(a, *(record(f"event{n:04}") for n in range(100)))
    one.poll()
    assert not one.troubles
    with a.open("r+b") as file:
        file.seek(offset, os.SEEK_END if offset else os.SEEK_SET)
        file.write(b"X")
    os.utime(a, ns=(0, 1))
    one.poll()

    assert one.kinds() == ["rewritten"]


def test_a_touched_file_is_not_read_again(line, a):
    one = line()
    append(a, record("one"), record("two")[:10])
    one.poll()
    os.utime(a, ns=(0, 1))
    one.poll()
    append(a, record("two")[10:])
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert not one.troubles


def test_an_unfinished_line_that_is_overwritten_by_a_finished_one_of_equal_length_is_read(line, a):
    one = line()
    append(a, b"x" * len(record("one")))
    one.poll()
    a.write_bytes(record("one"))
    os.utime(a, ns=(0, 1))
    one.poll()

    assert one.counted == {"one": 1}


@pytest.mark.parametrize("is_running", [True, False])
def test_a_new_file_on_a_reused_inode_is_a_new_file(line, a, is_running):
    one = line(max_open=1)
    for _ in range(20):
        append(a, record("one"))
        append(a.with_name("b.jsonl"), record("b"))
        one.poll()
        before = one.source(a)
        if not is_running:
            one.close()
        a.unlink()
        append(a, record("one"), record("two"))
        if not is_running:
            one.open()
        if a.stat().st_ino == before.ino:
            break
        a.unlink()
        one.counted.clear()
    else:
        pytest.skip("this file system does not reuse inodes at once")
    one.counted.clear()
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


def test_a_thousand_files_with_equal_beginnings_are_a_thousand_files(line, telemetry):
    one = line(max_open=16)
    for n in range(1000):
        append(telemetry.directory / f"{n}.jsonl", record("start"))
    one.poll()
    for n in range(1000):
        append(telemetry.directory / f"{n}.jsonl", record("next"))
    one.poll()

    assert one.counted == {"start": 1000, "next": 1000}


def test_descriptors_are_bounded_and_every_file_is_read(line, telemetry):
    one = line(max_open=4)
    before = len(os.listdir("/proc/self/fd"))
    for turn in range(3):
        for n in range(50):
            append(telemetry.directory / f"{n}.jsonl", record(f"t{turn}"))
        one.poll()
        assert len(os.listdir("/proc/self/fd")) <= before + 4 + 1

    assert one.counted == {"t0": 50, "t1": 50, "t2": 50}


def test_descriptors_do_not_leak_over_rotations(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        append(a, record("one"))
        a.rename(a.with_name("a.jsonl.1"))
        append(a, record("one"))
        one.poll()
        a.write_bytes(b"")
        one.poll(after_s=61)
    one.poll(after_s=61)

    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert one.counted == {"one": 201}


def test_a_file_given_to_another_owner_is_counted_on_from_there(line, a):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    one = line()
    append(a, record("one"))
    one.poll()
    os.chown(a, 12345, -1)
    append(a, record("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert [(source.owner, source.accepted) for source in one.store.sources()] == [(0, 1), (12345, 1)]


# Long lines.


@pytest.mark.parametrize("line_bytes", [1024, 100_000, 300_000])
def test_a_line_over_the_limit_is_skipped_and_counted_once(line, a, line_bytes):
    one = line(line_bytes=line_bytes)
    long = b'{"x": "' + b"y" * (line_bytes * 3) + b'"}\n'
    append(a, record("before"), long, record("after"))
    one.poll()

    assert one.counted == {"before": 1, "after": 1}
    assert [(item.reason, item.offset) for item in one.rejects] == [("line_too_long", len(record("before")))]
    assert one.source(a).lines == 3
    one.check_accounts()


@pytest.mark.parametrize("line_bytes", [1024, 65_536, 100_000])
def test_a_line_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not(line, a, line_bytes):
    one = line(line_bytes=line_bytes)
    fill = line_bytes - len(record("exact", pad="")) + 1
    append(a, record("exact", pad="x" * fill), record("over!", pad="x" * (fill + 1)), record("after"))
    one.poll()

    assert one.counted == {"exact": 1, "after": 1}
    assert [item.reason for item in one.rejects] == ["line_too_long"]


def test_the_position_advances_inside_an_endless_line_and_survives_a_restart(line, a):
    one = line(line_bytes=4096)
    append(a, b"x" * 10_000)
    one.poll()
    assert one.source(a).pos == 10_000
    assert one.source(a).is_skipping

    one.restart()
    append(a, b"x" * 10_000)
    one.poll()
    assert one.source(a).pos == 20_000
    append(a, b"x\n", record("after"))
    one.restart()
    one.poll()

    assert one.counted == {"after": 1}
    assert len(one.rejects) == 1
    assert one.source(a).lines == 2


def test_a_huge_line_takes_bounded_memory(tmp_path):
    program = """
import resource, sys
from sentineld.tail import Tail
from sentineld.intake import Intake
from sentineld.mapping import NativeMapping
ids = iter(range(1, 99))
tail = Tail([sys.argv[1]], lambda: next(ids), print, lambda: 0)
intake = Intake(tail, NativeMapping())
tail.scan()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = 0
while batch := intake.live():
    rows += sum(len(part.rows) for part in batch.parts)
    for _, source in batch.sources.values():
        tail.accept(source)
assert rows == 1, rows
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 16 * 1024, f"{grown} KiB"
"""
    with (tmp_path / "huge.jsonl").open("wb") as file:
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + record("after"))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=50
    )

    assert done.returncode == 0, done.stderr


# What is no telemetry file.


def test_links_pipes_sockets_and_hard_links_are_refused_and_told(line, telemetry, tmp_path):
    one = line()
    directory = telemetry.directory
    append(tmp_path / "outside" / "x.jsonl", record("outside"))
    (directory / "link.jsonl").symlink_to(tmp_path / "outside" / "x.jsonl")
    (directory / "linked").symlink_to(tmp_path / "outside")
    os.mkfifo(directory / "fifo.jsonl")
    os.mkfifo(directory / "fifo.json")
    os.link(tmp_path / "outside" / "x.jsonl", directory / "hard.jsonl")
    (directory / "directory.jsonl").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "socket.jsonl"))
        watchdog = threading.Timer(10, os._exit, (9,))
        watchdog.start()
        one.poll()
        watchdog.cancel()

    assert not one.counted
    told = {(trouble.kind, os.path.basename(trouble.path)) for trouble in one.troubles}
    assert told == {
        ("not_a_file", "link.jsonl"),
        ("not_a_file", "linked"),
        ("not_a_file", "fifo.jsonl"),
        ("not_a_file", "fifo.json"),
        ("not_a_file", "socket.jsonl"),
        ("hard_link", "hard.jsonl"),
    } - {("not_a_file", "linked")}


def test_a_directory_that_becomes_a_link_is_not_followed(line, telemetry, tmp_path):
    one = line()
    append(tmp_path / "outside" / "x.jsonl", record("outside"))
    (telemetry.directory / "sub").symlink_to(tmp_path / "outside")
    # As if the directory had been swapped after it was listed.
    one.tail.notice(str(telemetry.directory / "sub" / "x.jsonl"))
    one.poll(scan=False)

    assert not one.counted
    assert one.kinds() == ["unreadable"]


def test_a_second_name_does_not_hide_a_file_that_is_followed(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    os.link(a, a.with_name("b.jsonl"))
    append(a, record("two"))
    one.poll()
    a.unlink()
    append(a.with_name("b.jsonl"), record("three"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}


def test_unreadable_files_and_directories_are_told_and_read_once_they_can_be(tmp_path, as_mortal):
    program = """
import os, sys, json
from sentineld.tail import Tail
directory = sys.argv[1]
troubles = []
ids = iter(range(1, 99))
tail = Tail([directory], lambda: next(ids), troubles.append, lambda: 0)
tail.scan()
first = sorted(os.path.basename(t.path) for t in troubles if t.kind == "unreadable")
os.chmod(directory + "/secret", 0o755)
os.chmod(directory + "/a.jsonl", 0o644)
tail.scan()
print(json.dumps([first, [os.path.basename(s.path) for s in tail.dirty()]]))
"""
    append(tmp_path / "a.jsonl", record("one"))
    append(tmp_path / "secret" / "b.jsonl", record("two"))
    (tmp_path / "a.jsonl").chmod(0)
    (tmp_path / "secret").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
        **as_mortal,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["a.jsonl", "secret"], ["a.jsonl", "b.jsonl"]]


def test_a_missing_directory_is_told_and_read_once_it_is_there(line, telemetry, a):
    telemetry.directory.rmdir()
    one = line()
    one.poll()
    assert one.kinds() == ["missing_directory"]
    append(a, record("one"))
    one.poll()

    assert one.counted == {"one": 1}


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline.jsonl",
        b"\x1b]0;title\x07.jsonl",
        b"\xff\xfe.jsonl",
        b"-rf.jsonl",
        b"%s.jsonl",
        b".hidden.jsonl",
        b"x" * 249 + b".jsonl",
    ],
)
def test_any_name_that_a_file_can_have_is_read_and_kept(line, telemetry, name):
    one = line()
    path = os.path.join(os.fsencode(telemetry.directory), name)
    with open(path, "wb") as file:
        file.write(record("one"))
    one.poll()
    one.restart()
    with open(path, "ab") as file:
        file.write(record("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert [os.fsencode(source.path) for source in one.store.sources()] == [path]


def test_names_that_carry_telemetry():
    assert {
        name: kind_of(name)
        for name in ("x.jsonl", "x.jsonl.1", "x.jsonl-20260101", "x.jsonl.2026-01-01T00:00:00Z")
    } == dict.fromkeys(("x.jsonl", "x.jsonl.1", "x.jsonl-20260101", "x.jsonl.2026-01-01T00:00:00Z"), "jsonl")
    assert kind_of("x.json") == "json"
    assert [
        kind_of(name)
        for name in ("x.jsonl.gz", "x.jsonl.1.gz", "x.txt", "x.json.1", "x.jsonl\n", "x.jsonl.tmp")
    ] == [None] * 6


def test_directories_are_searched_to_a_bounded_depth(line, telemetry):
    one = line()
    deep = telemetry.directory.joinpath(*["d"] * 40)
    append(deep / "x.jsonl", record("deep"))
    append(telemetry.directory.joinpath(*["d"] * 20) / "x.jsonl", record("shallow"))
    one.poll()

    assert one.counted == {"shallow": 1}
    assert one.kinds() == ["too_deep"]


def test_files_beyond_the_limit_are_told_and_the_first_ones_are_read(line, telemetry):
    one = line(max_files=3)
    for name in "abcde":
        append(telemetry.directory / f"{name}.jsonl", record(name))
    one.poll()
    assert one.counted == {"a": 1, "b": 1, "c": 1}
    assert one.kinds() == ["too_many_files"]

    os.truncate(telemetry.directory / "a.jsonl", 0)
    one.poll()
    append(telemetry.directory / "a.jsonl", record("again"))
    one.poll()
    assert one.counted["again"] == 1


# Documents.


@pytest.fixture
def doc(telemetry) -> Path:
    return telemetry.directory / "a.json"


def put(path: Path, value: Any) -> None:
    """Replace a document by rename, as careful writers do."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    temporary.rename(path)


def test_a_document_is_an_object_or_an_array(line, doc):
    one = line()
    put(doc, element("one"))
    put(doc.with_name("b.json"), [element("two"), element("three")])
    one.poll()
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}


@pytest.mark.parametrize("is_running", [True, False])
def test_of_a_growing_array_only_the_new_elements_count(line, doc, is_running):
    one = line()
    for count in (1, 2, 5):
        put(doc, [element(f"event{n}") for n in range(count)])
        one.poll()
        if not is_running:
            one.restart()
            one.poll()

    assert one.counted == {f"event{n}": 1 for n in range(5)}
    assert not one.troubles


def test_a_changed_prefix_is_told_and_its_new_elements_count(line, doc):
    one = line()
    put(doc, [element("one"), element("two")])
    one.poll()
    put(doc, [element("one"), element("forged"), element("three")])
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "forged": 1, "three": 1}
    assert one.kinds() == ["rewritten"]


def test_a_shrunk_array_counts_nothing_twice(line, doc):
    one = line()
    put(doc, [element("one"), element("two"), element("three")])
    one.poll()
    put(doc, [element("two"), element("three")])
    one.poll()
    put(doc, [element("two"), element("three"), element("four")])
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1, "four": 1}


def test_a_replaced_object_counts(line, doc):
    one = line()
    for name in ("one", "two", "three"):
        put(doc, element(name))
        one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert not one.troubles


def test_an_incomplete_document_waits_until_it_is_complete(line, doc):
    one = line()
    data = json.dumps([element("one"), element("two")]).encode()
    doc.write_bytes(data[:50])
    one.poll(after_s=1)
    append(doc, data[50:80])
    one.poll(after_s=1.5)
    for _ in range(5):
        one.poll(after_s=60)
    assert not one.rejects
    assert "incomplete_document" in {trouble.kind for trouble in one.troubles}
    append(doc, data[80:])
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert not one.rejects


def test_a_document_that_stays_malformed_is_rejected_once_and_read_when_it_is_mended(line, doc):
    one = line()
    doc.write_bytes(b'[{"type": }]')
    for _ in range(5):
        one.poll(after_s=5)
    assert [(item.reason, item.offset) for item in one.rejects] == [("malformed_json", 0)]
    put(doc, [element("one")])
    one.poll()

    assert one.counted == {"one": 1}
    one.check_accounts()


def test_a_renamed_document_is_not_read_again(line, doc):
    one = line()
    put(doc, [element("one")])
    one.poll()
    doc.rename(doc.with_name("b.json"))
    one.poll()
    one.restart()
    one.poll()
    put(doc.with_name("b.json"), [element("one"), element("two")])
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


@pytest.mark.parametrize(
    "data", [b" " * (MAX_DOCUMENT_BYTES + 1), b"[" + b"1," * 1_100_000 + b"1]"], ids=["bytes", "values"]
)
def test_a_huge_document_is_rejected_once(line, doc, data):
    one = line()
    doc.write_bytes(data)
    one.poll()
    one.poll(after_s=10)

    assert [item.reason for item in one.rejects] == ["document_too_large"]


def test_a_deleted_document_is_forgotten(line, doc):
    one = line()
    put(doc, [element("one")])
    one.poll()
    doc.unlink()
    one.poll()
    one.poll(after_s=3600)

    assert not one.tail.sources()
    assert one.source(doc).is_gone

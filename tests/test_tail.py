"""Tail: whole lines, exact positions, and files that move, shrink, vanish and lie."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentineld.config import Config
from sentineld.documents import MAX_DOCUMENT_BYTES
from sentineld.identity import Source, are_alike, birth_ns, generation, open_regular, proven, verdict
from sentineld.intake import Batch
from sentineld.integrity import KINDS
from sentineld.replay import replay_as_observed
from sentineld.tail import Tail
from sentineld.tree import kind_of


def record(name: str, **more: Any) -> bytes:
    """One line, whose event type is its name."""
    return (
        json.dumps({"type": name, "source": "agent", "timestamp": 1_763_858_400, "data": {}, **more}).encode()
        + b"\n"
    )


def element(name: str) -> dict[str, Any]:
    return json.loads(record(name))


def kinds(one: Any) -> list[str]:
    """Return the kinds of incidents told so far, in order."""
    return [item.kind for item in one.incidents]


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


@pytest.mark.parametrize("name", ["a.jsonl.1", "a.jsonl-20260101", "a-20260101.jsonl", "a.1.jsonl"])
def test_a_copy_that_is_met_while_it_is_being_made_counts_nothing_twice(line, a, name):
    one = line()
    names = [f"event{n}" for n in range(100)]
    append(a, *map(record, names))
    one.poll()
    data, copy = a.read_bytes(), a.with_name(name)
    for end in (0, 1, 3000, len(data) - 1, len(data)):
        copy.write_bytes(data[:end])
        one.tail.notice(str(copy))
        one.poll(after_s=0.5)
    os.truncate(a, 0)
    append(a, record("fresh"))
    one.poll()
    one.poll()

    assert one.counted == dict.fromkeys([*names, "fresh"], 1)
    assert one.incidents == []


def test_lines_between_the_copying_and_the_cutting_count_once(line, a):
    one = line()
    append(a, record("one"), record("two"))
    one.poll()
    copy = a.with_name("a.jsonl.1")
    shutil.copyfile(a, copy)
    append(a, record("between"))
    one.poll(after_s=0.1)
    os.truncate(a, 0)
    append(a, record("fresh"))
    one.poll(after_s=0.1)
    append(copy, record("added to the copy"))
    one.poll()
    one.restart()
    one.poll()

    assert one.counted == dict.fromkeys(["one", "two", "between", "fresh", "added to the copy"], 1)
    assert one.incidents == []


def test_a_file_that_was_copied_cut_and_written_anew_up_to_its_last_line_leaves_no_gap(line, a):
    one = line()
    torn = record("three", data={"x": "x" * 100})
    append(a, record("one"), record("two"), torn[:-9])
    one.poll()
    append(a, torn[-9:])
    shutil.copy(a, f"{a}.1")
    # As long as what was read, and shorter than what was known.
    a.write_bytes(record("six") + record("ten") + record("four")[:30])
    for _ in range(3):
        one.poll()
    append(a, record("four")[30:])
    one.poll()

    assert one.counted == dict.fromkeys(("one", "two", "three", "six", "ten", "four"), 1)
    assert not one.incidents


def test_a_short_file_that_differs_in_the_middle_is_no_copy(line, a):
    one = line()
    append(a, *(record(f"event{n}") for n in range(100)))
    one.poll()
    data = a.read_bytes()
    copy = a.with_name("a.jsonl.1")
    copy.write_bytes(data[:8000].replace(b"event50", b"eventXX"))
    append(a, record("between"))
    one.poll(after_s=0.1)
    os.truncate(a, 0)
    one.poll()
    one.poll(after_s=3)

    assert one.counted["eventXX"] == 1


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


def test_a_copy_of_a_file_that_is_not_cut_counts_where_it_differs(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    copy = a.with_name("a.jsonl.1")
    copy.write_bytes(a.read_bytes())
    one.poll()
    one.poll(after_s=3)
    append(a, record("two"))
    append(copy, record("two"), record("its own"))
    one.poll()
    one.restart()
    append(a, record("three"))
    append(copy, record("three"))
    one.poll()

    # Its second line came when it was a copy no longer alike.
    assert one.counted == {"one": 1, "two": 2, "its own": 1, "three": 2}
    assert one.incidents == []


@pytest.mark.parametrize("other", [b"x", b"y"])
def test_holes_cost_nothing_where_a_file_is_compared_with_its_copy(tmp_path, other):
    size = 1 << 33
    found = []
    for name, last in (("a", b"x"), ("b", other)):
        path = tmp_path / name
        path.write_bytes(b"first")
        os.truncate(path, size)
        with path.open("r+b") as file:
            file.seek(size // 2)
            file.write(last)
        found.append(os.open(path, os.O_RDONLY))
    began = time.process_time()
    try:
        assert are_alike(*found, 0, size) == (other == b"x")
    finally:
        for fd in found:
            os.close(fd)
    # Measured: 1 ms; to read all of it takes four seconds.
    assert time.process_time() - began < 1


def test_a_hole_is_no_copy_of_a_shorter_one(tmp_path):
    found = []
    for size in (1 << 20, 2 << 20):
        path = tmp_path / str(size)
        path.touch()
        os.truncate(path, size)
        found.append(os.open(path, os.O_RDONLY))
    try:
        assert are_alike(*found, 0, 1 << 20)
        assert not are_alike(*found, 0, 2 << 20)
    finally:
        for fd in found:
            os.close(fd)


@pytest.mark.parametrize("pause_s", [0.1, 4.0, 600.0])
@pytest.mark.parametrize("stop", ["", "before", "after"])
@pytest.mark.parametrize("name", ["a.jsonl.1", "old/a.jsonl.1", "a.1.jsonl"])
def test_a_copy_is_known_however_late_its_original_is_cut(line, a, pause_s, stop, name):
    one = line()
    lines = [record(f"event{n}", pad="x" * 100) for n in range(20)]
    append(a, *lines)
    one.poll()
    copy = a.parent / name
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(a, copy)
    append(a, record("between"))
    one.poll(after_s=0.1)
    one.poll(after_s=pause_s)
    if stop == "before":
        one.restart()
    os.truncate(a, 0)
    append(a, record("fresh"))
    if stop == "after":
        one.restart()
    for _ in range(3):
        one.poll()

    assert one.counted == dict.fromkeys([*(f"event{n}" for n in range(20)), "between", "fresh"], 1)
    assert one.incidents == []


def test_a_copy_of_a_rotated_copy_counts_nothing_twice(line, a):
    # As where logrotate's pattern matches what it has made: extension .jsonl, /t/*.jsonl.
    one = line()
    append(a, *(record(f"event{n}", pad="x" * 100) for n in range(20)))
    one.poll()
    for names in (
        ("a.jsonl", "a.1.jsonl"),
        ("a.1.jsonl", "a.1.1.jsonl"),
        ("a.1.1.jsonl", "a.1.1-2026.jsonl"),
    ):
        shutil.copyfile(a.with_name(names[0]), a.with_name(names[1]))
        one.poll(after_s=0.5)
        os.truncate(a.with_name(names[0]), 0)
        one.poll()
        one.poll()

    assert one.counted == dict.fromkeys([f"event{n}" for n in range(20)], 1)
    assert one.incidents == []


@pytest.mark.parametrize("fate", ["deleted", "rewritten"])
def test_a_copy_with_lines_that_its_original_had_unread_counts_nothing_twice(line, a, fate):
    one = line()
    append(a, *(record(f"event{n}") for n in range(100)))
    one.poll()
    append(a, *(record(f"late{n}") for n in range(5)))
    copy = a.with_name("a.jsonl.1")
    shutil.copyfile(a, copy)
    one.tail.notice(str(copy))
    assert [source.path for source in one.tail.dirty()] == []
    one.poll()
    if fate == "deleted":
        a.unlink()
    else:
        other = a.with_name("temporary")
        other.write_bytes(a.read_bytes() + record("new"))
        other.rename(a)
    for _ in range(3):
        one.poll(after_s=61)
    one.restart()
    one.poll()

    names = [f"event{n}" for n in range(100)] + [f"late{n}" for n in range(5)]
    assert one.counted == dict.fromkeys([*names, *(["new"] if fate == "rewritten" else [])], 1)
    assert one.incidents == []


@pytest.mark.parametrize("is_down", [True, False])
@pytest.mark.parametrize("name", ["a.jsonl.1", "a.jsonl.3"])
def test_a_file_that_is_renamed_after_it_was_copied_and_cut_counts_once(line, a, is_down, name):
    one = line()
    append(a, *(record(f"event{n}") for n in range(20)))
    one.poll()
    if is_down:
        one.close()
    shutil.copyfile(a, a.with_name("a.jsonl.2"))
    os.truncate(a, 0)
    append(a, record("second"))
    a.rename(a.with_name(name))
    append(a, record("third"))
    if is_down:
        one.open()
    for _ in range(3):
        one.poll()

    assert one.counted == dict.fromkeys([*(f"event{n}" for n in range(20)), "second", "third"], 1)
    assert one.incidents == []


def test_what_only_the_copy_holds_of_a_file_that_was_cut_is_read_there(line, a):
    one = line(line_bytes=4096)
    append(a, *(record(f"event{n}") for n in range(100)))
    one.tail.scan()
    batch = one.intake.live()
    one.commit(batch)
    copy = a.with_name("a.jsonl.1")
    append(a, *(record(f"late{n}") for n in range(5)))
    shutil.copyfile(a, copy)
    one.tail.notice(str(copy))
    os.truncate(a, 0)
    for _ in range(3):
        one.poll()

    names = [f"event{n}" for n in range(100)] + [f"late{n}" for n in range(5)]
    assert one.counted == dict.fromkeys(names, 1)
    assert one.incidents == []


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
    # It may have been copied before; the next scan would meet the copy.
    assert not one.incidents
    one.poll()

    assert kinds(one) == ["truncated"]
    assert (one.incidents[0].owner, one.incidents[0].source_id) == (os.getuid(), one.store.sources()[0].id)
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
    one.poll()

    assert one.counted == dict.fromkeys(["aaa0", "bbb0", *(f"more{n}" for n in range(more))], 1)
    assert kinds(one) == ["rewritten"]


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("is_growing", [True, False])
@pytest.mark.parametrize("offset", [10, 5000, 400_000, -60], ids=["head", "second block", "middle", "tail"])
def test_history_that_is_rewritten_in_place_is_told(line, a, offset, is_running, is_growing):
    one = line()
    append(a, *(record(f"event{n:04}", pad="x" * 100) for n in range(4000)))
    one.poll()
    if is_running:
        one.poll()
    else:
        one.close()
    with a.open("r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        assert file.read(1) != b"!"
        file.seek(-1, os.SEEK_CUR)
        file.write(b"!")
    os.utime(a, ns=(0, 1))
    if is_growing:
        append(a, record("more"))
    if not is_running:
        one.open()
    assert not one.incidents
    for _ in range(3):
        one.poll()

    assert kinds(one) == ["rewritten"]
    assert (one.incidents[0].start, one.incidents[0].end) == (0, one.store.sources()[0].pos)
    assert one.counted["event2000"] == 2


def test_what_is_read_again_in_one_scan_is_bounded_and_files_take_turns(line, a, monkeypatch):
    monkeypatch.setattr("sentineld.audit.SCAN_BYTES", 1 << 20)
    b = a.with_name("b.jsonl")
    for path in (a, b):
        append(path, *(record(f"{path.name}{n:04}", pad="x" * 10_000) for n in range(250)))
    one = line()
    one.poll()
    with b.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"!")
    one.restart()
    scans = 0
    while not one.incidents and scans < 20:
        one.poll()
        scans += 1

    # Five turns of 1 MiB for both, and the one in which it is decided that nobody made a copy before.
    assert 5 <= scans <= 8
    assert kinds(one) == ["rewritten"]
    assert one.incidents[0].path == str(b)


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
from sentineld.recognition import Formats
ids = iter(range(1, 99))
tail = Tail([sys.argv[1]], lambda: next(ids), print, lambda: 0)
intake = Intake(tail, Formats())
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
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr


def test_a_hole_is_skipped_told_and_replayed(line, a, tmp_path):
    one = line()
    append(a, record("one"))
    one.poll()
    with a.open("r+b") as file:
        file.seek(1 << 40)
        file.write(record("two"))
    one.poll()
    append(a, record("three"))
    one.restart()
    for _ in range(3):
        one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert [(item.reason, item.offset) for item in one.rejects] == [("nul_hole", len(record("one")))]
    source = one.source(a)
    assert (source.lines, source.accepted, source.rejected) == (4, 3, 1)
    assert source.pos == a.stat().st_size
    assert not one.incidents
    one.check_accounts()
    replayed = replay_as_observed([str(a.parent)], one.store, Config())
    assert not replayed.missing
    again = replayed.store.sources()[0]
    assert (again.lines, again.accepted, again.rejected) == (4, 3, 1)


def test_a_hole_that_is_filled_after_it_was_skipped_is_told(line, a):
    one = line()
    append(a, *(record(f"event{n}") for n in range(100)))
    one.poll()
    with a.open("r+b") as file:
        file.seek(1 << 24)
        file.write(record("behind"))
    one.poll()
    with a.open("r+b") as file:
        file.seek(1 << 20)
        file.write(record("hidden"))
    for _ in range(3):
        one.poll()

    assert kinds(one) == ["rewritten"]
    assert one.counted["hidden"] == 1


def test_space_that_a_writer_reserved_is_read_as_it_is_filled(line, a):
    one = line()
    a.write_bytes(bytes(1 << 20))
    one.poll()
    position = 0
    for name in ("one", "two", "three"):
        with a.open("r+b") as file:
            file.seek(position)
            file.write(record(name))
            position += len(record(name))
        one.poll()
    a.unlink()
    one.poll()
    one.poll(after_s=3600)

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert not one.rejects
    assert not one.incidents


# What counts as evidence.


def test_normal_life_is_no_incident(line, a, tmp_path):
    one = line()
    append(a, record("a1"))
    one.poll()
    append(a, record("a2"))
    a.rename(a.with_name("a.jsonl.1"))
    append(a, record("b1"))
    one.poll()
    copytruncate(a, a.with_name("a.jsonl.2"))
    append(a, record("c1"))
    one.poll()
    a.with_name("a.jsonl.1").unlink()
    a.unlink()
    append(a, record("d1"))
    one.poll()
    # As editors do it.
    new = tmp_path / "new"
    new.write_bytes(a.read_bytes() + record("d2"))
    let_tick(new)
    new.replace(a)
    one.poll()
    one.restart()
    append(a, record("d3"))
    document = a.with_name("state.json")
    for name in ("s1", "s2"):
        put(document, element(name))
        one.poll()
    document.unlink()
    for _ in range(5):
        one.poll(after_s=100)

    assert one.counted == {"a1": 1, "a2": 1, "b1": 1, "c1": 1, "d1": 1, "d2": 1, "d3": 1, "s1": 1, "s2": 1}
    assert not one.incidents
    assert one.kinds() == []


def test_bytes_that_were_cut_before_they_were_read_are_a_gap(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    append(a, record("two"))
    one.tail.scan()
    a.write_bytes(b"")
    for _ in range(3):
        one.poll()

    size = len(record("one"))
    assert [(item.kind, item.start, item.end) for item in one.incidents] == [("gap", size, 2 * size)]
    assert (one.incidents[0].owner, one.incidents[0].path) == (os.getuid(), str(a))


def test_a_cut_that_leaves_what_was_read_is_a_gap_too(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    append(a, record("two"), record("six"))
    one.tail.scan()
    size = len(record("one"))
    os.truncate(a, 2 * size)
    for _ in range(3):
        one.poll()

    assert [(item.kind, item.start, item.end) for item in one.incidents] == [("gap", 2 * size, 3 * size)]
    assert one.counted == {"one": 1, "two": 1}


def test_a_copy_of_a_file_that_was_cut_while_it_was_read_counts_once(line, a):
    one = line()
    for n in range(3):
        append(a, *(record(f"event{n}{m:03}", pad="x" * 500) for m in range(100)))
    one.poll()
    append(a, *(record(f"last{m:03}", pad="x" * 500) for m in range(200)))
    one.tail.scan()
    source = one.source(a)
    # Half a turn is read, then it is cut, then the half is committed.
    batch = Batch()
    chunk = one.tail.read(source)
    part, _ = one.intake.decode(chunk, is_history=False)
    batch.put(source, one.tail.advance(source, part.end, raw=chunk.raw))
    batch.parts.append(part)
    copytruncate(a, a.with_name("a.jsonl.1"))
    assert one.tail.read(batch.latest(source)) is None
    one.commit(batch)
    for _ in range(3):
        one.poll()

    assert set(one.counted.values()) == {1}
    assert len(one.counted) == 500
    assert not one.incidents


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_cut_is_told_once_across_restarts(line, a, is_restarted):
    one = line()
    append(a, record("one"))
    one.poll()
    a.write_bytes(b"")
    one.poll()
    if is_restarted:
        one.restart()
    for _ in range(4):
        one.poll()
    one.restart()
    append(a, record("two"))
    for _ in range(4):
        one.poll()

    assert kinds(one) == ["truncated"]
    assert one.counted == {"one": 1, "two": 1}


def test_a_copy_that_is_met_after_a_restart_clears_the_cut(line, a):
    one = line()
    append(a, record("one"), record("two"))
    one.poll()
    copytruncate(a, a.with_name("a.jsonl.1"))
    append(a, record("three"))
    one.tail.scan()
    one.restart()
    one.poll()
    one.restart()
    for _ in range(3):
        one.poll()

    assert not one.incidents
    assert one.counted["three"] == 1


def test_a_file_that_was_gone_at_the_start_is_told_once_and_resumes_when_it_is_back(line, a, tmp_path):
    one = line()
    append(a, record("one"))
    b = append(a.with_name("b.jsonl"), record("b"))
    document = a.with_name("c.json")
    put(document, element("c"))
    one.poll()
    one.close()
    a.rename(tmp_path / "elsewhere")
    b.unlink()
    document.unlink()
    one.open()
    for _ in range(3):
        one.poll()
        one.restart()
    assert sorted((item.kind, item.path) for item in one.incidents) == [
        ("missing", str(path)) for path in (a, b, document)
    ]
    append(tmp_path / "elsewhere", record("two"))
    (tmp_path / "elsewhere").rename(a)
    one.poll()
    assert one.counted == {"one": 1, "two": 1, "b": 1, "c": 1}

    # After a week the other one is closed.
    one.poll(after_s=8 * 86_400)
    assert [source.path for source in one.store.sources(with_gone=False)] == [str(a)]


def test_a_file_that_its_tool_removed_by_age_is_no_incident(line, telemetry):
    one = line()
    paths = [append(telemetry.directory / f"project/{n}.jsonl", record("one")) for n in range(3)]
    for path in paths:
        os.utime(path, (1_600_000_000, 1_600_000_000))
    one.poll()
    one.poll(after_s=31 * 86_400)
    for path in paths:
        path.unlink()
    paths[0].parent.rmdir()
    for _ in range(3):
        one.poll(after_s=3600)
        one.restart()

    assert not one.incidents
    assert not one.troubles
    assert one.counted == {"one": 3}


def test_a_file_that_went_while_no_daemon_ran_may_have_gone_by_its_age(line, a):
    one = line()
    append(a, record("one"))
    one.poll()
    one.close()
    a.unlink()
    one.open()
    one.poll(after_s=31 * 86_400)

    (incident,) = one.incidents
    assert KINDS[incident.kind].family == "note", "nobody is charged"
    assert "last read 31 days ago, and tools remove what is old" in incident.detail


def test_age_excuses_nothing_that_was_seen_and_not_read(line, telemetry):
    one = line(max_open=1)
    paths = [append(telemetry.directory / f"{name}.jsonl", record(name)) for name in "abc"]
    one.poll()
    for path in paths:
        append(path, record(path.stem + "2"))
        # Its owner may write any time there.
        os.utime(path, (1_600_000_000, 1_600_000_000))
    one.tail.scan()
    for path in paths:
        path.unlink()
    one.poll()
    one.poll(after_s=31 * 86_400)

    assert "gap" in kinds(one)


def test_a_document_that_is_removed_before_it_is_read_is_a_gap(line, doc):
    one = line()
    put(doc, [element("one")])
    one.poll()
    put(doc, [element("one"), element("two")])
    one.tail.scan()
    size = doc.stat().st_size
    doc.unlink()
    one.poll()
    one.poll(after_s=100)

    assert [(item.kind, item.start, item.end) for item in one.incidents] == [("gap", 0, size)]


def test_a_changed_array_is_evidence_and_a_replaced_object_is_none(line, doc):
    one = line()
    put(doc, element("one"))
    one.poll()
    put(doc, element("two"))
    one.poll()
    assert not one.incidents
    put(doc, [element("two"), element("three")])
    one.poll()
    put(doc, [element("forged"), element("three")])
    one.poll()

    assert kinds(one) == ["rewritten"]


def test_a_temporary_document_that_was_read_before_it_got_its_name_counts_once(line, doc):
    one = line()
    put(doc, element("one"))
    one.poll()
    temporary = doc.with_name("new.json")
    put(temporary, element("two"))
    one.poll()
    temporary.replace(doc)
    for _ in range(3):
        one.poll(after_s=100)

    assert one.counted == {"one": 1, "two": 1}
    assert not one.incidents


def test_a_temporary_document_that_got_its_name_before_it_was_read_is_no_incident(line, doc):
    one = line()
    put(doc, element("one"))
    one.poll()
    temporary = doc.with_name("new.json")
    put(temporary, element("two"))
    one.tail.scan()
    temporary.replace(doc)
    for _ in range(3):
        one.poll(after_s=100)

    assert one.counted == {"one": 1, "two": 1}
    assert not one.incidents


def test_files_beyond_an_owners_quota_are_told_once_and_again_after_it_went_below(line, telemetry):
    one = line(files_per_owner=3)
    paths = [append(telemetry.directory / f"{name}.jsonl", record(name)) for name in "abcde"]
    for _ in range(3):
        one.poll()
    assert one.counted == {"a": 1, "b": 1, "c": 1}
    assert [(item.kind, item.owner) for item in one.incidents] == [("too_many_files", os.getuid())]
    assert any("2 files" in trouble.detail for trouble in one.troubles if trouble.kind == "too_many_files")

    for path in paths[:3]:
        path.unlink()
    one.poll()
    for _ in range(3):
        one.poll(after_s=100)
    assert one.counted["d"] == one.counted["e"] == 1
    assert len(one.incidents) == 1
    for name in "fgh":
        append(telemetry.directory / f"{name}.jsonl", record(name))
    one.poll()
    assert kinds(one) == ["too_many_files"] * 2


def test_a_line_over_the_limit_is_recorded(line, a):
    one = line(line_bytes=1024)
    append(a, b"x" * 5000 + b"\n", record("after"))
    one.poll()
    one.poll()

    told = one.store.incidents()
    assert [(item.kind, item.start, item.count) for item in told] == [("line_too_long", 0, 1)]


@pytest.fixture
def memory_directory() -> Iterator[Path]:
    """Make a directory on a file system that keeps no inode generation."""
    try:
        path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    except OSError:
        pytest.skip("/dev/shm cannot be written")
    yield path
    shutil.rmtree(path)


def test_a_birth_time_stands_in_where_there_is_no_inode_generation(memory_directory):
    numbers = []
    for name in ("one", "two"):
        path = append(memory_directory / name, record("one"))
        fd = open_regular(str(path))
        try:
            if not birth_ns(fd):
                pytest.skip("nothing tells files apart here")
            numbers.append(generation(fd))
            assert generation(fd) == numbers[-1]
        finally:
            os.close(fd)

    assert numbers[0] < numbers[1]
    assert abs(time.time_ns() - numbers[0]) < 60_000_000_000


def test_a_file_of_another_birth_time_is_another_file(memory_directory):
    path = append(memory_directory / "x.jsonl", record("one"))
    fd = open_regular(str(path))
    try:
        status, number = os.fstat(fd), generation(fd)
        known = Source(1, "x", "x", "jsonl", status.st_dev, status.st_ino, number, status.st_uid, 0)
        known = proven(known, fd, status.st_size)
        assert verdict(fd, status, known, number) is None
        assert verdict(fd, status, known, number + 1) == "replaced"
        # An older database, or another way of mounting: content decides.
        assert verdict(fd, status, known, 0) is None
        assert verdict(fd, status, replace(known, generation=0), number) is None
    finally:
        os.close(fd)


# Many files.


def test_a_turn_costs_nothing_for_silent_files(line, telemetry):
    one = line()
    for n in range(2000):
        append(telemetry.directory / f"d{n % 20}" / f"{n:04}.jsonl", record(f"event{n}"))
    one.poll()
    one.poll()
    path = append(telemetry.directory / "d0" / "0000.jsonl", record("news"))

    def turn() -> None:
        one.tail.notice(str(path))
        one.tail.dirty()
        one.tail.gone()
        one.tail.unread_bytes()

    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        turn()
    finally:
        sys.setprofile(None)
    assert calls < 200
    assert [source.path for source in one.tail.dirty()] == [str(path)]


def test_a_scan_in_slices_finds_what_a_whole_one_finds(line, telemetry):
    one = line()
    for n in range(1000):
        append(telemetry.directory / f"d{n % 3}" / f"{n:04}.jsonl", record(f"event{n}"))
    before_us = one.tail.last_scan_us
    slices = 0
    began_us = one.now_us
    while not one.tail.scan_step(0):
        assert one.tail.is_scanning
        assert one.tail.last_scan_us == before_us
        slices += 1
        one.now_us += 1000
        if slices == 5:
            # Made behind the scan's back, and reported: it is there.
            append(telemetry.directory / "d0" / "new.jsonl", record("new"))
            one.tail.notice(str(telemetry.directory / "d0" / "new.jsonl"))
    assert slices > 10
    assert one.tail.last_scan_us == began_us
    assert not one.tail.is_scanning
    one.poll()

    assert len(one.counted) == 1001
    assert not one.tail.gone(-(1 << 60))


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
        timeout=120,
        **as_mortal,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["a.jsonl", "secret"], ["a.jsonl", "b.jsonl"]]


def test_what_cannot_be_opened_any_more_is_evidence_once_until_it_can_be(tmp_path, as_mortal):
    program = """
import os, sys, json
from sentineld.tail import Tail
directory = sys.argv[1]
ids, now = iter(range(1, 99)), [0]
tail = Tail([directory], lambda: next(ids), lambda _: None, lambda: now[0], max_open=1)
def look(after_s):
    now[0] += after_s * 1_000_000
    tail.scan()
    for source in tail.dirty():
        tail.read(source)
    return [(item.kind, os.path.basename(item.path)) for item in tail.take_incidents()]
names = [directory + "/a.jsonl", directory + "/b.jsonl", directory + "/sub", directory + "/new.jsonl"]
found = [look(1)]
os.close(os.open(names[3], os.O_CREAT, 0))
# A maker may open it to others in a moment.
found.append(look(1))
os.chmod(names[3], 0o644)
found.append(look(1))
for name in names:
    os.chmod(name, 0)
for _ in range(3):
    found.append(look(5))
for name in names:
    os.chmod(name, 0o755)
found.append(look(5))
for name in names:
    os.chmod(name, 0)
found += [look(5), look(5)]
print(json.dumps(found))
"""
    for name in ("a", "b", "sub/c"):
        append(tmp_path / f"{name}.jsonl", b"torn")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        **as_mortal,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found[:4] == [[], [], [], []]
    # What is still open can still be read.
    assert ["unreadable", "sub"] in found[4]
    assert 2 <= len(found[4]) <= 3
    assert found[5:8] == [[], [], []]
    assert ["unreadable", "sub"] in found[8]
    assert 2 <= len(found[8]) <= 3


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
    } == dict.fromkeys(("x.jsonl", "x.jsonl.1", "x.jsonl-20260101", "x.jsonl.2026-01-01T00:00:00Z"), "lines")
    assert kind_of("x.json") == "document"
    assert [
        kind_of(name) for name in ("x.jsonl.gz", "x.jsonl.1.gz", "x.txt", "x.jsonl\n", "x.jsonl.tmp")
    ] == [None] * 5


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

    one.poll(after_s=8 * 86_400)

    assert one.source(doc).is_gone


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("after_s", [1.0, 61.0])
def test_a_document_that_comes_back_after_it_was_out_of_reach_counts_once(
    line, doc, tmp_path, after_s, is_restarted
):
    one = line()
    doc.write_text(json.dumps([element("one"), element("two")]))
    one.poll()
    doc.rename(tmp_path / "away.json")
    if is_restarted:
        one.restart()
    for _ in range(3):
        one.poll(after_s=after_s)
    if is_restarted:
        one.restart()
        one.poll()
    (tmp_path / "away.json").rename(doc)
    one.poll()
    doc.write_text(json.dumps([element("one"), element("two"), element("three")]))
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert kinds(one) == (["missing"] if is_restarted else [])


def test_a_single_object_that_comes_back_with_more_behind_it_goes_on_behind_itself(line, doc, tmp_path):
    one = line()
    doc.write_bytes(record("one"))
    one.poll()
    doc.rename(tmp_path / "away.json")
    for _ in range(3):
        one.poll(after_s=61)
    append(tmp_path / "away.json", record("two"))
    (tmp_path / "away.json").rename(doc)
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert not one.incidents


def test_documents_that_are_out_of_reach_are_remembered_within_bounds(line, telemetry, tmp_path, monkeypatch):
    monkeypatch.setattr("sentineld.documents._MAX_AWAY", 2)
    one = line()
    docs = [telemetry.directory / f"{n}.json" for n in range(4)]
    for number, path in enumerate(docs):
        path.write_text(json.dumps([element(f"e{number}")]))
    one.poll()
    for path in docs:
        path.rename(tmp_path / path.name)
    for _ in range(4):
        one.poll(after_s=61)
    for path in docs:
        (tmp_path / path.name).rename(path)
    one.poll()

    assert one.counted.total() == 6, "two of them were forgotten"
    assert not one.incidents


def test_a_document_whose_modification_time_was_set_back_is_read_again(line, doc):
    one = line()
    doc.write_text(json.dumps([element("one"), element("two")]))
    one.poll()
    before = doc.stat()
    while doc.stat().st_ctime_ns == before.st_ctime_ns:
        doc.write_text(json.dumps([element("one"), element("six")]))
        os.utime(doc, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert doc.stat().st_mtime_ns == before.st_mtime_ns
    one.poll()
    one.poll()

    assert one.counted == {"one": 1, "two": 1, "six": 1}
    assert kinds(one) == ["rewritten"]


def test_a_document_that_was_read_may_change_its_mode_and_go(line, doc):
    one = line()
    doc.write_text(json.dumps([element("one")]))
    one.poll()
    doc.chmod(0o600)
    one.tail.notice(str(doc))
    doc.unlink()
    for _ in range(3):
        one.poll(after_s=61)

    assert one.counted == {"one": 1}
    assert not one.incidents


# Files that are written anew as a whole, and renamed over the former one.


def rewrite(path: Path, *data: bytes, owner: int | None = None) -> None:
    """Write a whole file anew, as editors and some agents do."""
    temporary = path.with_name(path.name + ".tmp~")
    temporary.write_bytes(b"".join(data))
    if owner is not None:
        os.chown(temporary, owner, -1)
    let_tick(temporary)
    temporary.replace(path)


def let_tick(path: Path) -> None:
    """Wait until what is done next has a later time than what was done to a file, whatever the grain is."""
    probe = path.with_name("probe~")
    done_ns = path.stat().st_ctime_ns
    while True:
        probe.write_bytes(b"")
        is_later = probe.stat().st_ctime_ns > done_ns
        probe.unlink()
        if is_later:
            return


@pytest.mark.parametrize("max_open", [1, 512])
def test_a_file_that_is_rewritten_again_and_again_counts_every_line_once(line, a, max_open):
    one = line(max_open=max_open)
    lines = [record(f"e{n}", pad="x" * 300) for n in range(40)]
    append(a, *lines[:5])
    one.poll()
    for end in range(6, 41):
        rewrite(a, *lines[:end])
        append(a.with_name("other.jsonl"), record(f"o{end}"))
        one.poll()
    one.poll()
    one.poll()

    assert one.counted == {f"e{n}": 1 for n in range(40)} | {f"o{n}": 1 for n in range(6, 41)}
    assert not one.incidents
    assert len(one.store.sources()) == 2, "it is one source, whatever its inode is"
    assert one.source(a).ino == a.stat().st_ino
    one.check_accounts()


def test_a_file_that_was_rewritten_while_nobody_looked_goes_on(line, a):
    one = line()
    lines = [record(f"e{n}", pad="x" * 300) for n in range(9)]
    append(a, *lines[:5])
    one.poll()
    one.close()
    rewrite(a, *lines[:7])
    rewrite(a, *lines[:8])
    one.open()
    one.poll()
    one.poll()
    one.restart()
    append(a, lines[8])
    one.poll()

    assert one.counted == {f"e{n}": 1 for n in range(9)}
    assert not one.incidents


@pytest.mark.parametrize("name", ["0", "z"])
def test_a_file_that_was_rewritten_while_nobody_looked_goes_on_though_its_inode_was_given_away(line, a, name):
    one = line()
    former = [record(f"e{n}", data={"x": "x" * 100}) for n in range(20)]
    append(a, *former)
    one.poll()
    inode = a.stat().st_ino
    one.close()
    append(a.with_name("temporary"), *former, record("more")).rename(a)
    number = 0
    # Met before the file that was rewritten, or after it.
    while (other := append(a.with_name(f"{name}{number}.jsonl"), record("other"))).stat().st_ino != inode:
        other.rename(a.with_name(f"kept{number}"))
        number += 1
        if number > 200:
            pytest.skip("this file system does not use inode numbers again")
    one.open()
    for _ in range(3):
        one.poll()

    assert one.counted == dict.fromkeys([*(f"e{n}" for n in range(20)), "more", "other"], 1)
    assert not one.incidents


def test_a_file_that_was_met_and_rewritten_before_it_was_read_counts_once(line, a):
    one = line()
    append(a.with_name("z.jsonl"), record("zero"))
    one.poll()
    append(a, record("one"))
    one.tail.scan()
    append(a.with_name("temporary"), record("one"), record("two"))
    a.with_name("temporary").rename(a)
    for _ in range(3):
        one.poll()
    one.poll(after_s=100)

    assert one.counted == {"zero": 1, "one": 1, "two": 1}
    assert not one.incidents


@pytest.mark.parametrize("is_down", [False, True])
@pytest.mark.parametrize("max_open", [1, 512])
def test_a_file_that_was_rotated_is_no_former_version_of_the_next_one(line, a, is_down, max_open):
    one = line(max_open=max_open)
    lines = [record(f"e{n}", pad="x" * 300) for n in range(5)]
    append(a, *lines)
    append(a.with_name("b.jsonl"), record("b"))
    one.poll()
    if is_down:
        one.close()
    a.rename(a.with_name("a.jsonl.1"))
    append(a, *lines, record("new"))
    if is_down:
        one.open()
    one.tail.notice(str(a))
    for _ in range(3):
        one.poll()

    assert one.counted == {f"e{n}": 2 for n in range(5)} | {"new": 1, "b": 1}
    assert not one.incidents


def test_a_file_that_is_deleted_and_begins_anew_with_the_same_few_lines_is_a_new_one(line, a):
    one = line()
    append(a, record("one"), record("two"))
    one.poll()
    a.unlink()
    let_tick(append(a.with_name("probe")))
    append(a, record("one"), record("two"))
    one.poll()
    one.poll()

    assert one.counted == {"one": 2, "two": 2}


def test_a_rewritten_file_with_another_past_is_a_file_of_its_own(line, a):
    one = line()
    lines = [record(f"e{n}", pad="x" * 300) for n in range(20)]
    append(a, *lines[:15])
    one.poll()
    rewrite(a, *lines[:7], record("other", pad="x" * 297), *lines[8:])
    for _ in range(3):
        one.poll()

    assert one.counted["other"] == 1
    assert one.counted["e19"] == 1
    assert one.counted["e0"] == 2


def test_what_was_appended_before_the_file_was_rewritten_is_not_lost(line, a):
    one = line()
    lines = [record(f"e{n}", pad="x" * 300) for n in range(9)]
    append(a, *lines[:5])
    one.poll()
    append(a, lines[5], lines[6][:10])
    rewrite(a, *lines)
    one.poll()
    assert one.counted == {f"e{n}": 1 for n in range(9)}

    append(a, record("secret"))
    rewrite(a, *lines, record("harmless"))
    for _ in range(3):
        one.poll()
    assert one.counted["secret"] == 1
    assert one.counted["harmless"] == 1


def test_a_rewritten_file_that_gets_its_name_while_it_is_looked_at_counts_once(line, a):
    one = line()
    lines = [record(f"e{n}", pad="x" * 300) for n in range(9)]
    append(a, *lines[:5])
    one.poll()
    temporary = append(a.with_name("a.jsonl.6"), *lines[:6])

    def rename(frame: Any, event: str, _arg: Any) -> None:
        if event == "return" and frame.f_code.co_name == "_open_path" and temporary.exists():
            temporary.replace(a)

    sys.setprofile(rename)
    try:
        one.tail.notice(str(temporary))
    finally:
        sys.setprofile(None)
    assert not temporary.exists(), "it was renamed between its opening and what was made of it"
    for _ in range(3):
        one.poll(after_s=3)

    assert one.counted == {f"e{n}": 1 for n in range(6)}
    assert not one.incidents
    one.check_accounts()


def test_a_rewritten_file_whose_former_version_is_removed_first_counts_once(line, a):
    one = line()
    lines = [record(f"e{n}", pad="x" * 300) for n in range(9)]
    append(a, *lines[:5])
    one.poll()
    temporary = append(a.with_name("a.jsonl.6"), *lines[:6])
    a.unlink()
    one.tail.notice(str(temporary))
    one.tail.notice(str(a))
    one.poll(scan=False)
    temporary.rename(a)
    for _ in range(3):
        one.poll(after_s=3)

    assert one.counted == {f"e{n}": 1 for n in range(6)}
    assert not one.incidents


def test_a_copy_whose_original_is_removed_before_it_is_met_counts_nothing_twice(line, a):
    one = line()
    lines = [record(f"e{n}", pad="x" * 300) for n in range(9)]
    append(a, *lines[:5])
    one.poll()
    copy = append(a.with_name("a.jsonl.1"), *lines[:5])
    a.unlink()
    for _ in range(3):
        one.poll(after_s=3)
    append(copy, lines[5])
    one.poll(after_s=100)
    one.poll(after_s=100)

    assert one.counted == {f"e{n}": 1 for n in range(6)}
    assert not one.incidents


def test_a_file_that_begins_like_another_and_goes_on_growing_is_read_soon(line, a):
    one = line()
    append(a, record("one"), record("two"))
    one.poll()
    more = append(a.with_name("a.jsonl.7"), record("one"), record("two"), record("secret"))
    for n in range(8):
        one.poll(after_s=0.5)
        append(more, record(f"more{n}"))
    assert one.counted["secret"] == 1
    one.poll()

    assert {name for name in one.counted if name.startswith("more")} == {f"more{n}" for n in range(8)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_owner_continues_nothing(line, a):
    one = line()
    lines = [record(f"e{n}", pad="x" * 300) for n in range(5)]
    append(a, *lines)
    one.poll()
    rewrite(a, *lines, record("more"), owner=12345)
    one.poll()
    one.poll()

    assert one.counted == {f"e{n}": 2 for n in range(5)} | {"more": 1}


def test_a_rewritten_file_is_no_further_file_for_its_owner(line, a):
    one = line(files_per_owner=1)
    lines = [record(f"e{n}", pad="x" * 300) for n in range(9)]
    append(a, *lines[:5])
    one.poll()
    rewrite(a, *lines)
    one.poll()

    assert one.counted == {f"e{n}": 1 for n in range(9)}
    assert not one.incidents


# Copies that are compressed at once.


def compressed_rotation(path: Path, ending: str = ".gz") -> None:
    """Copy, cut, compress and remove the copy, as logrotate does without ``delaycompress``."""
    Path(f"{path}.1{ending}").write_bytes(b"compressed")
    os.truncate(path, 0)


@pytest.mark.parametrize("ending", [".gz", ".zst", ".xz"])
def test_a_copy_that_was_compressed_at_once_is_recorded_and_nothing_more(line, a, ending):
    one = line()
    one.now_us = time.time_ns() // 1000 - 2_000_000
    append(a, record("one"))
    one.poll()
    compressed_rotation(a, ending)
    append(a, record("1"))
    for _ in range(3):
        one.poll()

    assert one.counted == {"one": 1, "1": 1}
    assert kinds(one) == ["compressed"]


def test_an_old_compressed_file_excuses_nothing(line, a):
    one = line()
    a.with_name("a.jsonl.1.gz").write_bytes(b"compressed")
    a.with_name("b.jsonl.2.gz").write_bytes(b"compressed")
    append(a, record("one"))
    one.now_us = time.time_ns() // 1000 + 60_000_000
    one.poll()
    os.truncate(a, 0)
    for _ in range(3):
        one.poll()

    assert kinds(one) == ["truncated"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "b.jsonl.1.gz", "a.jsonl.1.txt", "a.jsonl.old.gz"])
def test_only_the_compressed_copy_of_the_same_file_excuses_a_cut(line, a, name):
    one = line()
    one.now_us = time.time_ns() // 1000 - 2_000_000
    append(a, record("one"))
    one.poll()
    append(a.with_name(name), b"compressed")
    os.truncate(a, 0)
    for _ in range(3):
        one.poll()

    assert kinds(one) == ["truncated"]


def test_bytes_that_were_known_and_unread_are_a_gap_in_spite_of_a_compressed_copy(line, a):
    one = line()
    one.now_us = time.time_ns() // 1000 - 2_000_000
    append(a, record("one"))
    one.poll()
    append(a, record("two"))
    one.tail.scan()
    compressed_rotation(a)
    for _ in range(3):
        one.poll()

    assert kinds(one) == ["gap"]


# A wall clock that is set.


def set_clock(one: Any, step_us: int) -> None:
    """Set the clock, and tell of it as the daemon does."""
    one.now_us += step_us
    one.pipeline.set_clock(step_us, one.now_us)
    one.tail.shift(step_us)


STEPS = [3_600_000_000, -3_600_000_000, 10 * 365 * 86_400_000_000, -10 * 365 * 86_400_000_000]


@pytest.mark.parametrize("step_us", STEPS)
def test_a_file_that_is_gone_is_held_as_long_as_ever_when_the_clock_is_set(line, a, step_us):
    one = line()
    append(a, record("one"))
    one.poll()
    with a.open("ab") as file:
        a.unlink()
        one.poll()
        set_clock(one, step_us)
        one.poll()
        file.write(record("two"))
    one.poll()
    assert one.counted == {"one": 1, "two": 1}
    assert len(one.tail.sources()) == 1

    one.poll(after_s=100)
    assert one.tail.sources() == []


@pytest.mark.parametrize("step_us", STEPS)
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_file_that_is_away_resumes_when_the_clock_was_set(line, a, tmp_path, step_us, is_restarted):
    one = line()
    append(a, record("one"))
    one.poll()
    a.rename(tmp_path / "away")
    one.poll()
    one.poll(after_s=100)
    assert one.tail.sources() == []
    set_clock(one, step_us)
    if is_restarted:
        one.restart()
    one.poll()
    append(tmp_path / "away", record("two")).rename(a)
    one.poll()
    assert one.counted == {"one": 1, "two": 1}

    a.rename(tmp_path / "away")
    one.poll()
    one.poll(after_s=100)
    set_clock(one, step_us)
    if is_restarted:
        one.restart()
    one.poll(after_s=8 * 86_400)
    one.poll()
    (tmp_path / "away").rename(a)
    one.poll()
    assert one.counted["one"] == 2, "it was away for longer than files are remembered"


@pytest.mark.parametrize("step_us", STEPS)
def test_what_was_written_before_the_clock_was_set_is_not_held_to_the_new_time(line, a, step_us):
    one = line()
    append(a, record("one"))
    one.poll()
    before_us = one.source(a).look_us
    set_clock(one, step_us)
    append(a, record("two"))
    one.tail.scan()
    batch = one.intake.live()

    (part,) = batch.parts
    assert part.lo - (before_us + step_us) < 2_000_000
    assert part.lo <= part.hi == one.now_us
    assert one.tail.last_scan_us <= one.now_us
    one.commit(batch)
    assert one.source(a).look_us <= one.now_us

    scanned_us = one.tail.last_scan_us
    set_clock(one, step_us)
    new = append(a.with_name("new.jsonl"), record("three"))
    one.tail.notice(str(new))
    (part,) = one.intake.live().parts
    assert part.lo == scanned_us + step_us, "it was not there at the last scan"


@pytest.mark.parametrize("step_us", STEPS)
def test_a_copy_stays_one_when_the_clock_is_set(line, a, step_us):
    one = line()
    append(a, record("one"))
    one.poll()
    shutil.copyfile(a, a.with_name("a.jsonl.1"))
    one.poll()
    set_clock(one, step_us)
    one.poll(after_s=0.1)
    one.poll(after_s=3)
    append(a.with_name("a.jsonl.1"), record("its own"))
    one.poll(after_s=3)

    assert one.counted == {"one": 1, "its own": 1}


@pytest.mark.parametrize("step_us", STEPS)
def test_a_torn_document_is_given_its_time_when_the_clock_is_set(line, a, step_us):
    one = line()
    a.with_name("a.json").write_text("[1, oops")
    one.poll()
    set_clock(one, step_us)
    one.poll(after_s=0.1)
    assert not one.rejects

    one.poll(after_s=3)
    one.poll(after_s=3)
    assert len(one.rejects) == 1


@pytest.mark.parametrize("name", ["poison.jsonl", "poison.json", "poison.jsonl.zst"])
def test_what_is_raised_over_one_path_is_told_and_tried_again_and_accuses_nobody(
    line, telemetry, monkeypatch, name
):
    is_broken = False
    open_path = Tail._open_path

    def fail(tail, path):
        if is_broken and "poison" in path:
            raise IndexError("planted")
        return open_path(tail, path)

    monkeypatch.setattr(Tail, "_open_path", fail)
    failed: list[str] = []
    one = line(on_failure=lambda path, _error: failed.append(path))
    path = telemetry.directory / name
    data = record("p0")
    if name.endswith(".zst"):
        data = pytest.importorskip(
            "backports.zstd" if sys.version_info < (3, 14) else "compression.zstd"
        ).compress(data)
    path.write_bytes(data)
    append(telemetry.directory / "a.jsonl", record("e0"))
    one.poll()
    is_broken = True
    for is_new in (False, True):
        one.restart()
        if is_new:
            path.with_name(f"new-{name}").write_bytes(data)
        for number in range(2):
            append(telemetry.directory / "a.jsonl", record(f"e{number}{is_new}"))
            one.poll(after_s=100)
    assert set(failed) <= {str(path), str(path.with_name(f"new-{name}"))}
    assert failed
    is_broken = False
    one.poll(after_s=100)

    assert one.counted == {"p0": 2, "e0": 1, **{f"e{n}{new}": 1 for n in range(2) for new in (True, False)}}
    assert not one.incidents
    one.check_accounts()

"""Tail: compressed rollouts, made of files that were read and made into files again."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentineld import compressed as compressed_module
from sentineld import zstd as zstd_module
from sentineld.config import Config
from sentineld.replay import replay_as_observed

zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def lines(*names: str, pad: int = 0) -> bytes:
    return b"".join(
        json.dumps(
            {"type": name, "source": "agent", "timestamp": 1_763_858_400, "data": {"x": "x" * pad}}
        ).encode()
        + b"\n"
        for name in names
    )


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def pack(path: Path, data: bytes | None = None) -> Path:
    """Write a compressed file beside a plain one, as a whole."""
    target = path.with_name(path.name + ".zst")
    temporary = path.with_name("temporary")
    temporary.write_bytes(zstd.compress(path.read_bytes() if data is None else data))
    temporary.replace(target)
    return target


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def kinds(one: Any) -> list[str]:
    return [item.kind for item in one.incidents]


@pytest.fixture
def a(telemetry) -> Path:
    return telemetry.directory / "rollout.jsonl"


def test_a_compressed_file_is_read_line_by_line_with_the_offsets_of_its_text(line, a):
    one = line()
    data = lines(*names("e", 3000))
    packed = pack(a, data + lines("last")[:-1])
    one.poll()

    assert one.counted == dict.fromkeys([*names("e", 3000), "last"], 1)
    assert one.source(packed).pos == len(data) + len(lines("last")) - 1
    assert one.source(packed).lines == 3001
    assert not one.tail.dirty()
    assert not one.tail._compressed._unpacked
    one.check_accounts()
    one.restart()
    one.poll()
    assert len(one.counted) == 3001
    assert sum(one.counted.values()) == 3001


@pytest.mark.parametrize("is_down", [False, True])
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("unread", [(), ("three", "four")])
def test_a_file_that_is_compressed_counts_once_and_leaves_no_gap(line, a, is_down, is_open, unread):
    one = line(max_open=512 if is_open else 1)
    append(a, lines("one", "two", pad=700))
    append(a.with_name("z.jsonl"), lines("other"))
    one.poll()
    if is_down:
        one.close()
    append(a, lines(*unread))
    pack(a)
    if not is_down:
        one.poll()
    a.unlink()
    if is_down:
        one.open()
    for _ in range(3):
        one.poll()
    one.poll(after_s=100)
    one.restart()
    one.poll(after_s=100)

    assert one.counted == dict.fromkeys(("one", "two", "other", *unread), 1)
    assert not one.incidents
    one.check_accounts()


@pytest.mark.parametrize("is_down", [False, True])
@pytest.mark.parametrize("has_next", [False, True])
@pytest.mark.parametrize("name", ["rollout-20261123.jsonl", "rollout.1.jsonl"])
def test_a_file_that_is_rotated_and_compressed_between_two_looks_counts_once(
    line, a, is_down, has_next, name
):
    one = line()
    append(a, lines("one", "two", pad=700))
    one.poll()
    if is_down:
        one.close()
    append(a, lines("three"))
    rotated = a.rename(a.with_name(name))
    pack(rotated)
    rotated.unlink()
    if has_next:
        append(a, lines("four"))
    if is_down:
        one.open()
    for _ in range(3):
        one.poll()
    one.poll(after_s=100)

    assert one.counted == dict.fromkeys(("one", "two", "three", *["four"] * has_next), 1)
    assert not one.incidents
    one.check_accounts()


def use_inode_again(one, path):
    """Let the database say of its only file that it had the inode that another one has now."""
    with sqlite3.connect(one.database) as db:
        assert db.execute("UPDATE source SET ino = ?", (str(path.stat().st_ino),)).rowcount == 1
    db.close()


@pytest.mark.parametrize("has_form", [True, False])
def test_a_file_whose_inode_was_used_again_counts_once_in_its_compressed_form(line, a, has_form):
    one = line()
    append(a, lines("one", "two", pad=700))
    one.poll()
    one.close()
    append(a, lines("three"))
    rotated = a.rename(a.with_name("rollout.1.jsonl"))
    if has_form:
        pack(rotated)
    rotated.unlink()
    append(a, lines("four"))
    use_inode_again(one, a)
    one.open()
    for _ in range(3):
        one.poll()
    one.poll(after_s=100)

    assert one.counted == dict.fromkeys(("one", "two", *["three"] * has_form, "four"), 1)
    assert [item.kind for item in one.incidents] == ["missing"] * (not has_form)
    assert [source.is_gone for source in one.store.sources()] == [not has_form, False]
    one.check_accounts()


def test_a_compressed_file_named_after_one_that_is_there_is_a_file_of_its_own(line, a):
    one = line()
    append(a, lines("one", "two", pad=700))
    one.poll()
    pack(a.with_name("rollout.1.jsonl"), a.read_bytes() + lines("three"))
    one.poll()
    append(a, lines("four"))
    one.poll()

    assert one.counted == {"one": 2, "two": 2, "three": 1, "four": 1}


def test_a_file_is_compressed_and_made_again_over_and_over(line, a):
    one = line()
    expected = []
    for number in range(5):
        expected.append(f"e{number}")
        append(a, lines(f"e{number}"))
        if number % 2:
            one.poll()
        packed = pack(a)
        a.unlink()
        one.poll()
        if number == 2:
            one.restart()
        one.poll(after_s=100)
        data = zstd.decompress(packed.read_bytes())
        # Its maker writes it piece by piece, and removes the compressed one when it is done.
        for size in (len(data) // 3, len(data)):
            a.write_bytes(data[:size])
            one.poll()
        packed.unlink()
        one.poll()

    assert one.counted == dict.fromkeys(expected, 1)
    assert not one.incidents
    assert one.source(a).kind == "lines"
    one.check_accounts()


def test_what_was_appended_after_a_file_was_compressed_is_read_before_it_is_gone(line, a):
    one = line()
    append(a, lines("one"))
    one.poll()
    pack(a)
    append(a, lines("two"))
    a.unlink()
    for _ in range(3):
        one.poll()
    one.poll(after_s=100)

    assert one.counted == {"one": 1, "two": 1}
    assert not one.incidents


def test_a_file_is_not_missing_as_long_as_its_compressed_form_is_being_written(line, a):
    one = line()
    append(a, lines("one"))
    one.poll()
    one.close()
    packed = pack(a, a.read_bytes() + lines("two"))
    data = packed.read_bytes()
    packed.write_bytes(data[:-5])
    a.unlink()
    one.open()
    one.poll()
    packed.write_bytes(data)
    one.poll()

    assert one.counted == {"one": 1, "two": 1}
    assert not one.incidents


def test_a_copy_of_a_file_that_is_compressed_counts_once(line, a):
    one = line()
    append(a, lines("one", "two", pad=700))
    one.poll()
    append(a, lines("three"))
    shutil.copyfile(a, a.with_name("rollout.jsonl.1"))
    one.poll()
    pack(a)
    a.unlink()
    one.poll()
    one.poll(after_s=100)

    assert one.counted == {"one": 1, "two": 1, "three": 1}
    assert not one.incidents


def test_as_long_as_both_are_there_the_plain_one_is_read(line, a):
    one = line()
    append(a, lines("one"))
    pack(a)
    one.poll()
    append(a, lines("two"))
    one.poll()
    one.restart()
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


def test_a_compressed_file_with_another_text_is_a_file_of_its_own(line, a):
    one = line()
    append(a, lines("one"))
    one.poll()
    pack(a, lines("two"))
    one.poll()

    assert one.counted == {"one": 1, "two": 1}


def test_a_restart_while_a_compressed_file_is_read_repeats_nothing(line, a, monkeypatch):
    monkeypatch.setattr("sentineld.intake.CHUNK_BYTES", 4096)
    monkeypatch.setattr("sentineld.intake.BATCH_BYTES", 4096)
    one = line()
    pack(a, lines(*names("e", 500)))
    one.tail.scan()
    for _ in range(3):
        one.commit(one.intake.live())
        one.restart()
        one.tail.scan()
        # What is read and not committed is read again.
        one.intake.live()
        one.restart()
        one.tail.scan()
    one.poll()

    assert one.counted == dict.fromkeys(names("e", 500), 1)
    one.check_accounts()


def test_history_in_compressed_files_is_history(line, telemetry):
    for number in range(3):
        pack(telemetry.directory / f"{number}.jsonl", lines(*names(f"e{number}.", 300)))
    one = line()
    one.tail.scan()
    for batch in one.intake.history():
        assert all(part.is_history for part in batch.parts)
        one.commit(batch)

    assert sum(one.counted.values()) == len(one.counted) == 900
    one.check_accounts()


def test_what_was_read_of_a_compressed_file_is_replayed(line, a, telemetry):
    one = line()
    pack(a, lines(*names("e", 100)) + b"nonsense\n")
    one.poll()

    replayed = replay_as_observed([str(telemetry.directory)], one.store, Config())

    assert not replayed.missing
    (again,) = replayed.store.sources()
    assert (again.accepted, again.rejected) == (100, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no zstd at all", "malformed_zstd"),
        (zstd.compress(bytes(1 << 20)), "compressed_too_large"),
        (zstd.compress(b"") * 10_001, "compressed_too_large"),
        (zstd.compress(b"{}\n" * 10)[:-3], "incomplete_zstd"),
    ],
)
def test_a_bomb_and_a_broken_file_are_refused_once_told_and_hide_nothing(line, a, monkeypatch, data, reason):
    monkeypatch.setattr(zstd_module, "MAX_UNPACKED_BYTES", 1 << 16)
    one = line()
    target = a.with_name("rollout.jsonl.zst")
    target.write_bytes(data)
    append(a.with_name("z.jsonl"), lines("one"))
    for _ in range(4):
        one.poll()
    one.restart()
    one.poll(after_s=3)

    assert one.counted == {"one": 1}
    assert [item.reason for item in one.rejects] == [reason]
    assert reason in one.kinds()
    one.check_accounts()
    target.write_bytes(zstd.compress(lines("two")))
    one.poll()
    one.poll()
    assert one.counted == {"one": 1, "two": 1}


def test_an_unread_compressed_file_that_is_removed_is_told(line, a, monkeypatch):
    monkeypatch.setattr("sentineld.compressed._MAX_UNPACKED", 1)
    one = line()
    target = pack(a, lines("one"))
    pack(a.with_name("z.jsonl"), lines("two"))
    one.tail.scan()
    target.unlink()
    one.poll()
    one.poll(after_s=100)

    assert one.counted == {"two": 1}
    assert kinds(one) == ["gap"]
    assert one.source(target).is_gone


def test_a_compressed_file_that_is_removed_once_it_was_unpacked_is_read(line, a):
    one = line()
    target = pack(a, lines("one"))
    one.tail.scan()
    target.unlink()
    one.poll()
    one.poll(after_s=100)

    assert one.counted == {"one": 1}
    assert not one.incidents


def test_without_the_library_a_compressed_file_is_told_and_left(tmp_path):
    program = """
import sys
sys.modules["backports"] = sys.modules["compression"] = None
from sentineld.tail import Tail
troubles = []
tail = Tail([sys.argv[1]], iter(range(1, 9)).__next__, troubles.append, lambda: 0)
tail.scan()
tail.scan()
print([t.kind for t in troubles], len(tail.dirty()), troubles[0].detail)
"""
    pack(tmp_path / "a.jsonl", lines("one"))
    pack(tmp_path / "b.jsonl", lines("one"))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['no_zstd'] 0 2 compressed files are not read: pip install")


def test_descriptors_of_unpacked_files_are_bounded_and_closed(line, telemetry):
    one = line()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(40):
        pack(telemetry.directory / f"{number}.jsonl", lines(f"e{number}"))
    one.tail.scan()
    assert len(os.listdir("/proc/self/fd")) <= before + 17
    one.poll()

    assert len(one.counted) == 40
    assert len(os.listdir("/proc/self/fd")) <= before


def test_large_compressed_files_of_one_owner_are_unpacked_once_each(line, telemetry, monkeypatch):
    unpacked: list[int] = []

    def unpack_and_count(fd):
        unpacked.append(os.fstat(fd).st_ino)
        return zstd_module.unpack(fd)

    monkeypatch.setattr(compressed_module, "unpack", unpack_and_count)
    # Only one of them is kept.
    monkeypatch.setattr(compressed_module, "_MAX_UNPACKED_BYTES", 200_000)
    paths = [telemetry.directory / f"{n}.jsonl" for n in range(4)]
    for n, path in enumerate(paths):
        pack(path, lines(*names(f"e{n}.", 1000), pad=100))
    one = line()
    one.poll()

    assert len(one.counted) == 4000
    assert len(unpacked) <= len(paths)
    one.check_accounts()


def test_a_bomb_is_unpacked_with_pauses(telemetry):
    path = telemetry.directory / "bomb.zst"
    path.write_bytes(zstd.compress(b"x" * (64 << 20)))
    with path.open("rb") as file:
        work = zstd_module.unpacking(file.fileno())
        assert sum(1 for _ in work) >= 16


def test_an_unpacking_in_whose_pauses_a_file_is_replaced_reads_the_new_one(line, telemetry):
    path = telemetry.directory / "a.jsonl.zst"
    path.write_bytes(zstd.compress(lines("old") + b"\n" * (16 << 20)))
    one = line()
    while not one.tail.scan_step(0) and not one.tail._compressed.has_due:
        pass
    one.tail.scan_step(0)
    new = path.with_name("new")
    new.write_bytes(zstd.compress(lines("new")))
    new.rename(path)
    one.tail.notice(str(path))
    one.poll()
    one.poll()

    assert one.counted == {"new": 1}
    one.check_accounts()

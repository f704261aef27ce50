"""Lines: whole lines from an open file in bounded memory; holes and endless lines cost nothing."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.lines import HOLE_BYTES, next_lines


def pieces(data: bytes, tmp_path: Path, *, limit: int = 65_536, line_bytes: int = 1 << 20):
    """Everything that ``next_lines`` gives of a file, and where it ends."""
    path = tmp_path / "x"
    path.write_bytes(data)
    return stretches(path, limit=limit, line_bytes=line_bytes)


def stretches(path: Path, *, limit: int = 65_536, line_bytes: int = 1 << 20):
    found, position, is_skipping = [], 0, False
    fd = os.open(path, os.O_RDONLY)
    try:
        while (
            item := next_lines(fd, position, is_skipping=is_skipping, limit=limit, line_bytes=line_bytes)
        ) is not None:
            assert item.end > position
            found.append(item)
            position, is_skipping = item.end, item.is_skipping
    finally:
        os.close(fd)
    return found, position


def lines_of(found) -> list[bytes]:
    return b"".join(item.data for item in found).split(b"\n")[:-1]


@pytest.mark.parametrize("length", [HOLE_BYTES, 5000, 65_536, 70_000, 1_048_576, 3_000_000])
def test_nul_bytes_are_one_reject_and_the_line_behind_them_is_read(tmp_path, length):
    found, end = pieces(b"one\n" + bytes(length) + b"two\nthree\n", tmp_path)

    assert lines_of(found) == [b"one", b"two", b"three"]
    rejects = [item.reject for item in found if item.reject]
    assert {item.reason for item in rejects} == {"nul_hole"}
    assert rejects[0].offset == 4
    assert sum(item.length for item in rejects) == length
    # Written NUL bytes are skipped a piece at a time, no piece shorter than the longest line.
    assert len(rejects) <= 1 + length // (1 << 20)
    assert end == length + 14


def test_a_hole_of_a_terabyte_costs_nothing(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(b"one\n")
        file.seek(1 << 40)
        file.write(b"two\n")
    began = time.monotonic()
    found, end = stretches(path)

    assert time.monotonic() - began < 60
    assert lines_of(found) == [b"one", b"two"]
    assert [(item.reject.offset, item.reject.length) for item in found if item.reject] == [(4, (1 << 40) - 4)]
    assert end == (1 << 40) + 4


def test_a_hole_ends_the_line_before_it(tmp_path):
    found, _ = pieces(b"one\nhalf" + bytes(4096) + b"two\n", tmp_path)

    assert lines_of(found) == [b"one", b"half", b"two"]


def test_a_hole_ends_a_line_over_the_limit(tmp_path):
    found, _ = pieces(b"x" * 5000 + bytes(4096) + b"two\n", tmp_path, limit=1024, line_bytes=1024)

    reasons = [item.reject.reason for item in found if item.reject]
    assert reasons[0] == "line_too_long"
    assert set(reasons[1:]) == {"nul_hole"}
    assert lines_of(found) == [b"two"]


@pytest.mark.parametrize("head", [b"", b"one\n", b"one\nhalf"])
def test_reserved_space_at_the_end_waits_to_be_filled(tmp_path, head):
    found, end = pieces(head + bytes(100_000), tmp_path)

    assert lines_of(found) == head.split(b"\n")[:-1]
    assert end == head.rfind(b"\n") + 1


def test_few_nul_bytes_stay_a_fault_of_their_line(tmp_path):
    found, _ = pieces(b"a\0b\n" + bytes(100) + b"c\nd\n", tmp_path)

    assert lines_of(found) == [b"a\0b", bytes(100) + b"c", b"d"]


@given(
    items=st.lists(
        st.one_of(
            st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"") + b"\n"),
            st.integers(0, 3000).map(lambda length: b"x" * length + b"\n"),
            st.integers(HOLE_BYTES, 9000).map(bytes),
            st.integers(1, 3000).map(lambda length: b"y" * length),
        ),
        max_size=12,
    ),
    limit=st.integers(1024, 5000),
    line_bytes=st.integers(1024, 3000),
)
def test_every_byte_is_covered_once_and_whole_lines_are_whole(tmp_path_factory, items, limit, line_bytes):
    data = b"".join(items)
    found, end = pieces(data, tmp_path_factory.getbasetemp(), limit=limit, line_bytes=line_bytes)

    position = 0
    for item in found:
        length = item.end - position
        if item.data:
            assert item.data in (data[position : item.end], data[position : item.end] + b"\n")
            assert all(len(line) <= line_bytes for line in item.data.split(b"\n"))
        if item.raw:
            lead = position % 4096
            assert item.raw == data[position - lead : item.end]
        assert length <= max(limit, line_bytes + 1) or item.skip == 3
        position = item.end
    assert position == end
    left = data[end:]
    # What is left is an unfinished line, or ends with NUL bytes that nobody has filled yet.
    assert b"\n" not in left.rstrip(b"\0")
    assert len(left.rstrip(b"\0")) <= max(line_bytes, limit)

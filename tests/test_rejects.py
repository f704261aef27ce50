"""Rejects: refused input is kept, whole lines, within a bound."""

import base64
import json
import os
from pathlib import Path

import pytest

from sentineld.decode import Reject
from sentineld.rejects import MAX_AT_ONCE, Rejects

NOW = 1_763_858_410_000_000
HOSTILE = "\x1b[2J\n\u202e\x7f\x9b\u3164"


def reject(offset: int = 0, head: bytes = b"not json") -> Reject:
    return Reject("malformed_json", "it is not", offset, len(head), head)


def kept(directory: Path) -> list[dict[str, object]]:
    names = [name for name in ("rejects.1.jsonl", "rejects.jsonl") if (directory / name).exists()]
    return [json.loads(line) for name in names for line in (directory / name).read_text().splitlines()]


def test_a_reject_tells_where_it_stood_and_why(tmp_path):
    Rejects(str(tmp_path), 1 << 20).keep(os.fsdecode(b"/t/\xff.jsonl"), [reject(7)], NOW)

    assert kept(tmp_path) == [
        {"at": "2025-11-23T00:40:10.000Z", "path": "/t/\\xff.jsonl", "offset": 7, "length": 8,
         "reason": "malformed_json", "detail": "it is not", "head": "not json"}
    ]  # fmt: skip


def test_bytes_that_are_no_text_are_kept_as_base64(tmp_path):
    Rejects(str(tmp_path), 1 << 20).keep("/t", [reject(0, b"\xff\x00")], NOW)

    assert base64.b64decode(str(kept(tmp_path)[0]["head_base64"])) == b"\xff\x00"


@pytest.mark.parametrize("at_once", [1, 7, 20])
def test_the_newest_are_kept_within_the_bound_and_no_line_is_cut(tmp_path, at_once):
    bound = 20_000
    rejects = Rejects(str(tmp_path), bound)
    for start in range(0, 1000, at_once):
        rejects.keep(
            "/t/a.jsonl", [reject(n, b"x" * 100) for n in range(start, min(1000, start + at_once))], NOW
        )
        assert sum(entry.stat().st_size for entry in tmp_path.iterdir()) <= bound
    offsets = [item["offset"] for item in kept(tmp_path)]

    assert offsets == list(range(1000 - len(offsets), 1000))
    assert sum(entry.stat().st_size for entry in tmp_path.iterdir()) > bound / 3


def test_of_a_flood_the_first_are_kept_and_the_rest_are_counted(tmp_path):
    rejects = Rejects(str(tmp_path), 1 << 20)
    rejects.keep("/t/a.jsonl", [reject(n) for n in range(10_000)], NOW)
    rejects.keep("/t/a.jsonl", [reject(n) for n in range(10_000, 10_000 + MAX_AT_ONCE)], NOW)
    first, second = kept(tmp_path)[:MAX_AT_ONCE], kept(tmp_path)[MAX_AT_ONCE:]

    assert [item["offset"] for item in first] == list(range(MAX_AT_ONCE))
    assert first[-1]["left_out_after"] == 10_000 - MAX_AT_ONCE
    assert [item["offset"] for item in second] == list(range(10_000, 10_000 + MAX_AT_ONCE))
    assert not any("left_out_after" in item for item in [*first[:-1], *second])


def test_a_small_bound_keeps_the_first_that_fit_and_counts_the_rest(tmp_path):
    Rejects(str(tmp_path), 2000).keep("/t", [reject(n, b"x" * 100) for n in range(50)], NOW)
    found = kept(tmp_path)

    assert [item["offset"] for item in found] == list(range(len(found)))
    assert 0 < len(found) == 50 - found[-1]["left_out_after"]
    assert (tmp_path / "rejects.jsonl").stat().st_size <= 1000


def test_a_bound_smaller_than_one_reject_keeps_nothing(tmp_path):
    Rejects(str(tmp_path), 100).keep("/t", [reject()], NOW)

    assert kept(tmp_path) == []


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "rejects.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        Rejects(str(tmp_path), 1 << 20).keep("/t", [reject()], NOW)

    assert not (tmp_path / "victim").exists()


def test_control_characters_of_a_head_are_escaped(tmp_path):
    Rejects(str(tmp_path), 1 << 20).keep("/t/\x1b\n", [reject(0, HOSTILE.encode())], NOW)

    text = (tmp_path / "rejects.jsonl").read_text().rstrip("\n")
    assert text.isprintable()
    assert text.isascii()

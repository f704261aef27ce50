"""WordPressSentinel: the library face of reading one telemetry directory."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentineld import BehavioralEvent, WordPressSentinel
from sentineld.sentinel import PROCESSED


def record(name: str = "file_read", agent: str = "agent-1", **data: object) -> dict[str, object]:
    return {"type": name, "source": agent, "timestamp": 1_763_858_410, "data": data}


def line(*args: str, **data: object) -> str:
    return json.dumps(record(*args, **data)) + "\n"


@pytest.fixture
def sentinel(tmp_path) -> WordPressSentinel:
    return WordPressSentinel(tmp_path)


def types(events: list[BehavioralEvent]) -> list[str]:
    return [event.event_type for event in events]


def test_records_become_events(sentinel, tmp_path):
    (tmp_path / "a.jsonl").write_text(line(path="/etc/hosts"))
    (event,) = sentinel.scan_telemetry()

    assert event.agent_id == "agent-1"
    assert event.event_type == "file_read"
    assert event.timestamp == "2025-11-23T00:40:10Z"
    assert event.metadata == {"path": "/etc/hosts"}
    assert 0.0 < event.entropy < 1.0


def test_the_default_directory_is_wordpress_zone():
    assert WordPressSentinel().telemetry_path == Path("wordpress_zone/telemetry")


def test_a_scan_returns_what_is_new_since_the_last_one(sentinel, tmp_path):
    path = tmp_path / "sub" / "a.jsonl"
    path.parent.mkdir()
    path.write_text(line("one"))
    assert types(sentinel.scan_telemetry()) == ["one"]
    assert sentinel.scan_telemetry() == []
    with path.open("a") as file:
        file.write(line("two"))

    assert types(sentinel.scan_telemetry()) == ["two"]
    assert sentinel.get_file_position(path) == path.stat().st_size


def test_a_scan_that_is_not_incremental_returns_everything(sentinel, tmp_path):
    (tmp_path / "a.jsonl").write_text(line("one"))
    sentinel.scan_telemetry()

    assert types(sentinel.scan_telemetry(incremental=False)) == ["one"]


def test_a_partial_line_waits(sentinel, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(line("one") + line("two")[:-5])
    assert types(sentinel.scan_telemetry()) == ["one"]
    assert sentinel.get_file_position(path) == len(line("one"))
    path.write_text(line("one") + line("two"))

    assert types(sentinel.scan_telemetry()) == ["two"]


def test_a_shorter_file_and_another_file_are_read_from_their_start(sentinel, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(line("one") + line("two"))
    sentinel.scan_telemetry()
    path.write_text(line("short"))
    assert types(sentinel.scan_telemetry()) == ["short"]

    path.rename(tmp_path / "rotated")
    path.write_text(line("longer1") + line("longer2") + line("longer3"))
    assert types(sentinel.scan_telemetry()) == ["longer1", "longer2", "longer3"]


def test_documents_are_read_whole_and_again_when_they_are_replaced(sentinel, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record("one")))
    assert types(sentinel.scan_telemetry()) == ["one"]
    assert sentinel.get_file_position(path) == PROCESSED == -1
    assert sentinel.scan_telemetry() == []
    (tmp_path / "new").write_text(json.dumps([record("one"), record("two")]))
    (tmp_path / "new").rename(path)

    assert types(sentinel.scan_telemetry()) == ["one", "two"]


def test_a_document_marked_as_read_is_not_read(sentinel, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record("one")))
    sentinel.set_file_position(path, -1)
    assert sentinel.scan_telemetry() == []
    sentinel.set_file_position(path, 0)

    assert types(sentinel.scan_telemetry()) == ["one"]


def test_positions_can_be_set_and_reset(sentinel, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(line("one") + line("two"))
    assert sentinel.get_file_position(path) == 0
    sentinel.set_file_position(path, len(line("one")))
    assert types(sentinel.scan_telemetry()) == ["two"]
    assert sentinel.get_tracked_files() == {str(path): path.stat().st_size}
    sentinel.reset_positions()
    assert sentinel.get_tracked_files() == {}

    assert types(sentinel.scan_telemetry()) == ["one", "two"]


@pytest.mark.parametrize(("name", "position"), [("a.json", -2), ("a.jsonl", -1)])
def test_positions_that_mean_nothing_are_refused(sentinel, tmp_path, name, position):
    with pytest.raises(ValueError, match="position"):
        sentinel.set_file_position(tmp_path / name, position)


def test_extracting_leaves_positions_alone(sentinel, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(line("one"))
    assert types(sentinel.extract_events(path)) == ["one"]
    assert sentinel.get_tracked_files() == {}

    assert types(sentinel.scan_telemetry()) == ["one"]
    assert types(sentinel.extract_events(path)) == ["one"]


@pytest.mark.parametrize("is_there", [True, False])
def test_missing_and_empty_directories_give_an_empty_list_and_a_warning(tmp_path, caplog, is_there):
    directory = tmp_path / "telemetry"
    if is_there:
        directory.mkdir()

    assert WordPressSentinel(directory).scan_telemetry() == []
    assert [item.levelno for item in caplog.records] == [logging.WARNING]
    assert str(directory) in caplog.text


def test_malformed_lines_are_warned_of_with_path_and_offset_and_the_rest_is_read(sentinel, tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    path.write_text(line("one") + "not json\n" + '{"type": 5, "source": "x"}\n' + line("two"))

    assert types(sentinel.scan_telemetry()) == ["one", "two"]
    first, second = caplog.messages
    assert f"{path}, offset {len(line('one'))}: rejected" in first
    assert f"{path}, offset {len(line('one')) + 9}: rejected" in second


def test_an_incomplete_document_is_warned_of_and_read_when_it_is_complete(sentinel, tmp_path, caplog):
    path = tmp_path / "a.json"
    path.write_text("[")
    assert sentinel.scan_telemetry() == []
    assert "offset 0: rejected" in caplog.text
    path.write_text(json.dumps([record("one")]))

    assert types(sentinel.scan_telemetry()) == ["one"]


def test_links_and_pipes_are_warned_of_and_never_block(sentinel, tmp_path, caplog):
    os.mkfifo(tmp_path / "fifo.jsonl")
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    (tmp_path / "a.jsonl").write_text(line("one"))

    assert types(sentinel.scan_telemetry()) == ["one"]
    assert "fifo.jsonl" in caplog.text
    assert "link.json" in caplog.text


def test_nothing_in_a_warning_can_move_a_cursor(sentinel, tmp_path, caplog):
    (tmp_path / "\x1b[2Jx\n.jsonl").write_text('{"a\x1b\\u001b": 1, "a\x1b\\u001b": 1}\n')
    sentinel.scan_telemetry()

    assert caplog.messages
    assert all(message.isprintable() for message in caplog.messages)


def test_an_unreadable_file_is_warned_of(tmp_path, as_mortal):
    (tmp_path / "a.jsonl").write_text(line("one"))
    (tmp_path / "b.jsonl").write_text(line("two"))
    (tmp_path / "a.jsonl").chmod(0)
    program = f"""
from sentineld import WordPressSentinel
print([event.event_type for event in WordPressSentinel({str(tmp_path)!r}).scan_telemetry()])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, **as_mortal
    )

    assert done.stdout.strip() == "['two']"
    assert str(tmp_path / "a.jsonl") in done.stderr
    assert "Permission denied" in done.stderr


def test_a_line_over_the_limit_is_skipped_in_bounded_memory(tmp_path):
    with (tmp_path / "a.jsonl").open("w") as file:
        file.write(line("one"))
        for _ in range(200):
            file.write("x" * (1 << 20))
        file.write("\n" + line("two"))
        file.write("y" * (2 << 20))
    program = f"""
import resource
from sentineld import WordPressSentinel
sentinel = WordPressSentinel({str(tmp_path)!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert [e.event_type for e in sentinel.scan_telemetry()] == ["one", "two"]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 16 * 1024, grown
(position,) = sentinel.get_tracked_files().values()
assert position == {(tmp_path / "a.jsonl").stat().st_size - (2 << 20)}, position
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert "line_too_long" in done.stderr

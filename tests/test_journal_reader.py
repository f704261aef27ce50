"""The decision log is read while it is written and rotated: every line once, in its order."""

import os

import pytest
from command_line import begin
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import append_and_rotate, numbered

from sentineld.journal import Journal
from sentineld.journal_reader import JournalReader, number_of


def read(reader):
    """Return the numbers that are new, and whether a log began."""
    found, is_new = [], False
    while True:
        lines, began = reader.read()
        is_new |= began
        if not lines:
            return found, is_new
        found += [number for line in lines if (number := number_of(line))]


@pytest.fixture
def log(tmp_path):
    return Journal(str(tmp_path / "decisions.jsonl"), max_bytes=1)


def test_a_log_is_read_from_its_oldest_file_on_and_then_followed(log):
    with JournalReader(log.path) as reader:
        assert read(reader) == ([], False)
        log.append([numbered(1)])
        log.rotate()
        log.append([numbered(2), numbered(3)])
        assert read(reader) == ([1, 2, 3], True)
        log.append([numbered(4)])
        assert read(reader) == ([4], False)
        assert read(reader) == ([], False)


def test_a_half_written_line_waits_for_its_end(log):
    with JournalReader(log.path) as reader, open(log.path, "ab", buffering=0) as file:
        file.write(b'{"decision_no": 1, "a')
        assert read(reader)[0] == []
        file.write(b'gent": 1}\n{"decis')
        assert read(reader)[0] == [1]


def test_rotations_between_two_looks_lose_nothing(log):
    with JournalReader(log.path) as reader:
        log.append([numbered(1)])
        assert read(reader) == ([1], True)
        log.append([numbered(2)])
        for number in (3, 4, 5):
            log.rotate()
            log.append([numbered(number)])
        assert read(reader) == ([2, 3, 4, 5], False)
        log.rotate()
        assert read(reader) == ([], False), "no file has the name for a moment"
        log.append([numbered(6)])
        assert read(reader) == ([6], False)


def test_a_rotation_between_the_look_at_the_names_and_the_files_is_noticed(log):
    class Interrupted(JournalReader):
        rotations = 0

        def _names(self):
            names = super()._names()
            if self.rotations < 3:
                self.rotations += 1
                log.rotate()
                log.append([numbered(2 + self.rotations)])
            return names

    log.append([numbered(1)])
    log.rotate()
    log.append([numbered(2)])
    with Interrupted(log.path) as reader:
        assert read(reader) == ([1, 2, 3, 4, 5], True)


def test_a_log_that_was_replaced_or_cut_is_read_whole(log):
    with JournalReader(log.path) as reader:
        log.append([numbered(1), numbered(2)])
        assert read(reader) == ([1, 2], True)
        os.truncate(log.path, 0)
        log.append([numbered(3)])
        assert read(reader) == ([3], True)
        os.unlink(log.path)
        assert read(reader) == ([], False)
        log.append([numbered(1)])
        assert read(reader) == ([1], True)


def test_damaged_and_endless_lines_are_passed_over(log):
    with open(log.path, "wb") as file:
        file.write(b"\0garbage\n\n" + b"x" * (17 << 20) + b"\n")
    log.append([numbered(1)])
    with JournalReader(log.path) as reader:
        assert read(reader) == ([1], True)


@settings(max_examples=settings().max_examples // 4)
@given(st.lists(st.sampled_from(["append", "append", "rotate", "read", "again"]), max_size=40))
def test_however_it_is_rotated_each_line_is_read_once(tmp_path_factory, plan):
    log = Journal(str(tmp_path_factory.mktemp("log") / "decisions.jsonl"), kept_files=100)
    written, got = 0, []
    reader = JournalReader(log.path)
    for step in [*plan, "read"]:
        if step == "append":
            written += 1
            log.append([numbered(written)])
        elif step == "rotate" and os.path.exists(log.path):
            log.rotate()
        elif step == "read":
            got += [number for number in read(reader)[0] if not got or number > got[-1]]
        elif step == "again":
            reader.rewind()
    reader.rewind()

    assert got == list(range(1, written + 1))


def test_a_writer_that_rotates_all_the_time_is_followed_without_a_loss(log, wait_for):
    process = begin(append_and_rotate, log.path, 300)
    got = []
    with JournalReader(log.path) as reader:
        wait_for(lambda: got.extend(read(reader)[0]) or got[-1:] == [300], "the last line")
    process.join()

    assert got == list(range(1, 301))

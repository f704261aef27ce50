"""Journal: the decision log survives torn lines and failing disks."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time

import pytest
from command_line import begin
from journals import append_until_killed

from sentineld.decision import Decision
from sentineld.journal import KEPT_FILES, Journal, rotated_files


def decision(number: int) -> Decision:
    return Decision(
        decision_no=number, decision_id=f"d-{number:06}", agent_id="a", from_tier=1, to_tier=3, score=0.9,
        decided_at="2025-11-23T00:40:10Z", cause="detected", prior_version="v", reasons=[], evidence=[],
        actor="", note="new\nline \x1b", attack=False,
    )  # fmt: skip


def test_decisions_are_appended_one_a_line_and_read_back_equal(tmp_path):
    journal = Journal(str(tmp_path / "decisions.jsonl"))
    journal.append([decision(1), decision(2)])
    journal.append([])
    journal.append([decision(3)])
    lines = (tmp_path / "decisions.jsonl").read_text().splitlines()

    assert [Decision.from_dict(json.loads(line)) for line in lines] == [decision(1), decision(2), decision(3)]
    assert os.stat(tmp_path / "decisions.jsonl").st_mode & 0o137 == 0


def test_a_torn_last_line_does_not_spoil_the_next_one(tmp_path):
    path = tmp_path / "decisions.jsonl"
    Journal(str(path)).append([decision(1)])
    with path.open("a") as file:
        file.write('{"decision_no": 2, "dec')
    Journal(str(path)).append([decision(2)])
    lines = path.read_text().splitlines()

    assert len(lines) == 3
    assert json.loads(lines[2])["decision_no"] == 2


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "victim").write_text("")
    (tmp_path / "decisions.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        Journal(str(tmp_path / "decisions.jsonl")).append([decision(1)])

    assert (tmp_path / "victim").read_text() == ""


def test_a_disk_that_fills_in_the_middle_of_a_line_raises_and_the_next_append_is_whole(tmp_path):
    path = tmp_path / "decisions.jsonl"
    Journal(str(path)).append([decision(1)])
    before = path.read_bytes()
    program = f"""
import resource, sys
sys.path.insert(0, {os.path.join(os.path.dirname(__file__), "support")!r})
from journals import numbered
from sentineld.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, ({path.stat().st_size + 50}, {path.stat().st_size + 50}))
try:
    Journal({str(path)!r}).append([numbered(2)])
except OSError as error:
    print(error.errno)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "27", done.stderr
    assert path.read_bytes() == before, "what got through would stand there twice"
    Journal(str(path)).append([decision(2)])
    lines = path.read_text().splitlines()

    assert [json.loads(lines[0])["decision_no"], json.loads(lines[-1])["decision_no"]] == [1, 2]


def numbers(directory) -> list[list[int]]:
    """Return the numbers in every file, the oldest file first."""
    files = [directory / "decisions.jsonl", *(directory / f"decisions.{n}.jsonl" for n in range(1, 10))]
    return [
        [json.loads(line)["decision_no"] for line in path.read_text().splitlines()]
        for path in reversed(files)
        if path.exists()
    ]


def test_a_full_log_is_rotated_and_a_fixed_number_of_files_is_kept(tmp_path):
    journal = Journal(str(tmp_path / "decisions.jsonl"), max_bytes=1000)
    cursor, followed = 0, []
    for number in range(1, 31):
        if journal.is_full:
            journal.rotate()
        journal.append([decision(number)])
        # A reader that keeps the last number it saw, and looks through all files for more.
        new = [n for file in numbers(tmp_path) for n in file if n > cursor]
        followed += new
        cursor = new[-1]

    files = numbers(tmp_path)
    assert followed == list(range(1, 31))
    assert len(files) == 1 + KEPT_FILES
    assert [n for file in files for n in file] == list(range(files[0][0], 31)), "in order, without a gap"
    assert all((tmp_path / f"decisions.{n}.jsonl").stat().st_size < 2000 for n in range(1, 5))


def test_a_rotation_that_broke_off_loses_nothing(tmp_path):
    journal = Journal(str(tmp_path / "decisions.jsonl"), max_bytes=1)
    for number in range(1, 4):
        if journal.is_full:
            journal.rotate()
        journal.append([decision(number)])
    # As a crash between two renames leaves it.
    (tmp_path / "decisions.2.jsonl").rename(tmp_path / "decisions.3.jsonl")
    (tmp_path / "decisions.1.jsonl").rename(tmp_path / "decisions.2.jsonl")
    journal.rotate()
    journal.append([decision(4)])

    assert numbers(tmp_path) == [[1], [2], [3], [4]]


def test_files_beyond_the_number_that_is_kept_go_at_the_next_rotation(tmp_path):
    journal = Journal(str(tmp_path / "decisions.jsonl"), max_bytes=1, kept_files=6)
    for number in range(1, 9):
        journal.append([decision(number)])
        journal.rotate()
    (tmp_path / "decisions.old.jsonl").write_text("an operator's copy")
    assert numbers(tmp_path) == [[n] for n in range(3, 9)]
    journal.kept_files = 2
    journal.append([decision(9)])
    journal.rotate()

    assert numbers(tmp_path) == [[8], [9]]
    assert (tmp_path / "decisions.old.jsonl").exists()


def test_what_a_killed_process_left_is_finished_and_known(tmp_path):
    path = tmp_path / "decisions.jsonl"
    journal = Journal(str(path))
    assert journal.settle() == 0
    journal.append([decision(1), decision(2)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert journal.settle() == 2
    assert path.read_bytes() == whole, "only its end was missing"

    path.write_bytes(whole[:-9])
    assert journal.settle() == 1


def test_a_process_that_is_killed_again_and_again_loses_no_line_and_leaves_none_twice(tmp_path, wait_for):
    journal = Journal(str(tmp_path / "decisions.jsonl"))
    chance = random.Random(3)
    for _ in range(12):
        before = journal.last_no()
        process = begin(append_until_killed, journal.path)
        wait_for(lambda before=before: journal.last_no() > before + 1, "its first lines")
        time.sleep(chance.uniform(0.0, 0.01))
        process.kill()
        process.join()
    last = journal.settle()
    found = []
    for path in [*(path for _, path in reversed(rotated_files(journal.path))), journal.path]:
        # After a rotation there is none of that name, until something is written.
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            found += [n for line in file if (n := _number(line))]

    assert last >= 12
    assert rotated_files(journal.path)
    assert found == list(range(1, last + 1))


def _number(line):
    with contextlib.suppress(ValueError):
        return json.loads(line)["decision_no"]


@pytest.mark.parametrize(
    ("text", "last"),
    [("", 0), ("x", 0), ('{"decision_no": 3}\n', 3), ('{"decision_no": 3}\n{"decision_no": 4', 3),
     ('{"decision_no": "9"}\n', 0), ('[]\n{"decision_no": -1}\n', 0)],
)  # fmt: skip
def test_the_last_number_is_found_also_behind_a_torn_line(tmp_path, text, last):
    (tmp_path / "decisions.jsonl").write_text(text)

    assert Journal(str(tmp_path / "decisions.jsonl")).last_no() == last
    (tmp_path / "decisions.1.jsonl").write_text('{"decision_no": 2}\n')
    assert Journal(str(tmp_path / "decisions.jsonl")).last_no() == (last or 2)


def test_a_pipe_in_the_place_of_the_log_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "decisions.jsonl")

    assert Journal(str(tmp_path / "decisions.jsonl")).last_no() == 0

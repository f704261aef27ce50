"""Journal: the decision log survives torn lines and failing disks."""

import json
import os
import subprocess
import sys

import pytest

from sentineld.decision import Decision
from sentineld.journal import Journal


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
    program = f"""
import resource, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_journal import decision
from sentineld.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, ({path.stat().st_size + 50}, {path.stat().st_size + 50}))
try:
    Journal({str(path)!r}).append([decision(2)])
except OSError as error:
    print(error.errno)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout.strip() == "27", done.stderr
    Journal(str(path)).append([decision(2)])
    lines = path.read_text().splitlines()

    assert [json.loads(lines[0])["decision_no"], json.loads(lines[-1])["decision_no"]] == [1, 2]

"""Roots: a directory that was read and cannot be any more is told from one that was never there."""

import shutil

import pytest

from sentineld.evidence import Trouble
from sentineld.roots import Roots


@pytest.fixture
def root(tmp_path) -> str:
    path = tmp_path / "telemetry"
    path.mkdir()
    return str(path)


def scan(one: Roots, root: str, *kinds: str) -> list[str]:
    one.begin([root])
    for kind in kinds:
        one.note(Trouble(kind, root, "why"))
    return one.end([root])


@pytest.mark.parametrize("kind", ["missing_directory", "unreadable"])
def test_what_was_never_there_is_waited_for_and_what_was_is_missed(root, kind):
    one = Roots()
    assert scan(one, root, kind) == []
    assert scan(one, root) == []
    assert scan(one, root, kind) == [root]
    assert scan(one, root, kind) == [root]
    assert scan(one, root) == []


def test_other_troubles_and_other_paths_are_not_about_the_root(root):
    one = Roots()
    scan(one, root)
    one.begin([root])
    one.note(Trouble("too_deep", root, "why"))
    one.note(Trouble("unreadable", f"{root}/agent", "why"))

    assert one.end([root]) == []


def test_a_directory_that_goes_right_after_the_scan_is_missed(root):
    one = Roots()
    scan(one, root)
    shutil.rmtree(root)

    assert scan(one, root) == [root]


def test_directories_of_earlier_runs_are_known_by_their_files(root):
    one = Roots()
    one.restore([root, f"{root}-2"], [f"{root}-3/a.jsonl", f"{root}/a.jsonl"])

    assert scan(one, root, "missing_directory") == [root]
    one = Roots()
    one.restore([root], [root])
    assert scan(one, root, "missing_directory") == [root]
    one = Roots()
    one.restore([f"{root}-2"], [f"{root}/a.jsonl"])
    assert scan(one, f"{root}-2", "missing_directory") == []


def test_a_directory_that_is_not_configured_any_more_is_not_missed(root):
    one = Roots()
    scan(one, root)
    one.begin([])
    assert one.end([]) == []
    assert scan(one, root, "missing_directory") == []

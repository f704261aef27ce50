"""Isolation: told by what agents could change, down to the directories above."""

import os
from pathlib import Path

import pytest

from sentineld import isolation
from sentineld.isolation import exposures, judge, sees_real_uids

AGENT = 1001
OWN = os.geteuid()

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")


@pytest.fixture
def place(tmp_path) -> Path:
    """Make a state directory, two levels down, that nobody else may write."""
    path = tmp_path / "lib" / "state"
    path.mkdir(parents=True, mode=0o755)
    for directory in (path, path.parent):
        directory.chmod(0o755)
    return path


def reasons(path: Path, *agents: int) -> dict[str, str]:
    found = exposures([str(path)], agents or [AGENT], OWN)
    return {item.path: item.reason for item in found if item.path.startswith(str(path.parents[1]))}


def test_a_place_of_the_daemons_own_is_out_of_reach(place):
    assert reasons(place) == {}
    assert reasons(place / "not" / "there") == {}


@pytest.mark.parametrize("level", [0, 1])
def test_what_everybody_may_write_is_exposed_at_every_level(place, level):
    target = [place, place.parent][level]
    target.chmod(0o777)

    assert reasons(place) == {str(target): "may be written by everybody"}


def test_in_a_sticky_directory_nobody_may_exchange_another_ones_files(place):
    place.parent.chmod(0o1777)

    assert reasons(place) == {}


@needs_root
@pytest.mark.parametrize("level", [0, 1])
def test_what_belongs_to_an_agent_is_exposed_at_every_level(place, level):
    target = [place, place.parent][level]
    os.chown(target, AGENT, 0)

    assert reasons(place) == {str(target): f"belongs to uid {AGENT}, who writes telemetry"}
    assert reasons(place, 2002) == {}


@needs_root
def test_what_a_group_may_write_is_exposed_if_an_agent_is_in_it(place):
    place.chmod(0o775)
    assert reasons(place) == {}

    # A uid without a name is taken to be in the group of the same number.
    os.chown(place, -1, AGENT)
    assert reasons(place) == {str(place): f"may be written by group {AGENT}"}


@needs_root
def test_a_link_is_followed_to_what_agents_could_change(place):
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir()
    os.chown(elsewhere, AGENT, 0)
    (place / "key").symlink_to(elsewhere / "key")

    assert str(elsewhere) in reasons(place / "key")


def test_an_access_list_on_a_writable_file_counts_as_exposed(place, monkeypatch):
    place.chmod(0o775)
    monkeypatch.setattr(isolation, "_ACL", "user.test")
    try:
        os.setxattr(place, "user.test", b"1")
    except OSError:
        pytest.skip("no extended attributes here")

    assert reasons(place) == {str(place): "may be written by those whom its access list names"}


@pytest.mark.parametrize(
    ("agents", "expected"), [([AGENT], "service"), ([], "user"), ([AGENT, OWN], "user"), ([AGENT, 0], "user")]
)
def test_isolation_is_service_only_where_all_agents_have_other_uids(agents, expected):
    assert judge([], agents, OWN) == expected
    assert judge([isolation.Exposure("/x", "why")], agents, OWN) == "none"


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("         0          0 4294967295\n", True),
        ("         0       1000          1\n", False),
        ("         0          0          1\n         1     100000      65535\n", False),
        ("", False),
    ],
)
def test_uids_are_real_where_the_map_changes_nothing(tmp_path, text, real):
    path = tmp_path / "uid_map"
    path.write_text(text)

    assert sees_real_uids(str(path)) is real
    assert sees_real_uids(str(tmp_path / "none"))

"""Requests: operators' wishes as files, and files that only pretend to be."""

import os
import pwd
import subprocess
import sys
import threading

import pytest

from sentineld import requests
from sentineld.requests import Request
from sentineld.step import Pardon, Pin, Unpin


@pytest.fixture
def directory(tmp_path) -> str:
    return str(tmp_path)


def test_what_is_submitted_is_pending_in_order_and_loads_equal(directory):
    wishes = [Request(kind="pardon", agent=f"a{n}", reason="because", grace_s=60.0) for n in range(20)]
    ids = [requests.submit(directory, wish) for wish in wishes]

    assert requests.pending(directory) == ids
    assert [requests.load(directory, one)[0] for one in ids] == wishes


def test_who_asked_is_the_owner_of_the_file(directory):
    request_id = requests.submit(directory, Request(kind="unpin", agent="a", reason="r"))
    assert requests.load(directory, request_id)[1] == pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        os.chown(requests.request_path(directory, request_id), 54321, -1)
        assert requests.load(directory, request_id)[1] == "uid 54321"


def test_a_discarded_request_is_gone_and_may_be_discarded_again(directory):
    request_id = requests.submit(directory, Request(kind="unpin", agent="a", reason="r"))
    requests.discard(directory, request_id)
    requests.discard(directory, request_id)

    assert requests.pending(directory) == []


def test_a_missing_directory_has_no_requests(directory):
    assert requests.pending(directory + "/none") == []


def test_each_kind_becomes_its_wish():
    assert Request(kind="pardon", agent="a", reason="r", grace_s=1.5, attack=True).wish(7, "me") == Pardon(
        7, "me", "r", 1_500_000, attack=True
    )
    assert Request(kind="pin", agent="a", reason="r", tier=3, until="2025-11-23T00:40:10Z").wish(
        7, "me"
    ) == Pin(7, "me", "r", 3, 1_763_858_410_000_000)
    assert Request(kind="pin", agent="a", reason="r", tier=2).wish(7, "me") == Pin(7, "me", "r", 2, None)
    assert Request(kind="unpin", agent="a", reason="r").wish(7, "me") == Unpin(7, "me", "r")
    with pytest.raises(ValueError, match="isoformat"):
        Request(kind="pin", agent="a", reason="r", until="soon").wish(7, "me")


GARBAGE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"kind": "pardon"}',
    b'{"kind": "nuke", "agent": "a", "reason": "r"}',
    b'{"kind": "pin", "agent": "a", "reason": "r", "tier": 4}',
    b'{"kind": "pin", "agent": "a", "reason": "r", "tier": 0}',
    b'{"kind": "pardon", "agent": "a", "reason": ""}',
    b'{"kind": "pardon", "agent": "", "reason": "r"}',
    b'{"kind": "pardon", "agent": "a", "reason": "r", "extra": 1}',
    b'{"kind": "pardon", "agent": "a", "reason": "r", "grace_s": -1}',
    b'{"kind": "pardon", "agent": "a", "reason": "r", "grace_s": 1e999}',
    b'{"kind": "pardon", "agent": "\\ud800", "reason": "r"}',
    b"[" * 60_000,
    b" " * 70_000,
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_refused_as_a_value_error(directory, data):
    with open(os.path.join(directory, "x.json"), "wb") as file:
        file.write(data)
    (request_id,) = requests.pending(directory)
    with pytest.raises((ValueError, OSError)):
        requests.load(directory, request_id)
    requests.discard(directory, request_id)

    assert requests.pending(directory) == []


def test_pipes_and_links_are_refused_without_blocking_and_can_be_discarded(directory):
    os.mkfifo(os.path.join(directory, "fifo.json"))
    os.symlink("/etc/passwd", os.path.join(directory, "link.json"))
    os.symlink("/nowhere", os.path.join(directory, "dangling.json"))
    timer = threading.Timer(10, os._exit, (9,))
    timer.start()
    for request_id in requests.pending(directory):
        with pytest.raises((ValueError, OSError)):
            requests.load(directory, request_id)
        requests.discard(directory, request_id)
    timer.cancel()

    assert os.listdir(directory) == []


def test_directories_hidden_files_and_other_files_are_no_requests(directory):
    os.mkdir(os.path.join(directory, "directory.json"))
    for name in (".hidden.json", "x.json.tmp", "x.txt"):
        with open(os.path.join(directory, name), "w"):
            pass

    assert requests.pending(directory) == []


@pytest.mark.parametrize("name", [b"new\nline", b"\xff", b"\x1b[2J", b"x" * 200, b"-rf"])
def test_names_that_are_no_ids_are_refused_and_can_be_discarded(directory, name):
    with open(os.path.join(os.fsencode(directory), name + b".json"), "wb") as file:
        file.write(b'{"kind": "unpin", "agent": "a", "reason": "r"}')
    (request_id,) = requests.pending(directory)
    with pytest.raises(ValueError, match="name"):
        requests.load(directory, request_id)
    requests.discard(directory, request_id)

    assert requests.pending(directory) == []


def test_a_daemon_of_another_user_can_read_what_root_asks(tmp_path):
    request_id = requests.submit(str(tmp_path), Request("unpin", "a", "done"))

    assert (tmp_path / f"{request_id}.json").stat().st_mode & 0o777 == 0o644


def test_a_request_that_cannot_be_written_whole_is_told_and_leaves_nothing(tmp_path):
    code = (
        "import resource, sys\n"
        "from sentineld.requests import Request, submit\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "submit(sys.argv[1], Request('pardon', 'a', 'r' * 500))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)

    assert "OSError: [Errno 27]" in done.stderr
    assert list(tmp_path.iterdir()) == []

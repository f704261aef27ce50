"""sd_notify: what systemd hears."""

import os
import socket

import pytest

from sentineld.sd_notify import Notifier


@pytest.mark.parametrize("is_abstract", [True, False])
def test_states_arrive_in_one_datagram(tmp_path, is_abstract):
    name = f"@sentineld-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if is_abstract else name)
        Notifier({"NOTIFY_SOCKET": name}).send("READY=1", "STATUS=fine")

        assert listener.recv(1000) == b"READY=1\nSTATUS=fine"


def test_without_a_socket_and_with_a_dead_one_nothing_happens(tmp_path):
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": "/" + "x" * 500}).send("READY=1")


def test_a_socket_that_nobody_empties_does_not_block(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(5000):
            notifier.send("WATCHDOG=1")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "5000"}, 5000),
        ({"WATCHDOG_USEC": "5000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "5000", "WATCHDOG_PID": str(os.getpid())}, 5000),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_interval_is_for_this_process_only(env, expected):
    assert Notifier(env).watchdog_us == expected

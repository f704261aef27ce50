"""Logs that cannot be written or that nobody reads: the daemon decides, publishes and ends all the same."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FLOODING = "scraper"
AGENTS = 160


@contextmanager
def daemon(place, stderr: int, stdout: int = subprocess.DEVNULL, *args: object) -> Iterator[subprocess.Popen]:
    argv = [sys.executable, "-m", "sentineld", "run", "--state-dir", str(place.state_dir)]
    argv += ["--telemetry", str(place.telemetry.directory), *map(str, args)]
    with subprocess.Popen(
        argv, env=place.environment(), cwd=place.base, stderr=stderr, stdout=stdout
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def status_of(place) -> str:
    return (place.state() or {"status": ""})["status"]


def drops(place) -> int:
    return place.json("status", code=None)["totals"]["troubles"].get("log_drops", 0)


def demote_many(place) -> None:
    """Make the daemon say more than a pipe and its own patience hold."""
    for number in range(AGENTS):
        place.telemetry.append("many.jsonl", *place.telemetry.flood(f"agent-{number}", 60, every=0.01))


def logged(place) -> list[int]:
    try:
        text = (place.state_dir / "decisions.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line)["decision_no"] for line in text[: text.rfind("\n") + 1].splitlines()]


@contextmanager
def stuck(kind: str) -> Iterator[tuple[int, int]]:
    """Make a pipe or a stream socket, as journald's, that nobody reads and that is full."""
    reader, writer = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
    if kind == "pipe":
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 1023 + b"\n")
    os.set_blocking(writer, True)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def read_available(fd: int) -> bytes:
    data = b""
    while select.select([fd], [], [], 0)[0] and (part := os.read(fd, 65_536)):
        data += part
    return data


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize("sink", ["full", "gone", "closed"])
def test_a_single_run_does_its_work_without_a_log(place, sink):
    place.telemetry.fill()
    place.telemetry.append("bad.jsonl", b"not json\n" * 100)
    if sink == "full":
        with open("/dev/full", "wb") as full:
            done = run_once(place, full.fileno())
    elif sink == "gone":
        reader, writer = os.pipe()
        os.close(reader)
        done = run_once(place, writer)
        os.close(writer)
    else:
        done = run_once(place, None, preexec_fn=close_standard)

    assert done == 0
    assert place.tier(FLOODING) == 3
    assert place.state()["status"] == "ok"
    assert logged(place) == [1, 2]
    assert place.json("status")["totals"]["rejects"] == 100


def close_standard() -> None:
    for fd in range(3):
        os.close(fd)


def run_once(place, fd: int | None, **more: object) -> int:
    argv = [sys.executable, "-m", "sentineld", "run", "--once", "--state-dir", str(place.state_dir)]
    argv += ["--telemetry", str(place.telemetry.directory)]
    return subprocess.run(
        argv, env=place.environment(), stderr=fd, stdout=fd, timeout=120, check=False, **more
    ).returncode


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize("sink", ["full", "gone"])
def test_the_daemon_outlives_a_log_that_fails_and_says_so(place, wait_for, sink):
    reader, writer = os.pipe()
    if sink == "gone":
        os.close(reader)
    config = place.config('[state]\nvalid_for = "1s"\n')
    with open("/dev/full", "wb") as full:
        fd = full.fileno() if sink == "full" else writer
        with daemon(place, fd, fd, "--config", config) as process:
            wait_for(lambda: status_of(place) == "degraded", "the state file says so")
            place.telemetry.append("scraper.jsonl", *place.telemetry.flood(every=0.01))
            wait_for(lambda: place.tier(FLOODING) == 3, "the agent is demoted")
            wait_for(lambda: logged(place) == [1, 2], "the decision log is written")
            assert place.json("status", code=None)["state"]["status"] == "degraded"
            process.send_signal(signal.SIGHUP)
            before = place.state()["seq"]
            demote_many(place)
            wait_for(lambda: len(logged(place)) >= AGENTS, "all are demoted")
            wait_for(lambda: drops(place) > 0, "lost records are counted")
            assert place.state()["seq"] > before
            assert process.poll() is None
            process.terminate()
            assert process.wait(120) == 0
    assert status_of(place) == "shutdown"
    os.close(writer)
    if sink == "full":
        os.close(reader)


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_nobody_reads_holds_up_nothing_and_is_made_up_for_as_far_as_it_waits(
    place, wait_for, kind
):
    with stuck(kind) as (reader, writer):
        config = place.config('[state]\nvalid_for = "1s"\n')
        with daemon(place, writer, subprocess.DEVNULL, "--config", config) as process:
            wait_for(lambda: status_of(place) == "ok", "it starts")
            demote_many(place)
            wait_for(lambda: len(logged(place)) >= AGENTS, "all are demoted")
            wait_for(lambda: status_of(place) == "degraded" and drops(place), "records are lost and counted")
            seq = place.state()["seq"]
            wait_for(lambda: place.state()["seq"] > seq + 2, "the heart beats")
            wait_for(lambda: place.json("status", code=None)["state"]["fresh"], "readers believe it")
            decisions = logged(place)
            if kind == "pipe":
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 16)
            data = b""

            def recovered() -> bool:
                nonlocal data
                data += read_available(reader)
                return b"log_resumed" in data and status_of(place) == "ok"

            wait_for(recovered, "it recovers when somebody reads")
            lost = drops(place)
            process.terminate()
            assert process.wait(120) == 0
            data += read_available(reader)
    records = [json.loads(line) for line in data.splitlines() if line.startswith(b"{")]
    told = [record["decision_id"] for record in records if "decision_id" in record]

    assert data.endswith(b"\n")
    assert all(line.startswith((b"{", b"x")) for line in data.splitlines()), "no record is torn"
    assert "started" in [record["event"] for record in records[:2]]
    assert told == [f"d-{number:06}" for number in decisions][: len(told)], "the first ones, in their order"
    assert 0 < len(told) < len(decisions)
    [resumed] = [record for record in records if record["event"] == "log_resumed"]
    assert resumed["records_lost"] == lost >= len(decisions) - len(told)
    assert sum(record.get("records_dropped", 0) for record in records) == lost
    assert records[-1]["event"] == "stopped"


def test_a_daemon_without_standard_streams_gives_their_numbers_to_nothing_else(place, wait_for):
    argv = [sys.executable, "-m", "sentineld", "run", "--state-dir", str(place.state_dir)]
    argv += ["--telemetry", str(place.telemetry.directory)]
    with subprocess.Popen(argv, env=place.environment(), preexec_fn=close_standard) as process:
        wait_for(lambda: status_of(place) == "ok", "it starts")
        streams = [Path(f"/proc/{process.pid}/fd/{fd}").readlink() for fd in range(3)]
        process.terminate()
        assert process.wait(120) == 0

    assert set(map(str, streams)) == {os.devnull}


@pytest.mark.usefixtures("by_activity")
def test_the_watchdog_is_answered_and_a_stop_obeyed_while_nobody_reads_the_log(place, wait_for):
    with stuck("pipe") as (_, writer), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = place.base / "notify"
        manager.bind(str(address))
        manager.setblocking(False)
        # systemd tells the daemon's own pid; without it the interval holds for any process.
        place.env |= {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "400000"}
        with daemon(place, writer) as process:
            pings = 0

            def is_pinged() -> bool:
                nonlocal pings
                try:
                    while True:
                        pings += manager.recv(4096).startswith(b"WATCHDOG=1")
                except BlockingIOError:
                    return pings >= 8

            wait_for(lambda: status_of(place) == "ok", "it starts")
            demote_many(place)
            wait_for(lambda: len(logged(place)) >= AGENTS, "all are demoted")
            pings = 0
            wait_for(is_pinged, "pings")
            process.terminate()
            assert process.wait(120) == 0


@pytest.mark.usefixtures("by_activity")
def test_a_command_whose_output_cannot_be_written_says_so(place):
    place.telemetry.fill()
    place.once()
    for args in (["status"], ["status", "--json"], ["log"], ["why", FLOODING]):
        argv = [sys.executable, "-m", "sentineld", *args, "--state-dir", str(place.state_dir)]
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                argv, env=place.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )

        assert done.returncode == 77, done.stderr
        assert done.stderr.startswith("error: cannot write the output")
        assert "Traceback" not in done.stderr

"""The endpoint by itself: what it answers, and what it bears."""

import contextlib
import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from sentineld import metrics_endpoint
from sentineld.log import Reporter
from sentineld.metrics_endpoint import MAX_CONNECTIONS, MAX_RATE, Endpoint, Places

PAGE = b"sentineld_build_info 1\n"


class Spoken(Reporter):
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.told = []

    def warn(self, event, cause, **fields):
        self.told.append((event, cause, fields["error"]))


@pytest.fixture
def serve(tmp_path):
    made = []

    def start(page=lambda: PAGE, **places):
        told = Spoken()
        given = {"socket": "", "address": None, "textfile": "", "interval_s": 15.0, "gid": None, **places}
        endpoint = Endpoint(Places(**given), page, "text/plain", told)
        endpoint.start()
        made.append(endpoint)
        return endpoint, told

    yield start
    for endpoint in made:
        endpoint.stop()


@pytest.fixture
def path(tmp_path):
    # Not below tmp_path, whose name may be longer than the kernel takes.
    directory = Path("/tmp") / f"sentineld-{os.getpid()}-{time.monotonic_ns()}"
    directory.mkdir(mode=0o700)
    yield str(directory / "m.sock")
    for item in directory.iterdir():
        item.unlink()
    directory.rmdir()


def connect(where):
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    client = socket.socket(family)
    client.settimeout(30)
    try:
        client.connect(where)
    except OSError:
        client.close()
        raise
    return client


def read_all(client):
    answer = b""
    while data := client.recv(65536):
        answer += data
    return answer


def ask(where, text=b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"):
    with connect(where) as client:
        client.sendall(text)
        return read_all(client)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_served(where):
    try:
        connect(where).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics HTTP/1.1", b"200 OK"),
        (b"GET /metrics?a=b HTTP/1.0", b"200 OK"),
        (b"HEAD /metrics HTTP/1.1", b"200 OK"),
        (b"GET / HTTP/1.1", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1", b"405 Method Not Allowed"),
        (b"\xff\xfe", b"405 Method Not Allowed"),
    ],
)
def test_answers(serve, path, wait_for, request_line, status):
    serve(socket=path)
    wait_for(lambda: is_served(path))
    answer = ask(path, request_line + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert answer.endswith(PAGE) == (status == b"200 OK" and request_line.startswith(b"GET"))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1:9464", b"200"),
        (b"localhost", b"200"),
        (b"[::1]:80", b"200"),
        (b"evil.example", b"403"),
        (b"127.0.0.1.evil.example:9464", b"403"),
        (b"10.0.0.1", b"403"),
        (b"a\r\nHost: localhost", b"403"),
    ],
)
def test_a_port_answers_to_a_loopback_name_only(serve, wait_for, host, status):
    address = ("127.0.0.1", free_port())
    serve(address=address)
    wait_for(lambda: is_served(address))

    assert ask(address, b"GET /metrics HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").split()[1] == status


def test_a_socket_is_for_its_group_alone_and_goes_with_the_endpoint(serve, path, wait_for):
    endpoint, _ = serve(socket=path)
    wait_for(lambda: is_served(path))

    assert stat.filemode(os.stat(path).st_mode) == "srw-rw----"
    endpoint.stop()
    assert not os.path.exists(path)


def test_a_dead_socket_is_replaced_a_living_one_and_other_things_are_not(serve, path, wait_for):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    first, _ = serve(socket=path)
    wait_for(lambda: is_served(path))
    _, told = serve(socket=path)
    wait_for(lambda: told.told)
    assert told.told == [("metrics_unavailable", path, "another program serves there")]
    assert ask(path).endswith(PAGE)
    first.stop()

    Path(path).write_text("a file")
    _, told = serve(socket=path)
    wait_for(lambda: told.told)
    assert told.told == [("metrics_unavailable", path, "something else stands there")]
    assert Path(path).read_text() == "a file"


def test_a_place_that_cannot_be_used_is_tried_again(serve, path, wait_for, monkeypatch):
    monkeypatch.setattr(metrics_endpoint, "_RETRY_S", 0.05)
    address = ("127.0.0.1", free_port())
    with socket.socket() as other:
        other.bind(address)
        other.listen()
        _, told = serve(address=address, socket=path)
        wait_for(lambda: told.told)
        assert ask(path).endswith(PAGE), "the other place is not held up"
    wait_for(lambda: is_served(address))

    assert ask(address).endswith(PAGE)


def test_clients_that_say_nothing_are_dropped_and_others_get_their_turn(serve, path, wait_for, monkeypatch):
    monkeypatch.setattr(metrics_endpoint, "PATIENCE_S", 0.3)
    endpoint, _ = serve(socket=path)
    wait_for(lambda: is_served(path))
    idle = [connect(path) for _ in range(MAX_CONNECTIONS + 2)]
    dripping = connect(path)
    dripping.sendall(b"GET /met")

    assert ask(path).endswith(PAGE)
    assert len(endpoint._clients) <= MAX_CONNECTIONS
    for client in (*idle, dripping):
        with client:
            assert client.recv(1) == b""


def test_who_waits_for_room_costs_nothing(serve, path, wait_for):
    endpoint, _ = serve(socket=path)
    wait_for(lambda: is_served(path))
    idle = [connect(path) for _ in range(MAX_CONNECTIONS + 2)]
    wait_for(lambda: len(endpoint._clients) == MAX_CONNECTIONS)
    shares = []
    for _ in range(3):
        began, used = time.monotonic(), time.process_time()
        threading.Event().wait(0.2)
        shares.append((time.process_time() - used) / (time.monotonic() - began))

    assert min(shares) < 0.3
    for client in idle:
        client.close()


def test_a_reader_that_does_not_read_is_dropped(serve, path, wait_for, monkeypatch):
    monkeypatch.setattr(metrics_endpoint, "PATIENCE_S", 0.3)
    endpoint, _ = serve(lambda: b"x" * (8 << 20), socket=path)
    wait_for(lambda: is_served(path))
    with connect(path) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        wait_for(lambda: any(item.rest for item in endpoint._clients.values()), "an answer that waits")
        wait_for(lambda: not endpoint._clients, "the end of patience")


def test_a_request_without_an_end_is_dropped(serve, path, wait_for, monkeypatch):
    monkeypatch.setattr(metrics_endpoint, "PATIENCE_S", 600.0)
    serve(socket=path)
    wait_for(lambda: is_served(path))
    with connect(path) as client:
        sent, chunk = 0, b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 1000
        with contextlib.suppress(ConnectionError):
            while sent < 2 << 20:
                sent += client.send(chunk)
        assert sent < 1 << 20, "more than the kernel holds"


def test_a_storm_of_connections_costs_no_more_than_its_share(serve, path, wait_for):
    taken = []

    def page():
        taken.append(time.monotonic())
        return PAGE

    serve(page, socket=path)
    wait_for(lambda: is_served(path))
    began = time.monotonic()
    ends = began + 1.0

    def storm():
        while time.monotonic() < ends:
            try:
                ask(path)
            except OSError:
                time.sleep(0.001)

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    took = taken[-1] - began
    assert 10 < len(taken) <= MAX_RATE * (1 + took) + 1


def test_a_textfile_is_whole_whenever_it_is_read_and_goes_with_the_endpoint(serve, tmp_path, wait_for):
    textfile = tmp_path / "m.prom"
    numbers = iter(range(1_000_000))

    def page():
        return str(next(numbers)).encode() * 20_000

    endpoint, _ = serve(page, textfile=str(textfile), interval_s=0.01)
    wait_for(textfile.exists)
    seen = set()

    def look():
        text = textfile.read_bytes()
        number = text[: len(text) // 20_000]
        assert text == number * 20_000
        seen.add(number)
        return len(seen) > 5

    wait_for(look)
    assert textfile.stat().st_mode & 0o777 == 0o640
    endpoint.stop()
    assert [*tmp_path.iterdir()] == []


def test_a_textfile_that_cannot_be_written_is_told(serve, tmp_path, wait_for):
    _, told = serve(textfile=str(tmp_path / "missing" / "m.prom"))

    wait_for(lambda: told.told)
    assert told.told[0][2] == "No such file or directory"

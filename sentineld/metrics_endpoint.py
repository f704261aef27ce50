"""Metrics endpoint: serves a page over HTTP on a Unix socket or a loopback port, and writes it to a textfile.

One thread, few connections, each with little to say and little time to say it: whoever may connect can make
others wait for the page, and the daemon neither slow nor large. A place that cannot be used is told, and
tried again; nothing here ever stops the daemon.
"""

import contextlib
import errno
import ipaddress
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from sentineld.log import Reporter
from sentineld.published_file import publish, remove_leftovers

#: Connections that are open at once, and that are taken in a second (and at once after a rest).
MAX_CONNECTIONS = 8
MAX_RATE = 20.0
#: A request that is longer, or a client that is slower, is dropped: bytes, seconds.
_MAX_REQUEST = 8192
PATIENCE_S = 5.0
#: How long to wait before a place that could not be used is tried again, and for the thread to end.
_RETRY_S = 10.0
_END_S = 2.0
_BACKLOG = 16


class Places(NamedTuple):
    """Where metrics go; empty or None: not there. ``gid`` is who may use the socket and the textfile."""

    socket: str
    address: tuple[str, int] | None
    textfile: str
    interval_s: float
    gid: int | None


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    is_local: bool
    ends: float
    received: bytearray = field(default_factory=bytearray)
    rest: memoryview = field(default_factory=lambda: memoryview(b""))


class Endpoint:
    """Serves ``page`` at some places from ``start`` to ``stop``; ``content_type`` is what the page is."""

    def __init__(
        self, places: Places, page: Callable[[], bytes], content_type: str, reporter: Reporter
    ) -> None:
        self._places = places
        self._page = page
        self._content_type = content_type
        self._reporter = reporter
        self._log = structlog.get_logger()
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._listeners: dict[str, socket.socket] = {}
        self._is_listening = False
        self._clients: dict[int, _Client] = {}
        self._tokens, self._counted_at = MAX_RATE, time.monotonic()
        self._next_open = self._next_file = 0.0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to serve. Raises ``RuntimeError`` where no thread may be started."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Say whether it serves: a fault of ours may have ended it."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End; no socket and no textfile stays: nobody shall take old figures for new ones."""
        self._is_stopping = True
        with contextlib.suppress(OSError):
            os.write(self._woken, b"\0")
        if self._thread.is_alive():
            self._thread.join(_END_S)
        if self._thread.is_alive() or self._woken < 0:
            return
        self._selector.close()
        os.close(self._wake)
        os.close(self._woken)
        self._wake = self._woken = -1

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self._turn(time.monotonic())
        finally:
            self._close()

    def _turn(self, now: float) -> None:
        if now >= self._next_open:
            self._open()
            self._next_open = now + _RETRY_S
        if self._places.textfile and now >= self._next_file:
            self._next_file = now + self._places.interval_s
            with self._told(self._places.textfile):
                publish(self._places.textfile, self._page(), group=self._places.gid)
        self._refill(now)
        for key, _ in self._selector.select(max(0.0, self._due(now) - now)):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 64)
            elif isinstance(key.data, _Client):
                self._serve(key.data)
            else:
                self._accept(key.data)
        now = time.monotonic()
        for client in [item for item in self._clients.values() if item.ends <= now]:
            self._drop(client)

    def _due(self, now: float) -> float:
        due = [self._next_open if len(self._listeners) < self._wanted() else now + 3600.0]
        if self._places.textfile:
            due.append(self._next_file)
        due += [client.ends for client in self._clients.values()]
        if self._listeners and not self._is_listening and len(self._clients) < MAX_CONNECTIONS:
            due.append(now + (1.0 - self._tokens) / MAX_RATE)
        return min(due)

    def _wanted(self) -> int:
        return bool(self._places.socket) + bool(self._places.address)

    # Places.

    def _open(self) -> None:
        places = self._places
        if places.socket and places.socket not in self._listeners:
            with self._told(places.socket):
                self._listen(places.socket, _bound(places.socket, places.gid))
        if places.address is not None:
            name = "{}:{}".format(*places.address)
            if name not in self._listeners:
                with self._told(name):
                    self._listen(name, _bound_port(*places.address))

    def _listen(self, name: str, listener: socket.socket) -> None:
        try:
            listener.setblocking(False)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listeners[name] = listener
        if self._is_listening:
            self._selector.register(listener, selectors.EVENT_READ, name)
        self._log.info("metrics_served", place=name)

    @contextlib.contextmanager
    def _told(self, place: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._reporter.warn(
                "metrics_unavailable", place, error=error.strerror or str(error), docs="docs/metrics.md"
            )

    def _close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        for name, listener in self._listeners.items():
            with contextlib.suppress(OSError):
                if name == self._places.socket and _is_ours(name):
                    os.unlink(name)
            listener.close()
        if self._places.textfile:
            with contextlib.suppress(OSError):
                os.unlink(self._places.textfile)

    # Connections.

    def _refill(self, now: float) -> None:
        self._tokens = min(MAX_RATE, self._tokens + (now - self._counted_at) * MAX_RATE)
        self._counted_at = now
        wants = self._tokens >= 1.0 and len(self._clients) < MAX_CONNECTIONS
        if wants != self._is_listening:
            self._is_listening = wants
            for name, listener in self._listeners.items():
                # Who is not taken now waits in the kernel, at no cost to us.
                if wants:
                    self._selector.register(listener, selectors.EVENT_READ, name)
                else:
                    self._selector.unregister(listener)

    def _accept(self, name: str) -> None:
        if self._tokens < 1.0 or len(self._clients) >= MAX_CONNECTIONS:
            return
        self._tokens -= 1.0
        try:
            connection, _ = self._listeners[name].accept()
        except OSError:
            # It has gone, or there are no descriptors left: the next one may have more luck.
            return
        connection.setblocking(False)
        client = _Client(connection, name == self._places.socket, time.monotonic() + PATIENCE_S)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _serve(self, client: _Client) -> None:
        try:
            if client.rest:
                client.rest = client.rest[client.connection.send(client.rest) :]
                if client.rest:
                    return
            elif self._is_unfinished(client):
                return
            else:
                self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(client)

    def _is_unfinished(self, client: _Client) -> bool:
        """Read more of a request; False once there is an answer. Raises ``OSError`` where none is due."""
        data = client.connection.recv(4096)
        client.received += data
        head = bytes(client.received).replace(b"\r\n", b"\n")
        if not data or len(head) > _MAX_REQUEST:
            raise ConnectionAbortedError
        if b"\n\n" not in head:
            return True
        client.rest = memoryview(self._answer(head, is_local=client.is_local))
        return False

    def _answer(self, head: bytes, *, is_local: bool) -> bytes:
        lines = head.partition(b"\n\n")[0].decode("latin-1").split("\n")
        method, _, target = lines[0].partition(" ")
        path = target.partition(" ")[0].partition("?")[0]
        body, content_type = b"", "text/plain; charset=utf-8"
        if not is_local and not _names_loopback(lines[1:]):
            # Else a page in somebody's browser could have its own name lead here, and read the answer.
            status, body = "403 Forbidden", b"ask for a loopback address\n"
        elif method not in ("GET", "HEAD"):
            status = "405 Method Not Allowed\r\nAllow: GET, HEAD"
        elif path == "/metrics":
            status, body, content_type = "200 OK", self._page(), self._content_type
        else:
            status, body = "404 Not Found", b"metrics are at /metrics\n"
        header = (
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return header.encode("ascii") + (b"" if method == "HEAD" else body)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.connection)
        with contextlib.suppress(OSError):
            client.connection.shutdown(socket.SHUT_WR)
        client.connection.close()


def write_textfile(path: str, data: bytes, gid: int | None) -> None:
    """Replace a textfile; what crashed attempts left is removed. Raises ``OSError``."""
    remove_leftovers(path)
    publish(path, data, group=gid)


def _bound(path: str, gid: int | None) -> socket.socket:
    """Return a socket that stands at the path, with mode 0660; a dead one there is replaced."""
    _remove_dead(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(path)
        if gid is not None:
            os.chown(path, -1, gid, follow_symlinks=False)
        # Until it listens nobody can connect, whatever the umask made of its mode.
        os.chmod(path, 0o660)
    except OSError:
        listener.close()
        raise
    return listener


def _bound_port(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _remove_dead(path: str) -> None:
    if not os.path.lexists(path):
        return
    if not _is_ours(path):
        raise OSError(errno.EEXIST, "something else stands there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "another program serves there")
    os.unlink(path)


def _is_ours(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()


def _names_loopback(lines: list[str]) -> bool:
    hosts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")]
    if len(hosts) != 1:
        return not hosts
    name = hosts[0]
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

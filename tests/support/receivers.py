"""A receiver of messages on this machine, by real HTTP, that fails as it is told to."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Post:
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def numbers(self) -> list[int]:
        return [item["decision_no"] for item in self.document["decisions"]]


@dataclass
class Receiver:
    """Answers by ``plan``, one entry a request, then with 204.

    An entry is a status, a status with headers, "hang" (no answer), "drip" (an answer without end), "lose"
    (the request is taken, and the connection dies before the answer) or "cut" (it dies in the middle of it).
    """

    url: str = ""
    plan: list[Any] = field(default_factory=list)
    #: Everything that was posted, and what was taken by its key: each once.
    posts: list[Post] = field(default_factory=list)
    taken: dict[str, Post] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_closing: threading.Event = field(default_factory=threading.Event)

    def numbers(self) -> list[int]:
        """Return the decisions that were taken, each as often as its messages' keys differ."""
        with self.lock:
            return sorted(number for post in self.taken.values() for number in post.numbers)


@contextmanager
def receiver(certificate: str = "") -> Iterator[Receiver]:
    """Serve on a free port of the loopback address; by https with a file of a certificate and its key."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            post = Post(self.path, dict(self.headers), body)
            with made.lock:
                made.posts.append(post)
                answer = made.plan.pop(0) if made.plan else 204
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            if status == "hang":
                made.is_closing.wait(60)
                return
            if status == "drip":
                self.wfile.write(b"HTTP/1.1 200 O")
                while not made.is_closing.wait(0.05):
                    self.wfile.write(b"K")
                return
            if status in ("lose", "cut") or 200 <= status < 300:
                with made.lock:
                    made.taken.setdefault(post.headers.get("Idempotency-Key", ""), post)
            if status in ("lose", "cut"):
                if status == "cut":
                    self.wfile.write(b"HTTP/1.")
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_args: None  # type: ignore[method-assign]
    server.daemon_threads = True
    scheme = "https" if certificate else "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"{scheme}://127.0.0.1:{server.server_port}/hook?token=s3cret"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        made.is_closing.set()
        server.shutdown()
        server.server_close()
        thread.join()

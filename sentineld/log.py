"""Process logs: structured, on stderr, one record a line.

Event names are fixed words (``docs/logs.md`` lists them). What agents supplied, file names included, appears
only as values; control and invisible characters are escaped in every value, so that no record can pass for
another one or move a terminal's cursor. Repeated causes are written at a bounded rate, with the number that
was left out. A log that cannot be written, or that nobody reads, never stops or holds up the daemon: records
wait, up to a bound, in their order, and the next record that is taken tells how many were lost
(``records_dropped``).
"""

import atexit
import contextlib
import io
import logging
import os
import select
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog

from sentineld.visible import visible

#: One record a cause and this many seconds.
RATE_S = 60.0
#: Records of one event name within that time, over all causes.
_MAX_RECORDS = 60
#: Longest traceback; the most recent calls stand at its end.
_MAX_TRACEBACK = 3000
_MAX_DEPTH = 4
_MAX_ITEMS = 32
#: Bytes of records that wait for a reader that is slow, or for a disk that is full.
_MAX_WAITING = 1 << 16
#: How long the end of the process waits for a reader, seconds.
_PATIENCE_S = 1.0
#: What removes the line that the cursor stands in.
_ERASE = b"\r\x1b[K"


class _Sink:
    """A stream that takes records without ever raising or waiting; those that do not get through are counted.

    It writes to the descriptor itself: what Python buffers would fail again, and loudly, at exit.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        #: What stands below the records, on a terminal.
        self._line = b""
        #: Records that were lost and that no record has told of; and all that were lost.
        self.dropped = self.lost = 0
        #: Whether the last attempt failed for another reason than that the reader is slow.
        self.is_broken = False
        try:
            self._fd: int | None = stream.fileno()
        except (OSError, ValueError, io.UnsupportedOperation):
            self._fd = None
        self._identity = None if self._fd is None else _identity(self._fd)
        self._socket, self._own_fd = (None, None) if self._fd is None else _unblocked(self._fd)

    def is_for(self, stream: TextIO) -> bool:
        """Say whether this is still the sink of a stream: its descriptor may have been exchanged."""
        return stream is self._stream and self._fd is not None and _identity(self._fd) == self._identity

    def write(self, text: str) -> None:
        """Take one record."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            self._drain()
            if self._waiting and self._waiting_bytes + len(data) > _MAX_WAITING:
                # The first ones stay: they tell how it began.
                self.dropped += 1
                self.lost += 1
                return
            # It tells of those before it.
            self.dropped = 0
            self._put(_ERASE + data + self._line if self._line else data)

    def show(self, line: str) -> None:
        """Let this stand below the records, in place of what stood there; empty: nothing.

        What a terminal does not take at once is left out: the next one shows more.
        """
        with self._lock:
            self._drain()
            if self._waiting:
                return
            former, self._line = self._line, line.encode("ascii", "backslashreplace")
            if former or self._line:
                self._put(_ERASE + self._line)

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._drain()

    def flush(self, patience_s: float = 0.0) -> bool:
        """Write what waits; a reader that is slow gets so much time. Says whether nothing waits any more."""
        end = time.monotonic() + patience_s
        with self._lock:
            self._drain()
            while self._waiting and not self.is_broken and (left_s := end - time.monotonic()) > 0:
                self._poll(left_s * 1000)
                self._drain()
            return not self._waiting

    def close(self) -> None:
        """Give back what was opened beside the stream, unless somebody has closed it already."""
        if self._socket is not None:
            self._socket.detach()
        if self._own_fd is not None and _identity(self._own_fd) == self._identity:
            os.close(self._own_fd)

    def _drain(self) -> None:
        while self._waiting:
            try:
                sent = self._send(self._waiting[0])
            except BlockingIOError:
                self.is_broken = False
                return
            except (OSError, ValueError):
                self.is_broken = True
                return
            self._waiting_bytes -= sent
            # The rest of a record goes before the next one: no line is ever torn.
            if sent < len(self._waiting[0]):
                self._waiting[0] = self._waiting[0][sent:]
            else:
                self._waiting.popleft()
        self.is_broken = False

    def _send(self, data: bytes) -> int:
        if self._fd is None:
            self._stream.write(data.decode("utf-8"))
            return len(data)
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        if self._own_fd is not None:
            return os.write(self._own_fd, data)
        # A pipe that is ready takes PIPE_BUF bytes at once; a file always is.
        if not self._poll(0):
            raise BlockingIOError
        return os.write(self._fd, data[: select.PIPE_BUF])

    def _poll(self, milliseconds: float) -> bool:
        if self._fd is None:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(milliseconds))


def _identity(fd: int) -> tuple[int, int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_rdev


def _unblocked(fd: int) -> tuple[socket.socket | None, int | None]:
    """Return a way to write without waiting: a socket, or another descriptor of the same pipe or terminal.

    O_NONBLOCK on the descriptor itself would change it for every process that shares it.
    """
    own: int | None = None
    with contextlib.suppress(OSError):
        kind = os.fstat(fd).st_mode
        if stat.S_ISSOCK(kind):
            own = os.dup(fd)
            return socket.socket(fileno=own), own
        if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            own = os.open(f"/proc/self/fd/{fd}", flags)
    return None, own


class _Lines:
    """The logger behind structlog: one call, one line, one write."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def msg(self, text: str) -> None:
        self._sink.write(text + "\n")

    debug = info = warning = error = critical = msg


def _escape(_logger: object, _name: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in record.items():
        if key == "exception":
            record[key] = visible(str(value)[-_MAX_TRACEBACK:], _MAX_TRACEBACK)
        else:
            record[key] = _visible_value(value, 0)
    return record


def _visible_value(value: object, depth: int) -> object:
    if isinstance(value, str):
        return visible(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        items = list(value.items())[:_MAX_ITEMS]
        return {visible(str(key)): _visible_value(item, depth + 1) for key, item in items}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_visible_value(item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
    return visible(repr(value))


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process: ``form`` is ``auto``, ``json`` or ``console``.

    A process without a stderr has no log. What waits is written when the process ends.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it lasts as long as the process)
    stream = stream or sys.stderr
    is_terminal = stream.isatty()
    sink = _take_sink(stream)

    def tell_dropped(
        _logger: object, _name: str, record: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if sink.dropped:
            record["records_dropped"] = sink.dropped
        return record

    renderer: Callable[..., Any]
    if form == "console" or (form == "auto" and is_terminal):
        # https://no-color.org: any text that is not empty.
        renderer = structlog.dev.ConsoleRenderer(colors=is_terminal and not os.environ.get("NO_COLOR"))
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            tell_dropped,
            _escape,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: _Lines(sink),
        cache_logger_on_first_use=False,
    )


#: The sink of this process, once it is configured.
_sinks: list[_Sink] = []


def _take_sink(stream: TextIO) -> _Sink:
    if not _sinks:
        atexit.register(lambda: _sinks[0].flush(_PATIENCE_S))
    elif _sinks[0].is_for(stream):
        return _sinks[0]
    else:
        former = _sinks.pop()
        former.flush()
        former.close()
    _sinks.append(_Sink(stream))
    return _sinks[0]


def show(line: str) -> None:
    """Let one line stand below the records on stderr, a terminal, in place of the former; empty: none.

    It waits for nothing, as records do not.
    """
    if sys.stderr is not None:
        _take_sink(sys.stderr).show(line)


def flush() -> bool:
    """Write what waits, as far as that is possible at once; say whether nothing waits any more."""
    return not _sinks or _sinks[0].flush()


def is_failing() -> bool:
    """Say whether records are being lost, or cannot be written for another reason than a slow reader."""
    return bool(_sinks) and (_sinks[0].is_broken or _sinks[0].dropped > 0)


def records_lost() -> int:
    """Return how many records this process has lost."""
    return _sinks[0].lost if _sinks else 0


def catch_strays(clock: Callable[[], int]) -> None:
    """Turn what others would write to stderr as they like into records: tracebacks, and libraries' warnings.

    ``clock`` gives monotonic microseconds.
    """
    reporter = Reporter(clock)

    def crashed(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None, thread: str = ""
    ) -> None:
        _log = structlog.get_logger()
        _log.error("crashed", thread=thread or "main", exc_info=(kind, error, trace))

    def crashed_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None:
            name = "" if found.thread is None else found.thread.name
            crashed(found.exc_type, found.exc_value, found.exc_traceback, name)

    sys.excepthook = crashed
    threading.excepthook = crashed_thread
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(reporter)]


class _Bridge(logging.Handler):
    """Passes on what libraries say through the standard library's logging."""

    def __init__(self, reporter: "Reporter") -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        given = {"message": record.getMessage()}
        self._reporter.warn("library_warning", f"{record.name}:{record.lineno}", given=given)


class Reporter:
    """Writes each cause once a minute, at most 60 records of one event name; the rest is counted.

    The first record of the next minute tells how many were left out (``left_out_before``).
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._log = structlog.get_logger()
        self._spans: dict[str, tuple[int, set[str], int]] = {}

    def warn(self, event: str, cause: str, **fields: Any) -> None:  # noqa: ANN401 (log fields)
        """Write ``event`` unless the same event and cause was written within the last minute."""
        self._write(self._log.warning, event, cause, fields)

    def error(self, event: str, cause: str, **fields: Any) -> None:  # noqa: ANN401 (log fields)
        """Do as ``warn``, for what is a fault of sentineld itself."""
        self._write(self._log.error, event, cause, fields)

    def _write(self, write: Callable[..., object], event: str, cause: str, fields: dict[str, Any]) -> None:
        now = self._clock()
        began, causes, left_out = self._spans.get(event, (-(1 << 62), set(), 0))
        if not 0 <= now - began < RATE_S * 1_000_000:
            # A minute has passed, or the clock was set back.
            if left_out:
                fields["left_out_before"] = left_out
            began, causes, left_out = now, set(), 0
        if cause in causes or len(causes) >= _MAX_RECORDS:
            self._spans[event] = (began, causes, left_out + 1)
            return
        causes.add(cause)
        self._spans[event] = (began, causes, left_out)
        write(event, cause=cause, **fields)

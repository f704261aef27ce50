"""Process logs: structured, on stderr, one record a line.

Event names are fixed words (``docs/logs.md`` lists them). What agents supplied, file names included, appears
only as values; control and invisible characters are escaped in every value, so that no record can pass for
another one or move a terminal's cursor. Repeated causes are written at a bounded rate, with the number that
was left out. A log that cannot be written, or that nobody reads, never stops the daemon: the next record that
is written tells how many were lost (``records_dropped``).
"""

import io
import logging
import os
import select
import sys
from collections.abc import Callable, Mapping, MutableMapping
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
#: How long a full pipe may hold up the daemon, milliseconds.
_PATIENCE_MS = 20


class _SafeFile:
    """A stderr that counts what it could not write, instead of raising or waiting for its reader.

    It writes to the descriptor itself: what Python buffers would fail again, and loudly, at exit.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.dropped = 0
        try:
            self._fd: int | None = file.fileno()
        except (OSError, ValueError, io.UnsupportedOperation):
            self._fd = None

    def write(self, text: str) -> None:
        try:
            if self._fd is None:
                self._file.write(text)
            else:
                self._write_through(self._fd, text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            self.dropped += 1
        else:
            # The record that was written told of them.
            self.dropped = 0

    def flush(self) -> None:
        """Do nothing: every record has been written."""

    def _write_through(self, fd: int, data: bytes) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while data:
            # A pipe that is ready takes PIPE_BUF bytes at once.
            if not poll.poll(0 if self.dropped else _PATIENCE_MS):
                raise BlockingIOError
            data = data[os.write(fd, data[: select.PIPE_BUF]) :]


class _Lines:
    """The logger behind structlog: one call, one line, one write."""

    def __init__(self, file: _SafeFile) -> None:
        self._file = file

    def msg(self, text: str) -> None:
        self._file.write(text + "\n")

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
    """Set up logging for this process: ``form`` is ``auto``, ``json`` or ``console``."""
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    file = _SafeFile(stream)

    def tell_dropped(
        _logger: object, _name: str, record: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if file.dropped:
            record["records_dropped"] = file.dropped
        return record

    renderer: Callable[..., Any]
    if form == "console" or (form == "auto" and is_terminal):
        renderer = structlog.dev.ConsoleRenderer(colors=is_terminal)
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
        logger_factory=lambda *_: _Lines(file),
        cache_logger_on_first_use=False,
    )


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
        self._log.warning(event, cause=cause, **fields)

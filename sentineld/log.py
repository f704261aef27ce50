"""Process logs: structured, on stderr, one record a line.

Event names are fixed words (``docs/logs.md`` lists them). What agents supplied, file names included, appears
only as values below the key ``given``; control and invisible characters are escaped in it, so that no
record can pass for another one or move a terminal's cursor. Repeated causes are written at a bounded rate,
with the number that was left out. A log that cannot be written never stops the daemon.
"""

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

#: One record a cause and this many seconds.
RATE_S = 60.0
#: Records of one event name within that time, over all causes.
_MAX_RECORDS = 60
_MAX_TEXT = 400


class _SafeFile:
    """A stderr that counts what it could not write instead of raising."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.dropped = 0

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except (OSError, ValueError):
            self.dropped += 1
            return 0

    def flush(self) -> None:
        try:
            self._file.flush()
        except (OSError, ValueError):
            self.dropped += 1


def visible(text: str) -> str:
    """Return text with everything but printable characters escaped, cut to 400 characters."""
    cut = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
    if cut.isprintable():
        return cut
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in cut
    )


def _escape_given(_logger: object, _name: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    given = record.get("given")
    if isinstance(given, Mapping):
        record["given"] = {
            key: visible(value) if isinstance(value, str) else value for key, value in given.items()
        }
    return record


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process: ``form`` is ``auto``, ``json`` or ``console``."""
    file = sys.stderr if stream is None else stream
    is_console = form == "console" or (form == "auto" and file.isatty())
    renderer: Callable[..., Any]
    if is_console:
        renderer = structlog.dev.ConsoleRenderer(colors=file.isatty())
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _escape_given,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(_SafeFile(file)),  # type: ignore[arg-type]
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
        if now - began >= RATE_S * 1_000_000:
            if left_out:
                fields["left_out_before"] = left_out
            began, causes, left_out = now, set(), 0
        if cause in causes or len(causes) >= _MAX_RECORDS:
            self._spans[event] = (began, causes, left_out + 1)
            return
        causes.add(cause)
        self._spans[event] = (began, causes, left_out)
        self._log.warning(event, cause=cause, **fields)

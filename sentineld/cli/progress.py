"""The progress bar: one line on stderr while a backlog is read, for people at a terminal."""

import contextlib
import os
import sys
from types import TracebackType

from sentineld import clock
from sentineld.catch_up import Progress, bar
from sentineld.instant import SECOND_US

#: What is over sooner than this is not shown, microseconds.
_WORTH_US = SECOND_US // 4


class ProgressBar:
    """Draws below the log's records; removed at the end of the ``with`` block.

    Nothing is drawn where stderr is no terminal that can move its cursor, in the background of one, or where
    it is too narrow; it has no colours. A terminal that takes nothing is not waited for.
    """

    def __init__(self, *, is_wanted: bool = True) -> None:
        self._is_wanted = is_wanted and os.environ.get("TERM", "dumb") != "dumb"
        self._began_us = 0
        self._is_drawn = False

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.show(None)

    def show(self, progress: Progress | None) -> None:
        """Draw how far it is; None: it is over."""
        now = clock.monotonic_us()
        if progress is None:
            self._began_us = 0
            self._draw("")
        elif not self._began_us:
            self._began_us = now
        elif now - self._began_us >= _WORTH_US and self._is_wanted and (columns := _columns()):
            # The last column stays free: a terminal would begin another line.
            self._draw(bar(progress, columns - 1))

    def _draw(self, line: str) -> None:
        if line or self._is_drawn:
            # Imported here: where nothing is drawn, a replay needs none of what logs need, half of its start.
            from sentineld import log

            self._is_drawn = bool(line)
            log.show(line)


def _columns() -> int:
    """Return the width of the terminal that stderr is, and in whose foreground we are; else 0."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fd = sys.stderr.fileno()
        if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
            return os.get_terminal_size(fd).columns
    return 0

"""Signals: what the process is told from outside, and a sleep that any of it ends.

SIGTERM and SIGINT ask to stop, SIGHUP to reload. Signals and ``wake`` (called by any thread) write to one
pipe, and ``wait`` sleeps on that pipe: what arrives between a look at the work and the sleep is not lost.
"""

import contextlib
import os
import select
import signal
from types import FrameType, TracebackType

_STOP = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Handles the signals of a daemon while entered; only in the main thread."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._wants_reload = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)

    def __enter__(self) -> "Signals":
        self._previous = {number: signal.getsignal(number) for number in (*_STOP, signal.SIGHUP)}
        self._previous_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _STOP:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        # One that came before, and was blocked so that it is not lost, arrives now.
        self._previous_mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._previous_mask)
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        read, write = self._read, self._write
        self._read = self._write = -1
        os.close(read)
        os.close(write)

    def take_reload(self) -> bool:
        """Say whether a reload was asked for since the last call."""
        wanted, self._wants_reload = self._wants_reload, False
        return wanted

    def wake(self) -> None:
        """End the present or the next ``wait``. Any thread may call it; it never blocks and never raises."""
        # A full pipe wakes as well as one more byte would; a closed one has nobody to wake.
        with contextlib.suppress(OSError):
            os.write(self._write, b"\0")

    def wait(self, seconds: float) -> None:
        """Sleep, at most so long; a signal or ``wake`` since the last call ends it at once."""
        if self._poll.poll(max(0.0, seconds) * 1000):
            with contextlib.suppress(BlockingIOError):
                while os.read(self._read, 4096):
                    pass

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_stopping = True

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._wants_reload = True

"""A program on a real pseudo-terminal, and what stands on its screen (pyte)."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import pyte
import pytest

_PATIENCE_S = 20.0


class Terminal:
    """A terminal of some size; ``lines`` is its screen as text, ``raw`` all that was written to it."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, self._slave = os.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            # Else the kernel would tell nobody of a new size.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal's settings are those from before the program."""
        return termios.tcgetattr(self._slave) == self.before

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait(self, condition: Callable[["Terminal"], Any], what: str = "") -> None:
        """Read what is written until a condition holds."""
        end = time.monotonic() + _PATIENCE_S
        while True:
            self._read(0.05)
            if condition(self):
                return
            if time.monotonic() > end:
                pytest.fail(f"{what or condition}: not on the screen:\n{self.text}")

    def wait_text(self, *texts: str) -> None:
        self.wait(lambda _: all(text in self.text for text in texts), repr(texts))

    def wait_end(self) -> int:
        """Wait until the program ends, and return its exit code."""
        self.wait(lambda _: self.process.poll() is not None, "the end")
        self._read(0.0)
        return self.process.returncode

    def _read(self, patience_s: float) -> None:
        while select.select([self._master], [], [], patience_s)[0]:
            data = os.read(self._master, 65536)
            self.raw += data
            self._stream.feed(data)
            patience_s = 0.0

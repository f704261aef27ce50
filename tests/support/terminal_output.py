"""A program whose stderr is a terminal, and every byte that the terminal was told."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

#: What removes the line in which the cursor stands.
ERASE = "\r\x1b[K"


def run_at_terminal(
    command: Sequence[str], env: Mapping[str, str], *, columns: int = 80, timeout_s: float = 60.0
) -> tuple[int, str]:
    """Run a program in the foreground of a terminal; return its exit code and what the terminal was told."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(2, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    told, end = b"", time.monotonic() + timeout_s
    # Reading fails when the last one that held the other end has closed it.
    with suppress(OSError):
        while time.monotonic() < end:
            if select.select([ours], [], [], 1.0)[0]:
                told += os.read(ours, 65536)
    os.close(ours)
    if time.monotonic() >= end:
        process.kill()
    return process.wait(), told.decode()

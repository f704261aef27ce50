"""Inotify: one queue of the kernel's reports about directories, with a read that another thread can end.

The system calls are watchdog's bindings. Its threads are not used: they pair moves by waiting half a second,
spin on a descriptor that was closed, and keep no account of directories that were exchanged.
"""

import contextlib
import ctypes
import errno
import os
import select
import struct
from collections.abc import Callable
from typing import NamedTuple, cast

MODIFY = 0x2
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
OVERFLOW = 0x4000
IGNORED = 0x8000
ONLYDIR = 0x0100_0000
MASK_ADD = 0x2000_0000
ISDIR = 0x4000_0000

#: Bytes of one read: some thousand events.
_READ_BYTES = 65_536
_HEADER = struct.Struct("iIII")


class Event(NamedTuple):
    """One report: the watch (-1: the queue itself), what happened, the pair of a rename, the entry's name."""

    wd: int
    mask: int
    cookie: int
    name: bytes


class Inotify:
    """One inotify instance. Raises ``OSError`` where there is none to be had, or no such system call."""

    def __init__(self) -> None:
        try:
            from watchdog.observers import inotify_c
        except Exception as error:  # watchdog raises an error of its own, whose name differs between releases
            raise OSError(errno.ENOSYS, f"this system has no inotify ({error})") from error
        self._add = inotify_c.inotify_add_watch
        self._remove = cast("Callable[[int, int], int]", inotify_c.inotify_rm_watch)
        self.fd = inotify_c.inotify_init()
        if self.fd < 0:
            raise _last_error()
        #: Whether whoever reads should end.
        self.is_closing = False
        self._wake_read = self._wake_write = -1
        try:
            os.set_inheritable(self.fd, False)
            os.set_blocking(self.fd, False)
            self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            self.close()
            raise
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._pause = select.poll()
        self._pause.register(self._wake_read, select.POLLIN)

    def add(self, path: str, mask: int) -> int:
        """Watch a path; returns its number, which stays the same for the same inode. Raises ``OSError``."""
        wd = self._add(self.fd, os.fsencode(path), mask | MASK_ADD)
        if wd < 0:
            raise _last_error()
        return wd

    def remove(self, wd: int) -> None:
        """Stop a watch; one that has ended already is no error."""
        self._remove(self.fd, wd)

    def read(self, timeout_s: float) -> list[Event]:
        """Return what was reported, after waiting for it at most so long. Raises ``OSError``."""
        ready = dict(self._poll.poll(timeout_s * 1000))
        if self.fd not in ready:
            return []
        if ready[self.fd] & ~select.POLLIN:
            raise OSError(errno.EBADF, "the inotify descriptor does not work any more")
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return []
        events = []
        position = 0
        while position < len(data):
            wd, mask, cookie, length = _HEADER.unpack_from(data, position)
            position += _HEADER.size
            events.append(Event(wd, mask, cookie, data[position : position + length].rstrip(b"\0")))
            position += length
        if not events:
            raise OSError(errno.EBADF, "the inotify descriptor gives no events")
        return events

    def pause(self, seconds: float) -> None:
        """Wait so long, while the kernel merges what repeats itself; ``wake`` ends it."""
        self._pause.poll(seconds * 1000)

    def wake(self) -> None:
        """End every present and later wait. Any thread may call it."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """Close the descriptors; the kernel forgets the watches. Nobody may be reading."""
        for fd in (self.fd, self._wake_read, self._wake_write):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self.fd = self._wake_read = self._wake_write = -1


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))

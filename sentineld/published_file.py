"""Published files: replaced atomically by one writer, read by processes that do not trust the place.

The state file and the override of ``sentineld break-glass`` are such files. What stands in them is not
looked at here; `sentineld.signed_document` does that.

Standard library and floor 0 only: routers import this and must start in tens of milliseconds.
"""

import errno
import os
import re
import stat
from _thread import LockType, allocate_lock, start_new_thread
from contextlib import suppress

from sentineld.errors import StateFileError

#: Size cap in bytes, for writer and readers. A state file with 100,000 listed agents fits; a larger one would
#: cost a reader seconds and hundreds of megabytes before it could be refused.
MAX_BYTES = 16 * 1024 * 1024

# O_NONBLOCK: opening a FIFO that somebody put there must not hang the reader.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Replacement:
    """The next content of the file at a path: on the disk, and seen by nobody before ``release``.

    ``mode``, ``owner`` (a uid) and ``group`` (a gid) are set explicitly, whatever the umask says. With
    ``is_ahead`` a thread waits for the disk, and ``release`` for that thread, so that something else can be
    written meanwhile. Raises ``OSError``; then nothing is left of it. Whoever makes one must end it by
    ``release`` or ``discard``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        data: bytes,
        *,
        mode: int = 0o640,
        owner: int | None = None,
        group: int | None = None,
        is_ahead: bool = False,
    ) -> None:
        directory, self._name = os.path.split(os.fspath(path))
        self._temporary = f".{self._name}.{os.urandom(8).hex()}.tmp"
        self._descriptor = -1
        #: Held by a thread while it waits for the disk.
        self._syncing: LockType | None = None
        self._error: OSError | None = None
        self._directory = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._descriptor = os.open(self._temporary, _CREATE_FLAGS, 0o600, dir_fd=self._directory)
            if owner is not None or group is not None:
                os.fchown(self._descriptor, -1 if owner is None else owner, -1 if group is None else group)
            # After the group: until then, the mode would have opened the file to the wrong one.
            os.fchmod(self._descriptor, mode)
            _write_all(self._descriptor, data)
            if is_ahead:
                self._sync_ahead()
            else:
                os.fsync(self._descriptor)
        except BaseException:
            self.discard()
            raise

    def release(self) -> None:
        """Put it in the place of the old file, so that readers see the old or the new, whole.

        On an error the ``OSError`` propagates and the old file is still there, except when the last step,
        fsync of the directory, failed: then the new one is, but may not survive a power cut.
        """
        try:
            self._wait()
            if self._error is not None:
                raise self._error
            os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._temporary = ""
            os.fsync(self._directory)
        finally:
            self.discard()

    def discard(self) -> None:
        """Take it back, if it was not released; may be called again."""
        self._wait()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            if self._temporary:
                with suppress(OSError):
                    os.unlink(self._temporary, dir_fd=self._directory)
            self._descriptor = -1
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _sync_ahead(self) -> None:
        syncing = allocate_lock()
        syncing.acquire()
        try:
            # A ``threading.Thread`` waits until it has begun, for longer than many a disk takes.
            start_new_thread(self._sync, (syncing,))
        except RuntimeError:
            # No more threads are allowed: it takes as long as it takes.
            os.fsync(self._descriptor)
        else:
            self._syncing = syncing

    def _sync(self, syncing: LockType) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._error = error
        finally:
            syncing.release()

    def _wait(self) -> None:
        if self._syncing is not None:
            self._syncing.acquire()
            self._syncing = None


def publish(
    path: str | os.PathLike[str],
    data: bytes,
    *,
    mode: int = 0o640,
    owner: int | None = None,
    group: int | None = None,
) -> None:
    """Replace the file at ``path`` by one that holds ``data``; see `Replacement`. Cost: two fsyncs."""
    Replacement(path, data, mode=mode, owner=owner, group=group).release()


def remove_leftovers(path: str | os.PathLike[str], *, before_ns: int | None = None) -> int:
    """Delete the temporary files that crashed `publish` calls for this path left; return how many.

    Only for the one writer, and not while it publishes; where there may be several, ``before_ns`` (since
    the epoch) spares those that were changed later. Nothing but regular files of exactly that form of name
    is touched. A missing directory has no leftovers; other errors propagate as ``OSError``.
    """
    directory, name = os.path.split(os.fspath(path))
    leftover = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.tmp")
    try:
        directory_fd = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    removed = 0
    try:
        for entry in os.listdir(directory_fd):
            if leftover.fullmatch(entry):
                with suppress(FileNotFoundError):
                    status = os.lstat(entry, dir_fd=directory_fd)
                    is_old = before_ns is None or status.st_ctime_ns < before_ns
                    if is_old and stat.S_ISREG(status.st_mode):
                        os.unlink(entry, dir_fd=directory_fd)
                        removed += 1
    finally:
        os.close(directory_fd)
    return removed


def check_trust(
    path: str | os.PathLike[str],
    status: os.stat_result,
    *,
    noun: str = "state file",
    expected_owner: int | None = None,
    is_signed: bool = False,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Raise `StateFileError` unless file type, owner and size are such that the content may be looked at.

    The owner must be ``expected_owner`` (a uid) or, by default, one of root, this process's effective user
    and the owner of the directory. Without a signature (``is_signed`` false) the permissions are all that
    keeps others from writing tiers, so the file must not be writable by its group or by others, nor its
    directory by others; a sticky directory may be, for there the owner check suffices. ``noun`` is how the
    errors call the file.
    """
    name = f"{noun} {os.fspath(path)}"
    if not stat.S_ISREG(status.st_mode):
        is_link = stat.S_ISLNK(status.st_mode)
        kind = "a symbolic link, which is not followed" if is_link else "not a regular file"
        raise StateFileError(f"{name} is {kind}")
    owner = status.st_uid
    needs_directory = expected_owner is None and owner not in (0, os.geteuid())
    if needs_directory or not is_signed:
        try:
            directory = os.stat(os.path.dirname(path) or ".")
        except OSError as error:
            raise StateFileError(f"{name} is in a directory that cannot be read: {error.strerror}") from error
        if needs_directory and owner != directory.st_uid:
            raise StateFileError(
                f"{name} belongs to uid {owner}, "
                "which is neither root, nor this user, nor the owner of its directory"
            )
        is_open_to_all = directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX
        if is_open_to_all and not is_signed:
            raise StateFileError(f"{name} is unsigned and in a directory where anyone can replace it")
    if expected_owner is not None and owner != expected_owner:
        raise StateFileError(f"{name} belongs to uid {owner}, not to uid {expected_owner}")
    if not is_signed and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateFileError(f"{name} is unsigned and writable by others than its owner")
    if status.st_size > max_bytes:
        raise StateFileError(f"{name} is larger than {max_bytes} bytes")


def read_document(
    path: str | os.PathLike[str],
    *,
    noun: str = "state file",
    expected_owner: int | None = None,
    is_signed: bool = False,
    max_bytes: int = MAX_BYTES,
) -> tuple[bytes, os.stat_result]:
    """Read the file once, after the checks of `check_trust` on the open descriptor; give bytes and status.

    Never blocks on what is not a regular file. Raises `StateFileError`.
    """
    name = f"{noun} {os.fspath(path)}"
    try:
        descriptor = os.open(path, READ_FLAGS)
    except (OSError, ValueError) as error:
        raise StateFileError(f"{name} {why_unopened(error)}") from error
    try:
        status = os.fstat(descriptor)
        check_trust(
            path,
            status,
            noun=noun,
            expected_owner=expected_owner,
            is_signed=is_signed,
            max_bytes=max_bytes,
        )
        data = read_at_most(descriptor, max_bytes + 1)
    except OSError as error:
        raise StateFileError(f"{name} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise StateFileError(f"{name} is larger than {max_bytes} bytes")
    return data, status


def why_unopened(error: OSError | ValueError) -> str:
    """Say why a file could not be opened, as a predicate."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, PermissionError):
        return "may not be read by this user"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ELOOP:
        return "is a symbolic link, which is not followed"
    if number in (errno.ENXIO, errno.ENODEV):
        return "is not a regular file"
    return f"cannot be opened: {error.strerror if isinstance(error, OSError) else error}"


def never_waiting(path: str, flags: int) -> int:
    """Open for ``open(opener=...)`` what may be a pipe, which nobody writes to; links are followed."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def read_at_most(descriptor: int, limit: int) -> bytes:
    """Read until the end of the file, or ``limit`` bytes. Raises ``OSError``."""
    chunks = bytearray()
    while len(chunks) < limit and (chunk := os.read(descriptor, min(limit - len(chunks), 1 << 20))):
        chunks += chunk
    return bytes(chunks)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything; a disk that is full in the middle raises at the next call."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

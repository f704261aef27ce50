"""Backup: the database as one consistent file, also of a running daemon, and the way back.

A backup holds what belongs together, positions and profiles alike. After a restore everything that was
written since is read again and counts again, in profiles that have not seen it yet.
"""

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import suppress

from sentineld.database import cannot_open
from sentineld.errors import AccessError, SentineldError, StorageError, UsageError
from sentineld.journal import sync_directory
from sentineld.recovery import witness
from sentineld.statedir import PASSING_ERRORS, Paths
from sentineld.store import Store
from sentineld.tables import Meta

#: Former databases that restores leave behind, beside the new one.
MAX_REPLACED = 3


def back_up(paths: Paths, target: str, *, replaces: bool = False) -> Meta:
    """Write a checked copy of the database to ``target`` (mode 0600) and return what it holds.

    Raises ``NoDatabaseError`` without a database, ``UsageError`` where the target exists and ``replaces`` is
    false, ``AccessError`` or ``StorageError`` where it cannot be written. Nothing incomplete is ever left
    under the target's name.
    """
    if not replaces and os.path.lexists(target):
        raise _exists(target)
    partial = f"{target}.{secrets.token_hex(8)}.part"
    try:
        with _telling(target):
            with Store.open_readonly(paths.database) as store:
                store.copy_to(partial)
            meta = _checked(partial)
            if not replaces:
                # Takes the name only if nothing has it: a rename would replace what appeared meanwhile.
                try:
                    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                except FileExistsError as error:
                    raise _exists(target) from error
            os.replace(partial, target)
            sync_directory(os.path.dirname(target))
            return meta
    finally:
        for part in ("", "-journal"):
            with suppress(OSError):
                os.unlink(partial + part)


def restore(paths: Paths, backup: Store, now_us: int) -> tuple[Meta, str]:
    """Put a backup in the database's place; return what it holds, and where the former one is now.

    For a caller that holds the state directory's lock and has opened the backup (``open_backup``). The former
    database is kept beside the new one (``sentineld.db.replaced-N``). The new one has a higher epoch than the
    backup, the former database and the state file, so that no reader takes what it publishes for a rollback,
    and its next decision gets a number that was never used. Raises as ``Store.open``; then the database in
    place is the former one.
    """
    copy = f"{paths.database}.restored"
    try:
        with _telling(paths.database):
            with suppress(FileNotFoundError):
                os.unlink(copy)
            backup.copy_to(copy)
            epoch, decision_no = _former(paths, now_us)
            with Store.open(copy, now_us) as store:
                store.go_above(epoch, decision_no, now_us)
                meta = store.meta()
                store.end_journal()
            former = _keep_former(paths.database)
            os.replace(copy, paths.database)
            sync_directory(os.path.dirname(paths.database))
            return meta, former
    finally:
        for part in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                os.unlink(copy + part)


@contextlib.contextmanager
def open_backup(path: str) -> Iterator[Store]:
    """Open a backup for ``restore`` and check it. Raises as ``Store.open_readonly``."""
    with Store.open_readonly(path, oldest=1) as backup:
        with _telling(path):
            backup.check()
        yield backup


def _exists(target: str) -> UsageError:
    return UsageError(f"{target} exists", hint="choose another name, or --force")


def _checked(path: str) -> Meta:
    with Store.open_readonly(path) as copy:
        copy.check()
        return copy.meta()


def _former(paths: Paths, now_us: int) -> tuple[int, int]:
    """Return the highest epoch and decision number that were ever used here, as far as can be told."""
    known = witness(paths)
    epoch, decision_no = known.epoch, known.decision_no
    # One that cannot be read is what a restore is for.
    with suppress(SentineldError, sqlite3.Error):
        if os.path.exists(paths.database):
            with Store.open(paths.database, now_us) as store:
                meta = store.meta()
                epoch, decision_no = max(epoch, meta.epoch), max(decision_no, meta.decision_no)
                # Its journal becomes part of it, so that one file is all of it.
                store.end_journal()
    return epoch, decision_no


def _keep_former(database: str) -> str:
    if not os.path.lexists(database):
        for part in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(database + part)
        return ""
    names = [f"{database}.replaced-{number}" for number in range(1, MAX_REPLACED + 1)]
    place = next((name for name in names if not os.path.lexists(name)), "")
    if not place:
        place = min(names, key=lambda name: os.stat(name, follow_symlinks=False).st_mtime_ns)
        for part in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(place + part)
    # The journal first: beside a database that is not its own it would be taken for part of that.
    for part in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(database + part, place + part)
    if os.path.isdir(database):
        os.rename(database, place)
    else:
        # The name stays until the new one takes it, where the file system can do that.
        try:
            os.link(database, place, follow_symlinks=False)
        except OSError:
            os.replace(database, place)
        os.utime(place)
    return place


@contextlib.contextmanager
def _telling(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise cannot_open(path, error) from error
    except OSError as error:
        name = error.filename or path
        if error.errno in PASSING_ERRORS:
            raise StorageError(
                f"cannot write {name}: {error.strerror}", hint="make room on the disk"
            ) from error
        raise AccessError(f"cannot write {name}: {error.strerror}", hint="check owner and mode") from error

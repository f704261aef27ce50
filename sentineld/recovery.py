"""Recovery: what is done about a database that is missing, damaged, or not the one that published last.

Memory is never lost in silence. The state file and the decision log are witnesses of how far a database had
come; one that falls behind them, or cannot be read, is a loss: it is noted in the database that goes on, and
until it has been made up for everybody is restricted. What cannot be read is set aside, not deleted.
"""

import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from shlex import quote

from sentineld import statedir
from sentineld.database import PATIENCE_S
from sentineld.errors import AccessError, DamagedError
from sentineld.journal import Journal, sync_directory
from sentineld.statedir import Paths
from sentineld.store import LIMIT_BYTES, Store

#: Databases that are kept aside; a further one replaces the last of them, so the first evidence stays.
MAX_ASIDE = 3
_PARTS = ("-wal", "-shm", "")
_MAX_STATE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Witness:
    """How far the database had come, as far as files beside it tell; they are not verified.

    That suffices, for it is used only to go higher and to restrict.
    """

    epoch: int = 0
    seq: int = 0
    decision_no: int = 0
    has_aside: bool = False
    has_state: bool = False

    @property
    def knows_of_one(self) -> bool:
        """Whether there was a database before."""
        return self.has_state or self.has_aside or self.decision_no > 0


def witness(paths: Paths) -> Witness:
    """Ask the state file and the decision log."""
    epoch, seq, has_state = _published(paths.state_file)
    return Witness(
        epoch,
        seq,
        Journal(paths.journal).last_no(),
        any(os.path.lexists(_aside(paths.database, n)) for n in range(1, MAX_ASIDE + 1)),
        has_state,
    )


def open_store(
    paths: Paths,
    now_us: int,
    tell: Callable[[str, str], None],
    *,
    limit_bytes: int = LIMIT_BYTES,
    patience_s: float = PATIENCE_S,
) -> Store:
    """Open the database of a state directory, or the best that can be had in its place.

    ``tell`` is given the name of what was done and a sentence. Raises as ``Store.open`` does, but for damage.
    """
    known = witness(paths)
    why = "the database is missing or empty" if known.knows_of_one else ""

    def open_it(lost_why: str) -> Store:
        return Store.open(
            paths.database,
            now_us,
            epoch_floor=known.epoch,
            decision_floor=known.decision_no,
            lost_why=lost_why,
            limit_bytes=limit_bytes,
            patience_s=patience_s,
        )

    try:
        _check_file(paths.database)
        store = open_it(why)
    except DamagedError as error:
        place = set_aside(paths.database)
        tell("database_set_aside", f"{error}; it is kept as {place}")
        store = open_it(str(error))
    try:
        meta = store.meta()
        if (meta.epoch, meta.seq) < (known.epoch, known.seq) or meta.decision_no < known.decision_no:
            store.go_above(
                known.epoch,
                known.decision_no,
                now_us,
                lost_why="the database is older than what was published",
            )
        if store.meta().lost_at == now_us:
            tell("memory_lost", store.meta().lost_why)
    except BaseException:
        store.close()
        raise
    return store


def set_aside(database: str) -> str:
    """Give the database, with its journal, another name, and return that. Raises ``OSError``."""
    free = (n for n in range(1, MAX_ASIDE) if not os.path.lexists(_aside(database, n)))
    place = _aside(database, next(free, MAX_ASIDE))
    # The journal first: beside a database that is not its own it would be taken for part of that.
    for part in _PARTS:
        with suppress(FileNotFoundError):
            if part == "" and os.path.isdir(place):
                os.rename(place, f"{place}.{os.stat(place).st_ino}")
            os.replace(database + part, place + part)
    sync_directory(os.path.dirname(database))
    return place


def rescue(store: Store, paths: Paths) -> None:
    """Write a database that was removed or replaced while it was open back to its place, and lock that.

    Raises ``OSError`` and ``sqlite3.Error``, ``LockedError`` where another daemon has begun there.
    """
    statedir.prepare(paths)
    statedir.renew_lock(paths)
    copy = paths.database + ".rescued"
    with suppress(FileNotFoundError):
        os.unlink(copy)
    store.copy_to(copy)
    if os.path.lexists(paths.database):
        set_aside(paths.database)
    for part in _PARTS[:2]:
        with suppress(FileNotFoundError):
            os.unlink(paths.database + part)
    os.replace(copy, paths.database)
    sync_directory(paths.state_dir)


def _check_file(path: str) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AccessError(
            f"cannot look at the database {path}: {error.strerror}",
            hint="check owner and mode of the state directory",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise DamagedError(f"{path} is not a file")
    if status.st_uid != os.geteuid():
        # A mistake of an operator, or a planted file: in both cases the one that was there is not given up.
        raise AccessError(
            f"the database {path} belongs to uid {status.st_uid}, not to uid {os.geteuid()} that runs this",
            hint=f"chown {os.geteuid()} {quote(path)}, if it is the right one",
        )


def _aside(database: str, number: int) -> str:
    return f"{database}.corrupt-{number}"


def _published(path: str) -> tuple[int, int, bool]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return 0, 0, False
            document = json.loads(file.read(_MAX_STATE_BYTES))
            epoch, seq = document["epoch"], document["seq"]
    except OSError:
        return 0, 0, False
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0, 0, True
    if not (type(epoch) is int and type(seq) is int and 0 < epoch < 1 << 40 and 0 <= seq < 1 << 53):
        return 0, 0, True
    return epoch, seq, True

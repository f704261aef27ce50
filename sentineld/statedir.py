"""The state directory: where one daemon keeps its things, and the lock by which it is the only one.

Before: the configuration says where. After: ``service`` writes there; commands read there.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sentineld.config import Config
from sentineld.errors import AccessError, ConfigError, LockedError, StorageError
from sentineld.paths import default_gate_dir, default_state_dir, default_state_file

#: Errors of the system that pass without a change of configuration.
PASSING_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: How often, and how many seconds apart, a held lock is asked for: commands hold it for an instant to see
#: whether a daemon runs, and a daemon that starts at that instant must not give up.
_LOCK_ATTEMPTS = 6
_LOCK_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Paths:
    """Where one daemon keeps its things."""

    state_dir: str
    state_file: str
    #: Where the gate writes its denials: telemetry that is always watched.
    gate_dir: str = ""

    @property
    def database(self) -> str:
        """The SQLite database."""
        return os.path.join(self.state_dir, "sentineld.db")

    @property
    def journal(self) -> str:
        """The decision log."""
        return os.path.join(self.state_dir, "decisions.jsonl")

    @property
    def overrides(self) -> str:
        """The record of operators' overrides (``sentineld break-glass``), one JSON object a line."""
        return os.path.join(self.state_dir, "break-glass.jsonl")

    @property
    def requests(self) -> str:
        """The directory of operators' wishes."""
        return os.path.join(self.state_dir, "requests")

    @property
    def rejects(self) -> str:
        """The directory of refused input."""
        return os.path.join(self.state_dir, "rejects")

    @property
    def lock(self) -> str:
        """The file whose lock one daemon holds."""
        return os.path.join(self.state_dir, "lock")

    @property
    def output(self) -> str:
        """What a daemon that left its terminal writes its log to."""
        return os.path.join(self.state_dir, "sentineld.log")


def resolve_paths(config: Config, env: Mapping[str, str], uid: int) -> Paths:
    """Find the state directory and the state file: as configured, else the usual places."""
    given = os.path.abspath(config.state_dir) if config.state_dir else None
    state_dir = given or default_state_dir(env, uid)
    file = os.path.abspath(config.state.file) if config.state.file else default_state_file(given, env, uid)
    gate_dir = os.path.abspath(config.gate.directory or default_gate_dir(state_dir, env, uid))
    return Paths(state_dir, file, gate_dir)


def check_apart(paths: Paths, directories: list[str]) -> None:
    """Raise ``ConfigError`` where the daemon would read what it writes, or agents could write that."""
    own = {
        "the state directory": paths.state_dir,
        "the state file": paths.state_file,
    }
    for directory in filter(None, (*directories, paths.gate_dir)):
        for name, path in own.items():
            if _lies_in(path, directory):
                raise ConfigError(
                    f"{name} {path} lies inside the telemetry directory {directory}",
                    hint="choose another --state-dir or --state-file; agents could write this one",
                )
        for path in (paths.requests, paths.rejects):
            if _lies_in(directory, path):
                raise ConfigError(
                    f"the telemetry directory {directory} lies inside {path}, which is the daemon's own",
                    hint="choose another telemetry directory",
                )


@contextlib.contextmanager
def as_owner(paths: Paths) -> Iterator[None]:
    """Act as the state directory's owner: for root in a service's directory, so that all it writes is its.

    What is open stays open. Others than root, and root in a directory of its own, stay who they are.
    """
    try:
        status = os.stat(paths.state_dir)
    except OSError:
        # ``prepare`` makes it, or says why not.
        yield
        return
    if os.geteuid() != 0 or status.st_uid == 0:
        yield
        return
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(status.st_gid)
    os.seteuid(status.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def prepare(paths: Paths) -> None:
    """Create the directories that are missing.

    Raises ``AccessError`` where that fails, and for root in another user's state directory: what root leaves
    there would lock that user's daemon out.
    """
    # Before anything is made there.
    _check_owner(paths.state_dir)
    # The state file must be reachable for readers; everything secret inside has its own mode.
    is_shared = os.path.dirname(paths.state_file) == paths.state_dir
    try:
        os.makedirs(paths.state_dir, mode=0o755 if is_shared else 0o700, exist_ok=True)
        os.makedirs(os.path.dirname(paths.state_file), mode=0o755, exist_ok=True)
        for directory in (paths.requests, paths.rejects):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        if paths.gate_dir:
            # Where agents run as other users, it is made beforehand (docs/gate.md): we may not be able to.
            with contextlib.suppress(OSError):
                os.makedirs(paths.gate_dir, mode=0o700, exist_ok=True)
    except OSError as error:
        raise _cannot(
            "create", str(error.filename), error, "choose another place with --state-dir"
        ) from error
    _check_owner(paths.state_dir)


def _check_owner(state_dir: str) -> None:
    try:
        owner = os.stat(state_dir).st_uid
    except OSError:
        # What is missing is made, by us; what is worse shows then.
        return
    if os.geteuid() == 0 and owner != 0:
        raise AccessError(
            f"the state directory {state_dir} belongs to uid {owner}, and this is root",
            hint=f"run it as that user: sudo -u '#{owner}' sentineld run ...",
        )


@contextlib.contextmanager
def hold_lock(paths: Paths) -> Iterator[int]:
    """Hold the state directory's lock. Raises ``LockedError`` where another daemon does.

    It is a lock on an open file (flock(2)): it ends with its holder, and a file left behind locks nothing.
    """
    fd = _open_lock(paths)
    try:
        for attempt in range(_LOCK_ATTEMPTS):
            if _try_lock(fd):
                break
            if attempt < _LOCK_ATTEMPTS - 1:
                time.sleep(_LOCK_PAUSE_S)
        else:
            raise _is_held(os.pread(fd, 32, 0).strip(), paths)
        yield fd
    finally:
        os.close(fd)


def name_holder(lock: int) -> None:
    """Write into the lock's file who holds it: for people, so a full disk is no reason to fail."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)


def renew_lock(paths: Paths) -> None:
    """Lock the directory anew where the lock's file was removed, for the rest of this process's life.

    Raises ``LockedError`` where another daemon was faster, ``AccessError`` where there can be no file.
    """
    fd = _open_lock(paths)
    if _try_lock(fd):
        name_holder(fd)
        return
    holder = os.pread(fd, 32, 0).strip()
    os.close(fd)
    if holder != b"%d" % os.getpid():
        raise _is_held(holder, paths)


def is_locked(paths: Paths) -> bool:
    """Say whether a daemon runs on this state directory; where nobody may ask, it is taken to run."""
    try:
        fd = os.open(paths.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _is_held(holder: bytes, paths: Paths) -> LockedError:
    who = f"process {int(holder)}" if holder.isdigit() else "a process that does not say which"
    return LockedError(
        f"another daemon ({who}) holds {paths.state_dir}", hint="stop it, or use another --state-dir"
    )


def _open_lock(paths: Paths) -> int:
    try:
        return os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot("open", paths.lock, error, "check owner and mode of the state directory") from error


def _cannot(do: str, path: str, error: OSError, hint: str) -> AccessError | StorageError:
    if error.errno in PASSING_ERRORS:
        # systemd starts us again after this one, until there is room.
        return StorageError(f"cannot {do} {path}: {error.strerror}", hint="make room on the disk")
    return AccessError(f"cannot {do} {path}: {error.strerror}", hint=hint)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lies_in(path: str, directory: str) -> bool:
    inner, outer = os.path.realpath(path), os.path.realpath(directory)
    return os.path.commonpath([inner, outer]) == outer

"""What every check starts from, and what it finds."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sentineld.config import Config
from sentineld.published_file import never_waiting
from sentineld.statedir import Paths

#: Nothing to do; something to know; something to mend.
OK, NOTE, FIX = "ok", "note", "fix"

#: Names below telemetry directories that are looked at, at most.
MAX_NAMES = 50_000
#: Bytes of a file that holds a number.
_MAX_DIGITS = 32


class Finding(NamedTuple):
    """What a check says: ``level`` is ``ok``, ``note`` or ``fix``, and ``fix`` what to do."""

    check: str
    level: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Examined:
    """Whose health it is: a configuration that says what is watched, and where the daemon keeps its things.

    ``problem`` is why nothing is watched, with its mending; empty: something is.
    """

    config: Config
    paths: Paths
    env: Mapping[str, str]
    now_us: int
    config_path: str = ""
    problem: tuple[str, str] = ("", "")

    @property
    def directories(self) -> list[str]:
        """What is watched, by absolute paths."""
        return [os.path.abspath(path) for path in self.config.telemetry.directories]

    @property
    def pid(self) -> int:
        """The process that holds, or last held, the state directory; 0: none is named."""
        return number_in(self.paths.lock)

    @property
    def uid(self) -> int:
        """Whose the daemon is: the owner of the state directory; where there is none, whoever asks."""
        entry = look(self.paths.state_dir)
        return os.geteuid() if entry is None else entry.uid


class Entry(NamedTuple):
    """What is at a path: its owner, group, mode with kind (as ``st_mode``), and when it changed."""

    path: str
    uid: int
    gid: int
    mode: int
    mtime_s: float

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    def __str__(self) -> str:
        return f"{self.path}, {user_name(self.uid)} {stat.S_IMODE(self.mode):04o}"


def look(path: str) -> Entry | None:
    """Return what is at a path, links followed; None where there is nothing, or nobody may know."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Entry(path, status.st_uid, status.st_gid, status.st_mode, status.st_mtime)


def may(entry: Entry, uid: int, groups: frozenset[int], bits: int) -> bool:
    """Say whether a user may do with an entry what ``bits`` (of 7: 4 read, 2 write, 1 enter) say.

    By owner, group and mode alone, as access lists are not looked at; root may everything.
    """
    shift = 6 if entry.uid == uid else 3 if entry.gid in groups else 0
    return uid == 0 or (entry.mode >> shift) & bits == bits


def number_in(path: str) -> int:
    """Return the number that is all of a file's text; 0 where there is none."""
    try:
        with open(path, "rb", opener=never_waiting) as file:
            return int(file.read(_MAX_DIGITS)) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else 0
    except (OSError, ValueError):
        return 0


def groups_of(uid: int, pid: int = 0) -> frozenset[int]:
    """Return the groups of a user: of its process ``pid`` where there is one, else the system's list."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file)
        if int(fields["Uid"].split()[1]) == uid:
            return frozenset({int(fields["Gid"].split()[1]), *map(int, fields["Groups"].split())})
    except (OSError, KeyError, ValueError):
        # No daemon runs, or /proc hides it.
        pass
    if uid == os.geteuid():
        return frozenset({os.getegid(), *os.getgroups()})
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))


def user_name(uid: int) -> str:
    """Return what a user is called."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def group_name(gid: int) -> str:
    """Return what a group is called."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"


def below(directories: list[str], limit: int = MAX_NAMES) -> Iterator[Entry]:
    """Yield directories and what is in them, no link followed, the first ``limit`` of them."""
    stack = [entry for path in directories if (entry := look(path)) is not None]
    left = limit
    while stack and left > 0:
        entry = stack.pop()
        left -= 1
        yield entry
        if not entry.is_directory:
            continue
        try:
            with os.scandir(entry.path) as items:
                for item in items:
                    status = item.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                        stack.append(
                            Entry(item.path, status.st_uid, status.st_gid, status.st_mode, status.st_mtime)
                        )
        except OSError:
            continue

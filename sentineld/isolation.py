"""Isolation: what the guarantees are worth, given who could change what the daemon relies on.

``service``: none of the uids that write telemetry can change the daemon's state, its key, its configuration,
its program or the requests that operators leave. ``user``: they run as the daemon's own user, or as root, and
could.
``none``: what the daemon relies on may be written by others anyway, or uids mean nothing here.
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass

_UID_MAP = "/proc/self/uid_map"
#: The map of a process that sees uids as they are (user_namespaces(7)).
_IDENTITY_MAP = ["0", "0", "4294967295"]
_ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Exposure:
    """A file or directory that agents could change, and how."""

    path: str
    reason: str


def sees_real_uids(uid_map: str = _UID_MAP) -> bool:
    """Say whether uids are what they are outside: not in a user namespace that shows them as others.

    There, files of all unmapped owners seem to belong to one uid.
    """
    try:
        with open(uid_map, encoding="ascii") as file:
            return file.read().split() == _IDENTITY_MAP
    except OSError:
        # A kernel without user namespaces.
        return True


def exposures(paths: Iterable[str], agents: Iterable[int], own_uid: int) -> list[Exposure]:
    """Say which of these paths, or of the directories above them, the uids in ``agents`` could change.

    Links are followed: what counts is where they lead, and who may change them. Paths that do not exist are
    judged by the directories in which they would stand. Groups are those that the system knows of a user.
    """
    uids = set(agents) - {0, own_uid}
    groups: set[int] | None = None
    found: dict[str, Exposure] = {}
    for path in _with_parents(paths):
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if status.st_uid in uids:
            found[path] = Exposure(path, f"belongs to uid {status.st_uid}, who writes telemetry")
            continue
        mode = status.st_mode
        # In a sticky directory nobody may exchange another one's files; those are judged by themselves.
        if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            continue
        if mode & stat.S_IWOTH:
            found[path] = Exposure(path, "may be written by everybody")
        elif mode & stat.S_IWGRP:
            if groups is None:
                groups = set().union(*map(_groups, uids))
            if status.st_gid in groups:
                found[path] = Exposure(path, f"may be written by group {_group_name(status.st_gid)}")
            elif _has_acl(path):
                found[path] = Exposure(path, "may be written by those whom its access list names")
    return list(found.values())


def judge(found: list[Exposure], agents: Iterable[int], own_uid: int) -> str:
    """Return ``service``, ``user`` or ``none``; without agents nothing better than ``user`` is known."""
    if found:
        return "none"
    uids = set(agents)
    return "service" if uids and not uids & {0, own_uid} else "user"


def _with_parents(paths: Iterable[str]) -> list[str]:
    """Return the paths, where they lead, and every directory on the way, each once."""
    found: dict[str, None] = {}
    for path in paths:
        for name in (os.path.abspath(path), os.path.realpath(path)):
            while name not in found:
                found[name] = None
                name = os.path.dirname(name)
    return list(found)


def _groups(uid: int) -> list[int]:
    try:
        user = pwd.getpwuid(uid)
        return os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        # A uid without a name is in the group of the same number, if in any that we could know of.
        return [uid]


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _has_acl(path: str) -> bool:
    try:
        return bool(os.getxattr(path, _ACL, follow_symlinks=False))
    except OSError:
        return False

"""Telemetry directories: there, readable for the daemon, and nobody's to rename in."""

import os
import stat
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import NamedTuple

from sentineld.doctor.base import (
    FIX,
    OK,
    Entry,
    Examined,
    Finding,
    below,
    groups_of,
    look,
    may,
    user_name,
)
from sentineld.tree import kind_of

_READ, _ENTER, _PASS = 4, 5, 1


class Reading(NamedTuple):
    """The directories that are watched, with what is there; ``parents`` are those above them.

    ``names`` is what is in them, at most ``base.MAX_NAMES``; ``acls`` are paths with an access list.
    """

    uid: int
    groups: frozenset[int]
    roots: Sequence[tuple[str, Entry | None]]
    parents: Sequence[Entry]
    names: Sequence[Entry]
    acls: frozenset[str]
    problem: tuple[str, str]


def read(examined: Examined) -> Reading:
    """Look at all names below the directories, and at the directories above."""
    roots = [(path, look(path)) for path in examined.directories]
    above: dict[str, Entry | None] = {}
    for path in examined.directories:
        while (path := os.path.dirname(path)) not in above:
            above[path] = look(path)
    names = list(below(examined.directories))
    uid = examined.uid
    groups = groups_of(uid, examined.pid)
    parents = [entry for entry in above.values() if entry is not None]
    return Reading(
        uid,
        groups,
        roots,
        parents,
        names,
        frozenset(item.path for item in (*parents, *names) if _has_access_list(item.path)),
        examined.problem,
    )


def check(reading: Reading) -> Iterator[Finding]:
    """Find directories that are missing or closed, files that cannot be read, and names that anybody owns."""
    message, fix = reading.problem
    if message:
        yield Finding("telemetry", FIX, message, fix)
        return
    user = user_name(reading.uid)
    for path, entry in reading.roots:
        if entry is None:
            yield Finding(
                "telemetry", FIX, f"{path} does not exist, or may not be looked at", f"mkdir -p {quote(path)}"
            )
    closed_above = [item for item in reading.parents if _is_closed(item, reading, _PASS)]
    for item in closed_above:
        yield Finding(
            "telemetry", FIX, f"{item}: {user} may not pass through", f"chmod o+x {quote(item.path)}"
        )
    closed = [
        item
        for item in reading.names
        if _is_telemetry(item) and _is_closed(item, reading, _ENTER if item.is_directory else _READ)
    ]
    if closed:
        yield Finding(
            "telemetry",
            FIX,
            f"{_and_more(closed)}: {user} may not read it",
            "a group that may: docs/install-systemd.md, Let agents write telemetry",
        )
    shared = [
        item
        for item in reading.names
        if item.is_directory and item.mode & stat.S_IWOTH and not item.mode & stat.S_ISVTX
    ]
    if shared:
        yield Finding(
            "telemetry",
            FIX,
            f"{_and_more(shared)}: every user may remove and rename what agents wrote",
            f"one directory an agent, or chmod +t {quote(shared[0].path)}",
        )
    if not closed and not closed_above and all(entry is not None for _, entry in reading.roots):
        files = sum(1 for item in reading.names if not item.is_directory and _is_telemetry(item))
        roots = ", ".join(path for path, _ in reading.roots)
        yield Finding("telemetry", OK, f"{roots}: {files} file{'s' * (files != 1)}")


def _and_more(items: Sequence[Entry]) -> str:
    return str(items[0]) + (f" (and {len(items) - 1} more)" if len(items) > 1 else "")


def _is_telemetry(item: Entry) -> bool:
    return item.is_directory or kind_of(os.path.basename(item.path)) is not None


def _is_closed(item: Entry, reading: Reading, bits: int) -> bool:
    # What an access list says is not looked at: nothing is said of it.
    return item.path not in reading.acls and not may(item, reading.uid, reading.groups, bits)


def _has_access_list(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False

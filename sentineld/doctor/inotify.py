"""Inotify: whether the kernel's limits leave room for what is watched."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from sentineld.doctor.base import FIX, NOTE, OK, Examined, Finding, below, number_in

_LIMITS = "/proc/sys/fs/inotify"
#: Directories of our own that are watched, and one above each telemetry directory.
_OWN = 1


class Reading(NamedTuple):
    """The limits for one user (0: the kernel does not tell), and what others of its processes take.

    ``needed`` is the number of directories that the daemon watches.
    """

    max_watches: int
    max_instances: int
    used_watches: int
    used_instances: int
    needed: int


def read(examined: Examined) -> Reading:
    """Count directories, and what other processes of the daemon's user watch."""
    directories = sum(1 for item in below(examined.directories) if item.is_directory)
    watches, instances = _used(examined.uid, examined.pid)
    return Reading(
        number_in(f"{_LIMITS}/max_user_watches"),
        number_in(f"{_LIMITS}/max_user_instances"),
        watches,
        instances,
        directories + len(examined.directories) + _OWN,
    )


def check(reading: Reading) -> Iterator[Finding]:
    """Find limits that what is watched does not fit in."""
    if not reading.max_watches or not reading.max_instances:
        yield Finding(
            "inotify",
            NOTE,
            "the kernel tells no limits: changes are found by searching, every rescan_interval",
            "none is needed",
        )
        return
    wanted = reading.used_watches + reading.needed
    if wanted > reading.max_watches:
        yield Finding(
            "inotify",
            FIX,
            f"{reading.needed} directories to watch and {reading.used_watches} watches in use, of "
            f"{reading.max_watches}: some are only searched, every rescan_interval",
            f"sysctl fs.inotify.max_user_watches={2 * wanted}, also in /etc/sysctl.d/",
        )
    if reading.used_instances >= reading.max_instances:
        yield Finding(
            "inotify",
            FIX,
            f"all {reading.max_instances} instances of its user are in use: nothing is watched",
            f"sysctl fs.inotify.max_user_instances={2 * reading.max_instances}, also in /etc/sysctl.d/",
        )
    elif wanted <= reading.max_watches:
        yield Finding("inotify", OK, f"{reading.needed} of {reading.max_watches} watches are needed")


def _used(uid: int, but: int) -> tuple[int, int]:
    """Count watches and instances of all processes of a user but one, as far as /proc shows them."""
    watches = instances = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) == but or os.stat(f"/proc/{pid}").st_uid != uid:
                continue
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:inotify":
                    instances += 1
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as info:
                        watches += sum(1 for line in info if line.startswith("inotify "))
        except OSError:
            # Ended, or not ours to look at.
            continue
    return watches, instances

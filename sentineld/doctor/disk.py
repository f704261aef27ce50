"""Disks: room and inodes where we write, and file systems that do not keep what they are given."""

import os
import re
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import NamedTuple

from sentineld.doctor.base import FIX, NOTE, OK, Examined, Finding

#: Less room than this (bytes) is soon none: the database's journal alone may take 64 MiB.
_LITTLE_ROOM = 256 << 20
_FEW_INODES = 1_000
#: File systems on which other machines write too.
_NETWORK = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
    "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb2", "smb3", "smbfs", "virtiofs",
})  # fmt: skip
#: Those that end with the machine or the container.
_PASSING = frozenset({"tmpfs", "ramfs", "overlay"})

_POINT = 4
_OCTAL = re.compile(r"\\([0-7]{3})")

STATE, PUBLISHED, TELEMETRY = "state directory", "state file", "telemetry"


class Disk(NamedTuple):
    """The file system behind a path: what the path is for, room and inodes left (None: it does not count)."""

    use: str
    path: str
    kind: str
    is_readonly: bool
    free_bytes: int
    free_inodes: int | None


def read(examined: Examined) -> list[Disk]:
    """Look at the file systems of our places and of telemetry; what is missing counts as its parent."""
    paths = examined.paths
    uses = [(STATE, paths.state_dir), (PUBLISHED, os.path.dirname(paths.state_file))]
    uses += [(TELEMETRY, path) for path in examined.directories]
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = mount_points(file.read())
    found = []
    for use, path in dict.fromkeys(uses):
        place = path
        while not os.path.exists(place):
            place = os.path.dirname(place)
        status = os.statvfs(place)
        found.append(
            Disk(
                use,
                path,
                kind_at(os.path.realpath(place), mounts),
                bool(status.f_flag & os.ST_RDONLY),
                status.f_bavail * status.f_frsize,
                status.f_favail if status.f_files else None,
            )
        )
    return found


def mount_points(mountinfo: str) -> list[tuple[str, str]]:
    """Return mount points with the kinds of their file systems, of the text of ``/proc/PID/mountinfo``.

    The fifth field of a line is the mount point, the first one behind the hyphen the kind (proc(5)).
    """
    found = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) > _POINT and rest:
            point = _OCTAL.sub(lambda escape: chr(int(escape[1], 8)), parts[_POINT])
            found.append((point, rest.split(" ")[0]))
    return found


def kind_at(path: str, mounts: Sequence[tuple[str, str]]) -> str:
    """Return the kind of the file system that a path without links is on; empty where none is known."""
    # What was mounted last lies on top.
    around = [(len(point), n) for n, (point, _) in enumerate(mounts) if _is_below(path, point)]
    return mounts[max(around)[1]][1] if around else ""


def _is_below(path: str, point: str) -> bool:
    return point == "/" or path == point or path.startswith(f"{point}/")


def check(disks: Sequence[Disk]) -> Iterator[Finding]:
    """Find disks that are full or read-only, and file systems that are of the wrong kind."""
    for disk in disks:
        found = [*_kind(disk), *(_room(disk) if disk.use != TELEMETRY else ())]
        yield from found
        if not found:
            inodes = "" if disk.free_inodes is None else f", {disk.free_inodes:,} inodes"
            kind = disk.kind or "a file system without a name"
            yield Finding("disk", OK, f"{disk.use}: {kind}, {disk.free_bytes >> 20:,} MiB{inodes} free")


def _room(disk: Disk) -> Iterator[Finding]:
    if disk.is_readonly:
        yield Finding(
            "disk", FIX, f"{disk.path} is on a read-only file system", f"findmnt -T {quote(disk.path)}"
        )
    if disk.free_bytes < _LITTLE_ROOM:
        yield Finding(
            "disk",
            FIX,
            f"{disk.use} {disk.path}: {disk.free_bytes >> 20} MiB left; without room nothing is published",
            f"make room: df -h {quote(disk.path)}",
        )
    if disk.free_inodes is not None and disk.free_inodes < _FEW_INODES:
        yield Finding(
            "disk",
            FIX,
            f"{disk.use} {disk.path}: {disk.free_inodes} inodes left, and each state file takes a new one",
            f"remove small files: df -i {quote(disk.path)}",
        )


def _kind(disk: Disk) -> Iterator[Finding]:
    if disk.use == TELEMETRY:
        if disk.kind in _NETWORK:
            yield Finding(
                "disk",
                NOTE,
                f"telemetry {disk.path} is on {disk.kind}: what others write is only found by searching",
                "a lower telemetry.rescan_interval, or a daemon on the machine that writes",
            )
    elif disk.kind in _NETWORK:
        yield Finding(
            "disk",
            FIX,
            f"{disk.use} {disk.path} is on {disk.kind}: its locks and syncs are not to be relied on",
            "a --state-dir on a local disk",
        )
    elif disk.use == STATE and disk.kind in _PASSING:
        yield Finding(
            "disk",
            NOTE,
            f"{disk.use} {disk.path} is on {disk.kind}: it ends with the machine or the container",
            "a --state-dir on a disk that stays; lost memory restricts every agent",
        )

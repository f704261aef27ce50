"""Requests: operators' wishes as files in ``requests/``, written by commands, carried out by the daemon.

Who may write that directory may pardon. A request is one JSON object in a file that appears by rename;
its name starts with its time, so names sort in the order of wishes. The daemon removes it once it has been
committed; an id is carried out once. The owner of the file is who asked.
"""

import contextlib
import os
import pwd
import re
import stat
import uuid
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from sentineld.clock import now_us
from sentineld.instant import parse_iso
from sentineld.journal import sync_directory
from sentineld.step import Pardon, Pin, Unpin, Wish

_MAX_BYTES = 65_536
_SUFFIX = ".json"
#: Ids of requests: they become keys of the database and words in logs.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Request(Struct, forbid_unknown_fields=True, frozen=True):
    """A wish as it stands in the file. Times are ISO 8601; ``grace_s`` is in seconds."""

    kind: Literal["pardon", "pin", "unpin"]
    agent: Annotated[str, Meta(min_length=1, max_length=200)]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    grace_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 0.0
    attack: bool = False
    tier: Annotated[int, Meta(ge=1, le=3)] = 1
    until: str | None = None

    def wish(self, at_us: int, actor: str) -> Wish:
        """Return the wish for the step. Raises ``ValueError`` for a time that cannot be read."""
        if self.kind == "pardon":
            return Pardon(at_us, actor, self.reason, round(self.grace_s * 1_000_000), self.attack)
        if self.kind == "pin":
            return Pin(
                at_us, actor, self.reason, self.tier, None if self.until is None else parse_iso(self.until)
            )
        return Unpin(at_us, actor, self.reason)


def submit(directory: str, request: Request) -> str:
    """Write a request and return its id. Raises ``OSError``."""
    request_id = f"{now_us():020d}-{uuid.uuid4().hex[:12]}"
    temporary = os.path.join(directory, f".{request_id}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            # The daemon may be another user than the operator, and must read it; nobody else gets here.
            os.fchmod(fd, 0o644)
            file.write(msgspec.json.encode(request))
            file.flush()
            os.fsync(fd)
        os.rename(temporary, request_path(directory, request_id))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    # The operator is told that it is recorded.
    sync_directory(directory)
    return request_id


def request_path(directory: str, request_id: str) -> str:
    """Return where a request's file stands until the daemon has carried it out."""
    return os.path.join(directory, request_id + _SUFFIX)


def pending(directory: str) -> list[str]:
    """Return the ids of waiting requests, in order."""
    try:
        with os.scandir(directory) as entries:
            # A directory is no request, and could not be discarded either.
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX) and name[0] != ".")


def load(directory: str, request_id: str) -> tuple[Request, str]:
    """Read a request: what, and who asked. Raises ``ValueError`` or ``OSError`` for one that is unusable."""
    if not _ID.fullmatch(request_id):
        raise ValueError("a request's name is made of A-Z a-z 0-9 . _ -")
    fd = os.open(
        request_path(directory, request_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    )
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise ValueError("a request is a regular file of at most 64 KiB")
        data = os.read(fd, _MAX_BYTES)
    finally:
        os.close(fd)
    return msgspec.json.decode(data, type=Request), _user(status.st_uid)


def discard(directory: str, request_id: str) -> None:
    """Remove a request's file, if it is still there. Raises ``OSError`` where that is not possible."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(request_path(directory, request_id))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"

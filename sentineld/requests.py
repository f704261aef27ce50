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
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sentineld.baseline import MAX_BYTES, Baseline, check
from sentineld.clock import now_us
from sentineld.instant import parse_iso
from sentineld.journal import sync_directory
from sentineld.step import Pardon, Pin, Unpin, Wish
from sentineld.wishes import AgentWish, Erase, Freeze, Import, Rename, Reset, Retire

#: A baseline and the wish around it.
_MAX_BYTES = MAX_BYTES + 65_536
_SUFFIX = ".json"
#: Ids of requests: they become keys of the database and words in logs.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


#: Kinds that concern habits, and so an agent or a role.
HABIT_KINDS = ("freeze", "unfreeze", "reset", "import")


class Request(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A wish as it stands in the file. Times are ISO 8601; ``grace_s`` is in seconds.

    It is about an agent, by its published id, or about the habits of a ``role`` (of ``owner``, a uid): these
    alone can be frozen, unfrozen, reset (``since``: but for later sessions) and imported (``baseline``;
    ``replaces`` what was learned). ``to`` is a new id, ``is_final`` a retirement for good.
    """

    kind: Literal[
        "pardon", "pin", "unpin", "freeze", "unfreeze", "reset", "import", "rename", "retire", "erase"
    ]
    agent: Annotated[str, Meta(max_length=200)]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    grace_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 0.0
    attack: bool = False
    tier: Annotated[int, Meta(ge=1, le=3)] = 1
    until: str | None = None
    role: Annotated[str, Meta(max_length=512)] | None = None
    owner: Annotated[int, Meta(ge=-1, le=(1 << 32) - 1)] = -1
    since: str | None = None
    baseline: Baseline | None = None
    replaces: bool = False
    to: Annotated[str, Meta(max_length=200)] = ""
    is_final: bool = False

    def __post_init__(self) -> None:
        """Raise ``ValueError`` where the parts do not make one wish."""
        if bool(self.agent) == (self.role is not None):
            raise ValueError("a request is about one agent or about one role")
        if self.role is not None and (self.kind not in HABIT_KINDS or self.owner < 0):
            raise ValueError("of a role of an owner, habits are frozen, unfrozen, reset or imported")
        if self.since is not None:
            parse_iso(self.since)
        if (self.kind == "rename") != bool(self.to):
            raise ValueError("a new id is what renaming needs")
        if (self.kind == "import") != (self.baseline is not None):
            raise ValueError("a baseline is what is imported")
        if self.baseline is not None:
            check(self.baseline)
            if (self.baseline.kind == "role") != (self.role is not None):
                raise ValueError(f"a baseline of kind {self.baseline.kind} is imported for that kind alone")

    @property
    def since_us(self) -> int:
        """``since`` in microseconds, 0 for none."""
        return 0 if self.since is None else parse_iso(self.since)

    def document(self) -> dict[str, Any]:
        """Return it as plain data, without the agent, as the database keeps it."""
        document: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        document.pop("agent", None)
        return document

    @classmethod
    def of_document(cls, agent: str, document: Mapping[str, Any]) -> "Request":
        """Read what ``document`` gave, in this version or an older one."""
        return msgspec.convert({**document, "agent": agent}, cls, str_keys=True)

    def wish(self, at_us: int, actor: str) -> Wish | AgentWish:
        """Return the wish. Raises ``ValueError`` for a time that cannot be read."""
        match self.kind:
            case "freeze" | "unfreeze":
                return Freeze(at_us, actor, self.reason, self.kind == "freeze")
            case "reset":
                return Reset(at_us, actor, self.reason, None if self.since is None else self.since_us)
            case "rename":
                return Rename(at_us, actor, self.reason, self.to)
            case "retire":
                return Retire(at_us, actor, self.reason, self.is_final)
            case "erase":
                return Erase(at_us, actor, self.reason)
            case _ if self.baseline is not None:
                return Import(at_us, actor, self.reason, self.baseline)
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
            raise ValueError(f"a request is a regular file of at most {_MAX_BYTES >> 20} MiB")
        data = _read(fd)
    finally:
        os.close(fd)
    return msgspec.json.decode(data, type=Request), _user(status.st_uid)


def discard(directory: str, request_id: str) -> None:
    """Remove a request's file, if it is still there. Raises ``OSError`` where that is not possible."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(request_path(directory, request_id))


def _read(fd: int) -> bytes:
    data = b""
    while len(data) < _MAX_BYTES and (more := os.read(fd, _MAX_BYTES - len(data))):
        data += more
    return data


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"

"""The state file: what the daemon publishes and routers read, one JSON document on one line.

Writer: `encode_state` gives the bytes, signed where there is a key; `publish` replaces the file atomically.
Reader: `read_state`, or for those who cache its steps (`read_document`, `parse_state`, `check_fresh`).
A reader refuses by raising `StateFileError` with a sentence; there is no partial acceptance. A signature is
checked over the bytes before anything is parsed, so that no parser's leniency is ever asked.

Standard library and floor 0 only: routers import this and must start in tens of milliseconds.
"""

import errno
import hashlib
import hmac
import json
import math
import os
import re
import stat
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sentineld.errors import ConfigError, StateFileError
from sentineld.instant import parse_iso
from sentineld.tier import Tier

#: Version of the document; it changes only when an old reader would be wrong.
SCHEMA = 1

#: Size cap of the document in bytes, for writer and readers. 100,000 listed agents fit; a larger file would
#: cost a reader seconds and hundreds of megabytes before it could be refused.
MAX_BYTES = 16 * 1024 * 1024

#: The only signature algorithm so far; its name is part of the signed bytes.
HMAC_SHA256 = "hmac-sha256"

#: Key id where a configuration names a key file and no id.
DEFAULT_KEY_ID = "default"

#: A shorter secret than the digest (RFC 2104 section 3) would be the weakest part.
MIN_SECRET_BYTES = 32

#: A "key" of more bytes than this is another file given by mistake.
MAX_SECRET_BYTES = 4096

#: How far ahead of the reader's clock, in ms, a document of the same boot may claim to be: CLOCK_BOOTTIME is
#: one clock for all processes, so only rounding and time namespaces can show here.
FUTURE_SLACK_MS = 1000

#: Largest whole number that every JSON reader keeps exactly (RFC 8259 section 6).
MAX_INTEGER = 2**53 - 1

_TIERS = frozenset(int(tier) for tier in Tier)
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SIGNED_PREFIX = b"sentineld-state-v1"
_TAIL = re.compile(rb',"key_id":"([A-Za-z0-9._-]{1,64})","signature":"([A-Za-z0-9+/=]{43,88})"\}\n?\Z')
#: No tail is longer, so the search for it stays at the end of the file.
_TAIL_MAX_BYTES = 192

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")

# O_NONBLOCK: opening a FIFO that somebody put there must not hang the reader.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key by its id, with the algorithm that it is for.

    ``key_id`` is 1 to 64 of ``A-Z a-z 0-9 . _ -``; ``secret`` has at least 32 bytes. Else `ConfigError`.
    """

    key_id: str
    algorithm: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse ids that the file cannot carry and secrets that can be guessed."""
        if not _KEY_ID.fullmatch(self.key_id):
            raise ConfigError(
                f"key id {self.key_id!r} is not usable",
                hint="1 to 64 letters, digits, dots, underscores or hyphens, such as 2026-11a",
            )
        if len(self.secret) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"key {self.key_id} has {len(self.secret)} bytes, fewer than {MIN_SECRET_BYTES}",
                hint="sentineld keygen",
            )


def load_key(path: str | os.PathLike[str], key_id: str) -> SigningKey:
    """Read an HMAC-SHA256 key: the bytes of the file, less one trailing newline.

    The file must be a regular one (no symbolic link), of 32 to 4096 bytes, closed to others and not writable
    by its group. Anything else is a `ConfigError` that names the path.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"key file {os.fspath(path)} {_why_unopened(error)}",
            hint="give the path of a readable key file; sentineld keygen makes one",
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(
                f"key file {os.fspath(path)} is not a regular file",
                hint="give the path of the key file itself; sentineld keygen makes one",
            )
        if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise ConfigError(
                f"key file {os.fspath(path)} has mode {stat.S_IMODE(status.st_mode):04o}: "
                "others can reach it, or its group can write it",
                hint=f"chmod 0640 {os.fspath(path)}, and make a new key if others could have read this one",
            )
        content = _read_at_most(descriptor, MAX_SECRET_BYTES + 2)
    except OSError as error:
        raise ConfigError(
            f"key file {os.fspath(path)} cannot be read: {error.strerror}", hint="check the file and its disk"
        ) from error
    finally:
        os.close(descriptor)
    secret = content.removesuffix(b"\n")
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        size = "more" if len(secret) > MAX_SECRET_BYTES else len(secret)
        raise ConfigError(
            f"key file {os.fspath(path)} must hold {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, "
            f"not {size}",
            hint="sentineld keygen",
        )
    return SigningKey(key_id, HMAC_SHA256, secret)


def _sign(key: SigningKey, prefix: bytes) -> bytes:
    """Return the base64 signature of a document's prefix; the algorithm must be HMAC-SHA256."""
    names = (_SIGNED_PREFIX, key.algorithm.encode(), key.key_id.encode(), b"")
    digest = hmac.new(key.secret, b"\0".join(names), hashlib.sha256)
    digest.update(prefix)
    return b2a_base64(digest.digest(), newline=False)


def encode_state(document: Mapping[str, object], key: SigningKey | None) -> bytes:
    r"""Return the file's bytes: compact ASCII JSON on one line, signed if a key is given.

    The signature covers ``sentineld-state-v1 NUL algorithm NUL key_id NUL`` and every byte before the tail
    ``,"key_id":"...","signature":"..."}\n``. All keys of all objects must be text.

    Raises `ConfigError` for an algorithm that cannot sign, ``ValueError`` for a document that is empty, holds
    numbers that JSON cannot show or brings ``key_id`` or ``signature`` of its own.
    """
    if "key_id" in document or "signature" in document:
        raise ValueError("key_id and signature are added by the signer")
    body = json.dumps(dict(document), separators=(",", ":"), allow_nan=False).encode("ascii")
    if key is None:
        return body + b"\n"
    if key.algorithm != HMAC_SHA256:
        raise ConfigError(
            f"key {key.key_id} is for {key.algorithm!r}, which cannot sign", hint="sentineld keygen"
        )
    if not document:
        raise ValueError("an empty document cannot be signed")
    prefix = body[:-1]
    return b'%b,"key_id":"%b","signature":"%b"}\n' % (prefix, key.key_id.encode(), _sign(key, prefix))


def publish(
    path: str | os.PathLike[str], data: bytes, *, mode: int = 0o640, group: int | None = None
) -> None:
    """Replace the file at ``path`` by one that holds ``data``, so that readers see the old or the new, whole.

    ``mode`` and ``group`` (a gid) are set explicitly, whatever the umask says. Cost: two fsyncs.
    On an error the temporary file is removed and the ``OSError`` propagates; the old file is still there,
    except when the last step, fsync of the directory, failed: then the new one is, but may not survive a
    power cut.
    """
    directory, name = os.path.split(os.fspath(path))
    directory_fd = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{name}.{os.urandom(8).hex()}.tmp"
        descriptor = os.open(temporary, _CREATE_FLAGS, 0o600, dir_fd=directory_fd)
        try:
            try:
                if group is not None:
                    os.fchown(descriptor, -1, group)
                # After the group: until then, the mode would have opened the file to the wrong one.
                os.fchmod(descriptor, mode)
                _write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory_fd)
            raise
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)


def remove_leftovers(path: str | os.PathLike[str]) -> int:
    """Delete the temporary files that crashed `publish` calls for this path left; return how many.

    Only for the one writer, and not while it publishes. Nothing but regular files of exactly that form of
    name is touched. A missing directory has no leftovers; other errors propagate as ``OSError``.
    """
    directory, name = os.path.split(os.fspath(path))
    leftover = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.tmp")
    try:
        directory_fd = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    removed = 0
    try:
        for entry in os.listdir(directory_fd):
            if leftover.fullmatch(entry):
                with suppress(FileNotFoundError):
                    if stat.S_ISREG(os.lstat(entry, dir_fd=directory_fd).st_mode):
                        os.unlink(entry, dir_fd=directory_fd)
                        removed += 1
    finally:
        os.close(directory_fd)
    return removed


@dataclass(frozen=True, slots=True)
class StateView:
    """A state file's content after all checks of form and, if ``verified``, of its signature.

    ``generated_at_us`` and ``valid_until_us`` are microseconds since the epoch; ``boottime_ms`` and
    ``valid_for_ms`` milliseconds. ``agents`` maps ids to ``tier`` (1..3) and, as written, ``score``,
    ``since``, ``until``, ``decision`` and ``reason_code``; ``would`` has the same form and decides nothing.
    Both are shared with other users of the view: read only. ``source`` is how errors call the file.
    """

    source: str
    epoch: int
    seq: int
    mode: str
    status: str
    isolation: str
    writer: str
    generated_at_us: int
    valid_until_us: int
    boot_id: str
    boottime_ms: int
    valid_for_ms: int
    unlisted_tier: Tier
    agents: Mapping[str, Mapping[str, object]]
    would: Mapping[str, object]
    verified: bool
    key_id: str | None

    @property
    def version(self) -> tuple[int, int]:
        """``(epoch, seq)``: grows with every publish and never goes back."""
        return self.epoch, self.seq

    def tier(self, agent_id: str) -> Tier:
        """Return an agent's tier; that of unlisted agents if it is not listed."""
        agent = self.agents.get(agent_id)
        if agent is None:
            return self.unlisted_tier
        tier = agent["tier"]
        assert isinstance(tier, int)
        return Tier(tier)

    def check_fresh(self, now_us: int, boottime_ms: int, boot_id: str) -> None:
        """Raise `StateFileError` unless the document is in force now.

        In the boot that wrote it, its age on CLOCK_BOOTTIME decides, which nobody can set back. After a
        reboot, or where a boot has no name, the wall clock does.
        """
        if self.boot_id and self.boot_id == boot_id:
            age_ms = boottime_ms - self.boottime_ms
            if age_ms < -FUTURE_SLACK_MS:
                raise StateFileError(
                    f"{self.source} was written {-age_ms / 1000:.1f} s in the future of this boot"
                )
            if age_ms > self.valid_for_ms:
                raise StateFileError(
                    f"{self.source} is stale: it is {age_ms / 1000:.1f} s old "
                    f"and valid for {self.valid_for_ms / 1000:.1f} s"
                )
            return
        if now_us > self.valid_until_us:
            late_s = (now_us - self.valid_until_us) / 1_000_000
            raise StateFileError(f"{self.source} is stale: it expired {late_s:.1f} s ago by the wall clock")
        if self.generated_at_us - now_us > self.valid_for_ms * 1000:
            ahead_s = (self.generated_at_us - now_us) / 1_000_000
            raise StateFileError(f"{self.source} was written {ahead_s:.1f} s in the future by the wall clock")

    def check_not_below(self, floor: tuple[int, int] | None) -> None:
        """Raise `StateFileError` if the document is older than one that was seen before."""
        if floor is not None and self.version < floor:
            raise StateFileError(
                f"{self.source} was rolled back: epoch {self.epoch} seq {self.seq} is older than "
                f"epoch {floor[0]} seq {floor[1]}, which was seen before"
            )


def check_trust(
    path: str | os.PathLike[str],
    status: os.stat_result,
    *,
    expected_owner: int | None = None,
    is_signed: bool = False,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Raise `StateFileError` unless file type, owner and size are such that the content may be looked at.

    The owner must be ``expected_owner`` (a uid) or, by default, one of root, this process's effective user
    and the owner of the directory. Without a signature (``is_signed`` false) the permissions are all that
    keeps others from writing tiers, so the file must not be writable by its group or by others, nor its
    directory by others; a sticky directory may be, for there the owner check suffices.
    """
    name = f"state file {os.fspath(path)}"
    if not stat.S_ISREG(status.st_mode):
        is_link = stat.S_ISLNK(status.st_mode)
        kind = "a symbolic link, which is not followed" if is_link else "not a regular file"
        raise StateFileError(f"{name} is {kind}")
    owner = status.st_uid
    needs_directory = expected_owner is None and owner not in (0, os.geteuid())
    if needs_directory or not is_signed:
        try:
            directory = os.stat(os.path.dirname(path) or ".")
        except OSError as error:
            raise StateFileError(f"{name} is in a directory that cannot be read: {error.strerror}") from error
        if needs_directory and owner != directory.st_uid:
            raise StateFileError(
                f"{name} belongs to uid {owner}, "
                "which is neither root, nor this user, nor the owner of its directory"
            )
        is_open_to_all = directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX
        if is_open_to_all and not is_signed:
            raise StateFileError(f"{name} is unsigned and in a directory where anyone can replace it")
    if expected_owner is not None and owner != expected_owner:
        raise StateFileError(f"{name} belongs to uid {owner}, not to uid {expected_owner}")
    if not is_signed and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateFileError(f"{name} is unsigned and writable by others than its owner")
    if status.st_size > max_bytes:
        raise StateFileError(f"{name} is larger than {max_bytes} bytes")


def read_document(
    path: str | os.PathLike[str],
    *,
    expected_owner: int | None = None,
    is_signed: bool = False,
    max_bytes: int = MAX_BYTES,
) -> tuple[bytes, os.stat_result]:
    """Read the file once, after the checks of `check_trust` on the open descriptor; give bytes and status.

    Never blocks on what is not a regular file. Raises `StateFileError`.
    """
    name = f"state file {os.fspath(path)}"
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except (OSError, ValueError) as error:
        raise StateFileError(f"{name} {_why_unopened(error)}") from error
    try:
        status = os.fstat(descriptor)
        check_trust(path, status, expected_owner=expected_owner, is_signed=is_signed, max_bytes=max_bytes)
        data = _read_at_most(descriptor, max_bytes + 1)
    except OSError as error:
        raise StateFileError(f"{name} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise StateFileError(f"{name} is larger than {max_bytes} bytes")
    return data, status


def parse_state(data: bytes, keys: Sequence[SigningKey] = (), *, source: str = "state file") -> StateView:
    """Turn the file's bytes into a `StateView`; with keys, only if one of them signed exactly these bytes.

    Without keys a signed file is read as well, and ``verified`` is False. Freshness is not looked at: that is
    `StateView.check_fresh`. Raises `StateFileError`, whose sentence begins with ``source``.
    """
    body, key_id = data, None
    try:
        if keys:
            body, key_id = _verify(data, keys)
        return _view(_parse_json(body), source, key_id)
    except _Refused as refusal:
        raise StateFileError(f"{source} {refusal}") from refusal.__cause__


def read_state(
    path: str | os.PathLike[str],
    *,
    keys: Sequence[SigningKey] = (),
    expected_owner: int | None = None,
    now_us: int,
    boottime_ms: int,
    boot_id: str,
    floor: tuple[int, int] | None = None,
    max_bytes: int = MAX_BYTES,
) -> StateView:
    """Read the state file and return it if every check passes; raise `StateFileError` if any does not.

    Regular file, owner, size, signature (with ``keys``), form, not older than ``floor`` (the highest
    ``(epoch, seq)`` seen before), and fresh by the clocks given: ``now_us`` and ``boottime_ms`` as of
    `sentineld.clock`, ``boot_id`` this boot's name or empty.
    """
    data, _ = read_document(path, expected_owner=expected_owner, is_signed=bool(keys), max_bytes=max_bytes)
    view = parse_state(data, keys, source=f"state file {os.fspath(path)}")
    view.check_not_below(floor)
    view.check_fresh(now_us, boottime_ms, boot_id)
    return view


class _Refused(ValueError):  # noqa: N818 (it reads as the predicate that it carries)
    """Why a document is refused, as a predicate of which the file is the subject."""


def _verify(data: bytes, keys: Sequence[SigningKey]) -> tuple[bytes, str]:
    """Return the signed document (the prefix and its closing brace) and the id of the key that signed it."""
    tail = _TAIL.search(data, max(0, len(data) - _TAIL_MAX_BYTES))
    if tail is None:
        raise _Refused("does not end in a signature, and this reader has a key")
    key_id, prefix = tail[1].decode("ascii"), data[: tail.start()]
    named = [key for key in keys if key.key_id == key_id]
    if not named:
        raise _Refused(f"is signed with key {key_id}, which this reader does not know")
    usable = [key for key in named if key.algorithm == HMAC_SHA256]
    if not usable:
        raise _Refused(f"is signed with key {key_id}, of the unknown algorithm {named[0].algorithm!r}")
    # The encoded form is compared: base64 has spare bits, so decoding would accept four spellings of it.
    if not any(hmac.compare_digest(_sign(key, prefix), tail[2]) for key in usable):
        raise _Refused(f"does not carry a valid signature of key {key_id}")
    return prefix + b"}", key_id


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object, unless a key occurs twice: parsers differ on which of the two counts."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("has the same key twice in one object")
    return members


def _finite(text: str) -> float:
    """Read a number with a fraction or an exponent; 1e999 is not one."""
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("has a number beyond all bounds")
    return value


def _no_constant(text: str) -> object:
    """Refuse ``NaN``, ``Infinity`` and ``-Infinity``, which Python reads and JSON does not have."""
    raise _Refused(f"has {text} for a number")


def _parse_json(body: bytes) -> Mapping[str, object]:
    """Parse strict UTF-8 and strict JSON that is one object."""
    try:
        # Decoded here: json.loads would guess UTF-16 or UTF-32 from the first bytes.
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except _Refused:
        raise
    except UnicodeDecodeError as error:
        raise _Refused(f"is not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _Refused(f"is not JSON that can be read: {error}") from error
    if not isinstance(document, dict):
        raise _Refused("is not one JSON object")
    return document


def _integer(document: Mapping[str, object], member: str, low: int, high: int) -> int:
    """Return a member that must be a whole number within bounds; true and false are not numbers."""
    value = document.get(member)
    if type(value) is not int or not low <= value <= high:
        raise _Refused(f"has no {member} that is a whole number from {low} to {high}")
    return value


def _instant_us(document: Mapping[str, object], member: str) -> int:
    """Return a member that must be an instant, in microseconds since the epoch."""
    value = document.get(member)
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        with suppress(ValueError, OverflowError):
            return parse_iso(value)
    raise _Refused(f"has no {member} that is an instant such as 2026-11-23T00:40:10.123Z")


def _text(document: Mapping[str, object], member: str) -> str:
    """Return a member that only informs; what is not text becomes empty."""
    value = document.get(member)
    return value if isinstance(value, str) else ""


def _agents(document: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
    """Return the listed agents, each an object with a tier."""
    agents = document.get("agents")
    if not isinstance(agents, dict):
        raise _Refused("has no agents that are an object")
    for agent in agents.values():
        # The id is the agent's own word: it stays out of the sentence.
        if not isinstance(agent, dict) or type(agent.get("tier")) is not int or agent["tier"] not in _TIERS:
            raise _Refused("lists an agent that is not an object with a tier from 1 to 3")
    return agents


def _view(document: Mapping[str, object], source: str, key_id: str | None) -> StateView:
    """Check every member that decides something, and build the view."""
    schema = document.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise _Refused(f"has a schema other than {SCHEMA}, which this reader does not understand")
    mode = document.get("mode")
    if mode not in ("enforce", "observe"):
        raise _Refused("has a mode that is neither enforce nor observe")
    boot_id = document.get("boot_id")
    if not isinstance(boot_id, str):
        raise _Refused("has no boot_id that is text")
    would = document.get("would")
    claimed = _text(document, "key_id")
    return StateView(
        source=source,
        epoch=_integer(document, "epoch", 0, MAX_INTEGER),
        seq=_integer(document, "seq", 0, MAX_INTEGER),
        mode=str(mode),
        status=_text(document, "status"),
        isolation=_text(document, "isolation"),
        writer=_text(document, "writer"),
        generated_at_us=_instant_us(document, "generated_at"),
        valid_until_us=_instant_us(document, "valid_until"),
        boot_id=boot_id,
        boottime_ms=_integer(document, "boottime_ms", 0, MAX_INTEGER),
        valid_for_ms=_integer(document, "valid_for_ms", 1, MAX_INTEGER),
        unlisted_tier=Tier(_integer(document, "unlisted_tier", Tier.NORMAL, Tier.ANOMALOUS)),
        agents=_agents(document),
        would=would if isinstance(would, dict) else {},
        verified=key_id is not None,
        key_id=key_id if key_id is not None else claimed if _KEY_ID.fullmatch(claimed) else None,
    )


def _why_unopened(error: OSError | ValueError) -> str:
    """Say why a file could not be opened, as a predicate."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, PermissionError):
        return "may not be read by this user"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ELOOP:
        return "is a symbolic link, which is not followed"
    if number in (errno.ENXIO, errno.ENODEV):
        return "is not a regular file"
    return f"cannot be opened: {error.strerror if isinstance(error, OSError) else error}"


def _read_at_most(descriptor: int, limit: int) -> bytes:
    """Read until the end of the file, or ``limit`` bytes."""
    chunks = bytearray()
    while len(chunks) < limit and (chunk := os.read(descriptor, min(limit - len(chunks), 1 << 20))):
        chunks += chunk
    return bytes(chunks)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything; a disk that is full in the middle raises at the next call."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

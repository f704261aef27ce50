"""Identity: what the database remembers of a file, and whether an open file is still that file.

A file is its device, inode and generation (or birth time), and the content that was read of it: a hash of its
first bytes, of the bytes before the position, and a chain of hashes over everything before those. Device,
inode and content decide whether reading may resume; content alone (all of it) decides whether a file is a
copy of another one, as ``logrotate``'s ``copytruncate`` makes them. A path is only a label.

Blocks of nothing but NUL bytes have no link in the chain, so a hole in a sparse file costs nothing, and a
copy in which it was filled with NUL bytes has the same chain.

Files are opened without following links and without blocking.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import struct
from dataclasses import dataclass, fields
from operator import attrgetter

#: Bytes of the head that are hashed: enough to hold a time stamp, cheap enough for every read.
FINGERPRINT_BYTES = 1024
#: Least number of bytes before the position that are hashed, where there are that many.
_TAIL_BYTES = 256
#: Bytes of one link of the chain; the hash before the position reaches back to the last whole one.
BLOCK_BYTES = 4096
_READ_BLOCKS = 16
_NULS = bytes(_READ_BLOCKS * BLOCK_BYTES)
_NULL_BLOCK = bytes(BLOCK_BYTES)
#: The chain before its first block: what has no whole block has no chain.
_ORIGIN = b"\0" * 32
#: ioctl(2) FS_IOC_GETVERSION: the inode's generation, where the file system keeps one.
_FS_IOC_GETVERSION = 0x80087601
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: statx(2): of an open file; whether it tells the birth time, and where that stands (seconds, nanoseconds).
_AT_EMPTY_PATH, _STATX_BTIME = 0x1000, 0x800
_STATX_BYTES, _STATX_BTIME_OFFSET = 256, 80
_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: (st_dev, st_ino).
Inode = tuple[int, int]


@dataclass(slots=True)
class Source:
    """One file's identity, position and accounts: what the database keeps of it. Times in microseconds.

    ``path`` is the name at first sight, by which people know the file; ``last_path`` the latest one.
    ``pos`` is the committed byte offset (documents: number of elements). ``look_us`` is the last completed
    look at the file's end. ``chain`` stands for all whole blocks before ``pos``; empty where there is none,
    or where the file could not be read any more. ``away_us`` is since when the file has been out of reach
    (0: it is not). ``elements`` holds 16 bytes a known element of a document. ``format`` is what the file was
    recognised as (empty: not yet), ``kept`` the memory of its records (see ``memory``).
    lines = accepted + ignored + rejected + duplicates, always; of the ignored ones ``blank`` held nothing,
    and ``unknown`` are records of kinds that the format does not know.
    """

    id: int
    path: str
    last_path: str
    kind: str
    dev: int
    ino: int
    generation: int
    owner: int
    look_us: int
    fp_len: int = 0
    fp: bytes = b""
    tail_len: int = 0
    tail: bytes = b""
    chain: bytes = b""
    pos: int = 0
    is_skipping: bool = False
    lines: int = 0
    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    duplicates: int = 0
    conflicts: int = 0
    clamped: int = 0
    timeless: int = 0
    bytes_read: int = 0
    is_gone: bool = False
    away_us: int = 0
    elements: bytes = b""
    signature: str = ""
    format: str = ""
    kept: bytes = b""
    unknown: int = 0
    blank: int = 0


_values = attrgetter(*(item.name for item in fields(Source)))


def copied(source: Source) -> Source:
    """Return a copy of a source; ``dataclasses.replace`` takes five times as long."""
    return Source(*_values(source))


def new_source(number: int, path: str, fd: int, status: os.stat_result, kind: str, look_us: int) -> Source:
    """Make the source of an open file that nobody has met before. Raises ``OSError``."""
    return Source(
        id=number,
        path=path,
        last_path=path,
        kind=kind,
        dev=status.st_dev,
        ino=status.st_ino,
        generation=generation(fd),
        owner=status.st_uid,
        look_us=look_us,
    )


def open_regular(path: str) -> int:
    """Open a file for reading, never following a link and never blocking. Raises ``OSError``."""
    return os.open(path, _OPEN_FLAGS)


def open_below(directory: str, path: str) -> int:
    """Open ``path``, which lies below ``directory``, following no link on the way down. Raises ``OSError``.

    An agent may swap a directory of its own for a link at any moment; the directory itself is the operator's.
    """
    names = [name for name in path[len(directory) :].split("/") if name]
    parent = os.open(directory, _DIRECTORY_FLAGS & ~os.O_NOFOLLOW)
    try:
        for name in names[:-1]:
            child = os.open(name, _DIRECTORY_FLAGS, dir_fd=parent)
            os.close(parent)
            parent = child
        return os.open(names[-1], _OPEN_FLAGS, dir_fd=parent)
    finally:
        os.close(parent)


def inode(fd: int) -> Inode:
    """Return device and inode of an open file."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def generation(fd: int) -> int:
    """Return what tells apart the files that had one inode number: its generation, else its birth time.

    Nanoseconds since the epoch, of the latter (tmpfs, overlayfs); 0 where the file system has neither.
    """
    try:
        raw = fcntl.ioctl(fd, _FS_IOC_GETVERSION, b"\0" * 8)
    except OSError:
        return birth_ns(fd)
    return int(struct.unpack_from("=i", raw)[0]) or birth_ns(fd)


def birth_ns(fd: int) -> int:
    """Return when an open file was made, nanoseconds since the epoch; 0 where nobody knows."""
    if _statx is None:
        return 0
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer) != 0:
        return 0
    if not struct.unpack_from("=I", buffer)[0] & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _STATX_BTIME_OFFSET)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return what changes with every change to a file: nobody can set the ctime back."""
    return status.st_ctime_ns, status.st_mtime_ns


def proven(source: Source, fd: int, end: int, raw: bytes = b"") -> Source:
    """Return a copy of the source that stands at ``end`` (not before ``pos``), with the proof of its past.

    ``raw`` are the bytes that were read, from the last whole block before ``pos`` to ``end``: what was
    changed since must not be taken for them. Without it they are read again. Cost: the new bytes are hashed
    once, and up to a block before them. Raises ``OSError``.
    """
    first, last = source.pos // BLOCK_BYTES, end // BLOCK_BYTES
    base = first * BLOCK_BYTES
    if len(raw) != end - base:
        raw = b""
    fp_len = min(FINGERPRINT_BYTES, end)
    if fp_len == source.fp_len:
        fp = source.fp
    else:
        fp = _hash(raw[:fp_len]) if raw and not base else _hash_at(fd, 0, fp_len)
    tail_len = _tail_length(end)
    if tail_len == fp_len == end:
        tail = fp
    elif len(raw) >= tail_len:
        tail = _hash(raw[len(raw) - tail_len :])
    else:
        tail = _hash_at(fd, end - tail_len, tail_len)
    if first and not source.chain:
        chain = b""
    elif raw:
        chain = _linked(source.chain, first, memoryview(raw)[: (last - first) * BLOCK_BYTES])
    else:
        chain = _chain(fd, source.chain, first, last)
    after = copied(source)
    after.pos, after.chain = end, chain
    after.fp_len, after.fp, after.tail_len, after.tail = fp_len, fp, tail_len, tail
    return after


def reached(source: Source, proof: Source) -> Source:
    """Return a copy of the source that stands where ``proof`` does, which is the same file, read further."""
    after = copied(source)
    after.pos, after.chain = proof.pos, proof.chain
    after.fp_len, after.fp, after.tail_len, after.tail = proof.fp_len, proof.fp, proof.tail_len, proof.tail
    return after


def unproven(source: Source, end: int) -> Source:
    """Return a copy of the source that stands at ``end``, for a file that cannot be read any more."""
    after = copied(source)
    after.pos, after.tail_len, after.tail, after.chain = end, 0, b"", b""
    return after


def ended(source: Source) -> Source:
    """Return a copy of a source that is followed no longer."""
    after = copied(source)
    after.is_gone = True
    return after


def matches(fd: int, source: Source) -> bool:
    """Say whether an open file has the head, and the bytes before the position, that a source had.

    Raises ``OSError``.
    """
    if _hash_at(fd, 0, source.fp_len) != source.fp:
        return False
    if source.tail_len == source.fp_len == source.pos:
        # The head of a short file is all of it.
        return source.fp == source.tail
    return _hash_at(fd, source.pos - source.tail_len, source.tail_len) == source.tail


def verdict(fd: int, status: os.stat_result, source: Source, generation_now: int) -> str | None:
    """Say why an open file with a source's inode is not to be read on at its position; None where it is.

    ``replaced``: the inode was given to another file. ``truncated``: it is shorter than what was read.
    ``rewritten``: what was read has changed. Raises ``OSError``.
    """
    if source.generation and generation_now and generation_now != source.generation:
        return "replaced"
    if status.st_size < source.pos:
        return "truncated"
    return None if matches(fd, source) else "rewritten"


def begins_with(fd: int, size: int, source: Source) -> bool:
    """Say whether an open file begins with every byte that was read of a source: whether it is a copy.

    Head and tail alone could be crafted, so the whole prefix is read, but only where they match. Raises
    ``OSError``.
    """
    blocks = source.pos // BLOCK_BYTES
    if not source.tail_len or size < source.pos or (blocks and not source.chain):
        return False
    return matches(fd, source) and _chain(fd, b"", 0, blocks) == source.chain


def are_alike(fd: int, other: int, start: int, end: int) -> bool:
    """Say whether two open files have the same bytes from ``start`` to ``end``. Raises ``OSError``.

    What is a hole in both costs nothing: it costs nothing to make, either.
    """
    position = start
    while position < end:
        count = min(end - position, len(_NULS))
        data = os.pread(fd, count, position)
        if data != os.pread(other, count, position):
            return False
        position += count
        if data == _NULS:
            position = max(position, min(_hole_end(fd, position), _hole_end(other, position)))
    return True


def _hole_end(fd: int, start: int) -> int:
    at = next_data(fd, start)
    # One of them may end before the other does.
    return os.fstat(fd).st_size if at is None else at


def head(fd: int) -> bytes:
    """Return the hash of an open file's first bytes, as a source has it that was read so far."""
    return _hash_at(fd, 0, FINGERPRINT_BYTES)


def linked(fd: int, chain: bytes, block: int, end: int) -> tuple[bytes, int]:
    """Read one piece of a file, or jump over a hole: the chain behind it, and the block where it ends.

    At most up to block ``end``, at most 64 KiB are read. Raises ``OSError``.
    """
    count = min(_READ_BLOCKS, end - block)
    data = os.pread(fd, count * BLOCK_BYTES, block * BLOCK_BYTES)
    if len(data) != count * BLOCK_BYTES:
        # It was cut: not what it was, whatever it was.
        return _hash(chain), end
    if data == _NULS:
        behind = next_data(fd, (block + count) * BLOCK_BYTES)
        next_block = end if behind is None else min(end, behind // BLOCK_BYTES)
        return chain or _ORIGIN, max(block + count, next_block)
    return _linked(chain, block, memoryview(data)), block + count


def next_data(fd: int, start: int) -> int | None:
    """Return where the next bytes stand that are no hole; None where none follow. Raises ``OSError``."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _tail_length(end: int) -> int:
    return min(end, max(end % BLOCK_BYTES, _TAIL_BYTES))


def _chain(fd: int, chain: bytes, first: int, end: int) -> bytes:
    if first and not chain:
        return b""
    block = first
    while block < end:
        chain, block = linked(fd, chain, block, end)
    return chain


def _linked(chain: bytes, first: int, data: memoryview) -> bytes:
    """Add whole blocks, the first of which has the number ``first``, to a chain."""
    for number, start in enumerate(range(0, len(data), BLOCK_BYTES), first):
        chain = chain or _ORIGIN
        block = data[start : start + BLOCK_BYTES]
        if block[0] == 0 and bytes(block) == _NULL_BLOCK:
            continue
        link = hashlib.sha256(chain)
        link.update(number.to_bytes(8, "little"))
        link.update(block)
        chain = link.digest()
    return chain


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() if data else b""


def _hash_at(fd: int, start: int, length: int) -> bytes:
    return _hash(os.pread(fd, length, start)) if length else b""

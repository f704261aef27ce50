"""Identity: what the database remembers of a file, and whether an open file is still that file.

A file is its device, inode and generation, and the content that was read of it: a hash of its first bytes, of
the bytes before the position, and a chain of hashes over everything before those. Device, inode and content
decide whether reading may resume; content alone (all of it) decides whether a file is a copy of another one,
as ``logrotate``'s ``copytruncate`` makes them. A path is only a label.

Files are opened without following links and without blocking.
"""

import fcntl
import hashlib
import os
import struct
from dataclasses import dataclass, replace

#: Bytes of the head that are hashed: enough to hold a time stamp, cheap enough for every read.
FINGERPRINT_BYTES = 1024
#: Least number of bytes before the position that are hashed, where there are that many.
_TAIL_BYTES = 256
#: Bytes of one link of the chain; the hash before the position reaches back to the last whole one.
_BLOCK_BYTES = 4096
_READ_BLOCKS = 16
#: ioctl(2) FS_IOC_GETVERSION: the inode's generation, where the file system keeps one.
_FS_IOC_GETVERSION = 0x80087601
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Source:
    """One file's identity, position and accounts: what the database keeps of it. Times in microseconds.

    ``path`` is the name at first sight, by which people know the file; ``last_path`` the latest one.
    ``pos`` is the committed byte offset (documents: number of elements). ``look_us`` is the last completed
    look at the file's end. ``chain`` stands for all whole blocks before ``pos``; empty where there is none,
    or where the file could not be read any more. ``elements`` holds 16 bytes a known element of a document.
    lines = accepted + ignored + rejected + duplicates, always.
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
    elements: bytes = b""
    signature: str = ""


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


def generation(fd: int) -> int:
    """Return the inode's generation, which tells reused inode numbers apart; 0 where there is none."""
    try:
        raw = fcntl.ioctl(fd, _FS_IOC_GETVERSION, b"\0" * 8)
    except OSError:
        return 0
    return int(struct.unpack_from("=i", raw)[0])


def proven(source: Source, fd: int, end: int) -> Source:
    """Return a copy of the source that stands at ``end`` (not before ``pos``), with the proof of its past.

    Cost: the new bytes are hashed once, and up to a block before them. Raises ``OSError``.
    """
    fp_len = min(FINGERPRINT_BYTES, end)
    tail_len = _tail_length(end)
    return replace(
        source,
        pos=end,
        fp_len=fp_len,
        fp=source.fp if fp_len == source.fp_len else _hash_at(fd, 0, fp_len),
        tail_len=tail_len,
        tail=_hash_at(fd, end - tail_len, tail_len),
        chain=_chain(fd, source.chain, source.pos // _BLOCK_BYTES, end // _BLOCK_BYTES),
    )


def unproven(source: Source, end: int) -> Source:
    """Return a copy of the source that stands at ``end``, for a file that cannot be read any more."""
    return replace(source, pos=end, tail_len=0, tail=b"", chain=b"")


def matches(fd: int, source: Source) -> bool:
    """Say whether an open file has the head, and the bytes before the position, that a source had.

    Raises ``OSError``.
    """
    return (
        _hash_at(fd, 0, source.fp_len) == source.fp
        and _hash_at(fd, source.pos - source.tail_len, source.tail_len) == source.tail
    )


def verdict(fd: int, status: os.stat_result, source: Source, generation_now: int) -> str | None:
    """Say why an open file with a source's inode is not to be read on at its position; None where it is.

    ``replaced``: the inode was given to another file. ``truncated``: it is shorter than what was read.
    ``rewritten``: what was read has changed. Raises ``OSError``.
    """
    if generation_now != source.generation:
        return "replaced"
    if status.st_size < source.pos:
        return "truncated"
    return None if matches(fd, source) else "rewritten"


def begins_with(fd: int, size: int, source: Source) -> bool:
    """Say whether an open file begins with every byte that was read of a source: whether it is a copy.

    Head and tail alone could be crafted, so the whole prefix is read, but only where they match. Raises
    ``OSError``.
    """
    blocks = source.pos // _BLOCK_BYTES
    if not source.tail_len or size < source.pos or (blocks and not source.chain):
        return False
    return matches(fd, source) and _chain(fd, b"", 0, blocks) == source.chain


def _tail_length(end: int) -> int:
    return min(end, max(end % _BLOCK_BYTES, _TAIL_BYTES))


def _chain(fd: int, chain: bytes, first: int, end: int) -> bytes:
    if first and not chain:
        return b""
    for block in range(first, end, _READ_BLOCKS):
        count = min(_READ_BLOCKS, end - block)
        data = memoryview(os.pread(fd, count * _BLOCK_BYTES, block * _BLOCK_BYTES))
        for start in range(0, count * _BLOCK_BYTES, _BLOCK_BYTES):
            link = hashlib.sha256(chain)
            link.update(data[start : start + _BLOCK_BYTES])
            chain = link.digest()
    return chain


def _hash_at(fd: int, start: int, length: int) -> bytes:
    return hashlib.sha256(os.pread(fd, length, start)).digest() if length else b""

"""Tail: from files to whole lines, each with its byte offset, across rotation, truncation and restarts.

Before: ``watch`` says which paths may have changed, or nothing at all: a scan finds everything by itself.
After: ``Chunk`` values that hold whole lines only; a partial last line waits for its newline. A file is its
device, inode and generation plus a hash of its first bytes and of the bytes before the position; a path is
only a label. The position moves when the caller has committed (``advance``), never before.

Files are opened without following links and without blocking, and are read only when they are regular
files with one name. A file that is renamed or unlinked is read to its end through the open descriptor.
"""

import errno
import fcntl
import hashlib
import os
import re
import stat
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sentineld.decode import KEPT_BYTES, Reject

LINES, DOCUMENT = "jsonl", "json"

#: Names that carry telemetry: ``x.jsonl`` and ``x.json``, and rotated ``x.jsonl.1``, ``x.jsonl-20260101``.
_LINES_NAME = re.compile(r"\.jsonl(?:[.-][0-9][0-9TZ_.:-]*)?$")

_FINGERPRINT_BYTES = 1024
_TAIL_BYTES = 256
#: Bytes of one read: larger ones were slower, by page faults.
CHUNK_BYTES = 65_536
#: Largest ``.json`` document read; it has to be decoded as one.
MAX_DOCUMENT_BYTES = 64 << 20
#: How long an unlinked or renamed-away file is kept open for more lines, microseconds.
_LINGER_US = 60_000_000
#: How long an incomplete ``.json`` file may stay unchanged before it is rejected, microseconds.
_INCOMPLETE_US = 2_000_000
_MAX_DIRECTORY_DEPTH = 32
#: ioctl(2) FS_IOC_GETVERSION: the inode's generation, where the file system keeps one.
_FS_IOC_GETVERSION = 0x80087601
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(slots=True)
class Source:
    """One file's identity, position and accounts: what the database keeps of it. Times in microseconds.

    ``path`` is the name at first sight, by which people know the file; ``last_path`` the latest one.
    ``pos`` is the committed byte offset (documents: number of elements). ``look_us`` is the last completed
    look at the file's end.
    ``elements`` holds 16 bytes a known element of a document. lines = accepted + ignored + rejected +
    duplicates, always.
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


@dataclass(slots=True)
class Chunk:
    """Whole lines of one file, read but not yet committed.

    ``data`` are the bytes from ``start`` to ``end``; empty where a line over the limit is being skipped
    (``skip`` 1: it begins here and ``reject`` tells of it; 2: it goes on). ``lo`` and ``hi`` bracket when
    the lines were written; ``file_time`` is the file's modification time, in microseconds.
    """

    source: Source
    start: int
    end: int
    data: bytes
    lo: int
    hi: int
    file_time: int
    skip: int = 0
    is_skipping: bool = False
    reject: Reject | None = None


@dataclass(slots=True)
class Document:
    """A ``.json`` file that changed: its whole content, with the same brackets as a chunk."""

    source: Source
    data: bytes
    signature: str
    is_settled: bool
    lo: int
    hi: int
    file_time: int


@dataclass(slots=True)
class _File:
    source: Source
    fd: int | None = None
    size: int = 0
    #: The size at which nothing but an unfinished line was left; -1 for never.
    examined: int = -1
    signature: str = ""
    changed_us: int = 0
    postponed_until_us: int = 0
    gone_us: int | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something about a path that an operator should know: ``kind`` is one word, for counting."""

    kind: str
    path: str
    detail: str


def kind_of(name: str) -> str | None:
    """Return ``jsonl`` or ``json`` for a file name that carries telemetry, else None."""
    if name.endswith(".json"):
        return DOCUMENT
    return LINES if _LINES_NAME.search(name) else None


def walk(directory: str, on_trouble: Callable[[Trouble], None]) -> Iterator[os.DirEntry[str]]:
    """Yield the entries below a directory that are no directories; links are not followed."""
    stack = [(directory, 0)]
    while stack:
        path, depth = stack.pop()
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            on_trouble(_os_trouble(path, error))
            continue
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif depth < _MAX_DIRECTORY_DEPTH:
                stack.append((entry.path, depth + 1))
            else:
                on_trouble(Trouble("too_deep", entry.path, f"deeper than {_MAX_DIRECTORY_DEPTH} directories"))


def open_regular(path: str) -> int:
    """Open a file for reading, never following a link and never blocking. Raises ``OSError``."""
    return os.open(path, _OPEN_FLAGS)


@dataclass(slots=True)
class Tail:
    """All files below the telemetry directories (a path of a single file serves as well).

    ``next_id`` numbers new sources; ``on_trouble`` is told what could not be read (the caller limits the
    rate); ``clock`` gives microseconds since the epoch. ``line_bytes`` is the longest line accepted;
    ``max_open`` bounds descriptors. ``closed`` collects sources that ended (truncated, rewritten, gone).
    """

    directories: Sequence[str]
    next_id: Callable[[], int]
    on_trouble: Callable[[Trouble], None]
    clock: Callable[[], int]
    line_bytes: int = 1 << 20
    max_open: int = 512
    max_files: int = 100_000
    last_scan_us: int = 0
    #: Whether incomplete documents are rejected at once, because nobody will look again.
    is_final: bool = False
    closed: list[Source] = field(default_factory=list)
    _files: dict[tuple[int, int], _File] = field(default_factory=dict)
    _documents: dict[str, _File] = field(default_factory=dict)
    _open: OrderedDict[tuple[int, int], _File] = field(default_factory=OrderedDict)
    _known: dict[tuple[int, int], list[Source]] = field(default_factory=dict)

    def restore(self, sources: Sequence[Source], last_scan_us: int) -> None:
        """Take over what the database knows from earlier runs."""
        self.last_scan_us = last_scan_us
        for source in sources:
            if source.is_gone:
                continue
            if source.kind == DOCUMENT:
                self._documents[source.last_path] = _File(source)
            else:
                self._known.setdefault((source.dev, source.ino), []).append(source)

    def scan(self) -> None:
        """Look at every file below the directories; afterwards ``dirty`` tells which have news."""
        now_us = self.clock()
        seen: set[int] = set()
        for directory in self.directories:
            if os.path.isfile(directory):
                self._see(directory, kind_of(directory) or LINES, now_us, seen)
                continue
            if not os.path.isdir(directory):
                self.on_trouble(
                    Trouble("missing_directory", directory, "the telemetry directory does not exist (yet)")
                )
                continue
            for entry in walk(directory, self.on_trouble):
                kind = kind_of(entry.name)
                if kind is None and not self._is_known_inode(entry):
                    continue
                self._see(entry.path, kind or LINES, now_us, seen)
        for file in [*self._files.values(), *self._documents.values()]:
            if id(file) in seen:
                file.gone_us = None
            elif file.gone_us is None or self._has_grown(file):
                file.gone_us = now_us
        self.last_scan_us = now_us

    def _see(self, path: str, kind: str, now_us: int, seen: set[int]) -> None:
        file = self._notice(path, kind, now_us)
        if file is not None:
            seen.add(id(file))

    def notice(self, path: str) -> None:
        """Look at one path that is said to have changed; paths of no interest are ignored."""
        kind = kind_of(os.path.basename(path))
        if kind is not None:
            self._notice(path, kind, self.clock())

    def dirty(self) -> list[Source]:
        """Return the sources that have unread bytes, in the order of their names."""
        news = [
            file.source
            for file in self._files.values()
            if file.size not in (file.source.pos, file.examined)
        ]
        now_us = self.clock()
        news += [
            file.source
            for file in self._documents.values()
            if file.signature != file.source.signature and file.postponed_until_us <= now_us
        ]
        return sorted(news, key=lambda source: (source.path, source.id))

    def sources(self) -> list[Source]:
        """Return every source that is followed now."""
        return [file.source for file in [*self._files.values(), *self._documents.values()]]

    def unread_bytes(self) -> int:
        """Return how many bytes of lines are known and not yet committed."""
        return sum(max(0, file.size - file.source.pos) for file in self._files.values())

    def read(self, state: Source, limit: int = CHUNK_BYTES) -> Chunk | None:
        """Read the next whole lines of a line file, about ``limit`` bytes; None where there are none yet.

        ``state`` says where to read: the committed source, or one that ``advance`` has moved on.
        """
        file = self._files.get((state.dev, state.ino))
        if file is None or file.source.id != state.id:
            return None
        fd = self._descriptor(file)
        if fd is None:
            return None
        before_us = self.clock()
        try:
            status = os.fstat(fd)
            if not self._still_ours(file, fd, status):
                return None
            file.size = status.st_size
            chunk = self._read_lines(state, fd, status, limit)
        except OSError as error:
            self.on_trouble(_os_trouble(state.last_path, error))
            return None
        if chunk is None:
            # Everything complete up to this size has been read: a finished look at the end.
            state.look_us = file.source.look_us = before_us
            file.examined = status.st_size
        return chunk

    def current(self, source: Source) -> Source:
        """Return the committed state of a source."""
        file = self._files.get((source.dev, source.ino))
        return file.source if file is not None and file.source.id == source.id else source

    def read_document(self, source: Source) -> Document | None:
        """Read a ``.json`` file that changed; None where it cannot be read."""
        file = self._documents.get(source.last_path)
        if file is None:
            return None
        try:
            fd = open_regular(source.last_path)
        except OSError as error:
            self.on_trouble(_os_trouble(source.last_path, error))
            file.signature = source.signature
            return None
        try:
            status = os.fstat(fd)
            if status.st_size > MAX_DOCUMENT_BYTES:
                self.on_trouble(
                    Trouble("document_too_large", source.last_path, f"{status.st_size} bytes; write JSON lines")
                )
                file.signature = source.signature
                return None
            data = _read_all(fd, status.st_size)
        except OSError as error:
            self.on_trouble(_os_trouble(source.last_path, error))
            return None
        finally:
            os.close(fd)
        file.signature = _signature(status)
        now_us = self.clock()
        is_settled = self.is_final or now_us - file.changed_us >= _INCOMPLETE_US
        return Document(
            source, data, file.signature, is_settled, source.look_us, now_us, status.st_mtime_ns // 1000
        )

    def postpone(self, source: Source) -> None:
        """Leave an incomplete document alone until it changes, or has not changed for a while."""
        file = self._documents.get(source.last_path)
        if file is not None:
            file.postponed_until_us = file.changed_us + _INCOMPLETE_US

    def tell_rewritten(self, source: Source) -> None:
        """Report that what was read of a source has changed."""
        self.on_trouble(Trouble("rewritten", source.last_path, "elements that were read have changed"))

    def advance(self, source: Source, end: int, *, is_skipping: bool = False) -> Source:
        """Return a copy of the source as it stands behind ``end``, a line's end that has been read.

        Nothing changes until the caller has committed it and calls ``accept``.
        """
        before = source
        source = replace(before, pos=end, is_skipping=is_skipping)
        source.bytes_read += end - before.pos
        file = self._files.get((source.dev, source.ino))
        fd = None if file is None else file.fd
        if fd is not None:
            source.fp_len = min(_FINGERPRINT_BYTES, end)
            if source.fp_len != before.fp_len:
                source.fp = _hash_at(fd, 0, source.fp_len)
            source.tail_len = min(_TAIL_BYTES, end)
            source.tail = _hash_at(fd, end - source.tail_len, source.tail_len)
        return source

    def accept(self, source: Source) -> None:
        """Replace a source by its committed successor."""
        if source.kind == DOCUMENT:
            file = self._documents.get(source.last_path)
        else:
            file = self._files.get((source.dev, source.ino))
        if file is not None and file.source.id == source.id:
            file.source = source

    def gone(self, linger_us: int = _LINGER_US) -> list[Source]:
        """Return sources whose file is gone and silent for a while, and read up to an unfinished line."""
        before_us = self.clock() - linger_us
        return [
            file.source
            for file in [*self._files.values(), *self._documents.values()]
            if file.gone_us is not None
            and file.gone_us <= before_us
            and (file.source.kind == DOCUMENT or file.size in (file.source.pos, file.examined))
        ]

    def forget(self, source: Source) -> None:
        """Stop following a source; its end is told in ``closed``."""
        key = (source.dev, source.ino)
        file = self._files.get(key)
        if source.kind == DOCUMENT:
            self._documents.pop(source.last_path, None)
        elif file is not None and file.source.id == source.id:
            del self._files[key]
            self._open.pop(key, None)
            if file.fd is not None:
                os.close(file.fd)
        self.closed.append(replace(source, is_gone=True))

    def close(self) -> None:
        """Close every descriptor."""
        for file in self._open.values():
            if file.fd is not None:
                os.close(file.fd)
                file.fd = None
        self._open.clear()

    def _is_known_inode(self, entry: os.DirEntry[str]) -> bool:
        # A rotated file may have any name; its inode tells that there may be unread lines in it.
        try:
            inode = entry.inode()
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        key = (status.st_dev, inode)
        return key in self._files or key in self._known

    def _notice(self, path: str, kind: str, now_us: int) -> _File | None:
        try:
            status = os.lstat(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.on_trouble(_os_trouble(path, error))
            return None
        if not stat.S_ISREG(status.st_mode):
            self.on_trouble(Trouble("not_a_file", path, "links, pipes, sockets and devices are not followed"))
            return None
        if status.st_nlink > 1:
            self.on_trouble(Trouble("hard_link", path, "a file with more than one name is not read"))
            return None
        if kind == DOCUMENT:
            return self._notice_document(path, status, now_us)
        file = self._files.get((status.st_dev, status.st_ino))
        if file is None:
            return self._meet(path)
        file.source.last_path = path
        if status.st_size < file.source.pos:
            return self._meet(path)
        file.size = status.st_size
        return file

    def _notice_document(self, path: str, status: os.stat_result, now_us: int) -> _File | None:
        file = self._documents.get(path)
        if file is None or file.source.owner != status.st_uid:
            if file is None and self._is_full(path):
                return None
            source = Source(
                id=self.next_id(),
                path=path,
                last_path=path,
                kind=DOCUMENT,
                dev=status.st_dev,
                ino=status.st_ino,
                generation=0,
                owner=status.st_uid,
                look_us=self.last_scan_us,
            )
            file = self._documents[path] = _File(source)
        signature = _signature(status)
        if signature != file.signature:
            file.signature = signature
            file.changed_us = now_us
            file.postponed_until_us = 0
        return file

    def _meet(self, path: str) -> _File | None:
        # Open first, then decide by the open descriptor: the path may be swapped at any moment.
        try:
            fd = open_regular(path)
        except OSError as error:
            self.on_trouble(_os_trouble(path, error))
            return None
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return None
        generation = _generation(fd)
        candidates = self._known.pop(key, [])
        if key in self._files:
            candidates.append(self._files[key].source)
        for candidate in candidates:
            verdict = _resume(fd, status, candidate, generation)
            if verdict is None:
                file = self._files.get(key)
                if file is None or file.source is not candidate:
                    file = _File(candidate)
                candidate.last_path = path
                return self._adopt(key, file, fd, status)
            self.on_trouble(Trouble(verdict, path, _VERDICTS[verdict]))
            self.closed.append(replace(candidate, is_gone=True))
        if self._is_full(path):
            os.close(fd)
            return None
        source = Source(
            id=self.next_id(),
            path=path,
            last_path=path,
            kind=LINES,
            dev=status.st_dev,
            ino=status.st_ino,
            generation=generation,
            owner=status.st_uid,
            # A file that was emptied in place was looked at before; a new one was not there.
            look_us=candidates[-1].look_us if candidates else self.last_scan_us,
        )
        return self._adopt(key, _File(source), fd, status)

    def _is_full(self, path: str) -> bool:
        if len(self._files) + len(self._documents) < self.max_files:
            return False
        self.on_trouble(Trouble("too_many_files", path, f"more than {self.max_files} files are not followed"))
        return True

    def _adopt(self, key: tuple[int, int], file: _File, fd: int, status: os.stat_result) -> _File:
        previous = self._files.get(key)
        if previous is not None and previous.fd is not None:
            os.close(previous.fd)
        file.fd = fd
        file.size = status.st_size
        file.gone_us = None
        self._files[key] = file
        self._open[key] = file
        self._open.move_to_end(key)
        while len(self._open) > self.max_open:
            _, oldest = self._open.popitem(last=False)
            if oldest.fd is not None:
                os.close(oldest.fd)
                oldest.fd = None
        return file

    def _descriptor(self, file: _File) -> int | None:
        key = (file.source.dev, file.source.ino)
        if file.fd is not None:
            self._open.move_to_end(key)
            return file.fd
        try:
            fd = open_regular(file.source.last_path)
        except OSError as error:
            self.on_trouble(_os_trouble(file.source.last_path, error))
            return None
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != key:
            os.close(fd)
            return None
        self._adopt(key, file, fd, status)
        return fd

    def _still_ours(self, file: _File, fd: int, status: os.stat_result) -> bool:
        source = file.source
        if status.st_size >= source.pos and (
            source.tail_len == 0
            or _hash_at(fd, source.pos - source.tail_len, source.tail_len) == source.tail
        ):
            return True
        self._meet(source.last_path)
        return False

    def _read_lines(self, state: Source, fd: int, status: os.stat_result, limit: int) -> Chunk | None:
        start = state.pos
        data = os.pread(fd, limit, start)
        if not data:
            return None

        def chunk(length: int, lines: bytes, **more: Any) -> Chunk:  # noqa: ANN401 (fields of Chunk)
            file_time = status.st_mtime_ns // 1000
            return Chunk(
                state, start, start + length, lines, state.look_us, self.clock(), file_time, **more
            )

        if state.is_skipping:
            end = data.find(b"\n") + 1
            return chunk(end or len(data), b"", skip=2, is_skipping=end == 0)
        whole = data.rfind(b"\n") + 1
        if whole:
            return chunk(whole, data[:whole])
        if len(data) < limit and len(data) <= self.line_bytes:
            return None
        data = os.pread(fd, self.line_bytes + 1, start)
        whole = data.find(b"\n") + 1
        if whole:
            return chunk(whole, data[:whole])
        if len(data) <= self.line_bytes:
            return None
        too_long = Reject(
            "line_too_long", f"longer than {self.line_bytes} bytes", start, len(data), data[:KEPT_BYTES]
        )
        return chunk(len(data), b"", skip=1, is_skipping=True, reject=too_long)

    def torn(self, source: Source) -> bytes:
        """Return the unfinished last line of a file that is about to be given up (may be empty)."""
        file = self._files.get((source.dev, source.ino))
        if file is None or file.fd is None or source.is_skipping:
            return b""
        try:
            return os.pread(file.fd, self.line_bytes, source.pos)
        except OSError:
            return b""

    def _has_grown(self, file: _File) -> bool:
        if file.fd is None:
            return False
        size = os.fstat(file.fd).st_size
        has_grown = size != file.size
        file.size = size
        return has_grown


_VERDICTS = {
    "truncated": "the file is shorter than what was read; it is read again from its start",
    "rewritten": "bytes that were read have changed; the file is read again from its start",
    "replaced": "the inode belongs to another file now; it is read from its start",
}


def matches(fd: int, source: Source) -> bool:
    """Say whether an open file is the one that a source row describes, by content."""
    return (
        _hash_at(fd, 0, source.fp_len) == source.fp
        and _hash_at(fd, source.pos - source.tail_len, source.tail_len) == source.tail
    )


def _resume(fd: int, status: os.stat_result, source: Source, generation: int) -> str | None:
    if generation != source.generation:
        return "replaced"
    if status.st_size < source.pos:
        return "truncated"
    if source.pos and not matches(fd, source):
        return "rewritten"
    return None


def _generation(fd: int) -> int:
    try:
        raw = fcntl.ioctl(fd, _FS_IOC_GETVERSION, b"\0" * 8)
    except OSError:
        return 0
    return int(struct.unpack_from("=i", raw)[0])


def _hash_at(fd: int, start: int, length: int) -> bytes:
    return hashlib.sha256(os.pread(fd, length, start)).digest() if length else b""


def _read_all(fd: int, size: int) -> bytes:
    parts = []
    position = 0
    while position <= size and (part := os.pread(fd, 1 << 20, position)):
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def _signature(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _os_trouble(path: str, error: OSError) -> Trouble:
    return Trouble("unreadable", path, error.strerror or str(error))

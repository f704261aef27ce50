"""Tail: from files to whole lines, each with its byte offset, across rotation, truncation and restarts.

Before: ``watch`` says which paths may have changed, or nothing at all: a scan finds everything by itself.
After: ``Chunk`` values that hold whole lines only; a partial last line waits for its newline. What a file is,
and where reading may resume, ``identity`` decides; a path is only a label. The position moves when the caller
has committed (``advance``, then ``accept``), never before.

Only regular files with one name are met. A file that is renamed or unlinked is read to its end through the
open descriptor; one that was moved out of reach resumes where it stood when it comes back. What could not be
read in time is told as a ``gap``.
"""

import errno
import os
import re
import stat
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sentineld import identity
from sentineld.decode import KEPT_BYTES, Reject
from sentineld.event import Incident
from sentineld.identity import Source as Source
from sentineld.identity import matches as matches
from sentineld.identity import open_regular as open_regular

LINES, DOCUMENT = "jsonl", "json"

#: Names that carry telemetry: ``x.jsonl`` and ``x.json``, and rotated ``x.jsonl.1``, ``x.jsonl-20260101``.
_LINES_NAME = re.compile(r"\.jsonl(?P<rotation>[.-][0-9][0-9TZ_.:-]*)?\Z")

#: Bytes of one read: larger ones were slower, by page faults.
CHUNK_BYTES = 65_536
#: Largest ``.json`` document read; it has to be decoded as one, at many times its size in memory.
MAX_DOCUMENT_BYTES = 16 << 20
#: How long an unlinked or renamed-away file is kept open for more lines, microseconds.
_LINGER_US = 60_000_000
#: How long an incomplete ``.json`` file may stay unchanged before it is rejected, microseconds.
_INCOMPLETE_US = 2_000_000
_NEVER_US = 1 << 62
_MAX_DIRECTORY_DEPTH = 32
#: Files out of reach that are remembered, so that they resume when they come back; the oldest go first.
_MAX_AWAY = 10_000
#: Files that were cut in place whose copies are still recognised.
_MAX_CUT = 256
#: How long a file that begins like a whole one is left alone, microseconds: that one may be about to be cut.
_COPYING_US = 2_000_000
#: A copy that is not named after its original must share this many bytes with it. Short beginnings are alike
#: by nature: many logs start with the same line.
_MIN_COPY_BYTES = 1024

Inode = tuple[int, int]


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
    """A ``.json`` file that changed: its whole content, with the same brackets as a chunk.

    ``look_us`` is when reading began. ``is_settled``: it has not changed for a while, so an incomplete one
    will stay so. ``reject`` says why there is no content.
    """

    source: Source
    data: bytes
    signature: str
    is_settled: bool
    lo: int
    hi: int
    look_us: int
    file_time: int
    reject: Reject | None = None


@dataclass(slots=True)
class _File:
    source: Source
    fd: int | None = None
    size: int = 0
    #: The size at which nothing but an unfinished line was left; -1 for never.
    examined: int = -1
    #: Modification time at which the bytes that were read were last found unchanged, nanoseconds.
    checked_ns: int = -1
    #: Number of the last scan that met the file.
    seen: int = 0
    gone_us: int | None = None
    # Of documents:
    signature: str = ""
    changed_us: int = 0
    postponed_until_us: int = 0

    @property
    def is_read(self) -> bool:
        """Whether nothing but an unfinished line is left."""
        return self.size in (self.source.pos, self.examined)


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


def _base_name(path: str) -> str:
    """Return the name that a rotated file had before; empty for one that was not rotated."""
    name = _LINES_NAME.search(path)
    return path[: name.start("rotation")] if name is not None and name["rotation"] else ""


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


@dataclass(slots=True)
class Tail:
    """All files below the telemetry directories (a path of a single file serves as well).

    ``next_id`` numbers new sources; ``on_trouble`` is told what could not be read (the caller limits the
    rate); ``clock`` gives microseconds since the epoch. ``line_bytes`` is the longest line accepted;
    ``max_open`` bounds descriptors, ``max_files`` the files that are followed.
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
    #: What was done to the files, until ``take_incidents`` hands it over.
    incidents: list[Incident] = field(default_factory=list)
    _files: dict[Inode, _File] = field(default_factory=dict)
    _documents: dict[str, _File] = field(default_factory=dict)
    _open: OrderedDict[Inode, _File] = field(default_factory=OrderedDict)
    #: Files that are known but were not met since the start, or went out of reach.
    _away: dict[Inode, list[Source]] = field(default_factory=dict)
    _inode_of: dict[str, Inode] = field(default_factory=dict)
    #: Which document has a signature: a renamed one is recognised by it.
    _path_of: dict[str, str] = field(default_factory=dict)
    #: Sources that were cut in place, and the scan after which no copy of them can turn up any more.
    _cut: deque[tuple[Source, int]] = field(default_factory=lambda: deque(maxlen=_MAX_CUT))
    #: When files were met that may be copies of whole ones.
    _suspects: dict[Inode, int] = field(default_factory=dict)
    _changed: dict[int, Source] = field(default_factory=dict)
    _scans: int = 0

    def restore(self, sources: Sequence[Source], last_scan_us: int) -> None:
        """Take over what the database knows from earlier runs."""
        self.last_scan_us = last_scan_us
        for source in sources:
            if source.is_gone:
                continue
            if source.kind == DOCUMENT:
                self._documents[source.last_path] = _File(source, signature=source.signature)
                self._path_of[source.signature] = source.last_path
            else:
                key = (source.dev, source.ino)
                self._away.setdefault(key, []).append(source)
                self._inode_of[source.last_path] = key

    # Looking.

    def scan(self) -> None:
        """Look at every file below the directories; afterwards ``dirty`` tells which have news."""
        now_us = self.clock()
        self._scans += 1
        is_complete = True
        for directory in self.directories:
            if os.path.isfile(directory):
                # The operator may name a file through a link; agents may not.
                path = os.path.realpath(directory)
                self._see(path, kind_of(path) or LINES, now_us)
            elif os.path.isdir(directory):
                self._scan_directory(directory, now_us)
            else:
                is_complete = False
                detail = "the telemetry directory does not exist (yet)"
                self.on_trouble(Trouble("missing_directory", directory, detail))
        for file in [*self._files.values(), *self._documents.values()]:
            if file.seen == self._scans:
                file.gone_us = None
            elif self._measure(file) or file.gone_us is None:
                file.gone_us = now_us
        horizon_us = now_us - 2 * _COPYING_US
        self._suspects = {key: met_us for key, met_us in self._suspects.items() if met_us > horizon_us}
        while self._cut and self._cut[0][1] <= self._scans:
            self._cut.popleft()
        if is_complete:
            # What turns up in a directory that was not there may be older than this scan.
            self.last_scan_us = now_us

    def notice(self, path: str) -> None:
        """Look at one path that is said to have changed; paths of no interest are ignored."""
        kind = kind_of(path)
        if kind is not None:
            self._notice(path, kind, self.clock())

    def dirty(self) -> list[Source]:
        """Return the sources that have unread bytes, in the order of their names."""
        now_us = self.clock()
        news = [file.source for file in self._files.values() if not file.is_read]
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
        return sum(max(0, file.size - file.source.pos) for file in self._files.values() if not file.is_read)

    def size(self, source: Source) -> int:
        """Return a line file's size at the last look."""
        file = self._followed(source)
        return 0 if file is None else file.size

    # Reading.

    def read(self, state: Source, limit: int = CHUNK_BYTES) -> Chunk | None:
        """Read the next whole lines of a line file, about ``limit`` bytes; None where there are none yet.

        ``state`` says where to read: the committed source, or one that ``advance`` has moved on.
        """
        file = self._followed(state)
        if file is None:
            return None
        before_us = self.clock()
        try:
            fd = self._descriptor(file)
            if fd is None:
                return None
            status = os.fstat(fd)
            file.size = status.st_size
            if not self._is_still_ours(file, fd, status):
                return None
            chunk = self._read_lines(state, fd, status, limit)
        except OSError as error:
            self.on_trouble(_os_trouble(state.last_path, error))
            return None
        if chunk is None:
            # Everything complete up to this size has been read: a finished look at the end.
            state.look_us = file.source.look_us = before_us
            file.examined, file.checked_ns = status.st_size, status.st_mtime_ns
        return chunk

    def current(self, source: Source) -> Source:
        """Return the committed state of a source."""
        file = self._followed(source)
        return source if file is None else file.source

    def read_document(self, source: Source) -> Document | None:
        """Read a ``.json`` file that changed; None where it cannot be read."""
        file = self._documents.get(source.last_path)
        if file is None or file.source.id != source.id:
            return None
        # Whatever goes wrong: the next look at the path decides anew whether there is something to read.
        file.signature = source.signature
        before_us = self.clock()
        try:
            fd = self._open_path(source.last_path)
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode) or status.st_uid != source.owner:
                    return None
                is_too_large = status.st_size > MAX_DOCUMENT_BYTES
                data = _read_all(fd, KEPT_BYTES if is_too_large else status.st_size)
            finally:
                os.close(fd)
        except OSError as error:
            self.on_trouble(_os_trouble(source.last_path, error))
            return None
        file.signature = _signature(status)
        now_us = self.clock()
        document = Document(
            source,
            data,
            file.signature,
            is_settled=self.is_final or now_us - file.changed_us >= _INCOMPLETE_US,
            lo=source.look_us,
            hi=now_us,
            look_us=before_us,
            file_time=status.st_mtime_ns // 1000,
        )
        if is_too_large:
            detail = f"larger than {MAX_DOCUMENT_BYTES} bytes: write JSON lines instead"
            document.reject = Reject("document_too_large", detail, 0, status.st_size, data[:KEPT_BYTES])
        return document

    def postpone(self, source: Source, *, until_it_changes: bool = False) -> None:
        """Leave a document alone until it changes, or (unless told so) has not changed for a while."""
        file = self._documents.get(source.last_path)
        if file is None:
            return
        file.postponed_until_us = file.changed_us + _INCOMPLETE_US
        if until_it_changes:
            file.postponed_until_us = _NEVER_US
            self.on_trouble(Trouble("incomplete_document", source.last_path, "read once it is complete JSON"))

    def tell_rewritten(self, source: Source) -> None:
        """Report that what was read of a source has changed."""
        self.on_trouble(Trouble("rewritten", source.last_path, "elements that were read have changed"))

    # Moving on.

    def advance(self, source: Source, end: int, *, is_skipping: bool = False) -> Source:
        """Return a copy of the source as it stands behind ``end``, a line's end that has been read.

        Nothing changes until the caller has committed it and calls ``accept``.
        """
        file = self._followed(source)
        after = None
        try:
            fd = None if file is None else self._descriptor(file)
            if fd is not None:
                after = identity.proven(source, fd, end)
        except OSError as error:
            self.on_trouble(_os_trouble(source.last_path, error))
        if after is None:
            after = identity.unproven(source, end)
        after.is_skipping = is_skipping
        after.bytes_read += end - source.pos
        return after

    def accept(self, source: Source) -> None:
        """Replace a source by its committed successor."""
        if source.id in self._changed:
            # It ended while it was being read: its last word is where reading got to.
            self._changed[source.id] = replace(source, is_gone=self._changed[source.id].is_gone)
        if source.kind != DOCUMENT:
            file = self._followed(source)
        else:
            file = self._documents.get(source.last_path)
            if file is not None and file.source.id == source.id:
                self._path_of.pop(file.source.signature, None)
                if source.signature:
                    self._path_of[source.signature] = source.last_path
        if file is not None and file.source.id == source.id:
            file.source = source

    def take_changed(self) -> list[Source]:
        """Return, once, the sources that have to be committed although nothing was read of them.

        Those that ended (truncated, rewritten, gone), and copies that begin where their original stood.
        """
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def take_incidents(self) -> list[Incident]:
        """Return, once, what was done to the files: it belongs to the next batch that is committed."""
        taken, self.incidents = self.incidents, []
        return taken

    def gone(self, linger_us: int = _LINGER_US) -> list[Source]:
        """Return sources whose file is gone and silent for a while, and read up to an unfinished line."""
        before_us = self.clock() - linger_us
        return [
            file.source
            for file in [*self._files.values(), *self._documents.values()]
            if file.gone_us is not None
            and file.gone_us <= before_us
            and (file.source.kind == DOCUMENT or file.is_read or file.fd is None)
        ]

    def torn(self, source: Source) -> bytes:
        """Return the unfinished last line of a file that is about to be given up (may be empty)."""
        file = self._followed(source)
        if file is None or source.is_skipping or file.size <= source.pos:
            return b""
        try:
            if file.fd is not None:
                return os.pread(file.fd, self.line_bytes, source.pos)
        except OSError as error:
            self.on_trouble(_os_trouble(source.last_path, error))
        return b""

    def forget(self, source: Source) -> None:
        """Stop following a source whose file is out of reach.

        If the file still exists somewhere, its position is remembered, for it may come back.
        """
        if source.kind == DOCUMENT:
            if self._documents.pop(source.last_path, None) is not None:
                self._path_of.pop(source.signature, None)
                self._end(source)
            return
        file = self._followed(source)
        if file is None:
            return
        key = (source.dev, source.ino)
        is_deleted = file.fd is not None and os.fstat(file.fd).st_nlink == 0
        if file.size > source.pos:
            lost = f"bytes {source.pos} to {file.size} were removed before they could be read"
            self.on_trouble(Trouble("gap", source.last_path, lost))
        self._drop(key)
        if is_deleted:
            self._end(source)
            return
        self._away.setdefault(key, []).append(source)
        while len(self._away) > _MAX_AWAY:
            for oldest in self._away.pop(next(iter(self._away))):
                self._end(oldest)

    def followed(self, path: str, inode: Inode | None) -> str:
        """Name the file that is followed, by its inode or (None) by its path; empty where there is none.

        A document counts once it has been read; a file that is left alone for a moment counts.
        """
        if kind_of(path) == DOCUMENT:
            document = self._documents.get(path)
            signature = "" if document is None else document.source.signature
            is_it = inode is None or signature.startswith(f"{inode[0]}:{inode[1]}:")
            return signature if is_it else ""
        key = inode or self._inode_of.get(path, (0, 0))
        file = self._files.get(key)
        if file is not None:
            return str(file.source.id)
        return f"{key[0]}:{key[1]}" if key in self._suspects else ""

    def close(self) -> None:
        """Close every descriptor."""
        for file in self._open.values():
            if file.fd is not None:
                os.close(file.fd)
                file.fd = None
        self._open.clear()

    # Looking, in detail.

    def _scan_directory(self, directory: str, now_us: int) -> None:
        for entry in walk(directory, self.on_trouble):
            kind = kind_of(entry.name)
            if kind is not None or self._is_known_inode(entry):
                self._see(entry.path, kind or LINES, now_us)

    def _is_known_inode(self, entry: os.DirEntry[str]) -> bool:
        # A rotated file may have any name; its inode tells that there may be unread lines in it.
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        key = (status.st_dev, status.st_ino)
        return key in self._files or key in self._away

    def _see(self, path: str, kind: str, now_us: int) -> None:
        file = self._notice(path, kind, now_us)
        if file is not None:
            file.seen = self._scans

    def _notice(self, path: str, kind: str, now_us: int) -> _File | None:
        try:
            status = os.lstat(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self.on_trouble(_os_trouble(path, error))
            elif (file := self._files.get(self._inode_of.get(path, (0, 0)))) is not None:
                # Deleted or renamed: what was appended before is read through the open descriptor.
                self._measure(file)
            return None
        if not stat.S_ISREG(status.st_mode):
            detail = "links, pipes, sockets and devices are not followed"
            self.on_trouble(Trouble("not_a_file", path, detail))
            return None
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and key not in self._files and key not in self._away:
            # A link to a file that is followed does no harm, and must not blind us to it.
            self._tell_hard_link(path)
            return None
        if kind == DOCUMENT:
            return self._notice_document(path, status, now_us)
        file = self._files.get(key)
        if file is None or file.source.owner != status.st_uid or status.st_size < file.source.pos:
            return self._meet(path)
        self._place(file, path)
        file.size = status.st_size
        if file.is_read and file.checked_ns != status.st_mtime_ns:
            if not self._is_unchanged(file):
                return self._meet(path)
            # Nobody knows what became of an unfinished line: look again.
            file.examined = -1
        if file.is_read:
            file.source.look_us = now_us
        return file

    def _is_unchanged(self, file: _File) -> bool:
        try:
            fd = self._descriptor(file)
            if fd is None:
                return True
            status = os.fstat(fd)
            if identity.verdict(fd, status, file.source, identity.generation(fd)) is not None:
                return False
        except OSError as error:
            self.on_trouble(_os_trouble(file.source.last_path, error))
            return True
        file.size, file.checked_ns = status.st_size, status.st_mtime_ns
        return True

    def _notice_document(self, path: str, status: os.stat_result, now_us: int) -> _File | None:
        signature = _signature(status)
        file = self._documents.get(path) or self._renamed_document(path, signature)
        if file is not None and file.source.owner != status.st_uid:
            self._end(file.source)
            file = None
        if file is None:
            if path not in self._documents and self._is_full(path):
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
        if signature == file.source.signature:
            file.source.look_us = now_us
        if signature != file.signature:
            file.signature = signature
            file.changed_us = now_us
            file.postponed_until_us = 0
        return file

    def _renamed_document(self, path: str, signature: str) -> _File | None:
        former = self._path_of.get(signature)
        if former is None or former not in self._documents:
            return None
        if self._documents[former].source.signature != signature:
            return None
        try:
            if _signature(os.lstat(former)) == signature:
                return None
        except OSError:
            pass
        file = self._documents[path] = self._documents.pop(former)
        file.source.last_path = self._path_of[signature] = path
        return file

    def _measure(self, file: _File) -> bool:
        if file.fd is None:
            return False
        size = os.fstat(file.fd).st_size
        has_grown = size != file.size
        file.size = size
        return has_grown

    # Meeting a file: what it is, and where to begin.

    def _meet(self, path: str) -> _File | None:
        # Open first, then decide by the open descriptor: the path may be swapped at any moment.
        file = None
        try:
            fd = self._open_path(path)
            try:
                file = self._identify(path, fd, os.fstat(fd))
            finally:
                if file is None or file.fd != fd:
                    os.close(fd)
        except OSError as error:
            self.on_trouble(_os_trouble(path, error))
        return file

    def _identify(self, path: str, fd: int, status: os.stat_result) -> _File | None:
        if not stat.S_ISREG(status.st_mode):
            return None
        key = (status.st_dev, status.st_ino)
        generation = identity.generation(fd)
        followed = self._files.get(key)
        candidates = self._known_at(key)
        verdicts = [(known, identity.verdict(fd, status, known, generation)) for known in candidates]
        self._away.pop(key, None)
        source = None
        for known, verdict in verdicts:
            if verdict is None and source is None:
                source = known
            else:
                self._end(known, verdict or "replaced", path)
        if source is not None and source.owner == status.st_uid:
            file = followed if followed is not None else _File(source)
            file.checked_ns = status.st_mtime_ns
            return self._adopt(key, file, fd, status, path)
        if followed is not None:
            self._drop(key, but=fd)
        if status.st_nlink > 1 and not candidates:
            self._tell_hard_link(path)
            return None
        if self._is_full(path):
            return None
        new = Source(
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
        if source is not None:
            # It was given to another owner: what it held is counted, what comes is the new owner's.
            self._end(source)
        original = source or self._original(path, fd, status)
        if original is not None:
            new = self._begin_behind(new, original)
        elif self._may_become_copy(path, fd, status):
            return None
        return self._adopt(key, _File(new), fd, status, path)

    def _original(self, path: str, fd: int, status: os.stat_result) -> Source | None:
        """Return the source of which a new file is a copy, made before that one was cut (copytruncate).

        A file that begins like one that is still whole is a file of its own: agents repeat themselves.
        """
        base = _base_name(path)
        candidates = [source for source, is_whole in self._named(base) if not is_whole]
        for source, _ in reversed(self._cut):
            if source.path == base or source.pos >= _MIN_COPY_BYTES:
                candidates.append(self.current(source))
        for source in candidates:
            if source.pos and identity.begins_with(fd, status.st_size, source):
                return source
        return None

    def _may_become_copy(self, path: str, fd: int, status: os.stat_result) -> bool:
        # Between the copying and the cutting both files are whole; a moment later it is plain what they are.
        key, now_us = (status.st_dev, status.st_ino), self.clock()
        is_suspect = not self.is_final and any(
            source.pos and identity.begins_with(fd, status.st_size, source)
            for source, is_whole in self._named(_base_name(path))
            if is_whole
        )
        if is_suspect and 0 <= now_us - self._suspects.setdefault(key, now_us) < _COPYING_US:
            return True
        self._suspects.pop(key, None)
        return False

    def _named(self, base: str) -> list[tuple[Source, bool]]:
        """Return what is known of the file of that name, and whether it is as long as what was read."""
        key = self._inode_of.get(base)
        if key is None:
            return []
        try:
            status = os.lstat(base)
        except OSError:
            return []
        if (status.st_dev, status.st_ino) != key:
            return []
        return [(source, status.st_size >= source.pos) for source in self._known_at(key)]

    def _known_at(self, key: Inode) -> list[Source]:
        followed = self._files.get(key)
        return self._away.get(key, []) if followed is None else [followed.source]

    def _begin_behind(self, new: Source, original: Source) -> Source:
        new = replace(
            new,
            pos=original.pos,
            fp_len=original.fp_len,
            fp=original.fp,
            tail_len=original.tail_len,
            tail=original.tail,
            chain=original.chain,
            is_skipping=original.is_skipping,
            look_us=original.look_us,
        )
        # Committed at once: after a restart nobody could tell any more what it is a copy of.
        self._changed[new.id] = new
        return new

    def _end(self, source: Source, verdict: str = "", path: str = "") -> None:
        self._changed[source.id] = replace(source, is_gone=True)
        if verdict in ("truncated", "rewritten"):
            # Its copy was made before: the next whole scan meets it.
            self._cut.append((source, self._scans + 1))
        if verdict in _VERDICTS:
            self.on_trouble(Trouble(verdict, path, _VERDICTS[verdict]))

    def _tell_hard_link(self, path: str) -> None:
        self.on_trouble(Trouble("hard_link", path, "a file with more than one name is not read"))

    def _is_full(self, path: str) -> bool:
        if len(self._files) + len(self._documents) < self.max_files:
            return False
        self.on_trouble(Trouble("too_many_files", path, f"more than {self.max_files} files are not followed"))
        return True

    # Descriptors.

    def _followed(self, source: Source) -> _File | None:
        file = self._files.get((source.dev, source.ino))
        return file if file is not None and file.source.id == source.id else None

    def _open_path(self, path: str) -> int:
        for directory in self.directories:
            if path.startswith(directory.rstrip("/") + "/"):
                return identity.open_below(directory, path)
        return open_regular(path)

    def _place(self, file: _File, path: str) -> None:
        key = (file.source.dev, file.source.ino)
        former = file.source.last_path
        if former != path and self._inode_of.get(former) == key:
            del self._inode_of[former]
        self._inode_of[path] = key
        file.source.last_path = path

    def _adopt(self, key: Inode, file: _File, fd: int, status: os.stat_result, path: str) -> _File:
        if file.fd is not None and file.fd != fd:
            os.close(file.fd)
        file.fd, file.size, file.gone_us = fd, status.st_size, None
        self._files[key] = file
        self._place(file, path)
        self._keep_open(key, file)
        return file

    def _keep_open(self, key: Inode, file: _File) -> None:
        self._open[key] = file
        self._open.move_to_end(key)
        while len(self._open) > self.max_open:
            _, oldest = self._open.popitem(last=False)
            if oldest.fd is not None:
                os.close(oldest.fd)
                oldest.fd = None

    def _drop(self, key: Inode, but: int | None = None) -> None:
        file = self._files.pop(key)
        self._open.pop(key, None)
        if self._inode_of.get(file.source.last_path) == key:
            del self._inode_of[file.source.last_path]
        if file.fd is not None and file.fd != but:
            os.close(file.fd)
            file.fd = None

    def _descriptor(self, file: _File) -> int | None:
        """Return an open descriptor of the file; None where its path leads elsewhere now."""
        source = file.source
        key = (source.dev, source.ino)
        if file.fd is not None:
            self._open.move_to_end(key)
            return file.fd
        try:
            fd = self._open_path(source.last_path)
        except FileNotFoundError:
            # The next scan finds it under another name, or tells of the gap.
            return None
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != key:
            os.close(fd)
            return None
        file.fd = fd
        self._keep_open(key, file)
        return fd

    def _is_still_ours(self, file: _File, fd: int, status: os.stat_result) -> bool:
        source = file.source
        verdict = identity.verdict(fd, status, source, identity.generation(fd))
        if verdict is None and status.st_uid == source.owner:
            return True
        if self._identify(source.last_path, fd, status) is None:
            os.close(fd)
        return False

    def _read_lines(self, state: Source, fd: int, status: os.stat_result, limit: int) -> Chunk | None:
        start = state.pos
        data = os.pread(fd, limit, start)
        if not data:
            return None

        def chunk(length: int, lines: bytes, **more: Any) -> Chunk:  # noqa: ANN401 (fields of Chunk)
            file_time = status.st_mtime_ns // 1000
            return Chunk(state, start, start + length, lines, state.look_us, self.clock(), file_time, **more)

        if state.is_skipping:
            end = data.find(b"\n") + 1
            return chunk(end or len(data), b"", skip=2, is_skipping=end == 0)
        whole = data.rfind(b"\n") + 1
        if not whole:
            if len(data) < limit and len(data) <= self.line_bytes:
                return None
            if limit <= self.line_bytes:
                data = os.pread(fd, self.line_bytes + 1, start)
                whole = data.find(b"\n") + 1
            if not whole and len(data) <= self.line_bytes:
                return None
        short = _short_lines(data[:whole], self.line_bytes) if self.line_bytes < max(whole, limit) else whole
        if short:
            return chunk(short, data[:short])
        end = data.find(b"\n") + 1 or len(data)
        detail = f"longer than {self.line_bytes} bytes"
        too_long = Reject("line_too_long", detail, start, end, data[: min(end, KEPT_BYTES)])
        return chunk(end, b"", skip=1, is_skipping=data[end - 1 : end] != b"\n", reject=too_long)


_VERDICTS = {
    "truncated": "the file is shorter than what was read; it is read again from its start",
    "rewritten": "bytes that were read have changed; the file is read again from its start",
}


def _short_lines(data: bytes, line_bytes: int) -> int:
    """Return the length of the whole lines before the first one that is longer than ``line_bytes``."""
    position = 0
    while (end := data.find(b"\n", position)) >= 0 and end - position <= line_bytes:
        position = end + 1
    return position


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

"""Tail: from files to whole lines, each with its byte offset, across rotation, truncation and restarts.

Before: ``watch`` says which paths may have changed, or nothing at all: a scan finds everything by itself.
After: ``Chunk`` values that hold whole lines only; a partial last line waits for its newline. What a file is,
and where reading may resume, ``identity`` decides; a path is only a label. The position moves when the caller
has committed (``advance``, then ``accept``), never before.

Only regular files with one name are met. A file that is renamed or unlinked is read to its end through the
open descriptor; one that was moved out of reach resumes where it stood when it comes back, after a restart
too. What was done to files besides appending, rotating, copying and removing what was read is told as an
incident, with the next batch: see ``sentineld.integrity``; rewriting is found as ``audit`` promises.

Some tools write a whole file anew and rename it over the former one. If it begins with all that was read of
that one, it is read on from there.

A look at one path, and a turn in which nothing happened, cost the same whatever number of silent files there
are. A scan looks at every file, and can be done in slices.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sentineld import clock, identity
from sentineld.audit import SCAN_BYTES, Audit
from sentineld.documents import Document, Documents
from sentineld.event import Incident
from sentineld.evidence import Evidence, Trouble, os_trouble
from sentineld.identity import Inode, Source, open_regular
from sentineld.lines import Chunk, next_lines
from sentineld.quota import Quota
from sentineld.tree import DOCUMENT, LINES, base_name, base_names, kind_of, uncompressed_name, walk_in_pieces

#: Bytes of one read: larger ones were slower, by page faults.
CHUNK_BYTES = 65_536
#: How long an unlinked or renamed-away file is kept open for more lines, microseconds.
_LINGER_US = 60_000_000
#: Files out of reach that are remembered, so that they resume when they come back; the oldest go first.
_MAX_AWAY = 10_000
#: How long they are remembered, microseconds.
_AWAY_US = 7 * 86_400 * 1_000_000
#: Names that files had before, of which copies may turn up.
_MAX_FORMER = 4096
#: Files that were cut in place whose copies are still recognised.
_MAX_CUT = 4096
#: How long a file that begins like a whole one is left alone, microseconds: that one may be about to be cut.
#: Also how long a file may be unreadable before that is told: its maker may be about to open it to others.
_COPYING_US = 2_000_000
#: How much a file's times may lag behind the clock, microseconds.
_TICK_US = 20_000
#: A copy that is not named after its original must share this many bytes with it. Short beginnings are alike
#: by nature: many logs start with the same line.
_MIN_COPY_BYTES = identity.FINGERPRINT_BYTES
#: A copy that is shorter than what was read of its original is recognised up to this size: all is compared.
_MAX_COMPARED_BYTES = 64 << 20
#: See ``Tail.followed``.
MANY = "*"
#: Files that took the place of others, whose inodes are remembered for the watch.
_MAX_SUCCEEDED = 10_000
#: The signature of a source that is a copy: this word, a colon, the original's number.
_COPY = "copy"
#: Files that cannot be opened that are kept in mind.
_MAX_UNREADABLE = 10_000
#: Files of a scan between two looks at the clock.
_LOOKS = 64


#: A source, and whether what was read of it still stands in its file (None: unknown).
_Named = tuple[Source, bool | None]


@dataclass(slots=True)
class _File:
    source: Source
    fd: int | None = None
    size: int = 0
    #: The size at which nothing but an unfinished line was left; -1 for never.
    examined: int = -1
    #: The file's stamp when its head and the bytes before the position were last found unchanged.
    checked: tuple[int, int] = (-1, -1)
    #: Number of the last scan that met the file.
    seen: int = 0
    gone_us: int | None = None
    #: Whether it took the place of a former file, with all that had been read of that one.
    is_successor: bool = False

    @property
    def is_read(self) -> bool:
        """Whether nothing but an unfinished line is left."""
        return self.size in (self.source.pos, self.examined)


@dataclass(slots=True)
class _Cut:
    """A source whose file was cut or rewritten in place, after it was copied or not.

    ``size`` is what the file was known to hold. Undecided until scan number ``until`` is complete.
    """

    source: Source
    verdict: str
    path: str
    size: int
    until: int
    is_copied: bool = False


@dataclass(slots=True)
class _Suspect:
    """A file that may be becoming a copy of one that is whole, and is left alone for a moment.

    ``original`` is the source whose first ``size`` bytes it held when that was still whole (0: none);
    ``stamp`` tells whether it has changed since.
    """

    met_us: int
    size: int
    stamp: tuple[int, int]
    original: int = 0


@dataclass(slots=True)
class _Copy:
    """A copy of a file that is whole: it holds nothing of its own, so it is not read until that one is cut.

    ``original`` and ``id`` name the file and the source that it is a copy of; its first ``size`` bytes stand
    there, found when its stamp was ``stamp``.
    """

    original: Inode
    id: int
    size: int
    stamp: tuple[int, int] = (-1, -1)


@dataclass(slots=True)
class _Unreadable:
    since_us: int
    seen: int
    is_told: bool = False


@dataclass(slots=True)
class Tail:
    """All files below the telemetry directories (a path of a single file serves as well).

    ``next_id`` numbers new sources; ``on_trouble`` is told what could not be read (the caller limits the
    rate); ``clock`` gives microseconds since the epoch. ``line_bytes`` is the longest line accepted;
    ``max_open`` bounds descriptors, ``max_files`` the files that are followed, ``files_per_owner`` those of
    one uid.
    """

    directories: Sequence[str]
    next_id: Callable[[], int]
    on_trouble: Callable[[Trouble], None]
    clock: Callable[[], int]
    line_bytes: int = 1 << 20
    max_open: int = 512
    max_files: int = 100_000
    files_per_owner: int = 10_000
    #: When the last complete scan began.
    last_scan_us: int = 0
    #: Whether incomplete documents are rejected at once, because nobody will look again.
    is_final: bool = False
    _evidence: Evidence = field(init=False)
    _quota: Quota = field(init=False)
    _documents: Documents = field(init=False)
    _audit: Audit = field(default_factory=Audit)
    _files: dict[Inode, _File] = field(default_factory=dict)
    #: Files that have unread bytes, and files that the last scan did not meet.
    _news: set[Inode] = field(default_factory=set)
    _gone: set[Inode] = field(default_factory=set)
    _open: OrderedDict[Inode, _File] = field(default_factory=OrderedDict)
    #: Files that are known but were not met since the start, or went out of reach.
    _away: dict[Inode, list[Source]] = field(default_factory=dict)
    _inode_of: dict[str, Inode] = field(default_factory=dict)
    #: Which file had a name before it was renamed, or another one took its place.
    _former: dict[str, Inode] = field(default_factory=dict)
    _cut: dict[int, _Cut] = field(default_factory=dict)
    #: Originals of copies that were met before it was seen that the original was cut, by scan.
    _copied: dict[int, int] = field(default_factory=dict)
    _suspects: dict[Inode, _Suspect] = field(default_factory=dict)
    _copies: dict[Inode, _Copy] = field(default_factory=dict)
    #: Paths whose files seem to continue former ones that may have been renamed, by scan: a whole scan tells.
    _waiting: dict[str, int] = field(default_factory=dict)
    #: Former files at paths that were continued.
    _succeeded: dict[Inode, str] = field(default_factory=dict)
    _unreadable: dict[Inode, _Unreadable] = field(default_factory=dict)
    _changed: dict[int, Source] = field(default_factory=dict)
    _scans: int = 0
    #: Files that began to wait in this scan, or before, have waited for a whole one.
    _settled: int = -1
    _scan: Iterator[None] | None = None

    def __post_init__(self) -> None:
        self._evidence = Evidence(self.on_trouble, self.clock)
        self._quota = Quota(self._evidence, self.max_files, self.files_per_owner)
        self._documents = Documents(self.next_id, self._evidence, self._quota, self._changed, self._open_path)

    def restore(self, sources: Sequence[Source], last_scan_us: int) -> None:
        """Take over what the database knows from earlier runs."""
        self.last_scan_us = last_scan_us
        inodes = {source.id: (source.dev, source.ino) for source in sources}
        for source in sources:
            if source.is_gone:
                continue
            kind, _, number = source.signature.partition(":")
            if source.kind == LINES and kind == _COPY and int(number) in inodes:
                copy = _Copy(inodes[int(number)], int(number), source.pos)
                self._copies[(source.dev, source.ino)] = copy
            if source.kind == DOCUMENT:
                self._documents.restore(source)
            else:
                key = (source.dev, source.ino)
                self._away.setdefault(key, []).append(source)
                self._inode_of[source.last_path] = key

    def configure(
        self, directories: Sequence[str], *, line_bytes: int, max_files: int, files_per_owner: int
    ) -> None:
        """Go on with other directories and limits; the next scan begins anew."""
        self.directories, self.line_bytes = directories, line_bytes
        self._quota.max_files, self._quota.files_per_owner = max_files, files_per_owner
        self._scan = None

    def shift(self, step_us: int) -> None:
        """Keep how long ago everything was, after somebody set the wall clock by ``step_us``."""
        self.last_scan_us += step_us
        away = (source for sources in self._away.values() for source in sources)
        for source in [*self.sources(), *away, *(cut.source for cut in self._cut.values())]:
            source.look_us += step_us
            source.away_us += step_us if source.away_us else 0
        for file in self._files.values():
            if file.gone_us is not None:
                file.gone_us += step_us
        for item in self._unreadable.values():
            item.since_us += step_us
        for suspect in self._suspects.values():
            suspect.met_us += step_us
        self._documents.shift(step_us)

    # Evidence.

    @property
    def incidents(self) -> list[Incident]:
        """What was done to the files, until ``take_incidents`` hands it over; others may add to it."""
        return self._evidence.incidents

    @incidents.setter
    def incidents(self, incidents: list[Incident]) -> None:
        self._evidence.incidents = incidents

    def take_incidents(self) -> list[Incident]:
        """Return, once, what was done to the files: it belongs to the next batch that is committed."""
        taken, self._evidence.incidents = self._evidence.incidents, []
        return taken

    def tell_rewritten(self, source: Source) -> None:
        """Report that what was read of a document has changed."""
        self._evidence.tell("rewritten", source, 0, source.pos, "elements that were read have changed")

    # Looking.

    def scan(self) -> None:
        """Look at every file below the directories; afterwards ``dirty`` tells which have news."""
        self._scan = None
        while not self.scan_step():
            pass

    def scan_step(self, budget_us: int | None = None) -> bool:
        """Go on with a scan, or begin one, for about ``budget_us``; True once it is complete."""
        if self._scan is None:
            self._scan = self._scanning()
        deadline = None if budget_us is None else clock.monotonic_us() + budget_us
        for _ in self._scan:
            if deadline is not None and clock.monotonic_us() >= deadline:
                return False
        self._scan = None
        return True

    @property
    def is_scanning(self) -> bool:
        """Whether a scan has begun that is not complete yet."""
        return self._scan is not None

    @property
    def wants_scan(self) -> bool:
        """Whether reading a file waits for a whole scan."""
        return bool(self._waiting)

    def notice(self, path: str) -> None:
        """Look at one path that is said to have changed; paths of no interest are ignored."""
        kind = kind_of(path)
        if kind is not None:
            self._notice(path, kind, self.clock())

    def dirty(self) -> list[Source]:
        """Return the sources that have unread bytes, in the order of their names."""
        news = [self._files[key].source for key in self._news]
        news += self._documents.dirty(self.clock())
        return sorted(news, key=lambda source: (source.path, source.id))

    def sources(self) -> list[Source]:
        """Return every source that is followed now."""
        return [*(file.source for file in self._files.values()), *self._documents.sources()]

    def owners(self) -> set[int]:
        """Return the owners (uids) of the files that are followed now."""
        return self._quota.owners()

    def unread_bytes(self) -> int:
        """Return how many bytes of lines are known and not yet committed."""
        files = [self._files[key] for key in self._news]
        return sum(max(0, file.size - file.source.pos) for file in files)

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
            if self._is_held(file):
                return None
            fd = self._descriptor(file)
            if fd is None:
                return None
            status = os.fstat(fd)
            if not self._is_still_ours(file, fd, status):
                return None
            self._resize(file, status.st_size)
            file.checked = identity.stamp(status)
            stretch = next_lines(
                fd, state.pos, is_skipping=state.is_skipping, limit=limit, line_bytes=self.line_bytes
            )
        except OSError as error:
            self._cannot_read(file, error)
            return None
        if stretch is None:
            # Everything complete up to this size has been read: a finished look at the end.
            state.look_us = file.source.look_us = before_us
            file.examined = status.st_size
            self._note(file)
            return None
        end, data, skip, is_skipping, reject, raw = stretch
        brackets = (state.look_us, self.clock(), status.st_mtime_ns // 1000)
        return Chunk(state, state.pos, end, data, *brackets, skip, is_skipping, reject, raw)

    def current(self, source: Source) -> Source:
        """Return the committed state of a source."""
        file = self._followed(source)
        return source if file is None else file.source

    def read_document(self, source: Source) -> Document | None:
        """Read a ``.json`` file that changed; None where it cannot be read."""
        return self._documents.read(source, is_final=self.is_final)

    def postpone(self, source: Source, *, until_it_changes: bool = False) -> None:
        """Leave a document alone until it changes, or (unless told so) has not changed for a while."""
        self._documents.postpone(source, until_it_changes=until_it_changes)

    # Moving on.

    def advance(self, source: Source, end: int, *, is_skipping: bool = False, raw: bytes = b"") -> Source:
        """Return a copy of the source as it stands behind ``end``, a line's end that has been read.

        ``raw`` are the bytes of the chunk that ends there, if it was read whole. Nothing changes until the
        caller has committed it and calls ``accept``.
        """
        file = self._followed(source)
        after = None
        try:
            fd = None if file is None else self._descriptor(file)
            if fd is not None:
                after = identity.proven(source, fd, end, raw)
        except OSError as error:
            self.on_trouble(os_trouble(source.last_path, error))
        if after is None:
            after = identity.unproven(source, end)
        after.is_skipping = is_skipping
        after.bytes_read += end - source.pos
        return after

    def accept(self, source: Source) -> None:
        """Replace a source by its committed successor."""
        if source.id in self._changed:
            # It ended while it was being read: its last word is where reading got to.
            changed = self._changed[source.id]
            self._changed[source.id] = replace(source, is_gone=changed.is_gone, away_us=changed.away_us)
        if source.kind == DOCUMENT:
            self._documents.accept(source)
            return
        cut = self._cut.get(source.id)
        if cut is not None:
            cut.source = source
        file = self._followed(source)
        if file is not None:
            file.source = source
            self._note(file)

    def take_changed(self) -> list[Source]:
        """Return, once, the sources that have to be committed although nothing was read of them.

        Those that ended (truncated, rewritten, gone) or went out of reach, and copies that begin where their
        original stood.
        """
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def gone(self, linger_us: int = _LINGER_US) -> list[Source]:
        """Return sources whose file is gone and silent for a while, and read up to an unfinished line."""
        before_us = self.clock() - linger_us
        files = [self._files[key] for key in sorted(self._gone)]
        return [
            file.source
            for file in files
            if file.gone_us is not None and file.gone_us <= before_us and (file.is_read or file.fd is None)
        ] + self._documents.gone(before_us)

    def torn(self, source: Source) -> bytes:
        """Return the unfinished last line of a file that is about to be given up (may be empty)."""
        file = self._followed(source)
        if file is None or source.is_skipping or file.size <= source.pos:
            return b""
        try:
            if file.fd is not None:
                # Reserved space that was never filled is no line.
                return os.pread(file.fd, self.line_bytes, source.pos).rstrip(b"\0")
        except OSError as error:
            self.on_trouble(os_trouble(source.last_path, error))
        return b""

    def forget(self, source: Source) -> None:
        """Stop following a source whose file is out of reach.

        If the file still exists somewhere, its position is remembered, for it may come back.
        """
        if source.kind == DOCUMENT:
            self._documents.forget(source)
            return
        file = self._followed(source)
        if file is None:
            return
        key = (source.dev, source.ino)
        is_deleted = file.fd is not None and os.fstat(file.fd).st_nlink == 0
        if key not in self._copies and file.size > source.pos and self._is_lost(file, source):
            self._tell_gap(source, file.size)
        self._release_copies(source)
        self._drop(key)
        if is_deleted:
            self._end(source)
            return
        source.away_us = self.clock()
        self._changed[source.id] = source
        self._away.setdefault(key, []).append(source)
        self._limit_away()

    def followed(self, path: str, inode: Inode | None) -> tuple[str, ...]:
        """Find a file that is followed by its inode, or (None) by its path; empty where there is none.

        Returns a token of its own, its first and its latest path. A document counts once it has been read; a
        file that is left alone for a moment counts, and one that another file took the place of, with all
        that had been read. The token ``MANY`` may stand for any number of files that were at the path.
        """
        if kind_of(path) == DOCUMENT:
            signature = self._documents.signature(path)
            is_it = inode is None or signature.startswith(f"{inode[0]}:{inode[1]}:")
            return (signature, path, path) if is_it and signature else ()
        key = inode or self._inode_of.get(path, (0, 0))
        file = self._files.get(key)
        # The number of its inode may have been used again: first what the path says of it.
        was_continued = inode is not None and self._succeeded.pop(inode, "") == path
        if was_continued or key in self._suspects:
            return f"{key[0]}:{key[1]}", path, path
        is_same = file is not None and inode is not None and path in (file.source.path, file.source.last_path)
        if not is_same and (path in self._waiting or self._is_successor_at(path)):
            return MANY, path, path
        return () if file is None else (str(file.source.id), file.source.path, file.source.last_path)

    def close(self) -> None:
        """Close every descriptor."""
        for file in self._open.values():
            if file.fd is not None:
                os.close(file.fd)
                file.fd = None
        self._open.clear()
        self._scan = None

    # Scanning.

    def _scanning(self) -> Iterator[None]:
        """Do a scan, with a pause wherever somebody may want to look at the clock."""
        began_us = self.clock()
        self._scans += 1
        is_complete = True
        for directory in self.directories:
            if os.path.isfile(directory):
                # The operator may name a file through a link; agents may not.
                path = os.path.realpath(directory)
                self._notice(path, kind_of(path) or LINES, self.clock())
            elif os.path.isdir(directory):
                yield from self._scan_directory(directory)
            else:
                is_complete = False
                detail = "the telemetry directory does not exist (yet)"
                self.on_trouble(Trouble("missing_directory", directory, detail))
        yield from self._find_gone()
        self._end_waiting()
        self._documents.end_scan(self.clock(), self._scans, is_complete=is_complete)
        self._quota.end_scan()
        if is_complete:
            self._find_missing()
            # What turns up in a directory that was not there may be older than this scan.
            self.last_scan_us = began_us
        horizon_us = self.clock() - 2 * _COPYING_US
        self._suspects = {key: item for key, item in self._suspects.items() if item.met_us > horizon_us}
        self._unreadable = {key: item for key, item in self._unreadable.items() if item.seen == self._scans}
        self._copied = {number: scan for number, scan in self._copied.items() if scan >= self._scans - 1}
        yield from self._read_again()
        self._decide_cuts()

    def _scan_directory(self, directory: str) -> Iterator[None]:
        def tell(trouble: Trouble) -> None:
            self._tell_directory(trouble, directory)

        for number, entry in enumerate(walk_in_pieces(directory, tell)):
            if entry is not None:
                kind = kind_of(entry.name)
                if kind is not None or self._is_known_inode(entry):
                    self._notice(entry.path, kind or LINES, self.clock())
            if entry is None or not number % _LOOKS:
                yield

    def _find_gone(self) -> Iterator[None]:
        for number, (key, file) in enumerate(list(self._files.items())):
            if self._files.get(key) is file and file.seen != self._scans:
                if self._measure(file) or file.gone_us is None:
                    file.gone_us = self.clock()
                source = file.source
                if source.away_us == 0 and source.pos == file.size:
                    # All of it was read: after a restart nobody has to miss it.
                    source.away_us = file.gone_us
                    self._changed[source.id] = source
                self._gone.add(key)
            if not number % _LOOKS:
                yield

    def _end_waiting(self) -> None:
        """Look again at files that waited for a whole scan: it has met the former ones, if they exist."""
        self._settled = self._scans if self.is_final else self._scans - 1
        for path, began in list(self._waiting.items()):
            if began <= self._settled:
                self._notice(path, LINES, self.clock())
                self._waiting.pop(path, None)

    def _find_missing(self) -> None:
        """Tell of files that were there when the daemon ended; end those that have been away for long."""
        now_us = self.clock()
        for key, sources in list(self._away.items()):
            for source in list(sources):
                if source.away_us == 0 and source.last_path in self._waiting:
                    continue
                if source.away_us == 0:
                    detail = "it was gone when the daemon came back; perhaps not all of it was read"
                    self._evidence.tell("missing", source, 0, 0, detail)
                    source.away_us = now_us
                    self._changed[source.id] = source
                elif source.away_us < now_us - _AWAY_US:
                    sources.remove(source)
                    self._end(source)
            if not sources:
                del self._away[key]
        self._limit_away()

    def _limit_away(self) -> None:
        while len(self._away) > _MAX_AWAY:
            for oldest in self._away.pop(next(iter(self._away))):
                self._end(oldest)

    def _read_again(self) -> Iterator[None]:
        budget = SCAN_BYTES
        while budget > 0 and (key := self._audit.next_due()) is not None:
            file = self._files.get(key)
            if file is None:
                self._audit.forget(key)
                continue
            try:
                fd = self._descriptor(file)
                if fd is None:
                    self._audit.skip(key)
                    continue
                status = os.fstat(fd)
                length, is_as_it_was = self._audit.turn(key, file.source, fd, identity.stamp(status))
                if not is_as_it_was:
                    self._begin_anew(file, fd, os.fstat(fd))
            except OSError as error:
                self._cannot_read(file, error)
                self._audit.skip(key)
                continue
            budget -= max(length, identity.BLOCK_BYTES)
            yield

    def _tell_directory(self, trouble: Trouble, root: str) -> None:
        self.on_trouble(trouble)
        if trouble.kind != "unreadable" or trouble.path == root:
            return
        try:
            status = os.lstat(trouble.path)
        except OSError:
            return
        self._tell_unreadable((status.st_dev, status.st_ino), status.st_uid, trouble.path, trouble.detail)

    def _is_known_inode(self, entry: os.DirEntry[str]) -> bool:
        # A rotated file may have any name; its inode tells that there may be unread lines in it.
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        key = (status.st_dev, status.st_ino)
        return key in self._files or key in self._away

    # Looking at one path.

    def _notice(self, path: str, kind: str, now_us: int) -> None:
        try:
            status = os.lstat(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self.on_trouble(os_trouble(path, error))
            elif (file := self._files.get(self._inode_of.get(path, (0, 0)))) is not None:
                # Deleted or renamed: what was appended before is read through the open descriptor.
                self._measure(file)
            return
        if not stat.S_ISREG(status.st_mode):
            detail = "links, pipes, sockets and devices are not followed"
            self.on_trouble(Trouble("not_a_file", path, detail))
            return
        key = (status.st_dev, status.st_ino)
        file = self._files.get(key)
        if status.st_nlink > 1 and file is None and key not in self._away:
            # A link to a file that is followed does no harm, and must not blind us to it.
            self._tell_hard_link(path)
            return
        if kind == DOCUMENT:
            self._documents.notice(path, status, now_us, self._scans, self.last_scan_us)
            return
        if file is None or file.source.owner != status.st_uid or status.st_size < file.source.pos:
            file = self._meet(path, status)
        else:
            self._place(file, path)
            is_as_long = status.st_size in (file.source.pos, file.examined)
            if file.checked == identity.stamp(status) or not (is_as_long or file.fd is None):
                self._resize(file, status.st_size)
                if file.is_read:
                    file.source.look_us = now_us
            elif self._is_unchanged(file):
                # Nobody knows what became of an unfinished line: look again.
                file.examined = -1
            else:
                # Without a descriptor, it may even be another file on the same inode.
                file = self._meet(path, status)
        if file is not None:
            file.seen = self._scans
            file.gone_us, file.source.away_us = None, 0
            self._gone.discard(key)
            self._note(file)
            self._audit.note(key, file.source, identity.stamp(status), is_urgent=file.is_read)

    def _is_unchanged(self, file: _File) -> bool:
        try:
            fd = self._descriptor(file)
            if fd is None:
                return True
            status = os.fstat(fd)
            if identity.verdict(fd, status, file.source, identity.generation(fd)) is not None:
                return False
        except OSError as error:
            self._cannot_read(file, error)
            return True
        self._resize(file, status.st_size)
        file.checked = identity.stamp(status)
        return True

    def _measure(self, file: _File) -> bool:
        if file.fd is None:
            return False
        size = os.fstat(file.fd).st_size
        is_changed = size != file.size
        if size >= file.source.pos:
            self._resize(file, size)
        elif is_changed:
            # The next read finds out that it was cut.
            file.examined = -1
        self._note(file)
        return is_changed

    def _resize(self, file: _File, size: int) -> None:
        """Take note of a file's size, which is not below its position."""
        if size < file.size:
            self._tell_gap(replace(file.source, pos=size), file.size)
        file.size = size

    def _note(self, file: _File) -> None:
        """Take note of whether a file has news; whoever changes its size or its position calls this."""
        key = (file.source.dev, file.source.ino)
        if file.is_read or self._files.get(key) is not file or self._is_held(file):
            self._news.discard(key)
            if not self._news:
                # A set that was large stays large inside, and slow to go through.
                self._news.clear()
        else:
            self._news.add(key)

    # Meeting a file: what it is, and where to begin.

    def _meet(self, path: str, status: os.stat_result) -> _File | None:
        key = (status.st_dev, status.st_ino)
        # One that takes the place of another file may not be one more.
        is_known = self._known_at(key) or self._known_at(self._inode_of.get(path, (0, 0)))
        if not is_known and not self._quota.admits(status.st_uid, path):
            return None
        # Open first, then decide by the open descriptor: the path may be swapped at any moment.
        file = None
        try:
            fd = self._open_path(path)
            try:
                file = self._identify(path, fd, os.fstat(fd))
            finally:
                if file is None or file.fd != fd:
                    os.close(fd)
        except FileNotFoundError:
            # The watch and the next scan tell what became of it.
            return None
        except OSError as error:
            self.on_trouble(os_trouble(path, error))
            self._tell_unreadable(key, status.st_uid, path, error.strerror or str(error))
        return file

    def _begin_anew(self, file: _File, fd: int, status: os.stat_result) -> None:
        """Read a file from its start, whose past is not what was read."""
        if self._identify(file.source.last_path, fd, status, is_rewritten=True) is None:
            os.close(fd)

    def _identify(
        self, path: str, fd: int, status: os.stat_result, *, is_rewritten: bool = False
    ) -> _File | None:
        if not stat.S_ISREG(status.st_mode):
            return None
        key = (status.st_dev, status.st_ino)
        self._unreadable.pop(key, None)
        generation = identity.generation(fd)
        followed = self._files.get(key)
        candidates = self._known_at(key)
        verdicts = [(known, identity.verdict(fd, status, known, generation)) for known in candidates]
        self._away.pop(key, None)
        source = None
        is_successor = False
        for known, verdict in verdicts:
            if verdict is None and source is None and not is_rewritten:
                source = known
            elif (
                verdict == "replaced"
                and source is None
                and known.last_path == path
                and known.pos >= _MIN_COPY_BYTES
                and (followed is None or followed.size <= status.st_size)
                and self._continues(fd, status, known)
            ):
                # The former file is gone for certain: a new one has its inode.
                source, followed, is_successor = self._move(known, key, fd, generation), None, True
            else:
                size = followed.size if followed is not None else known.pos
                self._end_by(known, verdict or ("rewritten" if is_rewritten else "replaced"), path, size)
        if source is not None and source.owner == status.st_uid:
            source.away_us = 0
            file = followed if followed is not None else _File(source, is_successor=is_successor)
            file.checked = identity.stamp(status)
            return self._adopt(key, file, fd, status, path)
        if followed is not None:
            self._drop(key, but=fd)
        if status.st_nlink > 1 and not candidates:
            self._tell_hard_link(path)
            return None
        predecessor, is_waiting = self._predecessor(path, key, fd, status)
        if is_waiting:
            return None
        if predecessor is not None:
            self._suspects.pop(key, None)
            file = _File(self._move(predecessor, key, fd, generation), is_successor=True)
            return self._adopt(key, file, fd, status, path)
        if not self._quota.admits(status.st_uid, path):
            if source is not None:
                self._end(source)
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
        named = [] if source is not None else self._named(self._base_of(path))
        # A copy is complete once its original is seen to be cut: so its size is asked for after that.
        status = os.fstat(fd)
        original = source or self._original(path, fd, status, named)
        if original is not None:
            new = self._begin_behind(new, original)
        elif self._was_copied(key, status):
            # It ends before the position: lines came between the copying and the cutting, and were read.
            new = identity.proven(new, fd, status.st_size)
            self._changed[new.id] = new
        elif (copied := self._copied_from(path, named, fd, status)) is not None:
            new = identity.proven(new, fd, min(status.st_size, copied.pos))
            new.signature, new.look_us = f"{_COPY}:{copied.id}", copied.look_us
            self._copies[key] = _Copy((copied.dev, copied.ino), copied.id, status.st_size)
            self._suspects.pop(key, None)
            # Committed at once, as above.
            self._changed[new.id] = new
        elif self._may_become_copy(path, fd, status, named):
            return None
        return self._adopt(key, _File(new), fd, status, path)

    def _original(self, path: str, fd: int, status: os.stat_result, named: list[_Named]) -> Source | None:
        """Return the source of which a new file is a copy, made before that one was cut (copytruncate).

        A file that begins like one that is still whole is a file of its own: agents repeat themselves.
        """
        base = self._base_of(path)
        candidates = [source for source, is_whole in named if is_whole is False]
        if self._cut:
            head = identity.head(fd)
            candidates += [
                cut.source
                for cut in reversed(self._cut.values())
                if cut.source.path == base or (cut.source.pos >= _MIN_COPY_BYTES and cut.source.fp == head)
            ]
        for source in candidates:
            if source.pos and identity.begins_with(fd, status.st_size, source):
                self._note_copy(source.id, status.st_size)
                return source
        return None

    def _note_copy(self, original: int, size: int) -> None:
        cut = self._cut.get(original)
        if cut is None:
            # It is shorter than what was read, which nobody has seen yet.
            self._copied[original] = self._scans
            return
        if not cut.is_copied:
            cut.is_copied = True
            self._end(cut.source)
            known = max(size, cut.source.pos)
            if cut.size > known:
                self._tell_gap(replace(cut.source, pos=known), cut.size)

    def _was_copied(self, key: Inode, status: os.stat_result) -> bool:
        """Say whether a file is, to its end, a copy of what was read of a file that was cut since."""
        suspect = self._suspects.get(key)
        if suspect is None or not suspect.original or suspect.stamp != identity.stamp(status):
            return False
        file = next((file for file in self._files.values() if file.source.id == suspect.original), None)
        if suspect.original not in self._cut and file is not None and self._is_unchanged(file):
            return False
        self._note_copy(suspect.original, suspect.size)
        del self._suspects[key]
        return True

    def _copied_from(self, path: str, named: list[_Named], fd: int, status: os.stat_result) -> Source | None:
        """Return the source, still whole, in whose file all of a new one stands that is named after it."""
        size = status.st_size
        is_named = not path.endswith(".jsonl")
        if not (_MIN_COPY_BYTES <= size <= _MAX_COMPARED_BYTES or (is_named and 0 < size < _MIN_COPY_BYTES)):
            return None
        for source, is_whole in named:
            file = self._followed(source)
            other = None if file is None or not is_whole or not source.pos else self._descriptor(file)
            if (
                other is not None
                and source.owner == status.st_uid
                and size <= os.fstat(other).st_size
                and identity.are_alike(fd, other, 0, size)
            ):
                return source
        return None

    def _is_held(self, file: _File) -> bool:
        """Say whether a file is a copy of which its original holds everything, and so is read there."""
        key = (file.source.dev, file.source.ino)
        copy = self._copies.get(key) if self._copies else None
        if copy is None:
            return False
        original = self._files.get(copy.original)
        if original is not None and original.source.id != copy.id:
            original = None
        try:
            fd = self._descriptor(file)
            other = None if original is None else self._descriptor(original)
            if fd is None:
                return True
            status = os.fstat(fd)
            if original is not None and other is not None:
                whole = os.fstat(other)
                verdict = identity.verdict(other, whole, original.source, identity.generation(other))
                is_new = (status.st_size, identity.stamp(status)) != (copy.size, copy.stamp)
                if (
                    verdict is None
                    and status.st_size <= whole.st_size
                    and (not is_new or identity.are_alike(fd, other, copy.size, status.st_size))
                ):
                    copy.size, copy.stamp = status.st_size, identity.stamp(status)
                    return True
            self._release(key, file, None if original is None else original.source)
        except OSError as error:
            self.on_trouble(os_trouble(file.source.last_path, error))
            return True
        return False

    def _release(self, key: Inode, file: _File, original: Source | None) -> None:
        """Read a copy on behind what was read of its original, which was cut or is no longer like it."""
        copy = self._copies.pop(key)
        cut = self._cut.get(copy.id)
        original = cut.source if cut is not None else original
        source, position = file.source, file.source.pos
        fd = self._descriptor(file)
        if original is not None and fd is not None:
            size = os.fstat(fd).st_size
            position = max(position, min(copy.size, original.pos))
            if original.pos > copy.size and identity.begins_with(fd, size, original):
                position = original.pos
            if cut is not None or not self._is_followed(original):
                self._note_copy(copy.id, size)
            if position > source.pos:
                # A source's position moves by reading only: this one ends, another goes on.
                self._end(replace(source, signature=""))
                source = identity.proven(replace(source, id=self.next_id(), **_NO_ACCOUNTS), fd, position)
        file.source = replace(source, signature="")
        self._changed[file.source.id] = file.source
        self._note(file)

    def _release_copies(self, original: Source) -> None:
        for key in [key for key, copy in self._copies.items() if copy.id == original.id]:
            if key in self._files:
                self._release(key, self._files[key], original)

    def _is_followed(self, source: Source) -> bool:
        file = self._followed(source)
        return file is not None and self._is_unchanged(file)

    def _may_become_copy(self, path: str, fd: int, status: os.stat_result, named: list[_Named]) -> bool:
        # Between the copying and the cutting both files are whole; a moment later it is plain what they are.
        base = self._base_of(path)
        if self.is_final or not base:
            return False
        key, now_us = (status.st_dev, status.st_ino), self.clock()
        suspect = self._suspects.get(key)
        if suspect is None:
            suspect = _Suspect(now_us, -1, (-1, -1))
        if suspect.stamp != identity.stamp(status):
            # It is being copied, or was not met before.
            original = self._prefixed(named, base, fd, status.st_size)
            if original is None:
                self._suspects.pop(key, None)
                return False
            suspect = _Suspect(now_us, status.st_size, identity.stamp(status), original)
        if 0 <= now_us - suspect.met_us < _COPYING_US:
            self._suspects[key] = suspect
            return True
        self._suspects.pop(key, None)
        return False

    def _prefixed(self, named: list[_Named], base: str, fd: int, size: int) -> int | None:
        """Say whether a file begins as a whole one does that was read: None where it does not.

        The number is that one's source where all of the file stands in it, else 0.
        """
        for source, is_whole in named:
            if is_whole is None and source.pos and identity.begins_with(fd, size, source):
                return 0
            if not is_whole or not source.pos:
                continue
            if size <= _MAX_COMPARED_BYTES:
                other = self._open_path(base)
                try:
                    if os.fstat(other).st_size < source.pos:
                        # It is being cut at this very moment: the next look will tell.
                        return 0
                    if size <= os.fstat(other).st_size and identity.are_alike(fd, other, 0, size):
                        return source.id if size else 0
                finally:
                    os.close(other)
            if size >= source.pos and identity.begins_with(fd, size, source):
                return 0
        return None

    def _base_of(self, path: str) -> str:
        """Return the name that a rotated file had before, here or (logrotate's ``olddir``) one level up."""
        bases = base_names(path)
        for base in bases:
            if base in self._inode_of:
                return base
        for base in bases:
            directory, name = os.path.split(base)
            above = os.path.join(os.path.dirname(directory), name)
            if above in self._inode_of:
                return above
        return bases[-1] if bases else ""

    def _named(self, base: str) -> list[_Named]:
        """Return what is known of the files that have or had a name, and whether what was read stands there.

        None: after a restart nobody has met it yet. One that is whole under another name is left out.
        """
        found: list[_Named] = []
        for key in dict.fromkeys([self._inode_of.get(base), self._former.get(base)]):
            for source in [] if key is None else self._known_at(key):
                is_here, is_whole = self._look_at(source, base)
                if is_here or not is_whole:
                    found.append((source, is_whole))
        return found

    def _look_at(self, source: Source, base: str) -> tuple[bool, bool | None]:
        """Say whether a source's file stands at a path, and whether it is whole."""
        key = (source.dev, source.ino)
        followed = self._followed(source)
        fd = opened = None
        try:
            with suppress(OSError):
                opened = self._open_path(base)
            is_here = opened is not None and identity.inode(opened) == key
            fd = opened if is_here else None if followed is None else self._descriptor(followed)
            if fd is None:
                return False, None
            verdict = identity.verdict(fd, os.fstat(fd), source, identity.generation(fd))
        except OSError:
            return False, None
        finally:
            if opened is not None:
                os.close(opened)
        if verdict == "replaced":
            # The file is gone, and another one has its inode.
            return False, True
        return is_here, verdict is None

    # Files that take the place of others.

    def _predecessor(
        self, path: str, key: Inode, fd: int, status: os.stat_result
    ) -> tuple[Source | None, bool]:
        """Return the source that a new file at a path continues, and whether that is still to be seen.

        A former file that was renamed is a rotated one: then the new one is a file of its own, however it
        begins. Agents repeat themselves: a short beginning is taken for chance, unless the new file was
        there before the former was gone.
        """
        former = self._inode_of.get(path)
        if former is None or former == key:
            return None, False
        began = self._waiting.get(path)
        if began is not None and began > self._settled:
            return None, True
        file = self._files.get(former)
        for source in self._known_at(former):
            if source.last_path != path or not self._continues(fd, status, source):
                continue
            is_long = source.pos >= _MIN_COPY_BYTES
            if file is None or file.fd is None:
                if not is_long:
                    continue
                if began is None:
                    self._waiting[path] = self._scans
                    return None, True
                return source, False
            held = os.fstat(file.fd)
            was_there = 0 < identity.birth_ns(fd) < held.st_ctime_ns
            if (
                not held.st_nlink
                and (is_long or was_there)
                and self._holds(fd, status, source.pos, file.fd, held)
            ):
                return source, False
        return None, False

    def _continues(self, fd: int, status: os.stat_result, source: Source) -> bool:
        """Say whether an open file begins with all that was read of a source of the same owner."""
        return (
            0 < source.pos <= _MAX_COMPARED_BYTES
            and source.owner == status.st_uid
            and identity.begins_with(fd, status.st_size, source)
        )

    def _holds(self, fd: int, status: os.stat_result, start: int, former: int, held: os.stat_result) -> bool:
        """Say whether an open file has, from ``start`` on, everything that stands in a former one."""
        is_bounded = held.st_size - start <= _MAX_COMPARED_BYTES
        return (
            held.st_size <= status.st_size
            and is_bounded
            and identity.are_alike(fd, former, start, held.st_size)
        )

    def _move(self, source: Source, key: Inode, fd: int, generation: int) -> Source:
        """Let a source go on in another open file, and forget the former one."""
        former = (source.dev, source.ino)
        if former in self._files:
            self._drop(former, but=fd)
        elif former in self._away:
            rest = [other for other in self._away.pop(former) if other is not source]
            if rest:
                self._away[former] = rest
        if former != key:
            self._succeeded[former] = source.last_path
            if len(self._succeeded) > _MAX_SUCCEEDED:
                del self._succeeded[next(iter(self._succeeded))]
        for copy in self._copies.values():
            if copy.id == source.id:
                copy.original = key
        self._waiting.pop(source.last_path, None)
        self._succeeded.pop(key, None)
        moved = replace(source, dev=key[0], ino=key[1], generation=generation, away_us=0)
        # Committed at once, whether there is more to read or not: its inode tells it apart from others.
        self._changed[moved.id] = moved
        return moved

    def _is_successor_at(self, path: str) -> bool:
        """Say whether the file that stands at a path now took the place of a former one.

        It did so of versions in between as well, that nobody met.
        """
        file = self._files.get(self._inode_of.get(path, (0, 0)))
        if file is None or not file.is_successor:
            return False
        try:
            if not _is_at(path, file.source):
                # Another version may have come since: it decides.
                self._notice(path, LINES, self.clock())
                latest = self._files.get(self._inode_of.get(path, (0, 0)))
                return latest is not None and latest is not file and latest.is_successor
        except OSError:
            return False
        return True

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

    # Ending.

    def _end(self, source: Source) -> None:
        self._changed[source.id] = identity.ended(source)

    def _end_by(self, source: Source, verdict: str, path: str, size: int) -> None:
        """End a source whose file is no longer what was read; ``size`` is what it was known to hold."""
        if verdict == "replaced":
            if size > source.pos:
                self._tell_gap(source, size)
            elif source.away_us == 0 and (source.dev, source.ino) not in self._files:
                self._evidence.tell("missing", source, 0, 0, "another file has its inode now")
            self._end(source)
            return
        cut = _Cut(source, verdict, path, size, self._scans + 1)
        self._cut[source.id] = cut
        self._release_copies(source)
        if self._copied.pop(source.id, None) is not None:
            cut.is_copied = True
            self._end(source)
        if len(self._cut) > _MAX_CUT:
            self._decide(self._cut.pop(next(iter(self._cut))))

    def _decide_cuts(self) -> None:
        """Tell of files that were cut or rewritten, and of which no copy has turned up."""
        listed: dict[str, dict[str, list[str]]] = {}
        for number, cut in list(self._cut.items()):
            # A copy was made before: a whole scan that began after the cut has met it.
            if cut.until <= self._scans or self.is_final:
                self._release_copies(cut.source)
                self._decide(self._cut.pop(number), listed)

    def _decide(self, cut: _Cut, listed: dict[str, dict[str, list[str]]] | None = None) -> None:
        if cut.is_copied:
            return
        source = cut.source
        if cut.verdict == "truncated" and cut.size > source.pos:
            self._tell_gap(source, cut.size)
        elif cut.verdict == "truncated" and self._is_compressed(cut, {} if listed is None else listed):
            detail = "all that was known of it was read, and a new compressed copy has its name"
            self._evidence.charge("compressed", source.owner, cut.path, detail, source.id, 0, source.pos)
        else:
            self._evidence.charge(
                cut.verdict, source.owner, cut.path, _VERDICTS[cut.verdict], source.id, 0, source.pos
            )
        self._end(source)

    def _is_compressed(self, cut: _Cut, listed: dict[str, dict[str, list[str]]]) -> bool:
        """Say whether a compressed copy of a file, of the same owner, turned up since the file was whole.

        ``listed`` holds such names, by directory and by the name that they had before, as far as they were
        needed: many files of one directory may be cut at a time.
        """
        directory, name = os.path.split(cut.path)
        if directory not in listed:
            listed[directory] = self._list_compressed(directory)
        for found in listed[directory].get(name, []):
            try:
                status = os.lstat(os.path.join(directory, found))
            except FileNotFoundError:
                continue
            is_new = status.st_ctime_ns // 1000 >= cut.source.look_us - _TICK_US
            if (
                is_new
                and stat.S_ISREG(status.st_mode)
                and status.st_uid == cut.source.owner
                and status.st_size
            ):
                return True
        return False

    def _list_compressed(self, directory: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        try:
            names = os.listdir(directory)
        except OSError as error:
            self.on_trouble(os_trouble(directory, error))
            return found
        for name in names:
            rotated = uncompressed_name(name)
            base = base_name(rotated) if rotated else ""
            if base:
                found.setdefault(base, []).append(name)
        return found

    def _tell_gap(self, source: Source, size: int) -> None:
        detail = f"bytes {source.pos} to {size} were removed before they could be read"
        self._evidence.tell("gap", source, source.pos, size, detail)

    def _is_lost(self, file: _File, source: Source) -> bool:
        """Say whether anything unread is lost with a file: a hole, or reserved space, is nothing."""
        if file.fd is None:
            return True
        try:
            behind = identity.next_data(file.fd, source.pos)
            data = b"" if behind is None else os.pread(file.fd, self.line_bytes, behind)
        except OSError:
            return True
        return len(data) == self.line_bytes or bool(data.strip(b"\0"))

    # Telling.

    def _tell_hard_link(self, path: str) -> None:
        self.on_trouble(Trouble("hard_link", path, "a file with more than one name is not read"))

    def _tell_unreadable(self, key: Inode, owner: int, path: str, detail: str) -> None:
        now_us = self.clock()
        item = self._unreadable.get(key)
        if item is None:
            if len(self._unreadable) >= _MAX_UNREADABLE:
                return
            item = self._unreadable[key] = _Unreadable(now_us, self._scans)
        item.seen = self._scans
        if not item.is_told and (self.is_final or now_us - item.since_us >= _COPYING_US):
            item.is_told = True
            known = self._known_at(key)
            source_id = known[-1].id if known else 0
            self._evidence.charge("unreadable", owner, path, detail, source_id)

    def _cannot_read(self, file: _File, error: OSError) -> None:
        source = file.source
        self.on_trouble(os_trouble(source.last_path, error))
        if file.fd is None and error.errno in (errno.EACCES, errno.EPERM):
            key = (source.dev, source.ino)
            self._tell_unreadable(key, source.owner, source.last_path, error.strerror or str(error))

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
            self._leave(former, key)
        there = self._inode_of.get(path, key)
        if there != key:
            self._leave(path, there)
        self._inode_of[path] = key
        file.source.last_path = path

    def _leave(self, path: str, key: Inode) -> None:
        self._former.pop(path, None)
        self._former[path] = key
        if len(self._former) > _MAX_FORMER:
            del self._former[next(iter(self._former))]

    def _adopt(self, key: Inode, file: _File, fd: int, status: os.stat_result, path: str) -> _File:
        if file.fd is not None and file.fd != fd:
            os.close(file.fd)
        file.fd, file.size, file.gone_us = fd, status.st_size, None
        file.seen = self._scans
        if key not in self._files:
            self._quota.add(file.source.owner)
        self._files[key] = file
        self._place(file, path)
        self._keep_open(key, file)
        self._note(file)
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
        self._copies.pop(key, None)
        self._quota.drop(file.source.owner)
        self._audit.forget(key)
        self._news.discard(key)
        self._gone.discard(key)
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


def _is_at(path: str, source: Source) -> bool:
    status = os.lstat(path)
    return (status.st_dev, status.st_ino) == (source.dev, source.ino)


#: A source that goes on for another one has its own accounts.
_NO_ACCOUNTS: dict[str, Any] = dict.fromkeys(
    (
        "lines",
        "accepted",
        "ignored",
        "rejected",
        "duplicates",
        "conflicts",
        "clamped",
        "timeless",
        "bytes_read",
    ),
    0,
)

_VERDICTS = {
    "truncated": "the file is shorter than what was read; it is read again from its start",
    "rewritten": "bytes that were read have changed; the file is read again from its start",
}

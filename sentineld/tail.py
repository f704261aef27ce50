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

Whatever is raised over one path, by the disk or by a fault of our own, is told and tried again with the next
look; the others are looked at, and nobody is charged with what could not be seen.

A look at one path, and a turn in which nothing happened, cost the same whatever number of silent files there
are. A scan looks at every file, and can be done in slices.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from sentineld import clock, identity
from sentineld.audit import Audit
from sentineld.compressed import CompressedFiles
from sentineld.content import Claims, Content, no_claims
from sentineld.copies import MIN_COPY_BYTES, Copies
from sentineld.cuts import Cuts
from sentineld.documents import Document, Documents, signature_of
from sentineld.event import Incident
from sentineld.evidence import Evidence, Trouble, os_trouble
from sentineld.files import File, Files
from sentineld.framing import COMPRESSED_LINES, DOCUMENT, STREAM
from sentineld.identity import Inode, Source, open_regular
from sentineld.lines import Chunk, next_lines
from sentineld.quota import Quota
from sentineld.stream import UnfinishedValues, next_values
from sentineld.successors import Successors, continues
from sentineld.tree import kind_of, walk_in_pieces

#: Bytes of one read: larger ones were slower, by page faults.
CHUNK_BYTES = 65_536
#: How long an unlinked or renamed-away file is kept open for more lines, microseconds.
_LINGER_US = 60_000_000
#: See ``Tail.followed``.
MANY = "*"
#: Files of a scan between two looks at the clock.
_LOOKS = 64


@dataclass(slots=True)
class Tail:
    """All files below the telemetry directories (a path of a single file serves as well).

    ``next_id`` numbers new sources; ``on_trouble`` is told what could not be read (the caller limits the
    rate), and ``on_failure`` of paths that sentineld itself fails on, with what was raised; ``clock`` gives
    microseconds since the epoch. ``line_bytes`` is the longest line accepted;
    ``max_open`` bounds descriptors, ``max_files`` the files that are followed, ``files_per_owner`` those of
    one uid. ``claims`` says what the configuration knows of names that do not tell how a file is framed, or
    that carry no telemetry by themselves.
    """

    directories: Sequence[str]
    next_id: Callable[[], int]
    on_trouble: Callable[[Trouble], None]
    clock: Callable[[], int]
    line_bytes: int = 1 << 20
    max_open: int = 512
    max_files: int = 100_000
    files_per_owner: int = 10_000
    claims: Claims = no_claims
    on_failure: Callable[[str, Exception], None] = field(default=lambda _path, _error: None)
    #: When the last complete scan began.
    last_scan_us: int = 0
    #: Whether incomplete documents are rejected at once, because nobody will look again.
    is_final: bool = False
    _evidence: Evidence = field(init=False)
    _quota: Quota = field(init=False)
    _files: Files = field(init=False)
    _cuts: Cuts = field(init=False)
    _copies: Copies = field(init=False)
    _successors: Successors = field(init=False)
    _documents: Documents = field(init=False)
    _compressed: CompressedFiles = field(init=False)
    _audit: Audit = field(default_factory=Audit)
    _changed: dict[int, Source] = field(default_factory=dict)
    _unfinished: UnfinishedValues = field(default_factory=UnfinishedValues)
    _scan: Iterator[None] | None = None
    #: Paths, and inodes, of which nothing is known since the last scan began: looking at them failed.
    _unseen: set[str | Inode] = field(default_factory=set)
    _content: Content = field(init=False)

    def __post_init__(self) -> None:
        self._evidence = Evidence(self.on_trouble, self.clock)
        self._quota = Quota(self._evidence, self.max_files, self.files_per_owner)
        self._files = Files(self._evidence, self._quota, self._changed, self._open_path, self.max_open)
        self._cuts = Cuts(self._files)
        self._copies = Copies(self._files, self._cuts, self.next_id)
        self._successors = Successors(self._files, self._copies)
        self._documents = Documents(self.next_id, self._evidence, self._quota, self._changed, self._open_path)
        self._compressed = CompressedFiles(self._files, self._copies, self.next_id)
        self._content = Content(self._files, self._documents, self.next_id)
        self._content.configure(self.claims, self.line_bytes)
        self._files.is_held, self._files.on_drop = self._copies.is_held, self._dropped

    def restore(self, sources: Sequence[Source], last_scan_us: int) -> None:
        """Take over what the database knows from earlier runs."""
        self.last_scan_us = last_scan_us
        self._copies.restore([source for source in sources if source.kind != DOCUMENT or source.is_gone])
        for source in sources:
            if source.is_gone:
                continue
            if source.kind == DOCUMENT:
                self._documents.restore(source)
            elif source.kind == COMPRESSED_LINES:
                self._compressed.restore(source)
            else:
                self._files.restore(source)

    def configure(
        self,
        directories: Sequence[str],
        *,
        line_bytes: int,
        max_files: int,
        files_per_owner: int,
        claims: Claims = no_claims,
    ) -> None:
        """Go on with other directories, limits and claims; the next scan begins anew."""
        self.directories, self.line_bytes, self.claims = directories, line_bytes, claims
        self._content.configure(claims, line_bytes)
        self._quota.max_files, self._quota.files_per_owner = max_files, files_per_owner
        self._scan = None

    def shift(self, step_us: int) -> None:
        """Keep how long ago everything was, after somebody set the wall clock by ``step_us``."""
        self.last_scan_us += step_us
        for part in (self._files, self._cuts, self._copies, self._documents, self._compressed):
            part.shift(step_us)

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
        self._documents.tell_rewritten(source)

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
    def is_auditing(self) -> bool:
        """Whether the next scans have to read again what was read before."""
        return self._audit.next_due() is not None

    @property
    def wants_scan(self) -> bool:
        """Whether reading a file waits for a whole scan."""
        return bool(self._successors.waiting) or self._compressed.has_due

    def notice(self, path: str) -> None:
        """Look at one path that is said to have changed; paths of no interest are ignored."""
        with self._isolated(path):
            if self.is_telemetry(path):
                self._look_at(path)

    def is_telemetry(self, path: str) -> bool:
        """Say whether a path, by its name or because the configuration claims it, carries telemetry."""
        return self._content.is_telemetry(path)

    def dirty(self) -> list[Source]:
        """Return the sources that have unread bytes, in the order of their names."""
        news = [self._files.by_inode[key].source for key in self._files.news]
        news += [*self._documents.dirty(self.clock()), *self._compressed.dirty()]
        return sorted(news, key=lambda source: (source.path, source.id))

    def sources(self) -> list[Source]:
        """Return every source that is followed now."""
        lines = [file.source for file in self._files.by_inode.values()]
        return [*lines, *self._documents.sources(), *self._compressed.sources()]

    def count(self) -> int:
        """Return how many sources are followed now."""
        others = len(self._documents.sources()) + len(self._compressed.sources())
        return len(self._files.by_inode) + others

    def owners(self) -> set[int]:
        """Return the owners (uids) of the files that are followed now."""
        return self._quota.owners()

    def unread_bytes(self) -> int:
        """Return how many bytes of lines are known and not yet committed."""
        files = [self._files.by_inode[key] for key in self._files.news]
        unread = sum(max(0, file.size - file.source.pos) for file in files)
        return unread + sum(self.size(source) - source.pos for source in self._compressed.dirty())

    def size(self, source: Source) -> int:
        """Return a line file's size at the last look."""
        if source.kind == COMPRESSED_LINES:
            return self._compressed.size(source)
        file = self._files.followed(source)
        return 0 if file is None else file.size

    # Reading.

    def read(self, state: Source, limit: int = CHUNK_BYTES) -> Chunk | None:
        """Read the next whole lines of a line file, about ``limit`` bytes; None where there are none yet.

        ``state`` says where to read: the committed source, or one that ``advance`` has moved on.
        """
        if state.kind == COMPRESSED_LINES:
            return self._compressed.read(state, limit, self.line_bytes)
        file = self._files.followed(state)
        if file is None:
            return None
        before_us = self.clock()
        try:
            if self._copies.is_held(file):
                return None
            fd = self._files.descriptor(file)
            if fd is None:
                return None
            status = os.fstat(fd)
            if not self._is_still_ours(file, fd, status):
                return None
            self._files.resize(file, status.st_size)
            file.held = status.st_size
            file.checked = identity.stamp(status)
            bounds = {"limit": limit, "line_bytes": self.line_bytes}
            if state.kind == STREAM:
                with self._unfinished.of(state.id) as unfinished:
                    stretch = next_values(
                        fd, state.pos, is_skipping=state.is_skipping, unfinished=unfinished, **bounds
                    )
            else:
                stretch = next_lines(fd, state.pos, is_skipping=state.is_skipping, **bounds)
        except OSError as error:
            self._files.cannot_read(file, error)
            return None
        if stretch is None:
            # Everything complete up to this size has been read: a finished look at the end.
            state.look_us = file.source.look_us = before_us
            file.examined = status.st_size
            self._files.note(file)
            return None
        end, data, skip, is_skipping, reject, raw = stretch
        brackets = (state.look_us, self.clock(), status.st_mtime_ns // 1000)
        return Chunk(state, state.pos, end, data, *brackets, skip, is_skipping, reject, raw)

    def bytes_at(self, source: Source, start: int, end: int) -> bytes:
        """Return bytes of a line file that were read before; empty where they cannot be any more."""
        try:
            fd = None if source.kind == DOCUMENT else self._descriptor(source)
            return b"" if fd is None else os.pread(fd, end - start, start)
        except OSError as error:
            self.on_trouble(os_trouble(source.last_path, error))
            return b""

    def current(self, source: Source) -> Source:
        """Return the committed state of a source."""
        file = self._files.followed(source)
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
        after = replace(source) if end == source.pos else None
        try:
            fd = self._descriptor(source) if after is None else None
            if fd is not None:
                after = identity.proven(source, fd, end, raw)
        except OSError as error:
            self.on_trouble(os_trouble(source.last_path, error))
        if after is None:
            after = identity.unproven(source, end)
        after.is_skipping = is_skipping
        after.bytes_read += end - source.pos
        return self._compressed.reach(after) if source.kind == COMPRESSED_LINES else after

    def reach(self, source: Source, proof: Source, *, is_skipping: bool = False) -> Source:
        """Return a copy of the source as it stands where ``advance`` brought a copy of it before."""
        after = identity.reached(source, proof)
        after.is_skipping = is_skipping
        after.bytes_read += after.pos - source.pos
        return self._compressed.reach(after) if source.kind == COMPRESSED_LINES else after

    def _descriptor(self, source: Source) -> int | None:
        if source.kind == COMPRESSED_LINES:
            return self._compressed.descriptor(source)
        file = self._files.followed(source)
        return None if file is None else self._files.descriptor(file)

    def accept(self, source: Source) -> None:
        """Replace a source by its committed successor."""
        if source.id in self._changed:
            # It ended while it was being read: its last word is where reading got to.
            changed = self._changed[source.id]
            self._changed[source.id] = replace(source, is_gone=changed.is_gone, away_us=changed.away_us)
        if source.kind == DOCUMENT:
            self._documents.accept(source)
            return
        if source.kind == COMPRESSED_LINES:
            self._compressed.accept(source)
            return
        self._cuts.accept(source)
        file = self._files.followed(source)
        if file is not None:
            file.source = source
            self._files.note(file)

    def take_changed(self) -> list[Source]:
        """Return, once, the sources that have to be committed although nothing was read of them.

        Those that ended (truncated, rewritten, gone) or went out of reach, and copies that begin where their
        original stood.
        """
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def take_begun(self) -> list[Source]:
        """Return, once, which of those that ``take_changed`` gives go on for others, as they began."""
        begun = list(self._files.begun.values())
        self._files.begun.clear()
        return begun

    def gone(self, linger_us: int = _LINGER_US) -> list[Source]:
        """Return sources whose file is gone and silent for a while, and read up to an unfinished line."""
        before_us = self.clock() - linger_us
        self._compressed.gone(before_us)
        files = [self._files.by_inode[key] for key in sorted(self._files.gone)]
        return [
            file.source
            for file in files
            if file.gone_us is not None and file.gone_us <= before_us and (file.is_read or file.fd is None)
        ] + self._documents.gone(before_us)

    def torn(self, source: Source) -> bytes:
        """Return the unfinished last line of a file that is about to be given up (may be empty)."""
        file = self._files.followed(source)
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
        file = self._files.followed(source)
        if file is None:
            return
        is_deleted = file.fd is not None and os.fstat(file.fd).st_nlink == 0
        if file.key not in self._copies and self._files.is_lost(file, source.pos, self.line_bytes):
            self._files.tell_gap(source, file.size)
        self._copies.release(source)
        self._files.drop(file.key)
        if is_deleted:
            self._files.end(source)
        else:
            self._files.send_away(source)

    def followed(self, path: str, inode: Inode | None) -> tuple[str, ...]:
        """Find a file that is followed by its inode, or (None) by its path; empty where there is none.

        Returns a token of its own, its first and its latest path. A document counts once it has been read; a
        copy that is left alone for a moment counts, and a file that another one took the place of, with
        all that had been read. The token ``MANY`` may stand for any number of files that were at the path.
        """
        signature = self._documents.signature(path)
        if signature and (inode is None or signature.startswith(f"{inode[0]}:{inode[1]}:")):
            return signature, path, path
        if found := self._compressed.followed(path, inode):
            return found
        key = inode or self._files.inode_of.get(path, (0, 0))
        file = self._files.get(key)
        # The number of its inode may have been used again: first what the path says of it.
        was_continued = inode is not None and self._successors.was_continued(inode, path)
        if was_continued or self._copies.is_copying(key) or self._compressed.was_continued(inode, path):
            return f"{key[0]}:{key[1]}", path, path
        is_same = file is not None and inode is not None and path in (file.source.path, file.source.last_path)
        if not is_same and (path in self._successors.waiting or self._successors.is_at(path, self._notice)):
            return MANY, path, path
        if file is None:
            return self._compressed.form_of(path)
        return str(file.source.id), file.source.path, file.source.last_path

    def close(self) -> None:
        """Close every descriptor."""
        self._files.close()
        self._compressed.close()
        self._scan = None

    # Scanning.

    def _scanning(self) -> Iterator[None]:
        """Do a scan, with a pause wherever somebody may want to look at the clock."""
        began_us = self.clock()
        self._files.scan += 1
        self._unseen.clear()
        self._files.unreadable.is_final = self.is_final
        is_complete = True
        for directory in self.directories:
            if os.path.isfile(directory):
                # The operator may name a file through a link; agents may not.
                path = os.path.realpath(directory)
                self._notice(path)
            elif os.path.isdir(directory):
                yield from self._scan_directory(directory)
            else:
                is_complete = False
                detail = "the telemetry directory does not exist (yet)"
                self.on_trouble(Trouble("missing_directory", directory, detail))
        yield from self._compressed.meet(self.last_scan_us, self._isolated, is_final=self.is_final)
        yield from self._find_gone()
        self._successors.end_waiting(self._notice, is_final=self.is_final)
        self._documents.end_scan(self.clock(), self._files.scan, is_complete=is_complete)
        self._compressed.end_scan(self._files.scan, is_complete=is_complete)
        self._quota.end_scan()
        if is_complete:
            self._files.find_missing(self._is_awaited)
            # What turns up in a directory that was not there may be older than this scan.
            self.last_scan_us = began_us
        self._copies.end_scan()
        self._files.unreadable.end_scan(self._files.scan)
        self._cuts.forget_copied()
        yield from self._audit.scan(self._files, self._begin_anew, self._isolated)
        self._cuts.decide(self._copies.release, is_final=self.is_final)

    def _scan_directory(self, directory: str) -> Iterator[None]:
        def tell(trouble: Trouble) -> None:
            self._tell_directory(trouble, directory)

        for number, entry in enumerate(walk_in_pieces(directory, tell)):
            if entry is not None:
                try:
                    if self.is_telemetry(entry.path) or self._is_known_inode(entry):
                        self._look_at(entry.path)
                except Exception as error:  # noqa: BLE001 (whatever it is: other files are looked at)
                    self._fail_over(entry.path, error)
            if entry is None or not number % _LOOKS:
                yield

    def _is_awaited(self, path: str) -> bool:
        return path in self._unseen or path in self._successors.waiting or self._compressed.is_awaited(path)

    def _find_gone(self) -> Iterator[None]:
        for number, (key, file) in enumerate(list(self._files.by_inode.items())):
            is_met = file.seen == self._files.scan or not self._unseen.isdisjoint(
                (key, file.source.last_path)
            )
            if self._files.get(key) is file and not is_met:
                with self._isolated(file.source.last_path):
                    self._files.find_gone(file)
            if not number % _LOOKS:
                yield

    def _tell_directory(self, trouble: Trouble, root: str) -> None:
        self.on_trouble(trouble)
        if trouble.kind != "unreadable" or trouble.path == root:
            return
        try:
            status = os.lstat(trouble.path)
        except OSError:
            return
        key = (status.st_dev, status.st_ino)
        self._files.unreadable.tell(key, status.st_uid, trouble.path, trouble.detail, self._files.scan)

    def _is_known_inode(self, entry: os.DirEntry[str]) -> bool:
        # A rotated file may have any name; its inode tells that there may be unread lines in it.
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        key = (status.st_dev, status.st_ino)
        return self._files.is_known(key)

    # Looking at one path.

    def _notice(self, path: str) -> None:
        try:
            self._look_at(path)
        except Exception as error:  # noqa: BLE001 (as in a scan)
            self._fail_over(path, error)

    @contextmanager
    def _isolated(self, path: str) -> Iterator[None]:
        """Let what the block raises over a path be no matter of the others."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (as in a scan)
            self._fail_over(path, error)

    def _fail_over(self, path: str, error: Exception) -> None:
        """Tell what was raised over a path, and that nothing is known of it."""
        if isinstance(error, MemoryError):
            raise error
        if isinstance(error, OSError):
            self.on_trouble(os_trouble(path, error))
        else:
            self.on_failure(path, error)
        self._unseen.add(path)
        with suppress(OSError):
            status = os.lstat(path)
            self._unseen.add((status.st_dev, status.st_ino))
        self._documents.miss(path, self._files.scan)
        self._compressed.miss(path, self._files.scan)

    def _look_at(self, path: str) -> None:
        now_us = self.clock()
        try:
            status = os.lstat(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                if error.errno not in (errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG):
                    raise
                self.on_trouble(os_trouble(path, error))
            elif (file := self._files.at(path)) is not None:
                # Deleted or renamed: what was appended before is read through the open descriptor.
                self._files.measure(file)
            return
        if not stat.S_ISREG(status.st_mode):
            detail = "links, pipes, sockets and devices are not followed"
            self.on_trouble(Trouble("not_a_file", path, detail))
            return
        key = (status.st_dev, status.st_ino)
        file = self._files.get(key)
        if status.st_nlink > 1 and not self._files.is_known(key):
            # A link to a file that is followed does no harm, and must not blind us to it.
            self._tell_hard_link(path)
            return
        if not self._files.is_known(key) and self._documents.is_framed(path, signature_of(status)):
            self._notice_document(path, status, is_framed=True)
            return
        if file is None and kind_of(path) == COMPRESSED_LINES:
            self._compressed.notice(path, status, self._files.scan)
            return
        if file is None or file.source.owner != status.st_uid or status.st_size < file.source.pos:
            file = self._meet(path, status)
        elif file.fd is None and self._files.inode_of.get(path) != key:
            # Nobody held the inode: before it takes the place of what stood here, it must be the same file.
            file = self._meet(path, status)
        else:
            self._files.place(file, path)
            # One that is shorter than it was may have been cut, or cut and written anew.
            is_shorter = status.st_size < file.size
            is_doubtful = status.st_size in (file.source.pos, file.examined) or file.fd is None
            if not is_shorter and (file.checked == identity.stamp(status) or not is_doubtful):
                self._files.resize(file, status.st_size)
                if file.is_read:
                    file.source.look_us = now_us
            elif self._files.is_unchanged(file):
                # Nobody knows what became of an unfinished line: look again.
                file.examined = -1
            else:
                # Without a descriptor, it may even be another file on the same inode.
                file = self._meet(path, status)
        if file is not None:
            file.seen = self._files.scan
            file.gone_us, file.source.away_us = None, 0
            self._files.gone.discard(key)
            self._files.note(file)
            self._audit.note(key, file.source, identity.stamp(status), is_urgent=file.is_read)

    def _notice_document(self, path: str, status: os.stat_result, *, is_framed: bool) -> None:
        self._documents.notice(path, status, self.clock(), self._files.scan, self.last_scan_us)
        if is_framed:
            self._documents.note_framed(path, signature_of(status))

    # Meeting a file: what it is, and where to begin.

    def _meet(self, path: str, status: os.stat_result) -> File | None:
        key = (status.st_dev, status.st_ino)
        # One that takes the place of another file may not be one more.
        there = self._files.known_at(self._files.inode_of.get(path)) or self._documents.at(path)
        is_known = self._files.known_at(key) or there
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
            detail = error.strerror or str(error)
            self._files.unreadable.tell(key, status.st_uid, path, detail, self._files.scan)
            if self._documents.at(path) is not None:
                self._notice_document(path, status, is_framed=False)
        return file

    def _begin_anew(self, file: File, fd: int, status: os.stat_result) -> None:
        """Read a file from its start, whose past is not what was read."""
        if self._identify(file.source.last_path, fd, status, is_rewritten=True) is None:
            os.close(fd)

    def _identify(
        self, path: str, fd: int, status: os.stat_result, *, is_rewritten: bool = False
    ) -> File | None:
        """Say what an open file is, and follow it; None where it is not to be followed, or not yet."""
        if not stat.S_ISREG(status.st_mode):
            return None
        files = self._files
        key = (status.st_dev, status.st_ino)
        files.unreadable.forget(key)
        candidates = files.known_at(key)
        file, source = self._resume(path, fd, status, is_rewritten=is_rewritten)
        if file is not None:
            file.checked = identity.stamp(status)
            return files.adopt(file, fd, status, path)
        if key in files.by_inode:
            files.drop(key, but=fd)
        if status.st_nlink > 1 and not candidates:
            self._tell_hard_link(path)
            return None
        # A file that was emptied in place holds what it held before.
        is_emptied = bool(candidates) and candidates[-1].id in self._cuts
        kind = (
            candidates[-1].kind
            if is_emptied
            else self._content.framing(path, fd, status, is_final=self.is_final)
        )
        if kind in (None, DOCUMENT):
            self._notice_document(path, status, is_framed=kind is not None)
            return None
        if (new := self._content.begin_behind(path, fd, status, kind)) is not None:
            return files.adopt(File(new), fd, status, path)
        unpacked = self._compressed.at(path)
        if unpacked is not None and unpacked.owner == status.st_uid and unpacked.pos:
            if identity.begins_with(fd, status.st_size, unpacked):
                moved = self._compressed.leave(unpacked, status, identity.generation(fd))
                return files.adopt(File(moved), fd, status, path)
            if status.st_size < unpacked.pos and self._compressed.holds(path, fd, status.st_size):
                # It is being made of the compressed one.
                return None
        predecessor, is_waiting = self._successors.predecessor(path, key, fd, status)
        if is_waiting:
            return None
        if predecessor is not None:
            self._copies.acquit(key)
            moved = self._successors.move(predecessor, key, fd, identity.generation(fd))
            return files.adopt(File(moved, is_successor=True), fd, status, path)
        if not self._quota.admits(status.st_uid, path):
            if source is not None:
                files.end(source)
            return None
        # A file that was emptied in place was looked at before; a new one was not there.
        look_us = candidates[-1].look_us if candidates else self.last_scan_us
        new = identity.new_source(self.next_id(), path, fd, status, kind, look_us)
        if source is not None:
            # It was given to another owner: what it held is counted, what comes is the new owner's.
            files.end(source)
        begun = self._copies.begin(new, fd, source, is_final=self.is_final)
        return None if begun is None else files.adopt(File(begun), fd, os.fstat(fd), path)

    def _resume(
        self, path: str, fd: int, status: os.stat_result, *, is_rewritten: bool
    ) -> tuple[File | None, Source | None]:
        """Go on with what is known of an open file's inode, and end what it is no longer.

        Returns the file that it still is, or else the source that it was under another owner.
        """
        files = self._files
        key = (status.st_dev, status.st_ino)
        known_sources = files.known_at(key)
        if not known_sources:
            return None, None
        generation = identity.generation(fd)
        followed = files.get(key)
        verdicts = [(known, identity.verdict(fd, status, known, generation)) for known in known_sources]
        files.away.pop(key, None)
        source = None
        is_successor = False
        for known, verdict in verdicts:
            if verdict is None and source is None and not is_rewritten:
                source = known
            elif (
                verdict == "replaced"
                and source is None
                and known.last_path == path
                and known.pos >= MIN_COPY_BYTES
                and (followed is None or followed.size <= status.st_size)
                and continues(fd, status, known)
            ):
                # The former file is gone for certain: a new one has its inode.
                source, followed = self._successors.move(known, key, fd, generation), None
                is_successor = True
            elif verdict == "replaced" and self._follow_successor(known, key):
                followed = None
            else:
                size = known.pos
                if followed is not None:
                    # Of one that was rewritten, what came since may be the new content.
                    size = followed.size if verdict in ("truncated", "replaced") else followed.held
                self._end_by(known, verdict or ("rewritten" if is_rewritten else "replaced"), path, size)
        if source is None or source.owner != status.st_uid:
            return None, source
        source.away_us = 0
        return followed or File(source, is_successor=is_successor), source

    def _follow_successor(self, former: Source, key: Inode) -> bool:
        """Go on with the file that took the place of one whose inode has been given away, if there is one.

        Were it left for later, nobody would know any more what had been read of the former.
        """
        path = former.last_path
        if former.pos < MIN_COPY_BYTES or self._files.inode_of.get(path, key) != key:
            return False
        try:
            fd = self._open_path(path)
        except OSError:
            return False
        is_followed = False
        try:
            status = os.fstat(fd)
            now = (status.st_dev, status.st_ino)
            is_new = stat.S_ISREG(status.st_mode) and now != key and not self._files.is_known(now)
            if is_new and continues(fd, status, former):
                moved = self._successors.move(former, now, fd, identity.generation(fd))
                self._files.adopt(File(moved, is_successor=True), fd, status, path)
                is_followed = True
        finally:
            if not is_followed:
                os.close(fd)
        return is_followed

    def _end_by(self, source: Source, verdict: str, path: str, size: int) -> None:
        """End a source whose file is no longer what was read; ``size`` is what it was known to hold."""
        if verdict != "replaced":
            self._cuts.add(source, verdict, path, size, self._copies.release)
            return
        if size > source.pos:
            self._files.tell_gap(source, size)
        elif source.away_us == 0 and (source.dev, source.ino) not in self._files.by_inode:
            # It may have been rotated and compressed: the scan tells.
            self._files.replaced[source.id] = source
            return
        self._files.end(source)

    def _dropped(self, key: Inode) -> None:
        self._copies.forget(key)
        self._audit.forget(key)

    def _tell_hard_link(self, path: str) -> None:
        self.on_trouble(Trouble("hard_link", path, "a file with more than one name is not read"))

    def _open_path(self, path: str) -> int:
        for directory in self.directories:
            if path.startswith(directory.rstrip("/") + "/"):
                return identity.open_below(directory, path)
        return open_regular(path)

    def _is_still_ours(self, file: File, fd: int, status: os.stat_result) -> bool:
        source = file.source
        verdict = identity.verdict(fd, status, source, identity.generation(fd))
        if verdict is None and status.st_uid == source.owner:
            return True
        if self._identify(source.last_path, fd, status) is None:
            os.close(fd)
        return False

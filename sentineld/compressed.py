"""Compressed: ``.jsonl.zst`` files, as agents make them of logs that have been idle for long.

Such a file is unpacked as a whole; it holds lines, to which nothing is appended, and positions are those in
the unpacked text. If it begins with what was read of ``x.jsonl``, which stood beside it, it is read on from
there; so is an ``x.jsonl`` that is made of it again. As long as both are there, the plain one is read.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from sentineld import identity
from sentineld.copies import MIN_COPY_BYTES, Copies
from sentineld.decode import KEPT_BYTES, Reject
from sentineld.documents import content_in, signature_of
from sentineld.evidence import Trouble, os_trouble
from sentineld.files import Files, shift_source
from sentineld.framing import COMPRESSED_LINES, LINES
from sentineld.identity import Inode, Source, new_source
from sentineld.lines import SKIP_HOLE, Chunk, Stretch, next_lines
from sentineld.tree import base_names, uncompressed_name
from sentineld.zstd import NoZstdError, RefusedError, UnfinishedError, unpack, unpacking

#: How long an incomplete file may stay unchanged before it is rejected, microseconds.
_INCOMPLETE_US = 2_000_000
#: Plain files that were compressed, whose inodes are remembered for the watch.
_MAX_CONTINUED = 10_000
#: Unpacked files that are kept, and their bytes in all: reading takes turns.
_MAX_UNPACKED = 16
_MAX_UNPACKED_BYTES = 512 << 20


@dataclass(slots=True)
class _Followed:
    owner: int
    #: What is known of it; None before it was unpacked.
    source: Source | None = None
    #: What stands at the path now; ``source.signature`` is what was read to its end.
    signature: str = ""
    #: Bytes of the unpacked text.
    size: int = 0
    file_time: int = 0
    #: Whether it has to be unpacked to find out what it is; whether the plain file is read in its place.
    is_due: bool = True
    is_held: bool = False
    refusal: Reject | None = None
    changed_us: int = 0
    #: Number of the last scan that met it.
    seen: int = 0
    gone_us: int | None = None
    #: Whether the database knew it, and nobody has met it since the start.
    is_unmet: bool = False

    @property
    def has_news(self) -> bool:
        source = self.source
        return source is not None and not self.is_due and source.signature != self.signature

    @property
    def is_as_it_was(self) -> bool:
        """Whether it was read to its end and, as far as its size and modification time show, is the same."""
        source = self.source
        return source is not None and content_in(source.signature) == content_in(self.signature)


@dataclass(slots=True)
class CompressedFiles:
    """All compressed files that are followed; ``next_id`` numbers new sources."""

    files: Files
    copies: Copies
    next_id: Callable[[], int]
    _files: dict[str, _Followed] = field(default_factory=dict)
    #: The names of plain files that compressed ones go on for.
    _continued_from: dict[Inode, tuple[str, ...]] = field(default_factory=dict)
    _unpacked: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def restore(self, source: Source) -> None:
        """Take over what the database knows."""
        file = _Followed(source.owner, source, is_unmet=True)
        self._files[source.last_path] = file
        self.files.quota.add(source.owner)

    def shift(self, step_us: int) -> None:
        """Keep how long ago everything was, after somebody set the wall clock."""
        for file in self._files.values():
            file.changed_us += step_us
            if file.gone_us is not None:
                file.gone_us += step_us
            if file.source is not None:
                shift_source(file.source, step_us)

    def close(self) -> None:
        """Close every unpacked file."""
        while self._unpacked:
            os.close(self._unpacked.popitem()[1])

    def sources(self) -> list[Source]:
        """Return every source that is followed."""
        return [file.source for file in self._files.values() if file.source is not None]

    def dirty(self) -> list[Source]:
        """Return the sources that have unread lines."""
        return [file.source for file in self._files.values() if file.source is not None and file.has_news]

    def at(self, path: str) -> Source | None:
        """Return what is known of the compressed form of a plain file."""
        file = self._files.get(path + _ENDING)
        return None if file is None else file.source

    def size(self, source: Source) -> int:
        """Return the size of the unpacked text."""
        file = self._of(source)
        return 0 if file is None else file.size

    def followed(self, path: str, inode: Inode | None) -> tuple[str, ...]:
        """Find a file that has been unpacked; see ``Tail.followed``."""
        file = self._files.get(path)
        if file is None or (file.is_due and file.source is None):
            return ()
        is_it = inode is None or file.signature.startswith(f"{inode[0]}:{inode[1]}:")
        return (f"{path}:{file.signature}", path, path) if is_it else ()

    @property
    def has_due(self) -> bool:
        """Whether a file has to be unpacked, to find out what it is."""
        return any(file.is_due for file in self._files.values())

    def is_awaited(self, path: str) -> bool:
        """Say whether it is still to be seen if the compressed form of a plain file continues it."""
        file = self._files.get(path + _ENDING)
        return file is not None and file.is_due and file.gone_us is None

    def was_continued(self, inode: Inode | None, path: str) -> bool:
        """Say, once, whether the plain file of an inode had a path and a compressed one goes on for it."""
        return inode is not None and path in self._continued_from.pop(inode, ())

    def form_of(self, plain: str) -> tuple[str, ...]:
        """Find the compressed form of a plain file that nobody met; see ``Tail.followed``.

        It is known by the name alone, so each version of it stands for one plain file.
        """
        path = plain + _ENDING
        file = self._files.get(path)
        return () if file is None or file.gone_us is not None else (f"{path}:{file.signature}", path, path)

    # Looking.

    def notice(self, path: str, status: os.stat_result, scan: int) -> None:
        """Look at a compressed file; ``scan`` numbers the latest scan."""
        file = self._files.get(path)
        if file is not None and file.owner != status.st_uid:
            self._end(path)
            file = None
        if file is None:
            if not self.files.quota.admits(status.st_uid, path):
                return
            file = self._files[path] = _Followed(status.st_uid)
            self.files.quota.add(status.st_uid)
        signature = signature_of(status)
        if file.is_held and content_in(signature) == content_in(file.signature):
            # The plain file is read: it is looked at again when that one is gone.
            file.signature = signature
        if signature != file.signature:
            file.signature, file.changed_us, file.refusal = signature, self.files.evidence.clock(), None
            file.file_time = status.st_mtime_ns // 1000
            file.is_due = file.source is None or file.source.signature != signature
            file.is_held = False
            self._forget_unpacked(path)
        elif file.is_held and not os.path.lexists(uncompressed_name(path)):
            file.is_due, file.is_held = True, False
        file.seen, file.gone_us, file.is_unmet = scan, None, False

    def miss(self, path: str, scan: int) -> None:
        """Take note that a file could not be looked at: nobody knows whether it is gone."""
        if (file := self._files.get(path)) is not None:
            file.seen = scan

    def meet(
        self, last_scan_us: int, isolated: Callable[[str], AbstractContextManager[None]], *, is_final: bool
    ) -> Iterator[None]:
        """Unpack the files that are due, with many a pause, and say where each begins.

        What is raised over one of them is left to ``isolated``.
        """
        unread: list[str] = []
        hint = ""
        for path, file in list(self._files.items()):
            if not file.is_due or file.gone_us is not None or self._files.get(path) is not file:
                continue
            with isolated(path):
                try:
                    yield from self._meet(path, file, last_scan_us, is_final=is_final)
                except FileNotFoundError:
                    continue
                except NoZstdError as error:
                    # Told once for as long as the file stays as it is.
                    file.is_due, hint = False, f"{error}: {error.hint}"
                    unread.append(path)
            yield
        if unread:
            self.files.evidence.on_trouble(Trouble("no_zstd", unread[0], f"{len(unread)} {hint}"))

    def end_scan(self, scan: int, *, is_complete: bool) -> None:
        """Find out which files are gone, after a scan of that number."""
        for path, file in list(self._files.items()):
            if file.seen == scan:
                continue
            if file.is_unmet and is_complete:
                if file.source is not None and not file.source.signature:
                    detail = "it was gone when the daemon came back; not all of it was read"
                    self.files.evidence.tell("missing", file.source, 0, 0, detail)
                self._end(path)
            elif file.gone_us is None:
                file.gone_us = self.files.evidence.clock()

    def gone(self, before_us: int) -> None:
        """Stop following files that have been gone since ``before_us`` or longer; tell what was unread."""
        for path, file in list(self._files.items()):
            if file.gone_us is None or file.gone_us > before_us:
                continue
            detail = "a compressed file was removed before it could be read"
            if file.has_news and file.source is not None:
                self.files.evidence.tell("gap", file.source, file.source.pos, file.size, detail)
            elif file.is_due and not file.is_as_it_was:
                self.files.evidence.charge("vanished", file.owner, path, detail)
            self._end(path)

    # Reading.

    def read(self, state: Source, limit: int, line_bytes: int) -> Chunk | None:
        """Read the next whole lines of an unpacked file; None where there are none."""
        file = self._of(state)
        if file is None or not file.has_news or state.signature == file.signature:
            return None
        if file.refusal is not None:
            stretch = Stretch(state.pos, skip=SKIP_HOLE, reject=file.refusal)
        else:
            try:
                fd = self.descriptor(state)
                if fd is None:
                    return None
                stretch = next_lines(
                    fd, state.pos, is_skipping=state.is_skipping, limit=limit, line_bytes=line_bytes
                ) or _last_line(fd, state, file.size, line_bytes)
            except OSError as error:
                self.files.evidence.on_trouble(os_trouble(state.last_path, error))
                return None
        end, data, skip, is_skipping, reject, raw = stretch
        brackets = (state.look_us, self.files.evidence.clock(), file.file_time)
        return Chunk(state, state.pos, end, data, *brackets, skip, is_skipping, reject, raw)

    def descriptor(self, source: Source) -> int | None:
        """Return a descriptor of the unpacked text; None where it is not to be had any more.

        Raises ``OSError``.
        """
        path, file = source.last_path, self._of(source)
        if file is None:
            return None
        if path in self._unpacked:
            self._unpacked.move_to_end(path)
            return self._unpacked[path]
        try:
            fd = self.files.open_path(path)
        except FileNotFoundError:
            # The next scans tell what became of it.
            return None
        try:
            if signature_of(os.fstat(fd)) != file.signature:
                return None
            unpacked = unpack(fd)
        except (NoZstdError, UnfinishedError, RefusedError):
            return None
        finally:
            os.close(fd)
        self._keep_unpacked(path, unpacked)
        return unpacked

    def reach(self, source: Source) -> Source:
        """Return a source as one that was read to its end, if it was."""
        file = self._of(source)
        if file is None or (source.pos < file.size and file.refusal is None):
            return source
        return replace(source, signature=file.signature, is_skipping=False)

    def accept(self, source: Source) -> None:
        """Replace a source by its committed successor."""
        file = self._of(source)
        if file is not None:
            file.source = source
            if not file.has_news:
                self._forget_unpacked(source.last_path)

    def leave(self, source: Source, status: os.stat_result, generation: int) -> Source:
        """Let a source go on in a plain file, and stop following the compressed one."""
        self._drop(source.last_path)
        moved = replace(
            source,
            kind=LINES,
            dev=status.st_dev,
            ino=status.st_ino,
            generation=generation,
            signature="",
        )
        self.files.changed[moved.id] = moved
        return moved

    def holds(self, path: str, fd: int, size: int) -> bool:
        """Say whether all of an open plain file stands in its compressed form: it is being made of it."""
        source = self.at(path)
        try:
            unpacked = None if source is None else self.descriptor(source)
        except OSError:
            return False
        return source is not None and unpacked is not None and identity.are_alike(fd, unpacked, 0, size)

    # In detail.

    def _of(self, source: Source) -> _Followed | None:
        file = self._files.get(source.last_path)
        return file if file is not None and file.source is not None and file.source.id == source.id else None

    def _is_read(self, plain: str) -> bool:
        """Say whether all of a plain file was read; what is left of it is read first."""
        standing = self.files.at(plain)
        if standing is None or standing.fd is None:
            return True
        self.files.measure(standing)
        return standing.is_read

    def _meet(self, path: str, file: _Followed, last_scan_us: int, *, is_final: bool) -> Iterator[None]:
        plain = uncompressed_name(path)
        if not self._is_read(plain):
            return
        fd = self.files.open_path(path)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or signature_of(status) != file.signature:
                return
            try:
                unpacked = yield from unpacking(fd)
            except (UnfinishedError, RefusedError) as error:
                if self._files.get(path) is not file:
                    return
                is_settled = is_final or self.files.evidence.clock() - file.changed_us >= _INCOMPLETE_US
                if isinstance(error, RefusedError) or is_settled:
                    reason = error.reason if isinstance(error, RefusedError) else "incomplete_zstd"
                    self._refuse(
                        path,
                        file,
                        fd,
                        status,
                        Reject(reason, str(error), 0, status.st_size, os.pread(fd, KEPT_BYTES, 0)),
                        last_scan_us,
                    )
                return
            # Others may have been at it in the pauses.
            is_same = self._files.get(path) is file and signature_of(os.fstat(fd)) == file.signature
            if not is_same or not self._is_read(plain):
                os.close(unpacked)
                return
            self._keep_unpacked(path, unpacked)
            size = os.fstat(unpacked).st_size
            file.is_due = False
            if self._is_beside_plain(plain, unpacked, size, status.st_uid):
                file.is_held = True
                self._forget_unpacked(path)
                return
            file.size = size
            source = self._continued(path, plain, file, fd, status, unpacked)
            if source is None:
                source = new_source(self.next_id(), path, fd, status, COMPRESSED_LINES, last_scan_us)
                if self._was_read(plain, unpacked, size, status.st_uid):
                    source = identity.proven(source, unpacked, size)
                if file.source is not None:
                    self.files.end(file.source)
        finally:
            os.close(fd)
        file.source = source
        file.source = self.reach(source)
        # Committed at once: after a restart nobody could tell any more what it continues.
        self.files.changed[source.id] = file.source
        if not file.has_news:
            self._forget_unpacked(path)

    def _refuse(
        self, path: str, file: _Followed, fd: int, status: os.stat_result, refusal: Reject, last_scan_us: int
    ) -> None:
        file.is_due, file.refusal = False, refusal
        self.files.evidence.on_trouble(Trouble(refusal.reason, path, refusal.detail))
        if file.source is None:
            file.source = new_source(self.next_id(), path, fd, status, COMPRESSED_LINES, last_scan_us)

    def _is_beside_plain(self, plain: str, unpacked: int, size: int, owner: int) -> bool:
        """Say whether the plain file stands there, and both begin alike."""
        try:
            fd = self.files.open_path(plain)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != owner:
                return False
            return identity.are_alike(fd, unpacked, 0, min(size, status.st_size))
        finally:
            os.close(fd)

    def _continued(
        self, path: str, plain: str, file: _Followed, fd: int, status: os.stat_result, unpacked: int
    ) -> Source | None:
        """Return the source that goes on in a compressed file: the plain one's, or an earlier form's."""
        former = [] if file.source is None else [file.source]
        for source in [*former, *self._known_at(plain, status.st_uid)]:
            if not source.pos or not identity.begins_with(unpacked, file.size, source):
                continue
            if source.kind != COMPRESSED_LINES:
                if source.id not in self.files.replaced:
                    self._continued_from[(source.dev, source.ino)] = (plain, source.path, source.last_path)
                if len(self._continued_from) > _MAX_CONTINUED:
                    del self._continued_from[next(iter(self._continued_from))]
                self.copies.release(source)
                if self.files.followed(source) is not None:
                    self.files.drop((source.dev, source.ino))
                else:
                    self.files.forget_away(source)
            return replace(
                source,
                kind=COMPRESSED_LINES,
                last_path=path,
                dev=status.st_dev,
                ino=status.st_ino,
                generation=identity.generation(fd),
                away_us=0,
                signature="",
            )
        return None

    def _known_at(self, plain: str, owner: int) -> list[Source]:
        names = [plain, *base_names(plain)]
        keys = dict.fromkeys(
            table.get(name) for name in names for table in (self.files.inode_of, self.files.former)
        )
        known = [source for key in keys for source in self.files.known_at(key)]
        found = [source for source in [*known, *self.files.replaced.values()] if source.owner == owner]
        return [source for source in found if source.last_path == plain or self._was_rotated(source, names)]

    def _was_rotated(self, source: Source, names: list[str]) -> bool:
        """Say whether a source had one of these names and its file is gone: it was renamed before."""
        if source.pos < MIN_COPY_BYTES or source.last_path not in names:
            return False
        file = self.files.followed(source)
        return file is None or (file.fd is not None and os.fstat(file.fd).st_nlink == 0)

    def _was_read(self, plain: str, unpacked: int, size: int, owner: int) -> bool:
        """Say whether all of an unpacked text stands in the plain file, which is gone and still open."""
        for source in self._known_at(plain, owner):
            file = self.files.followed(source)
            if file is not None and file.fd is not None and size <= source.pos:
                return identity.are_alike(unpacked, file.fd, 0, size)
        return False

    def _keep_unpacked(self, path: str, fd: int) -> None:
        self._forget_unpacked(path)
        self._unpacked[path] = fd
        used = sum(os.fstat(other).st_size for other in self._unpacked.values())
        while len(self._unpacked) > 1 and (len(self._unpacked) > _MAX_UNPACKED or used > _MAX_UNPACKED_BYTES):
            _, oldest = self._unpacked.popitem(last=False)
            used -= os.fstat(oldest).st_size
            os.close(oldest)

    def _forget_unpacked(self, path: str) -> None:
        fd = self._unpacked.pop(path, None)
        if fd is not None:
            os.close(fd)

    def _end(self, path: str) -> None:
        source = self._files[path].source
        self._drop(path)
        if source is not None:
            self.files.end(source)

    def _drop(self, path: str) -> None:
        file = self._files.pop(path)
        self._forget_unpacked(path)
        self.files.quota.drop(file.owner)


_ENDING = ".zst"


def _last_line(fd: int, state: Source, size: int, line_bytes: int) -> Stretch:
    """Return what is left behind the last whole line: nobody will finish it."""
    rest = os.pread(fd, line_bytes + 1, state.pos).rstrip(b"\0")
    return Stretch(size, rest + b"\n")

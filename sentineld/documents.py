"""Documents: ``.json`` files, which are read whole, when they are complete, and again when they are replaced.

A document is known by its path; a renamed one, and one that comes back after it was out of reach, by its
device, inode, size and modification time. Its signature holds its ctime as well, which nobody can set back.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from sentineld import identity
from sentineld.decode import KEPT_BYTES, Reject
from sentineld.evidence import Evidence, Trouble, os_trouble
from sentineld.framing import DOCUMENT
from sentineld.identity import Inode, Source, ended
from sentineld.quota import Quota

#: Largest ``.json`` document read; it has to be decoded as one, at many times its size in memory.
MAX_DOCUMENT_BYTES = 16 << 20
#: How long an incomplete ``.json`` file may stay unchanged before it is rejected, microseconds.
_INCOMPLETE_US = 2_000_000
_NEVER_US = 1 << 62
#: Documents out of reach that are remembered, and bytes of what is known of them; the oldest go first.
_MAX_AWAY, _MAX_AWAY_BYTES = 10_000, 16 << 20
#: How long they are remembered, microseconds.
_AWAY_US = 7 * 86_400 * 1_000_000


@dataclass(slots=True)
class Document:
    """A ``.json`` file that changed: its whole content, with the same brackets as a chunk.

    ``look_us`` is when reading began, ``generation`` that of the inode. ``is_settled``: it has not changed
    for a while, so an incomplete one will stay so. ``reject`` says why there is no content.
    """

    source: Source
    data: bytes
    signature: str
    is_settled: bool
    lo: int
    hi: int
    look_us: int
    file_time: int
    generation: int
    reject: Reject | None = None


@dataclass(slots=True)
class _Followed:
    source: Source
    #: What stands at the path now; ``source.signature`` is what was read.
    signature: str = ""
    size: int = 0
    changed_us: int = 0
    postponed_until_us: int = 0
    #: What stood at the path when it was found to be a document.
    framed: str = ""
    #: Number of the last scan that met it.
    seen: int = 0
    gone_us: int | None = None
    #: Whether the database knew it, and nobody has met it since the start.
    is_unmet: bool = False

    @property
    def has_news(self) -> bool:
        return self.signature != self.source.signature


@dataclass(slots=True)
class Documents:
    """All documents that are followed. ``changed`` takes the sources that ended, by id."""

    next_id: Callable[[], int]
    evidence: Evidence
    quota: Quota
    changed: dict[int, Source]
    open_path: Callable[[str], int]
    _files: dict[str, _Followed] = field(default_factory=dict)
    #: Which path has a file that was read: a renamed document is recognised by it.
    _path_of: dict[str, str] = field(default_factory=dict)
    #: The same by its inode.
    _path_of_inode: dict[Inode, str] = field(default_factory=dict)
    #: Documents that were read and are out of reach, the longest first, by inode.
    _away: dict[Inode, Source] = field(default_factory=dict)
    _away_bytes: int = 0
    _news: set[str] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)

    def restore(self, source: Source) -> None:
        """Take over what the database knows."""
        if source.away_us:
            self._remember_away(source)
            return
        former = self._files.get(source.last_path)
        if former is not None:
            self._drop(former)
            self.changed[former.source.id] = ended(former.source)
        file = _Followed(source, signature=source.signature, is_unmet=True)
        self._files[source.last_path] = file
        self._remember_signature(source)
        self.quota.add(source.owner)

    def sources(self) -> list[Source]:
        """Return every document that is followed."""
        return [file.source for file in self._files.values()]

    def dirty(self, now_us: int) -> list[Source]:
        """Return the documents that have changed and are not postponed."""
        files = [self._files[path] for path in self._news]
        return [
            file.source
            for file in files
            if file.postponed_until_us <= now_us and file.framed == file.signature
        ]

    def signature(self, path: str) -> str:
        """Return by what a document that was read is known; empty where none was read there."""
        file = self._files.get(path)
        return "" if file is None else file.source.signature

    def at(self, path: str) -> Source | None:
        """Return the document that is followed at a path."""
        file = self._files.get(path)
        return None if file is None else file.source

    def read_from(self, key: Inode) -> Source | None:
        """Return the document that was read from a file, by its inode."""
        return self.at(self._path_of_inode.get(key, ""))

    def away(self, key: Inode) -> Source | None:
        """Return the document that was read from a file which is out of reach, by its inode."""
        return self._away.get(key)

    def is_framed(self, path: str, signature: str) -> bool:
        """Say whether what stands at a path is known to be a document."""
        file = self._files.get(path)
        return file is not None and signature in (file.source.signature, file.framed)

    def note_framed(self, path: str, signature: str) -> None:
        """Take note that what stands at a path is a document."""
        file = self._files.get(path)
        if file is not None:
            file.framed = signature

    def is_settled(self, path: str, signature: str, *, is_final: bool) -> bool:
        """Say whether what stands at a path has not changed for a while."""
        file = self._files.get(path)
        if is_final or file is None:
            return True
        return signature == file.signature and self.evidence.clock() - file.changed_us >= _INCOMPLETE_US

    def tell_rewritten(self, source: Source) -> None:
        """Report that what was read of a document has changed."""
        self.evidence.tell("rewritten", source, 0, source.pos, "elements that were read have changed")

    def leave(self, source: Source) -> None:
        """Stop following what turned out to be no document; what was read of it is counted."""
        if self._away.get(inode_in(source.signature)) is source:
            self._forget_away(source)
        else:
            self._drop(self._files[source.last_path])
        if source.signature:
            self.changed[source.id] = ended(source)

    def shift(self, step_us: int) -> None:
        """Keep how long ago changes were, after somebody set the wall clock."""
        for file in self._files.values():
            file.changed_us += step_us
            if file.gone_us is not None:
                file.gone_us += step_us
            if file.postponed_until_us not in (0, _NEVER_US):
                file.postponed_until_us += step_us
        for source in self._away.values():
            source.away_us += step_us

    # Looking.

    def notice(self, path: str, status: os.stat_result, now_us: int, scan: int, last_scan_us: int) -> None:
        """Look at a document; ``scan`` numbers the latest scan."""
        signature = signature_of(status)
        file = self._renamed(path, signature) or self._files.get(path)
        if file is not None and file.source.owner != status.st_uid:
            self._drop(file)
            self.changed[file.source.id] = ended(file.source)
            file = None
        if file is None:
            if not self.quota.admits(status.st_uid, path):
                return
            file = self._new(path, status, last_scan_us)
        if signature == file.source.signature:
            file.source.look_us = now_us
        if signature != file.signature:
            file.signature = signature
            file.changed_us = now_us
            file.postponed_until_us = 0
        file.size, file.seen, file.gone_us, file.is_unmet = status.st_size, scan, None, False
        self._gone.discard(path)
        self._note(path, file)

    def miss(self, path: str, scan: int) -> None:
        """Take note that a document could not be looked at: nobody knows whether it is gone."""
        if (file := self._files.get(path)) is not None:
            file.seen = scan

    def end_scan(self, now_us: int, scan: int, *, is_complete: bool) -> None:
        """Find out which documents are gone, after a scan of that number."""
        for path, file in list(self._files.items()):
            if file.seen == scan:
                continue
            if file.is_unmet and is_complete:
                detail = "it was gone when the daemon came back"
                self.evidence.tell("missing", file.source, 0, 0, detail)
                self._send_away(file)
            elif file.gone_us is None:
                file.gone_us = now_us
                self._gone.add(path)
        self._limit_away()

    def gone(self, before_us: int) -> list[Source]:
        """Return the documents that have been gone since ``before_us`` or longer."""
        files = [self._files[path] for path in self._gone]
        return [file.source for file in files if file.gone_us is not None and file.gone_us <= before_us]

    # Reading.

    def read(self, source: Source, *, is_final: bool) -> Document | None:
        """Read a document that changed; None where it cannot be read."""
        file = self._files.get(source.last_path)
        if file is None or file.source.id != source.id:
            return None
        noticed = file.signature
        # Whatever goes wrong: the next look at the path decides anew whether there is something to read.
        file.signature = source.signature
        self._note(source.last_path, file)
        before_us = self.evidence.clock()
        try:
            fd = self.open_path(source.last_path)
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode) or status.st_uid != source.owner:
                    return None
                is_too_large = status.st_size > MAX_DOCUMENT_BYTES
                data = _read_all(fd, KEPT_BYTES if is_too_large else status.st_size)
                generation = identity.generation(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            # Gone, or renamed: until that is known, it has news that nobody could read.
            file.signature, file.postponed_until_us = noticed, _NEVER_US
            self._note(source.last_path, file)
            return None
        except OSError as error:
            self.evidence.on_trouble(os_trouble(source.last_path, error))
            return None
        file.signature = signature_of(status)
        self._note(source.last_path, file)
        now_us = self.evidence.clock()
        document = Document(
            source,
            data,
            file.signature,
            is_settled=is_final or now_us - file.changed_us >= _INCOMPLETE_US,
            lo=source.look_us,
            hi=now_us,
            look_us=before_us,
            file_time=status.st_mtime_ns // 1000,
            generation=generation,
        )
        if is_too_large:
            detail = f"larger than {MAX_DOCUMENT_BYTES} bytes: write JSON lines instead"
            document.reject = Reject("document_too_large", detail, 0, status.st_size, data[:KEPT_BYTES])
        return document

    def postpone(self, source: Source, *, until_it_changes: bool = False) -> None:
        """Leave a document alone until it changes, or (unless told so) has not changed for a while."""
        file = self._files.get(source.last_path)
        if file is None:
            return
        file.postponed_until_us = file.changed_us + _INCOMPLETE_US
        if until_it_changes:
            file.postponed_until_us = _NEVER_US
            self.evidence.on_trouble(
                Trouble("incomplete_document", source.last_path, "read once it is complete JSON")
            )

    def accept(self, source: Source) -> None:
        """Replace a document by its committed successor."""
        file = self._files.get(source.last_path)
        if file is None or file.source.id != source.id:
            return
        self._forget_signature(file.source)
        self._remember_signature(source)
        file.source = source
        self._note(source.last_path, file)

    def forget(self, source: Source) -> None:
        """Stop following a document that is gone; what was not read of it is told."""
        file = self._files.get(source.last_path)
        if file is None or file.source.id != source.id:
            return
        is_unread = content_in(file.signature) != content_in(file.source.signature)
        if is_unread and file.size and not self._is_elsewhere(file):
            is_known = bool(file.source.signature)
            detail = f"{file.size} bytes were removed before they could be read"
            self.evidence.tell("gap" if is_known else "vanished", file.source, 0, file.size, detail)
        self._send_away(file)

    # In detail.

    def _new(self, path: str, status: os.stat_result, last_scan_us: int) -> _Followed:
        source = Source(
            id=self.next_id(),
            path=path,
            last_path=path,
            kind=DOCUMENT,
            dev=status.st_dev,
            ino=status.st_ino,
            generation=0,
            owner=status.st_uid,
            look_us=last_scan_us,
        )
        file = self._files[path] = _Followed(source)
        self.quota.add(source.owner)
        return file

    def _renamed(self, path: str, signature: str) -> _Followed | None:
        """Return the document that was read under another path and now stands at this one."""
        content = content_in(signature)
        former = self._path_of.get(content)
        if former is None or former not in self._files:
            return self._returned(path, content)
        if former == path or content_in(self._files[former].source.signature) != content:
            return None
        try:
            if content_in(signature_of(os.lstat(former))) == content:
                return None
        except OSError:
            pass
        self._make_room(path)
        file = self._files.pop(former)
        self._news.discard(former)
        self._gone.discard(former)
        self._files[path] = file
        file.source.last_path = path
        self._remember_signature(file.source)
        return file

    def _returned(self, path: str, content: str) -> _Followed | None:
        """Return the document that was read, was out of reach, and now stands at a path."""
        source = self._away.get(inode_in(content))
        if source is None or content_in(source.signature) != content:
            return None
        self._make_room(path)
        self._forget_away(source)
        source.away_us, source.last_path = 0, path
        file = self._files[path] = _Followed(source)
        self.quota.add(source.owner)
        self.changed[source.id] = source
        self._remember_signature(source)
        return file

    def _make_room(self, path: str) -> None:
        replaced = self._files.get(path)
        if replaced is not None:
            # A temporary file that was read before it got its name: what it held is counted.
            self._end(replaced)

    def _is_elsewhere(self, file: _Followed) -> bool:
        """Say whether what was not read under this path stands, or was read, under another one."""
        return any(
            content_in(file.signature) in (content_in(other.signature), content_in(other.source.signature))
            for other in self._files.values()
            if other is not file
        )

    def _note(self, path: str, file: _Followed) -> None:
        if file.has_news:
            self._news.add(path)
        else:
            self._news.discard(path)

    def _end(self, file: _Followed) -> None:
        self._drop(file)
        self.changed[file.source.id] = ended(file.source)

    def _send_away(self, file: _Followed) -> None:
        """Stop following a document that is out of reach; one that was read may come back."""
        if not file.source.signature:
            self._end(file)
            return
        self._drop(file)
        file.source.away_us = self.evidence.clock()
        self.changed[file.source.id] = file.source
        self._remember_away(file.source)

    def _remember_away(self, source: Source) -> None:
        key = inode_in(source.signature)
        if (former := self._away.get(key)) is not None:
            # Another file had its inode meanwhile: that one does not come back.
            self._forget_away(former)
            self.changed[former.id] = ended(former)
        self._away[key] = source
        self._away_bytes += len(source.elements) + len(source.kept)

    def _forget_away(self, source: Source) -> None:
        del self._away[inode_in(source.signature)]
        self._away_bytes -= len(source.elements) + len(source.kept)

    def _limit_away(self) -> None:
        """End the documents that have been out of reach for long, and the oldest where there are too many."""
        before_us = self.evidence.clock() - _AWAY_US
        while self._away and (
            len(self._away) > _MAX_AWAY
            or self._away_bytes > _MAX_AWAY_BYTES
            or next(iter(self._away.values())).away_us < before_us
        ):
            oldest = next(iter(self._away.values()))
            self._forget_away(oldest)
            self.changed[oldest.id] = ended(oldest)

    def _drop(self, file: _Followed) -> None:
        path = file.source.last_path
        del self._files[path]
        self._news.discard(path)
        self._gone.discard(path)
        self._forget_signature(file.source)
        self.quota.drop(file.source.owner)

    def _remember_signature(self, source: Source) -> None:
        if source.signature:
            self._path_of[content_in(source.signature)] = source.last_path
            self._path_of_inode[inode_in(source.signature)] = source.last_path

    def _forget_signature(self, source: Source) -> None:
        content = content_in(source.signature)
        if self._path_of.get(content) == source.last_path:
            del self._path_of[content]
            self._path_of_inode.pop(inode_in(source.signature), None)


def signature_of(status: os.stat_result) -> str:
    """Return what tells whether a file was changed or exchanged, as far as its metadata show."""
    content = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
    return f"{content}:{status.st_ctime_ns}"


def content_in(signature: str) -> str:
    """Return the part of a signature that renaming leaves as it is."""
    return ":".join(signature.split(":")[:4])


def inode_in(signature: str) -> Inode:
    """Return the inode in a signature; (0, 0) where there is none."""
    dev, _, rest = signature.partition(":")
    ino, _, _ = rest.partition(":")
    return (int(dev), int(ino)) if ino else (0, 0)


def _read_all(fd: int, size: int) -> bytes:
    parts = []
    position = 0
    while position <= size and (part := os.pread(fd, 1 << 20, position)):
        parts.append(part)
        position += len(part)
    return b"".join(parts)

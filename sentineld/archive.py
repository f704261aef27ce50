"""Archive: the files that a daemon read, found again by content, wherever they are now.

``replay --as-observed`` asks for the bytes of every recorded input. A file is the one that the database
describes if its first bytes and the bytes before the final position are the same; a document, if its elements
are. What is no longer there, cannot be read, or was replaced since, is told as missing and never guessed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from sentineld.batch import Part, leave_out
from sentineld.content import HASH_BYTES, element_hash, first_object
from sentineld.decode import INTERNAL_ERROR, Decoded, Record, Reject, decode_document
from sentineld.documents import MAX_DOCUMENT_BYTES
from sentineld.framing import COMPRESSED_LINES, DOCUMENT, decode_framed
from sentineld.identity import Source, matches, open_regular
from sentineld.intake import Batch, fill, framed, inherit, learned, sift
from sentineld.lines import SKIP_BEGINS, SKIP_HOLE
from sentineld.recognition import Formats
from sentineld.store import Store
from sentineld.tree import kind_of, walk
from sentineld.trust import Trust
from sentineld.zstd import NoZstdError, RefusedError, UnfinishedError, unpack


@dataclass(slots=True)
class _Gap:
    path: str
    unit: str
    start: int
    end: int


class Archive:
    """The recorded inputs of one database over the files below ``paths``. A context manager."""

    def __init__(self, recorded: Store, paths: Sequence[str], formats: Formats) -> None:
        self.formats = formats
        #: Whose the records are: as the settings said when they were read.
        self.trust = Trust()
        self._sources = {source.id: source for source in recorded.sources()}
        #: How far the replay has come in each source, with its accounts.
        self._reached = {number: _unread(source) for number, source in self._sources.items()}
        self._rewritten = _last_rewrites(recorded, self._sources)
        self._fds: dict[int, int | None] = {}
        self._documents: dict[int, list[Record | Reject] | None] = {}
        self._gaps: list[_Gap] = []
        self._names: list[str] = []
        self._by_inode: dict[tuple[int, int], str] = {}
        for path in paths:
            for name in _files(os.path.abspath(path)):
                try:
                    status = os.stat(name, follow_symlinks=False)
                except OSError:
                    # Its agent is at work: what is gone by now is told as missing.
                    continue
                self._names.append(name)
                self._by_inode[(status.st_dev, status.st_ino)] = name

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for fd in self._fds.values():
            if fd is not None:
                os.close(fd)

    def begin(self, begun: Mapping[str, Sequence[str]]) -> None:
        """Take note of sources that went on for others, by number, and of what those had learned."""
        for number, learned_before in begun.items():
            if (source := self._reached.get(int(number))) is not None:
                self._reached[source.id] = inherit(source, learned_before)

    def batch(self, number: int, parts: Sequence[Part], left_out: Mapping[str, Sequence[int]]) -> Batch:
        """Make input ``number`` (counted from 0) whole: its recorded parts, with the rows that they had.

        ``left_out`` are the offsets, by source, of records that the daemon itself failed on.
        """
        batch = Batch()
        for part in parts:
            before = batch.latest(self._reached[part.source_id])
            length = part.end - part.start if before.kind != DOCUMENT else 0
            source = self._sources[part.source_id]
            if source.kind == DOCUMENT:
                is_replaced = number < self._rewritten.get(source.id, 0)
                self._fill_elements(part, source, before, is_replaced=is_replaced)
            else:
                self._fill_lines(part, source, before)
            failed_on = [
                Reject(INTERNAL_ERROR, "", offset, 0, b"")
                for offset in left_out.get(str(part.source_id), ())
                if part.start <= offset < part.end
            ]
            if failed_on:
                part = leave_out(part, failed_on)
            after = replace(before, pos=part.end, bytes_read=before.bytes_read + length)
            batch.put(before, learned(after, part))
            batch.parts.append(part)
        return batch

    def accept(self, batch: Batch) -> None:
        """Take note that a batch was processed."""
        for _, source in batch.sources.values():
            self._reached[source.id] = source

    def missing(self) -> list[str]:
        """Say which stretches of the input are no longer there."""
        return [f"{gap.path}, {gap.unit} {gap.start} to {gap.end}" for gap in self._gaps]

    def _miss(self, path: str, unit: str, start: int, end: int) -> None:
        for gap in self._gaps:
            if (gap.path, gap.unit, gap.end) == (path, unit, start):
                gap.end = end
                return
        self._gaps.append(_Gap(path, unit, start, end))

    def _fill_lines(self, part: Part, source: Source, before: Source) -> None:
        if part.skip == SKIP_HOLE:
            part.rejects.append(Reject("nul_hole", "", part.start, part.end - part.start, b""))
        if part.skip == SKIP_BEGINS:
            part.rejects.append(Reject("line_too_long", "", part.start, part.end - part.start, b""))
        if part.skip:
            return
        fd = self._open(source)
        data = b"" if fd is None else os.pread(fd, part.end - part.start, part.start)
        if len(data) != part.end - part.start:
            self._miss(source.path, "bytes", part.start + len(data), part.end)
        if data:
            # The last line of a file that ended without newline was read as a line.
            whole = data if data.endswith(b"\n") else data + b"\n"
            try:
                decoded = decode_framed(source.kind, whole, part.start)
                fill(part, decoded, self.formats, self.trust, before)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 (as the daemon did)
                sift(part, framed(source.kind, whole, part.start), self.formats, self.trust, before)

    def _fill_elements(self, part: Part, source: Source, before: Source, *, is_replaced: bool) -> None:
        if part.start == part.end:
            # The whole document was refused.
            part.rejects.append(Reject("malformed_json", "", part.start, 0, b""))
            return
        elements = None if is_replaced else self._elements(source)
        if elements is None:
            self._miss(source.path, "elements", part.start, part.end)
            return
        chosen = list(enumerate(elements))[part.start : part.end]
        records = [(number, element) for number, element in chosen if not isinstance(element, Reject)]
        rejects = [element for _, element in chosen if isinstance(element, Reject)]
        decoded = Decoded([record for _, record in records], [number for number, _ in records], rejects, [])
        try:
            fill(part, decoded, self.formats, self.trust, before)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 (as the daemon did)
            part.rejects = []
            sift(part, [*chosen], self.formats, self.trust, before)

    def _elements(self, source: Source) -> list[Record | Reject] | None:
        """Return the elements of the document as the daemon saw it last; None where it is not there."""
        if source.id not in self._documents:
            self._documents[source.id] = None
            for name in self._candidates(source):
                try:
                    with os.fdopen(open_regular(name), "rb") as file:
                        data = file.read(MAX_DOCUMENT_BYTES)
                except OSError:
                    continue
                elements = decode_document(data)
                if isinstance(elements, Reject) and (first := first_object(source, data)) is not None:
                    # Others were appended to the one object since: it is read on as another source.
                    elements = [first[0]]
                if isinstance(elements, list):
                    known = b"".join(map(element_hash, elements))[: len(source.elements)]
                    if known == source.elements:
                        self._documents[source.id] = elements
                        break
        return self._documents[source.id]

    def _open(self, source: Source) -> int | None:
        if source.id not in self._fds:
            self._fds[source.id] = None
            for name in self._candidates(source):
                try:
                    fd = _open_text(name)
                except OSError:
                    continue
                if _is_it(fd, source):
                    self._fds[source.id] = fd
                    break
                os.close(fd)
        return self._fds[source.id]

    def _candidates(self, source: Source) -> list[str]:
        # Where it was seen last comes first; elsewhere its content tells.
        likely = [self._by_inode.get((source.dev, source.ino)), source.last_path, source.path]
        there = set(self._names)
        names = dict.fromkeys([*(name for name in likely if name in there), *self._names])
        is_document = source.kind == DOCUMENT
        return [
            name
            for name in names
            if name is not None and (not is_document or name in likely or kind_of(name) == DOCUMENT)
        ]


def _last_rewrites(recorded: Store, sources: dict[int, Source]) -> dict[int, int]:
    """Return the input in which each document was read anew after its past had changed, for those that were.

    Elements that were read before it stood in another document than the last one.
    """
    highest: dict[int, int] = {}
    rewritten: dict[int, int] = {}
    for number, (_, _, _, parts) in enumerate(recorded.inputs()):
        for part in parts:
            source = sources[part.source_id]
            if source.kind != DOCUMENT or part.start == part.end:
                continue
            if part.start < highest.get(part.source_id, 0):
                rewritten[part.source_id] = number
            highest[part.source_id] = part.end
    for number, end in highest.items():
        if end > len(sources[number].elements) // HASH_BYTES:
            # It shrank later, and nothing of what was read stands where it stood.
            rewritten[number] = 1 << 62
    return rewritten


def _files(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
        return
    for entry in walk(path, lambda _: None):
        if entry.is_file(follow_symlinks=False):
            yield entry.path


def _is_it(fd: int, source: Source) -> bool:
    try:
        return matches(fd, source)
    except OSError:
        return False


def _open_text(name: str) -> int:
    """Open a file, or what a compressed one holds; nothing where that cannot be unpacked."""
    fd = open_regular(name)
    if kind_of(name) != COMPRESSED_LINES:
        return fd
    try:
        return unpack(fd)
    except (NoZstdError, RefusedError, UnfinishedError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def _unread(source: Source) -> Source:
    return Source(
        id=source.id,
        path=source.path,
        last_path=source.last_path,
        kind=source.kind,
        dev=source.dev,
        ino=source.ino,
        generation=source.generation,
        owner=source.owner,
        look_us=0,
    )

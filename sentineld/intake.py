"""Intake: from files that have news to batches of decoded parts.

Two orders of reading. Live: every file with news gets its turn, a bounded number of bytes each, in the
order of names; events are bracketed by when they were read. History (the first start, and replay): all
files are merged by the events' own times, so that an agent that writes to several files is seen as it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import pairwise

from sentineld.batch import Part, effective_times, merge_keys, split_rows
from sentineld.decode import Decoded, Reject, decode_document, decode_lines, encode_element, reject
from sentineld.mapping import NativeMapping
from sentineld.tail import CHUNK_BYTES, DOCUMENT, Chunk, Document, Source, Tail

#: Bytes of a live batch: about 100 ms of work, shared among the files that have news, so that a noisy file
#: does not starve quiet ones.
BATCH_BYTES = 32 * CHUNK_BYTES
#: Rows of a history batch.
HISTORY_ROWS = 16_384
#: Bytes of history held in memory, over all files.
_HISTORY_BYTES = 64 << 20

_HASH_BYTES = 16


@dataclass(slots=True)
class Batch:
    """What was read: parts in order, and for every source (expected position, state to commit)."""

    parts: list[Part] = field(default_factory=list)
    sources: dict[int, tuple[int, Source]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sources)

    def latest(self, source: Source) -> Source:
        """Return the source as it stands at the end of this batch."""
        pending = self.sources.get(source.id)
        return source if pending is None else pending[1]

    def put(self, source: Source, after: Source) -> None:
        """Note that the batch moves a source on."""
        expected = self.sources[source.id][0] if source.id in self.sources else source.pos
        self.sources[source.id] = (expected, after)


class Intake:
    """Reads through one ``Tail`` with one mapping."""

    def __init__(self, tail: Tail, mapping: NativeMapping) -> None:
        self.tail = tail
        self.mapping = mapping

    def live(self) -> Batch:
        """Read what is new, up to the quotas; an empty batch where there is nothing."""
        batch = Batch()
        read_bytes = 0
        sources = self.tail.dirty()
        share = max(CHUNK_BYTES, BATCH_BYTES // max(1, len(sources)))
        for source in sources:
            if source.kind == DOCUMENT:
                read_bytes += self._take_document(batch, source, is_history=False)
                continue
            quota = share
            while quota > 0 and (chunk := self.tail.read(batch.latest(source))) is not None:
                quota -= chunk.end - chunk.start
                read_bytes += chunk.end - chunk.start
                self._take(batch, source, self.decode(chunk, is_history=False))
            if read_bytes >= BATCH_BYTES:
                break
        self._take_closed(batch)
        return batch

    def torn(self) -> Batch:
        """Read the unfinished last lines of files that are gone for good, and close those files."""
        batch = Batch()
        for source in self.tail.gone():
            data = self.tail.torn(source)
            if data:
                self._take_torn(batch, source, data)
            self.tail.forget(batch.latest(source))
        self._take_closed(batch)
        return batch

    def history(self) -> Iterator[Batch]:
        """Read everything that is there, merged by the events' own times; each batch follows the last.

        The caller commits each batch before it asks for the next one.
        """
        batch = Batch()
        sources = self.tail.dirty()
        for source in sources:
            if source.kind == DOCUMENT:
                self._take_document(batch, source, is_history=True)
        files = [source for source in sources if source.kind != DOCUMENT]
        limit = max(4096, min(CHUNK_BYTES, _HISTORY_BYTES // max(1, len(files))))
        heads = [_Head(source, source) for source in files]
        while heads:
            heads = [head for head in heads if not head.is_empty or self._refill(head, limit)]
            if not heads:
                break
            watermark = min(head.keys[-1] for head in heads)
            for head in heads:
                self._take_until(batch, head, watermark)
            if sum(len(part.rows) for part in batch.parts) >= HISTORY_ROWS:
                yield batch
                batch = Batch()
                for head in heads:
                    head.source = self.tail.current(head.source)
        if batch:
            yield batch

    def decode(self, chunk: Chunk, *, is_history: bool) -> Part:
        """Decode one chunk into a part."""
        part = _part(chunk.source, chunk.start, chunk.end, chunk, is_history=is_history)
        part.skip, part.is_skipping = chunk.skip, chunk.is_skipping
        if chunk.reject is not None:
            part.rejects.append(chunk.reject)
        if chunk.data:
            self.fill(part, decode_lines(chunk.data, chunk.start))
        return part

    def fill(self, part: Part, decoded: Decoded) -> None:
        """Put decoded records into a part."""
        part.rows, misfits = self.mapping.rows(decoded)
        part.rejects += decoded.rejects + misfits
        part.ignored += len(decoded.ignored)

    def _take(self, batch: Batch, source: Source, part: Part) -> None:
        before = batch.latest(source)
        batch.put(source, self.tail.advance(before, part.end, is_skipping=part.is_skipping))
        batch.parts.append(part)

    def _take_closed(self, batch: Batch) -> None:
        for source in self.tail.closed:
            expected, latest = batch.sources.get(source.id, (source.pos, source))
            batch.sources[source.id] = (expected, replace(latest, is_gone=True))
        self.tail.closed.clear()

    def _take_torn(self, batch: Batch, source: Source, data: bytes) -> None:
        now_us = self.tail.clock()
        part = Part(source.id, source.owner, source.pos, source.pos + len(data), source.look_us, now_us, now_us, False)
        decoded = decode_lines(data + b"\n", source.pos)
        if decoded.rejects:
            # Half a line: its writer is gone and will not finish it.
            part.rejects.append(reject("torn_line", "the file ended inside a line", source.pos, data))
        else:
            self.fill(part, decoded)
        batch.put(source, self.tail.advance(source, part.end))
        batch.parts.append(part)

    # History.

    def _refill(self, head: "_Head", limit: int) -> bool:
        chunk = self.tail.read(head.ahead, limit)
        if chunk is None:
            return False
        part = self.decode(chunk, is_history=True)
        head.ahead = self.tail.advance(head.ahead, chunk.end, is_skipping=chunk.is_skipping)
        head.chunk, head.part = chunk, part
        head.keys = merge_keys(effective_times(part), head.latest)
        if not head.keys:
            # Nothing but rejected or blank lines: they belong to the instant of the last event.
            head.keys = [head.latest if head.latest is not None else part.lo]
        head.latest = head.keys[-1]
        head.is_empty = False
        return True

    def _take_until(self, batch: Batch, head: "_Head", watermark: int) -> None:
        part, chunk = head.part, head.chunk
        if part is None or chunk is None:
            return
        if head.keys[-1] <= watermark:
            self._take(batch, head.source, part)
            head.is_empty = True
            return
        count = next((n for n, key in enumerate(head.keys) if key > watermark), len(head.keys))
        if count == 0:
            return
        taken, rest = split_rows(part.rows, count)
        cut = rest.offsets[0]
        first = replace(
            part, end=cut, rows=taken, rejects=[item for item in part.rejects if item.offset < cut], ignored=0
        )
        first.ignored = _blank_lines(chunk.data[: cut - chunk.start], first)
        head.part = replace(
            part,
            start=cut,
            rows=rest,
            rejects=[item for item in part.rejects if item.offset >= cut],
            ignored=part.ignored - first.ignored,
        )
        head.chunk = replace(chunk, start=cut, data=chunk.data[cut - chunk.start :])
        head.keys = head.keys[count:]
        self._take(batch, head.source, first)

    # Documents.

    def _take_document(self, batch: Batch, source: Source, *, is_history: bool) -> int:
        document = self.tail.read_document(source)
        if document is None:
            return 0
        elements = decode_document(document.data)
        after = replace(
            source, signature=document.signature, look_us=document.hi, bytes_read=source.bytes_read + len(document.data)
        )
        if isinstance(elements, Reject):
            if elements.reason == "malformed_json" and not document.is_settled:
                # Perhaps it is being written: look again until it is complete or has not changed for a while.
                self.tail.postpone(source)
                return 0
            part = _part(source, source.pos, source.pos, document, is_history=is_history)
            part.rejects.append(elements)
            batch.put(source, after)
            batch.parts.append(part)
            return len(document.data)
        self._take_elements(batch, source, after, document, elements, is_history=is_history)
        return len(document.data)

    def _take_elements(
        self,
        batch: Batch,
        source: Source,
        after: Source,
        document: Document,
        elements: "list[dict[str, object] | Reject]",
        *,
        is_history: bool,
    ) -> None:
        hashes = [_element_hash(element) for element in elements]
        fresh, is_rewritten = new_elements(source.elements, hashes)
        if is_rewritten and len(hashes) > 1:
            self.tail.tell_rewritten(source)
        after.elements, after.pos = b"".join(hashes), len(hashes)
        batch.put(source, after)
        for start, end in _ranges(fresh):
            part = _part(source, start, end, document, is_history=is_history)
            chosen = [(number, elements[number]) for number in range(start, end)]
            part.rejects += [element for _, element in chosen if isinstance(element, Reject)]
            records = [(number, element) for number, element in chosen if not isinstance(element, Reject)]
            self.fill(
                part, Decoded([record for _, record in records], [number for number, _ in records], [], [])
            )
            batch.parts.append(part)


@dataclass(slots=True)
class _Head:
    """Where the merge stands in one file: committed, read ahead, and the rows not yet taken."""

    source: Source
    ahead: Source
    is_empty: bool = True
    latest: int | None = None
    keys: list[int] = field(default_factory=list)
    part: Part | None = None
    chunk: Chunk | None = None


def new_elements(known: bytes, hashes: list[bytes]) -> tuple[list[int], bool]:
    """Compare a replaced array with what was read of it: (numbers of new elements, was the past changed).

    ``known`` holds 16 bytes an element, in order. An unchanged prefix is skipped. Where the prefix changed,
    every element that was not there before, counted with multiplicity, is new.
    """
    before = [known[at : at + _HASH_BYTES] for at in range(0, len(known), _HASH_BYTES)]
    if hashes[: len(before)] == before:
        return list(range(len(before), len(hashes))), False
    remaining: dict[bytes, int] = {}
    for item in before:
        remaining[item] = remaining.get(item, 0) + 1
    fresh: list[int] = []
    for number, item in enumerate(hashes):
        if remaining.get(item, 0) > 0:
            remaining[item] -= 1
        else:
            fresh.append(number)
    return fresh, True


def _part(source: Source, start: int, end: int, read: Chunk | Document, *, is_history: bool) -> Part:
    return Part(source.id, source.owner, start, end, read.lo, read.hi, read.file_time, is_history)


def _ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    if not numbers:
        return
    start = numbers[0]
    for before, after in pairwise(numbers):
        if after != before + 1:
            yield start, before + 1
            start = after
    yield start, numbers[-1] + 1


def _element_hash(element: "dict[str, object] | Reject") -> bytes:


    data = element.head if isinstance(element, Reject) else encode_element(element)
    return blake2b(data, digest_size=_HASH_BYTES).digest()


def _blank_lines(data: bytes, part: Part) -> int:
    return data.count(b"\n") - len(part.rows) - len(part.rejects)



"""Intake: from files that have news to batches of decoded parts.

Two orders of reading. Live: every owner with news gets its turn, and of each its files, a bounded number of
bytes each; events are bracketed by when they were read. History (the first start, and replay): all files are
merged by the events' own times, so that an agent that writes to several files is seen as it was.
"""

import heapq
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from sentineld.batch import (
    Part,
    accounts,
    effective_times,
    leave_out,
    merge_keys,
    record_keys,
    split_rows,
)
from sentineld.content import HASH_BYTES, element_hash
from sentineld.decode import (
    INTERNAL_ERROR,
    KEPT_BYTES,
    Decoded,
    Record,
    Reject,
    decode_document,
    reject,
)
from sentineld.documents import Document
from sentineld.errors import SentineldError
from sentineld.event import Incident
from sentineld.evidence import Trouble
from sentineld.framing import COMPRESSED_LINES, DOCUMENT, LINES, STREAM, decode_framed, values
from sentineld.identity import Source, copied
from sentineld.lines import Chunk
from sentineld.mapping import FileContext
from sentineld.memory import grown, load
from sentineld.native import NATIVE
from sentineld.recognition import Formats
from sentineld.rows import Rows
from sentineld.spool import Item, Spool, Stretch
from sentineld.tail import CHUNK_BYTES, Tail
from sentineld.trust import Trust

#: Bytes of a live batch: about 100 ms of work.
BATCH_BYTES = 32 * CHUNK_BYTES
#: While full batches take less than half of this time (microseconds), they grow, up to so many times that.
_PACE_US = 200_000
MAX_GROWTH = 4
#: Batches of history with more agents than this are followed by smaller ones: one part in so many.
_MANY_AGENTS, _MAX_SPARING = 8192, 4
#: Bytes of a turn, at least, where there are as many: one whole read.
_TURN_BYTES = CHUNK_BYTES // 2
#: What a line counts for at least: a short one costs as much time as one of so many bytes, and more memory.
_LINE_BYTES = 128
#: What a read counts for at least: it costs as much time as so many bytes, however little it brings.
_READ_BYTES = 4096
#: What looking for a value's end takes, at most, as a multiple of what reading as many bytes does.
_STREAM_COST = 4
#: Lines of a history batch.
HISTORY_ROWS = 32_768
#: Reads of history between two pauses.
_READS = 64
#: Bytes of history read ahead, over all files; rows in memory take several times as much.
_HISTORY_BYTES = 16 << 20
#: Kinds of unknown records that one trouble names.
_SHOWN_NAMES = 3
_MIN_READ_BYTES = 1024
#: Commas in a document, about the number of its values: each takes up to a hundred bytes of memory.
_MAX_DOCUMENT_COMMAS = 1_000_000

#: Where records of a file were not such as nearly all are, this much of it is not tried at once again.
_FEW_BYTES = 4096
#: Files of which that is known.
_MAX_MIXED = 10_000

_NEVER = -(1 << 62)

#: Records with their offsets: as bytes, or as the elements of a document.
Items = list[tuple[int, Record | Reject | bytes]]


@dataclass(slots=True)
class Batch:
    """What was read: parts in order, and for every source (expected position, state to commit).

    ``incidents`` are those that the tail has found, and ``begun`` the sources that go on for others, as they
    began; neither can be derived from the parts.
    """

    parts: list[Part] = field(default_factory=list)
    sources: dict[int, tuple[int, Source]] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    begun: list[Source] = field(default_factory=list)
    #: What was committed of the sources that have parts here.
    committed: dict[int, Source] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sources or self.incidents)

    def latest(self, source: Source) -> Source:
        """Return the source as it stands at the end of this batch."""
        pending = self.sources.get(source.id)
        return source if pending is None else pending[1]

    def put(self, source: Source, after: Source) -> None:
        """Note that the batch moves a source on."""
        expected = self.sources[source.id][0] if source.id in self.sources else source.pos
        self.sources[source.id] = (expected, after)
        self.committed.setdefault(source.id, source)


class Intake:
    """Reads through one ``Tail``; ``formats`` says what records mean, ``trust`` whose they are."""

    def __init__(self, tail: Tail, formats: Formats, trust: Trust | None = None) -> None:
        self.tail = tail
        self.formats = formats
        self.trust = trust or Trust()
        #: Batches have one part in so many of their bytes and lines: less memory, more commits.
        self.divisor = 1
        self._growth = 1
        #: Whether the last live batch left files for the next one.
        self.is_full = False
        # How many agents there are is not known before the first batch.
        self._sparing = _MAX_SPARING
        #: Records of history that are left out, by path and offset: sentineld itself fails on them.
        self.left_out: dict[str, list[Reject]] = {}
        #: Told of a file that sentineld itself cannot read, and what was raised.
        self.on_set_aside: Callable[[str, Exception], None] = self._tell_set_aside
        self._set_aside: set[int] = set()
        #: Files whose last records could not be decoded at once.
        self._mixed: set[int] = set()
        #: The compressed file of each owner that is read to its end before another one of it is begun.
        self._unpacked: dict[int, int] = {}
        #: Who had the last turn, and of every owner which file: the next batch goes on behind them.
        self._last_owner = -1
        self._last_files: dict[int, tuple[str, int]] = {}

    def live(self) -> Batch:
        """Read what is new, up to the quotas; an empty batch where there is nothing, or nothing whole.

        Then ``is_full`` tells whether there may be something in files that it was not the turn of.

        Owners have their turns one after the other, and so have the files of each; a turn is one read.
        However much one owner writes, and to however many files, each other one has a turn in every round.
        """
        batch = Batch()
        turns = self._turns()
        waiting: dict[int, deque[Source]] = {}
        read_bytes = 0
        while turns and read_bytes < BATCH_BYTES * self._growth // self.divisor:
            owner, files = turns.popleft()
            source = files.popleft()
            if source.kind == COMPRESSED_LINES and self._unpacked.setdefault(owner, source.id) != source.id:
                # In turns, each of them might have to be unpacked anew for each turn.
                waiting.setdefault(owner, deque()).append(source)
                if files:
                    turns.append((owner, files))
                continue
            taken, has_more = 0, False
            with self.setting_aside(source):
                if source.kind == DOCUMENT:
                    taken = self._take_document(batch, source)
                else:
                    before = len(batch.parts)
                    taken = self._take_lines(batch, source, _TURN_BYTES)
                    has_more = taken >= _TURN_BYTES and len(batch.parts) > before
            read_bytes += taken
            self._last_owner, self._last_files[owner] = owner, (source.path, source.id)
            if has_more:
                files.append(source)
            elif self._unpacked.get(owner) == source.id:
                del self._unpacked[owner]
                files += waiting.pop(owner, ())
            if files:
                turns.append((owner, files))
        self.is_full = bool(turns)
        self._take_changed(batch)
        return batch

    @property
    def history_rows(self) -> int:
        """Events of the next batch of history, about."""
        return HISTORY_ROWS // (self.divisor * self._sparing)

    def pace(self, took_us: int) -> None:
        """Choose the size of the next live batch by how long the last one took, its commit included.

        Every batch costs a commit, in which every agent of it is written once: where that is much of the
        time, larger ones are faster. Who waits for a batch to end waits no longer for it than about 200 ms.
        """
        if not self.is_full:
            self._growth = 1
        elif took_us > _PACE_US:
            self._growth = max(1, self._growth // 2)
        elif took_us < _PACE_US // 2:
            self._growth = min(MAX_GROWTH, self._growth * 2)

    def spare(self, agents: int) -> None:
        """Choose the size of the next batch of history by how many agents the last one had.

        All of them are in memory until it is committed, some kilobytes each; the fewer events one has in a
        batch, the less a larger batch would save.
        """
        self._sparing = _MAX_SPARING if agents > _MANY_AGENTS // self._sparing else 1

    def torn(self) -> Batch:
        """Read the unfinished last lines of files that are gone for good, and close those files."""
        batch = Batch()
        for source in self.tail.gone():
            if source.id in self._set_aside:
                # That it is gone unread is no fault of its owner.
                continue
            with self.setting_aside(source):
                data = self.tail.torn(source)
                if data:
                    self._take_torn(batch, source, data)
                self.tail.forget(batch.latest(source))
        self._take_changed(batch)
        return batch

    def history(self) -> Iterator[Batch]:
        """Read everything that is there, merged by the events' own times; each batch follows the last.

        The caller commits each batch, and tells the tail, before it asks for the next one. An empty batch is
        a pause: many files are read before the first of them can be taken.
        """
        merge = _Merge(self, [source for source in self.tail.dirty() if source.id not in self._set_aside])
        with closing(merge):
            while not merge.is_done:
                batch = merge.next_batch()
                self._take_changed(batch)
                if batch or merge.is_reading:
                    yield batch

    @contextmanager
    def setting_aside(self, source: Source) -> Iterator[None]:
        """Read a file no more, until the next start, where the block raises what no disk or limit explains.

        So whoever finds a fault of ours in what comes before there are records holds nobody up.
        """
        try:
            yield
        except (OSError, MemoryError, SentineldError):
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is: other files are read on)
            self._set_aside.add(source.id)
            self.on_set_aside(source.path, error)

    def _tell_set_aside(self, path: str, error: Exception) -> None:
        detail = f"sentineld fails to read it: {type(error).__name__}: {error}"
        self.tail.on_trouble(Trouble(INTERNAL_ERROR, path, detail))

    def decode(self, chunk: Chunk, *, is_history: bool) -> tuple[Part, list[int]]:
        """Decode one chunk into a part; also return where its blank lines are."""
        try:
            part = self.decode_at_once(chunk, is_history=is_history)
            if part is not None:
                return part, []
            part, decoded = self.begin(chunk, is_history=is_history)
            self.fill(part, decoded, chunk.source)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is: the other records count)
            part = self._begin(chunk, is_history=is_history)
            part.failure = error
            decoded = self.sift(part, framed(chunk.source.kind, chunk.data, chunk.start), chunk.source)
        return part, decoded.ignored

    def sift(self, part: Part, items: Items, source: Source) -> Decoded:
        """Put into a part those records of a source that nothing is raised over; the others are rejected."""
        return sift(part, items, self.formats, self.trust, source)

    def decode_at_once(self, chunk: Chunk, *, is_history: bool) -> Part | None:
        """Decode one chunk into a part, if its records are native ones such as nearly all are; else None.

        The part is the one that ``begin`` and ``fill`` make; this is three times as fast.
        """
        source = chunk.source
        belief = self.trust.belief(source.path, source.owner)
        name = self.formats.forced or belief.format or source.format
        if name != NATIVE or source.kind == STREAM or not chunk.data or belief.is_unusable:
            return None
        if len(chunk.data) < _FEW_BYTES and source.id in self._mixed:
            return None
        rows = self.formats.native.rows_of_lines(chunk.data, chunk.start, belief.role)
        if rows is None:
            if len(self._mixed) < _MAX_MIXED:
                self._mixed.add(source.id)
            return None
        self._mixed.discard(source.id)
        part = self._begin(chunk, is_history=is_history)
        part.format, part.rows = name, rows
        self.trust.apply(rows, source.path, part.owner)
        return part

    def fill(self, part: Part, decoded: Decoded, source: Source) -> None:
        """Put decoded records of a source into a part."""
        fill(part, decoded, self.formats, self.trust, source)
        if self.trust.belief(source.path, source.owner).is_unusable:
            detail = "what the configuration makes of its path or owner cannot be an agent's id"
            self.tail.on_trouble(Trouble("unusable_id", source.path, detail))
        if part.rows.unknown:
            # What cannot be read cannot be judged: a file may be in another format than it pretends.
            names = list(dict.fromkeys(name for _, name in part.rows.unknown))
            more = f" and {len(names) - _SHOWN_NAMES} more kinds" if len(names) > _SHOWN_NAMES else ""
            detail = f"format {part.format} does not know {', '.join(names[:_SHOWN_NAMES])}{more}"
            self.tail.on_trouble(Trouble("unknown_record", source.path, detail))

    def begin(self, chunk: Chunk, *, is_history: bool) -> tuple[Part, Decoded]:
        """Decode one chunk, and say what came out; the part has no rows yet."""
        part = self._begin(chunk, is_history=is_history)
        if not chunk.data:
            return part, Decoded([], [], [], [])
        return part, decode_framed(chunk.source.kind, chunk.data, chunk.start)

    @staticmethod
    def _begin(chunk: Chunk, *, is_history: bool) -> Part:
        part = _part(chunk.source, chunk.start, chunk.end, chunk, is_history=is_history)
        part.skip, part.is_skipping = chunk.skip, chunk.is_skipping
        if chunk.reject is not None:
            part.rejects.append(chunk.reject)
        return part

    def _turns(self) -> deque[tuple[int, deque[Source]]]:
        """Return all owners with news and their files, each in the order in which it is their turn."""
        by_owner: dict[int, list[Source]] = {}
        for source in self.tail.dirty():
            if source.id not in self._set_aside:
                by_owner.setdefault(source.owner, []).append(source)
        news = {source.id for files in by_owner.values() for source in files} if self._unpacked else set()
        self._unpacked = {owner: number for owner, number in self._unpacked.items() if number in news}
        # Who has no news begins anew: nothing of such an owner waits.
        self._last_files = {owner: last for owner, last in self._last_files.items() if owner in by_owner}
        turns: deque[tuple[int, deque[Source]]] = deque()
        for owner in sorted(by_owner, key=lambda owner: (owner <= self._last_owner, owner)):
            last = self._last_files.get(owner, ("", 0))
            files = by_owner[owner]
            split = bisect_right(files, last, key=lambda source: (source.path, source.id))
            turns.append((owner, deque(files[split:] + files[:split])))
        return turns

    def _take_lines(self, batch: Batch, source: Source, quota: int) -> int:
        taken = 0
        while taken < quota and (chunk := self.tail.read(batch.latest(source), CHUNK_BYTES)) is not None:
            part, _ = self.decode(chunk, is_history=False)
            taken += max(chunk.end - chunk.start, _lines(part) * _LINE_BYTES, _READ_BYTES)
            before = batch.latest(source)
            after = self.tail.advance(before, part.end, is_skipping=part.is_skipping, raw=chunk.raw)
            batch.put(source, learned(after, part))
            batch.parts.append(part)
        if not taken:
            # What is not whole yet was looked through, too.
            unread = self.tail.size(source) - batch.latest(source).pos
            looked = min(unread, self.tail.line_bytes)
            taken = max(_READ_BYTES, looked * (_STREAM_COST if source.kind == STREAM else 1))
        return taken

    def _take_changed(self, batch: Batch) -> None:
        batch.incidents += self.tail.take_incidents()
        batch.begun += self.tail.take_begun()
        for source in self.tail.take_changed():
            expected, latest = batch.sources.get(source.id, (source.pos, source))
            after = replace(latest, is_gone=source.is_gone, away_us=source.away_us)
            batch.sources[source.id] = (expected, after)

    def _take_torn(self, batch: Batch, source: Source, data: bytes) -> None:
        now_us = self.tail.clock()
        end = source.pos + len(data)
        part = Part(source.id, source.owner, source.pos, end, source.look_us, now_us, now_us, False)
        try:
            decoded = decode_framed(source.kind, data + b"\n", source.pos)
            if decoded.rejects:
                # Half a line: its writer is gone and will not finish it.
                part.rejects.append(reject("torn_line", "the file ended inside a line", source.pos, data))
            else:
                self.fill(part, decoded, source)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (as for whole lines)
            part.failure = error
            self.sift(part, framed(source.kind, data + b"\n", source.pos), source)
        batch.put(source, learned(self.tail.advance(source, end), part))
        batch.parts.append(part)

    # Documents.

    def _take_document(self, batch: Batch, source: Source) -> int:
        document = self.tail.read_document(source)
        if document is None:
            return 0
        found = self.examine(source, document, is_history=False)
        if found is None:
            return 0
        after, parts = found
        batch.put(source, after)
        batch.parts += parts
        return len(document.data)

    def examine(
        self, source: Source, document: Document, *, is_history: bool
    ) -> tuple[Source, list[Part]] | None:
        """Return what is new in a document: the source behind it, and parts; None while it is incomplete."""
        found = self.compare(source, document, is_history=is_history)
        if found is None:
            return None
        after, items, parts = found
        after, others = self.fill_runs(after, document, items, is_history=is_history)
        return after, parts + others

    def fill_runs(
        self, source: Source, document: Document, items: list[Item], *, is_history: bool
    ) -> tuple[Source, list[Part]]:
        """Return the source behind some elements of a document, and a part for each run of them."""
        parts = []
        at = 0
        for start, end in _ranges([number for number, _ in items]):
            run = items[at : at + end - start]
            parts.append(self.fill_elements(source, document, run, is_history=is_history))
            source = learned(source, parts[-1])
            at += end - start
        return source, parts

    def fill_elements(
        self, source: Source, document: Document, items: list[Item], *, is_history: bool
    ) -> Part:
        """Return the part that some elements of a document in a row are, with their numbers."""
        (start, _), (last, _) = items[0], items[-1]
        part = _part(source, start, last + 1, document, is_history=is_history)
        decoded = Decoded([], [], [], [])
        for number, element in items:
            if isinstance(element, Reject):
                decoded.rejects.append(element)
            else:
                decoded.records.append(element)
                decoded.offsets.append(number)
        try:
            self.fill(part, decoded, source)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (as for lines)
            part.failure = error
            self.sift(part, list(items), source)
        return part

    def compare(
        self, source: Source, document: Document, *, is_history: bool
    ) -> tuple[Source, list[Item], list[Part]] | None:
        """Return what is new in a document: the source behind it, and its new elements with their numbers.

        The part is that of a document that is refused; None while it is incomplete.
        """
        after = replace(
            source,
            signature=document.signature,
            generation=document.generation,
            look_us=document.look_us,
            bytes_read=source.bytes_read + len(document.data),
        )
        failure: Exception | None = None
        try:
            elements = document.reject or _elements(document.data)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is: other files are read on)
            elements, failure = failed(error, 0, document.data), error
        if isinstance(elements, Reject):
            if elements.reason == "incomplete_json":
                # It is being written, or its writer died: it counts when it is complete.
                self.tail.postpone(source, until_it_changes=True)
                return None
            if elements.reason == "malformed_json" and not document.is_settled:
                # Perhaps it is being overwritten: look again when it has not changed for a while.
                self.tail.postpone(source)
                return None
            part = _part(source, source.pos, source.pos, document, is_history=is_history)
            part.rejects.append(elements)
            part.failure = failure
            return after, [], [part]
        hashes = [element_hash(element) for element in elements]
        fresh, is_rewritten = new_elements(source.elements, hashes)
        if is_rewritten and len(hashes) > 1:
            self.tail.tell_rewritten(source)
        after.elements, after.pos = b"".join(hashes), len(hashes)
        return after, [(number, elements[number]) for number in fresh], []


@dataclass(slots=True)
class _Piece:
    """A decoded part that waits for its time: its rows' merge keys, and where its blank lines are.

    ``after`` is its file as it stood behind what was read; None of a document.
    """

    part: Part
    keys: list[int]
    ignored: list[int]
    after: Source | None = None


@dataclass(slots=True)
class _Head:
    """One file in the merge: what is committed of it, and what was read ahead of that.

    ``ahead`` is where reading goes on, ``end`` where history ends. Of a document ``ahead`` is the state
    behind all of its pieces.
    """

    number: int
    source: Source
    ahead: Source
    end: int
    latest: int | None = None
    pieces: deque[_Piece] = field(default_factory=deque)
    #: Whether a document's past has changed: then it can only be taken whole.
    is_whole: bool = False
    is_done: bool = False
    #: Of a document: how many bytes of it are in memory; or where its elements are spooled, and the rest.
    held: int = 0
    spooled: Stretch = (0, 0)
    document: Document | None = None
    #: Whether not all of it could be read: it ends where that was.
    is_cut: bool = False


#: An instant, and the number of the last file of which what is of that instant is taken.
_Cut = tuple[int, int]


class _Merge:
    """Merges files by the running maximum of their events' times.

    The file that lags behind all others is read on until there is enough for a batch; then everything up to
    the instant that the laggard has reached is taken. So a file is cut at most once a batch, and memory is
    bounded by a batch, one read of each file, and a few documents: the elements of the others are spooled,
    and read as lines are.
    """

    def __init__(self, intake: Intake, sources: list[Source]) -> None:
        self._intake = intake
        self._tail = intake.tail
        self._limit = max(_MIN_READ_BYTES, min(CHUNK_BYTES, _HISTORY_BYTES // max(1, len(sources))))
        self._heads = [
            _Head(number, source, source, self._tail.size(source)) for number, source in enumerate(sources)
        ]
        self._numbered = list(self._heads)
        #: (the instant that a file has been read up to, number of the head), of all that have more.
        self._behind = [(_NEVER, number) for number in range(len(self._heads))]
        #: Lines that were read ahead for the next batch.
        self._rows = 0
        self.is_reading = False
        #: Bytes of documents whose rows are in memory; the elements of the others.
        self._held = 0
        self._spool = Spool()
        self._cuts: list[_Cut | None] = []
        self._last = Batch()

    @property
    def is_done(self) -> bool:
        """Whether everything has been taken."""
        return not self._heads

    def next_batch(self) -> Batch:
        """Return the next stretch of all files, or a pause; the former one has been committed."""
        if self._last:
            for head in self._heads:
                head.source = self._last.latest(head.source)
            self._last = Batch()
        if not self._cuts:
            self.is_reading = not self._read_ahead()
            if self.is_reading:
                return self._last
            self._cuts = self._divide()
        batch = self._last = Batch()
        cut = self._cuts.pop(0)
        for head in self._heads:
            watermark = None if cut is None else cut[0] - (head.number > cut[1])
            self._take(batch, head, watermark)
        self._heads = [head for head in self._heads if not head.is_done]
        return batch

    def close(self) -> None:
        """Forget what was read ahead."""
        self._spool.close()

    def _divide(self) -> list[_Cut | None]:
        """Return up to where what was read is taken, batch by batch; None: all of it.

        Each of many files is read at least once before anything can be taken: that is more than one batch.
        """
        end = (self._behind[0][0], len(self._numbered)) if self._behind else None
        count = sum(len(piece.keys) for head in self._heads for piece in head.pieces)
        rows = self._intake.history_rows
        if count <= 2 * rows:
            return [end]
        keys = sorted(
            (key, head.number) for head in self._heads for piece in head.pieces for key in piece.keys
        )
        cuts = dict.fromkeys(keys[rows - 1 :: rows])
        return [*(cut for cut in cuts if end is None or cut < end), end]

    def _read_ahead(self) -> bool:
        """Read until there is enough for a batch, or for a while; True where there is enough."""
        for _ in range(_READS):
            is_enough = self._rows >= self._intake.history_rows
            if not self._behind or (is_enough and self._behind[0][0] != _NEVER):
                self._rows = 0
                return True
            number = self._behind[0][1]
            head = self._numbered[number]
            before = len(head.pieces)
            has_more, is_read = False, False
            with self._intake.setting_aside(head.source):
                is_document = head.source.kind == DOCUMENT
                has_more = self._read_document(head) if is_document else self._read_lines(head)
                is_read = True
            # Of lines, what was read before that is taken; a document is as if it were not there.
            head.is_done = head.is_done or not (is_read or head.pieces)
            head.is_cut = not is_read
            self._rows += sum(_lines(head.pieces[at].part) for at in range(before, len(head.pieces)))
            if has_more and head.latest is not None:
                heapq.heapreplace(self._behind, (head.latest, number))
            else:
                heapq.heappop(self._behind)
        return False

    def _read_lines(self, head: _Head) -> bool:
        # What is appended from here on is not history.
        left = head.end - head.ahead.pos
        chunk = self._tail.read(head.ahead, min(self._limit, left)) if left > 0 else None
        if chunk is None:
            return False
        part, ignored = self._intake.decode(chunk, is_history=True)
        # The proof is of what was read: by the time it is taken, the file may have been changed.
        ahead = self._tail.advance(head.ahead, chunk.end, is_skipping=chunk.is_skipping, raw=chunk.raw)
        learn(ahead, part)
        head.ahead = ahead
        self._append(head, part, ignored)
        head.pieces[-1].after = head.ahead
        return chunk.end < head.end

    def _read_document(self, head: _Head) -> bool:
        if head.document is not None:
            return self._read_spooled(head, head.document)
        document = self._tail.read_document(head.source)
        found = None if document is None else self._intake.compare(head.source, document, is_history=True)
        if document is None or found is None:
            head.is_done = True
            return False
        after, items, parts = found
        head.is_whole = not after.elements.startswith(head.source.elements)
        size = len(document.data)
        document.data = b""
        if items and not head.is_whole and self._held + size > _HISTORY_BYTES:
            head.ahead, head.document, head.spooled = after, document, self._spool.put(items)
            return self._read_spooled(head, document)
        head.ahead, others = self._intake.fill_runs(after, document, items, is_history=True)
        for part in parts + others:
            self._append(head, part, [])
        head.held = size
        self._held += size
        return False

    def _read_spooled(self, head: _Head, document: Document) -> bool:
        items, head.spooled = self._spool.take(head.spooled, self._limit)
        if items:
            part = self._intake.fill_elements(head.ahead, document, items, is_history=True)
            head.ahead = learned(head.ahead, part)
            self._append(head, part, [])
        start, end = head.spooled
        return start < end

    def _append(self, head: _Head, part: Part, ignored: list[int]) -> None:
        if known := self._intake.left_out.get(head.source.path):
            part = leave_out(part, [item for item in known if part.start <= item.offset < part.end])
        keys = merge_keys(effective_times(part), head.latest)
        if not part.rows.is_one_each:
            keys = record_keys(keys, part.rows.offsets)
        if keys:
            head.latest = keys[-1]
        elif head.latest is None:
            # Nothing but rejected or blank lines: they belong to the instant of the last event.
            head.latest = part.lo
        head.pieces.append(_Piece(part, keys, ignored))

    def _take(self, batch: Batch, head: _Head, watermark: int | None) -> None:
        if head.is_whole and watermark is not None and head.pieces and head.pieces[0].keys[:1] > [watermark]:
            return
        limit = None if head.is_whole else watermark
        while head.pieces:
            piece = head.pieces[0]
            count = len(piece.keys) if limit is None else bisect_right(piece.keys, limit)
            if count == len(piece.keys):
                head.pieces.popleft()
                self._put(batch, head, piece.part, piece.after)
                continue
            if count:
                first, head.pieces[0] = _split(piece, count)
                self._put(batch, head, first, None)
            return
        if head.source.kind == DOCUMENT and head.spooled[0] < head.spooled[1] and not head.is_cut:
            return
        if head.source.kind == DOCUMENT and not head.is_cut:
            self._close_document(batch, head)
        head.is_done = head.is_done or watermark is None

    def _put(self, batch: Batch, head: _Head, part: Part, proof: Source | None) -> None:
        before = batch.latest(head.source)
        if proof is not None:
            after = self._tail.reach(before, proof, is_skipping=part.is_skipping)
            learn(after, part)
            batch.put(head.source, after)
            batch.parts.append(part)
            return
        if head.source.kind != DOCUMENT:
            after = self._tail.advance(before, part.end, is_skipping=part.is_skipping)
        elif head.is_whole:
            after = before
        else:
            # As if the document ended here: the rest is new when it is read again.
            elements = head.ahead.elements[: part.end * HASH_BYTES]
            after = replace(before, pos=part.end, elements=elements)
        batch.put(head.source, learned(after, part))
        batch.parts.append(part)

    def _close_document(self, batch: Batch, head: _Head) -> None:
        if head.is_done:
            return
        after = replace(
            batch.latest(head.source),
            pos=head.ahead.pos,
            elements=head.ahead.elements,
            signature=head.ahead.signature,
            generation=head.ahead.generation,
            look_us=head.ahead.look_us,
            bytes_read=head.ahead.bytes_read,
        )
        batch.put(head.source, after)
        head.is_done = True
        self._held -= head.held


def _split(piece: _Piece, count: int) -> tuple[Part, _Piece]:
    part = piece.part
    taken, rest = split_rows(part.rows, count)
    cut = rest.offsets[0]
    before = [item for item in part.rejects if item.offset < cut]
    ignored = [offset for offset in piece.ignored if offset < cut]
    # Which rows are copies is found out for each by itself: they have numbers of their own.
    first = replace(part, end=cut, rows=taken, rejects=before, ignored=len(ignored), duplicates=set[int]())
    behind = replace(
        part,
        start=cut,
        rows=rest,
        duplicates=set[int](),
        rejects=[item for item in part.rejects if item.offset >= cut],
        ignored=len(piece.ignored) - len(ignored),
    )
    return first, _Piece(behind, piece.keys[count:], piece.ignored[len(ignored) :], piece.after)


def fill(part: Part, decoded: Decoded, formats: Formats, trust: Trust, source: Source) -> None:
    """Put decoded records into a part; ``source`` is its file as it stands before these records.

    The file's path is its name at first sight.
    """
    path = source.path
    belief = trust.belief(path, part.owner)
    part.format = formats.forced or belief.format or source.format
    part.format = part.format or formats.recognise(path, decoded.records)
    context = FileContext(path, part.owner, belief.role, load(source.kept))
    part.rows, misfits = formats.rows(part.format, decoded, context, belief.agent)
    trust.apply(part.rows, path, part.owner)
    part.rejects += decoded.rejects + misfits
    part.ignored += len(decoded.ignored)


def sift(part: Part, items: Items, formats: Formats, trust: Trust, source: Source) -> Decoded:
    """Do as ``fill``, record by record first, and reject what anything is raised over.

    So what is no record of ours to judge, and what is, does not depend on what it was read with.
    """
    sound, scratch = Decoded([], [], [], []), copied(source)
    for offset, item in items:
        one, trial = Decoded([], [], [], []), replace(part, rows=Rows(), rejects=[])
        try:
            if isinstance(item, bytes):
                one = decode_framed(LINES, item + b"\n", offset)
            elif isinstance(item, Reject):
                one.rejects.append(item)
            else:
                one.records, one.offsets = [item], [offset]
            fill(trial, one, formats, trust, scratch)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (this is the one)
            sound.rejects.append(failed(error, offset, item))
            continue
        learn(scratch, trial)
        sound.records += one.records
        sound.offsets += one.offsets
        sound.rejects += one.rejects
        sound.ignored += one.ignored
    rejects = part.rejects
    try:
        fill(part, sound, formats, trust, source)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (each alone is sound: there is no telling which one it is)
        sound = Decoded([], [], [failed(error, offset, item) for offset, item in items], [])
        part.rows, part.rejects, part.ignored = Rows(), [*rejects, *sound.rejects], 0
    return sound


def framed(kind: str, data: bytes, base: int) -> Items:
    """Cut a stretch of whole lines or values into these, each with its offset."""
    if kind == STREAM:
        return list(values(data, base))
    lines = data.split(b"\n")[:-1]
    ends = accumulate((len(line) + 1 for line in lines), initial=base)
    return list(zip(ends, lines, strict=False))


def failed(error: Exception, offset: int, item: Record | Reject | bytes) -> Reject:
    """Reject a record over which something was raised."""
    detail = f"sentineld fails on it ({type(error).__name__}); its log says where"
    return reject(INTERNAL_ERROR, detail, offset, item if isinstance(item, bytes) else b"")


def learned(source: Source, part: Part) -> Source:
    """Return a source with what a part tells of it: its format, and the memory of its records."""
    if not part.rows.remembered and part.format in ("", source.format):
        return source
    after = copied(source)
    learn(after, part)
    return after


def learn(source: Source, part: Part) -> None:
    """Add to a source, which nobody else holds yet, what a part tells of it."""
    source.format = part.format or source.format
    if part.rows.remembered:
        source.kept = grown(source.kept, part.rows.remembered)


def inheritance(source: Source) -> list[str]:
    """Return, as plain data, what a source that goes on for another one had learned when it began."""
    return [source.format, source.kept.decode()]


def inherit(source: Source, learned_before: Sequence[str]) -> Source:
    """Return a source with what ``inheritance`` gave of it."""
    format_name, kept = learned_before
    return replace(source, format=format_name, kept=kept.encode())


def new_elements(known: bytes, hashes: list[bytes]) -> tuple[list[int], bool]:
    """Compare a replaced array with what was read of it: (numbers of new elements, was the past changed).

    ``known`` holds 16 bytes an element, in order. An unchanged prefix is skipped. Where the prefix changed,
    every element that was not there before, counted with multiplicity, is new.
    """
    before = [known[at : at + HASH_BYTES] for at in range(0, len(known), HASH_BYTES)]
    if hashes[: len(before)] == before:
        return list(range(len(before), len(hashes))), False
    remaining = Counter(before)
    fresh: list[int] = []
    for number, item in enumerate(hashes):
        if remaining[item] > 0:
            remaining[item] -= 1
        else:
            fresh.append(number)
    return fresh, True


def _elements(data: bytes) -> list[Record | Reject] | Reject:
    if data.count(b",") > _MAX_DOCUMENT_COMMAS:
        detail = f"more than {_MAX_DOCUMENT_COMMAS} values: write JSON lines instead"
        return Reject("document_too_large", detail, 0, len(data), data[:KEPT_BYTES])
    return decode_document(data)


def _part(source: Source, start: int, end: int, read: Chunk | Document, *, is_history: bool) -> Part:
    return Part(source.id, source.owner, start, end, read.lo, read.hi, read.file_time, is_history)


def _lines(part: Part) -> int:
    return accounts(part).lines


def _ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    if not numbers:
        return
    start = numbers[0]
    for before, after in pairwise(numbers):
        if after != before + 1:
            yield start, before + 1
            start = after
    yield start, numbers[-1] + 1

"""Quarantine: a record that sentineld itself fails on is left out and told, and holds up nothing else.

What is raised over a batch, for a fault of our own, would be raised again by every daemon that reads the same
bytes: one line would leave everybody without a state file. So the pipeline begins anew from the database,
which holds nothing of that batch, and the batch is taken in halves, in the order in which its records count,
until a single record is left that nothing can be made of. That one is rejected, as malformed input is, and is
committed with what comes behind it. Where many records of a batch are such, the rest of it is taken file by
file, and what is left of a file in which there is another one is rejected whole: the effort is bounded.

A fault that is raised over everything would pass all telemetry over unjudged. So where many records in a row
are left out, and none could be judged since the start or for an hour, records of our own are judged
(``control``). Where they cannot be judged either, it is raised on: the daemon ends, and nothing is passed
over. Else it is the records' fault, and whoever floods us with such ones ends nothing.

Faults of the storage are others: see ``Service.run``.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from sentineld import clock
from sentineld.batch import Part, cut_part, effective_times, leave_out, merge_keys, record_keys
from sentineld.content import HASH_BYTES
from sentineld.decode import INTERNAL_ERROR, Reject
from sentineld.errors import SentineldError
from sentineld.framing import DOCUMENT
from sentineld.identity import Source
from sentineld.instant import SECOND_US
from sentineld.intake import Batch, failed, learned
from sentineld.pipeline import Outcome, Pipeline
from sentineld.tail import Tail

#: Attempts on one batch that may fail before files are not cut any more: enough for some dozens of records.
MAX_FAILURES = 400
#: After so many records that are left out in a row, and none that was judged for so long (microseconds), it
#: is found out whether anything can be judged.
MAX_IN_A_ROW, MAX_IDLE_US = 256, 3600 * SECOND_US

#: Of what SQLite raises: that a value cannot be stored, which is no fault of the storage.
_UNFIT = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
#: What is raised whatever is read.
_OF_THE_MACHINE = (sqlite3.Error, OSError, SentineldError, MemoryError)


def is_over_input(error: Exception) -> bool:
    """Say whether an error may be due to what was read."""
    return isinstance(error, _UNFIT) or not isinstance(error, _OF_THE_MACHINE)


class Quarantine:
    """Takes batches through a pipeline, and leaves out what that fails on.

    ``pipeline`` gives the one in use; ``renew`` puts another in its place, which knows what the database
    does. ``control`` raises where nothing can be judged, whatever it is. ``on_left_out`` is told of records
    before they are committed as rejected: the path, the rejects, what was raised. ``rest`` is called between
    attempts.
    """

    def __init__(
        self,
        tail: Tail,
        pipeline: Callable[[], Pipeline],
        renew: Callable[[], None],
        control: Callable[[], None],
        on_left_out: Callable[[str, list[Reject], Exception], None],
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._tail = tail
        self._pipeline = pipeline
        self._renew = renew
        self._control = control
        self._on_left_out = on_left_out
        self._rest = rest
        #: Records left out since the last one that was judged; when that was (monotonic clock).
        self._in_a_row = 0
        self._judged_us: int | None = None

    def read(self, batch: Batch, at_us: int, *, last_scan_us: int = 0) -> Iterator[tuple[Batch, Outcome]]:
        """Take in a batch: yield it, or the pieces that it had to be taken in, each once it is committed.

        Afterwards the batch holds the sources as they were committed. Raises what the pipeline raises for
        faults of the storage, and for those that no record explains; ``RuntimeError`` where nothing at all
        can be judged.
        """
        outcome = self._attempt(batch, at_us, last_scan_us)
        if isinstance(outcome, Outcome):
            yield batch, outcome
            return
        pieces = _Pieces(batch, self._tail)
        # Of these the last one is next.
        todo = pieces.halves(batch.parts)
        waiting: list[Part] = []
        failures = 1
        while todo:
            parts = todo.pop()
            piece = pieces.make([*waiting, *parts], is_last=not todo)
            outcome = self._attempt(piece, at_us, 0 if todo else last_scan_us)
            if isinstance(outcome, Outcome):
                waiting = []
                pieces.note(piece)
                yield piece, outcome
                continue
            failures += 1
            if failures > MAX_FAILURES:
                pieces.keep_whole(parts)
            halves = pieces.halves(parts)
            if len(halves) > 1:
                todo += halves
                continue
            # Committed with what comes behind it: where nothing can be judged, nothing is passed over.
            waiting += [self._without_records(part, pieces.source(part), outcome) for part in parts]
            if not todo:
                todo.append([])

    def _attempt(self, batch: Batch, at_us: int, last_scan_us: int) -> Outcome | Exception:
        """Take in a batch, or return what was raised over it; then everything is as it was before."""
        is_judged = any(len(part.rows) for part in batch.parts)
        if not is_judged:
            self._count_left_out(batch.parts)
        try:
            outcome = self._pipeline().read(batch, at_us, last_scan_us=last_scan_us)
        except Exception as error:
            if not is_over_input(error) or not any(map(_offsets, batch.parts)):
                raise
            self._renew()
            self._rest()
            return error
        if is_judged:
            self._note_judged()
        return outcome

    def _note_judged(self) -> None:
        self._in_a_row = 0
        self._judged_us = clock.monotonic_us()

    def _count_left_out(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self._in_a_row += sum(item.reason == INTERNAL_ERROR for item in part.rejects)
        if self._in_a_row < MAX_IN_A_ROW:
            return
        if self._judged_us is not None and clock.monotonic_us() - self._judged_us <= MAX_IDLE_US:
            return
        try:
            self._control()
        except Exception as error:
            if not is_over_input(error):
                raise
            raise RuntimeError("sentineld fails on all telemetry that it reads") from error
        self._note_judged()

    def _without_records(self, part: Part, source: Source, error: Exception) -> Part:
        starts = _offsets(part)
        rejects = [
            failed(error, start, self._tail.bytes_at(source, start, end).rstrip(b"\n"))
            for start, end in pairwise([*starts, part.end])
        ]
        if not rejects:
            return part
        self._on_left_out(source.path, rejects, error)
        part = leave_out(part, rejects)
        part.failure = error
        return part


class _Pieces:
    """One batch, to be committed piece by piece."""

    def __init__(self, batch: Batch, tail: Tail) -> None:
        self._batch = batch
        self._tail = tail
        self._begun = batch.begun
        #: How far the sources that have parts are committed, and how all stand at the end of the batch.
        self._reached = dict(batch.committed)
        self._finals = {number: after for number, (_, after) in batch.sources.items()}
        self._ends = {part.source_id: part.end for part in batch.parts}
        #: Sources that are taken whole: no position stands inside of a document whose past has changed.
        self._whole = {
            number
            for number, source in self._reached.items()
            if not self._finals[number].elements.startswith(source.elements)
        }

    def source(self, part: Part) -> Source:
        """Return the source of a part, as it stands at the end of the batch."""
        return self._finals[part.source_id]

    def keep_whole(self, parts: Sequence[Part]) -> None:
        """Cut the files of these parts no more."""
        self._whole.update(part.source_id for part in parts)

    def halves(self, parts: list[Part]) -> list[list[Part]]:
        """Return the later and the earlier half of the records of some parts; or the parts, of one record."""
        units = self._units(parts)
        if len(units) < 2:
            return [parts]
        totals, early = Counter(units), Counter(units[: len(units) // 2])
        halves: list[list[Part]] = [[], []]
        later, earlier = halves
        is_cut: set[int] = set()
        for number, part in enumerate(parts):
            if part.source_id in is_cut:
                later.append(part)
            elif early[number] == totals[number]:
                earlier.append(part)
            else:
                is_cut.add(part.source_id)
                rest = part
                if early[number]:
                    first, rest = cut_part(part, _offsets(part)[early[number]])
                    earlier.append(first)
                later.append(rest)
        return halves

    def make(self, parts: list[Part], *, is_last: bool) -> Batch:
        """Return some parts, the next ones of their sources, as a batch of their own."""
        piece = Batch(parts, begun=self._begun)
        for part in parts:
            part.duplicates, part.conflicts = set(), 0
            piece.put(self._reached[part.source_id], self._behind(piece, part))
        if is_last:
            piece.incidents = self._batch.incidents
            untouched = {k: item for k, item in self._batch.sources.items() if k not in self._reached}
            piece.sources.update(untouched)
        return piece

    def note(self, piece: Batch) -> None:
        """Take note that a piece was committed."""
        self._begun = []
        for number, (_, after) in piece.sources.items():
            expected, _ = self._batch.sources[number]
            self._batch.sources[number] = (expected, after)
            if number in self._reached:
                self._reached[number] = after

    def _behind(self, piece: Batch, part: Part) -> Source:
        """Return the source as it stands behind a part, with the accounts that it had before the piece."""
        number = part.source_id
        before, final = piece.latest(self._reached[number]), self._finals[number]
        if part.end == self._ends[number]:
            return replace(
                final,
                lines=before.lines,
                accepted=before.accepted,
                ignored=before.ignored,
                rejected=before.rejected,
                duplicates=before.duplicates,
                conflicts=before.conflicts,
                clamped=before.clamped,
                timeless=before.timeless,
                unknown=before.unknown,
                blank=before.blank,
            )
        if number in self._whole and before.kind == DOCUMENT:
            return before
        if before.kind == DOCUMENT:
            # As if the document ended here: the rest is new when it is read again.
            after = replace(before, pos=part.end, elements=final.elements[: part.end * HASH_BYTES])
        else:
            after = self._tail.advance(before, part.end, is_skipping=part.is_skipping)
        return learned(after, part)

    def _units(self, parts: Sequence[Part]) -> list[int]:
        """Return for each record, in the order in which they count, the number of its part."""
        found: list[tuple[int, int, int]] = []
        latest: dict[int, int] = {}
        for number, part in enumerate(parts):
            source_id, offsets = part.source_id, part.rows.offsets
            if source_id in self._whole and any(source_id == parts[at].source_id for _, at, _ in found):
                continue
            keys = record_keys(merge_keys(effective_times(part), latest.get(source_id)), offsets)
            key_at = dict(zip(offsets, keys, strict=True))
            key = latest.get(source_id, part.lo)
            for offset in _offsets(part):
                key = key_at.get(offset, key)
                found.append((key, number, offset))
                if source_id in self._whole:
                    break
            latest[source_id] = key
        return [number for _, number, _ in sorted(found)]


def _offsets(part: Part) -> list[int]:
    """Return where the records of a part begin that were not rejected."""
    return sorted({*part.rows.offsets, *part.rows.ignored})

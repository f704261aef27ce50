"""Numbering: what the numbers that an agent gives its own records tell of records that are missing.

A record may carry a whole number ``seq``: inside one file each is one more than the one before. Whoever takes
lines out of a file before they are read has to number the rest anew; who does not is found here. Only what is
certain is told, for honest agents restart, rotate their files and write from several threads:

* Numbers are compared inside one file, and a file begins with any number. What came before does not count
  where the file was cut, replaced or written anew (its offsets then begin again).
* A file may hold several counts at once (sessions, processes under one id), and 0 or 1 begins a new one. A
  number that goes on with any of them, or with one in another file of the agent, is in order.
* Any other number waits until ``PATIENCE`` more numbered records of the agent have come: they may bring what
  is missing before it, or show that the count below it goes on without it, so that it began one of its own.
* Then it is a jump. That counts only after ``ESTABLISHED`` steps by one, and only where nothing stands in
  between that could not be read.
* Where a number moves back to an older file, the agent counts over several files; where there are more counts
  than are remembered, nobody knows which one goes on. Then no jump counts for the next ``UNSURE`` records.

``seq_gap``: numbers are missing. ``seq_repeat``: a number came again, or a lower one, in a count that was in
order; lines that are written twice and counts that are restored from a copy look like this too. ``seq_end``:
records of a file that was numbered carry no numbers any more.

All of it is pure, and what is remembered of an agent is bounded.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

GAP, REPEAT, END = "seq_gap", "seq_repeat", "seq_end"
#: Numbers lie below this.
LIMIT = 1 << 63
#: Steps by one after which a count is one.
ESTABLISHED = 16
#: Numbered records of the agent that may come before one that is late; and records without a number after
#: which a file is numbered no more.
PATIENCE = 16
#: Numbered records of the agent for which no jump counts after it was seen that none is certain.
UNSURE = 4096
#: Files of an agent, and counts in one file, that are remembered: the latest ones.
MAX_FILES, MAX_COUNTS = 4, 8
#: Numbered records of the agent after which a count that did not go on has ended.
_ENDED = 256


class Item(NamedTuple):
    """One record of a file: its offset, its number (None: it has none), and what was refused before it.

    ``refused`` counts the lines of the file that could not be read, from its beginning. ``is_copy``: the
    record was read before, under its explicit id.
    """

    offset: int
    number: int | None
    refused: int
    is_copy: bool = False


class Finding(NamedTuple):
    """What was found: ``kind``, the file and the offset of the record that shows it, and a sentence.

    ``position`` is that of the item, among those given, at which it became certain.
    """

    kind: str
    source_id: int
    offset: int
    position: int
    detail: str


@dataclass(slots=True)
class Count:
    """One count in a file: its numbers, and how often it went up by one of late (at most ``ESTABLISHED``).

    ``at`` is how many numbered records the agent had with its last number, ``refused`` as in ``Item``.
    """

    first: int
    last: int
    steps: int
    at: int
    refused: int


@dataclass(slots=True)
class File:
    """What is remembered of one file: its last record, how many were numbered, and the counts in it.

    ``bare`` is how many records in a row had no number.
    """

    source_id: int
    offset: int = -1
    numbered: int = 0
    bare: int = 0
    counts: list[Count] = field(default_factory=list)


@dataclass(slots=True)
class Waiting:
    """A number that goes on with no count, and where it stands; ``at`` and ``refused`` as in ``Count``.

    ``is_known``: a count of the file had it before.
    """

    number: int
    source_id: int
    offset: int
    at: int
    refused: int
    is_copy: bool
    is_known: bool = False


@dataclass(slots=True)
class Numbering:
    """What is remembered of one agent's numbers; a value. ``numbered`` counts its numbered records.

    No jump counts before it is ``unsure_until``.
    """

    numbered: int = 0
    unsure_until: int = 0
    files: list[File] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    def forgive(self) -> None:
        """Forget the counts, and what was not told yet."""
        self.files.clear()
        self.waiting.clear()

    def follow(self, source_id: int, items: Iterable[Item]) -> Iterator[Finding]:
        """Take in an agent's records of one file, in the order of the file; yield what they show."""
        file = self._file(source_id)
        for position, item in enumerate(items):
            if file is None:
                if item.number is None:
                    continue
                file = File(source_id)
                self.files = [*self.files[-(MAX_FILES - 1) :], file]
            if item.offset <= file.offset:
                # Cut, replaced or written anew: another beginning.
                file.counts.clear()
                file.numbered = file.bare = 0
                self.waiting = [one for one in self.waiting if one.source_id != source_id]
            file.offset = item.offset
            if item.number is None:
                file.bare += 1
                if file.bare == PATIENCE and file.numbered >= ESTABLISHED:
                    detail = "the records before it were numbered"
                    yield Finding(END, source_id, item.offset, position, detail)
                continue
            file.bare = 0
            file.numbered += 1
            self.numbered += 1
            one = Waiting(item.number, source_id, item.offset, self.numbered, item.refused, item.is_copy)
            self._take(file, one)
            while self.waiting and self.waiting[0].at + PATIENCE <= self.numbered:
                yield from self._judge(self.waiting.pop(0), position)

    def _take(self, file: File, one: Waiting) -> None:
        """Put a number where it belongs; else it waits."""
        following = [count for count in file.counts if count.last == one.number - 1]
        if following:
            self._step(file, max(following, key=_at), one)
        elif one.number in (0, 1) or not (self._move(file, one) or file.counts):
            self._begin(file, one)
        elif file.counts[-1].at != self.numbered:
            one.is_known = any(count.first <= one.number <= count.last for count in file.counts)
            self.waiting.append(one)

    def _step(self, file: File, count: Count, one: Waiting) -> None:
        """Let a count go on, and then with whatever waited for that, or began before it was its turn."""
        following: Waiting | None = one
        while following is not None:
            count.last, count.refused, count.at = following.number, following.refused, self.numbered
            count.steps = min(count.steps + 1, ESTABLISHED)
            for early in [other for other in file.counts if other.first == count.last + 1]:
                file.counts.remove(early)
                count.last = early.last
            following = next((other for other in self.waiting if other.number == count.last + 1), None)
            if following is not None:
                self.waiting.remove(following)

    def _begin(self, file: File, one: Waiting, steps: int = -1) -> None:
        if len(file.counts) >= MAX_COUNTS:
            oldest = min(file.counts, key=_at)
            if self.numbered - oldest.at <= _ENDED:
                self.unsure_until = self.numbered + UNSURE
            file.counts.remove(oldest)
        count = Count(one.number, one.number, steps, self.numbered, one.refused)
        file.counts.append(count)
        self._step(file, count, one)

    def _move(self, file: File, one: Waiting) -> bool:
        """Let a count of another file go on in this one, if there is one that can."""
        for other in self.files:
            for count in other.counts if other is not file else ():
                if count.last == one.number - 1:
                    other.counts.remove(count)
                    if other.source_id > file.source_id:
                        # Rotation leads to newer files only.
                        self.unsure_until = self.numbered + UNSURE
                    self._begin(file, one, count.steps)
                    return True
        return False

    def _judge(self, one: Waiting, position: int) -> Iterator[Finding]:
        """Say what a number is that has waited long enough."""
        file = next((file for file in self.files if file.source_id == one.source_id), None)
        if file is None or not file.counts:
            return
        where = (one.source_id, one.offset, position)
        lower = [count for count in file.counts if count.last < one.number]
        if one.is_known or not lower:
            in_order = [count.last for count in file.counts if count.steps >= ESTABLISHED]
            if in_order and not one.is_copy:
                yield Finding(REPEAT, *where, f"number {one.number}, and then {in_order[-1]}")
            if not one.is_copy and all(count.last != one.number for count in file.counts):
                self._begin(file, one)
            return
        # The nearest one, and of those with one number the latest.
        count = max(lower, key=lambda count: (count.last, count.at))
        if count.at > one.at:
            self._begin(file, one)
            return
        late = {
            other.number
            for other in self.waiting
            if other.source_id == one.source_id and count.last < other.number < one.number
        }
        self.waiting = [other for other in self.waiting if other.number not in late]
        missing = one.number - count.last - 1 - len(late)
        is_certain = count.refused == one.refused and self.numbered >= self.unsure_until
        if missing and is_certain and count.steps >= ESTABLISHED:
            first, last = count.last + 1, one.number - 1
            part = f" ({missing} of them)" if late else ""
            numbers = str(first) if first == last else f"{first} to {last}{part}"
            yield Finding(GAP, *where, f"missing before it: {numbers}")
        if missing and count.refused == one.refused:
            # It has to show again that it is one.
            count.steps = -1
        self._step(file, count, one)

    def _file(self, source_id: int) -> File | None:
        for file in self.files:
            if file.source_id == source_id:
                self.files.remove(file)
                self.files.append(file)
                return file
        return None


_at = attrgetter("at")

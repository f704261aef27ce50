"""Numbering: what the numbers that an agent gives its own records tell of records that are missing.

A record may carry a whole number ``seq``: inside one file each is one more than the one before. Whoever takes
lines out of a file before they are read has to number the rest anew; who does not is found here. Only what is
certain is told, for honest agents restart, rotate their files and write from several threads:

* Numbers are compared inside one file only, and a file begins with any number. What came before does not
  count where the file was cut, replaced or written anew (its offsets then begin again).
* A file may hold several counts at once (sessions, processes under one id), and 0 or 1 begins a new one. A
  number that goes on with any of them, or with one in another file of the agent, is in order.
* A jump counts only in a count that went up by one ``ESTABLISHED`` times, and only where nothing stands
  between the two records that could not be read.
* What a jump leaves open may come late: it is told when ``PATIENCE`` more numbered records of the agent did
  not bring it. Where the number that was due comes, there was no jump: it is another count that began. Where
  another file brings a missing number, the agent counts over several files, and its jumps are told no more.

``seq_gap``: numbers are missing. ``seq_repeat``: a number came again, or a lower one, in a count that was in
order; lines that are written twice and counts that are restored from a copy look like this too. ``seq_end``:
records of a file that was numbered carry no numbers any more.

All of it is pure, and what is remembered of an agent is bounded.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

GAP, REPEAT, END = "seq_gap", "seq_repeat", "seq_end"
#: Numbers lie below this.
LIMIT = 1 << 63
#: Steps by one after which a count is one.
ESTABLISHED = 16
#: Numbered records of the agent that may come before one that is late; and records without a number after
#: which a file is numbered no more.
PATIENCE = 16
#: Files of an agent, and counts in one file, that are remembered: the latest ones.
MAX_FILES, MAX_COUNTS = 4, 8
#: Open jumps of an agent; the oldest ones are told as one where there are more.
MAX_JUMPS = 8
#: Numbered records of a file after which a count that did not go on has ended.
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
    """One count in a file: its last number, how often it went up by one (at most ``ESTABLISHED``).

    ``at`` is how many numbered records the file had with its last number, ``refused`` as in ``Item``.
    ``is_left``: a jump led away from it.
    """

    last: int
    steps: int
    at: int
    refused: int
    is_left: bool = False


@dataclass(slots=True)
class File:
    """What is remembered of one file: its last record, how many were numbered, and the counts in it.

    ``bare`` is how many records in a row had no number. ``is_crowded``: more counts than are remembered.
    """

    source_id: int
    offset: int = -1
    numbered: int = 0
    bare: int = 0
    is_crowded: bool = False
    counts: list[Count] = field(default_factory=list)


@dataclass(slots=True)
class Jump:
    """Numbers ``first`` to ``last`` of which ``missing`` did not come yet; told when ``due`` is reached."""

    first: int
    last: int
    missing: int
    source_id: int
    offset: int
    due: int


@dataclass(slots=True)
class Numbering:
    """What is remembered of one agent's numbers; a value. ``numbered`` counts its numbered records."""

    numbered: int = 0
    is_shared: bool = False
    files: list[File] = field(default_factory=list)
    jumps: list[Jump] = field(default_factory=list)

    def forgive(self) -> None:
        """Drop the jumps that were not told yet."""
        self.jumps.clear()

    def follow(self, source_id: int, items: Iterable[Item]) -> Iterator[Finding]:
        """Take in an agent's records of one file, in the order of the file; yield what they show."""
        file = self._file(source_id)
        for position, item in enumerate(items):
            if file is None:
                if item.number is None:
                    continue
                file = self._open(source_id)
            if item.offset <= file.offset:
                # Cut, replaced or written anew: another beginning.
                file.counts.clear()
                file.bare, file.is_crowded = 0, False
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
            before = self._take(file, item, item.number)
            if before is not None and not item.is_copy:
                detail = f"number {item.number} after {before}"
                yield Finding(REPEAT, source_id, item.offset, position, detail)
            yield from self._due(position)

    def _take(self, file: File, item: Item, number: int) -> int | None:
        """Put a number where it belongs; the last number of the count in which it should not come, if any."""
        following = [count for count in file.counts if count.last == number - 1]
        if following:
            self._go_on(max(following, key=_at), file, item, number)
            return None
        is_late = self._fill(file, number)
        if is_late and any(count.last > number for count in file.counts):
            return None
        lower = [count for count in file.counts if count.last < number]
        if number in (0, 1) or (not self._move(file, item, number) and not file.counts):
            self._begin(file, item, number)
            return None
        if file.counts[-1].at == file.numbered:
            # It has moved here.
            return None
        if lower:
            # The nearest one, and of those with one number the latest.
            count = max(lower, key=lambda count: (count.last, count.at))
            is_certain = count.steps >= ESTABLISHED and count.refused == item.refused
            if is_certain and not (is_late or self.is_shared or file.is_crowded):
                self._miss(Jump(count.last + 1, number - 1, 0, file.source_id, item.offset, 0))
            count.is_left = True
            self._begin(file, item, number, count.steps)
            return None
        latest = max(file.counts, key=_at)
        if latest.last != number:
            self._begin(file, item, number)
        return latest.last if latest.steps >= ESTABLISHED and not file.is_crowded else None

    def _go_on(self, count: Count, file: File, item: Item, number: int) -> None:
        if count.is_left:
            # What looked like a jump was another count.
            self.jumps = [
                jump for jump in self.jumps if (jump.source_id, jump.first) != (file.source_id, number)
            ]
        count.steps = min(count.steps + 1, ESTABLISHED)
        count.last, count.at, count.refused, count.is_left = number, file.numbered, item.refused, False

    def _move(self, file: File, item: Item, number: int) -> bool:
        """Let a count of another file go on in this one."""
        for other in self.files:
            for count in other.counts if other is not file else ():
                if count.last == number - 1:
                    other.counts.remove(count)
                    # Rotation leads to newer files only.
                    self.is_shared = self.is_shared or other.source_id > file.source_id
                    self._begin(file, item, number, min(count.steps + 1, ESTABLISHED))
                    return True
        return False

    def _fill(self, file: File, number: int) -> bool:
        for jump in self.jumps:
            if jump.first <= number <= jump.last:
                jump.missing -= 1
                if jump.first == number and jump.source_id == file.source_id:
                    # The count that the jump led away from goes on, and is not remembered any more.
                    jump.missing, file.is_crowded = 0, True
                self.is_shared = self.is_shared or jump.source_id != file.source_id
                break
        else:
            return False
        self.jumps = [] if self.is_shared else [jump for jump in self.jumps if jump.missing > 0]
        return True

    def _miss(self, jump: Jump) -> None:
        jump.missing = jump.last - jump.first + 1
        jump.due = self.numbered + PATIENCE
        self.jumps.append(jump)
        if len(self.jumps) > MAX_JUMPS:
            old = self.jumps.pop(0)
            kept = self.jumps[0]
            if kept.source_id == old.source_id:
                kept.first, kept.last = min(kept.first, old.first), max(kept.last, old.last)
                kept.missing, kept.due = min(kept.missing + old.missing, LIMIT), old.due

    def _due(self, position: int) -> Iterator[Finding]:
        while self.jumps and self.jumps[0].due <= self.numbered:
            jump = self.jumps.pop(0)
            for file in self.files:
                file.counts = [count for count in file.counts if not count.is_left]
                for count in file.counts:
                    # It has to show again that it is one.
                    count.steps = 0
            numbers = str(jump.first) if jump.first == jump.last else f"{jump.first} to {jump.last}"
            detail = f"missing before it: {numbers}"
            if jump.missing <= jump.last - jump.first:
                detail += f" ({jump.missing} of them)"
            yield Finding(GAP, jump.source_id, jump.offset, position, detail)

    def _begin(self, file: File, item: Item, number: int, steps: int = 0) -> None:
        if len(file.counts) >= MAX_COUNTS:
            # Where a jump led away from a count, what it left open is remembered.
            oldest = min(file.counts, key=lambda count: (not count.is_left, count.at))
            if not oldest.is_left and file.numbered - oldest.at <= _ENDED:
                file.is_crowded = True
            file.counts.remove(oldest)
        file.counts.append(Count(number, steps, file.numbered, item.refused))

    def _file(self, source_id: int) -> File | None:
        for file in self.files:
            if file.source_id == source_id:
                if file is not self.files[-1]:
                    self.files.remove(file)
                    self.files.append(file)
                return file
        return None

    def _open(self, source_id: int) -> File:
        file = File(source_id)
        self.files = [*self.files[-(MAX_FILES - 1) :], file]
        return file


def _at(count: Count) -> int:
    return count.at

"""Cuts: files that were cut or rewritten in place, until it is known whether they were copied before.

``copytruncate`` copies a file and cuts it: nothing is lost, if the copy is met. A copy was made before the
cut, so a whole scan that began after the cut has met it, or there is none: then the cut is evidence.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from sentineld.evidence import os_trouble
from sentineld.files import Files, shift_source
from sentineld.identity import Source
from sentineld.tree import base_name, uncompressed_name

#: Files that were cut in place whose copies are still recognised.
_MAX_CUT = 4096
#: How much a file's times may lag behind the clock, microseconds.
_TICK_US = 20_000

_VERDICTS = {
    "truncated": "the file is shorter than what was read; it is read again from its start",
    "rewritten": "bytes that were read have changed; the file is read again from its start",
}


@dataclass(slots=True)
class Cut:
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
class Cuts:
    """Files that were cut in place, by source, and copies that turned up before it was seen that one was."""

    files: Files
    _cut: dict[int, Cut] = field(default_factory=dict)
    #: Originals of copies that were met before it was seen that the original was cut, by scan.
    _copied: dict[int, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Cut]:
        """Give the cuts, the latest first."""
        return reversed(self._cut.values())

    def __contains__(self, source_id: int) -> bool:
        """Say whether the file of a source was cut."""
        return source_id in self._cut

    def get(self, source_id: int) -> Cut | None:
        """Return what happened to the file of a source; None where it was not cut."""
        return self._cut.get(source_id)

    def shift(self, step_us: int) -> None:
        """Keep how long ago everything was, after somebody set the wall clock."""
        for cut in self._cut.values():
            shift_source(cut.source, step_us)

    def add(
        self, source: Source, verdict: str, path: str, size: int, release: Callable[[Source], None]
    ) -> None:
        """Take note that a source's file was cut; ``release`` lets its copies go on by themselves."""
        cut = Cut(source, verdict, path, size, self.files.scan + 1)
        self._cut[source.id] = cut
        release(source)
        if self._copied.pop(source.id, None) is not None:
            cut.is_copied = True
            self.files.end(source)
        if len(self._cut) > _MAX_CUT:
            self._decide(self._cut.pop(next(iter(self._cut))), {})

    def note_copy(self, original: int, size: int) -> None:
        """Take note of a copy, of so many bytes, of what was read of a source that was cut."""
        cut = self._cut.get(original)
        if cut is None:
            # It is shorter than what was read, which nobody has seen yet.
            self._copied[original] = self.files.scan
            return
        if not cut.is_copied:
            cut.is_copied = True
            self.files.end(cut.source)
            known = max(size, cut.source.pos)
            if cut.size > known:
                self.files.tell_gap(replace(cut.source, pos=known), cut.size)

    def accept(self, source: Source) -> None:
        """Replace a source by its committed successor."""
        cut = self._cut.get(source.id)
        if cut is not None:
            cut.source = source

    def forget_copied(self) -> None:
        """Forget copies whose originals were not cut in the last two scans."""
        self._copied = {number: scan for number, scan in self._copied.items() if scan >= self.files.scan - 1}

    def decide(self, release: Callable[[Source], None], *, is_final: bool) -> None:
        """Tell of files that were cut or rewritten, and of which no copy has turned up."""
        listed: dict[str, dict[str, list[str]]] = {}
        for number, cut in list(self._cut.items()):
            if cut.until <= self.files.scan or is_final:
                release(cut.source)
                self._decide(self._cut.pop(number), listed)

    def _decide(self, cut: Cut, listed: dict[str, dict[str, list[str]]]) -> None:
        if cut.is_copied:
            return
        source, evidence = cut.source, self.files.evidence
        if cut.verdict == "truncated" and cut.size > source.pos:
            self.files.tell_gap(source, cut.size)
        elif cut.verdict == "truncated" and self._is_compressed(cut, listed):
            detail = "all that was known of it was read, and a new compressed copy has its name"
            evidence.charge("compressed", source.owner, cut.path, detail, source.id, 0, source.pos)
        else:
            detail = _VERDICTS[cut.verdict]
            evidence.charge(cut.verdict, source.owner, cut.path, detail, source.id, 0, source.pos)
        self.files.end(source)

    def _is_compressed(self, cut: Cut, listed: dict[str, dict[str, list[str]]]) -> bool:
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
            self.files.evidence.on_trouble(os_trouble(directory, error))
            return found
        for name in names:
            rotated = uncompressed_name(name)
            base = base_name(rotated) if rotated else ""
            if base:
                found.setdefault(base, []).append(name)
        return found

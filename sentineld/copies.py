"""Copies: files that hold what another one holds, or held before it was cut (``copytruncate``).

A copy of a file that is whole is not read until that one is cut: it holds nothing of its own. A copy of one
that was cut is read on behind what was read of the original. Between the copying and the cutting both files
are whole, so a file that may be becoming a copy is left alone for a moment: then it is plain what it is.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sentineld import identity
from sentineld.cuts import Cuts
from sentineld.evidence import os_trouble
from sentineld.files import File, Files
from sentineld.identity import Inode, Source
from sentineld.rotation import Named, base_of, named
from sentineld.tree import keeps_ending

#: How long a file that begins like a whole one is left alone, microseconds: that one may be about to be cut.
_COPYING_US = 2_000_000
#: A copy that is not named after its original must share this many bytes with it. Short beginnings are alike
#: by nature: many logs start with the same line.
MIN_COPY_BYTES = identity.FINGERPRINT_BYTES
#: A copy that is shorter than what was read of its original is recognised up to this size: all is compared.
MAX_COMPARED_BYTES = 64 << 20
#: The signature of a source that is a copy: this word, a colon, the original's number.
_COPY = "copy"
#: A source that goes on for another one has its own accounts.
_NO_ACCOUNTS: dict[str, Any] = dict.fromkeys(
    (
        "lines",
        "accepted",
        "ignored",
        "rejected",
        "duplicates",
        "conflicts",
        "clamped",
        "timeless",
        "bytes_read",
    ),
    0,
)


@dataclass(slots=True)
class _Suspect:
    """A file that may be becoming a copy of one that is whole, and is left alone for a moment.

    ``original`` is the source whose first ``size`` bytes it held when that was still whole (0: none);
    ``stamp`` tells whether it has changed since.
    """

    met_us: int
    size: int
    stamp: tuple[int, int]
    original: int = 0


@dataclass(slots=True)
class _Copy:
    """A copy of a file that is whole.

    ``original`` and ``id`` name the file and the source that it is a copy of; its first ``size`` bytes stand
    there, found when its stamp was ``stamp``.
    """

    original: Inode
    id: int
    size: int
    stamp: tuple[int, int] = (-1, -1)


@dataclass(slots=True)
class Copies:
    """All files that are copies, or may be becoming some; ``next_id`` numbers new sources."""

    files: Files
    cuts: Cuts
    next_id: Callable[[], int]
    _copies: dict[Inode, _Copy] = field(default_factory=dict)
    _suspects: dict[Inode, _Suspect] = field(default_factory=dict)

    def restore(self, sources: list[Source]) -> None:
        """Take over what the database knows of line files and of those that are gone."""
        inodes = {source.id: (source.dev, source.ino) for source in sources}
        for source in sources:
            word, _, number = source.signature.partition(":")
            if not source.is_gone and word == _COPY and int(number) in inodes:
                copy = _Copy(inodes[int(number)], int(number), source.pos)
                self._copies[(source.dev, source.ino)] = copy

    def shift(self, step_us: int) -> None:
        """Keep how long ago everything was, after somebody set the wall clock."""
        for suspect in self._suspects.values():
            suspect.met_us += step_us

    def __contains__(self, key: Inode) -> bool:
        """Say whether a file is a copy."""
        return key in self._copies

    def is_copying(self, key: Inode) -> bool:
        """Say whether a file is left alone for a moment, and holds nothing but what its original holds."""
        suspect = self._suspects.get(key)
        return suspect is not None and (bool(suspect.original) or not suspect.size)

    def acquit(self, key: Inode) -> None:
        """Leave a file alone no longer: it is known what it is."""
        self._suspects.pop(key, None)

    def forget(self, key: Inode) -> None:
        """Forget a copy that is followed no longer."""
        self._copies.pop(key, None)

    def moved(self, original: Source, key: Inode) -> None:
        """Take note that an original goes on in another file."""
        for copy in self._copies.values():
            if copy.id == original.id:
                copy.original = key

    def end_scan(self) -> None:
        """Forget files that were left alone for long."""
        horizon_us = self.files.evidence.clock() - 2 * _COPYING_US
        self._suspects = {key: item for key, item in self._suspects.items() if item.met_us > horizon_us}

    # Where a new file begins.

    def begin(self, new: Source, fd: int, original: Source | None, *, is_final: bool) -> Source | None:
        """Return a new file's source with the position where reading begins; None: leave it for a moment.

        ``original`` is what it held under another owner; None where the file was not known.
        """
        files, path, key = self.files, new.path, (new.dev, new.ino)
        base = base_of(files, path)
        if not base and original is None and key not in self._suspects and not any(self.cuts):
            # Of most files, there is nothing that they could be a copy of.
            return new
        others = [] if original is not None else named(files, base)
        # A copy is complete once its original is seen to be cut: so its size is asked for after that.
        status = os.fstat(fd)
        original = original or self._original(base, fd, status, others)
        if original is not None:
            new = _behind(new, original)
        elif self._was_copied(key, status):
            # It ends before the position: lines came between the copying and the cutting, and were read.
            new = identity.proven(new, fd, status.st_size)
        elif (copied := self._copied_from(path, others, fd, status)) is not None:
            new = identity.proven(new, fd, min(status.st_size, copied.pos))
            new.kind, new.format, new.kept = copied.kind, copied.format, copied.kept
            new.signature, new.look_us = f"{_COPY}:{copied.id}", copied.look_us
            self._copies[key] = _Copy((copied.dev, copied.ino), copied.id, status.st_size)
            self.acquit(key)
        else:
            return None if not is_final and self._may_become(base, fd, status, others) else new
        # Committed at once: after a restart nobody could tell any more what it is a copy of.
        files.begin(new)
        return new

    def _original(self, base: str, fd: int, status: os.stat_result, others: list[Named]) -> Source | None:
        """Return the source of which a new file is a copy, made before that one was cut (copytruncate).

        A file that begins like one that is still whole is a file of its own: agents repeat themselves.
        """
        candidates = [source for source, is_whole in others if is_whole is False]
        cuts = list(self.cuts)
        if cuts:
            head = identity.head(fd)
            candidates += [
                cut.source
                for cut in cuts
                if cut.source.path == base or (cut.source.pos >= MIN_COPY_BYTES and cut.source.fp == head)
            ]
        for source in candidates:
            if source.pos and identity.begins_with(fd, status.st_size, source):
                self.cuts.note_copy(source.id, status.st_size)
                return source
        return None

    def _was_copied(self, key: Inode, status: os.stat_result) -> bool:
        """Say whether a file is, to its end, a copy of what was read of a file that was cut since."""
        suspect = self._suspects.get(key)
        if suspect is None or not suspect.original or suspect.stamp != identity.stamp(status):
            return False
        followed = self.files.by_inode.values()
        file = next((file for file in followed if file.source.id == suspect.original), None)
        is_cut = self.cuts.get(suspect.original) is not None
        if not is_cut and file is not None and self.files.is_unchanged(file):
            return False
        self.cuts.note_copy(suspect.original, suspect.size)
        del self._suspects[key]
        return True

    def _copied_from(self, path: str, others: list[Named], fd: int, status: os.stat_result) -> Source | None:
        """Return the source, still whole, in whose file all of a new one stands that is named after it."""
        size = status.st_size
        is_named = not keeps_ending(path)
        if not (MIN_COPY_BYTES <= size <= MAX_COMPARED_BYTES or (is_named and 0 < size < MIN_COPY_BYTES)):
            return None
        for source, is_whole in others:
            file = self.files.followed(source)
            other = None if file is None or not is_whole or not source.pos else self.files.descriptor(file)
            if (
                other is not None
                and source.owner == status.st_uid
                and size <= os.fstat(other).st_size
                and identity.are_alike(fd, other, 0, size)
            ):
                return source
        return None

    # Files that may be becoming copies.

    def _may_become(self, base: str, fd: int, status: os.stat_result, others: list[Named]) -> bool:
        if not base:
            return False
        key, now_us = (status.st_dev, status.st_ino), self.files.evidence.clock()
        suspect = self._suspects.get(key)
        if suspect is None:
            suspect = _Suspect(now_us, -1, (-1, -1))
        if suspect.stamp != identity.stamp(status):
            # It is being copied, or was not met before.
            original = self._prefixed(others, base, fd, status.st_size)
            if original is None:
                self.acquit(key)
                return False
            # Only a copy is given more time while it grows: whoever has more to say would never be heard.
            is_copying = bool(original) or suspect.size < 0
            met_us = now_us if is_copying else suspect.met_us
            suspect = _Suspect(met_us, status.st_size, identity.stamp(status), original)
        if 0 <= now_us - suspect.met_us < _COPYING_US:
            self._suspects[key] = suspect
            return True
        self.acquit(key)
        return False

    def _prefixed(self, others: list[Named], base: str, fd: int, size: int) -> int | None:
        """Say whether a file begins as a whole one does that was read: None where it does not.

        The number is that one's source where all of the file stands in it, else 0.
        """
        for source, is_whole in others:
            if is_whole is None and source.pos and identity.begins_with(fd, size, source):
                return 0
            if not is_whole or not source.pos:
                continue
            if size <= MAX_COMPARED_BYTES:
                with self._opened(source, base) as other:
                    if os.fstat(other).st_size < source.pos:
                        # It is being cut at this very moment: the next look will tell.
                        return 0
                    if size <= os.fstat(other).st_size and identity.are_alike(fd, other, 0, size):
                        return source.id if size else 0
            if size >= source.pos and identity.begins_with(fd, size, source):
                return 0
        return None

    @contextmanager
    def _opened(self, source: Source, path: str) -> Iterator[int]:
        """Open a source's file: another one may have taken its place at its path."""
        file = self.files.followed(source)
        held = None if file is None else self.files.descriptor(file)
        fd = self.files.open_path(path) if held is None else held
        try:
            yield fd
        finally:
            if held is None:
                os.close(fd)

    # Files that are copies.

    def is_held(self, file: File) -> bool:
        """Say whether a file is a copy of which its original holds everything, and so is read there."""
        copy = self._copies.get(file.key) if self._copies else None
        if copy is None:
            return False
        files = self.files
        original = files.get(copy.original)
        if original is not None and original.source.id != copy.id:
            original = None
        try:
            fd = files.descriptor(file)
            other = None if original is None else files.descriptor(original)
            if fd is None:
                return True
            if original is not None and other is not None and _is_part_of(copy, fd, other, original.source):
                return True
            self._release(file, None if original is None else original.source)
        except OSError as error:
            files.evidence.on_trouble(os_trouble(file.source.last_path, error))
            return True
        return False

    def release(self, original: Source) -> None:
        """Let the copies of a source go on by themselves: its file was cut, or is given up."""
        for key in [key for key, copy in self._copies.items() if copy.id == original.id]:
            file = self.files.get(key)
            if file is not None:
                self._release(file, original)

    def _release(self, file: File, original: Source | None) -> None:
        """Read a copy on behind what was read of its original, which was cut or is no longer like it."""
        copy = self._copies.pop(file.key)
        cut = self.cuts.get(copy.id)
        original = cut.source if cut is not None else original
        source, position = file.source, file.source.pos
        fd = self.files.descriptor(file)
        if original is not None and fd is not None:
            size = os.fstat(fd).st_size
            position = max(position, min(copy.size, original.pos))
            if original.pos > copy.size and identity.begins_with(fd, size, original):
                position = original.pos
            if cut is not None or not self.files.is_whole(original):
                self.cuts.note_copy(copy.id, size)
            if position > source.pos:
                # A source's position moves by reading only: this one ends, another goes on.
                self.files.end(replace(source, signature=""))
                new = replace(
                    source,
                    id=self.next_id(),
                    format=original.format,
                    kept=original.kept,
                    **_NO_ACCOUNTS,
                )
                source = identity.proven(new, fd, position)
                self.files.begin(source)
        file.source = replace(source, signature="")
        self.files.changed[file.source.id] = file.source
        self.files.note(file)


def _is_part_of(copy: _Copy, fd: int, other: int, original: Source) -> bool:
    """Say whether a copy still holds nothing but what its original holds, and take note of its size."""
    status, whole = os.fstat(fd), os.fstat(other)
    if identity.verdict(other, whole, original, identity.generation(other)) is not None:
        return False
    is_new = (status.st_size, identity.stamp(status)) != (copy.size, copy.stamp)
    if status.st_size > whole.st_size or (
        is_new and not identity.are_alike(fd, other, copy.size, status.st_size)
    ):
        return False
    copy.size, copy.stamp = status.st_size, identity.stamp(status)
    return True


def _behind(new: Source, original: Source) -> Source:
    return replace(
        new,
        kind=original.kind,
        pos=original.pos,
        fp_len=original.fp_len,
        fp=original.fp,
        tail_len=original.tail_len,
        tail=original.tail,
        chain=original.chain,
        is_skipping=original.is_skipping,
        look_us=original.look_us,
        format=original.format,
        kept=original.kept,
    )

"""Files: the line files that are followed, with their names, sizes, news and descriptors.

What a file is, and where reading it begins, is decided elsewhere (``tail``, ``copies``, ``successors``); here
stands what is known of each. A look at one file costs the same whatever number of files there are.
"""

import errno
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sentineld import identity
from sentineld.evidence import Evidence, os_trouble
from sentineld.identity import Inode, Source
from sentineld.quota import Quota
from sentineld.unreadable import Unreadable

#: Files out of reach that are remembered, so that they resume when they come back; the oldest go first.
_MAX_AWAY = 10_000
#: How long they are remembered, microseconds.
_AWAY_US = 7 * 86_400 * 1_000_000
_DAY_US = 86_400 * 1_000_000
#: Days after which tools are known to remove their transcripts by themselves, with some room below 30.
_OLD_DAYS = 20
#: Names that files had before, of which copies may turn up.
_MAX_FORMER = 4096


@dataclass(slots=True)
class File:
    """A file that is followed: its source, its descriptor if it is open, and what the last look found."""

    source: Source
    fd: int | None = None
    size: int = 0
    #: The size when the file was last found to be what was read: behind that, it may have been cut meanwhile.
    held: int = 0
    #: The size at which nothing but an unfinished line was left; -1 for never.
    examined: int = -1
    #: The file's stamp when its head and the bytes before the position were last found unchanged.
    checked: tuple[int, int] = (-1, -1)
    #: Number of the last scan that met the file.
    seen: int = 0
    gone_us: int | None = None
    #: Whether it took the place of a former file, with all that had been read of that one.
    is_successor: bool = False

    @property
    def key(self) -> Inode:
        """Device and inode."""
        return self.source.dev, self.source.ino

    @property
    def is_read(self) -> bool:
        """Whether nothing but an unfinished line is left."""
        return self.size in (self.source.pos, self.examined)


def _nobody(_file: File) -> bool:
    return False


def _nothing(_key: Inode) -> None:
    return


@dataclass(slots=True)
class Files:
    """All line files that are followed, and those that are remembered.

    ``changed`` takes the sources that have to be committed although nothing was read of them, by id.
    ``is_held`` says of a file that it has no news whatever its size; ``on_drop`` is told of inodes that are
    followed no longer. ``max_open`` bounds descriptors.
    """

    evidence: Evidence
    quota: Quota
    changed: dict[int, Source]
    open_path: Callable[[str], int]
    max_open: int
    is_held: Callable[[File], bool] = _nobody
    on_drop: Callable[[Inode], None] = _nothing
    unreadable: Unreadable = field(init=False)
    #: Sources that went on for others, as they began: with the format and the memory of those.
    begun: dict[int, Source] = field(default_factory=dict)
    #: Number of the latest scan.
    scan: int = 0
    by_inode: dict[Inode, File] = field(default_factory=dict)
    #: Files that have unread bytes, and files that the last scan did not meet.
    news: set[Inode] = field(default_factory=set)
    gone: set[Inode] = field(default_factory=set)
    #: Files that are known but were not met since the start, or went out of reach.
    away: dict[Inode, list[Source]] = field(default_factory=dict)
    #: Files that were not met since the start, whose inodes other files have now, by source: what became of
    #: them is to be seen at the end of a scan.
    replaced: dict[int, Source] = field(default_factory=dict)
    inode_of: dict[str, Inode] = field(default_factory=dict)
    #: Which file had a name before it was renamed, or another one took its place.
    former: dict[str, Inode] = field(default_factory=dict)
    _open: OrderedDict[Inode, File] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.unreadable = Unreadable(self.evidence, self._latest_source)

    def restore(self, source: Source) -> None:
        """Take over a source that the database knows."""
        key = (source.dev, source.ino)
        self.away.setdefault(key, []).append(source)
        self.inode_of[source.last_path] = key

    def shift(self, step_us: int) -> None:
        """Keep how long ago everything was, after somebody set the wall clock."""
        away = (source for sources in self.away.values() for source in sources)
        followed = (file.source for file in self.by_inode.values())
        for source in [*followed, *away, *self.replaced.values()]:
            shift_source(source, step_us)
        for file in self.by_inode.values():
            if file.gone_us is not None:
                file.gone_us += step_us
        self.unreadable.shift(step_us)

    def close(self) -> None:
        """Close every descriptor."""
        for file in self._open.values():
            if file.fd is not None:
                os.close(file.fd)
                file.fd = None
        self._open.clear()

    # What is known.

    def get(self, key: Inode | None) -> File | None:
        """Return the file that is followed by its inode."""
        return None if key is None else self.by_inode.get(key)

    def at(self, path: str) -> File | None:
        """Return the file that is followed at a path."""
        return self.get(self.inode_of.get(path))

    def followed(self, source: Source) -> File | None:
        """Return the file of a source, if that is what its file is still followed as."""
        file = self.by_inode.get((source.dev, source.ino))
        return file if file is not None and file.source.id == source.id else None

    def known_at(self, key: Inode | None) -> list[Source]:
        """Return every source that is known of an inode, oldest first."""
        if key is None:
            return []
        file = self.by_inode.get(key)
        return self.away.get(key, []) if file is None else [file.source]

    def is_known(self, key: Inode) -> bool:
        """Say whether an inode is followed or remembered."""
        return key in self.by_inode or key in self.away

    def is_whole(self, source: Source) -> bool:
        """Say whether a source's file is followed and still holds what was read."""
        file = self.followed(source)
        return file is not None and self.is_unchanged(file)

    # Following.

    def adopt(self, file: File, fd: int, status: os.stat_result, path: str) -> File:
        """Follow a file from now on, through an open descriptor."""
        key = file.key
        if file.fd is not None and file.fd != fd:
            os.close(file.fd)
        file.fd, file.size, file.held, file.gone_us = fd, status.st_size, status.st_size, None
        file.seen = self.scan
        if key not in self.by_inode:
            self.quota.add(file.source.owner)
        self.by_inode[key] = file
        self.place(file, path)
        self._keep_open(key, file)
        self.note(file)
        return file

    def drop(self, key: Inode, but: int | None = None) -> None:
        """Follow a file no longer; its descriptor is closed, except for ``but``."""
        file = self.by_inode.pop(key)
        self.on_drop(key)
        self.quota.drop(file.source.owner)
        self.news.discard(key)
        self.gone.discard(key)
        self._open.pop(key, None)
        if self.inode_of.get(file.source.last_path) == key:
            del self.inode_of[file.source.last_path]
        if file.fd is not None and file.fd != but:
            os.close(file.fd)
            file.fd = None

    def place(self, file: File, path: str) -> None:
        """Take note that a file stands at a path."""
        key = file.key
        former = file.source.last_path
        if former != path and self.inode_of.get(former) == key:
            del self.inode_of[former]
            self._leave(former, key)
        there = self.inode_of.get(path, key)
        if there != key:
            self._leave(path, there)
        self.inode_of[path] = key
        file.source.last_path = path

    def end(self, source: Source) -> None:
        """Let a source be committed as one that is followed no longer."""
        self.changed[source.id] = identity.ended(source)

    def begin(self, source: Source) -> None:
        """Let a source that goes on for another one be committed at once, and take note of how it began."""
        self.changed[source.id] = self.begun[source.id] = source

    def send_away(self, source: Source) -> None:
        """Remember a source whose file is out of reach."""
        source.away_us = self.evidence.clock()
        self.changed[source.id] = source
        self.away.setdefault((source.dev, source.ino), []).append(source)
        self.limit_away()

    def forget_away(self, source: Source) -> None:
        """Forget a source that was out of reach: it goes on elsewhere."""
        if self.replaced.pop(source.id, None) is not None:
            return
        rest = [other for other in self.away.pop((source.dev, source.ino), []) if other is not source]
        if rest:
            self.away[(source.dev, source.ino)] = rest

    def limit_away(self) -> None:
        """End the sources that have been out of reach the longest, where there are too many."""
        while len(self.away) > _MAX_AWAY:
            for oldest in self.away.pop(next(iter(self.away))):
                self.end(oldest)

    # Looking.

    def note(self, file: File) -> None:
        """Take note of whether a file has news; whoever changes its size or its position calls this."""
        key = file.key
        if file.is_read or self.by_inode.get(key) is not file or self.is_held(file):
            self.news.discard(key)
            if not self.news:
                # A set that was large stays large inside, and slow to go through.
                self.news.clear()
        else:
            self.news.add(key)

    def resize(self, file: File, size: int) -> None:
        """Take note of a file's size, which is not below its position."""
        if size < file.size:
            self.tell_gap(replace(file.source, pos=size), file.size)
        file.size = size

    def measure(self, file: File) -> bool:
        """Look at the size of a file that may be gone, if it is open; say whether it changed."""
        if file.fd is None:
            return False
        size = os.fstat(file.fd).st_size
        is_changed = size != file.size
        if size >= file.source.pos:
            self.resize(file, size)
        elif is_changed:
            # The next read finds out that it was cut.
            file.examined = -1
        self.note(file)
        return is_changed

    def is_unchanged(self, file: File) -> bool:
        """Say whether a file still holds what was read of it, as far as its head and tail show."""
        try:
            fd = self.descriptor(file)
            if fd is None:
                return True
            status = os.fstat(fd)
            if identity.verdict(fd, status, file.source, identity.generation(fd)) is not None:
                return False
        except OSError as error:
            self.cannot_read(file, error)
            return True
        self.resize(file, status.st_size)
        file.checked = identity.stamp(status)
        return True

    def is_lost(self, file: File, position: int, line_bytes: int) -> bool:
        """Say whether anything behind a position is lost with a file: a hole, or reserved space, is not."""
        if file.fd is None or file.size <= position:
            return file.size > position
        try:
            behind = identity.next_data(file.fd, position)
            data = b"" if behind is None else os.pread(file.fd, line_bytes, behind)
        except OSError:
            return True
        return len(data) == line_bytes or bool(data.strip(b"\0"))

    def find_gone(self, file: File) -> None:
        """Take note that a scan did not meet a file."""
        if self.measure(file) or file.gone_us is None:
            file.gone_us = self.evidence.clock()
        source = file.source
        if source.away_us == 0 and source.pos == file.size:
            # All of it was read: after a restart nobody has to miss it.
            source.away_us = file.gone_us
            self.changed[source.id] = source
        self.gone.add(file.key)

    def find_missing(self, is_awaited: Callable[[str], bool]) -> None:
        """Tell of files that were there when the daemon ended; end those that have been away for long.

        ``is_awaited``: whether it is still to be seen what became of the file at a path.
        """
        now_us = self.evidence.clock()
        for source in [item for item in self.replaced.values() if not is_awaited(item.last_path)]:
            self.evidence.tell("missing", source, 0, 0, "another file has its inode now")
            self.end(self.replaced.pop(source.id))
        for key, sources in list(self.away.items()):
            for source in list(sources):
                if source.away_us == 0 and is_awaited(source.last_path):
                    continue
                if source.away_us == 0:
                    detail = "it was gone when the daemon came back; perhaps not all of it was read"
                    days = (now_us - source.look_us) // _DAY_US
                    if days >= _OLD_DAYS:
                        detail += f"; last read {days} days ago, and tools remove what is old"
                    self.evidence.tell("missing", source, 0, 0, detail)
                    source.away_us = now_us
                    self.changed[source.id] = source
                elif source.away_us < now_us - _AWAY_US:
                    sources.remove(source)
                    self.end(source)
            if not sources:
                del self.away[key]
        self.limit_away()

    # Telling.

    def tell_gap(self, source: Source, size: int) -> None:
        """Charge the owner of a source with the bytes from its position up to ``size``."""
        detail = f"bytes {source.pos} to {size} were removed before they could be read"
        self.evidence.tell("gap", source, source.pos, size, detail)

    def cannot_read(self, file: File, error: OSError) -> None:
        """Tell that a file could not be read."""
        source = file.source
        self.evidence.on_trouble(os_trouble(source.last_path, error))
        if file.fd is None and error.errno in (errno.EACCES, errno.EPERM):
            detail = error.strerror or str(error)
            self.unreadable.tell(file.key, source.owner, source.last_path, detail, self.scan)

    # Descriptors.

    def descriptor(self, file: File) -> int | None:
        """Return an open descriptor of the file; None where its path leads elsewhere now.

        Raises ``OSError``.
        """
        key = file.key
        if file.fd is not None:
            self._open.move_to_end(key)
            return file.fd
        try:
            fd = self.open_path(file.source.last_path)
        except FileNotFoundError:
            # The next scan finds it under another name, or tells of the gap.
            return None
        if identity.inode(fd) != key:
            os.close(fd)
            return None
        file.fd = fd
        self._keep_open(key, file)
        return fd

    def _keep_open(self, key: Inode, file: File) -> None:
        self._open[key] = file
        self._open.move_to_end(key)
        while len(self._open) > self.max_open:
            _, oldest = self._open.popitem(last=False)
            if oldest.fd is not None:
                os.close(oldest.fd)
                oldest.fd = None

    def _leave(self, path: str, key: Inode) -> None:
        self.former.pop(path, None)
        self.former[path] = key
        if len(self.former) > _MAX_FORMER:
            del self.former[next(iter(self.former))]

    def _latest_source(self, key: Inode) -> int:
        known = self.known_at(key)
        return known[-1].id if known else 0


def shift_source(source: Source, step_us: int) -> None:
    """Keep how long ago a source was looked at and went away, after somebody set the wall clock."""
    source.look_us += step_us
    source.away_us += step_us if source.away_us else 0

"""Watch: what the kernel tells about the telemetry directories. Only a hint, but a quick one.

After: ``tail`` looks at the paths that ``take`` returns. Whatever is missed here (writes that inotify cannot
see, overflows, directories over the limit of watches) the rescan finds; reports are never waited for.

Two things only the kernel's reports can tell, and they become incidents: a file that was written and removed
before anybody had opened it (``vanished``), and a telemetry directory that was put elsewhere while another
one took its place (``replaced_directory``). A directory that is removed and made again is no incident.

One thread reads the reports. Whatever it meets, a scan is asked for and it goes on; where it cannot, it ends,
``is_healthy`` says so, and the daemon starts another.
"""

import errno
import functools
import math
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sentineld import identity, inotify
from sentineld.event import Incident
from sentineld.framing import DOCUMENT
from sentineld.identity import Inode
from sentineld.inotify import Event, Inotify
from sentineld.tail import MANY
from sentineld.tree import COMPRESSED, base_name, kind_of

#: Paths kept between two calls of ``take``; beyond that a scan is cheaper than a list.
_MAX_PATHS = 10_000
#: Files whose removal would be evidence, and removals between two calls of ``take``: the oldest go first.
_MAX_YOUNG = _MAX_ENDED = 10_000
#: Incidents of one call of ``take``; further ones are merged by owner.
_MAX_INCIDENTS = 100
_MAX_PROBLEMS = 10
_MAX_DIRECTORY_DEPTH = 32
#: How often the roots are compared with what stands at their paths, seconds.
_CHECK_S = 1.0
#: How long the second half of a rename may take, seconds.
_RENAME_S = 0.5
#: Pause after reports that told nothing new, seconds: the kernel merges the repetitions of a busy file.
_PAUSE_S = 0.005
#: Least time between two walks over all directories, seconds: after overflows; while the limit is reached.
_SYNC_S, _RETRY_S = 1.0, 30.0

_TREE = (
    inotify.MODIFY
    | inotify.CLOSE_WRITE
    | inotify.MOVED_FROM
    | inotify.MOVED_TO
    | inotify.CREATE
    | inotify.DELETE
    | inotify.DELETE_SELF
    | inotify.MOVE_SELF
    | inotify.ONLYDIR
)
_NAMES = inotify.CREATE | inotify.DELETE | inotify.MOVED_FROM | inotify.MOVED_TO | inotify.ONLYDIR
_MOVED = inotify.MOVED_FROM | inotify.MOVED_TO
_CONTENT = inotify.MODIFY | inotify.CLOSE_WRITE
#: Requests appear by rename; what the daemon itself removes must not wake it.
_INBOX = inotify.MOVED_TO | inotify.CLOSE_WRITE | inotify.ONLYDIR


@dataclass(slots=True)
class Hints:
    """What happened since the last ``take``.

    ``paths`` may have changed, come or gone. ``needs_scan``: only a scan can tell more. ``problems``: what
    keeps the watch from seeing everything, as sentences; nothing is lost, for scans go on.
    """

    paths: set[str] = field(default_factory=set)
    needs_scan: bool = False
    incidents: list[Incident] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Root:
    path: str
    #: Whether it holds telemetry; else it is an inbox, whose reports only wake.
    is_telemetry: bool
    #: What stood at the path when it was last watched.
    inode: Inode | None = None
    is_link: bool = False
    is_file: bool = False
    wd: int = -1
    #: What became of the directory that is watched: ``moved``, ``deleted``, or nothing yet.
    fate: str = ""


@dataclass(slots=True)
class _Node:
    """A watched directory. ``depth`` counts from its root (0)."""

    root: _Root
    path: str
    depth: int
    owner: int
    #: It was renamed, and nobody knows yet where to.
    is_adrift: bool = False


@dataclass(slots=True)
class _Young:
    """A file that came while we watched, as far as is known: its first name, its owner (-1: not known)."""

    name: str
    inode: Inode | None = None
    owner: int = -1
    is_written: bool = False


@dataclass(slots=True)
class _Ended:
    """A file that is gone. ``is_evidence``: unless the tail follows it, it was destroyed unread."""

    path: str
    first_name: str
    inode: Inode | None
    owner: int
    is_evidence: bool


@functools.lru_cache(4096)
def _is_named_so(path: str) -> bool:
    return kind_of(path) is not None


@dataclass(slots=True)
class _Adrift:
    """The first half of a rename: files by path, and the watches of directories."""

    path: str
    until: float
    owner: int
    files: dict[str, _Young]
    wds: list[int]


class Watch:
    """Watches directories (a path of a single file serves as well) and collects what is told.

    ``wake`` is called from the watching thread, once until the next ``take``. ``followed`` tells what the
    tail follows (``Tail.followed``), called by ``take`` only. ``inboxes`` are directories whose new files
    only wake. ``is_telemetry`` says which paths carry telemetry, and is called from the watching thread.
    """

    def __init__(
        self,
        directories: Sequence[str],
        wake: Callable[[], None],
        followed: Callable[[str, Inode | None], tuple[str, ...]],
        clock: Callable[[], int],
        inboxes: Sequence[str] = (),
        is_telemetry: Callable[[str], bool] = _is_named_so,
    ) -> None:
        self._wake = wake
        self._followed = followed
        self._clock = clock
        self._is_telemetry = is_telemetry
        self._directories = [(path, True) for path in directories] + [(path, False) for path in inboxes]
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._inotify: Inotify | None = None
        # Shared with the thread, under the lock.
        self._hints = Hints()
        self._ended: list[_Ended] = []
        self._is_told = False
        # Of the caller of ``take``.
        self._due: list[_Ended] = []
        self._accounted: dict[str, None] = {}

    def start(self) -> str:
        """Start watching what exists; returns why watching is not possible, empty where it is.

        Scanning alone then finds everything, at the rescan interval.
        """
        if not self._directories:
            return ""
        try:
            queue = Inotify()
        except OSError as error:
            return f"{error.strerror or error} (see fs.inotify.max_user_instances)"
        roots = [_Root(*item) for item in self._directories]
        reader = _Reader(queue, roots, self._tell, self._clock, self._is_telemetry)
        thread = threading.Thread(target=self._read, args=(reader,), name="watch", daemon=True)
        try:
            reader.open()
            thread.start()
        except (OSError, RuntimeError) as error:
            queue.close()
            return f"the watching thread does not start: {error}"
        self._inotify, self._thread = queue, thread
        return ""

    def stop(self) -> None:
        """End the thread."""
        queue, self._inotify = self._inotify, None
        thread, self._thread = self._thread, None
        if queue is None or thread is None:
            return
        queue.is_closing = True
        queue.wake()
        thread.join(5.0)
        if not thread.is_alive():
            queue.close()

    def restart(self) -> str:
        """Watch anew, after the thread died; returns as ``start``. A scan has to follow."""
        self.stop()
        return self.start()

    def is_healthy(self) -> bool:
        """Say whether the thread that reads the reports is alive."""
        return not self._directories or (self._thread is not None and self._thread.is_alive())

    def take(self) -> Hints:
        """Return what was told since the last call.

        A file that vanished is told one call later: by then the tail has looked at what the call before
        returned, and only what it could not open is evidence.
        """
        with self._lock:
            hints, self._hints = self._hints, Hints()
            ended, self._ended = self._ended, []
            self._is_told = bool(ended)
        due, self._due = self._due, ended
        if ended:
            self._wake()
        hints.incidents += self._vanished(due)
        return hints

    def _read(self, reader: "_Reader") -> None:
        problem = ""
        try:
            reader.run()
        except Exception as error:  # noqa: BLE001 (whatever it is: the daemon must know, and starts another)
            problem = f"the watching thread ended: {error!r}"
        told = Hints(needs_scan=bool(problem), problems=[problem] if problem else [])
        self._tell(told, [])

    def _tell(self, told: Hints, ended: list[_Ended]) -> bool:
        """Add to what ``take`` returns; False where all of it was known."""
        with self._lock:
            hints = self._hints
            before = len(hints.paths)
            hints.paths |= told.paths
            is_news = (
                len(hints.paths) > before
                or (told.needs_scan and not hints.needs_scan)
                or bool(told.incidents or told.problems or ended)
            )
            hints.needs_scan |= told.needs_scan
            if len(hints.paths) > _MAX_PATHS:
                hints.paths.clear()
                hints.needs_scan = True
            hints.incidents += told.incidents[:_MAX_INCIDENTS]
            self._ended += ended
            if len(self._ended) > _MAX_ENDED:
                del self._ended[_MAX_ENDED:]
                told.problems.append(
                    f"more than {_MAX_ENDED} files were removed at a time: not all were counted"
                )
            for problem in told.problems:
                if problem not in hints.problems and len(hints.problems) < _MAX_PROBLEMS:
                    hints.problems.append(problem)
            wakes = is_news and not self._is_told
            self._is_told |= is_news
        if wakes:
            self._wake()
        return is_news

    def _vanished(self, due: list[_Ended]) -> list[Incident]:
        counts: Counter[tuple[str, int, str]] = Counter()
        last: dict[tuple[str, int, str], str] = {}
        for item in due:
            token, *names = self._followed(item.path, item.inode) or ("",)
            # Numbers of inodes are used again, names too: both together say which file it was. By one of them
            # alone, a file that is followed excuses one that is gone.
            is_known = item.inode is not None and not {item.path, item.first_name}.isdisjoint(names)
            is_read = bool(token) and (is_known or token not in self._accounted)
            if token and token != MANY:
                self._accounted[token] = None
            if item.is_evidence and not is_read:
                directory, name = os.path.split(item.path)
                kind = "compressed" if self._is_compressed(item) else "vanished"
                key = (directory, item.owner, kind)
                if key not in counts and len(counts) >= _MAX_INCIDENTS:
                    key = (self._directories[0][0], item.owner, kind)
                counts[key] += 1
                last[key] = name
        while len(self._accounted) > _MAX_YOUNG:
            del self._accounted[next(iter(self._accounted))]
        return [
            Incident(
                at_us=self._clock(),
                kind=kind,
                owner=owner,
                source_id=0,
                path=directory,
                start=0,
                end=0,
                detail=f"written and removed before it could be read: "
                f"{os.fsencode(last[directory, owner, kind])!r}"
                + (f" and {count - 1} more" if count > 1 else ""),
                count=count,
            )
            for (directory, owner, kind), count in counts.items()
        ]

    def _is_compressed(self, item: _Ended) -> bool:
        """Say whether what vanished is the copy of a file that is followed, and was compressed at once."""
        base = base_name(item.path)
        if not base or not self._followed(base, None):
            return False
        for ending in COMPRESSED:
            try:
                status = os.lstat(item.path + ending)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_uid == item.owner and status.st_size:
                return True
        return False


class _Reader:
    """What only the watching thread touches: the watched directories, and files that came while we watch."""

    def __init__(
        self,
        queue: Inotify,
        roots: list[_Root],
        tell: Callable[[Hints, list[_Ended]], bool],
        clock: Callable[[], int],
        is_telemetry: Callable[[str], bool],
    ) -> None:
        self.is_telemetry = is_telemetry
        self.queue = queue
        self.roots = roots
        self.tell = tell
        self.clock = clock
        self.nodes: dict[int, _Node] = {}
        #: Directories that hold roots, and which: they tell at once when one is exchanged.
        self.parents: dict[int, dict[bytes, _Root]] = {}
        self.young: dict[str, _Young] = {}
        #: By the cookie of the rename, or by a name that carries no telemetry.
        self.adrift: dict[int | str, _Adrift] = {}
        self.ended: list[_Ended] = []
        self.hints = Hints()
        self.is_limited = False
        self.is_suspicious = False
        self.next_check = 0.0
        #: When all directories are walked again, and before when they are not.
        self.next_sync, self.earliest_sync = math.inf, 0.0

    def open(self) -> None:
        """Watch what exists."""
        for root in self.roots:
            self.watch_parent(root)
            self.open_root(root)
        # Everything that exists is scanned when watching begins, by whoever began it.
        self.hints.needs_scan = False
        self.publish()

    def run(self) -> None:
        """Read until ``queue.is_closing``. Raises whatever makes going on impossible."""
        while not self.queue.is_closing:
            now = time.monotonic()
            due = [self.next_check, self.next_sync, *(item.until for item in self.adrift.values())]
            events = self.queue.read(max(0.0, min(due) - now))
            self.handle_all(events)
            self.expire(time.monotonic())
            if not self.publish() and events:
                self.queue.pause(_PAUSE_S)

    def publish(self) -> bool:
        """Hand over what was collected; False where it was nothing new."""
        hints, self.hints = self.hints, Hints()
        ended, self.ended = self.ended, []
        return self.tell(hints, ended)

    def handle_all(self, events: list[Event]) -> None:
        for event in events:
            try:
                self.handle(event)
            except Exception as error:  # noqa: BLE001 (one report must not end the others)
                self.hints.needs_scan = True
                self.hints.problems.append(f"a report could not be understood: {error!r}")

    def expire(self, now: float) -> None:
        for cookie in [cookie for cookie, item in self.adrift.items() if item.until <= now]:
            self.lose(self.adrift.pop(cookie))
        if self.is_suspicious or now >= self.next_check:
            self.is_suspicious, self.next_check = False, now + _CHECK_S
            for root in self.roots:
                self.check_root(root)
        if now >= self.next_sync:
            self.next_sync, self.earliest_sync = math.inf, now + _SYNC_S
            self.sync()

    # What is told.

    def handle(self, event: Event) -> None:
        mask = event.mask
        if mask & inotify.OVERFLOW:
            self.hints.needs_scan = True
            self.hints.problems.append("the kernel's queue overflowed (see fs.inotify.max_queued_events)")
            self.next_sync = min(self.next_sync, self.earliest_sync)
            return
        parent = self.parents.get(event.wd)
        if parent is not None:
            self.handle_parent(event, parent)
        node = self.nodes.get(event.wd)
        if node is None:
            return
        if mask & (inotify.IGNORED | inotify.UNMOUNT | inotify.DELETE_SELF | inotify.MOVE_SELF):
            self.handle_self(event, node)
        elif not node.root.is_telemetry:
            self.hints.paths.add(node.path)
        elif event.name and not node.is_adrift:
            path = os.path.join(node.path, os.fsdecode(event.name))
            if mask & inotify.ISDIR:
                self.handle_directory(event, node, path)
            else:
                self.handle_file(event, node, path)

    def handle_parent(self, event: Event, names: dict[bytes, _Root]) -> None:
        if event.mask & inotify.IGNORED:
            del self.parents[event.wd]
            self.is_suspicious = True
            return
        root = names.get(event.name)
        if root is None:
            return
        if root.is_file:
            self.tell_single_file(root)
            self.is_suspicious |= not event.mask & _CONTENT
            return
        if not root.is_link and not root.fate and event.mask & inotify.ISDIR:
            if event.mask & inotify.MOVED_FROM:
                root.fate = "moved"
            elif event.mask & inotify.DELETE:
                root.fate = "deleted"
        self.is_suspicious = True

    def handle_self(self, event: Event, node: _Node) -> None:
        is_root = node.root.wd == event.wd
        if event.mask & (inotify.IGNORED | inotify.UNMOUNT | inotify.DELETE_SELF) and is_root:
            node.root.fate = node.root.fate or "deleted"
        if event.mask & inotify.IGNORED:
            del self.nodes[event.wd]
        self.is_suspicious |= is_root

    def handle_directory(self, event: Event, node: _Node, path: str) -> None:
        mask = event.mask
        if mask & inotify.MOVED_FROM:
            self.adrift[event.cookie] = self.cut_loose(path, node)
        elif mask & inotify.MOVED_TO:
            moved = self.adrift.pop(event.cookie, None)
            if moved is not None:
                self.land(moved, path, node)
            self.walk(node.root, path, node.depth + 1)
            # What comes as a whole may hold files of any name that were read elsewhere.
            self.hints.needs_scan = True
        elif mask & inotify.CREATE:
            self.walk(node.root, path, node.depth + 1, is_new=True)

    def handle_file(self, event: Event, node: _Node, path: str) -> None:
        mask = event.mask
        if not self.is_telemetry(path):
            # A name without telemetry hides a file, unless it is on its way to another name.
            before, after = (event.cookie, path) if mask & inotify.MOVED_TO else (path, event.cookie)
            moved = self.adrift.pop(before, None) if mask & _MOVED else None
            if moved is not None:
                moved.until = time.monotonic() + _RENAME_S
                self.adrift[after] = moved
            return
        self.hints.paths.add(path)
        if mask & inotify.MODIFY:
            young = self.young.get(path)
            if young is not None:
                young.is_written = True
        elif mask & inotify.CREATE:
            self.meet(path, node)
        elif mask & inotify.DELETE:
            self.end(path, self.young.pop(path, None), node.owner)
        elif mask & inotify.MOVED_FROM:
            former = self.young.pop(path, None)
            if former is not None:
                until = time.monotonic() + _RENAME_S
                self.adrift[event.cookie] = _Adrift(path, until, node.owner, {path: former}, [])
        elif mask & inotify.MOVED_TO:
            self.arrive(event, node, path)

    def arrive(self, event: Event, node: _Node, path: str) -> None:
        overwritten = self.young.pop(path, None)
        # Documents are meant to be replaced; lines are not, and those that nobody had read are lost.
        if overwritten is not None and kind_of(path) != DOCUMENT:
            self.end(path, overwritten, node.owner)
        moved = self.adrift.pop(event.cookie, None)
        if moved is None:
            self.meet(path, node)
        else:
            self.remember(path, next(iter(moved.files.values())))

    # Files that came while we watch.

    def meet(self, path: str, node: _Node) -> None:
        try:
            status = os.lstat(path)
        except OSError:
            if path not in self.young:
                self.remember(path, _Young(path))
            return
        if not stat.S_ISREG(status.st_mode):
            return
        inode = (status.st_dev, status.st_ino)
        # What stands in a file with another name too is not lost with this one, nor written under it.
        is_written = status.st_size > 0 and status.st_nlink == 1
        known = self.young.get(path)
        if known is not None and known.inode == inode:
            known.is_written |= is_written
            return
        if known is not None:
            self.end(path, known, node.owner)
        for item in self.ended:
            if item.path == path and item.inode == inode:
                # It was met too late: what was seen then was this one already.
                item.inode = None
        self.remember(path, _Young(path, inode, status.st_uid, is_written))

    def remember(self, path: str, young: _Young) -> None:
        self.young[path] = young
        if len(self.young) > _MAX_YOUNG:
            del self.young[next(iter(self.young))]

    def end(self, path: str, young: _Young | None, owner: int) -> None:
        """Note that a file is gone: one that came while we watched, or one that was there before."""
        if young is None:
            self.ended.append(_Ended(path, path, None, owner, is_evidence=False))
        else:
            charged = young.owner if young.owner >= 0 else owner
            self.ended.append(_Ended(path, young.name, young.inode, charged, young.is_written))

    def lose(self, adrift: _Adrift) -> None:
        """Give up what was moved to where we do not look."""
        for path, young in adrift.files.items():
            self.end(path, young, adrift.owner)
        for wd in adrift.wds:
            # One that came back meanwhile, by another rename, is watched again.
            if wd in self.nodes and self.nodes[wd].is_adrift:
                del self.nodes[wd]
                self.queue.remove(wd)

    # Directories.

    def below(self, path: str) -> Iterator[tuple[int, _Node]]:
        prefix = os.path.join(path, "")
        return (
            (wd, node) for wd, node in self.nodes.items() if node.path == path or node.path.startswith(prefix)
        )

    def cut_loose(self, path: str, parent: _Node) -> _Adrift:
        wds = []
        for wd, node in self.below(path):
            if not node.is_adrift:
                node.is_adrift = True
                wds.append(wd)
        prefix = os.path.join(path, "")
        files = {name: self.young.pop(name) for name in [*self.young] if name.startswith(prefix)}
        return _Adrift(path, time.monotonic() + _RENAME_S, parent.owner, files, wds)

    def land(self, moved: _Adrift, path: str, parent: _Node) -> None:
        for wd in moved.wds:
            node = self.nodes.get(wd)
            if node is not None:
                rest = node.path[len(moved.path) :]
                node.root, node.path, node.is_adrift = parent.root, path + rest, False
                node.depth = parent.depth + 1 + rest.count("/")
        for former, young in moved.files.items():
            self.remember(path + former[len(moved.path) :], young)

    def walk(self, root: _Root, path: str, depth: int, *, is_new: bool = False) -> set[int]:
        """Watch a directory and all below it; returns the watches.

        ``is_new``: it was made a moment ago, so its files are told of one by one.
        """
        found: set[int] = set()
        stack = [(path, depth)]
        while stack and not self.queue.is_closing:
            path, depth = stack.pop()
            try:
                fd = _open_directory(root, path)
            except OSError:
                continue
            try:
                count = len(self.nodes)
                node = self.add(root, path, depth, fd)
                if node is not None:
                    found.add(node)
                # One that we did not know may hold anything; in a new one it is told of below.
                self.hints.needs_scan |= len(self.nodes) > count and not is_new
                if root.is_telemetry:
                    # Listed after it is watched: nothing comes in between.
                    with os.scandir(fd) as entries:
                        for entry in entries:
                            child = os.path.join(path, entry.name)
                            if entry.is_dir(follow_symlinks=False):
                                if depth < _MAX_DIRECTORY_DEPTH:
                                    stack.append((child, depth + 1))
                            elif is_new and self.is_telemetry(child):
                                self.hints.paths.add(child)
                                if node is not None:
                                    self.meet(child, self.nodes[node])
            except OSError:
                self.hints.needs_scan = True
            finally:
                os.close(fd)
        return found

    def add(self, root: _Root, path: str, depth: int, fd: int) -> int | None:
        try:
            wd = self.queue.add(f"/proc/self/fd/{fd}", _TREE if root.is_telemetry else _INBOX)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM) and not self.is_limited:
                self.is_limited = True
                limit = "the limit of watches is reached (see fs.inotify.max_user_watches)"
                self.hints.problems.append(f"{limit}: some directories are only scanned")
            if self.is_limited:
                self.next_sync = min(self.next_sync, time.monotonic() + _RETRY_S)
            return None
        self.nodes[wd] = _Node(root, path, depth, os.fstat(fd).st_uid)
        return wd

    def sync(self) -> None:
        """Watch what is there, and nothing else: after reports were lost, or watches were refused."""
        was_limited, self.is_limited = self.is_limited, False
        found: set[int] = set()
        count = len(self.hints.problems)
        for root in self.roots:
            if root.inode is not None and not root.is_file:
                found |= self.walk(root, root.path, 0)
        if was_limited and self.is_limited:
            # It was said once; it is still so.
            del self.hints.problems[count:]
        for wd in self.nodes.keys() - found:
            del self.nodes[wd]
            self.queue.remove(wd)

    # Roots.

    def watch_parent(self, root: _Root) -> None:
        if not root.is_telemetry:
            # Beside an inbox the daemon itself writes all the time; looking every second is enough for it.
            return
        for path in {root.path, os.path.realpath(root.path)} if root.is_file else {root.path}:
            directory, name = os.path.split(path)
            try:
                wd = self.queue.add(directory, _NAMES | (_CONTENT if root.is_file else 0))
            except OSError:
                # It is compared every second as well.
                continue
            self.parents.setdefault(wd, {})[os.fsencode(name)] = root

    def open_root(self, root: _Root) -> None:
        try:
            status = os.stat(root.path)
            root.is_link = os.path.islink(root.path)
        except OSError:
            root.inode = None
            return
        root.inode = (status.st_dev, status.st_ino)
        root.is_file = not stat.S_ISDIR(status.st_mode)
        root.fate = ""
        root.wd = -1
        self.hints.needs_scan |= root.is_telemetry
        self.watch_parent(root)
        if not root.is_file:
            self.walk(root, root.path, 0)
            root.wd = next((wd for wd, node in self.nodes.items() if node.path == root.path), -1)

    def check_root(self, root: _Root) -> None:
        """Compare what stands at a root's path with what is watched."""
        if not root.fate and _inode(root.path) == root.inode:
            return
        # What became of it is told by reports that may still be waiting.
        self.handle_all(self.queue.read(0))
        if root.inode is not None and not root.fate:
            # It did not end, and is not at its path: it, or a directory above it, was renamed.
            root.fate = "moved" if root.wd in self.nodes else "deleted"
        self.let_go(root)
        try:
            status = os.stat(root.path)
        except OSError:
            return
        is_exchanged = root.fate == "moved" and root.inode != (status.st_dev, status.st_ino)
        if is_exchanged and root.is_telemetry and not root.is_file and stat.S_ISDIR(status.st_mode):
            self.hints.incidents.append(self.replaced(root, status.st_uid))
        self.open_root(root)

    def replaced(self, root: _Root, owner: int) -> Incident:
        return Incident(
            at_us=self.clock(),
            kind="replaced_directory",
            owner=owner,
            source_id=0,
            path=root.path,
            start=0,
            end=0,
            detail="the directory that was watched is elsewhere, and another one stands at its path",
        )

    def let_go(self, root: _Root) -> None:
        for wd, _ in [*self.below(root.path)]:
            del self.nodes[wd]
            self.queue.remove(wd)
        root.wd = -1

    def tell_single_file(self, root: _Root) -> None:
        if not self.is_telemetry(root.path):
            self.hints.needs_scan = True
        else:
            self.hints.paths.add(os.path.realpath(root.path))


def _open_directory(root: _Root, path: str) -> int:
    if path == root.path:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return identity.open_below(root.path, path)


def _inode(path: str) -> Inode | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino

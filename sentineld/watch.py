"""Watch: which paths may have changed, told by the kernel. Only a hint.

Whatever is missed here (writes that inotify cannot see, overflows, directories that were swapped) the
periodic rescan finds. Only kinds of events that mean new content are asked for: reading a file would
otherwise report itself without end.
"""

import os
import threading
from collections.abc import Callable, Sequence

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

#: Paths kept between two calls of ``take``; beyond that a scan is cheaper than a list.
_MAX_PATHS = 10_000

_EVENTS: list[type[FileSystemEvent]] = [
    FileModifiedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class Watch(FileSystemEventHandler):
    """Watches directories and collects paths. ``wake`` is called from the observer's thread."""

    def __init__(self, directories: Sequence[str], wake: Callable[[], None]) -> None:
        self._directories = directories
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._needs_scan = False
        self._observer: BaseObserver | None = None
        self._identities: dict[str, tuple[int, int]] = {}

    def start(self) -> str:
        """Start watching what exists; returns why watching is not possible, empty where it is.

        Scanning alone then finds everything, at the rescan interval.
        """
        if not self._directories:
            return ""
        try:
            # The limit of inotify instances is met here already.
            observer = self._observer = Observer()
            self._identities = _identities(self._directories)
            for directory in self._identities:
                observer.schedule(self, directory, recursive=True, event_filter=_EVENTS)
            observer.start()
        except OSError as error:
            self._stop_observer()
            return f"{error.strerror or error} (see fs.inotify.max_user_watches and max_user_instances)"
        return ""

    def stop(self) -> None:
        """Stop the observer's threads."""
        self._stop_observer()

    def take(self) -> tuple[set[str], bool]:
        """Return the paths reported since the last call, and whether only a scan can tell more."""
        with self._lock:
            paths, self._paths = self._paths, set()
            needs_scan, self._needs_scan = self._needs_scan, False
        return paths, needs_scan

    def is_healthy(self) -> bool:
        """Say whether every watched directory is still the one that is watched, by living threads."""
        if not self._directories:
            return True
        observer = self._observer
        return observer is not None and (
            observer.is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
            and _identities(self._directories) == self._identities
        )

    def restart(self) -> str:
        """Watch anew, after directories appeared, vanished or were swapped; returns as ``start``."""
        self._stop_observer()
        return self.start()

    def dispatch(self, event: FileSystemEvent) -> None:
        """Collect an event's paths. Runs in the observer's thread and must never raise."""
        names = [os.fsdecode(event.src_path)]
        if event.dest_path:
            names.append(os.fsdecode(event.dest_path))
        with self._lock:
            if event.is_directory or not event.src_path:
                self._needs_scan = True
            self._paths.update(names)
            if len(self._paths) > _MAX_PATHS:
                self._paths.clear()
                self._needs_scan = True
        self._wake()

    def _stop_observer(self) -> None:
        observer, self._observer = self._observer, None
        if observer is None:
            return
        # Also where it did not start as a whole: some of its threads may have.
        observer.unschedule_all()
        if observer.is_alive():
            observer.stop()
            observer.join(5.0)


def _identities(directories: Sequence[str]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for directory in directories:
        try:
            status = os.stat(directory)
        except OSError:
            continue
        found[directory] = (status.st_dev, status.st_ino)
    return found

"""Roots: which telemetry directories can be read now, of those that could be before.

A directory that never was there is being waited for. One that was and is not, may not be read any more, or is
an empty place where something was mounted, is blindness: nothing that agents do there is seen.
"""

import os
from collections.abc import Iterable, Sequence

from sentineld.evidence import Trouble

_KINDS = ("missing_directory", "unreadable")


class Roots:
    """What the scans of the directories told: ``begin`` one, ``note`` every trouble, ``end`` it."""

    def __init__(self) -> None:
        #: Device of every root that could be read, at its last good scan; None where it is not known.
        self._known: dict[str, int | None] = {}
        #: By which names troubles call the roots, and those of them that had one.
        self._names: set[str] = set()
        self._troubled: set[str] = set()

    def restore(self, directories: Sequence[str], paths: Iterable[str]) -> None:
        """Take for known the directories in which the files of earlier runs lie."""
        prefixes = {os.path.join(directory, ""): directory for directory in directories}
        missing = {prefix for prefix, directory in prefixes.items() if directory not in self._known}
        for path in paths:
            found = {prefix for prefix in missing if path.startswith(prefix) or path == prefixes[prefix]}
            for prefix in found:
                self._known[prefixes[prefix]] = None
            missing -= found
            if not missing:
                return

    def begin(self, directories: Sequence[str]) -> None:
        """Forget the troubles of the scan before; these are looked at now."""
        self._troubled.clear()
        self._names = {*directories, *map(os.path.realpath, directories)}

    def note(self, trouble: Trouble) -> None:
        """Take note of a trouble, whatever it is about; what is not about a root does not count."""
        if trouble.kind in _KINDS and trouble.path in self._names:
            self._troubled.add(trouble.path)

    def end(self, directories: Sequence[str]) -> list[str]:
        """Return the directories that were read before and could not be by this scan."""
        self._known = {path: device for path, device in self._known.items() if path in directories}
        return [path for path in directories if self._is_lost(path)]

    def _is_lost(self, path: str) -> bool:
        if path in self._troubled or os.path.realpath(path) in self._troubled:
            return path in self._known
        try:
            device = os.stat(path).st_dev
            is_other = self._known.get(path, device) not in (device, None)
            # An empty directory on another device: what was mounted there is gone. Another file system with
            # something in it was mounted by somebody who meant it.
            if is_other and os.path.isdir(path) and not os.listdir(path):
                return True
        except OSError:
            return path in self._known
        self._known[path] = device
        return False

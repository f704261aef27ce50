"""High-water marks: the newest document that a reader has seen, so that an older one is refused.

Standard library and floor 0 only: routers import this and must start in tens of milliseconds.
"""

import os
import re
from typing import NamedTuple

from sentineld.errors import StateFileError
from sentineld.published_file import publish, read_document

#: The whole content of the file: what `HighWater` writes, and nothing else.
_FORM = re.compile(rb'\{"epoch":([0-9]{1,16}),"seq":([0-9]{1,16})(?:,"override":([0-9]{1,16}))?\}\n')


class Mark(NamedTuple):
    """``state``: highest ``(epoch, seq)`` of a state file; ``override``: highest number of an override."""

    state: tuple[int, int] = (-1, -1)
    override: int = 0

    def joined(self, other: "Mark") -> "Mark":
        """Return the higher of both, each for itself."""
        return Mark(max(self.state, other.state), max(self.override, other.override))


_NOTHING_SEEN = Mark()


class HighWater:
    """The highest mark seen: in memory, and in a file (mode 0600) if there is a path. Callers hold a lock.

    A file that is missing or cannot be read means a first start, with a warning: freshness still bounds what
    a rollback can do, and a broken disk must not stop every agent for ever.
    Several processes may share the file; each also takes over what the others wrote.
    """

    #: The file holds three integers; more than this is another file given by mistake.
    MAX_BYTES = 4096

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._mark = _NOTHING_SEEN
        self._load_warning = ""
        self._save_warning = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on why the file does not do its work, or did not at the start."""
        return tuple(filter(None, (self._load_warning, self._save_warning)))

    @property
    def override(self) -> int:
        """The mark for overrides; 0 before any was seen."""
        return self._mark.override

    def raise_state(self, version: tuple[int, int]) -> tuple[int, int]:
        """Raise the mark to a state file that was seen; return the mark, which may be higher.

        Never lowers it and never raises an exception.
        """
        self._raise_to(Mark(state=version))
        return self._mark.state

    def raise_override(self, number: int) -> int:
        """As `raise_state`, for the number of an override."""
        self._raise_to(Mark(override=number))
        return self._mark.override

    def _raise_to(self, seen: Mark) -> None:
        if self._mark.joined(seen) == self._mark:
            return
        # Read each time, not only at the start: what another process wrote must not be lowered.
        saved = self._load()
        self._mark = self._mark.joined(seen).joined(saved)
        if self._mark != saved:
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        self._save_warning = ""
        (epoch, seq), override = self._mark.state, self._mark.override
        # An override before any state file: there is no version to write yet, and zero is below all of them.
        content = b'{"epoch":%d,"seq":%d' % (max(0, epoch), max(0, seq))
        content += b',"override":%d}\n' % override if override else b"}\n"
        try:
            publish(self._path, content, mode=0o600)
        except (OSError, ValueError) as error:
            self._save_warning = f"high-water file {self._path} cannot be written: {error}"

    def _load(self) -> Mark:
        if self._path is None:
            return _NOTHING_SEEN
        try:
            os.lstat(self._path)
            data, _ = read_document(
                self._path, noun="high-water file", is_signed=True, max_bytes=self.MAX_BYTES
            )
        except FileNotFoundError:
            self._load_warning = (
                f"high-water file {self._path} was not there, and was started as if for the first time: "
                "nothing older than what this reader has seen itself is refused"
            )
            return _NOTHING_SEEN
        except (OSError, ValueError, StateFileError):
            data = b""
        match = _FORM.fullmatch(data)
        if match is None:
            self._load_warning = (
                f"high-water file {self._path} could not be read, and was started as if for the first time"
            )
            return _NOTHING_SEEN
        return Mark((int(match[1]), int(match[2])), int(match[3] or 0))

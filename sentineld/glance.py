"""Glance: a look at files of which there may be news, for a while at a time.

How long a look takes is up to those who write the files: one that may be a copy is compared with the other.
And a scan looks at every name below the telemetry directories, which whoever makes a million of them makes
long, for everybody: where news may have been lost, what others have appended to files that are known is found
here first.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: A glance pauses for so many times as long as the last one took.
_PAUSES = 4
#: Paths that wait to be looked at; with more of them a scan is quicker.
MAX_TOLD = 20_000


def owner_of(path: str) -> int:
    """Return the uid that owns what stands at a path; -1 where nothing does."""
    try:
        return os.lstat(path).st_uid
    except OSError:
        return -1


@dataclass(slots=True)
class Told:
    """Paths of which the kernel told, until ``notice`` has looked at them.

    Owners have their turns one after the other, so have the directories of each, and of a directory the
    latest path comes first: whoever floods us with names delays the others by one look for each of theirs.
    Where there are too many paths, the fullest directories of who has most are left to a scan. ``clock`` is
    monotonic, microseconds.
    """

    notice: Callable[[str], None]
    clock: Callable[[], int]
    owner: Callable[[str], int] = owner_of
    #: By owner and directory, both in the order of their turns.
    _left: dict[int, dict[str, dict[str, None]]] = field(default_factory=dict)
    _counts: Counter[int] = field(default_factory=Counter)

    @property
    def is_busy(self) -> bool:
        """Whether there are any left."""
        return bool(self._left)

    def add(self, paths: Iterable[str]) -> bool:
        """Take in more of them; False: there are too many, and some were forgotten."""
        for path in paths:
            owner = self.owner(path)
            names = self._left.setdefault(owner, {}).setdefault(os.path.dirname(path), {})
            self._counts[owner] += path not in names
            names.pop(path, None)
            names[path] = None
        is_too_much = (excess := self._counts.total() - MAX_TOLD) > 0
        while excess > 0:
            [(owner, _)] = self._counts.most_common(1)
            directories = self._left[owner]
            for fullest in sorted(directories, key=lambda name: -len(directories[name])):
                count = len(directories.pop(fullest))
                self._counts[owner] -= count
                excess -= count
                if excess <= 0:
                    break
            if not directories:
                del self._left[owner]
        return not is_too_much

    def step(self, budget_us: int) -> None:
        """Look at some, for about ``budget_us``."""
        end_us = self.clock() + budget_us
        while self._left:
            owner, directories = _first(self._left)
            directory, names = _first(directories)
            path, _ = names.popitem()
            self._counts[owner] -= 1
            # Whose turn it was comes last.
            if names:
                directories[directory] = names
            if directories:
                self._left[owner] = directories
            self.notice(path)
            if self.clock() >= end_us:
                return


def _first(table: dict[K, V]) -> tuple[K, V]:
    key = next(iter(table))
    return key, table.pop(key)


@dataclass(slots=True)
class Glance:
    """Looks again at all paths that ``paths`` gives, with ``notice``, a stretch at a time.

    ``clock`` is monotonic, microseconds. Cost: one look a path, about 10 us.
    """

    paths: Callable[[], Iterable[str]]
    notice: Callable[[str], None]
    clock: Callable[[], int]
    is_wanted: bool = False
    #: When the next one may begin.
    earliest_us: int = 0
    _left: list[str] = field(default_factory=list)
    _work_us: int = 0

    @property
    def is_busy(self) -> bool:
        """Whether a glance has begun that is not complete yet."""
        return bool(self._left)

    def step(self, budget_us: int) -> None:
        """Go on with a glance, or begin one that is wanted, for about ``budget_us``."""
        began = now = self.clock()
        if not self._left:
            if not self.is_wanted or began < self.earliest_us:
                return
            # What is lost from here on is for the next one.
            self.is_wanted, self._work_us, self._left = False, 0, [*self.paths()]
        while self._left and now - began < budget_us:
            self.notice(self._left.pop())
            now = self.clock()
        self._work_us += now - began
        if not self._left:
            self.earliest_us = now + _PAUSES * self._work_us

"""Glance: a look at files of which there may be news, for a while at a time.

How long a look takes is up to those who write the files: one that may be a copy is compared with the other.
And a scan looks at every name below the telemetry directories, which whoever makes a million of them makes
long, for everybody: where news may have been lost, what others have appended to files that are known is found
here first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

#: A glance pauses for so many times as long as the last one took.
_PAUSES = 4
#: Paths that wait to be looked at; with more of them a scan is quicker.
MAX_TOLD = 20_000


@dataclass(slots=True)
class Told:
    """Paths of which the kernel told, until ``notice`` has looked at them; the latest come first.

    ``clock`` is monotonic, microseconds.
    """

    notice: Callable[[str], None]
    clock: Callable[[], int]
    _left: dict[str, None] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        """Whether there are any left."""
        return bool(self._left)

    def add(self, paths: Iterable[str]) -> bool:
        """Take in more of them; False: there are too many, and all were forgotten."""
        for path in paths:
            self._left.pop(path, None)
            self._left[path] = None
        if len(self._left) <= MAX_TOLD:
            return True
        self._left.clear()
        return False

    def step(self, budget_us: int) -> None:
        """Look at some, for about ``budget_us``."""
        end_us = self.clock() + budget_us
        while self._left:
            self.notice(self._left.popitem()[0])
            if self.clock() >= end_us:
                return


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

"""Glance: a quick look at the files that are followed, where news of them may have been lost.

A scan looks at every name below the telemetry directories, and whoever makes a million of them makes it long,
for everybody. What others have appended to files that are known is found here first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

#: A glance pauses for so many times as long as the last one took.
_PAUSES = 4


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

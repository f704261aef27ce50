"""Quota: how many files are followed, in all and for each owner.

What is beyond it is counted and told once a scan, and charged to its owner once, until the owner is below
the quota again.
"""

from collections import Counter
from dataclasses import dataclass, field

from sentineld.evidence import Evidence, Trouble


@dataclass(slots=True)
class Quota:
    """Counts the files that are followed by owner (uid)."""

    evidence: Evidence
    max_files: int
    files_per_owner: int
    _followed: Counter[int] = field(default_factory=Counter)
    _total: int = 0
    #: The first file that this scan left out, by owner; -1: over the limit of all.
    _left_out: dict[int, str] = field(default_factory=dict)
    #: How many it left out.
    _excess: Counter[int] = field(default_factory=Counter)
    _charged: set[int] = field(default_factory=set)

    def add(self, owner: int) -> None:
        """Count a file that is followed from now on."""
        self._followed[owner] += 1
        self._total += 1

    def drop(self, owner: int) -> None:
        """Count a file no longer."""
        self._total -= 1
        self._followed[owner] -= 1
        if self._followed[owner] <= 0:
            del self._followed[owner]

    def owners(self) -> set[int]:
        """Return the owners of the files that are followed."""
        return set(self._followed)

    def admits(self, owner: int, path: str) -> bool:
        """Say whether one more file of this owner may be followed; if not, it is counted as left out."""
        if self._followed[owner] >= self.files_per_owner:
            self._leave_out(owner, path)
            if owner not in self._charged:
                self._charged.add(owner)
                detail = f"uid {owner} has more than {self.files_per_owner} files; the others are not read"
                self.evidence.charge("too_many_files", owner, path, detail)
            return False
        if self._total >= self.max_files:
            self._leave_out(-1, path)
            return False
        return True

    def end_scan(self) -> None:
        """Tell how many files the scan left out, and forget charges of owners who are below again."""
        for owner, first in self._left_out.items():
            whose = "" if owner < 0 else f" of uid {owner}"
            detail = f"{self._excess[owner]} files{whose} beyond the limit are not followed"
            self.evidence.on_trouble(Trouble("too_many_files", first, detail))
        self._charged &= {owner for owner in self._left_out if owner >= 0}
        self._left_out.clear()
        self._excess.clear()

    def _leave_out(self, owner: int, path: str) -> None:
        self._left_out.setdefault(owner, path)
        self._excess[owner] += 1

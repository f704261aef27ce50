"""Evidence: what the files themselves tell of tampering and of trouble, collected until somebody takes it.

A ``Trouble`` is for the operator's log; an ``Incident`` is charged to the file's owner and committed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sentineld.event import Incident
from sentineld.identity import Source


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something about a path that an operator should know: ``kind`` is one word, for counting."""

    kind: str
    path: str
    detail: str


def os_trouble(path: str, error: OSError) -> Trouble:
    """Say that the operating system refused."""
    return Trouble("unreadable", path, error.strerror or str(error))


@dataclass(slots=True)
class Evidence:
    """Collects incidents. ``clock`` gives microseconds since the epoch."""

    on_trouble: Callable[[Trouble], None]
    clock: Callable[[], int]
    incidents: list[Incident] = field(default_factory=list)

    def tell(self, kind: str, source: Source, start: int, end: int, detail: str) -> None:
        """Charge the owner of a source with what happened to its bytes ``start`` to ``end``."""
        self.charge(kind, source.owner, source.last_path, detail, source.id, start, end)

    def charge(
        self, kind: str, owner: int, path: str, detail: str, source_id: int = 0, start: int = 0, end: int = 0
    ) -> None:
        """Charge an owner (uid) with what happened to a path."""
        self.incidents.append(Incident(self.clock(), kind, owner, source_id, path, start, end, detail))
        self.on_trouble(Trouble(kind, path, detail))

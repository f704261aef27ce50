"""Tables: rows of the database as values, and the ``Commit`` that changes them in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sentineld.batch import Part
from sentineld.decision import Decision
from sentineld.event import Incident
from sentineld.identity import Source


class AgentRow(NamedTuple):
    """One agent as stored, in the order of the columns.

    ``name`` is its published id, ``state`` the bytes of ``step.dump_state``. ``is_plain``: only new events
    can change its tier. ``due_us``: as of ``schedule.due_us``.
    """

    owner: int
    agent_id: str
    name: str
    tier: int
    is_plain: bool
    state: bytes
    due_us: int | None = None


@dataclass(frozen=True, slots=True)
class RoleRow:
    """The habits of one role as stored: ``habits`` are the bytes of ``habits.Role.dump``."""

    owner: int
    name: str
    habits: bytes


@dataclass(frozen=True, slots=True)
class LessonRow:
    """A session that a role has learned from, or only ranked, kept for learning anew.

    ``agent_id`` is the claimed one; ``ranks`` is how many sessions the role could rank it among; ``session``
    are the bytes of ``teaching.dump_session``.
    """

    owner: int
    role: str
    agent_id: str
    ended_us: int
    is_rank: bool
    is_suspicious: bool
    is_learned: bool
    is_attack: bool
    ranks: int
    session: bytes


@dataclass(frozen=True, slots=True)
class Renaming:
    """An agent that goes on under another claimed id, and another published one."""

    owner: int
    old_id: str
    new_id: str
    old_name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class DenialRow:
    """A call that the gate denied; ``key`` names it among all calls of its owner, ``agent_id`` is claimed."""

    owner: int
    key: str
    agent_id: str
    at_us: int
    call_id: str


@dataclass(frozen=True, slots=True)
class DoneRow:
    """A call that was carried out, and the record that tells of it; a denial may be read after it."""

    owner: int
    key: str
    agent_id: str
    at_us: int
    source_id: int
    offset: int


@dataclass(slots=True)
class Commit:
    """Everything that one transaction changes.

    ``sources`` are pairs of (the position that the database must still hold, the source's new state).
    ``kind`` is what the input was: ``read``, ``tick``, ``wish``, ``mended`` (habits that could not be read),
    ``clock``, ``settings`` or ``publish``; all but the last are kept for ``replay --as-observed``, with
    ``document`` and the parts that were read. (The store itself adds ``numbered``, where decisions go on with
    a higher number.)
    """

    kind: str
    at_us: int
    sources: list[tuple[int, Source]] = field(default_factory=list)
    agents: Iterable[AgentRow] = ()
    roles: list[RoleRow] = field(default_factory=list)
    lessons: list[LessonRow] = field(default_factory=list)
    #: Lessons that are forgotten: of this role, ended by then.
    forgotten: tuple[int, str, int] | None = None
    renamed: Renaming | None = None
    #: The agent of which everything is removed: owner, claimed id, published id.
    erased: tuple[int, str, str] | None = None
    decisions: list[Decision] = field(default_factory=list)
    parts: Sequence[Part] = ()
    document: dict[str, Any] = field(default_factory=dict)
    event_types: dict[str, int] = field(default_factory=dict)
    events: int = 0
    tool_calls: int = 0
    seen: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    #: Records that no mapping knows: counts by (format, name).
    unknown: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Which agents (claimed ids) wrote which sources, as far as that is new.
    writers: list[tuple[int, str]] = field(default_factory=list)
    incidents: Sequence[Incident] = ()
    denials: Sequence[DenialRow] = ()
    done_calls: Sequence[DoneRow] = ()
    #: Denials that are remembered no more: owner and key.
    lifted: Sequence[tuple[int, str]] = ()
    request_id: str = ""
    clock_us: int = 0
    #: By how much the wall clock was set; then ``clock_us`` is what it shows now.
    shift_us: int = 0
    last_scan_us: int = 0
    is_history_done: bool = False
    logged_no: int = 0
    bumps_seq: bool = False
    settings: str = ""
    #: Paths in trouble since the start, by kind; None leaves what is recorded.
    troubles: dict[str, int] | None = None
    #: Since when and why memory is lost; (0, "") once it is made up for; None leaves what is recorded.
    lost: tuple[int, str] | None = None


@dataclass(slots=True)
class Meta:
    """The database's own row."""

    database_id: str
    born_at: int
    epoch: int
    seq: int
    decision_no: int
    logged_no: int
    clock: int
    last_scan: int
    has_history: bool
    events: int
    tool_calls: int
    seen_expired: int
    inputs_pruned: int
    settings: str
    troubles: str
    incidents: str
    decisions_pruned: int
    incidents_pruned: int
    sources_pruned: int
    requests_pruned: int
    restored_at: int
    #: Since when, and why, what was known before is lost; 0 where nothing is, or it has been made up for.
    lost_at: int
    lost_why: str


@dataclass(slots=True)
class PastFile:
    """Accounts of files that are gone for good, by path; the oldest ones together, under no path."""

    path: str
    files: int
    lines: int
    accepted: int
    ignored: int
    rejected: int
    duplicates: int
    conflicts: int
    clamped: int
    timeless: int
    bytes_read: int
    unknown: int
    blank: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of the records in some files; ``shared`` of these have other writers too.

    Of ``records``, ``unknown`` are of kinds that their format does not know; ``rejects`` could not be read.
    """

    files: int
    shared: int
    records: int
    unknown: int
    rejects: int
    formats: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """Share of the records that became events, or are known to be none; None where there are none."""
        return 1.0 - (self.unknown + self.rejects) / self.records if self.records else None

"""Store: one SQLite database in which positions, agents and decisions commit in one transaction.

A crash at any moment leaves a batch wholly done or wholly undone; what was undone is read again. WAL with
``synchronous=FULL``: a commit that returned survives a power cut. One writer, one thread; readers
(``status``, ``why``) open the file read-only. Times are microseconds since the Unix epoch.
"""

import contextlib
import json
import os
import sqlite3
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sentineld import clock
from sentineld.batch import Key, Part
from sentineld.database import (
    PATIENCE_S,
    RESTORE_HINT,
    SCHEMA_VERSION,
    cannot_open,
    cannot_read,
    check_ours,
    configure,
    connect_readonly,
    is_empty,
    migrate,
    number_on,
)
from sentineld.decision import Decision, decision_id
from sentineld.errors import (
    AccessError,
    DamagedError,
    NoDatabaseError,
    StoreError,
)
from sentineld.event import Incident
from sentineld.identity import Source
from sentineld.instant import iso
from sentineld.retention import Retention
from sentineld.tables import (
    AgentRow,
    Commit,
    Coverage,
    DenialRow,
    DoneRow,
    LessonRow,
    Meta,
    PastFile,
    RoleRow,
)
from sentineld.trust import UNNAMED_ID

#: Calls that were carried out which are kept of each owner, in case that a denial of them is read after them,
#: and how many may be written before those beyond are removed.
MAX_DONE_CALLS = 4096
_DONE_STEP = 512
#: Size that the database is kept below unless told otherwise, bytes.
LIMIT_BYTES = 512 << 20
#: Different event types counted by name; further ones are counted as ``other``.
MAX_EVENT_TYPES = 512
#: Different names of unknown records; further ones are counted as ``other`` of their format.
MAX_UNKNOWN = 512
#: How long an incident of the same owner, kind and path is the same one, microseconds.
_SAME_INCIDENT_US = 60_000_000
#: Explicit record ids remembered for each owner.
MAX_SEEN = 100_000
#: Finished sessions that are kept for learning anew: of one role, and bytes of one owner's.
MAX_LESSONS = 500
MAX_LESSONS_BYTES = 8 << 20
#: Values that one statement asks for.
_VALUES_AT_ONCE = 500
#: A database of at most this size is written anew when something is erased, bytes.
_SCRUBBED_BYTES = 64 << 20

_LESSON_COLUMNS = (
    "owner, role, agent_id, ended, is_rank, is_suspicious, is_learned, is_attack, ranks, session"
)
_AGENT_COLUMNS = "owner, agent_id, name, tier, is_plain, state, due"
_SOURCE_COLUMNS = [item.name for item in fields(Source)]
_STORED_COLUMNS = [*_SOURCE_COLUMNS, "last_input"]
_SOURCE_UPSERT = (
    f"INSERT INTO source({', '.join(_STORED_COLUMNS)}) VALUES ({', '.join('?' * len(_STORED_COLUMNS))}) "  # noqa: S608
    f"ON CONFLICT(id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _STORED_COLUMNS[1:])} "
    "WHERE source.pos = ?"
)


class Store:
    """The database of one state directory. Use as a context manager, or ``close`` it.

    One that is in memory, as of a replay, may also be left: it is closed when nobody has it any more.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, is_durable: bool = True, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._db = connection
        weakref.finalize(self, connection.close).atexit = False
        self._is_durable = is_durable
        self.retention = Retention(connection, limit_bytes)
        #: Told of every commit that succeeded, and of how long it took, microseconds.
        self.on_commit: Callable[[Commit, int], None] = lambda _commit, _duration_us: None
        #: Which file was opened; nobody may hold this connection and another file for the same one.
        self._inode = (0, 0)
        self._next_source = 1 + self._value("SELECT coalesce(max(id), 0) FROM source")
        self._count()

    def _count(self) -> None:
        self._next_input = 1 + self._value("SELECT coalesce(max(no), 0) FROM input")
        self._type_names = {row[0] for row in self._db.execute("SELECT name FROM event_type")}
        self._unknown_names = set(self._db.execute("SELECT format, name FROM unknown_record"))
        self._seen_no = self._value("SELECT coalesce(max(no), 0) FROM seen")
        self._seen_counts = dict(self._db.execute("SELECT owner, count(*) FROM seen GROUP BY owner"))

    @classmethod
    def open(
        cls,
        path: str,
        now_us: int,
        *,
        is_durable: bool = True,
        epoch_floor: int = 0,
        decision_floor: int = 0,
        lost_why: str = "",
        limit_bytes: int = LIMIT_BYTES,
        patience_s: float = PATIENCE_S,
    ) -> "Store":
        """Open or create the database.

        A new one gets an epoch above ``epoch_floor``, numbers its decisions from above ``decision_floor`` and
        notes that what was known before is lost, if ``lost_why`` says why. Without ``is_durable`` (replay,
        with the path ``:memory:``) nothing is kept of the inputs. ``patience_s`` is how long a database that
        another program has locked is waited for, each time.

        Raises ``StoreError`` where the file is no sentineld database or was written by a newer version,
        ``DamagedError`` where it is damaged, ``AccessError`` where it may not be opened, ``StorageError``
        where the disk is full or fails.
        """
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=patience_s)
        except sqlite3.OperationalError as error:
            raise cannot_open(path, error) from error
        try:
            if path != ":memory:" and os.stat(path).st_size == 0:
                os.chmod(path, 0o600)
            if is_empty(connection):
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            else:
                # Before anything is configured: the journal mode is written into the file.
                check_ours(connection, path)
            configure(connection, is_durable=is_durable)
            migrate(connection, path, now_us, epoch_floor, decision_floor, lost_why)
            store = cls(connection, is_durable=is_durable, limit_bytes=limit_bytes)
            store._check_rows(path)
            if is_durable:
                status = os.stat(path)
                store._inode = (status.st_dev, status.st_ino)
            return store  # noqa: TRY300 (closing must cover all of the above)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise cannot_open(path, error) from error
        except BaseException:
            connection.close()
            raise

    @classmethod
    def open_readonly(cls, path: str, *, oldest: int = SCHEMA_VERSION) -> "Store":
        """Open an existing database for reading only. Raises as ``open`` does.

        One of a version below ``oldest`` is refused; of an older one than this program's only ``check`` and
        ``copy_to`` may be used.
        """
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoDatabaseError(
                f"there is no database at {path}", hint="sentineld run --telemetry DIR --state-dir DIR"
            ) from error
        except OSError as error:
            raise AccessError(
                f"the database {path} may not be read by this user: {error.strerror}",
                hint="be root or the daemon's user",
            ) from error
        connection: sqlite3.Connection | None = None
        try:
            connection = connect_readonly(path)
            check_ours(connection, path, oldest=oldest)
            return cls(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise cannot_read(path, error) from error
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _check_rows(self, path: str) -> None:
        # What everybody depends on. SQLite keeps no sums of its pages: as a file it may be sound.
        try:
            meta = self.meta()
            documents = [json.loads(text) for text in (meta.settings or "{}", meta.troubles, meta.incidents)]
            if not all(isinstance(item, dict) for item in documents):
                raise TypeError("an account is no object")  # noqa: TRY301 (damage like any other)
            self.sources(with_gone=False)
        except (ValueError, TypeError) as error:
            raise DamagedError(f"{path} is damaged: {error}", hint=RESTORE_HINT) from error

    def next_source_id(self) -> int:
        """Return a number for a source that is about to be met; the row is written with its first commit."""
        number = self._next_source
        self._next_source += 1
        return number

    def commit(self, commit: Commit) -> None:
        """Write everything in one transaction, or nothing.

        Raises ``StoreError`` where a source's position is not the expected one (another writer), and
        ``sqlite3.Error`` for faults of the storage; then nothing was written and the caller must reload.
        """
        began = clock.monotonic_us()
        try:
            self._commit(commit)
        except BaseException:
            # What was counted on the way is not in the database.
            self.retention.forget_counts()
            with contextlib.suppress(sqlite3.Error):
                self._count()
            raise
        self.on_commit(commit, clock.monotonic_us() - began)

    def prune(self) -> bool:
        """Forget a bounded part of what retention does not keep; say whether there is more."""
        with self._transaction():
            self._prune(has_news=False)
        self.retention.give_back()
        return self.retention.is_behind

    def go_above(self, epoch: int, decision_no: int, now_us: int, *, lost_why: str = "") -> None:
        """Continue as the successor of a database that went further: a higher epoch, higher decisions.

        With ``lost_why`` what that one knew is noted as lost, otherwise this one as restored.
        """
        with self._transaction():
            self._db.execute(
                "UPDATE meta SET epoch = max(epoch + 1, ?, ?), decision_no = max(decision_no, ?), "
                "logged_no = max(logged_no, ?)",
                (epoch + 1, now_us // 1_000_000, decision_no, decision_no),
            )
            if lost_why:
                self._db.execute("UPDATE meta SET lost_at = ?, lost_why = ?", (now_us, lost_why))
            else:
                self._db.execute("UPDATE meta SET restored_at = ?", (now_us,))
            self._next_input += number_on(self._db, self._next_input, now_us)

    def is_at(self, path: str) -> bool:
        """Say whether the file at the path is the one that was opened."""
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def copy_to(self, path: str) -> None:
        """Write a consistent copy of the whole database to a new file of mode 0600, and wait for the disk.

        Raises ``sqlite3.Error`` and ``OSError``.
        """
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
            self._db.backup(copy)
            # One file, without a journal beside it; a daemon turns it on again.
            copy.execute("PRAGMA journal_mode=DELETE")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def end_journal(self) -> None:
        """Make one file of the database and its journal; the next writer begins another journal."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.execute("PRAGMA journal_mode=DELETE")

    def check(self) -> None:
        """Read everything and compare. Raises ``DamagedError``."""
        for pragma in ("integrity_check(1)", "foreign_key_check"):
            row = self._db.execute(f"PRAGMA {pragma}").fetchone()
            if row is not None and row[0] != "ok":
                raise DamagedError(f"it is damaged: {row}", hint="take another backup")

    def _commit(self, commit: Commit) -> None:
        with self._transaction():
            self._write_input(commit)
            self._write_sources(commit.sources)
            self._write_housekeeping(commit)
            self._db.executemany(
                f"INSERT INTO agent({_AGENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
                "ON CONFLICT(owner, agent_id) DO UPDATE SET name = excluded.name, tier = excluded.tier, "
                "is_plain = excluded.is_plain, state = excluded.state, due = excluded.due",
                commit.agents,
            )
            for role in commit.roles:
                row = (role.owner, role.name, role.habits)
                self._db.execute("INSERT OR REPLACE INTO role VALUES (?, ?, ?)", row)
            self._write_lessons(commit.lessons)
            for item in commit.decisions:
                self._db.execute(
                    "INSERT INTO decision(decision_no, name, document) VALUES (?, ?, ?)",
                    (item.decision_no, item.agent_id, json.dumps(item.to_dict())),
                )
            if commit.shift_us:
                self._db.execute("UPDATE source SET look_us = look_us + ?", (commit.shift_us,))
                self._db.execute("UPDATE source SET away_us = away_us + ? WHERE away_us", (commit.shift_us,))
                self._db.execute("UPDATE lesson SET ended = ended + ?", (commit.shift_us,))
            self._write_types(commit.event_types)
            self._write_unknown(commit.unknown)
            self._write_seen(commit.seen)
            if commit.writers:
                self._db.executemany("INSERT OR IGNORE INTO writer VALUES (?, ?)", commit.writers)
            self._write_incidents(commit.incidents)
            self._write_denials(commit)
            if commit.request_id:
                self._db.execute(
                    "INSERT INTO request(id, at, document) VALUES (?, ?, ?)",
                    (commit.request_id, commit.at_us, json.dumps(_without_baseline(commit.document))),
                )
            self._db.execute(
                "UPDATE meta SET seq = seq + ?, decision_no = max(decision_no, ?), "
                "logged_no = max(logged_no, ?), clock = max(clock + ?, ?), "
                "last_scan = max(last_scan + ?, ?), "
                "has_history = has_history AND NOT ?, events = events + ?, "
                "tool_calls = tool_calls + ?, settings = CASE WHEN ? = '' THEN settings ELSE ? END, "
                "troubles = coalesce(?, troubles)",
                (
                    int(commit.bumps_seq),
                    commit.decisions[-1].decision_no if commit.decisions else 0,
                    commit.logged_no,
                    commit.shift_us,
                    commit.clock_us,
                    commit.shift_us,
                    commit.last_scan_us,
                    commit.is_history_done,
                    commit.events,
                    commit.tool_calls,
                    commit.settings,
                    commit.settings,
                    None if commit.troubles is None else json.dumps(commit.troubles, sort_keys=True),
                ),
            )
            if commit.shift_us:
                self._db.execute("UPDATE meta SET lost_at = lost_at + ? WHERE lost_at", (commit.shift_us,))
            if commit.lost is not None:
                self._db.execute("UPDATE meta SET lost_at = ?, lost_why = ?", commit.lost)
            if self._is_durable:
                self._prune(
                    has_news=bool(commit.request_id or commit.incidents)
                    or any(source.is_gone for _, source in commit.sources)
                )

    def meta(self) -> Meta:
        """Return the database's own row."""
        columns = ", ".join(item.name for item in fields(Meta))
        row = self._db.execute(f"SELECT {columns} FROM meta").fetchone()  # noqa: S608
        values = dict(zip((item.name for item in fields(Meta)), row, strict=True))
        return Meta(**{**values, "has_history": bool(values["has_history"])})

    def sources(self, *, with_gone: bool = True) -> list[Source]:
        """Return every known source, oldest first."""
        where = "" if with_gone else "WHERE is_gone = 0"
        rows = self._db.execute(f"SELECT {', '.join(_SOURCE_COLUMNS)} FROM source {where} ORDER BY id")  # noqa: S608
        return [_source(row) for row in rows]

    def past_files(self) -> list[PastFile]:
        """Return the accounts of files whose rows went, by path."""
        columns = ", ".join(item.name for item in fields(PastFile))
        rows = self._db.execute(f"SELECT {columns} FROM past_file ORDER BY path")  # noqa: S608
        return [PastFile(os.fsdecode(path), *counts) for path, *counts in rows]

    def has_agent(self, key: tuple[int, str]) -> bool:
        """Say whether an agent, by owner and claimed id, has a row."""
        row = self._db.execute("SELECT 1 FROM agent WHERE owner = ? AND agent_id = ?", key)
        return row.fetchone() is not None

    def agent(self, key: Key) -> AgentRow | None:
        """Return one agent by owner and claimed id."""
        row = self._db.execute(
            f"SELECT {_AGENT_COLUMNS} FROM agent WHERE owner = ? AND agent_id = ?",  # noqa: S608
            key,
        ).fetchone()
        return None if row is None else AgentRow._make(row)

    def agent_named(self, name: str) -> AgentRow | None:
        """Return one agent by its published id."""
        if not _is_text(name):
            return None
        row = self._db.execute(
            f"SELECT {_AGENT_COLUMNS} FROM agent WHERE name = ?",  # noqa: S608
            (name,),
        ).fetchone()
        return None if row is None else AgentRow._make(row)

    def agents(self, *, held_only: bool = False) -> Iterator[AgentRow]:
        """Yield agents in the order of their published ids; ``held_only``: those whose tier is not plain."""
        where = "WHERE is_plain = 0" if held_only else ""
        rows = self._db.execute(f"SELECT {_AGENT_COLUMNS} FROM agent {where} ORDER BY name")  # noqa: S608
        return (AgentRow._make(row) for row in rows)

    def agents_after(self, key: Key, limit: int) -> list[AgentRow]:
        """Return so many agents in the order of their keys, from behind ``key`` on."""
        rows = self._db.execute(
            f"SELECT {_AGENT_COLUMNS} FROM agent WHERE (owner, agent_id) > (?, ?) "  # noqa: S608
            "ORDER BY owner, agent_id LIMIT ?",
            (*key, limit),
        )
        return [AgentRow._make(row) for row in rows]

    def agents_of(self, keys: Iterable[Key]) -> Iterator[AgentRow]:
        """Yield those of some agents that are known, by owner and claimed id."""
        by_owner: dict[int, list[str]] = {}
        for owner, agent_id in keys:
            by_owner.setdefault(owner, []).append(agent_id)
        for owner, ids in by_owner.items():
            query = f"SELECT {_AGENT_COLUMNS} FROM agent WHERE owner = ? AND agent_id IN"  # noqa: S608
            yield from (AgentRow._make(row) for row in self._among(query, ids, owner))

    def names_of(self, names: Iterable[str]) -> set[str]:
        """Return those of some published ids that are in use."""
        return {row[0] for row in self._among("SELECT name FROM agent WHERE name IN", list(names))}

    def _among(self, query: str, values: Sequence[str], *given: int) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _VALUES_AT_ONCE):
            some = values[start : start + _VALUES_AT_ONCE]
            yield from self._db.execute(f"{query} ({', '.join('?' * len(some))})", (*given, *some))

    def due(self, at_us: int, others: Container[Key]) -> tuple[list[Key], int | None]:
        """Return who is due before an instant and when the next one is (None: never), ``others`` left out."""
        found: list[Key] = []
        rows = self._db.execute("SELECT owner, agent_id, due FROM agent WHERE due IS NOT NULL ORDER BY due")
        with contextlib.closing(rows):
            for owner, agent_id, due in rows:
                if (owner, agent_id) in others:
                    continue
                if due >= at_us:
                    return found, due
                found.append((owner, agent_id))
        return found, None

    def wake_all(self) -> None:
        """Let every agent be due that is due at any time: it may be at another one."""
        self._db.execute("UPDATE agent SET due = 0 WHERE due IS NOT NULL")

    def roles(self) -> list[RoleRow]:
        """Return the habits of every role."""
        rows = self._db.execute("SELECT owner, name, habits FROM role ORDER BY owner, name")
        return [RoleRow(*row) for row in rows]

    def lessons(self, owner: int, *, role: str | None = None, agent_id: str | None = None) -> list[LessonRow]:
        """Return the kept sessions of a role, or of an agent, in the order in which they were learned."""
        column, value = ("role", role) if role is not None else ("agent_id", agent_id)
        rows = self._db.execute(
            f"SELECT {_LESSON_COLUMNS} FROM lesson WHERE owner = ? AND {column} = ? ORDER BY no",  # noqa: S608
            (owner, value),
        )
        return [
            LessonRow(
                owner,
                name,
                agent,
                ended,
                bool(rank),
                bool(suspicious),
                bool(learned),
                bool(attack),
                ranks,
                session,
            )
            for owner, name, agent, ended, rank, suspicious, learned, attack, ranks, session in rows
        ]

    def formats_of(self, owner: int, agent_ids: Iterable[str]) -> list[str]:
        """Return the formats of the files that an owner's agents wrote, in the order of names."""
        found: set[str] = set()
        for agent_id in agent_ids:
            found.update(
                row[0]
                for row in self._db.execute(
                    "SELECT DISTINCT format FROM source JOIN writer ON writer.source = source.id "
                    "WHERE source.owner = ? AND agent_id = ?",
                    (owner, agent_id),
                )
            )
        return sorted(found - {""})

    def files_of(self, owner: int, agent_id: str) -> list[str]:
        """Return the paths of the files that nobody but this agent wrote."""
        rows = self._db.execute(
            "SELECT path, last_path FROM source JOIN writer ON writer.source = source.id WHERE owner = ? "
            "AND agent_id = ? AND (SELECT count(*) FROM writer WHERE writer.source = source.id) = 1",
            (owner, agent_id),
        )
        return sorted({os.fsdecode(path) for row in rows for path in row})

    def agent_names(self) -> list[str]:
        """Return every published id."""
        return [row[0] for row in self._db.execute("SELECT name FROM agent ORDER BY name")]

    def owner_counts(self) -> dict[int, int]:
        """Return how many agents each owner has."""
        return dict(self._db.execute("SELECT owner, count(*) FROM agent GROUP BY owner"))

    def name_taken(self, name: str) -> bool:
        """Say whether a published id is in use."""
        return self._db.execute("SELECT 1 FROM agent WHERE name = ?", (name,)).fetchone() is not None

    def decisions(self, *, name: str | None = None, after: int = 0, limit: int = -1) -> list[Decision]:
        """Return decisions in order; with ``limit``, the newest ones."""
        clause, values = ("AND name = ?", (name,)) if name is not None else ("", ())
        rows = self._db.execute(
            "SELECT decision_no, name, document FROM decision "  # noqa: S608
            f"WHERE decision_no > ? {clause} ORDER BY decision_no DESC LIMIT ?",
            (after, *values, limit),
        ).fetchall()
        return [_decision(*row) for row in reversed(rows)]

    def source_path(self, source_id: int) -> str:
        """Return the path by which a source is known; empty for an unknown one."""
        row = self._db.execute("SELECT path FROM source WHERE id = ?", (source_id,)).fetchone()
        return "" if row is None else os.fsdecode(row[0])

    def writers(self, source_id: int) -> list[str]:
        """Return the claimed ids of the agents that wrote a source, in the order of ids."""
        query = "SELECT agent_id FROM writer WHERE source = ? ORDER BY agent_id"
        rows = self._db.execute(query, (source_id,))
        return [row[0] for row in rows]

    def coverage(self, key: Key | None = None) -> dict[Key, Coverage]:
        """Return what became of the records in the files of every agent, or of one, by (owner, claimed id).

        Files that are gone count as long as their rows are kept.
        """
        where, values = ("WHERE source.owner = ? AND agent_id = ?", key) if key is not None else ("", ())
        rows = self._db.execute(
            "SELECT source.owner, agent_id, count(*), "  # noqa: S608
            "sum((SELECT count(*) FROM (SELECT 1 FROM writer AS other WHERE other.source = source.id "
            "LIMIT 2)) > 1), sum(lines - blank), sum(unknown), sum(rejected), group_concat(DISTINCT format) "
            f"FROM writer JOIN source ON source.id = writer.source {where} GROUP BY source.owner, agent_id",
            values,
        )
        return {(owner, agent_id): _coverage(counts) for owner, agent_id, *counts in rows}

    def unread_coverage(self) -> Coverage:
        """Return what became of the records in files that nobody is known to have written an event in."""
        row = self._db.execute(
            "SELECT count(*), 0, coalesce(sum(lines - blank), 0), coalesce(sum(unknown), 0), "
            "coalesce(sum(rejected), 0), coalesce(group_concat(DISTINCT format), '') FROM source "
            "WHERE accepted + duplicates = 0 AND unknown + rejected > 0"
        ).fetchone()
        return _coverage(row)

    def writers_below(self, directory: str, owner: int) -> list[str]:
        """Return the claimed ids of an owner's agents that wrote files in a directory or below it."""
        prefix = os.fsencode(directory.rstrip("/")) + b"/"
        rows = self._db.execute(
            "SELECT DISTINCT agent_id FROM source JOIN writer ON writer.source = source.id "
            "WHERE owner = ? AND source.path >= ? AND source.path < ? ORDER BY agent_id",
            (owner, prefix, prefix[:-1] + b"0"),
        )
        return [row[0] for row in rows]

    def owned_by(self, owner: int, limit: int) -> list[str]:
        """Return the claimed ids of an owner's agents, at most ``limit``."""
        rows = self._db.execute(
            "SELECT agent_id FROM agent WHERE owner = ? ORDER BY agent_id LIMIT ?", (owner, limit)
        )
        return [row[0] for row in rows]

    def incidents(self, *, owner: int | None = None, limit: int = -1) -> list[Incident]:
        """Return what was done to telemetry (of one owner), newest first."""
        clause, values = ("WHERE owner = ?", (owner,)) if owner is not None else ("", ())
        rows = self._db.execute(
            'SELECT at, kind, owner, source, path, "from", "to", detail, count '  # noqa: S608
            f"FROM incident {clause} ORDER BY no DESC LIMIT ?",
            (*values, limit),
        )
        return [
            Incident(at, kind, owner, source, os.fsdecode(path), start, end, detail, count)
            for at, kind, owner, source, path, start, end, detail, count in rows
        ]

    def denials(self) -> list[DenialRow]:
        """Return the denials that are remembered, oldest first."""
        rows = self._db.execute("SELECT owner, key, agent_id, at, call_id FROM denial ORDER BY no")
        return [DenialRow(*row) for row in rows]

    def done_calls(self) -> list[DoneRow]:
        """Return the calls that were carried out last, oldest first."""
        rows = self._db.execute('SELECT owner, key, agent_id, at, source, "from" FROM done_call ORDER BY no')
        return [DoneRow(*row) for row in rows]

    def event_types(self) -> dict[str, int]:
        """Return how many events of each type were counted."""
        return dict(self._db.execute("SELECT name, events FROM event_type ORDER BY name"))

    def unknown_records(self) -> dict[str, dict[str, int]]:
        """Return how many records no mapping knew, by format and name."""
        found: dict[str, dict[str, int]] = {}
        for format_name, name, records in self._db.execute(
            "SELECT * FROM unknown_record ORDER BY format, name"
        ):
            found.setdefault(format_name, {})[name] = records
        return found

    def seen(self, owner: int, record_id: bytes) -> list[bytes]:
        """Return the content hashes under which an explicit record id was seen."""
        rows = self._db.execute("SELECT content FROM seen WHERE owner = ? AND id = ?", (owner, record_id))
        return [row[0] for row in rows]

    def has_request(self, request_id: str) -> bool:
        """Say whether an operator's request was carried out before."""
        row = self._db.execute("SELECT 1 FROM request WHERE id = ?", (request_id,)).fetchone()
        return row is not None

    def inputs(self) -> Iterator[tuple[str, int, dict[str, Any], list[Part]]]:
        """Yield what was read, in order: (kind, at, document, parts without rows)."""
        owners = dict(self._db.execute("SELECT id, owner FROM source"))
        for no, kind, at, document in self._db.execute(
            "SELECT no, kind, at, document FROM input ORDER BY no"
        ):
            brackets = self._db.execute(
                'SELECT source, "from", "to", lo, hi, file_time, is_history, skip FROM bracket '
                "WHERE input_no = ? ORDER BY ordinal",
                (no,),
            )
            parts = [
                Part(
                    source, owners.get(source, -1), start, end, lo, hi, file_time, bool(is_history), skip=skip
                )
                for source, start, end, lo, hi, file_time, is_history, skip in brackets
            ]
            yield kind, at, json.loads(document), parts

    def _value(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise

    def _write_input(self, commit: Commit) -> None:
        if commit.kind == "publish" or not self._is_durable:
            return
        no = self._next_input
        self._db.execute(
            "INSERT INTO input(no, kind, at, document) VALUES (?, ?, ?, ?)",
            (no, commit.kind, commit.at_us, json.dumps(commit.document)),
        )
        self._db.executemany(
            "INSERT INTO bracket VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    no,
                    ordinal,
                    part.source_id,
                    part.start,
                    part.end,
                    part.lo,
                    part.hi,
                    part.file_time,
                    part.is_history,
                    part.skip,
                )
                for ordinal, part in enumerate(commit.parts)
            ],
        )
        self._next_input = no + 1

    def _write_sources(self, sources: Iterable[tuple[int, Source]]) -> None:
        for expected_pos, source in sources:
            row = (*_columns(source), self._next_input - 1, expected_pos)
            if self._db.execute(_SOURCE_UPSERT, row).rowcount != 1:
                raise StoreError(
                    f"the database no longer holds position {expected_pos} of {source.path!r}",
                    hint="is another process writing to this state directory?",
                )

    def _prune(self, *, has_news: bool) -> None:
        pruned = self.retention.step(has_news=has_news)
        if pruned["seen"]:
            self._seen_counts = dict(self._db.execute("SELECT owner, count(*) FROM seen GROUP BY owner"))
        if pruned:
            self._db.execute(
                "UPDATE meta SET inputs_pruned = inputs_pruned + ?, sources_pruned = sources_pruned + ?, "
                "decisions_pruned = decisions_pruned + ?, incidents_pruned = incidents_pruned + ?, "
                "requests_pruned = requests_pruned + ?, seen_expired = seen_expired + ?",
                [
                    pruned[name]
                    for name in ("inputs", "sources", "decisions", "incidents", "requests", "seen")
                ],
            )

    def _write_housekeeping(self, commit: Commit) -> None:
        """Forget and rename, before anything is written under the new names."""
        if commit.forgotten is not None:
            self._db.execute(
                "DELETE FROM lesson WHERE owner = ? AND role = ? AND ended <= ?", commit.forgotten
            )
        if (old := commit.renamed) is not None:
            self._db.execute("DELETE FROM agent WHERE owner = ? AND agent_id = ?", (old.owner, old.old_id))
            self._move_writer(old.owner, old.old_id, old.new_id)
            for table in ("lesson", "denial", "done_call"):
                self._db.execute(
                    f"UPDATE {table} SET agent_id = ? WHERE owner = ? AND agent_id = ?",  # noqa: S608
                    (old.new_id, old.owner, old.old_id),
                )
            # What was decided stays as it was said then; it is found under the new id.
            self._db.execute("UPDATE decision SET name = ? WHERE name = ?", (old.new_name, old.old_name))
        if commit.erased is not None:
            self._erase(*commit.erased)

    def _erase(self, owner: int, agent_id: str, name: str) -> None:
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.execute("DELETE FROM agent WHERE owner = ? AND agent_id = ?", (owner, agent_id))
        self._db.execute("DELETE FROM lesson WHERE owner = ? AND agent_id = ?", (owner, agent_id))
        self._db.execute("DELETE FROM denial WHERE owner = ? AND agent_id = ?", (owner, agent_id))
        self._db.execute("DELETE FROM done_call WHERE owner = ? AND agent_id = ?", (owner, agent_id))
        self._db.execute("DELETE FROM decision WHERE name = ?", (name,))
        # Who wrote a file is who answers for what is done to it: nobody else must from now on.
        self._move_writer(owner, agent_id, UNNAMED_ID)
        self._db.execute(
            "UPDATE incident SET detail = '' "
            "WHERE (owner = ? AND substr(detail, 1, ?) = ?) OR instr(detail, ?)",
            (owner, len(agent_id) + 2, f"{agent_id}: ", repr(agent_id)),
        )

    def _move_writer(self, owner: int, old_id: str, new_id: str) -> None:
        where = "agent_id = ? AND source IN (SELECT id FROM source WHERE owner = ?)"
        self._db.execute(
            f"UPDATE OR IGNORE writer SET agent_id = ? WHERE {where}",  # noqa: S608
            (new_id, old_id, owner),
        )
        self._db.execute(f"DELETE FROM writer WHERE {where}", (old_id, owner))  # noqa: S608

    def scrub(self) -> bool:
        """Leave nothing of what was erased in unused parts of the file; False where it is too large for that.

        Raises ``sqlite3.Error``; the database is as it was then.
        """
        is_small = self.retention.used_bytes() <= _SCRUBBED_BYTES
        if is_small:
            self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return is_small

    def _write_lessons(self, lessons: Sequence[LessonRow]) -> None:
        if not lessons:
            return
        self._db.executemany(
            f"INSERT INTO lesson({_LESSON_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            [
                (
                    item.owner, item.role, item.agent_id, item.ended_us, item.is_rank, item.is_suspicious,
                    item.is_learned, item.is_attack, item.ranks, item.session,
                )
                for item in lessons
            ],
        )  # fmt: skip
        for owner, role in {(item.owner, item.role) for item in lessons}:
            self._db.execute(
                "DELETE FROM lesson WHERE owner = ? AND role = ? AND no <= "
                "(SELECT no FROM lesson WHERE owner = ? AND role = ? ORDER BY no DESC LIMIT 1 OFFSET ?)",
                (owner, role, owner, role, MAX_LESSONS),
            )
        for owner in {item.owner for item in lessons}:
            # Whoever has most loses first: an owner alone, and of its roles the one that fills it.
            self._bound_lessons(owner)

    def _bound_lessons(self, owner: int) -> None:
        while True:
            sizes = self._db.execute(
                "SELECT sum(length(session)), role FROM lesson WHERE owner = ? GROUP BY role ORDER BY 1 DESC",
                (owner,),
            ).fetchall()
            excess = sum(size for size, _ in sizes) - MAX_LESSONS_BYTES
            if excess <= 0:
                return
            rows = self._db.execute(
                "SELECT no, length(session) FROM lesson WHERE owner = ? AND role = ? ORDER BY no",
                (owner, sizes[0][1]),
            ).fetchall()
            last = 0
            for no, size in rows:
                if excess <= 0:
                    break
                last, excess = no, excess - size
            self._db.execute(
                "DELETE FROM lesson WHERE owner = ? AND role = ? AND no <= ?", (owner, sizes[0][1], last)
            )

    def _write_types(self, counts: dict[str, int]) -> None:
        named: dict[str, int] = {}
        for name, events in counts.items():
            known = name in self._type_names or len(self._type_names) < MAX_EVENT_TYPES
            if known:
                self._type_names.add(name)
            target = name if known else "other"
            named[target] = named.get(target, 0) + events
        self._db.executemany(
            "INSERT INTO event_type(name, events) VALUES (?, ?) "
            "ON CONFLICT(name) DO UPDATE SET events = events + excluded.events",
            list(named.items()),
        )

    def _write_unknown(self, counts: dict[tuple[str, str], int]) -> None:
        for (format_name, name), records in counts.items():
            key = (format_name, name)
            if key not in self._unknown_names and len(self._unknown_names) >= MAX_UNKNOWN:
                key = (format_name, "other")
            self._unknown_names.add(key)
            self._db.execute(
                "INSERT INTO unknown_record(format, name, records) VALUES (?, ?, ?) "
                "ON CONFLICT(format, name) DO UPDATE SET records = records + excluded.records",
                (*key, records),
            )

    def _write_incidents(self, incidents: Sequence[Incident]) -> None:
        if not incidents:
            return
        counts = json.loads(self._db.execute("SELECT incidents FROM meta").fetchone()[0])
        for item in incidents:
            counts[item.kind] = counts.get(item.kind, 0) + item.count
            path = os.fsencode(item.path)
            # An attack that goes on is one row: the newest of its kind and path, while that is fresh.
            is_known = self._db.execute(
                'UPDATE incident SET count = count + ?, "to" = max("to", ?) WHERE no = '
                "(SELECT max(no) FROM incident WHERE owner = ? AND kind = ? AND path = ?) AND at > ?",
                (item.count, item.end, item.owner, item.kind, path, item.at_us - _SAME_INCIDENT_US),
            ).rowcount
            if not is_known:
                row = (item.at_us, item.kind, item.owner, item.source_id, path, item.start, item.end)
                self._db.execute(
                    'INSERT INTO incident(at, kind, owner, source, path, "from", "to", detail, count) '
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, item.detail, item.count),
                )
        self._db.execute("UPDATE meta SET incidents = ?", (json.dumps(counts, sort_keys=True),))

    def _write_denials(self, commit: Commit) -> None:
        for row in commit.denials:
            self._db.execute(
                "INSERT OR IGNORE INTO denial(owner, key, agent_id, at, call_id) VALUES (?, ?, ?, ?, ?)",
                (row.owner, row.key, row.agent_id, row.at_us, row.call_id),
            )
        for lifted in commit.lifted:
            self._db.execute("DELETE FROM denial WHERE owner = ? AND key = ?", lifted)
        if commit.done_calls:
            self._db.executemany(
                'INSERT INTO done_call(owner, key, agent_id, at, source, "from") VALUES (?, ?, ?, ?, ?, ?)',
                [
                    (row.owner, row.key, row.agent_id, row.at_us, row.source_id, row.offset)
                    for row in commit.done_calls
                ],
            )
            (newest,) = self._db.execute("SELECT max(no) FROM done_call").fetchone()
            if newest % _DONE_STEP < len(commit.done_calls):
                self._db.execute(
                    "DELETE FROM done_call WHERE no IN (SELECT no FROM (SELECT no, row_number() "
                    "OVER (PARTITION BY owner ORDER BY no DESC) AS rank FROM done_call) WHERE rank > ?)",
                    (MAX_DONE_CALLS,),
                )

    def _write_seen(self, seen: list[tuple[int, bytes, bytes]]) -> None:
        for owner, record_id, content in seen:
            self._seen_no += 1
            self._db.execute(
                "INSERT INTO seen VALUES (?, ?, ?, ?)", (owner, record_id, content, self._seen_no)
            )
            self._seen_counts[owner] = self._seen_counts.get(owner, 0) + 1
        for owner in {item[0] for item in seen}:
            excess = self._seen_counts[owner] - MAX_SEEN
            if excess > 0:
                self._db.execute(
                    "DELETE FROM seen WHERE owner = ? AND no <= "
                    "(SELECT no FROM seen WHERE owner = ? ORDER BY no LIMIT 1 OFFSET ?)",
                    (owner, owner, excess - 1),
                )
                self._db.execute("UPDATE meta SET seen_expired = seen_expired + ?", (excess,))
                self._seen_counts[owner] = MAX_SEEN


_values = attrgetter(*_SOURCE_COLUMNS)
_AT = {name: at for at, name in enumerate(_SOURCE_COLUMNS)}


def _columns(source: Source) -> list[object]:
    row: list[object] = list(_values(source))
    row[_AT["path"]], row[_AT["last_path"]] = os.fsencode(source.path), os.fsencode(source.last_path)
    # Unsigned 64-bit numbers, which SQLite integers cannot hold.
    row[_AT["dev"]], row[_AT["ino"]] = str(source.dev), str(source.ino)
    return row


def _coverage(row: Sequence[Any]) -> Coverage:
    files, shared, records, unknown, rejects, formats = row
    return Coverage(
        files,
        shared,
        records,
        unknown,
        rejects,
        tuple(sorted(filter(None, formats.split(",")))),
    )


def _decision(number: int, name: str, document: str) -> Decision:
    try:
        return Decision.from_dict(json.loads(document))
    except (ValueError, KeyError, TypeError):
        # Numbers are dense: one of which nothing else is left is told too, and hides none of the others.
        note = "this decision is damaged in the database"
        return Decision(number, decision_id(number), name, 3, 3, 0.0, iso(0), "unreadable", "", note=note)


def _without_baseline(document: dict[str, Any]) -> dict[str, Any]:
    """Return an input's document without the habits that it may carry: it is kept once, as an input."""
    request = document.get("request")
    if not isinstance(request, dict) or "baseline" not in request:
        return document
    return {**document, "request": {key: value for key, value in request.items() if key != "baseline"}}


def _is_text(name: str) -> bool:
    # What the command line could not decode has half surrogates, which the database cannot even look for.
    return not any("\ud800" <= char <= "\udfff" for char in name)


def _source(row: Sequence[Any]) -> Source:
    values = dict(zip(_SOURCE_COLUMNS, row, strict=True))
    for name in ("path", "last_path"):
        values[name] = os.fsdecode(values[name])
    for name in ("dev", "ino"):
        values[name] = int(values[name])
    for name in ("is_skipping", "is_gone"):
        values[name] = bool(values[name])
    return Source(**values)

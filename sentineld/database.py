"""Database: the file that ``Store`` keeps: its schema, how it is opened, checked and brought up to date."""

import json
import os
import sqlite3
import uuid

from sentineld.errors import AccessError, DamagedError, SentineldError, StorageError, StoreError
from sentineld.statedir import PASSING_ERRORS

#: ``PRAGMA application_id``: "SNTL".
APPLICATION_ID = 0x534E544C
SCHEMA_VERSION = 8
#: How long a locked database is waited for unless told otherwise, seconds.
PATIENCE_S = 2.0
#: Pages that a connection keeps in memory, KiB; taken as they are needed.
_CACHE_KIB = 16 << 10

_SCHEMA = """
CREATE TABLE meta(
  id INTEGER PRIMARY KEY CHECK (id = 1), database_id TEXT NOT NULL, born_at INTEGER NOT NULL,
  epoch INTEGER NOT NULL, seq INTEGER NOT NULL, decision_no INTEGER NOT NULL, logged_no INTEGER NOT NULL,
  clock INTEGER NOT NULL, last_scan INTEGER NOT NULL, has_history INTEGER NOT NULL,
  events INTEGER NOT NULL, tool_calls INTEGER NOT NULL, seen_expired INTEGER NOT NULL,
  inputs_pruned INTEGER NOT NULL, settings TEXT NOT NULL, troubles TEXT NOT NULL
) STRICT;
CREATE TABLE source(
  id INTEGER PRIMARY KEY, path BLOB NOT NULL, last_path BLOB NOT NULL, kind TEXT NOT NULL,
  dev TEXT NOT NULL, ino TEXT NOT NULL, generation INTEGER NOT NULL, owner INTEGER NOT NULL,
  look_us INTEGER NOT NULL,
  fp_len INTEGER NOT NULL, fp BLOB NOT NULL, tail_len INTEGER NOT NULL, tail BLOB NOT NULL,
  chain BLOB NOT NULL,
  pos INTEGER NOT NULL, is_skipping INTEGER NOT NULL,
  lines INTEGER NOT NULL, accepted INTEGER NOT NULL, ignored INTEGER NOT NULL, rejected INTEGER NOT NULL,
  duplicates INTEGER NOT NULL, conflicts INTEGER NOT NULL, clamped INTEGER NOT NULL,
  timeless INTEGER NOT NULL, bytes_read INTEGER NOT NULL, is_gone INTEGER NOT NULL,
  elements BLOB NOT NULL, signature TEXT NOT NULL
) STRICT;
CREATE TABLE agent(
  owner INTEGER NOT NULL, agent_id TEXT NOT NULL, name TEXT NOT NULL UNIQUE,
  tier INTEGER NOT NULL, is_cold INTEGER NOT NULL, state BLOB NOT NULL,
  PRIMARY KEY (owner, agent_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_warm ON agent(is_cold) WHERE is_cold = 0;
CREATE TABLE event_type(name TEXT PRIMARY KEY, events INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE decision(
  decision_no INTEGER PRIMARY KEY, name TEXT NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE INDEX decision_name ON decision(name, decision_no);
CREATE TABLE input(
  no INTEGER PRIMARY KEY, kind TEXT NOT NULL, at INTEGER NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE TABLE bracket(
  input_no INTEGER NOT NULL REFERENCES input(no) ON DELETE CASCADE, ordinal INTEGER NOT NULL,
  source INTEGER NOT NULL, "from" INTEGER NOT NULL, "to" INTEGER NOT NULL,
  lo INTEGER NOT NULL, hi INTEGER NOT NULL, file_time INTEGER NOT NULL,
  is_history INTEGER NOT NULL, skip INTEGER NOT NULL,
  PRIMARY KEY (input_no, ordinal)
) STRICT, WITHOUT ROWID;
CREATE TABLE seen(
  owner INTEGER NOT NULL, id BLOB NOT NULL, content BLOB NOT NULL, no INTEGER NOT NULL,
  PRIMARY KEY (owner, id, content)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_age ON seen(owner, no);
CREATE TABLE request(id TEXT PRIMARY KEY, at INTEGER NOT NULL, document TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""

RESTORE_HINT = "sentineld restore FILE with a backup; sentineld run sets it aside and begins anew"
_DISK_HINT = "make room on the disk, or see what is wrong with it; nothing that was committed is lost"

#: What each version of the schema added to the one before it.
_MIGRATIONS = {
    2: """
ALTER TABLE meta ADD COLUMN incidents TEXT NOT NULL DEFAULT '{}';
ALTER TABLE meta ADD COLUMN decisions_pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN incidents_pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN sources_pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN requests_pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN restored_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN lost_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN lost_why TEXT NOT NULL DEFAULT '';
ALTER TABLE source ADD COLUMN away_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE source ADD COLUMN last_input INTEGER NOT NULL DEFAULT 0;
UPDATE source SET last_input = (SELECT coalesce(max(no), 0) FROM input);
UPDATE source SET chain = x'';
CREATE INDEX source_gone ON source(last_input) WHERE is_gone = 1;
CREATE TABLE past_file(
  path BLOB PRIMARY KEY, no INTEGER NOT NULL, files INTEGER NOT NULL,
  lines INTEGER NOT NULL, accepted INTEGER NOT NULL, ignored INTEGER NOT NULL, rejected INTEGER NOT NULL,
  duplicates INTEGER NOT NULL, conflicts INTEGER NOT NULL, clamped INTEGER NOT NULL,
  timeless INTEGER NOT NULL, bytes_read INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX past_file_age ON past_file(no);
CREATE TABLE incident(
  no INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, owner INTEGER NOT NULL,
  source INTEGER NOT NULL, path BLOB NOT NULL, "from" INTEGER NOT NULL, "to" INTEGER NOT NULL,
  detail TEXT NOT NULL, count INTEGER NOT NULL
) STRICT;
CREATE INDEX incident_alike ON incident(owner, kind, path, no);
CREATE TABLE writer(
  source INTEGER NOT NULL, agent_id TEXT NOT NULL, PRIMARY KEY (source, agent_id)
) STRICT, WITHOUT ROWID;
""",
    3: """
ALTER TABLE source ADD COLUMN format TEXT NOT NULL DEFAULT '';
ALTER TABLE source ADD COLUMN kept BLOB NOT NULL DEFAULT x'';
UPDATE source SET kind = iif(kind = 'json', 'document', 'lines');
CREATE TABLE unknown_record(
  format TEXT NOT NULL, name TEXT NOT NULL, records INTEGER NOT NULL, PRIMARY KEY (format, name)
) STRICT, WITHOUT ROWID;
""",
    4: """
CREATE TABLE role(
  owner INTEGER NOT NULL, name TEXT NOT NULL, habits BLOB NOT NULL, PRIMARY KEY (owner, name)
) STRICT;
""",
    5: """
CREATE TABLE lesson(
  no INTEGER PRIMARY KEY, owner INTEGER NOT NULL, role TEXT NOT NULL, agent_id TEXT NOT NULL,
  ended INTEGER NOT NULL, is_rank INTEGER NOT NULL, is_suspicious INTEGER NOT NULL,
  is_learned INTEGER NOT NULL, is_attack INTEGER NOT NULL, ranks INTEGER NOT NULL, session BLOB NOT NULL
) STRICT;
CREATE INDEX lesson_role ON lesson(owner, role, no);
CREATE INDEX lesson_agent ON lesson(owner, agent_id);
""",
    6: """
ALTER TABLE source ADD COLUMN unknown INTEGER NOT NULL DEFAULT 0;
ALTER TABLE source ADD COLUMN blank INTEGER NOT NULL DEFAULT 0;
ALTER TABLE past_file ADD COLUMN unknown INTEGER NOT NULL DEFAULT 0;
ALTER TABLE past_file ADD COLUMN blank INTEGER NOT NULL DEFAULT 0;
CREATE INDEX writer_agent ON writer(agent_id);
""",
    7: """
CREATE TABLE denial(
  no INTEGER PRIMARY KEY, owner INTEGER NOT NULL, key TEXT NOT NULL, agent_id TEXT NOT NULL,
  at INTEGER NOT NULL, call_id TEXT NOT NULL, UNIQUE (owner, key)
) STRICT;
CREATE TABLE done_call(
  no INTEGER PRIMARY KEY, owner INTEGER NOT NULL, key TEXT NOT NULL, agent_id TEXT NOT NULL,
  at INTEGER NOT NULL, source INTEGER NOT NULL, "from" INTEGER NOT NULL
) STRICT;
""",
    8: """
DROP INDEX agent_warm;
ALTER TABLE agent RENAME TO former_agent;
CREATE TABLE agent(
  owner INTEGER NOT NULL, agent_id TEXT NOT NULL, name TEXT NOT NULL UNIQUE,
  tier INTEGER NOT NULL, is_plain INTEGER NOT NULL, state BLOB NOT NULL, due INTEGER,
  PRIMARY KEY (owner, agent_id)
) STRICT;
INSERT INTO agent SELECT owner, agent_id, name, tier, is_cold, state, iif(is_cold, NULL, 0) FROM former_agent;
DROP TABLE former_agent;
CREATE INDEX agent_held ON agent(is_plain) WHERE is_plain = 0;
CREATE INDEX agent_due ON agent(due) WHERE due IS NOT NULL;
""",
}


def configure(db: sqlite3.Connection, *, is_durable: bool) -> None:
    """Set what SQLite leaves open; with ``is_durable`` a commit that returned survives a power cut."""
    db.execute("PRAGMA trusted_schema=OFF")
    db.execute("PRAGMA cell_size_check=ON")
    db.execute("PRAGMA foreign_keys=ON")
    db.execute("PRAGMA journal_mode=WAL" if is_durable else "PRAGMA journal_mode=MEMORY")
    db.execute("PRAGMA synchronous=FULL" if is_durable else "PRAGMA synchronous=OFF")
    db.execute("PRAGMA wal_autocheckpoint=2000")
    # The keys of a hundred thousand agents: with less, pages are written more than once a transaction.
    db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    db.execute("PRAGMA journal_size_limit=67108864")


def connect_readonly(path: str) -> sqlite3.Connection:
    """Open a database to look at it. Raises ``sqlite3.Error``; see ``cannot_read``."""
    uri = f"file:{_quote(path)}?mode=ro"
    if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK) and not os.path.lexists(f"{path}-wal"):
        # Nobody has it open, and the files by which readers and a writer agree cannot be made here.
        uri += "&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=PATIENCE_S)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def cannot_read(path: str, error: sqlite3.Error) -> SentineldError:
    """Say why a database cannot be looked at."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        reason = "" if os.access(path, os.R_OK) else ": the file is the daemon's own"
        if not reason and os.path.lexists(f"{path}-wal"):
            # What a crashed daemon left in the journal can only be read by who may write beside it.
            reason = ": its last writer did not end well, and this user may not finish its work"
        return AccessError(
            f"the database {path} may not be read by this user{reason}", hint="be root or the daemon's user"
        )
    return cannot_open(path, error)


def is_empty(db: sqlite3.Connection) -> bool:
    """Say whether nothing has been made in the file yet."""
    return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0)


def check_ours(db: sqlite3.Connection, path: str, oldest: int = 1) -> None:
    """Check that a database is ours, of schema ``oldest`` at least and none that is newer than this program.

    Raises ``StoreError`` and ``DamagedError``.
    """
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        if db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'bracket'").fetchone()[0]:
            raise DamagedError(f"{path} is damaged: its header is not what we wrote", hint=RESTORE_HINT)
        raise StoreError(f"{path} is not a sentineld database", hint="choose another --state-dir")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}; this program knows up to {SCHEMA_VERSION}",
            hint="install the newer sentineld that wrote it; nothing was changed",
        )
    if version < 1:
        raise DamagedError(f"{path} is damaged: it has schema version {version}", hint=RESTORE_HINT)
    if db.execute("SELECT count(*) FROM sqlite_schema WHERE type IN ('trigger', 'view')").fetchone()[0]:
        # They would act on everything that is written from here on.
        raise DamagedError(f"{path} holds triggers or views, which sentineld never made", hint=RESTORE_HINT)
    if version < oldest:
        raise StoreError(
            f"{path} has schema version {version}, older than this program's {SCHEMA_VERSION}",
            hint="start the daemon (sentineld run), which brings it up to date",
        )


def migrate(
    db: sqlite3.Connection, path: str, now_us: int, epoch_floor: int, decision_floor: int, lost_why: str
) -> None:
    """Bring the database to ``SCHEMA_VERSION`` in one transaction: after a crash it is as it was."""
    is_new = is_empty(db)
    if not is_new:
        check = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise DamagedError(f"{path} is damaged: {check}", hint=RESTORE_HINT)
    version = 1 if is_new else db.execute("PRAGMA user_version").fetchone()[0]
    if not is_new and version == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    if is_new:
        _run(db, _SCHEMA)
        db.execute(
            "INSERT INTO meta VALUES (1, ?, ?, ?, 0, ?, ?, 0, 0, 1, 0, 0, 0, 0, '', '{}')",
            (
                uuid.uuid4().hex,
                now_us,
                max(epoch_floor + 1, now_us // 1_000_000),
                decision_floor,
                decision_floor,
            ),
        )
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    for number in range(version + 1, SCHEMA_VERSION + 1):
        _run(db, _MIGRATIONS[number])
    if is_new and lost_why:
        db.execute("UPDATE meta SET lost_at = ?, lost_why = ?", (now_us, lost_why))
    if is_new and decision_floor:
        number_on(db, 1, now_us)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    db.execute("COMMIT")


def number_on(db: sqlite3.Connection, no: int, now_us: int) -> int:
    """Keep, as input ``no``, the number behind which decisions go on; return how many inputs that were."""
    (decision_no,) = db.execute("SELECT decision_no FROM meta").fetchone()
    document = json.dumps({"decision_no": decision_no})
    return db.execute("INSERT INTO input VALUES (?, 'numbered', ?, ?)", (no, now_us, document)).rowcount


def _run(db: sqlite3.Connection, script: str) -> None:
    # Not executescript, which commits before it begins.
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)


def cannot_open(path: str, error: sqlite3.Error) -> SentineldError:
    """Say what kind of failure an error of SQLite is."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedError(f"{path} is damaged: {error}", hint=RESTORE_HINT)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        number = _why_not(path)
        if number not in PASSING_ERRORS:
            return AccessError(
                f"cannot open the database {path}: {error}",
                hint="check owner and mode of the state directory",
            )
        return StorageError(f"cannot open the database {path}: {os.strerror(number)}", hint=_DISK_HINT)
    if code in (
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL,
    ):  # fmt: skip
        return StorageError(f"the database {path} failed: {error}", hint=_DISK_HINT)
    return StoreError(f"cannot use the database {path}: {error}", hint=RESTORE_HINT)


def _why_not(path: str) -> int:
    """Return the number of the error that keeps the file from being opened for writing; 0: none."""
    try:
        os.close(os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        probe = f"{path}.probe"
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.unlink(probe)
    except OSError as error:
        return error.errno or 0
    return 0


def _quote(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")

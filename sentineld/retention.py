"""Retention: what the database forgets, and in which order, so that it never outgrows its bound.

Two kinds of bound. Counts hold always: so many inputs, decisions, incidents, files that are gone. The size
holds on top of them: beyond it, inputs go first (only ``replay --as-observed`` misses them), then the rows of
files that are gone, old decisions, incidents, remembered record ids. What is needed to go on stays whatever
happens: agents, files that are there, the newest decisions of every agent, and everything that the decision
log does not hold yet.

The work is done in small steps inside of transactions that happen anyway, so that nobody waits for it; pages
that become free are used again, so the file keeps its size. Everything that goes is counted.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field

#: Inputs kept for ``replay --as-observed``.
KEPT_INPUTS = 500_000
#: Decisions kept; of every agent at least the newest ones, which tell why it has its tier.
KEPT_DECISIONS = 100_000
KEPT_DECISIONS_EACH = 4
#: Incidents kept for people; further ones of the same kind and path are counted in the newest of them.
KEPT_INCIDENTS = 10_000
#: Operators' requests remembered, lest one be carried out twice.
KEPT_REQUESTS = 10_000
#: Rows of files that are gone.
KEPT_GONE = 20_000
#: Paths of which the accounts are kept after their rows went; older ones are added up in one row.
KEPT_PATHS = 10_000

#: Rows that one step removes at most: about 10 ms of work.
_STEP_ROWS = 4_000
#: ``PRAGMA auto_vacuum``: pages are given back when asked.
_INCREMENTAL = 2
#: Every so many commits the counts are looked at.
_TURNS = 16
#: Pruning begins above the first and ends below the second part of the limit, in sixteenths.
_BEGIN, _END = 15, 14

_ACCOUNTS = ("lines", "accepted", "ignored", "rejected", "duplicates", "conflicts", "clamped", "timeless",
             "bytes_read", "unknown", "blank")  # fmt: skip
_SUMS = ", ".join(f"{name} = {name} + excluded.{name}" for name in _ACCOUNTS)
_FOLD = (
    "INSERT INTO past_file(path, no, files, {columns}) SELECT {path}, {no}, {files}, {columns} FROM {table} "
    "WHERE {where} ON CONFLICT(path) DO UPDATE SET no = excluded.no, files = {files_sum}, {sums}"
)
_FOLD_SOURCE = _FOLD.format(
    columns=", ".join(_ACCOUNTS),
    path="path",
    no="id",
    files="1",
    table="source",
    where="id = ?",
    files_sum="1",
    sums=_SUMS,
)
_FOLD_PATH = _FOLD.format(
    columns=", ".join(_ACCOUNTS), path="x''", no="0", files="files", table="past_file", where="path = ?",
    files_sum="files + excluded.files", sums=_SUMS,
)  # fmt: skip


@dataclass(slots=True)
class Retention:
    """Keeps one database within bounds; ``step`` runs inside of the caller's transaction."""

    db: sqlite3.Connection
    limit_bytes: int
    #: Whether there is more to remove than the last step did.
    is_behind: bool = False
    #: Whether nothing is left that may go, and the size is above the limit all the same.
    is_stuck: bool = False
    _is_shrinking: bool = False
    _turn: int = 0
    _decision_cursor: int = 0
    _counted: dict[str, int] = field(default_factory=dict)

    def step(self, *, has_news: bool = True) -> Counter[str]:
        """Remove a bounded number of rows; return how many of which kind went. Raises ``sqlite3.Error``.

        ``has_news``: files were given up or requests carried out since the last step.
        """
        pruned: Counter[str] = Counter()
        is_over = self._measure()
        self._turn += 1
        if not (is_over or self.is_behind or has_news or self._turn % _TURNS == 1):
            return pruned
        if has_news or not self._counted:
            self._count()
        inputs = self._value(
            "SELECT coalesce((SELECT max(no) FROM input) - (SELECT min(no) FROM input) + 1, 0)"
        )
        gone_excess = self._counted["source"] - KEPT_GONE
        if inputs > KEPT_INPUTS or (is_over and inputs > 1):
            pruned["inputs"] = self._prune_inputs(max(inputs - KEPT_INPUTS, _STEP_ROWS if is_over else 0))
        elif gone_excess > 0 and inputs > 1 and not self._free_sources(1):
            pruned["inputs"] = self._prune_inputs(_STEP_ROWS)
        if gone_excess > 0 or is_over:
            pruned["sources"] = self._prune_sources(_STEP_ROWS if is_over else gone_excess)
        # Where nothing else is left, what people look at goes too.
        is_hard = is_over and not +pruned
        pruned["decisions"] = self._prune_decisions(1 if is_hard else KEPT_DECISIONS)
        pruned["requests"] = self._prune_requests()
        is_hard = is_hard and not pruned["decisions"]
        pruned["incidents"] = self._prune_incidents(1 if is_hard else KEPT_INCIDENTS)
        if is_hard and not pruned["incidents"]:
            pruned["seen"] = self._prune_seen()
        pruned = +pruned
        self.is_behind = bool(pruned) and (is_over or gone_excess > 0 or inputs > KEPT_INPUTS + _TURNS)
        self.is_behind = self.is_behind or (is_over and self._decision_cursor > 0) or self._can_give_back()
        self.is_stuck = is_over and not pruned and self._decision_cursor == 0
        return pruned

    def forget_counts(self) -> None:
        """Count anew at the next step: the transaction of the last one was undone."""
        self._counted.clear()

    def give_back(self) -> None:
        """Give a bounded number of free pages back to the disk; outside of any transaction."""
        if self._can_give_back():
            # A script, for each page is a step of this statement, and ``execute`` takes but one.
            self.db.executescript(f"PRAGMA incremental_vacuum({_STEP_ROWS // 8})")

    def used_bytes(self) -> int:
        """Return how many bytes of the database file are in use."""
        pages = self._value("PRAGMA page_count") - self._value("PRAGMA freelist_count")
        return pages * self._value("PRAGMA page_size")

    def _measure(self) -> bool:
        used = self.used_bytes()
        bound = _END if self._is_shrinking else _BEGIN
        self._is_shrinking = used > self.limit_bytes // 16 * bound
        return self._is_shrinking

    def _count(self) -> None:
        self._counted = {
            "source": self._value("SELECT count(*) FROM source WHERE is_gone = 1"),
            "request": self._value("SELECT count(*) FROM request"),
        }

    def _prune_inputs(self, excess: int) -> int:
        # Whole inputs, the oldest first; the newest one stays, for its number must not be used again.
        rows = self.db.execute(
            "SELECT no, (SELECT count(*) FROM bracket WHERE input_no = no) FROM input ORDER BY no LIMIT ?",
            (min(excess, _STEP_ROWS // 8) + 1,),
        ).fetchall()
        budget, last = _STEP_ROWS, 0
        for no, brackets in rows[:-1]:
            budget -= brackets
            if last and budget < 0:
                break
            last = no
        if not last:
            return 0
        self.db.execute("DELETE FROM bracket WHERE input_no <= ?", (last,))
        return self.db.execute("DELETE FROM input WHERE no <= ?", (last,)).rowcount

    def _free_sources(self, limit: int) -> list[tuple[int, bytes]]:
        # The newest one stays, for its number must not be used again.
        return self.db.execute(
            "SELECT id, path FROM source WHERE is_gone = 1 AND last_input < "
            "(SELECT coalesce(min(no), 1 << 62) FROM input) AND id < (SELECT max(id) FROM source) "
            "ORDER BY last_input LIMIT ?",
            (limit,),
        ).fetchall()

    def _prune_sources(self, excess: int) -> int:
        free = self._free_sources(max(0, min(excess, _STEP_ROWS // 8)))
        for number, _ in free:
            self.db.execute(_FOLD_SOURCE, (number,))
            self.db.execute("DELETE FROM writer WHERE source = ?", (number,))
            self.db.execute("DELETE FROM source WHERE id = ?", (number,))
        self._counted["source"] -= len(free)
        if free:
            # The accounts of paths that nothing was heard of for long are added up under no path.
            excess = self._value("SELECT count(*) FROM past_file WHERE path <> x''") - KEPT_PATHS
            oldest = self.db.execute(
                "SELECT path FROM past_file WHERE path <> x'' ORDER BY no LIMIT ?", (max(0, excess),)
            ).fetchall()
            for row in oldest:
                self.db.execute(_FOLD_PATH, row)
                self.db.execute("DELETE FROM past_file WHERE path = ?", row)
        return len(free)

    def _prune_decisions(self, kept: int) -> int:
        last = min(
            self._value("SELECT coalesce(max(decision_no), 0) FROM decision") - kept,
            self._value("SELECT logged_no FROM meta"),
        )
        rows = self.db.execute(
            "SELECT decision_no, name FROM decision WHERE decision_no > ? AND decision_no <= ? "
            "ORDER BY decision_no LIMIT ?",
            (self._decision_cursor, last, _STEP_ROWS // 8),
        ).fetchall()
        # Those that stay are passed over until the next round.
        self._decision_cursor = rows[-1][0] if rows else 0
        pruned = 0
        for number, name in rows:
            newer = self._value(
                "SELECT count(*) FROM (SELECT 1 FROM decision WHERE name = ? AND decision_no > ? LIMIT ?)",
                (name, number, KEPT_DECISIONS_EACH),
            )
            if newer == KEPT_DECISIONS_EACH:
                self.db.execute("DELETE FROM decision WHERE decision_no = ?", (number,))
                pruned += 1
        return pruned

    def _prune_incidents(self, kept: int) -> int:
        return self.db.execute(
            "DELETE FROM incident WHERE no IN (SELECT no FROM incident "
            "WHERE no <= (SELECT max(no) FROM incident) - ? ORDER BY no LIMIT ?)",
            (kept, _STEP_ROWS // 8),
        ).rowcount

    def _prune_requests(self) -> int:
        excess = self._counted["request"] - KEPT_REQUESTS
        if excess <= 0:
            return 0
        self._counted["request"] -= excess
        return self.db.execute(
            "DELETE FROM request WHERE id IN (SELECT id FROM request ORDER BY at LIMIT ?)", (excess,)
        ).rowcount

    def _prune_seen(self) -> int:
        # Whoever filled most of it loses first.
        row = self.db.execute(
            "SELECT owner FROM seen GROUP BY owner ORDER BY count(*) DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return 0
        return self.db.execute(
            "DELETE FROM seen WHERE owner = ? AND no IN "
            "(SELECT no FROM seen WHERE owner = ? AND no < (SELECT max(no) FROM seen) ORDER BY no LIMIT ?)",
            (row[0], row[0], _STEP_ROWS // 8),
        ).rowcount

    def _can_give_back(self) -> bool:
        # Only a file that became too large gives pages back: else they are used again.
        size = self._value("PRAGMA page_count") * self._value("PRAGMA page_size")
        return (
            size > self.limit_bytes
            and self._value("PRAGMA freelist_count") > 0
            and self._value("PRAGMA auto_vacuum") == _INCREMENTAL
        )

    def _value(self, query: str, values: tuple[object, ...] = ()) -> int:
        return int(self.db.execute(query, values).fetchone()[0])

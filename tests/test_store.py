"""Store: one transaction for everything, and a database that says what is wrong with it."""

import gc
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from activity import BY_ACTIVITY

from sentineld import retention
from sentineld import store as store_module
from sentineld.batch import Part
from sentineld.decision import Decision, Evidence, Reason
from sentineld.errors import AccessError, StoreError
from sentineld.event import Incident
from sentineld.identity import Source
from sentineld.step import dump_state, new_state
from sentineld.store import Store
from sentineld.tables import AgentRow, Commit

NOW = 1_763_858_410_000_000
DATABASES = Path(__file__).parent / "data" / "databases"


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "sentineld.db")


def source(number: int = 1, **more: object) -> Source:
    name = os.fsdecode(b"/t/\xff\n.jsonl")
    values = {"path": name, "last_path": name, "kind": "lines", "dev": (1 << 64) - 1, "ino": (1 << 64) - 2}
    values |= {"generation": -5, "owner": 1000, "look_us": NOW, "fp": b"f", "tail": b"t", "chain": b"c"}
    return Source(number, **{**values, **more})  # type: ignore[arg-type]


def agent(name: str = "a", owner: int = 1000, *, is_plain: bool = False) -> AgentRow:
    return AgentRow(
        owner, name, name, 1, is_plain, dump_state(new_state(owner, name, BY_ACTIVITY.prior(), NOW))
    )


def decision(number: int, name: str = "a") -> Decision:
    return Decision(
        decision_no=number,
        decision_id=f"d-{number:06}",
        agent_id=name,
        from_tier=1,
        to_tier=3,
        score=0.9,
        decided_at="2025-11-23T00:40:10Z",
        cause="detected",
        prior_version="v",
        reasons=[Reason("activity", "file_ops", 100.0, 10.0, None)],
        evidence=[Evidence("/t/a", 1, "1-1", "s")],
        actor="",
        note="",
        attack=False,
    )


def whole(number: int = 1) -> Commit:
    """Make a commit that touches every table."""
    return Commit(
        "read",
        NOW,
        sources=[(0, source(pos=10))],
        agents=[agent()],
        decisions=[decision(number)],
        parts=[Part(1, 1000, 0, 10, 1, 2, 3, is_history=True, skip=1)],
        event_types={"file_read": 2},
        events=2,
        tool_calls=1,
        seen=[(1000, b"id", b"content")],
        request_id="r1",
        document={"k": "v"},
        clock_us=NOW,
        last_scan_us=NOW,
        bumps_seq=True,
        settings="{}",
    )


def dump(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_what_was_committed_is_read_back_equal(path):
    with Store.open(path, NOW) as store:
        store.commit(whole())
    with Store.open(path, NOW) as store:
        assert store.sources() == [source(pos=10)]
        assert store.agent((1000, "a")) == agent()
        assert store.agent_named("a") == agent()
        assert store.decisions() == [decision(1)]
        assert store.event_types() == {"file_read": 2}
        assert store.seen(1000, b"id") == [b"content"]
        assert store.has_request("r1")
        meta = store.meta()
        assert (
            meta.seq,
            meta.decision_no,
            meta.events,
            meta.tool_calls,
            meta.clock,
            meta.last_scan,
            meta.settings,
        ) == (
            1,
            1,
            2,
            1,
            NOW,
            NOW,
            "{}",
        )
        assert store.next_source_id() == 2


def test_inputs_come_back_in_order_with_their_brackets(path):
    with Store.open(path, NOW) as store:
        store.commit(whole())
        store.commit(Commit("tick", NOW + 1))
        store.commit(Commit("publish", NOW + 2))
        inputs = list(store.inputs())

    assert [(kind, at, document) for kind, at, document, _ in inputs] == [
        ("read", NOW, {"k": "v"}),
        ("tick", NOW + 1, {}),
    ]
    assert inputs[0][3] == [Part(1, 1000, 0, 10, 1, 2, 3, is_history=True, skip=1)]


@pytest.mark.parametrize(
    "table", ["input", "bracket", "source", "agent", "decision", "event_type", "seen", "request", "meta"]
)
def test_a_commit_that_fails_anywhere_changes_nothing(path, table):
    with Store.open(path, NOW) as store:
        store.commit(Commit("tick", NOW))
        before = dump(path)
        db = sqlite3.connect(path)
        verb = "UPDATE" if table == "meta" else "INSERT"
        db.execute(
            f"CREATE TRIGGER fault BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'injected'); END"
        )
        db.commit()
        with pytest.raises(sqlite3.IntegrityError, match="injected"):
            store.commit(whole())
        db.execute("DROP TRIGGER fault")
        db.commit()
        db.close()
        assert before == dump(path)

        # And the same commit works afterwards: memory has not run ahead.
        store.commit(whole())
    with Store.open(path, NOW) as store:
        assert store.meta().events == 2
        assert len(list(store.inputs())) == 2


def test_a_position_that_another_writer_moved_stops_the_commit(path):
    with Store.open(path, NOW) as store:
        store.commit(Commit("read", NOW, sources=[(0, source(pos=10))]))
        before = dump(path)
        with pytest.raises(StoreError, match="no longer holds position 0"):
            store.commit(Commit("read", NOW, sources=[(0, source(pos=20))], events=1))
        assert before == dump(path)
        store.commit(Commit("read", NOW, sources=[(10, source(pos=20))]))
        assert [item.pos for item in store.sources()] == [20]


def test_a_process_that_is_killed_in_a_transaction_leaves_nothing(path, tmp_path):
    program = f"""
import os, signal, sys
from sentineld.store import Store
from sentineld.tables import Commit
store = Store.open({path!r}, {NOW})
store.commit(Commit("tick", 1, events=1))
store._db.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
store._db.execute("CREATE TEMP TRIGGER fault BEFORE UPDATE ON meta BEGIN SELECT die(); END")
store.commit(Commit("tick", 2, events=1))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=120)
    assert done.returncode == -9
    with Store.open(path, NOW) as store:
        assert store.meta().events == 1
        assert [at for _, at, _, _ in store.inputs()] == [1]


def test_sequence_and_epoch_never_fall(path):
    with Store.open(path, NOW, epoch_floor=5) as store:
        assert store.meta().epoch == NOW // 1_000_000
        for _ in range(3):
            store.commit(Commit("publish", NOW, bumps_seq=True))
    with Store.open(path, NOW - 10**12, epoch_floor=10**11) as store:
        assert (store.meta().epoch, store.meta().seq) == (NOW // 1_000_000, 3)
    os.unlink(path)
    for rest in ("-wal", "-shm"):
        Path(path + rest).unlink(missing_ok=True)
    with Store.open(path, NOW, epoch_floor=NOW) as store:
        assert store.meta().epoch == NOW + 1


def test_a_newer_schema_is_refused_and_not_touched(path):
    Store.open(path, NOW).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA user_version=99")
    db.close()
    before = hashlib.sha256(Path(path).read_bytes()).digest()
    for opening in (lambda: Store.open(path, NOW), lambda: Store.open_readonly(path)):
        with pytest.raises(StoreError, match="schema version 99"):
            opening()

    assert before == hashlib.sha256(Path(path).read_bytes()).digest()


def make_version_1(path: str) -> None:
    with sqlite3.connect(path) as db:
        db.executescript((DATABASES / "v1.sql").read_text())
    db.close()


def content_of(path: str) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        content = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    db.close()
    return content


def test_a_database_of_version_1_is_brought_up_to_date_with_all_that_it_holds(path):
    make_version_1(path)
    before = content_of(path)

    with pytest.raises(StoreError, match="older"):
        Store.open_readonly(path)
    assert content_of(path) == before
    with Store.open(path, NOW) as store:
        names = store.agent_names()
        meta = store.meta()
        store.commit(Commit("publish", NOW, incidents=[incident()], writers=[(1, "mailer")]))
        assert store.writers(1) == ["mailer"]
    with Store.open(path, NOW) as store:
        assert store.incidents() == [incident()]

    assert names == ["biller", "coder", "mailer", "planner", "researcher"]
    assert (meta.decision_no, meta.incidents) == (2, "{}")
    after = content_of(path)
    for name, rows in before.items():
        width = len(rows[0]) if rows else 0
        if name == "source":
            # The chain of hashes means something else since; without it, a file's past is not compared.
            kinds = {"jsonl": "lines", "json": "document"}
            rows = [(*row[:3], kinds[row[3]], *row[4:13], b"", *row[14:]) for row in rows]
        assert name == "meta" or [row[:width] for row in after[name]] == rows


def test_a_process_that_is_killed_while_it_migrates_leaves_the_old_version(path, tmp_path):
    make_version_1(path)
    before = content_of(path)
    code = (
        "import os, signal, sys, sentineld.database as s\nfrom sentineld.store import Store\n"
        "s._MIGRATIONS[2] += 'INSERT INTO nothing VALUES (1);\\n'\n"
        "run = s._run\n"
        "def killed(db, script):\n"
        "    try: run(db, script)\n"
        "    except Exception: os.kill(os.getpid(), signal.SIGKILL)\n"
        "s._run = killed\n"
        f"Store.open(sys.argv[1], {NOW})\n"
    )

    done = subprocess.run([sys.executable, "-c", code, path], check=False)

    assert done.returncode == -9
    assert content_of(path) == before
    with Store.open(path, NOW) as store:
        assert store.incidents() == []


def incident(at: int = NOW, kind: str = "gap", path: str = "/t/\udcff", **more: object) -> Incident:
    values = {"owner": 1000, "source_id": 1, "start": 10, "end": 20, "detail": "d", "count": 1, **more}
    return Incident(at, kind, path=path, **values)  # type: ignore[arg-type]


def test_incidents_alike_within_a_minute_are_one_row_and_all_are_counted(path):
    with Store.open(path, NOW) as store:
        for n in range(5):
            store.commit(Commit("publish", NOW, incidents=[incident(NOW + n * 1_000_000, end=20 + n)]))
        store.commit(Commit("publish", NOW, incidents=[incident(NOW + 300_000_000), incident(owner=7)]))
        store.commit(Commit("publish", NOW, incidents=[incident(kind="rewritten", path="/t/b", count=3)]))

        rows = store.incidents(owner=1000)
        assert [(row.kind, row.path, row.count, row.end) for row in rows] == [
            ("rewritten", "/t/b", 3, 20),
            ("gap", "/t/\udcff", 1, 20),
            ("gap", "/t/\udcff", 5, 24),
        ]
        assert [row.owner for row in store.incidents(owner=7)] == [7]
        assert json.loads(store.meta().incidents) == {"gap": 7, "rewritten": 3}


def test_incidents_beyond_the_limit_go_the_oldest_first_and_stay_counted(path, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_INCIDENTS", 10)
    with Store.open(path, NOW) as store:
        for n in range(25):
            store.commit(Commit("publish", NOW, incidents=[incident(path=f"/t/{n:02}")]))

        assert [row.path for row in store.incidents()] == [f"/t/{n:02}" for n in range(24, 14, -1)]
        assert json.loads(store.meta().incidents) == {"gap": 25}


def test_writers_are_found_by_directory_and_owner(path):
    with Store.open(path, NOW) as store:
        names = ["/t/a/x.jsonl", "/t/a/b/y.jsonl", "/t/ab/z.jsonl", "/t/a/other.jsonl"]
        sources = [
            source(n, path=name, last_path=name, owner=1000 + (n == 4)) for n, name in enumerate(names, 1)
        ]
        commit = Commit("read", NOW, sources=[(0, item) for item in sources])
        commit.writers = [(1, "one"), (2, "two"), (3, "three"), (4, "four"), (1, "two")]
        store.commit(commit)
        store.commit(Commit("publish", NOW, writers=[(1, "one")]))

        assert store.writers(1) == ["one", "two"]
        assert store.writers_below("/t/a", 1000) == ["one", "two"]
        assert store.writers_below("/t/a/", 1001) == ["four"]
        assert store.writers_below("/t", 1000) == ["one", "three", "two"]


def test_a_foreign_database_is_refused_and_not_touched(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other(x)")
    db.close()
    before = Path(path).read_bytes()
    with pytest.raises(StoreError, match="not a sentineld database"):
        Store.open(path, NOW)

    assert before == Path(path).read_bytes()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "header", "pages"])
def test_a_damaged_database_is_refused_with_a_hint(path, damage):
    with Store.open(path, NOW) as store:
        for number in range(200):
            store.commit(Commit("read", NOW, agents=[agent(f"a{number}")]))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = bytearray(Path(path).read_bytes())
    if damage == "garbage":
        data = bytearray(b"x" * 8192)
    elif damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "header":
        data[:16] = b"y" * 16
    else:
        data[4096 * 2 :] = b"\xff" * (len(data) - 4096 * 2)
    Path(path).write_bytes(data)
    with pytest.raises(StoreError) as caught:
        Store.open(path, NOW)

    assert caught.value.hint


def test_a_file_of_zero_bytes_is_a_new_database(path):
    Path(path).touch()
    with Store.open(path, NOW) as store:
        assert store.meta().has_history
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_directory_in_its_place_is_refused(path):
    os.mkdir(path)
    with pytest.raises((StoreError, AccessError)):
        Store.open(path, NOW)


def test_readers_work_beside_a_writer_and_after_it_died(path):
    with Store.open(path, NOW) as writer:
        writer.commit(whole())
        with Store.open_readonly(path) as reader:
            assert reader.meta().events == 2
            writer.commit(Commit("tick", NOW, events=1))
            assert reader.meta().events == 3
            with pytest.raises(sqlite3.OperationalError):
                reader.commit(Commit("tick", NOW))
    program = f"""
import os, signal
from sentineld.store import Store
from sentineld.tables import Commit
store = Store.open({path!r}, {NOW})
store.commit(Commit("tick", 2, events=1))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == -9
    with Store.open_readonly(path) as reader:
        assert reader.meta().events == 4


def test_a_missing_database_is_told_to_readers_and_not_created(path):
    with pytest.raises(StoreError, match="there is no database"):
        Store.open_readonly(path)

    assert not os.path.exists(path)


def test_names_with_special_characters_can_be_opened_for_reading(tmp_path):
    path = str(tmp_path / "a?b#c%20d.db")
    Store.open(path, NOW).close()
    with Store.open_readonly(path) as reader:
        assert reader.meta().events == 0


def test_the_memory_of_record_ids_is_bounded_per_owner_and_its_expiry_counted(path, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_SEEN", 10)
    with Store.open(path, NOW) as store:
        store.commit(Commit("read", NOW, seen=[(2, b"other", b"c")]))
        for start in (0, 7, 14):
            store.commit(Commit("read", NOW, seen=[(1, b"%d" % n, b"c") for n in range(start, start + 7)]))
        known = [n for n in range(21) if store.seen(1, b"%d" % n)]

        assert known == list(range(11, 21))
        assert store.meta().seen_expired == 11
        assert store.seen(2, b"other") == [b"c"]


def test_record_ids_of_failed_commits_are_not_counted(path, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_SEEN", 10)
    with Store.open(path, NOW) as store:
        db = sqlite3.connect(path)
        db.execute("CREATE TRIGGER fault BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'injected'); END")
        db.commit()
        for _ in range(3):
            with pytest.raises(sqlite3.IntegrityError):
                store.commit(Commit("read", NOW, seen=[(1, b"%d" % n, b"c") for n in range(8)]))
        db.execute("DROP TRIGGER fault")
        db.commit()
        db.close()
        store.commit(Commit("read", NOW, seen=[(1, b"%d" % n, b"c") for n in range(8)]))

        assert all(store.seen(1, b"%d" % n) for n in range(8))
        assert store.meta().seen_expired == 0


def test_event_types_beyond_the_limit_count_as_other(path, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_EVENT_TYPES", 3)
    with Store.open(path, NOW) as store:
        store.commit(Commit("read", NOW, event_types={f"t{n}": 1 for n in range(5)}))
        store.commit(Commit("read", NOW, event_types={"t0": 1, "t4": 1}))

        assert store.event_types() == {"t0": 2, "t1": 1, "t2": 1, "other": 3}


def test_inputs_beyond_the_limit_are_pruned_and_counted(path, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_INPUTS", 100)
    with Store.open(path, NOW, is_durable=True) as store:
        store._db.execute("PRAGMA synchronous=OFF")
        for _ in range(4100):
            store.commit(Commit("tick", NOW))

        assert 4100 - 116 <= store.meta().inputs_pruned <= 4100 - 100
        assert len(list(store.inputs())) == 4100 - store.meta().inputs_pruned


def test_a_commit_of_five_hundred_agents_takes_milliseconds(path):
    with Store.open(path, NOW) as store:
        rows = [agent(f"agent-{n}") for n in range(500)]
        sources = [source(n + 1) for n in range(500)]
        store.commit(Commit("read", NOW, sources=[(0, item) for item in sources], agents=rows))
        times = []
        for turn in range(10):
            after = [replace(item, pos=turn + 1) for item in sources]
            begin = time.process_time()
            store.commit(Commit("read", NOW, sources=[(turn, item) for item in after], agents=rows))
            times.append(time.process_time() - begin)

    # Measured: 10 ms; the bound leaves room for slow machines and finds a change of order.
    assert min(times) < 0.1


def test_a_database_in_memory_is_closed_when_nobody_has_it_any_more():
    store = Store.open(":memory:", NOW, is_durable=False)
    connection = store._db
    del store
    gc.collect()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")

"""Recovery: memory is never lost in silence, and what cannot be read is set aside within bounds."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sentineld.decision import Decision
from sentineld.errors import AccessError, StoreError
from sentineld.identity import Source
from sentineld.recovery import MAX_ASIDE, open_store, rescue, set_aside, witness
from sentineld.statedir import Paths, hold_lock, prepare
from sentineld.store import Store
from sentineld.tables import AgentRow, Commit

NOW = 1_763_858_410_000_000


@pytest.fixture
def paths(tmp_path) -> Paths:
    made = Paths(str(tmp_path / "state"), str(tmp_path / "public" / "state.json"))
    prepare(made)
    return made


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def open_it(paths, told):
    return lambda now=NOW: open_store(paths, now, lambda *what: told.append(what))


def publish(paths: Paths, epoch: int, seq: int) -> None:
    Path(paths.state_file).write_text(json.dumps({"epoch": epoch, "seq": seq}))


def fill(paths: Paths, agents: int = 100) -> None:
    with Store.open(paths.database, NOW) as store:
        rows = [AgentRow(1000, f"a{n}", f"a{n}", 1, True, b"s" * 300) for n in range(agents)]
        store.commit(Commit("read", NOW, agents=rows, bumps_seq=True))
        store.end_journal()


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "directory":
        path.unlink()
        path.mkdir()
        return
    if kind == "zero":
        data.clear()
    elif kind == "truncated":
        del data[len(data) // 2 :]
    elif kind == "page":
        data[4096 * 2 : 4096 * 3] = os.urandom(4096)
    elif kind == "header":
        data[:16] = b"y" * 16
    elif kind == "application_id":
        data[68:72] = b"abcd"
    elif kind == "version":
        data[60:64] = b"\0\0\0\0"
    path.write_bytes(data)


def test_a_first_start_loses_nothing(open_it, told):
    with open_it() as store:
        assert store.meta().lost_at == 0
    assert told == []


@pytest.mark.parametrize(
    "kind", ["zero", "truncated", "page", "header", "directory", "application_id", "version"]
)
def test_a_damaged_database_is_set_aside_once_and_its_loss_is_noted(paths, open_it, told, kind):
    fill(paths)
    publish(paths, NOW // 1_000_000, 1)
    damage(Path(paths.database), kind)
    with open_it(NOW + 1) as store:
        meta = store.meta()
        assert meta.lost_at == NOW + 1
        assert meta.lost_why
        assert meta.epoch > NOW // 1_000_000
        assert meta.has_history, "what is there is read again as history"
    assert told[-1] == ("memory_lost", meta.lost_why)
    with open_it(NOW + 2) as store:
        assert store.meta().lost_at == NOW + 1, "it is remembered over a restart"
        assert store.meta().epoch == meta.epoch

    aside = [name for name in os.listdir(paths.state_dir) if "corrupt" in name]
    assert aside == ([] if kind == "zero" else ["sentineld.db.corrupt-1"])
    assert os.stat(paths.database).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("witness_", ["state", "log", "aside"])
def test_a_database_that_was_deleted_is_a_loss_if_anything_tells_of_it(paths, open_it, witness_):
    if witness_ == "state":
        publish(paths, 7, 3)
    elif witness_ == "log":
        Path(paths.journal).write_text('{"decision_no": 41}\n{"decision_no": 42}\n{"decis')
    else:
        Path(paths.database + ".corrupt-1").touch()
    with open_it() as store:
        assert store.meta().lost_why == "the database is missing or empty"
        assert store.meta().decision_no == (42 if witness_ == "log" else 0), "no number is used twice"
        assert store.meta().logged_no == store.meta().decision_no


def test_a_database_without_any_table_is_an_empty_one(paths, open_it):
    with closing(sqlite3.connect(paths.database)) as db:
        db.execute("PRAGMA user_version=0")
        db.execute("VACUUM")
    publish(paths, 7, 3)
    with open_it() as store:
        assert store.meta().lost_at == NOW


def test_an_older_copy_is_a_loss_and_publishes_above_what_was_published(paths, open_it):
    fill(paths)
    epoch = NOW // 1_000_000
    publish(paths, epoch, 1)
    with open_it() as store:
        assert store.meta().lost_at == 0, "it is just what was published"
    publish(paths, epoch, 2)
    with open_it(NOW + 5) as store:
        meta = store.meta()
        assert (meta.lost_at, meta.lost_why) == (NOW + 5, "the database is older than what was published")
        assert meta.epoch > epoch
        assert len(store.agent_names()) == 100, "what it knows is kept"


def test_names_for_what_is_set_aside_are_bounded_and_the_first_evidence_stays(paths):
    for number in range(6):
        for part in ("", "-wal"):
            Path(paths.database + part).write_text(f"{number}")
        set_aside(paths.database)
    names = sorted(name for name in os.listdir(paths.state_dir) if "corrupt" in name)

    assert len(names) == 2 * MAX_ASIDE
    assert [Path(paths.state_dir, name).read_text() for name in names] == ["0", "0", "1", "1", "5", "5"]
    assert not os.path.exists(paths.database + "-wal")


def test_another_programs_and_a_newer_database_are_refused_and_not_touched(paths, open_it):
    with closing(sqlite3.connect(paths.database)) as db:
        db.execute("CREATE TABLE theirs(x)")
    before = Path(paths.database).read_bytes()
    with pytest.raises(StoreError, match="not a sentineld database"):
        open_it()
    assert Path(paths.database).read_bytes() == before
    os.unlink(paths.database)
    fill(paths)
    with closing(sqlite3.connect(paths.database)) as db:
        db.execute("PRAGMA user_version=99")
    before = Path(paths.database).read_bytes()
    with pytest.raises(StoreError, match="schema version 99"):
        open_it()
    assert Path(paths.database).read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_database_of_another_owner_is_refused_and_not_touched(paths, open_it):
    fill(paths)
    os.chown(paths.database, 65534, 65534)
    before = Path(paths.database).read_bytes()
    with pytest.raises(AccessError, match="belongs to uid 65534") as refused:
        open_it()

    assert "chown" in refused.value.hint
    assert Path(paths.database).read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"epoch": "1", "seq": 1}', '{"epoch": 1e400, "seq": 1}', "[" * 100_000]
)
def test_a_state_file_that_says_nothing_is_a_witness_all_the_same(paths, text):
    Path(paths.state_file).write_text(text)

    assert witness(paths).epoch == 0
    assert witness(paths).knows_of_one


def test_a_pipe_in_the_state_files_place_does_not_block(paths):
    os.mkfifo(paths.state_file)

    assert not witness(paths).knows_of_one


def test_a_database_that_is_removed_while_open_is_written_back_whole(paths):
    fill(paths)
    with hold_lock(paths), Store.open(paths.database, NOW) as store:
        for name in ("sentineld.db", "sentineld.db-wal", "sentineld.db-shm", "lock"):
            Path(paths.state_dir, name).unlink(missing_ok=True)
        store.commit(Commit("tick", NOW, events=5))
        assert not store.is_at(paths.database)
        rescue(store, paths)
    with Store.open(paths.database, NOW) as store:
        assert (store.meta().events, len(store.agent_names())) == (5, 100)
        store.check()


def test_a_database_that_is_replaced_while_open_gives_way(paths):
    fill(paths)
    with hold_lock(paths), Store.open(paths.database, NOW) as store:
        Path(paths.lock).write_text(f"{os.getpid()}\n")
        os.unlink(paths.database)
        Path(paths.database).write_text("planted")
        rescue(store, paths)
        assert Path(paths.database + ".corrupt-1").read_text() == "planted"
    with Store.open(paths.database, NOW) as store:
        assert len(store.agent_names()) == 100


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET incidents = '{'",
        "UPDATE meta SET settings = '[1]'",
        "UPDATE meta SET troubles = x'ff'",
        "UPDATE source SET dev = 'x'",
    ],
)
def test_content_that_everybody_depends_on_and_that_is_damaged_is_lost_memory(
    paths, open_it, told, statement
):
    with open_it() as store:
        source = Source(store.next_source_id(), "/t/a.jsonl", "/t/a.jsonl", "lines", 1, 2, 0, 1000, 0)
        store.commit(Commit("read", NOW, sources=[(0, source)]))
    with closing(sqlite3.connect(paths.database)) as db, db:
        db.execute("PRAGMA ignore_check_constraints=ON")
        try:
            db.execute(statement)
        except sqlite3.IntegrityError:
            # What a strict table cannot hold cannot be read from it either.
            db.execute("UPDATE meta SET troubles = 'x'")
    with open_it(NOW + 5) as store:
        assert store.meta().lost_at == NOW + 5
    assert told[0][0] == "database_set_aside"


def test_a_damaged_decision_is_told_and_hides_no_other(paths, open_it):
    with open_it() as store:
        made = [
            Decision(n, f"d-{n:06d}", "a", 1, 2, 0.6, "2026-01-01T00:00:00Z", "detected", "v")
            for n in (1, 2, 3)
        ]
        store.commit(Commit("tick", NOW, decisions=made))
    with closing(sqlite3.connect(paths.database)) as db, db:
        db.execute("UPDATE decision SET document = substr(document, 9) WHERE decision_no = 2")
    with open_it(NOW + 5) as store:
        found = store.decisions()
    assert [item.decision_no for item in found] == [1, 2, 3]
    assert (found[1].cause, found[1].agent_id, found[1].to_tier) == ("unreadable", "a", 3)


@pytest.mark.parametrize(
    "thing", ["TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM agent; END", "VIEW v AS SELECT 1"]
)
def test_a_database_that_would_act_by_itself_is_none_of_ours(paths, open_it, told, thing):
    open_it().close()
    with closing(sqlite3.connect(paths.database)) as db, db:
        db.execute(f"CREATE {thing}")
    with open_it(NOW + 5) as store:
        assert store.meta().lost_at == NOW + 5
    assert "triggers or views" in told[0][1]

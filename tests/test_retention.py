"""Retention: the database stays within its bounds, in small steps, and its accounts stay right."""

import time

import pytest
from activity import BY_ACTIVITY

from sentineld import retention
from sentineld.batch import Part
from sentineld.decision import Decision
from sentineld.event import Incident
from sentineld.identity import Source
from sentineld.step import dump_state, new_state
from sentineld.store import Store
from sentineld.tables import AgentRow, Commit
from sentineld.views import files_document, totals_document

MIB = 1 << 20
NOW = 1_763_858_410_000_000


def source(number: int, **more: object) -> Source:
    values = {"path": "/t/a.jsonl", "last_path": "/t/a.jsonl", "kind": "lines", "dev": 1, "ino": number}
    return Source(number, **{**values, "generation": 0, "owner": 1000, "look_us": NOW, **more})  # type: ignore[arg-type]


def agent(name: str) -> AgentRow:
    return AgentRow(1000, name, name, 1, False, dump_state(new_state(1000, name, BY_ACTIVITY.prior(), NOW)))


def decision(number: int, name: str = "a") -> Decision:
    return Decision(
        decision_no=number, decision_id=f"d-{number:06}", agent_id=name, from_tier=1, to_tier=3, score=0.9,
        decided_at="2025-11-23T00:40:10Z", cause="detected", prior_version="v", reasons=[], evidence=[],
        actor="", note="", attack=False,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "sentineld.db"), NOW) as one:
        # The bounds do not depend on it, and the disk has other things to do.
        one._db.execute("PRAGMA synchronous=OFF")
        yield one


def read(store: Store, turn: int, files: int = 100) -> None:
    """Commit an input of many parts, as a daemon over many files does."""
    sources = [(turn * 10, source(n + 1, pos=turn * 10 + 10)) for n in range(files)]
    parts = [
        Part(n + 1, 1000, turn * 10, turn * 10 + 10, NOW, NOW, NOW, is_history=False) for n in range(files)
    ]
    store.commit(Commit("read", NOW + turn, sources=sources, parts=parts, events=files))


def gone(store: Store, number: int, path: str, **more: int) -> None:
    """Commit a file that was read, and that it is gone."""
    counts = {"lines": 3, "accepted": 2, "ignored": 1, "bytes_read": 30, "pos": 30, **more}
    one = source(number, path=path, last_path=path, **counts)
    part = Part(number, 1000, 0, 30, 1, 2, 3, is_history=False)
    store.commit(Commit("read", NOW, sources=[(0, one)], parts=[part], writers=[(number, "a")]))
    one = source(number, path=path, last_path=path, is_gone=True, **counts)
    store.commit(Commit("publish", NOW, sources=[(30, one)]))


def test_the_file_never_outgrows_its_limit_and_inputs_go_first(store, tmp_path):
    store.retention.limit_bytes = MIB
    store.commit(Commit("read", NOW, decisions=[decision(n) for n in range(1, 101)], logged_no=100))
    largest = 0
    for turn in range(250):
        read(store, turn)
        largest = max(largest, store._value("PRAGMA page_count") * 4096)

    meta = store.meta()
    assert meta.inputs_pruned > 20
    assert meta.inputs_pruned + len(list(store.inputs())) == 251
    assert largest <= MIB
    assert (len(store.decisions()), meta.decisions_pruned) == (100, 0), "what people look at stays"
    assert len(store.sources()) == 100, "what is needed to go on stays"


def test_a_lowered_limit_gives_pages_back_to_the_disk(store, tmp_path):
    store.retention.limit_bytes = 64 * MIB
    for turn in range(300):
        read(store, turn)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "sentineld.db").stat().st_size
    assert before > MIB

    store.retention.limit_bytes = MIB // 2
    assert store.prune()
    while store.prune():
        pass
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert (tmp_path / "sentineld.db").stat().st_size <= MIB // 2
    assert not store.retention.is_stuck


def test_what_is_needed_stays_even_where_the_limit_cannot_be_kept(store):
    store.commit(Commit("read", NOW, agents=[agent(f"a{n}") for n in range(2000)]))
    store.commit(
        Commit("read", NOW, decisions=[decision(n, f"a{n}") for n in range(1, 2001)], logged_no=1000)
    )
    store.retention.limit_bytes = MIB // 8
    while store.prune():
        pass

    assert len(store.agent_names()) == 2000
    assert len(store.decisions()) == 2000, "each is the newest of its agent, or not in the log yet"
    assert store.retention.is_stuck


def test_old_decisions_go_but_the_newest_of_every_agent_and_what_is_not_logged(store, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_DECISIONS", 10)
    store.commit(Commit("read", NOW, decisions=[decision(1, "quiet")]))
    for number in range(2, 101):
        store.commit(Commit("read", NOW, decisions=[decision(number, "busy")], logged_no=min(number, 60)))
    for _ in range(64):
        store.commit(Commit("publish", NOW))
    kept = [item.decision_no for item in store.decisions()]

    assert kept == [1, *range(61, 101)]
    assert store.meta().decisions_pruned == 59
    store.commit(Commit("publish", NOW, logged_no=100))
    for _ in range(64):
        store.commit(Commit("publish", NOW))
    assert [item.decision_no for item in store.decisions()] == [1, *range(91, 101)]


def test_the_accounts_of_files_that_are_gone_outlive_their_rows(store, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_GONE", 5)
    for number in range(1, 41):
        # Every fourth one has the same name, as a log that is rotated away has.
        gone(store, number, "/t/app.jsonl" if number % 4 == 0 else f"/t/{number}.jsonl")
    totals = totals_document(store)
    files = files_document(store.sources(), store.past_files())

    assert len(store.sources()) <= 7
    assert store.meta().sources_pruned == 40 - len(store.sources())
    assert store._value("SELECT count(*) FROM writer") == len(store.sources())
    assert (totals["accepted"], totals["ignored"], totals["bytes"], totals["files"]) == (80, 40, 1200, 31)
    assert files["/t/app.jsonl"]["lines"] == 30
    assert len(files) == 31
    assert sum(entry["lines"] for entry in files.values()) == 120


def test_paths_beyond_the_limit_are_added_up_under_no_name(store, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_GONE", 5)
    monkeypatch.setattr(retention, "KEPT_PATHS", 8)
    for number in range(1, 41):
        gone(store, number, f"/t/{number}.jsonl")
    totals = totals_document(store)

    assert store._value("SELECT count(*) FROM past_file") == 9
    assert (totals["accepted"], totals["files"]) == (80, 40)
    assert all(files_document(store.sources(), store.past_files()))


def test_a_source_goes_only_after_the_inputs_that_it_belongs_to(store, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_GONE", 5)
    for number in range(1, 41):
        gone(store, number, f"/t/{number}.jsonl")
        known = {item.id for item in store.sources()}
        assert {part.source_id for _, _, _, parts in store.inputs() for part in parts} <= known


def test_numbers_of_what_went_are_never_given_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_GONE", 0)
    for number in range(1, 21):
        gone(store, number, f"/t/{number}.jsonl")
    with Store.open(str(tmp_path / "sentineld.db"), NOW) as again:
        assert again.next_source_id() == 21
        again.commit(Commit("tick", NOW))
        assert max(row[0] for row in again._db.execute("SELECT no FROM input")) == 21


def test_record_ids_are_the_last_to_go_and_counted(store):
    for turn in range(20):
        seen = [(1000, b"%20d" % n, b"c" * 32) for n in range(turn * 1000, turn * 1000 + 1000)]
        store.commit(Commit("read", NOW, seen=seen))
    store.retention.limit_bytes = MIB
    while store.prune():
        pass
    left = store._value("SELECT count(*) FROM seen")

    assert 0 < left < 20_000
    assert store.meta().seen_expired == 20_000 - left
    assert store.seen(1000, b"%20d" % 19_999), "the newest stays"
    assert store._seen_counts == {1000: left}


def test_incidents_stay_counted_when_they_go(store):
    incidents = [Incident(NOW + n, "gap", 1000, 1, f"/t/{n}", 0, 1, "x" * 200, 1) for n in range(5000)]
    store.commit(Commit("publish", NOW, incidents=incidents))
    store.retention.limit_bytes = MIB // 2
    while store.prune():
        pass

    assert 0 < len(store.incidents()) < 5000
    assert store.meta().incidents_pruned == 5000 - len(store.incidents())
    assert '"gap": 5000' in store.meta().incidents


def test_a_step_that_was_undone_is_done_again(store, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_GONE", 5)
    for number in range(1, 31):
        gone(store, number, f"/t/{number}.jsonl")
    store._db.execute(
        "CREATE TEMP TRIGGER fault BEFORE UPDATE ON meta WHEN new.sources_pruned > old.sources_pruned "
        "BEGIN SELECT RAISE(ABORT, 'injected'); END"
    )
    with pytest.raises(Exception, match="injected"):
        gone(store, 31, "/t/31.jsonl")
    store._db.execute("DROP TRIGGER fault")
    for number in range(32, 42):
        gone(store, number, f"/t/{number}.jsonl")

    assert len(store.sources()) <= 7
    # The first commit of the file in which it failed was whole, if it was the second one that failed.
    was_read = store._value("SELECT count(*) FROM writer WHERE source = 31")
    assert totals_document(store)["accepted"] == 2 * (40 + was_read)


def test_a_step_takes_milliseconds(store):
    store.retention.limit_bytes = 1 << 40
    for turn in range(100):
        read(store, turn, files=200)
    many = [(0, source(number, is_gone=True)) for number in range(1000, 3000)]
    store.commit(Commit("publish", NOW, sources=many))
    store.retention.limit_bytes = MIB
    times = []
    more = True
    while more:
        begin = time.process_time()
        more = store.prune()
        times.append(time.process_time() - begin)

    assert len(times) > 3
    # Measured: about 10 ms at most; the bound leaves room for slow machines.
    assert sorted(times)[-2] < 0.1


def test_churn_of_files_leaks_nothing(store, monkeypatch, tmp_path):
    monkeypatch.setattr(retention, "KEPT_GONE", 100)
    monkeypatch.setattr(retention, "KEPT_PATHS", 100)
    sizes = []
    for turn in range(40):
        first = turn * 100 + 1
        sources = [
            source(n, path=f"/t/{n}.jsonl", last_path="x", pos=1, lines=1, accepted=1)
            for n in range(first, first + 100)
        ]
        parts = [Part(item.id, 1000, 0, 1, 1, 2, 3, is_history=False) for item in sources]
        store.commit(Commit("read", NOW, sources=[(0, item) for item in sources], parts=parts))
        for item in sources:
            item.is_gone = True
        store.commit(Commit("publish", NOW, sources=[(1, item) for item in sources]))
        while store.prune():
            pass
        sizes.append(store._value("PRAGMA page_count"))

    assert totals_document(store)["accepted"] == totals_document(store)["files"] == 4000
    assert store._value("SELECT count(*) FROM source") < 400
    assert sizes[-1] <= sizes[10] + 4

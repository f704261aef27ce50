"""Pipeline: one transaction a call, dense decision numbers, duplicates, and failing commits."""

import json
import os
import sqlite3
from contextlib import contextmanager
from typing import Any

import pytest
from activity import BY_ACTIVITY

from sentineld.pipeline import Pipeline
from sentineld.step import Pardon, Pin, dump_state
from sentineld.store import Store
from sentineld.tables import Commit

START = 1_763_858_000


def record(name: str = "file_write", at: float = START, agent: str = "agent", **more: Any) -> dict[str, Any]:
    return {"type": name, "source": agent, "timestamp": at, "data": {}, **more}


def flood(agent: str, at: float = START, count: int = 400) -> list[dict[str, Any]]:
    kinds = ("file_write", "network_request")
    return [
        {
            "type": kinds[n % 2],
            "source": agent,
            "timestamp": at + n * 0.1,
            "data": {"x": "".join(map(chr, range(33, 126)))},
        }
        for n in range(count)
    ]


@pytest.fixture
def append(telemetry):
    def write(name: str, *records: Any) -> None:
        telemetry.append(name, *records)

    return write


def states(one) -> dict[str, bytes]:
    return {row.name: row.state for row in one.store.agents()}


def test_decision_numbers_are_dense_over_batches_and_restarts(line, append):
    one = line()
    for turn in range(4):
        append(f"{turn}.jsonl", *flood(f"agent{turn}"))
        one.poll()
        one.pipeline.obey(f"r{turn}", f"agent{turn}", Pardon(one.now_us, "me", "why", 0), {})
        one.restart()
    numbers = [item.decision_no for item in one.store.decisions()]

    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 8
    assert one.store.meta().decision_no == numbers[-1]


def test_decisions_of_one_batch_stand_in_the_order_of_time(line, append):
    one = line()
    append("a.jsonl", *flood("late", START + 100))
    append("b.jsonl", *flood("early", START))
    one.tail.scan()
    for batch in one.intake.history():
        one.commit(batch)
    decided = [item.decided_at for item in one.store.decisions()]

    assert decided == sorted(decided)
    assert one.store.decisions()[0].agent_id == "early"


def test_a_repeated_record_id_counts_once_and_other_content_is_a_conflict(line, append):
    one = line()
    same = record(event_id="x1")
    append("a.jsonl", same, same, {**same, "timestamp": START + 5})
    one.poll()
    append("b.jsonl", same)
    one.restart()
    one.poll()
    append("b.jsonl", {**same, "data": {"other": 1}})
    one.poll()

    assert one.store.meta().events == 2
    assert sum(item.duplicates for item in one.store.sources()) == 3
    assert sum(item.conflicts for item in one.store.sources()) == 1
    one.check_accounts()


def test_a_record_is_no_copy_of_one_that_another_agent_wrote_under_its_id(line, append):
    one = line()
    append("decoy.jsonl", record(agent="decoy", id=1))
    one.poll()
    append("a.jsonl", record(id=1), record(id=1))
    one.poll()

    assert one.pipeline.roster.find((os.getuid(), "agent")).profile.window.file_ops == 1
    assert one.store.meta().events == 2
    one.check_accounts()


def test_equal_lines_without_an_id_are_separate_events(line, append):
    one = line()
    append("a.jsonl", record(), record())
    one.poll()

    assert one.store.meta().events == 2


def test_totals_agree_with_the_accounts_of_all_files(line, append):
    one = line()
    append(
        "a.jsonl",
        record(),
        b"\n",
        b"garbage\n",
        record(event_id="1"),
        record(event_id="1"),
        record("tool_call"),
    )
    one.poll()
    (source,) = one.store.sources()

    assert (source.lines, source.accepted, source.ignored, source.rejected, source.duplicates) == (
        6,
        3,
        1,
        1,
        1,
    )
    assert one.store.meta().events == sum(one.store.event_types().values()) == 3
    assert one.store.meta().tool_calls == 1


def test_a_request_is_carried_out_once(line, append):
    one = line()
    append("a.jsonl", record())
    one.poll()
    wish = Pin(one.now_us, "me", "why", 3, None)
    assert len(one.pipeline.obey("r1", "agent", wish, {}).decisions) == 1
    assert one.pipeline.obey("r1", "agent", wish, {}).decisions == []
    one.restart()
    assert one.pipeline.obey("r1", "agent", wish, {}).decisions == []

    assert one.pipeline.obey("r2", "nobody", wish, {}).decisions == []


@pytest.mark.parametrize("call", ["read", "tick", "obey"])
def test_after_a_failed_commit_a_reload_equals_a_run_that_never_failed(
    line, append, telemetry, tmp_path, call
):
    one = line()
    append("a.jsonl", *flood("agent", count=300))
    append("b.jsonl", record(agent="other"))
    one.poll()
    append("a.jsonl", *flood("agent", START + 40, count=100), record(agent="fresh", event_id="7"))
    before = states(one)

    def act(now_us: int) -> None:
        if call == "read":
            one.now_us = now_us
            one.tail.scan()
            one.commit(one.intake.live())
        elif call == "tick":
            one.pipeline.tick(now_us)
        else:
            one.pipeline.obey("r1", "agent", Pin(now_us, "me", "why", 3, None), {})

    at = one.now_us + 100_000_000
    fault = sqlite3.connect(one.database)
    fault.execute("CREATE TRIGGER fault BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'injected'); END")
    fault.commit()
    with pytest.raises(sqlite3.IntegrityError, match="injected"):
        act(at)
    fault.execute("DROP TRIGGER fault")
    fault.commit()
    fault.close()
    assert states(one) == before
    assert one.store.meta().decision_no == len(one.store.decisions())

    one.restart()
    assert set(one.pipeline.roster.known()) == set(before)
    act(at)
    failed_once = (states(one), [item.to_dict() for item in one.store.decisions()], one.store.meta().events)

    # The same without a fault.
    reference = line.__class__ and type(one)(telemetry.directory, tmp_path / "reference.db")
    data = {name: (telemetry.directory / name).read_bytes() for name in ("a.jsonl", "b.jsonl")}
    first = b"".join(json.dumps(item).encode() + b"\n" for item in flood("agent", count=300))
    (telemetry.directory / "a.jsonl").write_bytes(first)
    reference.poll()
    (telemetry.directory / "a.jsonl").write_bytes(data["a.jsonl"])
    one, live = reference, one
    act(at)
    try:
        assert reference.store.meta().events == failed_once[2]
        assert [item.to_dict() for item in reference.store.decisions()] == failed_once[1]
        assert states(reference).keys() == failed_once[0].keys()
    finally:
        reference.close()
    assert live.store.meta().decision_no == len(failed_once[1])


def test_time_alone_empties_windows_and_agents_leave_memory(line, append):
    one = line()
    append("a.jsonl", *flood("agent"))
    one.poll()
    assert one.store.decisions()[-1].to_tier == 3
    for step_s in range(0, 4 * 3600, 60):
        one.pipeline.tick(one.now_us + step_s * 1_000_000)

    assert [item.to_tier for item in one.store.decisions()[-2:]] == [2, 1]
    assert one.pipeline.roster.all() == []
    assert one.pipeline.tick(one.now_us + 10**12).decisions == []


def test_a_warm_agent_is_told_of_the_ticks_that_passed_before_a_restart(line, append):
    one = line()
    append("a.jsonl", *flood("agent"))
    one.poll()
    at = one.now_us + 200_000_000
    one.pipeline.tick(at)
    (state,) = one.pipeline.roster.all()
    expected = dump_state(state)
    one.close()
    one.store = Store.open(str(one.database), one.now_us)
    one.pipeline = Pipeline(
        one.store, BY_ACTIVITY.prior(), agents_per_owner=10, clock_us=one.store.meta().clock
    )
    (again,) = one.pipeline.roster.all()

    assert again.clock_us == at
    assert dump_state(again) == expected


def test_replay_in_memory_keeps_no_inputs_and_writes_no_file(tmp_path):
    with Store.open(":memory:", 0, is_durable=False) as store:
        Pipeline(store, BY_ACTIVITY.prior(), agents_per_owner=10).tick(1)

        assert list(store.inputs()) == []
    assert list(tmp_path.iterdir()) == []


def damage(one, name: str) -> None:
    row = one.store.agent_named(name)
    row = row._replace(state=row.state[:-1])
    one.store.commit(Commit("publish", 0, agents=[row]))


def test_a_damaged_agent_is_restricted_by_a_decision_and_recovers_as_others_do(line, append):
    one = line()
    append("a.jsonl", record(), record(agent="other"))
    one.poll()
    damage(one, "agent")
    one.restart()
    append("a.jsonl", record())
    one.poll()

    (decision,) = one.store.decisions()
    assert (decision.agent_id, decision.to_tier, decision.cause) == ("agent", 3, "damaged")
    assert one.store.agent_named("agent").tier == 3
    assert one.store.agent_named("other").tier == 1
    one.pipeline.tick(one.now_us + one.pipeline.prior.policy.quiet_us - 1)
    assert one.store.agent_named("agent").tier == 3
    one.pipeline.tick(one.now_us + 3 * one.pipeline.prior.policy.quiet_us)
    assert one.store.agent_named("agent").tier == 1


def test_a_pardon_is_the_last_word_on_a_damaged_agent(line, append):
    one = line()
    append("a.jsonl", record())
    one.poll()
    one.pipeline.tick(one.now_us + 10**10)
    damage(one, "agent")
    one.restart()
    one.pipeline.obey("r", "agent", Pardon(one.now_us, "me", "why", 0), {})

    assert [item.cause for item in one.store.decisions()] == ["damaged", "pardoned"]
    assert one.store.agent_named("agent").tier == 1


def test_decisions_are_announced_while_they_are_committed_and_their_failure_is_told(line, append):
    one = line()
    told: list[str] = []

    @contextmanager
    def announcing():
        listed = [name for name, _ in one.pipeline.roster.demoted()]
        told.append(f"{len(one.store.decisions())} before, listed: {listed}")
        try:
            yield
        except sqlite3.Error:
            told.append("failed")
            raise
        told.append(f"{len(one.store.decisions())} after")

    one.pipeline.announcing = announcing
    append("a.jsonl", record())
    one.poll()
    assert told == []
    append("a.jsonl", *flood("flooder"))
    one.poll()
    assert told == ["0 before, listed: ['flooder']", "2 after"]
    fault = sqlite3.connect(one.database, isolation_level=None)
    fault.execute("CREATE TRIGGER fault BEFORE INSERT ON decision BEGIN SELECT RAISE(ABORT, 'full'); END")
    append("a.jsonl", *flood("other", START + 60))
    with pytest.raises(sqlite3.Error):
        one.poll()
    fault.close()
    assert told[-1] == "failed"

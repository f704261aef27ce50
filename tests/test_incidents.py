"""Incidents: whom evidence is charged to, what follows, and that the recorded inputs give the same again."""

import json
import os
from dataclasses import replace

import msgspec
import pytest
from activity import BY_ACTIVITY

from sentineld.event import Incident
from sentineld.incidents import MAX_WRITERS
from sentineld.intake import Batch
from sentineld.policy import Policy
from sentineld.roster import OVERFLOW_ID
from sentineld.step import Pardon, Prior, load_state
from sentineld.trust import UNNAMED_ID, Rule, Trust

START = 1_763_858_000
ME = os.getuid()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as two owners")


def record(agent: str, at: float = START, **more: object) -> dict[str, object]:
    return {"type": "plan", "source": agent, "timestamp": at, "data": {}, **more}


def tell(one, kind: str = "gap", path: str = "", owner: int = ME, **more: object) -> None:
    """Let the tail find an incident, as the daemon would commit it."""
    source_id = 0
    if path:
        source_id = one.source(one.directory / path).id
    name = str(one.directory / (path or more.pop("name", "gone.jsonl")))
    one.tail.incidents.append(Incident(one.now_us, kind, owner, source_id, name, 5, 9, "told by a test"))
    one.poll(scan=False)


def tiers(one) -> dict[str, int]:
    return {row.name: row.tier for row in one.store.agents() if row.tier > 1}


def test_the_writers_of_the_file_are_charged_and_nobody_else(line, telemetry):
    one = line()
    telemetry.append("shared.jsonl", record("first"), record("second"))
    telemetry.append("own.jsonl", record("third"))
    one.poll()
    tell(one, "gap", "shared.jsonl")

    assert tiers(one) == {"first": 2, "second": 2}
    decisions = one.store.decisions()
    assert [(d.agent_id, d.cause, d.from_tier, d.to_tier) for d in decisions] == [
        ("first", "telemetry_gap", 1, 2),
        ("second", "telemetry_gap", 1, 2),
    ]
    assert decisions[0].reasons[0].feature == "gap"
    assert decisions[0].evidence[-1].path.endswith("shared.jsonl")
    assert decisions[0].evidence[-1].offset == 5


@pytest.mark.parametrize(
    ("kind", "tier", "cause"),
    [
        ("gap", 2, "telemetry_gap"),
        ("vanished", 2, "telemetry_gap"),
        ("truncated", 2, "telemetry_gap"),
        ("unreadable", 2, "telemetry_gap"),
        ("rewritten", 3, "tamper"),
        ("replaced_directory", 3, "tamper"),
        ("line_too_long", 1, ""),
        ("missing", 1, ""),
    ],
)
def test_each_kind_has_its_tier_and_cause_and_all_are_on_record(line, telemetry, kind, tier, cause):
    one = line()
    telemetry.append("a.jsonl", record("agent"))
    one.poll()
    tell(one, kind, "a.jsonl")

    assert tiers(one).get("agent", 1) == tier
    assert [decision.cause for decision in one.store.decisions()] == ([cause] if cause else [])
    assert [(item.kind, item.start, item.end) for item in one.store.incidents()] == [(kind, 5, 9)]
    assert json.loads(one.store.meta().incidents) == {kind: 1}


def test_writers_are_remembered_over_a_restart(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", record("agent"))
    one.poll()
    one.restart()
    one.poll()
    tell(one, "gap", "a.jsonl")

    assert tiers(one) == {"agent": 2}


def test_without_a_known_file_the_directory_tells_then_the_owner(line, telemetry):
    one = line()
    telemetry.append("x/a.jsonl", record("inside"))
    telemetry.append("y/b.jsonl", record("outside"))
    one.poll()
    tell(one, "vanished", name="x/gone.jsonl")
    assert tiers(one) == {"inside": 2}

    tell(one, "vanished", name="x")
    assert tiers(one) == {"inside": 2}

    tell(one, "vanished", name="z/gone.jsonl")
    assert tiers(one) == {"inside": 2, "outside": 2}


def test_an_owner_without_an_agent_is_charged_by_its_pseudo_agent(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", record("agent"))
    one.poll()
    tell(one, "vanished", owner=ME + 1)

    assert tiers(one) == {UNNAMED_ID: 2}
    assert one.store.agent_named(UNNAMED_ID).owner == ME + 1


def test_root_without_an_agent_is_the_operator_and_is_not_charged(line, telemetry):
    one = line()
    path = telemetry.append("a.jsonl", record("agent"))
    if ME == 0:
        os.chown(path, 1234, -1)
    one.poll()
    tell(one, "replaced_directory", owner=0)

    assert tiers(one) == {}
    assert [item.kind for item in one.store.incidents()] == ["replaced_directory"]


def test_quiet_time_begins_with_the_last_incident_and_grace_does_not_protect(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", record("agent"))
    one.poll()
    tell(one, "gap", "a.jsonl")
    first = one.now_us
    for _ in range(3):
        one.now_us += 600_000_000
        tell(one, "gap", "a.jsonl")
    last = one.now_us
    one.pipeline.tick(last + 899_000_000)
    assert tiers(one) == {"agent": 2}
    assert last - first > 900_000_000
    one.pipeline.tick(last + 901_000_000)
    assert tiers(one) == {}

    one.now_us = last + 902_000_000
    one.pipeline.obey("r-1", "agent", Pardon(one.now_us, "me", "r", 3_600_000_000), {})
    tell(one, "rewritten", "a.jsonl")
    assert tiers(one) == {"agent": 3}


def test_tier_3_by_tampering_ends_as_any_other(line, telemetry):
    one = line()
    prior = BY_ACTIVITY.prior()
    policy = Policy(prior.policy.quiet_us, tier3_needs_pardon=True)
    one.pipeline.set_prior(Prior(prior.monitor, policy, prior.charges))
    telemetry.append("a.jsonl", record("agent"))
    one.poll()
    tell(one, "rewritten", "a.jsonl")
    one.pipeline.tick(one.now_us + 10**12)
    assert tiers(one) == {"agent": 3}
    one.pipeline.obey("r-1", "agent", Pardon(one.now_us + 10**12 + 1, "me", "r", 0), {})
    assert tiers(one) == {}


def test_tiers_are_configured_and_1_only_records(line, telemetry):
    one = line()
    prior = one.pipeline.prior
    one.pipeline.set_prior(replace(prior, charges=replace(prior.charges, gap=1, tamper=2)))
    telemetry.append("a.jsonl", record("agent"))
    one.poll()
    tell(one, "gap", "a.jsonl")
    assert tiers(one) == {}
    tell(one, "rewritten", "a.jsonl")
    assert tiers(one) == {"agent": 2}
    assert [item.kind for item in one.store.incidents()] == ["rewritten", "gap"]


def test_ids_beyond_the_quota_are_charged_to_the_owner_and_nobody_with_a_name(line, telemetry):
    one = line()
    one.pipeline.roster.agents_per_owner = 3
    telemetry.append("a.jsonl", *(record(f"agent{n}") for n in range(10)))
    one.poll()

    assert tiers(one) == {OVERFLOW_ID: 3}
    (decision,) = one.store.decisions()
    assert (decision.cause, decision.reasons[0].feature, decision.reasons[0].observed) == (
        "flood",
        "too_many_agents",
        7,
    )


def test_a_file_of_many_writers_is_bounded(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", *(record(f"agent{n:04}") for n in range(MAX_WRITERS + 50)))
    one.poll()
    source = one.source(telemetry.directory / "a.jsonl")

    assert len(one.store.writers(source.id)) == MAX_WRITERS


@needs_root
def test_who_writes_under_a_false_name_is_charged_by_all_its_names(line, telemetry):
    one = line()
    telemetry.append("victim.jsonl", record("victim"))
    one.poll()
    os.chown(telemetry.append("own.jsonl", record("mallory")), 1234, -1)
    os.chown(telemetry.append("false.jsonl", record("victim")), 1234, -1)
    os.chown(telemetry.append("third.jsonl", record("eve")), 1235, -1)
    one.poll()

    assert tiers(one) == {"mallory": 2, "victim#1234": 2}


@needs_root
def test_the_id_of_another_owner_is_charged_to_the_writer_once(line, telemetry):
    one = line()
    telemetry.append("victim.jsonl", record("victim"))
    one.poll()
    before = one.store.agent_named("victim").state
    theirs = telemetry.append("evil.jsonl", record("mallory"), record("victim"), record("victim"))
    os.chown(theirs, 1234, -1)
    one.poll()

    assert tiers(one) == {"mallory": 2, "victim#1234": 2}
    assert one.store.agent_named("victim").state == before
    assert {(d.cause, d.reasons[0].feature) for d in one.store.decisions()} == {("identity", "foreign_id")}
    one.now_us += 60_000_000
    telemetry.append("evil.jsonl", record("victim"))
    one.poll()
    assert [(item.kind, item.count) for item in one.store.incidents()] == [("foreign_id", 1)]
    assert one.store.incidents()[0].start == len(json.dumps(record("mallory"))) + 1


def test_a_record_id_used_twice_for_different_content_is_on_record(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", record("agent", id="r-1"), record("agent", id="r-1", type="error"))
    one.poll()

    assert tiers(one) == {}
    assert [(item.kind, item.count) for item in one.store.incidents()] == [("id_conflict", 1)]


def test_an_incident_alone_is_a_batch(line):
    one = line()
    assert not Batch()
    one.tail.incidents.append(Incident(one.now_us, "vanished", ME, 0, "/t/x", 0, 0, "d"))
    assert one.intake.live()
    assert not one.intake.live()


def numbered(agent, numbers, at=START):
    return [record(agent, at, seq=number) for number in numbers]


def test_missing_numbers_demote_the_writers_of_the_file_and_are_told_with_the_place(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", *numbered("agent", range(1, 41)), record("other"))
    telemetry.append("b.jsonl", *numbered("honest", range(1, 90)))
    one.poll()
    size = one.source(one.directory / "a.jsonl").pos
    telemetry.append("a.jsonl", *numbered("agent", range(45, 55)))
    one.poll()
    assert tiers(one) == {}, "they may come late"
    telemetry.append("a.jsonl", *numbered("agent", range(55, 90)))
    one.poll()

    assert tiers(one) == {"agent": 2, "other": 2}
    [incident] = one.store.incidents()
    assert (incident.kind, incident.count, incident.start) == ("seq_gap", 1, size)
    assert incident.detail == "agent: missing before it: 41 to 44"
    assert one.store.decisions()[0].cause == "telemetry_gap"


def test_numbers_are_followed_over_restarts_in_the_same_transaction_as_positions(line, telemetry):
    one = line()
    lost = {44, 71}
    for number in range(1, 100):
        if number not in lost:
            telemetry.append("a.jsonl", *numbered("agent", [number]))
        one.restart()
        one.poll()

    assert json.loads(one.store.meta().incidents) == {"seq_gap": 2}


def test_numbers_are_followed_though_the_agent_left_memory(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", *numbered("agent", range(1, 41)))
    one.poll()
    one.pipeline.roster.agents_in_memory = 0
    one.pipeline.tick(one.now_us)
    assert not one.pipeline.roster.holds((ME, "agent"))
    telemetry.append("a.jsonl", *numbered("agent", range(50, 90)))
    one.poll()

    assert tiers(one) == {"agent": 2}


def test_a_rejected_line_between_explains_a_jump_in_the_same_read_and_in_a_later_one(line, telemetry):
    one = line()
    path = telemetry.append("a.jsonl", *numbered("agent", range(1, 41)))
    with path.open("ab") as file:
        file.write(b'{"type":\n')
    telemetry.append("a.jsonl", *numbered("agent", range(42, 70)))
    one.poll()
    with path.open("ab") as file:
        file.write(b"\0" * 40 + b"\n")
    one.poll()
    telemetry.append("a.jsonl", *numbered("agent", range(75, 99)))
    one.poll()

    assert one.store.meta().incidents == "{}"


def test_copies_of_records_have_numbers_too(line, telemetry):
    one = line()
    sent = numbered("agent", range(1, 41))
    again = [record("agent", id="x", seq=number) for number in (41, 42, 43)]
    telemetry.append("a.jsonl", *sent, *again, *numbered("agent", range(44, 80)))
    one.poll()

    assert one.source(one.directory / "a.jsonl").duplicates == 2
    assert one.store.meta().incidents == "{}"


def test_rotation_and_files_side_by_side_are_no_gap(line, telemetry):
    one = line()
    for turn in range(6):
        first = 1 + 40 * turn
        telemetry.append("a.jsonl", *numbered("agent", range(first, first + 25), START + turn))
        telemetry.append("b.jsonl", *numbered("agent", range(1, 60), START + turn))
        one.poll()
        telemetry.append("a.jsonl", *numbered("agent", range(first + 25, first + 40), START + turn))
        (one.directory / "a.jsonl").rename(one.directory / f"a.jsonl.{6 - turn}")
        (one.directory / "b.jsonl").unlink()
    one.poll()

    assert "seq_gap" not in one.store.meta().incidents


def test_one_count_over_two_files_is_no_gap(line, telemetry):
    one = line()
    now = one.now_us / 1e6
    rows = [
        record("agent", now + (1.5 if number > 40 else 0.5) + number / 1e3, seq=number)
        for number in range(1, 400)
    ]
    telemetry.append("a.jsonl", *rows[:40])
    one.poll()
    telemetry.append("b.jsonl", *rows[40::2])
    telemetry.append("a.jsonl", *rows[41::2])
    one.poll()

    assert one.store.meta().incidents == "{}"


def test_numbers_under_false_names_are_nobodys(line, telemetry):
    one = line()
    one.intake.trust = Trust([Rule("**", "path", "me")], [str(one.directory)])
    telemetry.append("a.jsonl", *numbered("me", range(1, 41)), *numbered("you", range(90, 130)))
    telemetry.append("a.jsonl", *numbered("me", range(41, 99)))
    one.poll()

    assert json.loads(one.store.meta().incidents) == {"forged_id": 40}


def test_a_flood_of_gaps_is_one_incident_a_batch_and_agent(line, telemetry):
    one = line()
    numbers = [number for number in range(1, 4000) if number % 20]
    telemetry.append("a.jsonl", *numbered("agent", numbers))
    one.poll()

    [incident] = one.store.incidents()
    assert incident.count > 150
    assert len(one.store.decisions()) == 1


def test_a_pardon_forgives_numbers_that_were_still_awaited(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", *numbered("agent", [*range(1, 41), *range(50, 60)]))
    one.poll()
    wish = Pardon(one.now_us, "operator", "known", 0)
    one.pipeline.obey("r1", "agent", wish, {})
    telemetry.append("a.jsonl", *numbered("agent", range(60, 99)))
    one.poll()

    assert one.store.meta().incidents == "{}"


def test_a_state_without_numbering_is_read_and_one_with_it_keeps_its_version(line, telemetry):
    one = line()
    telemetry.append("a.jsonl", *numbered("agent", range(1, 41)))
    one.poll()
    version, _, body = one.store.agent_named("agent").state.partition(b":")
    document = msgspec.msgpack.decode(body)
    assert version == b"2"
    assert document.pop("numbering")["numbered"] == 40
    assert load_state(b"2:" + msgspec.msgpack.encode(document)).numbering is None

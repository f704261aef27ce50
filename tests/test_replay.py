"""Replay: sessions, and a line that gives the same whether it was interrupted or not."""

import os

import pytest
from activity import BY_ACTIVITY

from sentineld.batch import Part
from sentineld.config import Config
from sentineld.event import FILE, NETWORK
from sentineld.identity import Source
from sentineld.intake import Batch
from sentineld.monitor import BehavioralMonitor
from sentineld.options import SourceRule, TelemetryOptions
from sentineld.pipeline import Pipeline
from sentineld.policy import Policy
from sentineld.replay import SESSION_GAP_US, replay
from sentineld.rows import Rows
from sentineld.step import Prior, load_state
from sentineld.store import Store

S = 1_000_000
START = 1_795_000_000 * S
KEY = (1000, "a")


def flood(count, start=START, every=S // 10):
    kinds = ((FILE, "file_read"), (NETWORK, "api_call"))
    return [(start + n * every, kinds[n % 2][0], 750_000_000, kinds[n % 2][1], 1, n) for n in range(count)]


def calm(count, start=START, every=S):
    return [(start + n * every, 0, 500_000_000, "plan", 1, n, None) for n in range(count)]


def sessions_of(telemetry, *records):
    telemetry.append("a.jsonl", *records)
    return replay([str(telemetry.directory)], BY_ACTIVITY).sessions.peaks[(os.geteuid(), "a")]


def named(records, name):
    return [{**record, "data": {**record["data"], "session": name}} for record in records]


def test_a_pause_of_more_than_half_an_hour_begins_a_new_session(telemetry):
    gap = SESSION_GAP_US / S

    peaks = sessions_of(
        telemetry,
        telemetry.record("a", "plan", 1_795_000_000),
        telemetry.record("a", "plan", 1_795_000_000 + gap),
        telemetry.record("a", "plan", 1_795_000_000 + 2 * gap + 1),
    )

    assert len(peaks) == 2


def test_a_session_is_scored_by_its_own_events(telemetry):
    peaks = sessions_of(
        telemetry,
        *named(telemetry.flood("a", 60, end=1_795_000_000), "bad"),
        *named(telemetry.normal("a", 5, end=1_795_000_030), "good"),
    )

    assert (peaks["bad"].max_tier, peaks["good"].max_tier) == (3, 1)
    assert peaks["bad"].max_score > 0.7 > 0.5 > peaks["good"].max_score


def test_sessions_may_interleave(telemetry):
    flood = telemetry.flood("a", 80, end=1_795_000_000)
    mixed = [
        record
        for pair in zip(named(flood[::2], "x"), named(flood[1::2], "y"), strict=True)
        for record in pair
    ]

    peaks = sessions_of(telemetry, *mixed)

    # One writes files only, the other talks to the network only: neither is a flood of both.
    assert {name: peak.max_tier for name, peak in peaks.items()} == {"x": 2, "y": 1}


def test_a_later_session_starts_at_tier_1(telemetry):
    peaks = sessions_of(
        telemetry,
        *telemetry.flood("a", 60, end=1_795_000_000),
        *telemetry.normal("a", 5, end=1_795_004_000),
    )

    assert [peak.max_tier for peak in peaks.values()] == [3, 1]


def prior(suspicious):
    return Prior(BehavioralMonitor(suspicious_threshold=suspicious, window_seconds=3), Policy(quiet_us=S))


def read(pipeline, number, agent, run, lo, hi):
    source = Source(number, f"/{number}", f"/{number}", "jsonl", 1, number, 0, 1000, 0)
    rows = Rows(
        [item[0] for item in run],
        [agent] * len(run),
        [item[1] for item in run],
        [item[2] for item in run],
        [item[3] for item in run],
        [item[5] for item in run],
    )
    batch = Batch()
    batch.sources[number] = (0, source)
    batch.parts.append(Part(number, 1000, 0, 1, lo, hi, hi, False, rows))
    return pipeline.read(batch, hi).decisions


@pytest.mark.parametrize("restarts", [True, False])
def test_a_restart_changes_no_decision_also_of_agents_that_slept_at_the_last_tick(tmp_path, restarts):
    # The new agent's events lie before the tick that only the other agent heard of.
    with Store.open(str(tmp_path / "db"), START) as store:
        pipeline = Pipeline(store, prior(0.2), agents_per_owner=10)
        read(pipeline, 1, "other", calm(1), START, START + 10)
        pipeline.tick(START + S // 2)
        decisions = read(pipeline, 2, "new", flood(20, every=1000), START, START + S)
        if restarts:
            pipeline = Pipeline(store, prior(0.2), agents_per_owner=10, clock_us=store.meta().clock)
        pipeline.set_prior(prior(0.7))
        for half in range(2, 20):
            decisions += pipeline.tick(START + half * S // 2).decisions

    assert [(d.from_tier, d.to_tier, d.cause) for d in decisions] == [(1, 2, "detected"), (2, 1, "recovered")]
    assert [d.decided_at[17:] for d in decisions] == ["40.500Z", "41.500Z"]


def test_all_records_of_a_file_have_the_role_that_its_rule_names(telemetry):
    """Also those that are read at once, as records of known agents are where the format is told before."""
    record = {"type": "file_read", "source": "a", "data": {"path": "/srv/x"}}
    records = [{**record, "timestamp": START // S + n} for n in range(40)]
    rules = []
    for role in ("builder", "tester"):
        telemetry.append(f"{role}.jsonl", *records)
        path = f"{telemetry.directory}/{role}.jsonl"
        rules.append(SourceRule(path=path, format="wordpress", role=role))

    config = Config(telemetry=TelemetryOptions(sources=rules))
    found = replay([str(telemetry.directory)], config).store.agent_named("a").state

    sessions = load_state(found).learned.sessions
    assert [(one.role, one.events) for one in sessions] == [("builder", 40), ("tester", 40)]

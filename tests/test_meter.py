"""Meter: what is counted, and that nobody's words make it large."""

import pytest

from sentineld.batch import Accounts, Part
from sentineld.decision import Decision, Reason
from sentineld.decode import Reject
from sentineld.event import Incident
from sentineld.identity import Source
from sentineld.instant import iso
from sentineld.meter import MAX_VALUES, OTHER, Histogram, Meter
from sentineld.tables import Commit

AT = 1_795_000_000_000_000


def part(form, *, reasons=(), told=None):
    made = Part(1, 1000, 0, 1, 0, 1, 1, False, format=form, told=told or Accounts(1, 0, 0, 0))
    made.rejects = [Reject(reason, "", 0, 1, b"") for reason in reasons]
    return made


def decision(cause="detected", to_tier=3, at=AT, rules=()):
    reasons = [Reason("rule", name, 1.0, 0.0) for name in rules]
    return Decision(1, "d-1", "a", 1, to_tier, 0.9, iso(at), cause, "v", reasons)


def test_a_value_at_a_bound_counts_below_it():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)

    assert (histogram.counts, histogram.total) == ([2, 1, 1], 12.0)


def test_a_commit_counts_once_by_what_became_of_it():
    meter = Meter()
    source = Source(1, "/a", "/a", "lines", 1, 1, 0, 1000, 0)
    source.pos = 70
    commit = Commit("read", 1, sources=[(20, source)])
    commit.parts = [part("codex", reasons=["duplicate_key"], told=Accounts(4, 3, 1, 2)), part("")]
    commit.event_types, commit.tool_calls = {"file_read": 2, "made up": 3}, 5
    commit.unknown = {("codex", "x"): 2, ("codex", "y"): 1}
    commit.incidents = [Incident(1, "gap", 1000, 1, "/a", 0, 1, "", 7)]
    commit.decisions = [decision("rule", rules=("spend", "spend")), decision("recovered", 1)]
    meter.committed(commit, 3000)

    assert meter.lines == {
        ("codex", "accepted"): 4,
        ("codex", "ignored"): 3,
        ("codex", "rejected"): 1,
        ("codex", "duplicate"): 2,
        ("unknown", "accepted"): 1,
    }
    assert (meter.rejects, meter.read_bytes, meter.tool_calls) == ({"duplicate_key": 1}, 50, 5)
    assert meter.events == {"file_read": 2, "other": 3}
    assert (meter.unknown, meter.incidents) == ({"codex": 3}, {"gap": 7})
    assert meter.decisions == {("rule", 3): 1, ("recovered", 1): 1}
    assert meter.rules == {"spend": 1}
    assert meter.commits.counts[meter.commits.bounds.index(0.005)] == 1


def test_names_that_others_choose_are_bounded():
    meter = Meter()
    for number in range(3 * MAX_VALUES):
        meter.committed(Commit("read", 1, parts=[part(f"f{number}", reasons=[f"r{number}"])]), 1)

    assert len(meter.lines) == len(meter.rejects) == MAX_VALUES + 1
    assert meter.lines[OTHER, "accepted"] == 2 * MAX_VALUES
    assert meter.rejects[OTHER] == 2 * MAX_VALUES


@pytest.mark.parametrize(
    ("made", "delays"),
    [
        (decision(), [0.5]),
        (decision("rule"), [0.5]),
        (decision("pinned"), []),
        (decision("recovered", 1), []),
        (decision(at=AT + 9_000_000), [0.0]),
    ],
)
def test_the_delay_is_that_of_demotions_for_what_agents_did(made, delays):
    meter = Meter()
    meter.told([made], AT + 500_000)

    assert (sum(meter.delays.counts), meter.delays.total) == (len(delays), sum(delays))

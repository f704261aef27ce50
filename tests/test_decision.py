"""Decisions as data."""

import json
from dataclasses import asdict

import pytest

from sentineld import Decision
from sentineld.decision import Evidence, Reason, decision_id

DECISION = Decision(
    193, "d-000193", "research-07", 1, 3, 0.93, "2026-11-23T00:31:02Z", "detected", "activity-1/q900",
    [Reason("activity", "file_operations", 40, None), Reason("activity", "mean_entropy", 0.9, 0.25, 3.5)],
    [Evidence("/var/log/a.jsonl", 4096, "1-4096", "file_read")],
    actor="root", note="why", attack=True,
)  # fmt: skip


def test_a_decision_comes_back_from_json_as_it_was():
    assert Decision.from_dict(json.loads(json.dumps(DECISION.to_dict()))) == DECISION


def test_its_plain_data_has_every_field():
    assert DECISION.to_dict() == asdict(DECISION)


def test_unknown_members_are_ignored_and_missing_ones_are_told():
    data = {**DECISION.to_dict(), "new": 1}
    assert Decision.from_dict(data) == DECISION

    del data["cause"]
    with pytest.raises(KeyError, match="cause"):
        Decision.from_dict(data)


def test_ids_sort_like_numbers_up_to_a_million():
    assert decision_id(193) == "d-000193"
    assert sorted([decision_id(10), decision_id(9), decision_id(100)]) == [
        decision_id(9),
        decision_id(10),
        decision_id(100),
    ]

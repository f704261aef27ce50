"""Profiles: plain data that survives a round trip."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from sentineld import AgentBehavioralProfile, BehavioralMonitor


def test_a_profile_can_be_made_from_counts():
    profile = AgentBehavioralProfile(
        agent_id="a",
        file_ops_count=12,
        network_ops_count=8,
        entropy_score=0.55,
        last_activity="2026-11-23T00:00:00Z",
    )

    assert (profile.agent_id, profile.file_ops_count, profile.network_ops_count) == ("a", 12, 8)
    assert (profile.entropy_score, profile.anomaly_score, profile.last_activity) == (
        0.55,
        0.0,
        "2026-11-23T00:00:00Z",
    )


def test_times_default_to_now():
    profile = AgentBehavioralProfile("a")

    for text in (profile.last_activity, profile.sliding_window_start):
        assert abs(datetime.now(UTC) - datetime.fromisoformat(text)) < timedelta(seconds=5)


def test_a_score_at_the_threshold_is_not_anomalous():
    profile = AgentBehavioralProfile("a", anomaly_score=0.7)

    assert not profile.is_anomalous()
    assert profile.is_anomalous(threshold=0.69)
    assert profile.is_anomalous(0.0)


def test_a_profile_comes_back_from_json_as_it_was_with_its_window():
    monitor = BehavioralMonitor()
    for second in (0, 5, 100, 290):
        monitor.record_event("a", "file_write", {"n": second}, 1_700_000_000 + second, now=1_700_000_300)
    profile = monitor.get_profile("a", now=1_700_000_320)

    again = AgentBehavioralProfile.from_dict(json.loads(json.dumps(profile.to_dict())))

    assert again == profile
    assert (again.file_ops_count, again.window.events) == (2, 2)


def test_a_profile_without_events_comes_back_too():
    profile = AgentBehavioralProfile("a", file_ops_count=3, anomaly_score=0.2)

    assert AgentBehavioralProfile.from_dict(profile.to_dict()) == profile


def test_only_the_agent_is_required_and_unknown_members_are_ignored():
    profile = AgentBehavioralProfile.from_dict({"agent_id": "a", "file_ops_count": 3, "unknown": 1})

    assert (profile.agent_id, profile.file_ops_count) == ("a", 3)
    with pytest.raises(KeyError, match="agent_id"):
        AgentBehavioralProfile.from_dict({})

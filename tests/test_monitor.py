"""The activity score, and the library face of the monitor."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sentineld import AgentBehavioralProfile, BehavioralEvent, BehavioralMonitor
from sentineld.instant import iso

NOW = 1_700_000_300
TEXT = {"note": "reads the quarterly report and writes a summary of it for the team"}


def record(monitor, event_type, count, agent="a", at=NOW, now=NOW, metadata=None):
    for number in range(count):
        monitor.record_event(
            agent, event_type, {**TEXT, "n": number} if metadata is None else metadata, at, now=now
        )


# The formula.


@pytest.mark.parametrize(
    ("file_ops", "network_ops", "entropy"),
    [(0, 0, 0.0), (1, 0, 0.0), (12, 8, 0.55), (100, 100, 1.0), (5000, 5000, 1.0)],
)
def test_the_score_is_the_weighted_sum_of_saturated_logarithms_and_mean_entropy(
    file_ops, network_ops, entropy
):
    profile = AgentBehavioralProfile(
        "a", file_ops_count=file_ops, network_ops_count=network_ops, entropy_score=entropy
    )

    score = BehavioralMonitor().calculate_anomaly_score(profile)

    def part(count):
        return min(1.0, math.log1p(count) / math.log1p(100))

    assert (
        score
        == profile.anomaly_score
        == pytest.approx(0.4 * part(file_ops) + 0.3 * part(network_ops) + 0.3 * entropy)
    )


def test_twelve_file_and_eight_network_operations_with_ordinary_text_pass_the_suspicious_threshold():
    monitor = BehavioralMonitor()
    record(monitor, "file_write", 12)
    record(monitor, "api_call", 8)

    profile = monitor.get_profile("a", now=NOW)

    assert 0.5 < profile.entropy_score < 0.6
    assert 0.5 < profile.anomaly_score < 0.7
    assert monitor.level(profile.anomaly_score) == 2
    assert not monitor.is_anomalous("a", now=NOW)


def test_file_operations_alone_never_pass_the_anomalous_threshold():
    monitor = BehavioralMonitor()

    assert monitor.score(10**9, 0, 1.0).value == pytest.approx(0.7)
    assert monitor.level(monitor.score(10**9, 0, 1.0).value) < 3


def test_the_contributions_add_up_to_the_score():
    score = BehavioralMonitor().score(12, 8, 0.55)

    assert sum(score.contributions.values()) == pytest.approx(score.value)


def test_files_and_network_together_with_noise_are_anomalous():
    monitor = BehavioralMonitor()
    for kind in ("file_read", "network_request"):
        record(monitor, kind, 60, metadata={"blob": "".join(map(chr, range(32, 127))) * 3})

    assert monitor.is_anomalous("a", now=NOW)
    assert monitor.get_profile("a", now=NOW).is_anomalous()


# Arguments.


def test_every_argument_changes_what_it_says():
    monitor = BehavioralMonitor(
        file_weight=1.0, network_weight=0.0, entropy_weight=0.0, saturation=3,
        suspicious_threshold=0.2, anomalous_threshold=0.6, window_seconds=30,
    )  # fmt: skip

    assert monitor.score(3, 99, 1.0).value == 1.0
    assert [monitor.level(score) for score in (0.2, 0.21, 0.6, 0.61)] == [1, 2, 2, 3]
    record(monitor, "file_write", 3)
    assert monitor.is_anomalous("a", now=NOW)
    assert monitor.get_profile("a", now=NOW + 32).anomaly_score == 0.0


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *[
            (name, value)
            for name in ("file_weight", "network_weight", "entropy_weight")
            for value in (-0.1, NAN, INF, "x", True, 0.9)
        ],
        *[("saturation", value) for value in (0, -1, 2.5, 10**7, True, "x", NAN)],
        *[
            (name, value)
            for name in ("suspicious_threshold", "anomalous_threshold")
            for value in (-0.1, 1.1, NAN, "x", False)
        ],
        ("suspicious_threshold", 0.8),
        ("anomalous_threshold", 0.4),
        *[("window_seconds", value) for value in (0, -1, NAN, INF, 0.001, "300", True)],
    ],
)
def test_a_bad_argument_is_a_value_error_that_names_it(argument, value):
    with pytest.raises(ValueError, match=argument):
        BehavioralMonitor(**{argument: value})


@pytest.mark.parametrize("window_seconds", [300, 1.0, 0.05, 86_400, 777])
def test_the_window_covers_at_least_the_seconds_asked_for_and_at_most_a_thirtieth_more(window_seconds):
    monitor = BehavioralMonitor(window_seconds=window_seconds)

    assert 0 <= monitor.bucket_us * 30 - window_seconds * 1e6 < 30
    assert monitor.new_window().bucket_us == monitor.bucket_us


def test_equal_settings_have_equal_names_and_others_have_not():
    names = {
        BehavioralMonitor(**arguments).version
        for arguments in ({}, {"saturation": 99}, {"window_seconds": 60}, {"anomalous_threshold": 0.8})
    }

    assert BehavioralMonitor().version == BehavioralMonitor(saturation=100).version
    assert len(names) == 4


# Profiles by id.


def test_an_unknown_agent_has_a_fresh_profile_that_is_not_kept():
    monitor = BehavioralMonitor()

    profile = monitor.get_profile("nobody", now=NOW)

    assert (profile.file_ops_count, profile.network_ops_count, profile.anomaly_score) == (0, 0, 0.0)
    assert profile.last_activity == iso(NOW * 10**6)
    assert monitor.get_profile("nobody", now=NOW) is not profile
    assert not monitor.is_anomalous("nobody", now=NOW)


def test_recording_gives_the_event_and_makes_the_profile():
    monitor = BehavioralMonitor()

    event = monitor.record_event("a", "file_write", TEXT, NOW - 5, now=NOW)

    profile = monitor.get_profile("a", now=NOW)
    assert isinstance(event, BehavioralEvent)
    assert (event.agent_id, event.event_type, event.metadata, event.timestamp) == (
        "a",
        "file_write",
        TEXT,
        iso((NOW - 5) * 10**6),
    )
    assert event.entropy == pytest.approx(profile.entropy_score, abs=1e-9)
    assert event.entropy > 0.4
    assert profile.file_ops_count == 1
    assert profile.last_activity == event.timestamp
    assert monitor.record_event("a", "file_write", TEXT, now=NOW).event_id != event.event_id


def test_the_metadata_of_an_event_are_its_own():
    given = {"a": 1}
    event = BehavioralMonitor().record_event("a", "x", given)
    given["a"] = 2

    assert event.metadata == {"a": 1}
    assert BehavioralMonitor().record_event("a", "x").metadata == {}


def test_only_file_and_network_operations_are_counted_as_such():
    monitor = BehavioralMonitor()
    for kind in (
        "file_read",
        "file_write",
        "file_create",
        "file_delete",
        "network_request",
        "network_response",
        "api_call",
        "shell_exec",
        "odd",
    ):
        record(monitor, kind, 1)

    profile = monitor.get_profile("a", now=NOW)

    assert (profile.file_ops_count, profile.network_ops_count, profile.window.events) == (4, 3, 9)


def test_agents_do_not_share_a_window():
    monitor = BehavioralMonitor()
    record(monitor, "file_write", 5, agent="a")

    assert monitor.get_profile("b", now=NOW).file_ops_count == 0


@pytest.mark.parametrize(
    "timestamp",
    [
        NOW - 10,
        float(NOW - 10),
        (NOW - 10) * 1000,
        iso((NOW - 10) * 10**6),
        datetime.fromtimestamp(NOW - 10, UTC),
        datetime.fromtimestamp(NOW - 10, timezone(timedelta(hours=5))),
        datetime.fromtimestamp(NOW - 10, UTC).replace(tzinfo=None),
    ],
)
def test_times_may_be_given_in_every_usual_form(timestamp):
    monitor = BehavioralMonitor()

    event = monitor.record_event("a", "file_write", TEXT, timestamp, now=NOW)

    assert event.timestamp == iso((NOW - 10) * 10**6)
    assert monitor.get_profile("a", now=NOW).file_ops_count == 1


@pytest.mark.parametrize("timestamp", ["yesterday", "", NAN, INF, True, [], object()])
def test_a_time_that_cannot_be_read_is_a_value_error_and_nothing_is_recorded(timestamp):
    monitor = BehavioralMonitor()

    with pytest.raises(ValueError):
        monitor.record_event("a", "file_write", TEXT, timestamp, now=NOW)
    assert monitor.get_profile("a", now=NOW).window.events == 0


@pytest.mark.parametrize(
    ("agent_id", "event_type", "named"),
    [("", "x", "agent_id"), (None, "x", "agent_id"), ("a", "", "event_type"), ("a", 7, "event_type")],
)
def test_an_event_needs_an_agent_and_a_type(agent_id, event_type, named):
    with pytest.raises(ValueError, match=named):
        BehavioralMonitor().record_event(agent_id, event_type)


# Time.


def test_a_future_event_counts_now_and_leaves_with_now():
    monitor = BehavioralMonitor()
    record(monitor, "file_write", 1, at=NOW + 10**6)

    assert monitor.get_profile("a", now=NOW).file_ops_count == 1
    assert monitor.get_profile("a", now=NOW).last_activity == iso(NOW * 10**6)
    assert monitor.get_profile("a", now=NOW + 311).file_ops_count == 0


def test_an_event_older_than_the_window_does_not_count():
    monitor = BehavioralMonitor()
    record(monitor, "file_write", 1, at=NOW - 311)
    record(monitor, "file_write", 1, at=NOW - 299)

    assert monitor.get_profile("a", now=NOW).file_ops_count == 1


def test_an_old_event_does_not_set_the_last_activity_back():
    monitor = BehavioralMonitor()
    record(monitor, "file_write", 1, at=NOW - 10)
    record(monitor, "file_write", 1, at=NOW - 200)

    assert monitor.get_profile("a", now=NOW).last_activity == iso((NOW - 10) * 10**6)


def test_a_quiet_agent_is_normal_again_after_the_window_without_any_reset():
    monitor = BehavioralMonitor()
    record(monitor, "file_read", 100, metadata={"x": "".join(map(chr, range(32, 127)))})
    record(monitor, "api_call", 100, metadata={"x": "".join(map(chr, range(32, 127)))})

    assert monitor.is_anomalous("a", now=NOW)
    assert monitor.is_anomalous("a", now=NOW + 299)
    assert not monitor.is_anomalous("a", now=NOW + 310)
    assert monitor.get_profile("a", now=NOW + 310).anomaly_score == 0.0


def test_the_injected_clock_is_the_present():
    present = [NOW]
    monitor = BehavioralMonitor(clock=lambda: present[0])
    monitor.record_event("a", "file_write", TEXT)

    assert monitor.get_profile("a").file_ops_count == 1
    present[0] += 320
    assert monitor.get_profile("a").file_ops_count == 0


def test_without_a_clock_the_present_is_the_wall_clock():
    monitor = BehavioralMonitor()
    monitor.record_event("a", "file_write", TEXT)

    assert monitor.get_profile("a").file_ops_count == 1
    assert monitor.get_profile("a", now=datetime.now(UTC) + timedelta(seconds=320)).file_ops_count == 0


def test_a_batch_of_events_equals_one_by_one():
    alone, batched = BehavioralMonitor(), BehavioralMonitor()
    events = [
        alone.record_event(agent, kind, {"n": number}, NOW - number, now=NOW)
        for number, (agent, kind) in enumerate(
            [("a", "file_write"), ("b", "api_call"), ("a", "odd"), ("a", "api_call")]
        )
    ]
    batched.record_events(events, now=NOW)

    for agent in ("a", "b"):
        assert batched.get_profile(agent, now=NOW) == alone.get_profile(agent, now=NOW)


# Reset.


def test_a_reset_empties_one_window_or_all():
    monitor = BehavioralMonitor(clock=lambda: NOW)
    for agent in ("a", "b", "c"):
        record(monitor, "file_write", 20, agent=agent)

    monitor.reset_window("a")
    assert [monitor.get_profile(agent).file_ops_count for agent in "abc"] == [0, 20, 20]
    assert monitor.get_profile("a").anomaly_score == 0.0

    monitor.reset_window()
    assert [monitor.get_profile(agent).file_ops_count for agent in "abc"] == [0, 0, 0]

    monitor.reset_window("nobody")
    record(monitor, "file_write", 1)
    assert monitor.get_profile("a").file_ops_count == 1


def test_history_counts_when_it_is_asked_for_as_of_then():
    monitor = BehavioralMonitor()
    for second in range(20):
        monitor.record_event("a", "file_write", {"n": second}, timestamp=1_700_000_000 + second)

    assert monitor.get_profile("a", now=1_700_000_020).file_ops_count == 20
    assert monitor.get_profile("a").file_ops_count == 0

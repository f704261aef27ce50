"""Events: the public form and the classes."""

import base64
import random
from datetime import UTC, datetime, timedelta

import pytest

from sentineld import BehavioralEvent
from sentineld.event import (
    EVENT_CLASSES,
    FILE,
    FILE_OPERATIONS,
    NETWORK,
    NETWORK_OPERATIONS,
    OPERATION_KIND,
    event_class,
)
from sentineld.instant import parse_iso


def test_an_event_without_a_timestamp_happened_now_in_utc():
    event = BehavioralEvent("e1", "agent", "file_read")

    age = datetime.now(UTC) - datetime.fromisoformat(event.timestamp)
    assert event.timestamp.endswith("Z")
    assert timedelta(0) <= age < timedelta(seconds=5)
    assert (event.entropy, event.metadata) == (0.0, {})


def test_entropy_is_stored_and_returned():
    event = BehavioralEvent("e1", "agent", "file_read", metadata={"a": "bcd"})

    value = event.calculate_entropy()

    # {"a":"bcd"}: eleven bytes, four of them quotation marks, the others once each.
    assert value == event.entropy == pytest.approx((4 / 11 * 1.459432 + 7 / 11 * 3.459432) / 8, abs=1e-6)


def test_events_without_metadata_have_no_entropy():
    assert BehavioralEvent("e1", "agent", "file_read").calculate_entropy() == 0.0


def test_base64_has_more_entropy_than_text():
    text = BehavioralEvent(
        "e1", "a", "x", metadata={"text": "the quick brown fox jumps over the lazy dog " * 9}
    )
    noise = BehavioralEvent(
        "e2", "a", "x", metadata={"blob": base64.b64encode(random.Random(1).randbytes(4000)).decode()}
    )

    assert 0.4 < text.calculate_entropy() < 0.62
    assert 0.7 < noise.calculate_entropy() < 0.8


def test_metadata_is_not_shared_between_events():
    first, second = BehavioralEvent("e1", "a", "x"), BehavioralEvent("e2", "a", "x")
    first.metadata["a"] = 1

    assert second.metadata == {}


def test_operations_are_counted_by_kind_and_unknown_types_are_other():
    assert {name for name, kind in OPERATION_KIND.items() if kind == FILE} == FILE_OPERATIONS
    assert {name for name, kind in OPERATION_KIND.items() if kind == NETWORK} == NETWORK_OPERATIONS
    assert event_class("file_read") == "file_read"
    assert event_class("diagnostic_pulse") == "other"
    assert len(set(EVENT_CLASSES)) == len(EVENT_CLASSES) == 16


def test_the_default_timestamp_reads_back():
    assert parse_iso(BehavioralEvent("e1", "a", "x").timestamp) > 0


def test_an_event_survives_plain_data_and_back():
    event = BehavioralEvent("e1", "a", "file_read", metadata={"path": "x"})
    event.calculate_entropy()

    assert BehavioralEvent.from_dict({**event.to_dict(), "unknown": 1}) == event

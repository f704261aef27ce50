"""Entropy of payloads."""

import base64
import random
from datetime import UTC, datetime

import pytest

from sentineld.entropy import batch_entropy_units, byte_entropy, canonical_json, metadata_entropy

NOISE = random.Random(2).randbytes(20_000)


@pytest.mark.parametrize(
    ("payload", "entropy"),
    [
        (b"", 0.0),
        (b"a", 0.0),
        (b"a" * 9999, 0.0),
        (b"ab", 1 / 8),
        (bytes(range(256)), 1.0),
        (bytes(range(256)) * 20, 1.0),
    ],
)
def test_known_entropies(payload, entropy):
    assert byte_entropy(payload) == pytest.approx(entropy, abs=1e-9)


def test_the_kinds_of_payload_that_the_score_must_tell_apart():
    assert 0.70 < byte_entropy(base64.b64encode(NOISE)) < 0.76
    assert byte_entropy(NOISE) > 0.99


def test_keys_are_sorted_at_every_depth_and_text_is_utf8():
    assert canonical_json({"b": {"d": 1, "c": "é"}, "a": [2]}) == '{"a":[2],"b":{"c":"é","d":1}}'.encode()


def test_the_order_of_members_makes_no_difference():
    assert metadata_entropy({"a": 1, "b": "xyz"}) == metadata_entropy({"b": "xyz", "a": 1})


def deep(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def circle():
    value = {}
    value["me"] = value
    return value


@pytest.mark.parametrize(
    "metadata",
    [
        {"when": datetime(2026, 1, 1, tzinfo=UTC), "what": {1, 2}, "raw": b"\x00\xff", "odd": object},
        {1: "a", (2, 3): "b"},
        {"big": 2**4000, "text": "\ud800"},
        {"not a number": float("nan")},
        circle(),
        deep(100_000),
    ],
)
def test_metadata_that_json_cannot_hold_still_has_an_entropy(metadata):
    assert 0.0 <= metadata_entropy(metadata) <= 1.0


def test_empty_metadata_have_none():
    assert metadata_entropy({}) == 0.0
    assert batch_entropy_units([b"", b""]) == [0, 0]
    assert batch_entropy_units([]) == []


def test_a_long_payload_among_short_ones_stays_in_its_row():
    payloads = [b"ab", NOISE, b"", b"ab" * 3000, "é".encode()]

    assert [units / 1e9 for units in batch_entropy_units(payloads)] == pytest.approx(
        [byte_entropy(item) for item in payloads], abs=1e-9
    )

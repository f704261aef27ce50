"""Instants: what is read as a time, and how it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.instant import MAX_US, MIN_US, from_unix, iso, iso_ms, parse_iso

AT_US = 1_763_858_410_123_456


@pytest.mark.parametrize(
    ("given_value", "microseconds"),
    [
        (1_763_858_410, 1_763_858_410_000_000),
        (1_763_858_410.123456, AT_US),
        (1_763_858_410_123, 1_763_858_410_123_000),
        (AT_US, AT_US),
        (AT_US * 1000 + 789, AT_US),
        (0, 0),
        (-1, -1_000_000),
        (-0.5, -500_000),
        (99_999_999_999, 99_999_999_999_000_000),
        (100_000_000_000, 100_000_000_000_000),
        (10**300, MAX_US),
        (-(10**300), MIN_US),
        (1e300, MAX_US),
    ],
)
def test_the_unit_of_a_unix_time_follows_from_its_magnitude(given_value, microseconds):
    assert from_unix(given_value) == microseconds


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_no_time(value):
    with pytest.raises(ValueError, match="not a point in time"):
        from_unix(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2025-11-23T00:40:10Z", "2025-11-23T00:40:10Z"),
        ("2025-11-23T02:40:10.5+02:00", "2025-11-23T00:40:10.500Z"),
        ("2025-11-23 00:40:10", "2025-11-23T00:40:10Z"),
        ("2025-11-23", "2025-11-23T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
    ],
)
def test_iso_text_is_read_as_utc_and_shown_with_z(text, shown):
    assert iso(parse_iso(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1763858410", "2025-13-01", "2025-11-23T25:00:00", "\ud800", "٢٠٢٥"]
)
def test_text_that_is_no_date_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_iso(text)


@given(st.integers(MIN_US, MAX_US))
def test_what_is_shown_is_read_back(at_us):
    assert parse_iso(iso(at_us)) == at_us
    assert parse_iso(iso_ms(at_us)) == at_us // 1000 * 1000


def test_milliseconds_always_have_three_digits():
    assert iso_ms(1_763_858_410_000_000) == "2025-11-23T00:40:10.000Z"

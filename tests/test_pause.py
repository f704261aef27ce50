"""Pause: scans of many files come rarely, within a bound."""

from hypothesis import given
from hypothesis import strategies as st

from sentineld.pause import CHEAP_US, LONGEST_US, after_scan_us

S = 1_000_000


@given(st.integers(1, 10_000 * S), st.integers(0, 10_000 * S))
def test_a_scan_gets_a_small_share_of_a_core_or_comes_within_the_bound(interval_us, took_us):
    pause_us = after_scan_us(interval_us, took_us)

    assert interval_us <= pause_us <= max(interval_us, LONGEST_US)
    if took_us > CHEAP_US and pause_us < LONGEST_US:
        assert took_us / (took_us + pause_us) <= 0.002


def test_few_files_are_searched_as_often_as_is_configured():
    assert after_scan_us(S // 5, CHEAP_US) == S // 5
    assert after_scan_us(5 * S, 20_000) == 10 * S

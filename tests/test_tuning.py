"""Trying thresholds on judged sessions, and the exact interval of a rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.tuning import (
    WEEK_US,
    History,
    Judged,
    activity_rows,
    best,
    learned_rows,
    parse_wish,
    poisson_interval,
    tier3_rows,
    week_of,
)


def history(ps, weeks=10, known=1000):
    sessions = [Judged("coder", f"s{n}", 0.5, p, known) for n, p in enumerate(ps)]
    return History(sessions, {"coder": weeks}, known={"coder": known})


@pytest.mark.parametrize(
    ("text", "per_week"),
    [("1/week", 1), ("0.5/day", 3.5), (" 2 / months ", 0.46), ("1/Year", 0.0192), (".5/hour", 84)],
)
def test_a_wished_rate_is_read_with_its_unit(text, per_week):
    assert parse_wish(text).per_week == pytest.approx(per_week, rel=0.01)


@pytest.mark.parametrize("text", ["", "1", "week", "0/week", "-1/week", "1/fortnight", "1/week 2", "nan/day"])
def test_what_is_no_rate_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="1/week"):
        parse_wish(text)


def test_the_interval_is_that_of_the_tables():
    # Garwood's table of exact 95 % limits.
    for count, low, high in [(0, 0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.63)]:
        assert poisson_interval(count, 1) == pytest.approx((low, high), rel=1e-3, abs=1e-9)
    assert poisson_interval(3, 10)[1] == pytest.approx(poisson_interval(3, 1)[1] / 10)
    assert poisson_interval(3, 0) == (0.0, math.inf)


@given(st.lists(st.floats(1e-6, 1), max_size=60), st.floats(0.01, 20))
def test_a_stricter_value_never_alarms_more_and_the_proposal_keeps_the_wish(ps, wish):
    rows = learned_rows(history(ps), wish)
    alarms = [row.alarms for row in rows]

    assert alarms == sorted(alarms, reverse=True)
    row, is_kept = best(rows)
    assert is_kept == any(one.is_kept for one in rows)
    if is_kept:
        assert row.per_week <= wish
        assert row.expected <= wish
        assert not any(one.is_kept for one in rows[: rows.index(row)]), "the most watchful one"
    assert all(one.low <= one.per_week <= one.high for one in rows)


def test_a_bound_is_attainable_only_where_every_role_knows_enough_sessions():
    rows = {row.value: row for row in learned_rows(history([0.5] * 40, known=150), 1)}

    assert (rows[0.01].needed, rows[0.01].is_attainable, rows[0.01].ranked) == (99, True, 40)
    assert (rows[0.005].needed, rows[0.005].is_attainable, rows[0.005].ranked) == (199, False, 0)


def test_what_the_bound_allows_counts_though_nothing_happened_yet():
    rows = {row.value: row for row in learned_rows(history([0.5] * 100), 0.6)}

    assert rows[0.1].alarms == 0
    assert rows[0.1].expected == pytest.approx(1.0)
    assert not rows[0.1].is_kept
    assert rows[0.05].is_kept


def test_a_session_that_broke_a_rule_is_told_at_every_rate():
    past = history([1.0] * 50)
    past.sessions[7].rule = "own_guard"

    assert {row.alarms for row in learned_rows(past, 1)} == {1}
    row, is_kept = best(learned_rows(past, 0.01))
    assert (is_kept, row.value) == (False, 0.0002)


def test_thresholds_of_the_activity_score_are_tried_by_the_score():
    past = history([1.0] * 50, weeks=4)
    for number, one in enumerate(past.sessions):
        one.score = number / 50
    rows = activity_rows(past, 1)

    assert [row.alarms for row in rows if row.value in (0.4, 0.9)] == [29, 4]
    assert best(rows)[0].value == 0.9


def test_weeks_begin_on_mondays():
    sunday, monday = 1_767_571_199_000_000, 1_767_571_200_000_000
    assert week_of(monday) == week_of(sunday) + 1
    assert week_of(monday + WEEK_US - 1) == week_of(monday)


def test_tier_3_is_tried_by_ranks_at_each_agents_own_pace_and_by_what_adds_up():
    def rows(ranks, every_us, gap_us=1800 * 10**6):
        sessions = [
            Judged("coder", f"s{n}", 0.5, 1.0, 5000, rank=rank, began_us=n * every_us)
            for n, rank in enumerate(ranks)
        ]
        found = tier3_rows(History(sessions, {"coder": 10}, known={"coder": 5000}), 1.0, 20.0, gap_us)
        return {row.value: row for row in found}

    day_us = WEEK_US // 7
    one_odd = [1.0] * 30 + [0.002] + [1.0] * 30
    slow = rows(one_odd, day_us)
    assert (slow[0.05].alarms, slow[0.02].alarms) == (1, 0)
    assert (slow[0.05].expected, slow[0.05].needed, slow[0.05].is_kept) == (0.05, 399, True)
    assert rows(one_odd, day_us // 40)[0.05].alarms == 0, "it has 280 a week"
    several = [1.0] * 30 + [0.004] * 6 + [1.0] * 30
    assert rows(several, day_us)[0.05].alarms > 0
    assert (
        rows(several, day_us, gap_us=2 * day_us)[0.05].alarms >= rows(several, 60 * 10**6)[0.05].alarms == 0
    )

"""Ranks and e-values: what they promise, and that they keep it."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentineld.calibration import (
    FEW,
    MAX_HEIGHTS,
    MAX_SCORES,
    RANKED_FROM,
    TIE,
    Calibration,
    Scored,
    Tail,
    Where,
    sessions_needed,
)
from sentineld.e_detector import MAX_BLOCK_US, Block, Pace, e_value, threshold
from sentineld.instant import DAY_US, WEEK_US

HEIGHTS = st.sampled_from([0.0, 1.5, 2.25]) | st.floats(0, 50)
SCORES = st.lists(st.floats(0, 100, allow_nan=False), max_size=60)


@given(SCORES, st.floats(0, 100, allow_nan=False))
def test_the_p_value_is_the_share_of_scores_as_high_with_the_new_one_among_them(scores, score):
    as_high = sum(known >= score - TIE for known in scores)

    assert Calibration(scores).p(score) == (1 + as_high) / (1 + len(scores))


@given(SCORES, st.lists(st.floats(0, 300, allow_nan=False), min_size=2, max_size=2))
def test_a_higher_score_is_never_less_unusual_and_beyond_the_highest_it_goes_on(scores, pair):
    calibration = Calibration(scores)
    low, high = sorted(pair)

    for p in (calibration.p, calibration.estimate, calibration.graded):
        assert 0 < p(high) <= p(low) * (1 + 1e-9) <= 1 + 1e-9
    highest = max(scores, default=0.0)
    if highest < low < high - 1e-6 < high < highest + 100:
        assert calibration.graded(high) < calibration.graded(low)


@given(SCORES, SCORES)
def test_scores_that_are_added_one_by_one_are_the_same_as_all_at_once(first, second):
    grown = Calibration(first)
    for score in second:
        grown.add(score)

    whole = Calibration([*first, *second])
    assert grown.scores == whole.scores
    assert [grown.p(score) for score in (0, 1, 50)] == [whole.p(score) for score in (0, 1, 50)]
    assert grown.graded(200.0) == whole.graded(200.0)


def test_the_oldest_scores_go_first():
    calibration = Calibration(float(n) for n in range(MAX_SCORES))
    calibration.add(0.5)

    assert len(calibration) == MAX_SCORES
    assert (calibration.scores[0], calibration.scores[-1]) == (1.0, 0.5)
    assert calibration.p(1.0) == MAX_SCORES / (MAX_SCORES + 1)


SCORED = st.builds(
    lambda familiar, unfamiliar, agent: Scored(max(familiar, unfamiliar, 0.0), familiar, unfamiliar, agent),
    st.just(-1.0) | st.floats(0, 9),
    st.just(-1.0) | st.floats(0, 9),
    st.sampled_from([0, 1, 2]),
)
PLACES = [Where(is_new, is_unfamiliar) for is_new in (False, True) for is_unfamiliar in (False, True)]


@given(st.lists(SCORED, max_size=40), st.lists(SCORED, max_size=40), st.floats(0, 12))
def test_strata_that_grow_and_shrink_are_the_same_as_all_at_once(first, second, score):
    grown = Calibration(first)
    for one in second:
        grown.add(one)
    whole = Calibration([*first, *second])

    assert [grown.p(score, where) for where in PLACES] == [whole.p(score, where) for where in PLACES]
    assert [grown.graded(score, where) for where in PLACES] == [
        whole.graded(score, where) for where in PLACES
    ]
    if second:
        assert grown.discard(second[-1].score)
        rest = [*first, *second]
        del rest[max(place for place, one in enumerate(rest) if one.score == second[-1].score)]
        whole = Calibration(rest)
        assert [grown.p(score, where) for where in PLACES] == [whole.p(score, where) for where in PLACES]


def test_what_happens_while_a_session_is_unfamiliar_ranks_among_its_like():
    odd = [Scored(4.0 + n / 50, 0.1, 4.0 + n / 50, 0) for n in range(FEW - 1)]
    calm = [Scored(0.2, 0.2, -1.0, 0) for _ in range(80)]
    few = Calibration([*odd, *calm])

    assert few.estimate(4.5, Where(False, False)) < 0.01
    assert few.estimate(9.0, Where(False, True)) == 1 / FEW, "too few are known: nothing is estimated"
    many = Calibration([*odd, odd[0], *calm])
    assert many.estimate(4.0, Where(False, True)) > 0.5 > 0.01 > many.estimate(30.0, Where(False, True))
    assert many.graded(9.0, Where(False, True)) < 0.05


def test_agents_that_are_not_new_rank_among_their_like_and_new_ones_among_all():
    new = [Scored(6.0, 6.0, -1.0, 1) for _ in range(RANKED_FROM)]
    known = [Scored(0.5, 0.5, -1.0, 0) for _ in range(FEW)]
    ranks = Calibration([*new[: RANKED_FROM - 1], *known])

    assert ranks.known(Where(False, False)) == FEW
    assert ranks.p(3.0, Where(False, False)) == 1 / (FEW + 1)
    assert ranks.p(3.0, Where(True, False)) == RANKED_FROM / (RANKED_FROM + FEW)
    assert Calibration([*new, *known[1:]]).known(Where(False, False)) == RANKED_FROM + FEW - 1
    assert Calibration([*new, *known]).known(Where(True, False)) == RANKED_FROM


def test_the_bound_holds_for_sessions_that_are_sometimes_unfamiliar():
    # Whoever does new work is odder, and one in five does: of all, and of these, one in a hundred alarms.
    rng = random.Random(11)
    ranks = Calibration()
    alarms = unfamiliar = of_unfamiliar = 0
    for number in range(6000):
        is_new = rng.random() < 0.1
        familiar, later = rng.expovariate(2), -1.0
        if rng.random() < 0.2:
            later = 2 + rng.expovariate(0.5)
        p = ranks.p(familiar, Where(is_new, False))
        if later >= 0:
            p = min(p, ranks.p(later, Where(is_new, True)))
        ranks.add(Scored(max(familiar, later), familiar, later, int(is_new)))
        if number >= 1500:
            alarms += p <= 0.01
            unfamiliar += later >= 0
            of_unfamiliar += later >= 0 and p <= 0.01
    assert alarms / 4500 <= 0.012
    assert of_unfamiliar / unfamiliar <= 0.02


def test_a_session_that_was_an_attack_is_struck_out_once():
    calibration = Calibration([1.0, 2.0, 2.0])

    assert calibration.discard(2.0)
    assert calibration.scores == [1.0, 2.0]
    assert not calibration.discard(7.0)
    assert calibration.p(2.0) == 2 / 3


@pytest.mark.parametrize(("rate", "sessions"), [(0.01, 99), (0.05, 19), (0.0025, 399), (0.5, 1)])
def test_a_rate_needs_so_many_sessions_before_any_score_can_reach_it(rate, sessions):
    assert sessions_needed(rate) == sessions
    assert Calibration([0.0] * sessions).p(1.0) <= rate < Calibration([0.0] * (sessions - 1)).p(1.0)


def test_scores_that_creep_up_by_nothing_are_no_record_each():
    calibration = Calibration()
    lowest = 1.0
    for number in range(1000):
        score = 3.0 + number * 1e-4
        lowest = min(lowest, calibration.p(score)) if number > 500 else lowest
        calibration.add(score)

    assert lowest > 0.5


def test_a_session_longer_than_any_ranks_among_none_and_alarms_nobody():
    short = Calibration([Scored(n / 1000, n / 1000, -1.0, 0, 1) for n in range(1000)])
    short.add(Scored(5.0, 5.0, -1.0, 0, 30))

    assert short.p(9.0, Where(False, False, 1)) < 0.0025
    assert short.judge(9.0, Where(False, False, 2))[:2] == (0.5, 0.5)
    assert short.p(9.0, Where(False, False, 300)) == 1.0


def test_a_session_that_is_a_little_longer_than_usual_still_ranks_among_the_usual():
    usual = Calibration([Scored(n / 1000, n / 1000, -1.0, 0, 8) for n in range(1000)])

    assert usual.p(9.0, Where(False, False, 15)) < 0.0025
    assert usual.p(9.0, Where(False, False, 16)) < 0.0025
    assert usual.p(9.0, Where(False, False, 32)) == 1.0


def test_a_length_that_many_have_makes_estimates_no_coarser():
    mixed = Calibration([Scored(n / 50, n / 50, -1.0, 0, 40 if n % 4 == 0 else 4) for n in range(60)])

    assert mixed.estimate(5.0, Where(False, False, 40)) == mixed.estimate(5.0, Where(False, False, 1))
    assert mixed.p(5.0, Where(False, False, 40)) > mixed.p(5.0, Where(False, False, 1))


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_of_ten_thousand_honest_sessions_no_more_alarm_than_was_promised(rate):
    random.seed(11)
    calibration = Calibration()
    alarms = judged = 0
    for number in range(10_000):
        # Heavy tails and ties, as real sessions have.
        score = float(round(random.paretovariate(1.2), 1))
        if len(calibration) >= sessions_needed(rate):
            judged += 1
            alarms += calibration.p(score) <= rate
        calibration.add(Scored(score, events=1))
        assert len(calibration) == min(number + 1, MAX_SCORES)

    assert alarms / judged <= 1.2 * rate
    assert alarms / judged >= 0.5 * rate


def test_an_e_value_has_mean_one_at_most_and_falls_as_p_grows():
    # Midpoints of equal steps of log p, down to 1e-12, weighed by how much of p they stand for.
    steps = 20_000
    total = last = 0.0
    for n in range(steps):
        low, high = 10 ** (-12 * (n + 1) / steps), 10 ** (-12 * n / steps)
        p = math.sqrt(low * high)
        assert e_value(p) >= last
        last = e_value(p)
        total += last * (high - low)

    assert 0.95 < total <= 1.0001
    assert e_value(1.0) == 0.5


def test_sessions_that_are_a_little_odd_add_up_and_ordinary_ones_do_not():
    limit = threshold(20, 0.05)
    statistic, sessions = 0.0, 0
    while statistic < limit:
        statistic, sessions = Block(evidence=statistic).evidence_with(0.01), sessions + 1

    assert 2 < sessions <= 6
    statistic = 0.0
    for _ in range(1000):
        statistic = Block(evidence=statistic).evidence_with(0.6)
    assert statistic < limit / 10


def test_an_honest_agent_is_demoted_in_no_more_weeks_than_was_promised():
    random.seed(5)
    limit = threshold(20, 0.05)
    alarmed = 0
    for _ in range(1500):
        statistic = 0.0
        for _ in range(20):
            statistic = Block(evidence=statistic).evidence_with(max(random.random(), 1e-12))
            if statistic >= limit:
                alarmed += 1
                break

    assert alarmed / 1500 <= 0.05


def test_sessions_of_one_piece_of_work_are_one_oddity_and_those_of_several_add_up():
    block = Block(evidence=3.0, drift=1.0)
    for _ in range(50):
        evidence, drift = block.evidence_with(0.01), block.drift_with(0.01)
        block.add(0.01)

    assert evidence == pytest.approx(4.0 * e_value(0.01))
    assert drift == pytest.approx(1.0 - math.log(0.01) - 1.5)
    assert Block(evidence=evidence).evidence_with(0.01) > 4 * evidence


def test_a_gap_or_a_day_ends_a_piece_of_work():
    gap_us = 1000
    block = Block(0, 500, 1)

    assert block.holds(1500, gap_us)
    assert not block.holds(1501, gap_us)
    assert not Block(0, MAX_BLOCK_US, 1).holds(MAX_BLOCK_US, gap_us)
    assert not Block().holds(0, gap_us)


@pytest.mark.parametrize("count", [20, 140, 700])
def test_a_pace_is_that_of_a_sliding_week(count):
    pace = Pace()
    for number in range(5 * count):
        at_us = number * WEEK_US // count
        pace.count(at_us)
        if at_us > DAY_US:
            assert count * 0.9 <= pace.per_week(at_us) <= count * 1.3 + 2
    pace.count(at_us + 3 * WEEK_US)
    assert pace.per_week(at_us + 3 * WEEK_US) == 7.0, "who comes back begins anew"


@settings(max_examples=40)
@given(
    st.lists(HEIGHTS, max_size=20),
    st.integers(0, 25),
    st.lists(HEIGHTS, min_size=1, max_size=20),
    st.floats(0, 60),
)
def test_a_tail_that_grew_by_one_session_after_the_other_is_the_one_made_of_all(first, together, more, x):
    grown = Tail(1.0, 8.0, 2.0, first, together)
    for number, height in enumerate(more, 1):
        grown.add(height)
        made = Tail(1.0, 8.0, 2.0, [*first, *more[:number]], min(together, len(first)))
        assert (grown.p(x), grown.excess(x), grown.quantile(0.05)) == (
            made.p(x),
            made.excess(x),
            made.quantile(0.05),
        )


def test_a_tail_forgets_the_oldest_of_equal_heights_first():
    rng = random.Random(5)
    heights = [rng.choice([0.0, 1.5, 1.5, rng.expovariate(0.3)]) for _ in range(MAX_HEIGHTS + 80)]
    grown = Tail(1.0, 8.0, 2.0, heights[: MAX_HEIGHTS - 20], 100)
    for number in range(MAX_HEIGHTS - 20, len(heights)):
        grown.p(1.0)
        grown.add(heights[number])
    made = Tail(1.0, 8.0, 2.0, heights, 100)

    for x in (0.5, 1.5, 1.6, 4.0, 30.0):
        assert (grown.p(x), grown.excess(x)) == (made.p(x), made.excess(x))


@pytest.mark.parametrize(
    ("before", "more"), [(30, 70), (MAX_HEIGHTS - 20, 100), (50, 3 * MAX_HEIGHTS), (9, 5)]
)
def test_a_tail_that_takes_in_many_sessions_together_is_the_one_that_took_them_one_by_one(before, more):
    rng = random.Random(7)
    heights = [rng.choice([0.0, 1.5, 1.5, rng.expovariate(0.3)]) for _ in range(before + more)]
    one_by_one, together = (Tail(1.0, 8.0, 2.0, heights[:before], 20) for _ in range(2))
    assert one_by_one.p(1.0) == together.p(1.0)
    for height in heights[before:]:
        one_by_one.add(height)
    together.extend(heights[before:])

    assert (together.heights, together.together) == (one_by_one.heights, one_by_one.together)
    for x in (0.5, 1.5, 1.6, 4.0, 30.0):
        assert (together.p(x), together.excess(x)) == (one_by_one.p(x), one_by_one.excess(x))


@pytest.mark.parametrize(("before", "more"), [(100, 300), (MAX_SCORES - 100, 400), (9, 5)])
def test_scores_that_come_together_rank_as_those_that_come_one_by_one(before, more):
    rng = random.Random(8)
    scores = [
        Scored(max(pair), *pair, rng.randrange(3))
        for pair in ((rng.choice([-1.0, rng.random()]), rng.expovariate(1.0)) for _ in range(before + more))
    ]
    one_by_one, together = (Calibration(scores[:before], 50) for _ in range(2))
    for score in scores[before:]:
        one_by_one.add(score)
    together.extend(scores[before:])

    assert (together.scored, together.together) == (one_by_one.scored, one_by_one.together)
    for x in (0.1, 0.9, 4.0):
        assert [together.judge(x, where) for where in PLACES] == [
            one_by_one.judge(x, where) for where in PLACES
        ]

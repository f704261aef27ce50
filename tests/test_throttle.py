"""Throttle: which step follows from readings, over time."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sentineld.throttle import (
    AGGRESSIVE,
    MEASURES,
    MODERATE,
    NONE,
    RESOURCES,
    STEPS,
    Pressure,
    Throttle,
    decide,
)

LIMITS = Pressure(40.0, 10.0, 40.0)
HOLD = 10_000_000
PERCENT = st.floats(0, 100)
READINGS = st.builds(Pressure, PERCENT, PERCENT, PERCENT)
#: Readings and how long after the last one each was taken, microseconds.
COURSES = st.lists(st.tuples(READINGS, st.integers(0, 20_000_000)), max_size=40)


def follow(course, limits=LIMITS, hold=HOLD):
    """Yield (reading, instant, throttle before, throttle after)."""
    throttle, now = Throttle(), 0
    for reading, after in course:
        now += after
        before, throttle = throttle, decide(throttle, reading, limits, hold, now)
        yield reading, now, before, throttle


def step_of(reading, limits=LIMITS):
    """Return the step that one reading calls for by itself."""
    ratio = max(value / limit for value, limit in zip(reading, limits, strict=True))
    return AGGRESSIVE if ratio >= 2 else MODERATE if ratio >= 1 else NONE


@given(COURSES)
def test_no_reading_is_answered_by_less_than_it_calls_for(course):
    for reading, _, _, after in follow(course):
        assert after.step >= step_of(reading)


@given(COURSES)
def test_a_step_is_given_back_one_at_a_time_each_after_a_calm_time(course):
    calm_since, changed_at = None, 0
    for reading, now, before, after in follow(course):
        # What would still hold the step that was in force.
        holds = step_of(Pressure(*(2 * value for value in reading))) >= before.step
        calm_since = None if holds else now if calm_since is None else calm_since
        if after.step < before.step:
            assert after.step == before.step - 1
            assert calm_since is not None
            assert now - calm_since >= HOLD
            assert now - changed_at >= HOLD
        if after.step != before.step:
            changed_at = after.since_us
            calm_since = now if after.step < before.step and after.step else None
            assert changed_at == now


@given(COURSES)
def test_a_step_has_causes_and_no_step_has_none(course):
    for _, _, _, after in follow(course):
        assert bool(after.causes) == bool(after.step)
        assert set(after.causes) <= set(RESOURCES)


@given(READINGS, st.integers(1, 10))
def test_calm_ends_every_step_in_two_holds(reading, seconds):
    step = seconds * 1_000_000
    course = [(reading, 0), *[(Pressure(), step)] * (2 * (HOLD // step + 2))]
    *_, (_, _, _, last) = follow(course)
    assert last == Throttle(NONE, (), last.since_us)


@given(COURSES, READINGS)
def test_a_higher_reading_never_eases(course, more):
    """Two courses of which one is nowhere below the other: neither are its steps."""
    higher = [(Pressure(*map(max, reading, more)), after) for reading, after in course]
    for (_, _, _, low), (_, _, _, high) in zip(follow(course), follow(higher), strict=True):
        assert high.step >= low.step


def test_the_strictest_step_is_left_through_the_milder_one():
    course = [(Pressure(io=100), 0), *[(Pressure(), HOLD // 2)] * 6]
    assert [after.name for _, _, _, after in follow(course)] == [
        *["aggressive"] * 3,
        *["moderate"] * 2,
        *["none"] * 2,
    ]


def test_a_reading_around_a_threshold_changes_the_step_once():
    course = [(Pressure(cpu=value), 2_000_000) for value in (39, 41) * 100]
    steps = [after.step for _, _, _, after in follow(course)]
    assert steps == [NONE] + [MODERATE] * 199


def test_the_causes_are_what_calls_for_the_step_now():
    throttle = decide(Throttle(), Pressure(cpu=50), LIMITS, HOLD, 0)
    assert (throttle.name, throttle.causes) == ("moderate", ("cpu",))
    throttle = decide(throttle, Pressure(memory=12), LIMITS, HOLD, 1)
    assert (throttle.name, throttle.causes) == ("moderate", ("memory",))
    throttle = decide(throttle, Pressure(memory=20, io=50), LIMITS, HOLD, 2)
    assert (throttle.name, throttle.causes) == ("aggressive", ("memory",))
    # It is held, though nothing calls for it any more.
    throttle = decide(throttle, Pressure(memory=10), LIMITS, HOLD, 3)
    assert (throttle.name, throttle.causes, throttle.since_us) == ("aggressive", ("memory",), 2)


def test_each_step_does_more_than_the_milder_one_and_the_first_nothing():
    assert len(MEASURES) == len(STEPS)
    assert MEASURES[NONE] == (0.0, 1, 1, 1)
    for mild, strict in pairwise(MEASURES):
        assert all(before < after for before, after in zip(mild, strict, strict=True))


def test_batches_are_smaller_only_where_memory_is_short():
    assert Throttle(AGGRESSIVE, ("cpu", "io")).measures.batches == 1
    assert Throttle(AGGRESSIVE, ("cpu", "memory")).measures.batches == MEASURES[AGGRESSIVE].batches

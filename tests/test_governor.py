"""Governor: rests are short and add up to a bound; pressure is read from files that tests write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.governor import MAX_REST_US, Governor
from sentineld.log import Reporter
from sentineld.options import Duration, ThrottleOptions

SECOND = 1_000_000


def press(directory, **percent):
    for name in ("cpu", "memory", "io"):
        value = percent.get(name, 0.0)
        (directory / name).write_text(f"some avg10={value:.2f} avg60=0.00 avg300=0.00 total=0\n")


def governor_over(directory, **options):
    return Governor(ThrottleOptions(pressure_dir=str(directory), cpu=40.0, **options), Reporter(lambda: 0))


@pytest.fixture
def governor(tmp_path):
    press(tmp_path)
    return governor_over(tmp_path, max_delay=Duration(10), hold=Duration(30))


def test_it_steps_back_at_once_and_forward_after_the_hold(governor, tmp_path):
    assert not governor.look(0)
    press(tmp_path, io=85.0)
    assert not governor.look(1 * SECOND), "it looks every two seconds"
    assert governor.look(2 * SECOND)
    assert governor.document() == {
        "step": "aggressive",
        "causes": ["io"],
        "pressure": {"cpu": 0.0, "memory": 0.0, "io": 85.0},
    }
    press(tmp_path)
    changes = [at for at in range(4, 200, 2) if governor.look(at * SECOND)]
    assert changes == [34, 64]
    assert governor.throttle.name == "none"


def test_another_cause_of_the_same_step_is_news(governor, tmp_path):
    press(tmp_path, cpu=50.0)
    assert governor.look(0)
    assert governor.throttle.measures.batches == 1
    press(tmp_path, cpu=50.0, memory=12.0)
    assert governor.look(2 * SECOND)
    assert governor.throttle.measures.batches == 2
    assert not governor.look(4 * SECOND)


def test_it_does_nothing_once_it_is_switched_off(governor, tmp_path):
    press(tmp_path, cpu=100.0)
    assert governor.look(0)
    governor.configure(ThrottleOptions(enabled=False, pressure_dir=str(tmp_path)))
    assert governor.look(1)
    assert (governor.throttle.name, governor.rest_us(SECOND)) == ("none", 0)


def test_without_pressure_it_never_rests(governor):
    governor.look(0)
    assert governor.rest_us(100 * SECOND) == 0


@given(work=st.lists(st.integers(0, 100 * SECOND), max_size=60), percent=st.sampled_from([45.0, 90.0]))
def test_rests_are_short_and_add_up_to_the_bound_until_all_is_read(tmp_path_factory, work, percent):
    directory = tmp_path_factory.getbasetemp()
    press(directory, cpu=percent)
    governor = governor_over(directory, max_delay=Duration(1))
    governor.look(0)
    total = 0
    for worked_us in work:
        rest_us = governor.rest_us(worked_us)
        assert 0 <= rest_us <= min(MAX_REST_US, 3 * worked_us)
        governor.rested(rest_us)
        total += rest_us
    assert total <= SECOND
    assert total == governor.rested_us
    if sum(min(worked_us, MAX_REST_US) for worked_us in work) >= SECOND:
        assert governor.rest_us(SECOND) == 0
    governor.all_read()
    assert governor.rest_us(SECOND) == MAX_REST_US


def test_a_stricter_step_rests_longer(governor, tmp_path):
    press(tmp_path, cpu=50.0)
    governor.look(0)
    assert governor.rest_us(100_000) == 100_000
    press(tmp_path, cpu=80.0)
    governor.look(2 * SECOND)
    assert governor.rest_us(100_000) == 300_000

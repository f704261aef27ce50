"""Glance: files that are known are looked at soon, a stretch at a time, and not all the time."""

import pytest

from sentineld.glance import Glance


class Clock:
    """A clock that a look at a path moves."""

    def __init__(self) -> None:
        self.now = 0
        self.seen: list[str] = []

    def look(self, path: str) -> None:
        self.seen.append(path)
        self.now += 10


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def glance(clock) -> Glance:
    return Glance(lambda: [f"{n}" for n in range(100)], clock.look, lambda: clock.now)


def test_nothing_is_looked_at_unless_it_is_wanted(clock, glance):
    glance.step(1000)
    assert clock.seen == []
    assert not glance.is_busy


def test_every_path_is_looked_at_once_in_stretches(clock, glance):
    glance.is_wanted = True
    glance.step(300)
    assert len(clock.seen) == 30
    assert glance.is_busy
    glance.step(300)
    glance.step(10_000)
    assert sorted(clock.seen, key=int) == [f"{n}" for n in range(100)]
    assert not glance.is_busy
    assert not glance.is_wanted


def test_what_is_lost_meanwhile_is_for_the_next_one_which_waits(clock, glance):
    glance.is_wanted = True
    glance.step(300)
    glance.is_wanted = True
    glance.step(10_000)
    assert len(clock.seen) == 100
    glance.step(10_000)
    assert len(clock.seen) == 100, "whoever provokes it gets a part of our time"
    clock.now += 4 * 1000
    glance.step(10_000)
    assert len(clock.seen) == 200

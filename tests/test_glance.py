"""Glance: files of which there may be news are looked at soon, a stretch at a time."""

import pytest

from sentineld.glance import MAX_TOLD, Glance, Told


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


def test_what_the_kernel_told_of_is_looked_at_once_in_stretches_the_latest_first(clock):
    told = Told(clock.look, lambda: clock.now)
    assert told.add(["a", "b"])
    assert told.add(["a", "c"])
    told.step(15)
    assert clock.seen == ["c", "a"]
    assert told.is_busy
    told.add(["d"])
    told.step(0)
    told.step(1000)
    assert clock.seen == ["c", "a", "d", "b"]
    assert not told.is_busy


@pytest.mark.parametrize("flood", ["/flood/{}", "/flood/{}/x"])
def test_a_flood_of_paths_delays_those_of_others_by_a_look_for_each(clock, flood):
    told = Told(clock.look, lambda: clock.now, owner=lambda path: 1 + path.startswith("/flood"))
    told.add([f"/calm/{n}" for n in range(10)])
    told.add(flood.format(n) for n in range(MAX_TOLD - 100))
    told.step(10 * 25)
    assert {path for path in clock.seen if "calm" in path} == {f"/calm/{n}" for n in range(10)}

    # Nor are they forgotten where there are too many.
    told.add([f"/calm/{n}" for n in range(10)])
    assert not told.add(flood.format(-n) for n in range(MAX_TOLD))
    clock.seen.clear()
    told.step(10 * 25)
    assert {path for path in clock.seen if "calm" in path} == {f"/calm/{n}" for n in range(10)}


def test_a_flood_in_one_directory_delays_the_others_of_its_owner_as_little(clock):
    told = Told(clock.look, lambda: clock.now)
    told.add(["/calm/a", "/quiet/b"])
    told.add(f"/flood/{n}" for n in range(1000))
    told.step(10 * 6)
    assert {"/calm/a", "/quiet/b"} < set(clock.seen)


def test_more_than_anybody_looks_at_is_left_to_a_scan(clock):
    told = Told(clock.look, lambda: clock.now)
    assert told.add(map(str, range(MAX_TOLD)))
    assert not told.add(["one more"])
    assert not told.is_busy

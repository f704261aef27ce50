"""SIGKILL at random moments of a live daemon: everything counts once, and decisions are the calm run's."""

import random
import signal
import time

import pytest
from harness import (
    AGENTS,
    FLOODING,
    Place,
    assert_invariants,
    assert_sound,
    decisions_of,
)
from live import FLOOD_ROUND, Agents, daemon, events_counted, has_moved, resources, undisturbed, wait_until


def is_ok(place, before):
    """Say whether the present daemon has published that all is well; ``before`` is the last one's word."""
    now = place.state_file.read_bytes()
    return now != before and b'"status":"ok"' in now


def kill_often(directory, seed, kills, package=None):
    """Kill a daemon so often, then let it catch up; check everything on the way and at the end."""
    rng = random.Random(seed)
    place = Place(directory / "place", package)
    agents = Agents(place, rng, 0.05)
    with place.watcher:
        agents.start()
        for _ in range(kills):
            before = events_counted(place)
            with daemon(place) as process:
                moment = rng.random()
                if moment > 0.4:
                    # At work: what is read next after the first batch of this life.
                    wait_until(lambda p=process, n=before: has_moved(place, p, n), "events counted")
                time.sleep(moment / 2)
            assert_sound(place)
        wait_until(lambda: agents.round >= 5 * FLOOD_ROUND or agents.error, "a flood worth tier 3")
        agents.stop()
        total = place.by_agent.total()
        published = place.state_file.read_bytes()
        with daemon(place) as process:
            wait_until(lambda: events_counted(place) >= total, f"{total} events counted")
            # A daemon that counted too much would go on; one that is done publishes so.
            wait_until(lambda: is_ok(place, published), "status ok")
            resident, descriptors, threads = resources(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0, (place.base / "output").read_text()[-2000:]
    assert_invariants(place, reference=decisions_of(undisturbed(place, directory / "calm")))
    assert resident < 256, resident
    assert descriptors < 64, descriptors
    assert threads < 16, threads
    assert agents.rotations >= kills // 3
    assert agents.deleted
    assert (FLOODING, 2, 3) in {decision[:3] for decision in decisions_of(place)}
    return place, agents


def test_four_kills_change_nothing(tmp_path):
    place, _ = kill_often(tmp_path, 4, 4)

    assert set(place.by_agent) == set(AGENTS)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
def test_fifty_kills_change_nothing(tmp_path, seed, record_property):
    place, agents = kill_often(tmp_path, seed, 50)

    figure = f"50 kills, {place.by_agent.total()} events, {agents.rotations} rotations, 0 violations"
    record_property("figure", figure)

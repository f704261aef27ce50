"""Probing: an agent that sees what is decided about it, and uses that to look for the threshold."""

import os
import stat

import pytest
from activity import BY_ACTIVITY

from sentineld.event import FILE, NETWORK, Tick
from sentineld.step import new_state, step

START = 1_763_858_410_000_000
MINUTE = 60_000_000
DAY = 1440 * MINUTE
PRIOR = BY_ACTIVITY.prior()


class Oracle:
    """An agent that is told its tier after every input, by a state file that it can read."""

    def __init__(self) -> None:
        self.now = START
        self.state = new_state(1000, "prober", PRIOR, START)
        self.demotions = 0
        self.restricted_us = 0

    def ask(self, operations: int) -> bool:
        """Do so many operations within a minute; True if that was seen."""
        run = [
            (self.now + n * MINUTE // operations, (FILE, NETWORK)[n % 2], 0, "x", 1, n, None)
            for n in range(operations)
        ]
        self.now += MINUTE
        before = self.state.standing.effective_tier
        self._take([*run, Tick(self.now)])
        return self.state.standing.effective_tier > before

    def wait(self) -> None:
        """Wait for tier 1 and an empty window."""
        began = self.now
        while self.state.standing.effective_tier > 1 or self.state.profile.window.buckets:
            self.now += MINUTE
            self._take([Tick(self.now)])
        if self.state.standing.since_us > began:
            self.restricted_us += self.now - began

    def _take(self, inputs) -> None:
        _, drafts = step(self.state, PRIOR, inputs)
        self.demotions += sum(draft.change.to_tier > draft.change.from_tier for draft in drafts)


def test_each_answer_costs_a_quiet_time_and_being_seen_is_on_record():
    oracle = Oracle()
    low, high = 1, 200
    answers = 0
    while high - low > 1:
        middle = (low + high) // 2
        seen = oracle.ask(middle)
        low, high = (low, middle) if seen else (middle, high)
        answers += seen
        oracle.wait()
    assert answers >= 2, "the threshold was found"
    assert oracle.demotions >= answers
    assert oracle.restricted_us >= answers * PRIOR.policy.quiet_us

    # It goes on asking at the threshold, for a day of its own time.
    began, demotions = oracle.now, oracle.demotions
    while oracle.now < began + DAY:
        oracle.ask(high)
        oracle.wait()
    gained = oracle.demotions - demotions
    assert gained <= DAY // PRIOR.policy.quiet_us, "each time above it costs a quiet time at least"
    assert gained > 10


@pytest.mark.usefixtures("by_activity")
def test_nothing_that_the_daemon_writes_is_open_to_those_outside_of_the_readers_group(place):
    place.telemetry.fill()
    place.telemetry.append("bad.jsonl", b"no json\n")
    old = os.umask(0)
    try:
        place.once()
    finally:
        os.umask(old)
    modes = {
        str(path.relative_to(place.state_dir)): stat.S_IMODE(path.stat().st_mode)
        for path in place.state_dir.rglob("*")
    }
    assert {"state.json", "sentineld.db", "decisions.jsonl", "requests", "rejects"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o007} == {}
    assert modes["state.json"] == 0o640

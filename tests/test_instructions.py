"""The benchmark of instruction counts: what it runs does what it is said to, and a slower path is found."""

import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    for name in ("common", "instructions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import instructions

    return instructions


def test_a_path_that_takes_more_is_told(bench):
    changes = bench.compare({"a": 100, "b": 100}, {"a": 104, "b": 90, "new": 5})
    assert changes == pytest.approx({"a": 0.04, "b": -0.1, "new": 0.0})


def test_every_path_was_recorded(bench):
    recorded = json.loads(bench.RECORDED.read_text())
    assert recorded["instructions"].keys() == bench.PATHS.keys()
    assert recorded["where"].keys() == bench.where().keys()


def test_each_path_does_its_work(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "EVENTS", 100)
    run = bench.PATHS["replay, activity"](tmp_path)
    assert sum(row.tier >= 1 for row in run().store.agents()) == bench.AGENTS
    assert set(bench.PATHS["TierRouter.behavior_tier, 1000 times"](tmp_path)()) == {2}

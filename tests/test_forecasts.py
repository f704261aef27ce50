"""Forecasts come from an engine in a process of its own; whatever it does, nothing else changes."""

import json
import re
import time

import pytest
from schemas import check

from sentineld.forecasts import Asked, ask
from sentineld.options import Duration, PrognosticsOptions
from sentineld.trail import ACTIVITY, Trail

SECOND = 1_000_000
START = 1_767_600_000
ENGINES = """
import math, os, sys, time
from sentineld.prognostics import Forecast

class Good:
    def __init__(self, threshold):
        self.threshold = threshold
    def forecast(self, agent_id, history, horizon_s):
        print("an engine may print what it likes")
        return Forecast(history[-1][1], 0.0, self.threshold, horizon_s, float(len(history)))

class Broken(Good):
    def forecast(self, agent_id, history, horizon_s):
        if agent_id == "a1":
            raise RuntimeError("no model for it")
        return super().forecast(agent_id, history, horizon_s)

class Slow(Good):
    def forecast(self, agent_id, history, horizon_s):
        if agent_id == "a1":
            time.sleep(600)
        return super().forecast(agent_id, history, horizon_s)

class Dying(Good):
    def forecast(self, agent_id, history, horizon_s):
        os.kill(os.getpid(), 11)

class Mad(Good):
    def forecast(self, agent_id, history, horizon_s):
        return Forecast(math.nan, -1.0, 7.0, horizon_s, None)
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    (tmp_path / "someones.py").write_text(ENGINES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda name, patience=60: PrognosticsOptions(
        enabled=True, engine=f"someones:{name}", patience=Duration(patience)
    )


def trail(scores, every=60):
    found = Trail()
    for number, score in enumerate(scores):
        found.add((START + number * every) * SECOND, score, ACTIVITY)
    return found


def asked(count=3, points=10):
    return [Asked(f"a{n}", trail([0.01 * m for m in range(points)]), 0.5) for n in range(count)]


def test_an_engine_gets_the_scores_and_the_threshold_and_its_word_is_told(engine):
    found = ask(engine("Good"), asked())

    assert found.reason == ""
    assert sorted(found.by_agent) == ["a0", "a1", "a2"]
    told = found.by_agent["a0"]
    assert (told.score, told.high, told.horizon_s, told.demotion_in_s) == (0.09, 0.5, 3600.0, 10.0)


@pytest.mark.parametrize(
    ("name", "agents", "words"),
    [
        ("Broken", ["a0", "a2"], "failed for 1 of 3 agents: RuntimeError: no model for it"),
        ("Dying", [], "the engine failed"),
        ("Mad", [], "a forecast is no number from 0 to 1"),
        ("Missing", [], "has no attribute 'Missing'"),
    ],
)
def test_an_engine_that_fails_is_told_once_and_what_it_said_before_counts(engine, name, agents, words):
    found = ask(engine(name), asked())

    assert sorted(found.by_agent) == agents
    assert words in found.reason


def test_a_slow_engine_is_not_waited_for(engine):
    began = time.monotonic()
    found = ask(engine("Slow", patience=2), asked())

    assert time.monotonic() - began < 60
    assert sorted(found.by_agent) == ["a0"]
    assert "2 of 3 agents were not forecast within 2 s" in found.reason


def test_no_process_is_started_for_agents_with_a_short_past(engine):
    assert ask(engine("Missing"), asked(points=5)).reason == ""


def test_without_the_extra_that_is_what_is_said(monkeypatch, tmp_path):
    (tmp_path / "statsmodels.py").write_text("raise ModuleNotFoundError(\"No module named 'statsmodels'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = ask(PrognosticsOptions(enabled=True, patience=Duration(60)), asked())

    assert found.reason == "the extra is not installed: pip install 'sentineld[prognostics]'"


def test_what_lies_in_the_working_directory_is_not_imported(engine, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(tmp_path)

    assert "No module named 'someones'" in ask(engine("Good"), asked()).reason


@pytest.fixture
def rising(place, telemetry):
    """Let an agent do more every minute."""
    now = time.time()
    for minute in range(12):
        telemetry.append(
            "riser.jsonl",
            *[
                telemetry.record("riser", "file_write", now - (12 - minute) * 60 + n, note="x")
                for n in range(1 + minute)
            ],
        )
    return place


@pytest.mark.usefixtures("by_activity")
def test_status_shows_forecasts_where_they_are_enabled_and_is_the_same_without(rising, engine):
    place = rising
    place.once()
    plain = place.json("status")
    check("status", plain)
    config = place.config('[prognostics]\nenabled = true\nengine = "someones:Good"\nhorizon = "10m"\n')
    told = place.json("status", "--config", config)
    check("status", told)
    failing = place.json(
        "status", "--config", place.config('[prognostics]\nenabled = true\nengine = "someones:Dying"\n')
    )
    check("status", failing)

    assert plain["agents"]["riser"]["forecast"] is None
    assert plain["prognostics"] == {"enabled": False, "reason": ""}
    assert told["agents"]["riser"]["forecast"]["horizon_s"] == 600.0
    assert told["prognostics"] == {"enabled": True, "reason": ""}
    assert failing["agents"]["riser"]["forecast"] is None
    assert "failed" in failing["prognostics"]["reason"]
    for document in (told, failing):
        assert document["agents"]["riser"]["tier"] == plain["agents"]["riser"]["tier"]
    config = place.config('[prognostics]\nenabled = true\nengine = "someones:Good"\n')
    text = place.command("status", "--config", config).stdout
    assert "riser: score" in text
    assert re.search(r"a stricter tier \d+ s after it", text)
    telemetry = place.telemetry
    telemetry.append("old.jsonl", *telemetry.normal("old", 60, end=time.time() - 5 * 86_400, every=30.0))
    place.once("--judge-history")
    assert place.json("status", "--config", config)["agents"]["old"]["forecast"] is None, "silent for long"


def test_the_engine_of_the_extra_sees_a_rise_and_calls_nothing_a_demotion_that_is_flat():
    rise = [0.1 + 0.02 * n + 0.004 * (-1) ** n for n in range(15)]
    flat = [0.2 + 0.01 * (-1) ** n for n in range(15)]
    found = ask(
        PrognosticsOptions(enabled=True, horizon=Duration(300), patience=Duration(60)),
        [
            Asked("rise", trail(rise), 0.5),
            Asked("flat", trail(flat), 0.5),
            Asked("still", trail([0.3] * 9), 0.5),
        ],
    )

    assert found.reason == ""
    told = found.by_agent["rise"]
    assert told.low < told.score < told.high
    assert told.score == pytest.approx(0.48, abs=0.02)
    assert told.horizon_s == 300
    assert told.demotion_in_s == pytest.approx(360, abs=60)
    assert found.by_agent["flat"].demotion_in_s is None
    assert found.by_agent["still"].score == pytest.approx(0.3, abs=0.01)
    assert json.dumps([told.low, told.high])

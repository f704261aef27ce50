"""An optional forecaster: asked only on demand, and never in the way."""

import threading

import pytest

from sentineld import BehavioralMonitor
from sentineld.prognostics import Forecast

NOW = 1_700_000_000


class Recorder:
    def __init__(self):
        self.asked = []

    def forecast(self, agent_id, history, horizon_s):
        self.asked.append((agent_id, list(history), horizon_s))
        return Forecast(history[-1][1], 0.0, 1.0, horizon_s)


class Broken:
    def forecast(self, agent_id, history, horizon_s):
        raise RuntimeError("no model")


class Stuck:
    def forecast(self, agent_id, history, horizon_s):
        threading.Event().wait()


def test_an_engine_sees_the_scores_in_order():
    engine = Recorder()
    monitor = BehavioralMonitor(prognostics=engine)
    for second in range(3):
        monitor.record_event("a", "file_write", {}, now=NOW + second)

    forecast = monitor.forecast("a", 60)

    agent_id, history, horizon_s = engine.asked[0]
    assert (agent_id, horizon_s) == ("a", 60)
    assert [at for at, _ in history] == [NOW, NOW + 1, NOW + 2]
    assert [score for _, score in history] == sorted(score for _, score in history)
    assert forecast.score == monitor.get_profile("a", now=NOW + 2).anomaly_score


def test_without_an_engine_there_is_no_forecast():
    assert BehavioralMonitor().forecast("a") is None


def test_a_broken_engine_gives_no_forecast_and_its_error_can_be_read():
    monitor = BehavioralMonitor(prognostics=Broken())
    monitor.record_event("a", "file_write", {})

    assert monitor.forecast("a") is None
    assert str(monitor.forecast_error) == "no model"


@pytest.mark.parametrize("engine", [Broken(), Stuck()])
def test_a_broken_or_stuck_engine_is_not_asked_while_events_are_recorded(engine):
    monitor, plain = BehavioralMonitor(prognostics=engine), BehavioralMonitor()
    for number in range(30):
        monitor.record_event("a", "file_write", {"n": number}, now=NOW)
        plain.record_event("a", "file_write", {"n": number}, now=NOW)

    assert monitor.get_profile("a", now=NOW) == plain.get_profile("a", now=NOW)
    assert monitor.forecast_error is None

"""Forecaster: the process that runs a prognostics engine, and the engine of the extra ``prognostics``.

``python -m sentineld.forecaster ENGINE``: one JSON document on stdin, one line of JSON an agent on stdout, as
soon as it is known. It is a process of its own because an engine is somebody else's code: what it imports,
how long it takes and how it ends touch nobody else. ``forecasts`` starts it.
"""

import importlib
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict

from sentineld.prognostics import Forecast, PrognosticsEngine

#: Points without which nothing is forecast.
MIN_POINTS = 6
#: One minus the coverage of the interval.
_ALPHA = 0.2


class LocalTrend:
    """A random walk with drift under noise, fitted by maximum likelihood (statsmodels).

    Steps are the points of the history, whatever the pauses between them; ``horizon_s`` becomes a number of
    steps by their mean distance, at least one and at most as many as there are points. The interval holds
    80 % under the model. ``threshold`` is the score from which an agent is demoted.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def forecast(
        self, _agent_id: str, history: Sequence[tuple[float, float]], horizon_s: float
    ) -> Forecast | None:
        """Forecast a score; None where the history has fewer than six points."""
        if len(history) < MIN_POINTS:
            return None
        from statsmodels.tsa.statespace.structural import UnobservedComponents

        spacing = max(1.0, (history[-1][0] - history[0][0]) / (len(history) - 1))
        steps = max(1, min(len(history), round(horizon_s / spacing)))
        scores = [score for _, score in history]
        with warnings.catch_warnings():
            # A fit that has not fully converged is told by its interval.
            warnings.simplefilter("ignore")
            fitted = UnobservedComponents(scores, level="local linear deterministic trend").fit(
                disp=0, maxiter=100
            )
            ahead = fitted.get_forecast(len(history))
            means, limits = ahead.predicted_mean, ahead.conf_int(alpha=_ALPHA)
        passing = next((step for step, mean in enumerate(means, 1) if mean > self.threshold), None)
        if scores[-1] > self.threshold:
            passing = 0
        low, high = limits[steps - 1]
        return Forecast(
            _clipped(means[steps - 1]),
            _clipped(low),
            _clipped(high),
            steps * spacing,
            None if passing is None else passing * spacing,
        )


def load_engine(name: str) -> Callable[[float], PrognosticsEngine]:
    """Return what makes an engine for a threshold; ``module:name``, empty for that of the extra."""
    if not name:
        return LocalTrend
    module, _, attribute = name.partition(":")
    made: Callable[[float], PrognosticsEngine] = getattr(importlib.import_module(module), attribute)
    return made


def main(engine: str) -> None:
    """Read what to forecast from stdin; write one line an agent."""
    asked = json.load(sys.stdin)
    make = load_engine(engine)
    if not engine:
        # Where it is missing, that is told once and not for every agent.
        importlib.import_module("statsmodels")
    for agent in asked["agents"]:
        history = [(float(at), float(score)) for at, score in agent["history"]]
        answer: dict[str, object] = {"agent": agent["agent"]}
        try:
            found = make(agent["threshold"]).forecast(agent["agent"], history, asked["horizon_s"])
            answer["forecast"] = None if found is None else asdict(found)
        except Exception as error:  # noqa: BLE001 (somebody else's code: the other agents have theirs)
            answer["error"] = f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _clipped(value: float) -> float:
    return round(min(1.0, max(0.0, float(value))), 6)


if __name__ == "__main__":
    main(sys.argv[1])

"""Prognostics: the protocol of an optional forecaster of scores.

Nothing in sentineld needs one. ``BehavioralMonitor.forecast`` asks the engine that it was given, only
when a caller wants a forecast: an absent, broken or slow engine never delays or changes a decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where an agent's score is heading.

    ``score`` is expected ``horizon_s`` seconds after the last observation, between ``low`` and ``high``
    (0..1); ``demotion_in_s`` is the expected time until the score passes the threshold, None for never.
    """

    score: float
    low: float
    high: float
    horizon_s: float
    demotion_in_s: float | None = None


class PrognosticsEngine(Protocol):
    """Anything that can forecast a score history."""

    def forecast(
        self, agent_id: str, history: Sequence[tuple[float, float]], horizon_s: float
    ) -> Forecast | None:
        """Forecast from ``history``: pairs of (Unix seconds, score 0..1), oldest first; None: cannot say."""

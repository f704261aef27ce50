"""Forecasts: where the scores of agents are heading, asked from an engine in a process of its own.

Nothing waits for it but the command that shows it, and that for a stated time only. An engine that is absent,
fails, answers nonsense or is slow gives no forecast, and a reason that is told once.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from sentineld.clock import now_us
from sentineld.config import Config
from sentineld.forecaster import MIN_POINTS
from sentineld.instant import SECOND_US
from sentineld.options import PrognosticsOptions
from sentineld.prognostics import Forecast
from sentineld.step import load_checked
from sentineld.store import Store
from sentineld.trail import Trail
from sentineld.views import prior_in_force, threshold

#: Output of an engine that is read, bytes.
_MAX_OUTPUT = 8 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    """One agent: its latest scores, and the score above which its tier becomes stricter."""

    agent: str
    trail: Trail
    threshold: float


@dataclass(slots=True)
class Forecasts:
    """What came of it: forecasts by agent, and why there are not more (empty: there are)."""

    by_agent: dict[str, Forecast] = field(default_factory=dict)
    reason: str = ""


def forecast_into(document: dict[str, Any], store: Store, config: Config) -> None:
    """Put forecasts into the document of ``status --json``, the highest scores first.

    Of an agent that has been silent for longer than the horizon, and than twice its usual pause, nothing is
    said.
    """
    prior, agents, now_s = prior_in_force(store, config), document["agents"], now_us() / SECOND_US
    asked = []
    for row in store.agents():
        if row.name not in agents:
            continue
        # One that is damaged is told elsewhere, and has no past.
        with contextlib.suppress(ValueError):
            state = load_checked(row.state, row.owner, row.agent_id, row.tier)
            if _is_heard(state.trail, now_s, config.prognostics.horizon):
                asked.append(Asked(row.name, state.trail, threshold(prior, agents[row.name]["would"])))
    asked.sort(key=lambda one: -agents[one.agent]["score"])
    found = ask(config.prognostics, asked)
    document["prognostics"]["reason"] = found.reason
    for name, forecast in found.by_agent.items():
        agents[name]["forecast"] = asdict(forecast)


def _is_heard(trail: Trail, now_s: float, horizon_s: float) -> bool:
    times = [at for at, _ in trail.points()]
    return len(times) >= MIN_POINTS and now_s - times[-1] <= max(
        horizon_s, 2 * (times[-1] - times[0]) / (len(times) - 1)
    )


def ask(prognostics: PrognosticsOptions, agents: Sequence[Asked]) -> Forecasts:
    """Ask for forecasts of agents, the most important first; never raises, and takes ``patience`` at most."""
    asked = [one for one in agents if len(list(one.trail.points())) >= MIN_POINTS]
    if not asked:
        return Forecasts()
    document = {
        "horizon_s": float(prognostics.horizon),
        "agents": [
            {"agent": one.agent, "threshold": one.threshold, "history": list(one.trail.points())}
            for one in asked
        ],
    }
    # -P: what lies in the working directory is imported by nobody.
    command = [sys.executable, "-P", "-m", "sentineld.forecaster", prognostics.engine]
    is_late = False
    try:
        with subprocess.Popen(  # noqa: S603 (the operator names the engine)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        ) as process:
            try:
                out, err = process.communicate(
                    json.dumps(document).encode(), timeout=float(prognostics.patience)
                )
            except subprocess.TimeoutExpired:
                is_late = True
                process.kill()
                out, err = process.communicate()
    except OSError as error:
        return Forecasts(reason=f"the engine cannot be started: {error.strerror or error}")
    found, failures, answered = _read(out[:_MAX_OUTPUT], {one.agent for one in asked})
    return Forecasts(found, _reason(prognostics, err, failures, answered, len(asked), is_late=is_late))


def _read(out: bytes, names: set[str]) -> tuple[dict[str, Forecast], list[str], int]:
    found: dict[str, Forecast] = {}
    failures, answered = [], 0
    for line in out.splitlines():
        try:
            answer = msgspec.convert(json.loads(line), dict[str, Any])
            forecast = answer.get("forecast")
            value = None if forecast is None else msgspec.convert(forecast, Forecast)
        except (ValueError, RecursionError):
            # The engine printed something itself, or its last line was cut off.
            continue
        if answer.get("agent") not in names:
            continue
        answered += 1
        if "error" in answer:
            failures.append(str(answer["error"]))
        elif value is not None and _is_sane(value):
            found[answer["agent"]] = value
        elif value is not None:
            failures.append("a forecast is no number from 0 to 1")
    return found, failures, answered


def _is_sane(forecast: Forecast) -> bool:
    numbers = (forecast.low, forecast.score, forecast.high)
    times = (forecast.horizon_s, forecast.demotion_in_s or 0.0)
    return all(0.0 <= one <= 1.0 for one in numbers) and all(math.isfinite(one) and one >= 0 for one in times)


def _reason(
    prognostics: PrognosticsOptions,
    err: bytes,
    failures: list[str],
    answered: int,
    asked: int,
    *,
    is_late: bool,
) -> str:
    if is_late:
        return (
            f"{asked - answered} of {asked} agents were not forecast within "
            f"{float(prognostics.patience):g} s (prognostics.patience)"
        )
    if failures:
        return f"the engine failed for {len(failures)} of {asked} agents: {failures[0][:200]}"
    if answered < asked:
        said = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it ended early"]
        if not prognostics.engine and "No module named 'statsmodels'" in said[0]:
            return "the extra is not installed: pip install 'sentineld[prognostics]'"
        return f"the engine failed: {said[0][:200]}"
    return ""

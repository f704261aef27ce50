"""From outcomes to figures, and figures to text. Figures are plain data, ready for JSON."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from .experiments import Campaign, Results, Volume
from .metrics import auc, binomial_interval, bootstrap, macro, poisson_interval, threshold, tpr
from .protocol import Cost

Figures = dict[str, Any]


def quality(results: Results, rounds: int) -> Figures:
    """Return AUC, TPR at 1 % and 5 % FPR with bootstrap intervals over tasks, delays, and realised rates."""
    benign, attacks = results.benign, results.attacks
    peaks = np.asarray([outcome.peak for outcome in (*benign, *attacks)])
    split = len(benign)
    tasks = [f"{outcome.suite}|{outcome.task}" for outcome in (*benign, *attacks)]
    suites = sorted({outcome.suite for outcome in attacks})
    suite_of = np.asarray([suites.index(o.suite) if o.suite in suites else -1 for o in (*benign, *attacks)])

    def over(figure: Any) -> Any:
        return lambda chosen: figure(peaks[chosen[chosen < split]], peaks[chosen[chosen >= split]])

    def macro_auc(chosen: np.ndarray) -> float:
        low, high = chosen[chosen < split], chosen[chosen >= split]
        return macro(
            [
                auc(peaks[low[suite_of[low] == number]], peaks[high[suite_of[high] == number]])
                for number in range(len(suites))
            ]
        )

    every = np.arange(len(peaks))
    figures: Figures = {"benign": len(benign), "attacks": len(attacks)}
    for name, figure in {
        "auc": over(auc),
        "macro_auc": macro_auc,
        "tpr_1": over(lambda low, high: tpr(low, high, 0.01)),
        "tpr_5": over(lambda low, high: tpr(low, high, 0.05)),
    }.items():
        figures[name] = figure(every)
        figures[f"{name}_interval"] = bootstrap(tasks, figure, rounds)
    limit = threshold([outcome.peak for outcome in benign], 0.05)
    figures |= _delays([delay for o in attacks if (delay := o.delay_at(limit)) is not None])
    for percent in (1, 5):
        alpha = percent / 100
        count = sum(outcome.p <= alpha for outcome in benign)
        figures[f"realised_{percent}"] = count / max(1, len(benign))
        figures[f"realised_{percent}_interval"] = binomial_interval(count, len(benign))
        figures[f"recall_{percent}"] = sum(o.p <= alpha for o in attacks) / max(1, len(attacks))
    figures |= reached(results)
    figures["kinds"] = kinds(results)
    figures |= cost(results.cost)
    return figures


def reached(results: Results) -> Figures:
    """Return what share reached which tier at the method's own defaults, and how soon."""
    if not any(outcome.tiers for outcome in results.benign):
        return {}
    benign, attacks = results.benign, results.attacks
    figures: Figures = {}
    for tier in (2, 3):
        false = sum(outcome.tier >= tier for outcome in benign)
        figures[f"false_tier_{tier}"] = false / max(1, len(benign))
        figures[f"false_tier_{tier}_interval"] = binomial_interval(false, len(benign))
        figures[f"hit_tier_{tier}"] = sum(outcome.tier >= tier for outcome in attacks) / max(1, len(attacks))
        delays = [delay for o in attacks if (delay := o.delay_to_tier(tier)) is not None]
        figures[f"tier_{tier}"] = _delays(delays)
    ruled = [outcome for outcome in attacks if outcome.rule]
    if ruled:
        figures["rule_kinds_tier_3"] = sum(outcome.tier >= 3 for outcome in ruled) / len(ruled)
    return figures


def _delays(delays: Sequence[int]) -> Figures:
    """``early`` is the share of alarms that came before the first malicious event: luck, not detection."""
    after = [delay for delay in delays if delay >= 0]
    return {
        "median_delay": statistics.median(after) if after else None,
        "within_1": sum(delay <= 1 for delay in after) / len(after) if after else None,
        "early": sum(delay < 0 for delay in delays) / len(delays) if delays else 0.0,
    }


def kinds(results: Results) -> Figures:
    """Return per kind of attack the share above the 5 % threshold and the share that reached each tier."""
    limit = threshold([outcome.peak for outcome in results.benign], 0.05)
    told: Figures = {}
    for kind in sorted({outcome.kind for outcome in results.attacks}):
        own = [outcome for outcome in results.attacks if outcome.kind == kind]
        told[kind] = {
            "cases": len(own),
            "above_5": sum(outcome.peak > limit for outcome in own) / len(own),
            "p_5": sum(outcome.p <= 0.05 for outcome in own) / len(own),
            "tier_2": sum(outcome.tier >= 2 for outcome in own) / len(own),
            "tier_3": sum(outcome.tier >= 3 for outcome in own) / len(own),
        }
    return told


def demotions(results: Results, weeks: int) -> Figures:
    """Return false demotions per agent-week with exact Poisson intervals.

    Without tiers of its own a method's conformal alarms at 5 % stand for tier 2 (1 % takes 99 sessions).
    """
    own = any(outcome.tiers for outcome in results.benign)
    figures: Figures = {"agent_weeks": weeks, "own_tiers": own}
    for tier in (2, 3):
        if own:
            alarmed = [outcome for outcome in results.benign if outcome.tier >= tier]
        else:
            alarmed = [outcome for outcome in results.benign if outcome.p <= 0.05] if tier == 2 else []
        figures[f"tier_{tier}"] = len(alarmed)
        figures[f"tier_{tier}_per_week"] = len(alarmed) / weeks
        figures[f"tier_{tier}_interval"] = poisson_interval(len(alarmed), weeks)
        figures[f"tier_{tier}_sessions"] = sorted(f"{outcome.agent}/{outcome.session}" for outcome in alarmed)
    return figures


def campaign_figures(told: Sequence[Campaign]) -> Figures:
    """Return per kind the share of campaigns seen, and the session (1..) in which the median one was."""
    figures: Figures = {}
    for kind in sorted({campaign.kind for campaign in told}):
        own = [campaign for campaign in told if campaign.kind == kind]
        figures[kind] = {"campaigns": len(own)}
        for name, is_seen in {
            "p_1": lambda outcome: outcome.p <= 0.01,
            "p_5": lambda outcome: outcome.p <= 0.05,
            "tier_2": lambda outcome: outcome.tier >= 2,
            "tier_3": lambda outcome: outcome.tier >= 3,
        }.items():
            at = [
                next((number for number, outcome in enumerate(c.outcomes, 1) if is_seen(outcome)), None)
                for c in own
            ]
            seen = [number for number in at if number is not None]
            figures[kind][name] = len(seen) / len(own)
            figures[kind][f"{name}_session"] = statistics.median(seen) if seen else None
    return figures


def volume_figures(told: Sequence[Volume]) -> Figures:
    """Return per rate the AUC against equally busy honest sessions, and against the busiest honest ones."""
    busiest = [outcome.peak for outcome in told[-1].benign]
    figures: Figures = {}
    for volume in told:
        benign = [outcome.peak for outcome in volume.benign]
        attacks = [outcome.peak for outcome in volume.attacks]
        row: Figures = {
            "auc": auc(benign, attacks),
            "auc_against_busiest": auc(busiest, attacks),
            "false_1": sum(outcome.p <= 0.01 for outcome in volume.benign) / len(benign),
        }
        if any(outcome.tiers for outcome in volume.benign):
            row["false_tier_2"] = sum(outcome.tier >= 2 for outcome in volume.benign) / len(benign)
            row["false_tier_3"] = sum(outcome.tier >= 3 for outcome in volume.benign) / len(benign)
            row["hit_tier_2"] = sum(outcome.tier >= 2 for outcome in volume.attacks) / len(attacks)
        figures[str(volume.rate)] = row
    return figures


def cost(spent: Cost) -> Figures:
    """Return CPU microseconds per event."""
    return {
        "score_us": spent.scored_s / max(1, spent.scored_events) * 1e6,
        "learn_us": spent.learned_s / max(1, spent.learned_events) * 1e6,
        "scored_events": spent.scored_events,
    }


def text(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table: first column left, others right."""
    cells = [list(head), *([_shown(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        low, high = value
        return f"{_shown(low)}..{_shown(high)}"
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def show(results: Results, count: int) -> str:
    """List the benign sessions that score highest and the attacks that score lowest, for a look by eye."""
    worst = sorted(results.benign, key=lambda outcome: (-outcome.tier, -outcome.peak))[:count]
    missed = sorted(results.attacks, key=lambda outcome: (outcome.tier, outcome.peak))[:count]
    rows = [
        [
            outcome.kind or "benign",
            outcome.agent,
            outcome.session if outcome.task == outcome.session else f"{outcome.task} {outcome.session}",
            outcome.peak,
            outcome.scores.index(outcome.peak),
            outcome.first if outcome.first >= 0 else None,
            outcome.p,
            outcome.tier,
        ]
        for outcome in (*worst, *missed)
    ]
    return text(["kind", "agent", "session", "peak", "at event", "malicious from", "p", "tier"], rows)

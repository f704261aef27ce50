"""The command: which methods, which experiments, and the tables."""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import baselines, experiments, peers, short, simulate, tables
from .protocol import Factory
from .sessions import AgentDojo, agent_weeks, agentdojo_truth, cache_directory, real_path, real_sessions

RESULTS = Path(__file__).parent.parent / "results"
#: With ``-asked``: the same with the users' prompts, for methods that read them.
EXPERIMENTS = (
    "recurring", "recurring-asked", "shared", "novel", "novel-asked", "real", "real-divided", "day-one",
    "volume", "campaigns", "short-sessions",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for; print tables and write ``results/detection.json``."""
    options = _options(arguments)
    methods = _methods(options)
    only = options.only or list(EXPERIMENTS)
    dojo_truth = (
        agentdojo_truth(Path(options.cache))
        if set(only) - {"real", "real-divided", "day-one", "campaigns", "short-sessions"}
        else None
    )
    path = real_path(options.data)
    sessions = real_sessions(path) if path else []
    if not sessions:
        print("no real sessions: --data or SENTINELD_BENCH_DATA names them; those experiments are left out")
    everything: dict[str, Any] = {name: {} for name in only}
    for name, factory in methods:
        for experiment in only:
            start = time.process_time()
            figures = _run(experiment, factory, dojo_truth, sessions, options)
            if figures is None:
                continue
            figures["cpu_s"] = time.process_time() - start
            everything[experiment][name] = figures
            print(f"  {name}: {experiment} {figures['cpu_s']:.1f} s", file=sys.stderr, flush=True)
    _print(everything)
    if options.peers and sessions:
        everything["peers"] = _peers(sessions, methods, options.variants)
    if options.bounds:
        everything["bounds"] = _bounds(options)
    if options.json:
        print(json.dumps(everything, indent=1, default=str))
    RESULTS.mkdir(exist_ok=True)
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": sys.version,
        "quick": options.quick,
    }
    (RESULTS / "detection.json").write_text(json.dumps(everything | {"run": machine}, indent=1, default=str))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/detection.py", description="Detection quality of methods, side by side."
    )
    parser.add_argument(
        "--method", action="append", default=[], metavar="MODULE:CLASS", help="a method to score"
    )
    parser.add_argument("--no-baselines", action="store_true", help="leave out the activity score and stide")
    parser.add_argument("--heavy", action="store_true", help="add Half-Space Trees and Isolation Forest")
    parser.add_argument(
        "--peers", action="store_true", help="head to head with other tools ($SENTINELD_BENCH_PEERS)"
    )
    parser.add_argument("--bounds", action="store_true", help="simulate the false-alarm bounds")
    parser.add_argument(
        "--calibration", metavar="MODULE:CLASS", help="ranks to simulate instead of the bench's own"
    )
    parser.add_argument("--e-detector", metavar="MODULE:CLASS", help="e-detector to simulate")
    parser.add_argument("--chance", action="store_true", help="add a method that guesses")
    parser.add_argument("--quick", action="store_true", help="a third of the hijacks, two folds, fewer forms")
    parser.add_argument(
        "--only", action="append", choices=EXPERIMENTS, help="run this experiment; repeatable"
    )
    parser.add_argument("--variants", type=int, help="cases per kind of attack (8; 3 with --quick)")
    parser.add_argument("--rounds", type=int, help="bootstrap rounds (300; 60 with --quick)")
    parser.add_argument("--data", metavar="PATH", help="real sessions (default: $SENTINELD_BENCH_DATA)")
    parser.add_argument("--cache", default=str(cache_directory()), help="where generated data is kept")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="list the N worst cases of each kind"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON too")
    options = parser.parse_args(arguments)
    options.variants = options.variants or (3 if options.quick else 8)
    options.rounds = options.rounds or (60 if options.quick else 300)
    return options


def _methods(options: argparse.Namespace) -> list[tuple[str, Factory]]:
    chosen: list[Callable[[], Any]] = [_named(spelled) for spelled in options.method]
    if not options.no_baselines:
        chosen += baselines.LIGHT
    if options.heavy:
        chosen += baselines.HEAVY
    if options.chance:
        chosen.append(baselines.Random)
    return [(getattr(factory, "name", factory.__name__), factory) for factory in chosen]


def _named(spelled: str) -> Any:
    sys.path.insert(0, os.getcwd())
    module, _, name = spelled.partition(":")
    return getattr(importlib.import_module(module), name)


def _peers(sessions: list[Any], methods: list[tuple[str, Factory]], variants: int) -> dict[str, Any]:
    told = peers.head_to_head(sessions, variants)
    for name, factory in methods:
        if hasattr(factory, "judge") or hasattr(factory, "tiers"):
            results = experiments.real(sessions, factory, variants)
            for tier in (2, 3):
                told[f"{name}, tier {tier}"] = peers.of_outcomes(results, tier)
    print("\n== head to head, each by its own default alarms; intervals: exact, 95 %")
    keys = ("benign", "alarmed", "alarmed_interval", "kinds", "kinds_hit", "attacks", "attacks_hit")
    print(
        tables.text(
            ["tool", "version", *keys],
            [
                [
                    name,
                    "not installed" if "missing" in row else row.get("version"),
                    *(row.get(key) for key in keys),
                ]
                for name, row in told.items()
            ],
        )
    )
    return told


def _bounds(options: argparse.Namespace) -> dict[str, Any]:
    ranks = _named(options.calibration) if options.calibration else simulate.Conformal
    detector = _named(options.e_detector) if options.e_detector else simulate.ShiryaevRoberts
    told = {"calibration": simulate.calibration(ranks), "weeks": simulate.weeks(detector, ranks)}
    print(f"\n== bounds: {simulate.SESSIONS:,} simulated sessions, realised against nominal false-alarm rate")
    print(
        tables.text(
            ["scores", "at 1 %", "ratio", "95%", "at 5 %", "ratio", "95%"],
            [
                [shape, *(value for nominal in ("1%", "5%") for value in by_rate[nominal].values())]
                for shape, by_rate in told["calibration"].items()
            ],
        )
    )
    print(f"\n{simulate.WEEKS:,} weeks of {simulate.SESSIONS_A_WEEK} sessions, bound {simulate.BOUND}")
    rows = [
        [f"{size} to begin with", *row.values()]
        for size, row in told["weeks"].items()
        if isinstance(row, dict)
    ]
    print(tables.text(["calibration", "false weeks", "95%", "seen after 1", "after 3", "after 5"], rows))
    return told


def _run(
    experiment: str, factory: Factory, truth: Any, sessions: list[Any], options: argparse.Namespace
) -> dict[str, Any] | None:
    share = 1 / 3 if options.quick else 1.0
    kind = experiment.removesuffix("-asked")
    if kind != experiment and not getattr(factory, "reads_prompts", False):
        return None
    if kind in ("recurring", "shared", "novel"):
        data = AgentDojo(truth, shared=kind == "shared", asked=kind != experiment)
        results = experiments.agentdojo(data, factory, novel=kind == "novel", share=share)
        _show(factory, experiment, results, options)
        return tables.quality(results, options.rounds)
    if experiment == "volume":
        rates = (1, 10, 40) if options.quick else experiments.BUSY_RATES
        data = AgentDojo(truth)
        return {
            "rates": tables.volume_figures(experiments.volume(data, factory, rates)),
            "rush": tables.campaign_figures(experiments.rush(data, factory, runs=6 if options.quick else 12)),
        }
    if experiment == "short-sessions":
        return short.short(factory, seeds=1 if options.quick else 2)
    if not sessions:
        return None
    if experiment == "real":
        results = experiments.real(sessions, factory, options.variants)
        _show(factory, experiment, results, options)
        figures = tables.quality(_warm(results, sessions), options.rounds)
        figures["demotions"] = tables.demotions(results, agent_weeks(sessions))
        figures["state_bytes"] = experiments.state_bytes(sessions, factory)
        return figures
    if experiment == "real-divided":
        results = experiments.real(sessions, factory, options.variants, is_divided=True)
        _show(factory, experiment, results, options)
        return tables.quality(_warm(results, sessions), options.rounds)
    if experiment == "day-one":
        figures = {}
        for start in experiments.STARTS:
            variants = max(1, options.variants // 3)
            results = experiments.day_one(sessions, factory, variants, start)
            _show(factory, f"day one, {start}", results, options)
            figures[start] = tables.quality(results, options.rounds)
            own = {outcome.session for outcome in results.benign}
            weeks = agent_weeks([session for session in sessions if session.id in own])
            figures[start]["demotions"] = tables.demotions(results, weeks)
        return figures
    return tables.campaign_figures(
        experiments.campaigns(sessions, factory, per_kind=4 if options.quick else 12)
    )


def _show(
    factory: Factory, experiment: str, results: experiments.Results, options: argparse.Namespace
) -> None:
    if options.show:
        print(
            f"\n-- {getattr(factory, 'name', factory)}: {experiment}: worst benign, then least of the hijacks"
        )
        print(tables.show(results, options.show))


def _warm(results: experiments.Results, sessions: list[Any]) -> experiments.Results:
    """Compare hijacks with the sessions that they were spliced into, and their like."""
    warm = {session.id for session in experiments.warm_sessions(sessions)}
    benign = [outcome for outcome in results.benign if outcome.session in warm]
    return experiments.Results(benign, results.attacks, results.cost)


_QUALITY = (
    "auc", "auc_interval", "macro_auc", "tpr_1", "tpr_1_interval", "tpr_5", "tpr_5_interval", "median_delay",
    "within_1", "early", "realised_1", "realised_5", "recall_1", "score_us", "learn_us",
)  # fmt: skip
_TIERS = (
    "false_tier_2", "false_tier_2_interval", "false_tier_3", "hit_tier_2", "hit_tier_3", "rule_kinds_tier_3",
)  # fmt: skip


def _print(everything: dict[str, Any]) -> None:
    for experiment, by_method in everything.items():
        if not by_method:
            continue
        print(f"\n== {experiment}")
        if experiment.removesuffix("-asked") in ("recurring", "shared", "novel", "real", "real-divided"):
            _quality_table(by_method)
        if experiment == "real":
            _demotion_table(by_method)
            for name, figures in by_method.items():
                if figures["state_bytes"] is not None:
                    print(
                        f"\n{name}: {figures['state_bytes']:,} bytes of state for an agent of 10,000 events"
                    )
            _kind_table(by_method)
        elif experiment == "day-one":
            flat = {
                f"{name} ({start})": figures
                for name, both in by_method.items()
                for start, figures in both.items()
                if start != "cpu_s"
            }
            _quality_table(flat)
            _demotion_table(flat)
        elif experiment == "volume":
            _volume_table(by_method)
        elif experiment == "campaigns":
            _campaign_table(by_method)
        elif experiment == "short-sessions":
            _short_table(by_method)


def _quality_table(by_method: dict[str, Any]) -> None:
    one = next(iter(by_method.values()))
    print(
        f"{one['benign']} benign, {one['attacks']} hijacked sessions; intervals: 95 %, bootstrap over tasks"
    )
    rows = [[name, *(figures[key] for key in _QUALITY)] for name, figures in by_method.items()]
    print(tables.text(["method", *(key.replace("_interval", " 95%") for key in _QUALITY)], rows))
    rows = [
        [
            name,
            *(figures.get(key) for key in _TIERS),
            *(figures[tier][what] for tier in ("tier_2", "tier_3") for what in ("median_delay", "early")),
        ]
        for name, figures in by_method.items()
        if "hit_tier_2" in figures
    ]
    if rows:
        print("\nat the method's own defaults, share of sessions:")
        print(tables.text(["method", *_TIERS, "delay to 2", "early", "delay to 3", "early"], rows))


def _demotion_table(by_method: dict[str, Any]) -> None:
    rows = []
    for name, figures in by_method.items():
        told = figures["demotions"]
        rows.append(
            [
                name + ("" if told["own_tiers"] else " (conformal 5 %)"),
                told["agent_weeks"],
                *(told[f"tier_{tier}{what}"] for tier in (2, 3) for what in ("", "_per_week", "_interval")),
            ]
        )
    print("\nfalse demotions on benign sessions, exact Poisson intervals:")
    head = ["method", "weeks", "tier 2", "a week", "95%", "tier 3", "a week", "95%"]
    print(tables.text(head, rows))


def _kind_table(by_method: dict[str, Any]) -> None:
    kinds = sorted({kind for figures in by_method.values() for kind in figures["kinds"]})
    head = ["kind, share above the 5 % threshold / tier 2 / tier 3", *by_method]
    rows = [
        [
            kind,
            *(
                "{above_5:.2f} / {tier_2:.2f} / {tier_3:.2f}".format(**figures["kinds"][kind])
                for figures in by_method.values()
            ),
        ]
        for kind in kinds
    ]
    print()
    print(tables.text(head, rows))


def _volume_table(by_method: dict[str, Any]) -> None:
    rates = list(next(iter(by_method.values()))["rates"])
    for key in ("auc", "auc_against_busiest", "false_1", "false_tier_2", "hit_tier_2"):
        rows = [
            [name, *(figures["rates"][rate].get(key) for rate in rates)]
            for name, figures in by_method.items()
        ]
        rows = [row for row in rows if any(value is not None for value in row[1:])]
        if rows:
            print(tables.text([f"{key} at sessions per 5 min", *rates], rows), end="\n\n")
    print("ten times its own rate, ten sessions: share of runs with an alarm, and in which session")
    rows = [
        [name, kind, told["p_1"], told["p_5"], told["p_5_session"], told["tier_2"], told["tier_3"]]
        for name, figures in by_method.items()
        for kind, told in figures["rush"].items()
    ]
    print(tables.text(["method", "pace", "p<=1 %", "p<=5 %", "session", "tier 2", "tier 3"], rows))


def _short_table(by_method: dict[str, Any]) -> None:
    keys = ("sessions", "tier_2", "tier_3", "weeks", "weeks_tier_3", "weeks_tier_3_interval")
    rows = [
        [name, length, *(row[key] for key in keys)]
        for name, told in by_method.items()
        for length, row in told.items()
        if length != "cpu_s"
    ]
    print("share of honest sessions at tier 2 or 3, at tier 3, and of agent-weeks at tier 3:")
    print(tables.text(["method", "sessions of", *keys[:-1], "95%"], rows))


def _campaign_table(by_method: dict[str, Any]) -> None:
    rows = [
        [
            name,
            kind,
            told["campaigns"],
            told["p_1"],
            told["p_5"],
            told["p_5_session"],
            told["tier_2"],
            told["tier_3"],
        ]
        for name, figures in by_method.items()
        for kind, told in figures.items()
        if kind != "cpu_s"
    ]
    print(
        tables.text(["method", "kind", "campaigns", "p<=1 %", "p<=5 %", "session", "tier 2", "tier 3"], rows)
    )

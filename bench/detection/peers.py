"""Head to head: what other tools alarm on, by their own defaults, on the same sessions and attacks."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .attacks import cases
from .experiments import Results, warm_sessions
from .metrics import binomial_interval
from .protocol import Session

#: Interpreters in which peers are installed, separated by the system's path separator.
VARIABLE = "SENTINELD_BENCH_PEERS"
PEERS = ("AgentWatch", "ranwhat", "agentomaly", "aktov")


def head_to_head(sessions: Sequence[Session], variants: int) -> dict[str, Any]:
    """Return per peer what it alarmed on, or ``missing`` where no interpreter has it.

    The earlier half of the sessions is the history that a learning peer may learn from; such a peer is
    judged on the other half only.
    """
    interpreters = [item for item in os.environ.get(VARIABLE, sys.executable).split(os.pathsep) if item]
    attacks = cases(warm_sessions(sessions), variants)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cases.jsonl"
        with path.open("w") as file:
            for number, session in enumerate(sessions):
                history = number < len(sessions) // 2
                file.write(json.dumps(_case(f"benign-{number}", session, history=history)) + "\n")
            for number, case in enumerate(attacks):
                file.write(json.dumps(_case(f"attack-{number}", case.session, history=False)) + "\n")
        alarms = {peer: _run(peer, interpreters, path, Path(directory) / "alarms.json") for peer in PEERS}
    base = {session.id: number for number, session in enumerate(sessions)}
    told: dict[str, Any] = {}
    for peer, raised in alarms.items():
        if raised is None:
            told[peer] = {"missing": True}
            continue
        count = raised["alarms"]
        benign = [count[name] for n in range(len(sessions)) if (name := f"benign-{n}") in count]
        # An alarm counts as a hit only if the session without the attack raises fewer.
        hits = [
            (case.kind, count[f"attack-{number}"] > count.get(f"benign-{base[case.session.id]}", 0))
            for number, case in enumerate(attacks)
        ]
        told[peer] = {"version": raised["version"], **_figures([bool(alarm) for alarm in benign], hits)}
    return told


def of_outcomes(results: Results, tier: int) -> dict[str, Any]:
    """Return the same figures for a method that gives tiers."""
    base = {outcome.session: outcome.tier >= tier for outcome in results.benign}
    hits = [(outcome.kind, outcome.tier >= tier and not base[outcome.session]) for outcome in results.attacks]
    return _figures(list(base.values()), hits)


def _case(name: str, session: Session, *, history: bool) -> dict[str, Any]:
    return {
        "id": name,
        "agent": session.agent,
        "cwd": "/Users/user/work",
        "events": session.events,
        "history": history,
    }


def _run(peer: str, interpreters: Sequence[str], path: Path, output: Path) -> dict[str, Any] | None:
    script = str(Path(__file__).with_name("peer_runner.py"))
    for python in interpreters:
        done = subprocess.run(
            [python, script, peer, str(path), str(output)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return json.loads(output.read_text())
        if done.returncode != 3:
            print(f"{peer} failed in {python}:\n{done.stderr[-800:]}", file=sys.stderr)
    return None


def _figures(benign: Sequence[bool], hits: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    kinds = sorted({kind for kind, _hit in hits})
    hit = {kind for kind, is_hit in hits if is_hit}
    return {
        "benign": len(benign),
        "alarmed": sum(benign),
        "alarmed_interval": binomial_interval(sum(benign), len(benign)),
        "kinds": len(kinds),
        "kinds_hit": len(hit),
        "attacks": len(hits),
        "attacks_hit": sum(is_hit for _kind, is_hit in hits) / max(1, len(hits)),
        "missed_kinds": [kind for kind in kinds if kind not in hit],
    }

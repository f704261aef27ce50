"""``sentineld replay``: the whole line over old telemetry; publishes nothing."""

from collections import Counter
from typing import Any

import click

from sentineld.cli.app import (
    FORMAT_HELP,
    common,
    configuration,
    daemon_paths,
    print_json,
    spare_the_collector,
)
from sentineld.cli.progress import ProgressBar
from sentineld.cli.prose import counted
from sentineld.explain import printable_path
from sentineld.replay import Replayed, replay_as_observed
from sentineld.replay import replay as run_replay
from sentineld.step import load_state
from sentineld.store import Store
from sentineld.views import decision_line, files_document, score_of, totals_document
from sentineld.visible import visible


@click.command(epilog="Example: sentineld replay /var/log/agents")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--as-observed", is_flag=True, help="Exactly as the daemon of --state-dir read it.")
@click.option("--format", "format_name", metavar="NAME", help=FORMAT_HELP)
@common
def replay(
    paths: tuple[str, ...],
    as_observed: bool,
    format_name: str | None,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Say who would have been demoted, when and why."""
    overrides = {} if format_name is None else {"telemetry.format": format_name}
    config = configuration(config_path, state_dir, overrides)
    spare_the_collector()
    if as_observed:
        with Store.open_readonly(daemon_paths(config).database) as recorded:
            result = replay_as_observed(paths, recorded, config)
    else:
        with ProgressBar(is_wanted=not as_json) as bar:
            result = run_replay(paths, config, bar.show)
    document = _document(result)
    if as_json:
        print_json(document)
    else:
        _print(document, result)
    for trouble in result.troubles:
        click.echo(f"warning: {visible(printable_path(trouble.path))}: {visible(trouble.detail)}", err=True)
    for gap in result.missing:
        click.echo(f"warning: no longer there: {visible(printable_path(gap))}", err=True)


def _document(result: Replayed) -> dict[str, Any]:
    tiers: dict[str, int] = {}
    for decision in result.decisions:
        tiers[decision.agent_id] = max(tiers.get(decision.agent_id, 1), decision.to_tier)
    agents: dict[str, Any] = {}
    for row in result.store.agents():
        state = load_state(row.state)
        peaks = result.sessions.peaks.get((row.owner, row.agent_id), {})
        agents[row.name] = {
            "tier": state.standing.effective_tier,
            "max_tier": tiers.get(row.name, 1),
            "score": round(score_of(state, result.prior), 9),
            "max_score": round(state.peak, 9),
            "events": state.events,
            "sessions": {
                name: {"max_score": round(peak.max_score, 9), "max_tier": peak.max_tier}
                for name, peak in peaks.items()
            },
        }
    return {
        "agents": agents,
        "decisions": [decision.to_dict() for decision in result.decisions],
        "totals": {
            **totals_document(result.store),
            "troubles": dict(Counter(kind for kind, _ in {(t.kind, t.path) for t in result.troubles})),
        },
        "files": files_document(result.store.sources()),
        "missing": [printable_path(gap) for gap in result.missing],
    }


def _print(document: dict[str, Any], result: Replayed) -> None:
    totals = document["totals"]
    for decision in result.decisions:
        click.echo(visible(decision_line(decision)))
    demoted = sorted(name for name, entry in document["agents"].items() if entry["max_tier"] > 1)
    click.echo(
        f"{counted(totals['events'], 'event')} of {counted(len(document['agents']), 'agent')} "
        f"in {counted(totals['files'], 'file')}; {counted(totals['rejects'], 'line')} rejected"
    )
    if demoted:
        click.echo(f"{len(demoted)} demoted at some time: {', '.join(visible(name) for name in demoted)}")
    else:
        click.echo("no agent would have been demoted")

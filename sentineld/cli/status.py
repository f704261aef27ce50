"""``sentineld status``: what is, now."""

import os
from typing import Any

import click

from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.cli.names import nearest
from sentineld.log import visible
from sentineld.store import Store
from sentineld.tier import Tier
from sentineld.views import look_at_state, status_document


@click.command(epilog="Example: sentineld status --state-dir ./state")
@click.argument("agent", required=False)
@common
def status(agent: str | None, config_path: str | None, state_dir: str | None, as_json: bool) -> int:
    """Show every agent's tier and score, and how the daemon is. Exit 3 where the state is missing or stale."""
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)
    report = look_at_state(config, paths, os.environ)
    with Store.open_readonly(paths.database) as store:
        document = status_document(store, config.prior(), report, paths)
        if agent is not None:
            if agent not in document["agents"]:
                raise nearest(store, agent)
            document["agents"] = {agent: document["agents"][agent]}
    if as_json:
        print_json(document)
    else:
        _print(document)
    return 0 if report.fresh else 3


def _print(document: dict[str, Any]) -> None:
    state, totals = document["state"], document["totals"]
    if state["fresh"]:
        signed = "signature verified" if state["verified"] else "signature not checked"
        click.echo(
            f"{state['status']}, mode {state['mode']}, isolation {state['isolation']}, "
            f"published {state['generated_at']} (seq {state['seq']}, {signed})"
        )
    else:
        click.echo(f"NOT FRESH: {state['reason']}; routers use tier 3 for everybody")
    click.echo(
        f"{totals['events']} events in {totals['files']} files, {totals['rejects']} lines rejected, "
        f"{totals['duplicates']} duplicates, {totals['decisions']} decisions"
    )
    agents = sorted(document["agents"].items(), key=lambda item: (-item[1]["tier"], -item[1]["score"], item[0]))
    if not agents:
        click.echo("no agent has been seen yet")
        return
    width = min(32, max(5, *(len(name) for name, _ in agents)))
    click.echo(f"\n{'AGENT':<{width}}  {'TIER':<12} {'SCORE':>5} {'EVENTS':>8} {'FILE':>6} {'NETWORK':>7}  LAST ACTIVITY")
    for name, entry in agents:
        shown = name if len(name) <= width else name[: width - 3] + "..."
        tier = f"{entry['tier']} {Tier(entry['tier']).label}"
        click.echo(
            f"{visible(shown):<{width}}  {tier:<12} {entry['score']:>5.2f} {entry['events']:>8} "
            f"{entry['file_ops']:>6} {entry['network_ops']:>7}  {entry['last_activity'][:19]}Z"
            + ("  pinned" if entry["pinned"] else "")
        )
    worst = agents[0]
    if worst[1]["tier"] > 1:
        click.echo(f"\nnext: sentineld why {worst[0]}")

"""``sentineld why AGENT``: the reasons behind an agent's tier, with the records."""

from typing import Any

import click

from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.cli.names import nearest
from sentineld.log import visible
from sentineld.store import Store
from sentineld.tier import Tier
from sentineld.views import why_document

_FEATURES = {
    "file_operations": "file operations",
    "network_operations": "network operations",
    "mean_entropy": "mean entropy of payloads",
}


@click.command(epilog="Example: sentineld why scraper --state-dir ./state")
@click.argument("agent")
@common
def why(agent: str, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Explain an agent's tier: what was seen, what would have been normal, which records, what lifts it."""
    config = configuration(config_path, state_dir)
    paths = daemon_paths(config)
    with Store.open_readonly(paths.database) as store:
        row = store.agent_named(agent)
        if row is None:
            raise nearest(store, agent)
        document = why_document(store, config.prior(), row)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    name, tier = document["agent"], document["tier"]
    click.echo(f"{name} is at tier {tier} ({Tier(tier).label}), score now {document['score']:.2f}.")
    decision = document["decision"]
    if decision is None:
        click.echo("It was never demoted.")
        return
    if decision["cause"] != "detected":
        by = f" by {visible(decision['actor'])}: {visible(decision['note'])}" if decision["actor"] else ""
        click.echo(
            f"Decision {decision['decision_id']}, {decision['cause']}{by}, at {decision['decided_at']}: "
            f"tier {decision['from_tier']} -> {decision['to_tier']}."
        )
        decision = document["demotion"]
        if decision is None:
            return
        click.echo("\nThe last demotion before:")
    click.echo(
        f"Decision {decision['decision_id']} at {decision['decided_at']}: tier {decision['from_tier']} -> "
        f"{decision['to_tier']}, score {decision['score']:.2f}."
    )
    click.echo("\nIn the window of the last five minutes:" if decision["reasons"] else "")
    for reason in decision["reasons"]:
        label = _FEATURES.get(reason["feature"], reason["feature"])
        click.echo(f"  {label:<26} {_number(reason['observed']):>8}   {_limit(reason['expected'])}")
    if decision["evidence"]:
        click.echo("\nThe last records before the decision:")
        for item in decision["evidence"]:
            click.echo(f"  {visible(item['path'])}, offset {item['offset']}: {visible(item['summary'])}")
    if document["lifted_by"]:
        click.echo("\nWhat lifts it: " + "; ".join(document["lifted_by"]) + ".")
        click.echo(f"next: sentineld pardon {name} --reason TEXT")


def _number(value: float) -> str:
    return f"{value:.2f}" if value != int(value) or 0 < value < 1 else f"{int(value)}"


def _limit(expected: float | None) -> str:
    if expected is None:
        return "(made no difference)"
    return f"up to {_number(expected)} would have kept the former tier, all else equal"

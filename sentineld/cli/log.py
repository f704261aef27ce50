"""``sentineld log``: what was decided."""

import sys

import click

from sentineld.cli.app import common, configuration, daemon_paths, print_json
from sentineld.cli.names import complete_agent, nearest
from sentineld.cli.prose import filled
from sentineld.store import Store
from sentineld.views import DECISION_HEADING, decision_line

#: Under the decision's number.
_INDENT = " " * 22


@click.command(name="log", epilog="Example: sentineld log scraper --limit 10")
@click.argument("agent", required=False, shell_complete=complete_agent)
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many of the newest decisions."
)
@common
def log(agent: str | None, limit: int, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """List decisions in the order in which they were made.

    On a terminal long ones take several lines. In a pipe or a file each has one line, however long.
    """
    config = configuration(config_path, state_dir)
    with Store.open_readonly(daemon_paths(config).database) as store:
        if agent is not None and store.agent_named(agent) is None:
            raise nearest(store, agent)
        decisions = store.decisions(name=agent, limit=limit)
    if as_json:
        print_json({"decisions": [decision.to_dict() for decision in decisions]})
        return
    if not decisions:
        click.echo("no decision has been made yet")
        return
    click.echo(DECISION_HEADING)
    for decision in decisions:
        line = decision_line(decision)
        # Somebody reads a terminal; a script reads a pipe, by lines.
        click.echo(filled(line, indent=_INDENT) if sys.stdout.isatty() else line)

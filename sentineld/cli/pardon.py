"""``sentineld pardon``: end a demotion, with the reason on record."""

import click

from sentineld.cli.app import common
from sentineld.cli.names import complete_agent
from sentineld.cli.wishes import ask, checked_reason
from sentineld.errors import UsageError
from sentineld.options import parse_duration
from sentineld.requests import Request


@click.command(epilog='Example: sentineld pardon scraper --reason "month-end export, agreed with ops"')
@click.argument("agent", shell_complete=complete_agent)
@click.option("--reason", required=True, help="Why; it goes on record.")
@click.option(
    "--for",
    "grace",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="Grace: detection does not demote for this long.",
)
@click.option(
    "--attack",
    is_flag=True,
    help="The evidence was an attack: confirm it, so that nothing is learned from it.",
)
@common
def pardon(
    agent: str,
    reason: str,
    grace: str,
    attack: bool,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Return an agent to tier 1 and forget the evidence it was demoted for."""
    try:
        grace_s = 0.0 if grace == "0" else float(parse_duration(grace))
    except ValueError as error:
        raise UsageError(f"--for: {error}", hint="--for 1h") from error
    request = Request("pardon", agent, checked_reason(reason), grace_s=grace_s, attack=attack)
    ask(request, config_path, state_dir, as_json=as_json)

"""``sentineld pin`` and ``unpin``: hold an agent at a tier, whatever it does."""

import click

from sentineld.cli.app import common
from sentineld.cli.names import complete_agent
from sentineld.cli.wishes import ask, checked_reason
from sentineld.clock import now_us
from sentineld.errors import UsageError
from sentineld.instant import iso, parse_iso
from sentineld.options import parse_duration
from sentineld.requests import Request


@click.command(epilog='Example: sentineld pin deployer 3 --reason "key rotation" --until 2h')
@click.argument("agent", shell_complete=complete_agent)
@click.argument("tier", type=click.IntRange(1, 3), shell_complete=lambda *_: ["1", "2", "3"])
@click.option("--reason", required=True, help="Why; it goes on record.")
@click.option(
    "--until",
    metavar="TIME",
    help="End of the pin: ISO 8601, or a duration from now (2h). Default: until unpinned.",
)
@common
def pin(
    agent: str,
    tier: int,
    reason: str,
    until: str | None,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Hold an agent at a tier until a time, or until it is unpinned."""
    request = Request(
        "pin", agent, checked_reason(reason), tier=tier, until=None if until is None else _until(until)
    )
    ask(request, config_path, state_dir, as_json=as_json)


@click.command(epilog='Example: sentineld unpin deployer --reason "rotation done"')
@click.argument("agent", shell_complete=complete_agent)
@click.option("--reason", required=True, help="Why; it goes on record.")
@common
def unpin(agent: str, reason: str, config_path: str | None, state_dir: str | None, as_json: bool) -> None:
    """Lift a pin: the agent's behaviour decides again."""
    ask(Request("unpin", agent, checked_reason(reason)), config_path, state_dir, as_json=as_json)


def _until(text: str) -> str:
    now = now_us()
    try:
        at = now + parse_duration(text).us
    except ValueError:
        try:
            at = parse_iso(text)
        except ValueError:
            raise UsageError(f"--until: neither a time nor a duration: {text!r}", hint="--until 2h") from None
    if at <= now:
        raise UsageError(f"--until: {text} has passed", hint="--until 2h")
    return iso(at)

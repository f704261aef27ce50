"""``sentineld agent``: rename, retire, erase."""

import click

from sentineld.cli.app import common
from sentineld.cli.names import complete_agent
from sentineld.cli.wishes import ask, checked_reason
from sentineld.errors import UsageError
from sentineld.requests import Request
from sentineld.rows import is_agent_id


@click.group(epilog="Example: sentineld agent retire scraper-v1 --reason replaced")
def agent() -> None:
    """Rename, retire and erase agents (docs/baselines.md)."""


@agent.command(epilog='Example: sentineld agent rename coder coder-2 --reason "new host"')
@click.argument("old", shell_complete=complete_agent)
@click.argument("new")
@click.option("--reason", required=True, help="Why; it goes on record.")
@common
def rename(
    old: str, new: str, reason: str, config_path: str | None, state_dir: str | None, as_json: bool
) -> None:
    """Let agent OLD go on as NEW, with its tier, habits and history.

    Telemetry must name it NEW from then on. If its owner has an agent NEW already, that one takes it in, with
    the stricter of both tiers.
    """
    if not is_agent_id(new):
        raise UsageError(
            "NEW cannot be an agent's id", hint="1 to 128 of the characters A-Z a-z 0-9 . _ : / @ + ~ -"
        )
    request = Request("rename", _id(old), checked_reason(reason), to=new)
    ask(request, config_path, state_dir, as_json=as_json)


@agent.command(epilog="Example: sentineld agent retire scraper-v1 --reason replaced")
@click.argument("agent_id", metavar="AGENT", shell_complete=complete_agent)
@click.option("--reason", required=True, help="Why; it goes on record.")
@click.option("--for-good", is_flag=True, help="Nobody may act as it any more: hold it at tier 3.")
@common
def retire(
    agent_id: str,
    reason: str,
    for_good: bool,
    config_path: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """End an agent's sessions and take it off the list of status.

    Its history stays. It is listed again when it acts; --for-good pins it at tier 3 besides, until unpinned.
    """
    request = Request("retire", _id(agent_id), checked_reason(reason), is_final=for_good)
    ask(request, config_path, state_dir, as_json=as_json)


@agent.command(epilog='Example: sentineld agent erase scraper --yes --reason "request 4711"')
@click.argument("agent_id", metavar="AGENT", shell_complete=complete_agent)
@click.option("--reason", required=True, help="Why; it goes on record.")
@click.option("--yes", is_flag=True, help="It cannot be undone: say that you want it.")
@common
def erase(
    agent_id: str, reason: str, yes: bool, config_path: str | None, state_dir: str | None, as_json: bool
) -> None:
    """Remove everything known of an agent. That is its state, decisions, evidence and rejected lines.

    Positions in files stay, so that nothing is read again. Not reached: telemetry itself, decisions.jsonl,
    backups, and what its role learned (hashes and counts).
    """
    if not yes:
        raise UsageError(
            "erase cannot be undone", hint="add --yes; to keep a copy first: sentineld backup FILE"
        )
    ask(Request("erase", _id(agent_id), checked_reason(reason)), config_path, state_dir, as_json=as_json)


def _id(text: str) -> str:
    if not 1 <= len(text) <= 200:
        raise UsageError("an agent's id has 1 to 200 characters", hint="sentineld status")
    return text

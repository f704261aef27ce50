"""How commands call things, in words: agents that nobody knows, roles, starters, features, what is rare."""

import difflib
import re
from importlib import import_module
from typing import Any

import click

from sentineld.cli.app import configuration, daemon_paths
from sentineld.errors import SentineldError, UsageError
from sentineld.store import Store
from sentineld.visible import visible

#: Why an agent's tier is not what its behaviour calls for, by ``held_by``.
HELD = {
    "observe": "the daemon observes and restricts nobody",
    "memory_lost": "memory was lost; all are restricted for now",
    "override": "an operator's override is in force",
    "": "see the state file",
}
_FEATURES = {
    "file_operations": "file operations",
    "network_operations": "network operations",
    "mean_entropy": "mean entropy of payloads",
}
#: The least p-value that is told in figures.
_LEAST_P = 1e-4
#: What is completed: agents choose their names, and bash puts them on the command line as they are.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_MAX_COMPLETED = 500


def complete_agent(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the agents that begin so, for a shell to complete; none where the database cannot be read."""
    given = context.params
    try:
        config = configuration(given.get("config_path"), given.get("state_dir"))
        with Store.open_readonly(daemon_paths(config).database) as store:
            names = store.agent_names()
    except SentineldError:
        return []
    return [name for name in names if name.startswith(begun) and _PLAIN.fullmatch(name)][:_MAX_COMPLETED]


def early_command(name: str, summary: str) -> click.Command:
    """Return what a shell has to know of a command that runs without click: its options and agents."""
    parser = import_module(f"sentineld.cli.{name}").make_parser()
    params: list[click.Parameter] = []
    for action in parser.options():
        words = action.option_strings
        if not words:
            params.append(click.Argument([action.dest], shell_complete=complete_agent))
        elif action.nargs == 0:
            params.append(click.Option([action.dest, *words], is_flag=True, help=action.help))
        else:
            kind = click.Choice(list(action.choices)) if action.choices else click.STRING
            completes = complete_agent if words == ["--agent"] else None
            params.append(
                click.Option([action.dest, *words], type=kind, help=action.help, shell_complete=completes)
            )
    return click.Command(name, params=params, help=summary, add_help_option=False)


def nearest(store: Store, name: str) -> UsageError:
    """Return the error for an unknown agent."""
    near = difflib.get_close_matches(name, store.agent_names(), 1)
    hint = "sentineld status" + (f"   (nearest: {near[0]})" if near else "")
    return UsageError(f"agent '{visible(name)}' is unknown", hint=hint)


def role_label(role: str) -> str:
    """Return how a role is called: most agents have none that telemetry names."""
    return f"role {visible(role)}" if role else "the role without a name"


def starter_line(starter: dict[str, Any]) -> str:
    """Return which starter a role began with, in words."""
    return (
        f"its role began with a starter, other people's habits: {starter['sessions']} sessions of "
        f"{starter['agents']} agents of {starter['owners']} owners, {starter['first']} to {starter['last']} "
        f"({visible(starter['licence'])}); its own sessions take over as they come"
    )


def feature_label(feature: str) -> str:
    """Return how a feature is called."""
    return _FEATURES.get(feature, feature)


def unusual(p: float) -> str:
    """Say how unusual a session is."""
    if p < _LEAST_P:
        # What is estimated beyond that says no more than that it is far out.
        return f"more unusual than 1 session in {1 / _LEAST_P:,.0f}"
    return "as usual as most" if p > 0.5 else f"as unusual as 1 session in {1 / p:.0f}"

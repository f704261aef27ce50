"""How commands call things: agents that nobody knows, and starters."""

import difflib
from typing import Any

from sentineld.errors import UsageError
from sentineld.store import Store
from sentineld.visible import visible


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

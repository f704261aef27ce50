"""Agents' names that nobody knows: the error that names the nearest one."""

import difflib

from sentineld.errors import UsageError
from sentineld.store import Store
from sentineld.visible import visible


def nearest(store: Store, name: str) -> UsageError:
    """Return the error for an unknown agent."""
    near = difflib.get_close_matches(name, store.agent_names(), 1)
    hint = "sentineld status" + (f"   (nearest: {near[0]})" if near else "")
    return UsageError(f"agent '{visible(name)}' is unknown", hint=hint)

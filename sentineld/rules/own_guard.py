"""Own guard: an agent writes to what steers, records or guards agents.

What: settings, hooks, permissions, telemetry and history of agents' tools, and the state, configuration and
files of sentineld, are written or deleted, and neither the session nor its role ever did that.
In the session's own tree, a write that says by itself that it takes no check away is work: hooks that run the
tree's scripts, rights for its own commands (``features.guards``).
A file that a prompt of the session named, with its directory, does not count.
Why: whoever changes its own limits or its own record has left them. It holds for another agent's as well.
Known false alarms: a user who has an agent set up another agent, or its own hooks and permissions
with a program whose output cannot be read here (``jq``, ``sed``, a copy).
"""

from collections.abc import Sequence

from sentineld.event import Facts, Observation
from sentineld.learned import Touched
from sentineld.rules.base import found
from sentineld.session import Finding, Session

NAME = "own_guard"
_SENTENCE = "what steers, records or guards agents is written, which none of its kind ever did"


def rule(session: Session, _facts: Facts, item: Observation, _before: Sequence[Touched]) -> Finding | None:
    """Fire on a write to an agent's settings, hooks or records, or to sentineld."""
    value = session.fresh.get("agent.steering")
    return None if value is None else found(NAME, value, _SENTENCE, item, session)

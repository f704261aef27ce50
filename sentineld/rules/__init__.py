"""Rules: patterns that are wrong whoever does them, one file each; they need no calibration: tier 3 at once.

A rule fires at most once a session, whatever is known of the agent. What a role's habits know is not new to
it: so a rule can be taught by a pardon, and never fires on what the role has always done.
"""

from collections.abc import Mapping

from sentineld.rules import credential_sent, outside_deletion, own_guard, spend
from sentineld.rules.base import Rule

__all__ = ["RULES", "Rule", "rules_of"]

RULES: Mapping[str, Rule] = {
    credential_sent.NAME: credential_sent.rule,
    outside_deletion.NAME: outside_deletion.rule,
    own_guard.NAME: own_guard.rule,
    spend.NAME: spend.limit(0),
}


def rules_of(names: tuple[str, ...], max_session_tokens: int = 0) -> Mapping[str, Rule]:
    """Return the rules of these names; ``max_session_tokens`` is what ``spend`` allows (0: no limit)."""
    rules = {name: RULES[name] for name in names}
    if spend.NAME in rules:
        if max_session_tokens:
            rules[spend.NAME] = spend.limit(max_session_tokens)
        else:
            del rules[spend.NAME]
    return rules

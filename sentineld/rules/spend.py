"""Spend: a session uses more tokens than it may.

What: a session's tokens, in and out, pass a limit that the operator sets (``detection.max_session_tokens``);
off without one.
Why: a loop or a hijack can cost without doing anything else that is odd. Telemetry rarely tells prices, so
that the limit is one on tokens.
Known false alarms: none but a limit that is too low.
"""

from collections.abc import Sequence

from sentineld.event import Facts, Observation
from sentineld.learned import Touched
from sentineld.rules.base import Rule, found
from sentineld.session import Finding, Session

NAME = "spend"


def limit(tokens: int) -> Rule:
    """Return the rule for a limit of tokens a session; 0: none."""

    def rule(
        session: Session, _facts: Facts, item: Observation, _before: Sequence[Touched]
    ) -> Finding | None:
        if not 0 < tokens < session.tokens:
            return None
        return found(
            NAME,
            f"{session.tokens:,} tokens",
            f"the session used more than {tokens:,} tokens, its limit",
            item,
        )

    return rule

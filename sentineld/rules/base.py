"""What a rule is, and how it tells what broke it."""

from collections.abc import Callable

from sentineld.event import Facts, Observation
from sentineld.masking import mask
from sentineld.session import Finding, Session

#: Says what breaks a rule: the session, with its event in hand taken in; None where nothing does.
Rule = Callable[[Session, Facts, Observation], Finding | None]

_MAX_VALUE = 120


def found(name: str, value: str, sentence: str, item: Observation) -> Finding:
    """Return what broke the rule ``name``. A rule weighs no bits: it holds or it is broken."""
    return Finding("rule", name, mask(value)[:_MAX_VALUE], sentence, 0.0, item[0], item[3], item[4], item[5])

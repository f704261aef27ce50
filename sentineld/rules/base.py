"""What a rule is, and how it tells what broke it."""

from collections.abc import Callable, Sequence

from sentineld.event import Facts, Observation
from sentineld.learned import Touched
from sentineld.masking import mask
from sentineld.session import Finding, Session

#: Says what breaks a rule: the session, with its event in hand taken in, and the credentials that the agent
#: touched before in others or under its name (``Learned.touched_before``); None where nothing does.
Rule = Callable[[Session, Facts, Observation, Sequence[Touched]], Finding | None]

_MAX_VALUE = 120
_UNNAMED = "; no prompt of the session named it"


def found(name: str, value: str, sentence: str, item: Observation, session: Session | None = None) -> Finding:
    """Return what broke the rule ``name``. A rule weighs no bits: it holds or it is broken.

    ``session`` is given where a prompt that had named the value would have kept the rule.
    """
    if session is not None and session.asked:
        sentence += _UNNAMED
    return Finding("rule", name, mask(value)[:_MAX_VALUE], sentence, 0.0, item[0], item[3], item[4], item[5])

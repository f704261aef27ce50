"""Error cascade: calls fail one after the other, more than they ever did.

Formula: the height is the number of bits of how many calls in a row have failed; bits by how rarely sessions
of the role reach it. A refusal by the user is no failure. A result that comes as a record of its own counts as
its call does.
Source: run lengths, as control charts use them (Western Electric, 1956). Range: 0 to about 11 bits.
Memory: one counter a session.
Known false alarms: a broken network or an expired token: worth a look all the same.
"""

from collections.abc import Sequence

from sentineld.detectors.base import SLIGHT, Detector, Kind
from sentineld.event import ERROR, REFUSED, Facts, Feature
from sentineld.session import Session

_FEW = 2


def _watch(session: Session, facts: Facts, _at_us: int) -> Sequence[Feature]:
    if facts.outcome == ERROR:
        session.failures += 1
        if session.failures > _FEW:
            return (("errors", str(session.failures.bit_length())),)
    elif facts.outcome and facts.outcome != REFUSED:
        session.failures = 0
    return ()


ERRORS = Detector(
    "errors", {"errors": "calls fail one after the other"}, {"errors": SLIGHT}, Kind.GRADE, watches=_watch
)

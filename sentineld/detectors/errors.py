"""Error cascade: calls fail one after the other, more than they ever did.

Formula: the height is the number of bits of how many calls in a row have failed; bits by how rarely sessions
of the role reach it. A refusal by the user is no failure.
Source: run lengths, as control charts use them (Western Electric, 1956). Range: 0 to about 11 bits.
Memory: one counter a session.
Known false alarms: a broken network or an expired token: worth a look all the same.
"""

from collections.abc import Iterator

from sentineld.detectors.base import NOTABLE, Detector, Kind
from sentineld.event import ERROR, REFUSED, Facts, Feature
from sentineld.session import Session

_FEW = 2


def _derive(session: Session, facts: Facts, _at_us: int) -> Iterator[Feature]:
    if facts.outcome == ERROR:
        session.failures += 1
        if session.failures > _FEW:
            yield Feature("errors", str(session.failures.bit_length()))
    elif facts.outcome and facts.outcome != REFUSED:
        session.failures = 0


ERRORS = Detector(
    "errors", {"errors": "calls fail one after the other"}, {"errors": NOTABLE}, Kind.GRADE, _derive
)

"""Error cascade: calls fail one after the other, more than they ever did.

Formula: the height is the number of bits of how many calls in a row have failed; bits by how rarely sessions
of the role reach it. A refusal by the user is no failure. Where results are records of their own, and those
that worked are not told, two calls without a failure between them end the row.
Source: run lengths, as control charts use them (Western Electric, 1956). Range: 0 to about 11 bits.
Memory: two counters a session.
Known false alarms: a broken network or an expired token: worth a look all the same.
"""

from collections.abc import Sequence

from sentineld.detectors.base import SLIGHT, Detector, Kind, Needs
from sentineld.event import ERROR, REFUSED, Facts, Feature, Observation
from sentineld.session import Session

_FEW = 2


def _watch(session: Session, facts: Facts, _item: Observation) -> Sequence[Feature]:
    outcome = facts.outcome
    if not outcome:
        if facts.features:
            session.unanswered += 1
    elif outcome == ERROR:
        if session.unanswered > 1:
            session.failures = 0
        session.unanswered = 0
        session.failures += 1
        if session.failures > _FEW:
            return (("errors", str(session.failures.bit_length())),)
    elif outcome == REFUSED:
        session.unanswered = 0
    else:
        session.failures = session.unanswered = 0
    return ()


ERRORS = Detector(
    "errors",
    {"errors": "calls fail one after the other"},
    {"errors": SLIGHT},
    Kind.GRADE,
    watches=_watch,
    needs=Needs.NOTHING,
)

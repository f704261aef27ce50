"""Loops: the same call again and again, alone or in turns with a few others (A-B-A-B).

Formula: the height is twice the binary logarithm of how often a call (tool and arguments) came back among
the session's last eight different ones, and at most of how many calls came since one that was not among
these: who looks the same thing up between new steps gets on. Bits by how rarely sessions of the role reach
that height.
Source: the repeat and ping-pong checks of agent frameworks. Range: 0 to about 11 bits. Memory: 8 hashes a
session.
Known false alarms: polling that is meant (a build, a queue) and that no session did before.
"""

import math

from sentineld.detectors.base import GRAVE, Detector, Kind
from sentineld.event import Feature
from sentineld.session import Session

_DIFFERENT = 8
#: Repeats that are no loop yet.
_FEW = 3


def _called(session: Session, call: str) -> tuple[Feature, ...]:
    recent = session.recent
    times = recent[call] = recent.pop(call, 0) + 1
    if times == 1:
        session.repeats = 1
        if len(recent) > _DIFFERENT:
            del recent[next(iter(recent))]
        return ()
    repeats = session.repeats = session.repeats + 1
    times = min(times, repeats)
    return (("loop", str(int(2 * math.log2(times)))),) if times > _FEW else ()


LOOP = Detector(
    "loop", {"loop": "the same call comes again and again"}, {"loop": GRAVE}, Kind.GRADE, {"call": _called}
)

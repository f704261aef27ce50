"""Rate: faster than this agent itself ever was; never an absolute count.

Formula: the height of ``pace`` is minus twice the binary logarithm of the mean time between the last 32 calls
of a session, in seconds: a burst. That of ``tempo`` is the same of the geometric mean over the whole session,
from the fifth call on, each gap within 0.05 to 600 s; twice as fast as ever is not yet remarkable. Bits by
how rarely the agent's own sessions reach it, after five sessions (``tempo``: ten) that had a height at all.
Calls of one instant count as one: what is told late, all at once, is set to the time of its arrival.
Source: rate against own history, where fail2ban and CrowdSec have fixed limits. Range: 0 to about 9 bits.
Memory: 32 times and two sums a session, some 60 counters an agent.
Known false alarms: an agent that is moved to a much faster machine or model.
"""

import math
from collections.abc import Sequence

from sentineld.detectors.base import GRAVE, Detector, Kind
from sentineld.event import Facts, Feature, Observation
from sentineld.session import Session

_CALLS = 32
_SLOWEST = -8
_SHORTEST_S, _LONGEST_S = 0.05, 600.0
_FEW_GAPS = 4


def _watch_pace(session: Session, facts: Facts, item: Observation) -> Sequence[Feature]:
    times = session.times
    if not facts.features:
        return ()
    at_us = item[0]
    if times and at_us <= times[-1]:
        return ()
    times.append(at_us)
    if len(times) < _CALLS:
        return ()
    if len(times) > _CALLS:
        del times[0]
    mean_s = max((at_us - times[0]) / 1e6, 0.1) / (_CALLS - 1)
    height = max(_SLOWEST, int(-2 * math.log2(mean_s)))
    return (("pace", str(height)),) if height > session.grades.get("pace", -99) else ()


def _watch_tempo(session: Session, facts: Facts, item: Observation) -> Sequence[Feature]:
    if not facts.features:
        return ()
    at_us = item[0]
    before_us = session.called_us
    if at_us <= before_us:
        return ()
    session.called_us = at_us
    if not before_us:
        return ()
    gap_s = (at_us - before_us) / 1e6
    session.gaps += 1
    session.log_gaps += math.log2(min(max(gap_s, _SHORTEST_S), _LONGEST_S))
    if session.gaps < _FEW_GAPS:
        return ()
    height = math.floor(-2 * session.log_gaps / session.gaps)
    return (("tempo", str(height)),) if height > session.grades.get("tempo", -99) else ()


RATE = Detector(
    "rate",
    {"pace": "calls come faster than they ever did"},
    {"pace": GRAVE},
    Kind.OWN_GRADE,
    watches=_watch_pace,
)
TEMPO = Detector(
    "tempo",
    {"tempo": "the session goes faster than any before"},
    {"tempo": GRAVE},
    Kind.OWN_GRADE,
    watches=_watch_tempo,
    grace=2,
    fewest=10,
)

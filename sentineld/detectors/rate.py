"""Rate: faster than this agent itself ever was; never an absolute count.

Formula: the height of ``pace`` is minus twice the binary logarithm of the mean time between the last 32 calls
of a session, in seconds: a burst. That of ``tempo`` is the same of the geometric mean over the whole session,
from the fifth call on, each gap within 0.05 to 600 s; 1.4 times as fast as ever is not yet remarkable. Bits
by how rarely the agent's own sessions reach it, after five sessions (``tempo``: ten) that had a height at
all, and one more for each height beyond all of them.
Calls of one instant count as one: what is told late, all at once, is set to the time of its arrival.
Source: rate against own history, where fail2ban and CrowdSec have fixed limits. Range: 0 to about 20 bits.
Memory: 32 times and two sums a session, some 60 counters an agent.
Known false alarms: an agent that is moved to a much faster machine or model.
"""

from collections.abc import Sequence
from math import floor, log2

from sentineld.detectors.base import GRAVE, Detector, Kind
from sentineld.event import Facts, Feature, Observation
from sentineld.session import Session

_CALLS = 32
_SLOWEST = -8
_SHORTEST_S, _LONGEST_S = 0.05, 600.0
_FEW_GAPS = 4
_SHORTEST, _LONGEST = log2(_SHORTEST_S), log2(_LONGEST_S)
_SHORTEST_US, _LONGEST_US = _SHORTEST_S * 1e6, _LONGEST_S * 1e6
#: By the height that was reached: when the calls take longer than so many microseconds there is surely none
#: above it. A little more than the limit itself, which the logarithm decides.
_SLOW_US = {
    height: int((_CALLS - 1) * 2.0 ** (-height / 2 if height < 0 else -(height + 1) / 2) * 1e6) + 1000
    for height in range(_SLOWEST, 40)
}


def _watch(session: Session, _facts: Facts, item: Observation) -> Sequence[Feature]:
    """Yield features of both detectors: each call moves both forward."""
    at_us = item[0]
    times, before_us = session.times, session.called_us
    found: tuple[Feature, ...] = ()
    if not times or at_us > times[-1]:
        times.append(at_us)
        if len(times) >= _CALLS:
            if len(times) > _CALLS:
                del times[0]
            grade, span_us = session.grades.get("pace", -99), at_us - times[0]
            if span_us <= _SLOW_US.get(grade, span_us):
                mean_s = max(span_us / 1e6, 0.1) / (_CALLS - 1)
                height = max(_SLOWEST, int(-2 * log2(mean_s)))
                if height > grade:
                    found = (("pace", str(height)),)
    if at_us > before_us:
        session.called_us = at_us
        if before_us:
            gaps = session.gaps = session.gaps + 1
            gap_us = at_us - before_us
            if gap_us < _SHORTEST_US:
                log_gap = _SHORTEST
            elif gap_us > _LONGEST_US:
                log_gap = _LONGEST
            else:
                log_gap = log2(gap_us / 1e6)
            log_gaps = session.log_gaps = session.log_gaps + log_gap
            if gaps >= _FEW_GAPS:
                height_of_all = -2 * log_gaps / gaps
                if height_of_all >= session.grades.get("tempo", -99) + 1:
                    found = (*found, ("tempo", str(floor(height_of_all))))
    return found


RATE = Detector(
    "rate",
    {"pace": "calls come faster than they ever did"},
    {"pace": GRAVE},
    Kind.OWN_GRADE,
    watches=_watch,
)
TEMPO = Detector(
    "tempo",
    {"tempo": "the session goes faster than any before"},
    {"tempo": GRAVE},
    Kind.OWN_GRADE,
    grace=1,
    fewest=10,
)

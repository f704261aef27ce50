"""Rate: faster than this agent itself ever was; never an absolute count.

Formula: the height is minus twice the binary logarithm of the mean time between the last 32 calls of a session,
in seconds; bits by how rarely the agent's own sessions reach it, from its fifth on.
Source: rate against own history, as fail2ban and CrowdSec do against fixed limits. Range: 0 to about 9 bits.
Memory: 32 times a session, some 30 counters an agent.
Known false alarms: an agent that is moved to a faster machine or model.
"""

import math
from collections.abc import Iterator

from sentineld.detectors.base import GRAVE, Detector, Kind
from sentineld.event import Facts, Feature
from sentineld.session import Session

_CALLS = 32
_SLOWEST = -8


def _derive(session: Session, facts: Facts, at_us: int) -> Iterator[Feature]:
    if not facts.features:
        return
    times = session.times
    times.append(at_us)
    if len(times) > _CALLS:
        del times[0]
    if len(times) == _CALLS:
        mean_s = max((times[-1] - times[0]) / 1e6, 0.1) / (_CALLS - 1)
        yield Feature("pace", str(max(_SLOWEST, int(-2 * math.log2(mean_s)))))


RATE = Detector(
    "rate", {"pace": "calls come faster than they ever did"}, {"pace": GRAVE}, Kind.OWN_GRADE, _derive
)

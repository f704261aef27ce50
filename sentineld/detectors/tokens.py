"""Tokens: more in one session than this agent itself ever used.

Formula: the height is twice the binary logarithm of the session's tokens in thousands (in and out); bits by
how rarely the agent's own sessions reach it, after five sessions that used any. Telemetry rarely tells what a
token costs, so that a limit on spend is one on tokens (see ``rules.spend``).
Source: spend against own history. Range: 0 to about 9 bits. Memory: one sum a session.
Known false alarms: the longest task so far.
"""

import math
from collections.abc import Sequence

from sentineld.detectors.base import NOTABLE, Detector, Kind, Needs
from sentineld.event import Facts, Feature, Observation
from sentineld.session import Session

#: More than any session uses: what a record claims may be anything, and the sum has to fit into 64 bits.
_MAX_TOKENS = 1 << 53


def _watch(session: Session, facts: Facts, _item: Observation) -> Sequence[Feature]:
    told = (facts.input_tokens or 0) + (facts.output_tokens or 0)
    if told <= 0:
        return ()
    session.tokens = min(_MAX_TOKENS, session.tokens + told)
    return (("tokens", str(int(2 * math.log2(session.tokens / 1000)))),) if session.tokens >= 1000 else ()


TOKENS = Detector(
    "tokens",
    {"tokens": "more tokens than ever in one session"},
    {"tokens": NOTABLE},
    Kind.OWN_GRADE,
    watches=_watch,
    needs=Needs.TOKENS,
)

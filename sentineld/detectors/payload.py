"""Payload entropy: what an agent handles becomes less predictable than any session's of its role.

Formula: the height is fifty times the fading mean (an eighth for each new event) of the payloads' entropy,
per event class, from the eighth event of that class on; bits by how rarely sessions of the role that had so
many reach it, after five of these.
Source: entropy of payloads as a sign of encoded or encrypted data (Lyda and Hamrock, 2007); one mean per
class, because code, commands and fetched pages differ. Range: 0 to about 2 bits. Memory: two numbers a class
and session.
Known false alarms: minified code, lock files, images in arguments.
"""

from collections.abc import Sequence

from sentineld.detectors.base import SLIGHT, Detector, Kind
from sentineld.event import EVENT_CLASSES, Facts, Feature, Observation
from sentineld.session import Session

_UNIT = 1e9
_STEPS = 50
_FEW = 8
_NONE = (0, 0.0)


def _watch(session: Session, _facts: Facts, item: Observation) -> Sequence[Feature]:
    units, event_class = item[2], item[3]
    if not units or event_class not in _NAMES:
        return ()
    entropies = session.entropies
    count, mean = entropies.get(event_class, _NONE)
    count += 1
    mean += (units / _UNIT - mean) / min(count, _FEW)
    entropies[event_class] = (count, mean)
    if count < _FEW:
        return ()
    name, height = _NAMES[event_class], mean * _STEPS
    return ((name, str(int(height))),) if height >= session.grades.get(name, -99) + 1 else ()


_NAMES = {name: f"entropy.{name}" for name in EVENT_CLASSES}

PAYLOAD = Detector(
    "payload",
    dict.fromkeys(_NAMES.values(), "payloads are less predictable than in any session before"),
    dict.fromkeys(_NAMES.values(), SLIGHT),
    Kind.SUCH_GRADE,
    watches=_watch,
)

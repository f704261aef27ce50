"""Detectors: sources of surprise, one file each. How surprises become a score: ``sentineld.scoring``."""

from sentineld.detectors import argument, order
from sentineld.detectors.base import CHANNELS, GRAVE, Detector, Kind, Read, Severity
from sentineld.detectors.credential import CREDENTIAL
from sentineld.detectors.errors import ERRORS
from sentineld.detectors.first_use import FIRST_USE
from sentineld.detectors.guard import GUARD
from sentineld.detectors.intent import INTENT
from sentineld.detectors.loop import LOOP
from sentineld.detectors.payload import PAYLOAD
from sentineld.detectors.persistence import PERSISTENCE
from sentineld.detectors.place import PLACE, SCOPE
from sentineld.detectors.rate import RATE, TEMPO
from sentineld.detectors.sink import SINK
from sentineld.detectors.source import SOURCE
from sentineld.detectors.tokens import TOKENS

__all__ = [
    "CHANNELS",
    "DETECTORS",
    "GRAVE_FEATURES",
    "OF_FEATURE",
    "READERS",
    "SENTENCES",
    "WATCHES",
    "Detector",
    "Kind",
    "Severity",
]

#: In the order in which they see an event: ``place`` finds the tree that others go by.
DETECTORS: tuple[Detector, ...] = (
    PLACE,
    SCOPE,
    PERSISTENCE,
    CREDENTIAL,
    SINK,
    SOURCE,
    GUARD,
    FIRST_USE,
    LOOP,
    RATE,
    TEMPO,
    ERRORS,
    TOKENS,
    PAYLOAD,
    INTENT,
)

#: The detector of every feature; arguments and order have none of these.
OF_FEATURE: dict[str, Detector] = {name: one for one in DETECTORS for name in one.severity}

#: Who reads a raw feature, by its name, in order; and who looks at every event.
READERS: dict[str, tuple[Read, ...]] = {
    name: tuple(one.reads[name] for one in DETECTORS if name in one.reads)
    for name in dict.fromkeys(name for one in DETECTORS for name in one.reads)
}
WATCHES = tuple(one.watches for one in DETECTORS if one.watches is not None)

#: Features that hand over, stay, take power or secrets, or cannot be undone.
GRAVE_FEATURES = frozenset(name for name, one in OF_FEATURE.items() if one.severity[name] is GRAVE)

#: What a surprise means, by feature.
SENTENCES: dict[str, str] = {
    argument.NAME: argument.SENTENCE,
    order.FEATURE: order.SENTENCE,
} | {name: text for one in DETECTORS for name, text in one.sentences.items()}

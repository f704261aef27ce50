"""Detectors: sources of surprise, one file each. How surprises become a score: ``sentineld.scoring``."""

from itertools import product

from sentineld.detectors import argument, order
from sentineld.detectors.base import CHANNELS, GRAVE, Detector, Kind, Needs, Read, Severity, Watch
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
from sentineld.event import Facts
from sentineld.session import Session

__all__ = [
    "CHANNELS",
    "DETECTORS",
    "GRAVE_FEATURES",
    "OF_FEATURE",
    "READERS",
    "SENTENCES",
    "WATCHES_OF_CALL",
    "Detector",
    "Kind",
    "Severity",
    "watches_of",
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

#: Who reads a raw feature, by its name, in order.
READERS: dict[str, tuple[Read, ...]] = {
    name: tuple(one.reads[name] for one in DETECTORS if name in one.reads)
    for name in dict.fromkeys(name for one in DETECTORS for name in one.reads)
}
#: Who looks at events as a whole, by what these have: a call, one after a prompt, tokens.
_WATCHES: dict[tuple[bool, bool, bool], tuple[Watch, ...]] = {
    (is_call, is_order, has_tokens): tuple(
        one.watches
        for one in DETECTORS
        if one.watches is not None
        and (
            one.needs is Needs.NOTHING
            or (one.needs is Needs.CALL and is_call)
            or (one.needs is Needs.ORDER and is_call and is_order)
            or (one.needs is Needs.TOKENS and has_tokens)
        )
    )
    for is_call, is_order, has_tokens in product((False, True), repeat=3)
}
#: The same for most calls: no prompt was given, and nothing is told of tokens.
WATCHES_OF_CALL = _WATCHES[True, False, False]


def watches_of(session: Session, facts: Facts) -> tuple[Watch, ...]:
    """Return who looks at an event as a whole, in order."""
    return _WATCHES[
        bool(facts.features), bool(session.asked), bool(facts.input_tokens or facts.output_tokens)
    ]


#: Features that hand over, stay, take power or secrets, or cannot be undone.
GRAVE_FEATURES = frozenset(name for name, one in OF_FEATURE.items() if one.severity[name] is GRAVE)

#: What a surprise means, by feature.
SENTENCES: dict[str, str] = {
    argument.NAME: argument.SENTENCE,
    order.FEATURE: order.SENTENCE,
} | {name: text for one in DETECTORS for name, text in one.sentences.items()}

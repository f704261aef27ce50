"""Opening: what a session's first call named, before any result could have told the agent what to do.

Where telemetry carries no prompts, the first look-up is what is left of the request: it names what the user
asked about. Further calls of the same tool belong to it, until something is changed. A call that changes
something is about the opening where one value that was named there comes again, all of its words: a date, a
number, two words at least. Whom the call goes to says nothing of that, as it is in question.

Words are kept as CRC-32: who makes one collide might as well use the word.
"""

import re
from collections.abc import Iterable, Sequence
from zlib import crc32

from sentineld.detectors.argument import PREFIX
from sentineld.event import Feature

#: Values of one opening that are remembered, and words of each.
MAX_VALUES, _MAX_WORDS = 16, 12

#: Features that say whom a call goes to.
GOES_TO = frozenset({"to.host", "to.name"})
_WORD = re.compile(r"[^\W\d_]{4,}|\d{4}-\d\d-\d\d|\d{4,}")


def named(features: Iterable[Feature]) -> list[list[int]]:
    """Return the values of a call's arguments that tell something, as hashes of their words (32 bits)."""
    found = []
    for name, value in features:
        if name.startswith(PREFIX):
            words = _words(value)
            if len(words) > 1 or (words and words[0][0].isdigit()):
                found.append([*map(_hash_of, words[:_MAX_WORDS])])
    return found


def is_about(opening: Sequence[list[int]], features: Sequence[Feature]) -> bool:
    """Say whether a call repeats one of the values that an opening named."""
    if not opening:
        return False
    aims = {value.lower() for name, value in features if name in GOES_TO}
    words = {
        _hash_of(word)
        for name, value in features
        if name.startswith(PREFIX) and value not in aims
        for word in _words(value)
    }
    return any(words.issuperset(value) for value in opening)


def _words(value: str) -> list[str]:
    # Of an address the domain is everybody's.
    return _WORD.findall(value.rpartition("@")[0] or value)


def _hash_of(word: str) -> int:
    return crc32(word.encode("utf-8", "surrogatepass"))

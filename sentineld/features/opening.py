"""Opening: what a session's first call named, before any result could have told the agent what to do.

Where telemetry carries no prompts, the first look-up is what is left of the request: it names what the user
asked about. Further calls of the same tool belong to it, until something is changed. A call that changes
something is about the opening where one value that was named there comes again, all of its words: a date, a
number, two words at least. Whom the call goes to says nothing of that, as it is in question.

Words are kept as CRC-32: who makes one collide might as well use the word.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
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
            words, does_tell = _words_of(value)
            if does_tell:
                found.append([*words[:_MAX_WORDS]])
    return found


def is_about(opening: Sequence[list[int]], features: Sequence[Feature]) -> bool:
    """Say whether a call repeats one of the values that an opening named."""
    if not opening:
        return False
    aims = [value.lower() for name, value in features if name in GOES_TO]
    words: set[int] = set()
    for name, value in features:
        if name.startswith(PREFIX) and value not in aims:
            words.update(_words_of(value)[0])
    return any(map(words.issuperset, opening))


@lru_cache(4096)
def _words_of(value: str) -> tuple[tuple[int, ...], bool]:
    """Return the words of a value, as hashes (32 bits), and whether it tells something."""
    # Of an address the domain is everybody's.
    words = _WORD.findall(value.rpartition("@")[0] or value)
    does_tell = len(words) > 1 or (bool(words) and words[0][0].isdigit())
    return tuple(map(_hash_of, words)), does_tell


def _hash_of(word: str) -> int:
    return crc32(word.encode("utf-8", "surrogatepass"))

"""Memory: what the records of one file have said that later ones need, such as a session's header.

Text by name, or by name and key (the tool of a call). Bounded: of each name the latest ``MAX_KEYS`` keys are
kept. It is stored with the file's position, so that a restart changes nothing.
"""

from collections.abc import Iterable

import msgspec

from sentineld.rows import Remembered

#: Keys of one name that are kept; the oldest leave first.
MAX_KEYS = 512
#: Characters of a key or a value; longer keys are not remembered, longer values are cut.
MAX_TEXT = 512

Memory = dict[str, dict[str, str]]

_decoder = msgspec.json.Decoder(Memory)


def load(data: bytes) -> Memory:
    """Read what ``dump`` gave; nothing is an empty memory."""
    return _decoder.decode(data) if data else {}


def dump(memory: Memory) -> bytes:
    """Return a memory as bytes."""
    return msgspec.json.encode(memory) if memory else b""


def remember(memory: Memory, name: str, key: str, value: str) -> None:
    """Add one thing; ``key`` is empty for what has one value."""
    if len(key) > MAX_TEXT:
        return
    values = memory.get(name)
    if values is None:
        values = memory[name] = {}
    else:
        # The latest stand last.
        if key in values:
            del values[key]
    values[key] = value if len(value) <= MAX_TEXT else value[:MAX_TEXT]
    if len(values) > MAX_KEYS:
        del values[next(iter(values))]


def grown(data: bytes, additions: Iterable[Remembered]) -> bytes:
    """Return a dumped memory with what was added to it, in order."""
    additions = list(additions)
    if not additions:
        return data
    memory = load(data)
    for _, name, key, value in additions:
        remember(memory, name, key, value)
    return dump(memory)

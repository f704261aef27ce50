"""Names: what text of a record becomes where it names something: agents, tools, sessions; and their digests.

The same few come again and again, so they are kept; each table is bounded and begins anew when it is full.
"""

from hashlib import blake2b

from sentineld.entropy import encode_canonical
from sentineld.ids import agent_id
from sentineld.visible import visible

#: Characters of a name.
MAX_NAME = 128

_CACHE_SIZE = 16_384
#: Copied for each digest, which takes less than to begin anew.
_BEGUN = blake2b(digest_size=16)


def clean(text: str) -> str:
    """Return a text as a name: printable and short."""
    if len(text) > MAX_NAME:
        text = text[: MAX_NAME - 1] + "\u2026"
    return text if text.isascii() and text.isprintable() else visible(text)


def digest(data: bytes) -> bytes:
    """Return the digest by which ids and contents are stored: 16 bytes of BLAKE2b."""
    state = _BEGUN.copy()
    state.update(data)
    return state.digest()


class Names(dict[str, str]):
    """Names by text."""

    def __missing__(self, text: str) -> str:
        """Make and keep a name."""
        name = clean(text)
        if len(text) <= MAX_NAME:
            if len(self) >= _CACHE_SIZE:
                self.clear()
            self[text] = name
        return name


class Agents(dict[str, str]):
    """Ids of agents by what claims them; ``nameless`` is that of an agent that nothing names."""

    def __init__(self, nameless: str) -> None:
        super().__init__()
        self._nameless = nameless

    def __missing__(self, claim: str) -> str:
        """Make and keep an id."""
        found = agent_id(claim) if claim else self._nameless
        if len(claim) <= MAX_NAME:
            if len(self) >= _CACHE_SIZE:
                self.clear()
            self[claim] = found
        return found


class Encoded(dict[str, bytes]):
    """Texts as canonical JSON."""

    def __missing__(self, text: str) -> bytes:
        """Make and keep it."""
        found = encode_canonical(text)
        if len(text) <= MAX_NAME:
            if len(self) >= _CACHE_SIZE:
                self.clear()
            self[text] = found
        return found


class Contents(dict[str, bytes]):
    """Digests of the content of events without arguments, by their tool or type."""

    def __missing__(self, text: str) -> bytes:
        """Make and keep it."""
        found = digest(encode_canonical([text, None]))
        if len(text) <= MAX_NAME:
            if len(self) >= _CACHE_SIZE:
                self.clear()
            self[text] = found
        return found


class Keys:
    """Digests of record ids, each kind of them apart by its ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self._begun = blake2b(f"{prefix}\0".encode(), digest_size=16)

    def __call__(self, text: str) -> bytes:
        """Return the digest of an id."""
        state = self._begun.copy()
        try:
            state.update(text.encode())
        except UnicodeEncodeError:
            state.update(text.encode("utf-8", "surrogatepass"))
        return state.digest()

"""Ids of agents: which texts can be one, and how any other text becomes one.

Without regular expressions: hooks, which start for every call, would wait for these to be compiled.
"""

_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/@+~-"
_MAX_ID = 128


def is_agent_id(text: str) -> bool:
    """Say whether a text can be an agent's id."""
    # Nothing is left where every character is one of these; no other test is as quick.
    return 0 < len(text) <= _MAX_ID and not text.strip(_CHARACTERS)


def agent_id(claim: str) -> str:
    """Make an agent's id of any text; what cannot stand in one is replaced, and a hash keeps ids apart.

    The same text always gives the same id, and different texts different ones.
    """
    if is_agent_id(claim):
        return claim
    # Imported here: few ids need it.
    from hashlib import blake2b

    mark = blake2b(claim.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    plain = "".join(letter if letter in _CHARACTERS else "-" for letter in claim[: _MAX_ID - 9])
    return f"{plain}~{mark}"

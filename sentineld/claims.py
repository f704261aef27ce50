"""Claims: what formats and rules say of a path: whether the file is read, and how it is framed.

Names that end like telemetry are read, and those that a format's glob matches. Below the places of formats
(``~/.claude/projects``), whoever's home they lie in, a ``.json`` file is read only where a glob says so:
agents keep indexes, settings and results of tools there.
"""

from collections.abc import Mapping as Table

from sentineld.content import NO_TELEMETRY
from sentineld.errors import ConfigError
from sentineld.framing import DOCUMENT, LINES, STREAM
from sentineld.mapping import Mapping
from sentineld.native import NATIVE
from sentineld.paths import home_directory
from sentineld.places import expand, inner_path
from sentineld.recognition import Formats
from sentineld.tree import kind_of, uncompressed_name
from sentineld.trust import Trust

#: How files are framed, by what mappings call it.
_FRAMINGS = {"jsonl": LINES, "stream": STREAM, "document": DOCUMENT}


class Claims:
    """Asked for a path, says how its file is framed (``lines``, ``stream``, ``document``).

    None: the name and the content decide; ``NO_TELEMETRY``: it is not read. Directories that are places of
    ``env``'s user count beside those below any home.
    """

    def __init__(self, formats: Formats, trust: Trust, env: Table[str, str], uid: int) -> None:
        self._formats = formats
        self._trust = trust if any(rule.format for rule in trust.rules) else None
        mappings = [] if formats.forced == NATIVE else formats.mappings
        places = [place for mapping in mappings for place in mapping.places]
        try:
            home = home_directory(env, uid)
        except ConfigError:
            home = ""
        paths = {expand(place, env, home) for place in places}
        self._above = tuple({f"{path}/" for path in paths if path})
        inner = {inner_path(place) for place in places}
        self._inside = tuple({f"/{path}/" for path in inner if path})

    def __call__(self, path: str) -> str | None:
        """Say what is claimed of a path."""
        named = self._trust.belief(path, -1).format if self._trust is not None else ""
        if named:
            return self._framing(path, self._formats.mapping(named))
        claiming = self._formats.claiming(path)
        if not claiming and kind_of(path) == DOCUMENT and self._lies_in_place(path):
            return NO_TELEMETRY
        if self._formats.forced:
            forced = self._formats.mapping(self._formats.forced)
            is_meant = forced in claiming or kind_of(path) is not None
            claiming = [forced] if forced is not None and is_meant else []
        if not claiming:
            return None
        return self._framing(path, next((item for item in claiming if item.framing), claiming[0]))

    def _framing(self, path: str, mapping: Mapping | None) -> str | None:
        if uncompressed_name(path):
            # What is inside of it is framed, not the file.
            return None
        framing = _FRAMINGS.get(mapping.framing) if mapping is not None else None
        return framing if kind_of(path) is not None else framing or LINES

    def _lies_in_place(self, path: str) -> bool:
        return path.startswith(self._above) or any(inside in path for inside in self._inside)

"""Recognition: which format a file is in, by its path and its first records.

A mapping whose glob matches the path comes first, unless it says what its records look like and none of the
first ones does. Then the native format, by the members that every native record has; then any mapping by what
its records look like; then the path alone, for records change more often than places. A file that nothing
recognises is read as native, and looked at again with every chunk: so everything in it is rejected with the
reason why.
"""

import json
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Table
from hashlib import blake2b
from typing import Any, NamedTuple

from sentineld.decode import Decoded, Record, Reject
from sentineld.features import Features
from sentineld.mapping import FileContext, Mapping
from sentineld.native import NATIVE, NativeMapping, name_of
from sentineld.path_glob import telling_text
from sentineld.rows import Rows
from sentineld.taxonomy import Taxonomy

#: Records of a chunk that are looked at.
_FIRST = 16


class Recognition(NamedTuple):
    """Which format a file is in (empty: it cannot be told), and why, as the end of a sentence."""

    format: str
    why: str


class Formats:
    """All formats that are known: the native one and ``mappings``, in the order in which they are tried.

    ``forced`` is the format of every file (empty: each is recognised).
    """

    def __init__(
        self,
        mappings: Iterable[Mapping] = (),
        forced: str = "",
        taxonomy: Taxonomy | None = None,
        extra: Table[str, Any] | None = None,
        features: Features | None = None,
    ) -> None:
        """Raise ``KeyError`` where the forced format is unknown.

        ``taxonomy`` is for native records; ``extra`` is what was added to it. ``features`` are those of
        native records, where learned detection decides.
        """
        self._taxonomy = taxonomy or Taxonomy()
        self._extra = dict(extra or {})
        self._features = features
        self.native = NativeMapping(self._taxonomy, features)
        self._mappings = {mapping.name: mapping for mapping in mappings}
        #: A text that a path must have for one of a mapping's globs to match, for every glob.
        self._texts = [
            (telling_text(glob), mapping) for mapping in self._mappings.values() for glob in mapping.globs
        ]
        self.forced = forced = name_of(forced)
        if forced and forced not in self.names:
            raise KeyError(forced)

    def force(self, name: str) -> "Formats":
        """Return the same formats, with another one forced."""
        forced = name if name_of(name) in self.names else ""
        return Formats(self._mappings.values(), forced, self._taxonomy, self._extra, self._features)

    def to_plain(self) -> dict[str, str]:
        """Return what a replay must know to tell whether it reads by the same formats."""
        digest = blake2b(digest_size=16)
        for mapping in self._mappings.values():
            digest.update(mapping.digest)
        if self._extra:
            digest.update(json.dumps(self._extra, sort_keys=True).encode())
        return {"forced": self.forced, "digest": digest.hexdigest()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all formats."""
        return (NATIVE, *self._mappings)

    def mapping(self, name: str) -> Mapping | None:
        """Return a format's mapping; None for the native one, and for one that is not known any more."""
        return self._mappings.get(name)

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """The mappings of all formats but the native one."""
        return tuple(self._mappings.values())

    def claiming(self, path: str) -> list[Mapping]:
        """Return the mappings with a glob that matches a path."""
        likely = dict.fromkeys([mapping for text, mapping in self._texts if text in path])
        return [mapping for mapping in likely if mapping.parts(path) is not None]

    def recognise(self, path: str, records: Sequence[Record]) -> str:
        """Return the name of the format that a file is in; empty where it cannot be told yet."""
        return self.explain(path, records).format

    def explain(self, path: str, records: Sequence[Record]) -> Recognition:
        """Recognise a file's format by its path and its first records, and say why."""
        if self.forced:
            return Recognition(self.forced, "it is forced for all files")
        first = records[:_FIRST]
        if not first:
            return Recognition("", "it holds no record yet")
        by_path = self.claiming(path)
        for mapping in by_path:
            if not mapping.has_match:
                return Recognition(mapping.name, "its glob matches the path")
            if any(map(mapping.matches, first)):
                return Recognition(
                    mapping.name, "its glob matches the path, its `match` one of the first records"
                )
        if any(map(_is_native, first)):
            return Recognition(NATIVE, "one of the first records has `type` and `source`")
        for mapping in self._mappings.values():
            if any(map(mapping.matches, first)):
                return Recognition(mapping.name, "its `match` holds for one of the first records")
        if by_path:
            return Recognition(by_path[0].name, "its glob matches the path, though its `match` no record yet")
        return Recognition("", "no glob matches its path, no `match` its first records")

    def rows(
        self, name: str, decoded: Decoded, context: FileContext, agent: str = ""
    ) -> tuple[Rows, list[Reject]]:
        """Turn decoded records into rows by a format; ``agent`` is for native records that claim none."""
        mapping = self._mappings.get(name)
        if mapping is None:
            return self.native.rows(decoded, agent, context.role)
        return mapping.rows(decoded, context)


def _is_native(record: Record) -> bool:
    # ``specversion`` is required of CloudEvents, which have the other members too.
    return (
        type(record.get("type")) is str and type(record.get("source")) is str and "specversion" not in record
    )

"""Mapping: from decoded records of any format to rows, as a TOML file declares.

The language is documented in docs/mapping.md. A file holds one or more ``[[source]]``; each has
``[[source.event]]`` tables. A record is every event whose ``when`` holds (for ``each`` item of it where that
is given), or none; one that no table knows is counted by its ``kind``.

What files are meant is compiled at once, what their records become when the first of them is read (or when
``check`` is called). What an agent writes can make an event odd, but never an error: values of the wrong kind
count as absent, and a tool call without a usable time, id or agent still counts.
"""

import json
import re
from collections.abc import Mapping as Table
from collections.abc import Sequence
from typing import Any

from sentineld.condition import compile_condition
from sentineld.declaration import Declaration, MappingError, at_key, check_keys, defined
from sentineld.decode import Decoded, Record, Reject
from sentineld.dispatch import Dispatch
from sentineld.emission import Call, Classify, Emission
from sentineld.ids import agent_id
from sentineld.names import digest
from sentineld.path_glob import compile_glob
from sentineld.reading import FileContext, Reading, Trace, TracedEvent
from sentineld.rows import Rows
from sentineld.selector import RECORD, Scope

__all__ = [
    "Call",
    "Classify",
    "FileContext",
    "Mapping",
    "MappingError",
    "Trace",
    "TracedEvent",
    "agent_id",
]

#: How a file holds its records.
FRAMINGS = ("jsonl", "stream", "document")
TIME_UNITS = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 0.001}

_SOURCE_KEYS = (
    "name",
    "description",
    "glob",
    "match",
    "framing",
    "places",
    "kind",
    "time_unit",
    "define",
    "each",
    "defaults",
    "event",
)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CACHE_SIZE = 16_384
#: Sets of named parts of paths that get functions of their own.
_MAX_DISPATCHES = 8


class Mapping:
    """One ``[[source]]``."""

    def __init__(self, table: Table[str, Any], classify: Classify, key: str = "source") -> None:
        """Read a table; ``classify`` gives tools their classes. Raises ``MappingError``.

        Mistakes in its events show when ``check`` is called.
        """
        if not isinstance(table, dict):
            raise MappingError(key, "a table was expected", "[[source]]")
        self._classify = classify
        self.digest = digest(json.dumps(table, sort_keys=True, default=str).encode())
        check_keys(table, _SOURCE_KEYS, key)
        self._table, self._place = defined(table, key), key
        table = self._table
        self.name = _text(table, "name", key)
        if not _NAME.fullmatch(self.name):
            raise MappingError(f"{key}.name", f"{self.name!r} is no name", "a-z 0-9 _ -, at most 64")
        self.description = str(table.get("description", ""))
        self.framing = _choice(table, "framing", FRAMINGS, key, "")
        self.places = tuple(_texts(table, "places", key))
        self.globs = tuple(_texts(table, "glob", key))
        with at_key(f"{key}.glob"):
            self._globs = [compile_glob(glob) for glob in self.globs]
        unit = _choice(table, "time_unit", tuple(TIME_UNITS), key, "")
        self._factor = TIME_UNITS[unit] if unit else None
        with at_key(f"{key}.match"):
            self._match = compile_condition(table["match"]).test if "match" in table else None
        self._paths: dict[str, dict[str, str] | None] = {}
        self._declared: tuple[Declaration, Emission] | None = None
        #: By the named parts that paths have, and that for all others.
        self._dispatches: dict[frozenset[str] | None, Dispatch] = {}

    def check(self) -> None:
        """Compile what has not been yet. Raises ``MappingError``."""
        self._compiled(None).make_all()

    # Recognising.

    def parts(self, path: str) -> dict[str, str] | None:
        """Return the named parts of a path that one of the globs matches; None where none does."""
        try:
            return self._paths[path]
        except KeyError:
            # The watch asks too, from a thread of its own.
            if len(self._paths) >= _CACHE_SIZE:
                self._paths.clear()
            found = next(filter(None, (glob.fullmatch(path) for glob in self._globs)), None)
            parts = None if found is None else {k: v or "" for k, v in found.groupdict().items()}
            self._paths[path] = parts
            return parts

    def matches(self, record: Record) -> bool:
        """Say whether a record looks like one of this format; False where nothing is said of that."""
        return self._match is not None and self._match(Scope({RECORD: record}))

    @property
    def has_match(self) -> bool:
        """Whether the format says what its records look like."""
        return self._match is not None

    # Reading.

    def rows(self, decoded: Decoded, context: FileContext) -> tuple[Rows, list[Reject]]:
        """Turn decoded records into rows, in order. Nothing is rejected: what is no event is ignored."""
        return self._read(decoded.records, decoded.offsets, context, None), []

    def trace(self, record: Record, offset: int, context: FileContext) -> tuple[Rows, Trace]:
        """Read one record as ``rows`` does, and tell what became of it."""
        trace = Trace()
        return self._read([record], [offset], context, trace), trace

    def _read(
        self, records: Sequence[Record], offsets: list[int], context: FileContext, trace: Trace | None
    ) -> Rows:
        parts = self.parts(context.path) or {}
        reading = Reading(context, parts, trace)
        names = frozenset(name for name, part in parts.items() if part)
        self._compiled(names or None).run(records, offsets, reading, is_traced=trace is not None)
        return reading.rows(offsets)

    def _compiled(self, parts: frozenset[str] | None) -> Dispatch:
        if parts not in self._dispatches:
            if self._declared is None:
                emission = Emission(self.name, self._classify, self._factor)
                self._declared = Declaration(self._table, self._place), emission
            if parts is not None and len(self._dispatches) >= _MAX_DISPATCHES:
                return self._compiled(None)
            self._dispatches[parts] = Dispatch(*self._declared, parts)
        return self._dispatches[parts]


def _text(table: Table[str, Any], name: str, key: str) -> str:
    value = table.get(name)
    if not isinstance(value, str):
        raise MappingError(f"{key}.{name}", f"`{name}` is missing or no text")
    return value


def _texts(table: Table[str, Any], name: str, key: str) -> list[str]:
    value = table.get(name, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(item, str) and item for item in texts):
        raise MappingError(f"{key}.{name}", "a list of texts was expected")
    return texts


def _choice(table: Table[str, Any], name: str, known: Sequence[str], key: str, default: str) -> str:
    value = table.get(name, default)
    if value != default and value not in known:
        raise MappingError(f"{key}.{name}", f"{value!r} is none of {', '.join(known)}")
    return str(value)

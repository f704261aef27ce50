"""Places: where agents write when nobody told them otherwise, found for one user.

A mapping names them with ``~`` and ``${NAME:-default}``. Only what belongs to the user itself is found: what
somebody else put at such a path is not that user's agent.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sentineld.paths import home_directory
from sentineld.recognition import Formats

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
_HOME = "~/"


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a format: ``path`` is absolute, a directory or a file."""

    format: str
    path: str


@dataclass(slots=True)
class Places:
    """The places of all formats for one user: those that exist, those that do not, and those of others.

    What cannot be looked at counts as another's.
    """

    found: list[Place] = field(default_factory=list)
    missing: list[Place] = field(default_factory=list)
    foreign: list[Place] = field(default_factory=list)

    @property
    def directories(self) -> list[str]:
        """What is to be watched: every place that was found once, and none that lies below another."""
        paths = sorted({place.path for place in self.found})
        return [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]


def find_places(formats: Formats, env: Mapping[str, str], uid: int) -> Places:
    """Look for the places of all formats; where one is forced, for its own.

    Raises ``ConfigError`` for a user without a home directory.
    """
    places = Places()
    for place in _places(formats, env, uid):
        try:
            status = os.stat(place.path)
        except OSError as error:
            is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            (places.missing if is_missing else places.foreign).append(place)
            continue
        if status.st_uid != uid:
            places.foreign.append(place)
        elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
            places.found.append(place)
        else:
            places.missing.append(place)
    return places


def expand(place: str, env: Mapping[str, str], home: str) -> str | None:
    """Return a place's absolute path; None where a variable of it is not set and has no default.

    A variable that is not an absolute path counts as unset, as everywhere. Wildcards end it: see ``_fixed``.
    """
    is_known = True

    def value(found: re.Match[str]) -> str:
        nonlocal is_known
        text = env.get(found[1], "")
        if text.startswith("/"):
            return text
        is_known = is_known and found[2] is not None
        return found[2] or ""

    text = _VARIABLE.sub(value, place)
    if text.startswith(_HOME):
        text = os.path.join(home, text.removeprefix(_HOME))
    return _fixed(text) if is_known and text.startswith("/") else None


def inner_path(place: str) -> str | None:
    """Return what a place is called below any user's home; None for one that does not lie in a home."""
    text = _VARIABLE.sub(lambda found: found[2] or "", place)
    return _fixed(text.removeprefix(_HOME)) if text.startswith(_HOME) else None


def _fixed(path: str) -> str:
    """Return a path up to its first wildcard: what comes to match it later is watched too."""
    parts = os.path.normpath(path).split("/")
    wild = next((number for number, part in enumerate(parts) if "*" in part or "?" in part), len(parts))
    return "/".join(parts[:wild])


def _places(formats: Formats, env: Mapping[str, str], uid: int) -> Iterator[Place]:
    home = home_directory(env, uid)
    seen = set()
    for name in formats.names:
        mapping = formats.mapping(name)
        if mapping is None or formats.forced not in ("", name):
            continue
        for text in mapping.places:
            path = expand(text, env, home)
            if path is not None and (name, path) not in seen:
                seen.add((name, path))
                yield Place(name, path)

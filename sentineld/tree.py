"""Tree: which names below a telemetry directory carry telemetry, and how the directory is searched.

No link is followed, on no level; the depth is bounded; a large directory is listed in pieces.
"""

import os
import re
from collections.abc import Callable, Iterator
from operator import attrgetter

from sentineld.evidence import Trouble, os_trouble
from sentineld.framing import COMPRESSED_LINES, DOCUMENT, LINES

#: Endings of names that carry telemetry.
_ENDINGS = (".jsonl", ".ndjson", ".json")
_ROTATION = r"[.-][0-9][0-9TZ_.:-]*"
#: What a rotation can end with: to look at one character first is cheaper than to try all.
_ROTATION_ENDS = frozenset("0123456789TZ_.:-")
#: Names that carry telemetry, rotated (``x.jsonl.1``, ``x.json-20260101``) or not.
_NAME = re.compile(rf"\.(?P<ending>jsonl|ndjson|json)(?:{_ROTATION})?\Z")
#: Rotated names of any ending: ``x.jsonl.1``, ``x.log-20260101``.
_ROTATED = re.compile(rf"(?P<base>.+?\.[A-Za-z][A-Za-z0-9_]*){_ROTATION}\Z", re.DOTALL)
#: Names of compressed files that are read.
_COMPRESSED_NAME = ".jsonl.zst"
#: What compressing adds to a name.
COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".lz4")
#: A number, and one number, at the end of a name whose ending stays: ``x.1.jsonl``, ``x-20260101.jsonl``.
_KEPT_ROTATION = re.compile(rf"(?<=[^/]){_ROTATION}\Z")
_LAST_ROTATION = re.compile(r"(?<=[^/])[.-][0-9][0-9TZ_:]*\Z")
_MAX_DEPTH = 32
#: Names that are listed without a pause.
_PIECE = 1024
#: Names of a directory that are held at a time.
_LISTED = 16_384


def kind_of(name: str) -> str | None:
    """Return how a file of this name is framed: ``lines``, ``document`` or ``compressed`` (lines).

    None: it carries no telemetry.
    One that is named like a document may hold something else: see ``framing.sniff``.
    """
    found = _NAME.search(name)
    if found is None:
        return COMPRESSED_LINES if name.endswith(_COMPRESSED_NAME) else None
    return DOCUMENT if found["ending"] == "json" else LINES


def keeps_ending(path: str) -> bool:
    """Say whether a name ends as names do that were not rotated, or whose ending stays."""
    return path.endswith(_ENDINGS)


def base_name(path: str) -> str:
    """Return the name that a rotated file had before; empty for one that was not rotated."""
    rotated = _ROTATED.match(path) if path[-1:] in _ROTATION_ENDS else None
    if rotated is not None:
        return rotated["base"]
    stem, ending = _split(path)
    shorter = _KEPT_ROTATION.sub("", stem) if ending and stem[-1:] in _ROTATION_ENDS else stem
    return shorter + ending if shorter != stem else ""


def base_names(path: str) -> list[str]:
    """Return the names that a rotated file may have had, the latest first: rotated ones are rotated too."""
    names = []
    stem, ending = _split(path)
    while ending and stem[-1:] in _ROTATION_ENDS and (shorter := _LAST_ROTATION.sub("", stem)) != stem:
        stem = shorter
        names.append(stem + ending)
    return names or [name for name in (base_name(path),) if name]


def _split(path: str) -> tuple[str, str]:
    if not path.endswith(_ENDINGS):
        return path, ""
    stem, dot, ending = path.rpartition(".")
    return stem, dot + ending


def uncompressed_name(path: str) -> str:
    """Return the name that a compressed file had before; empty for one that is not compressed."""
    name, ending = os.path.splitext(path)
    return name if ending in COMPRESSED else ""


def walk(directory: str, on_trouble: Callable[[Trouble], None]) -> Iterator[os.DirEntry[str]]:
    """Yield the entries below a directory that are no directories; links are not followed."""
    return (entry for entry in walk_in_pieces(directory, on_trouble) if entry is not None)


def walk_in_pieces(
    directory: str, on_trouble: Callable[[Trouble], None]
) -> Iterator[os.DirEntry[str] | None]:
    """Yield as ``walk`` does, and None now and then where listing a large directory takes time.

    Entries come in the order of their names, in a large directory so many at a time: whoever makes a million
    of them shall not fill our memory.
    """
    # Of each directory on the way down: what is left of its listing, and directories found by now.
    stack: list[tuple[Iterator[list[os.DirEntry[str]] | None], list[str]]] = []
    stack.append((_listing(directory, on_trouble), []))
    while stack:
        listing, below = stack[-1]
        if below:
            stack.append((_listing(below.pop(), on_trouble), []))
            continue
        try:
            entries = next(listing)
        except StopIteration:
            stack.pop()
            continue
        yield None
        for entry in entries or ():
            try:
                is_directory = entry.is_dir(follow_symlinks=False)
            except OSError as error:
                on_trouble(os_trouble(entry.path, error))
                continue
            if not is_directory:
                yield entry
            elif len(stack) <= _MAX_DEPTH:
                below.append(entry.path)
            else:
                on_trouble(Trouble("too_deep", entry.path, f"deeper than {_MAX_DEPTH} directories"))


def _listing(path: str, on_trouble: Callable[[Trouble], None]) -> Iterator[list[os.DirEntry[str]] | None]:
    """Yield the entries of a directory, ``_LISTED`` at a time, each time sorted; None is a pause."""
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                found.append(entry)
                if len(found) == _LISTED:
                    found.sort(key=attrgetter("name"))
                    yield found
                    found = []
                elif not len(found) % _PIECE:
                    yield None
    except FileNotFoundError:
        # It went away while its parent was searched.
        return
    except OSError as error:
        on_trouble(os_trouble(path, error))
        return
    yield None
    found.sort(key=attrgetter("name"))
    yield found

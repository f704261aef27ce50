"""Tree: which names below a telemetry directory carry telemetry, and how the directory is searched.

No link is followed, on no level; the depth is bounded; a large directory is listed in pieces.
"""

import os
import re
from collections.abc import Callable, Iterator
from operator import attrgetter

from sentineld.evidence import Trouble, os_trouble

LINES, DOCUMENT = "jsonl", "json"

#: Names that carry telemetry: ``x.jsonl`` and ``x.json``, and rotated ``x.jsonl.1``, ``x.jsonl-20260101``.
_LINES_NAME = re.compile(r"\.jsonl(?P<rotation>[.-][0-9][0-9TZ_.:-]*)?\Z")
#: Rotated names whose ending stays: ``x.1.jsonl``, ``x-20260101.jsonl``.
_KEPT_ENDING = re.compile(r"(?P<stem>.+?)[.-][0-9][0-9TZ_.:-]*\.jsonl\Z", re.DOTALL)
#: What compressing adds to a name.
COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".lz4")
#: One number at the end of such a name.
_LAST_ROTATION = re.compile(r"(?<=[^/])[.-][0-9][0-9TZ_:]*\Z")
_MAX_DEPTH = 32
#: Names that are listed without a pause.
_PIECE = 1024


def kind_of(name: str) -> str | None:
    """Return ``jsonl`` or ``json`` for a file name that carries telemetry, else None."""
    if name.endswith(".json"):
        return DOCUMENT
    return LINES if _LINES_NAME.search(name) else None


def base_name(path: str) -> str:
    """Return the name that a rotated file had before; empty for one that was not rotated."""
    name = _LINES_NAME.search(path)
    if name is not None and name["rotation"]:
        return path[: name.start("rotation")]
    kept = _KEPT_ENDING.match(path)
    return f"{kept['stem']}.jsonl" if kept is not None else ""


def base_names(path: str) -> list[str]:
    """Return the names that a rotated file may have had, the latest first: rotated ones are rotated too."""
    names = []
    stem = path.removesuffix(".jsonl")
    while stem != path and (shorter := _LAST_ROTATION.sub("", stem)) != stem:
        stem = shorter
        names.append(f"{stem}.jsonl")
    return names or [name for name in (base_name(path),) if name]


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
    """Yield as ``walk`` does, and None now and then where listing a large directory takes time."""
    stack = [(directory, 0)]
    while stack:
        path, depth = stack.pop()
        found: list[os.DirEntry[str]] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    found.append(entry)
                    if not len(found) % _PIECE:
                        yield None
        except FileNotFoundError:
            # It went away while its parent was searched.
            continue
        except OSError as error:
            on_trouble(os_trouble(path, error))
            continue
        yield None
        found.sort(key=attrgetter("name"))
        yield None
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif depth < _MAX_DEPTH:
                stack.append((entry.path, depth + 1))
            else:
                on_trouble(Trouble("too_deep", entry.path, f"deeper than {_MAX_DEPTH} directories"))

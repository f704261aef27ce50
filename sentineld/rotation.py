"""Rotation: which file a rotated or copied one is named after, and whether that one is still whole."""

import os
from contextlib import suppress

from sentineld import identity
from sentineld.files import Files
from sentineld.identity import Source
from sentineld.tree import base_names

#: A source, and whether what was read of it still stands in its file (None: unknown).
Named = tuple[Source, bool | None]


def base_of(files: Files, path: str) -> str:
    """Return the name that a rotated file had before, here or (logrotate's ``olddir``) one level up."""
    bases = base_names(path)
    for base in bases:
        if base in files.inode_of:
            return base
    for base in bases:
        directory, name = os.path.split(base)
        above = os.path.join(os.path.dirname(directory), name)
        if above in files.inode_of:
            return above
    return bases[-1] if bases else ""


def named(files: Files, base: str) -> list[Named]:
    """Return what is known of the files that have or had a name, and whether what was read stands there.

    None: after a restart nobody has met it yet. One that is whole under another name is left out. One that is
    whole without any name was removed, or another file took its place: that may be the one in question.
    """
    found: list[Named] = []
    for key in dict.fromkeys([files.inode_of.get(base), files.former.get(base)]):
        for source in files.known_at(key):
            is_here, is_whole = _look_at(files, source, base)
            if is_here or not is_whole:
                found.append((source, is_whole))
    return found


def _look_at(files: Files, source: Source, base: str) -> tuple[bool, bool | None]:
    """Say whether a source's file stands at a path (or nowhere any more), and whether it is whole."""
    followed = files.followed(source)
    fd = opened = None
    try:
        with suppress(OSError):
            opened = files.open_path(base)
        is_here = opened is not None and identity.inode(opened) == (source.dev, source.ino)
        fd = opened if is_here else None if followed is None else files.descriptor(followed)
        if fd is None:
            return False, None
        status = os.fstat(fd)
        verdict = identity.verdict(fd, status, source, identity.generation(fd))
    except OSError:
        return False, None
    finally:
        if opened is not None:
            os.close(opened)
    if verdict == "replaced":
        # The file is gone, and another one has its inode.
        return False, True
    return is_here or not status.st_nlink, verdict is None

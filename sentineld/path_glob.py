"""Globs of mappings: which files are meant by their paths, and which parts of a path have a name."""

import re

_NAME = re.compile(r"[A-Za-z_]\w{0,63}")
_PIECE = re.compile(r"\*+|\?|\{[^{}]*\}|[^*?{]+|\{")


class GlobError(ValueError):
    """A glob that means nothing; the message says why."""


def compile_glob(glob: str) -> re.Pattern[str]:
    """Compile a glob: ``*`` is any text, ``?`` one character, ``{name}`` a named part of a directory's name.

    ``*`` crosses slashes. A relative glob may begin below any directory. Raises ``GlobError``.
    """
    names: set[str] = set()
    chunks = [""]
    for piece in _PIECE.findall(glob):
        if piece.startswith("*"):
            chunks.append("")
        elif piece == "?":
            chunks[-1] += "[^/]"
        elif piece.startswith("{"):
            name = piece[1:-1]
            if not _NAME.fullmatch(name) or name in names:
                raise GlobError(f"{piece} is no new name of a part: letters, digits and _, each name once")
            names.add(name)
            chunks[-1] += f"(?P<{name}>[^/]+?)"
        else:
            chunks[-1] += re.escape(piece)
    start = "" if glob.startswith("/") else "(?:.*?/)??"
    if len(chunks) == 1:
        return re.compile(start + chunks[0], re.DOTALL)
    # All but the last star take as little as they can, once and for all: names that agents choose must not
    # make the search try every way to share them out.
    first, *others, last = chunks
    middle = "".join(f"(?>.*?{chunk})" for chunk in others)
    return re.compile(f"(?>{start}{first}){middle}.*{last}", re.DOTALL)


def telling_text(glob: str) -> str:
    """Return a text that every path has that a glob matches, the one that the fewest others have.

    To look for it is far cheaper than to match the glob. The last text of a glob is mostly an ending, which
    all telemetry has.
    """
    texts = [piece for piece in _PIECE.findall(glob) if piece[0] not in "*?{"]
    return max(texts[:-1] or texts, key=len, default="")

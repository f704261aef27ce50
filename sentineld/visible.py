"""Text that agents supplied, made safe to show on a terminal and in a log.

What is not printable (Unicode's controls, separators, format characters, surrogates and unassigned code
points, as of ``str.isprintable``) is escaped, and so is what is printable by Unicode's classes and yet shows
nothing: fillers and variation selectors. Printable letters of any script stay as they are.
JSON needs none of this: ``json.dumps`` escapes all but printable ASCII, DEL included.
"""

import json

#: Characters shown of one text.
MAX_TEXT = 400

#: Letters, marks and symbols that fonts show as nothing (most of Unicode's Default_Ignorable_Code_Point that
#: are printable, and the blank Braille pattern): a name could hide text in them, or look like another name.
#: No regular expression: hooks, which start for every call, would wait for it to be compiled.
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def visible(text: str, limit: int = MAX_TEXT) -> str:
    """Return text with everything but printable characters escaped, cut to ``limit`` characters."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(map(_escape, cut))


def json_line(document: object) -> bytes:
    """Encode a document as one line of JSON in printable ASCII, LF included."""
    return json.dumps(document).encode("ascii") + b"\n"


def _escape(char: str) -> str:
    if char.isprintable() and char not in _BLANK:
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")

"""Text that agents supplied, made safe to show on a terminal and in a log.

What is not printable (Unicode's controls, separators, format characters, surrogates and unassigned code
points, as of ``str.isprintable``) is escaped, and so is what is printable by Unicode's classes and yet shows
nothing: fillers and variation selectors. Printable letters of any script stay as they are.
JSON needs none of this: ``json.dumps`` escapes all but printable ASCII, DEL included.
"""

import json
import re

#: Characters shown of one text.
MAX_TEXT = 400

#: Letters, marks and symbols that fonts show as nothing (most of Unicode's Default_Ignorable_Code_Point that
#: are printable, and the blank Braille pattern): a name could hide text in them, or look like another name.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
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
    if char.isprintable() and not _BLANK.match(char):
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")

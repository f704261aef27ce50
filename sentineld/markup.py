r"""Text that agents supplied, made to mean nothing where others give text a meaning.

Messages are shown by mail programs, chats and terminals, which turn ``*this*``, ``[this](there)``, ``@this``,
``<this>``, ``:this:`` and ``this.com`` into markup, links and mentions, each by rules of its own. No way of
quoting is known to all of them. So whatever can be part of such a thing is escaped as Python does it, and a
backslash before a letter means nothing to any of them: ``\x40everyone``, ``evil\x2ecom``.
"""

import re
import unicodedata

from sentineld.visible import MAX_TEXT, visible

#: What stays: words, and what may stand in them. Underscores at the end of a word can begin markup, and dots
#: in the middle of one a link.
_KEPT = re.compile(r"[A-Za-z0-9 ,/=%-]|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9])|\.(?!\w)")
#: Classes of ``unicodedata.bidirectional`` that leave the order of other text alone.
_LEFT_TO_RIGHT = ("L", "EN")


def inert(text: str, limit: int = MAX_TEXT) -> str:
    """Return text that is a run of plain words everywhere, cut to ``limit`` characters.

    Letters and digits of scripts that are written from left to right stay; everything else is escaped, and
    different texts stay different.
    """
    cut = text if len(text) <= limit else text[:limit] + "..."
    return "".join(
        char if _KEPT.match(cut, at) or _is_letter(char) else _escaped(char) for at, char in enumerate(cut)
    )


def _is_letter(char: str) -> bool:
    is_word = not char.isascii() and char.isalnum() and visible(char) == char
    return is_word and unicodedata.bidirectional(char) in _LEFT_TO_RIGHT


def _escaped(char: str) -> str:
    number = ord(char)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )

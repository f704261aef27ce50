"""Prose: sentences for a terminal, filled to its width. What is to be copied stays on one line.

Lines of tables, and whatever scripts read, do not come this way.
"""

import os
import re
import textwrap

#: Without a terminal, and at most: longer lines are hard to read.
_WIDTH, _MOST, _LEAST = 80, 100, 40
#: Where a command may begin in a sentence, and a word of one: what is quoted belongs to it.
_BEGIN = r"(?:^|(?<=[:;,] )|(?<=\()|(?<= or )|(?<=then )|(?<=with )|(?<=and ))"
_WORD = r"""(?:'[^']*'|"[^"]*"|[^\s;,'"()]|[;,](?=\S))+"""
_PROGRAM = (
    r"(?:sudo )?(?:python3? -m )?(?:sentineld|apt|chgrp|chmod|chown|cp|df|findmnt|getent|gpasswd|journalctl"
    r"|ls|mkdir|mv|pip|pipx|ps|rm|rmdir|stat|sysctl|systemctl|timedatectl|usermod|uv)"
)
_COMMAND = re.compile(f"{_BEGIN}{_PROGRAM}(?: {_WORD})+")
#: Stands for a space that no line may end at.
_FIRM = "\N{NO-BREAK SPACE}"


def width() -> int:
    """Return how many columns prose may take: as many as the terminal has, or ``COLUMNS`` says; else 80."""
    try:
        told = int(os.environ.get("COLUMNS", "0"))
    except ValueError:
        told = 0
    for stream in (1, 2):
        try:
            told = told or min(_MOST, os.get_terminal_size(stream).columns)
        except OSError:
            continue
    return max(_LEAST, told or _WIDTH)


def counted(number: int, noun: str) -> str:
    """Return a number with what it counts: ``1 event``, ``2 events``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def filled(text: str, *, first: str = "", indent: str = "  ", columns: int = 0) -> str:
    """Break a text into lines, between words and outside commands; ``columns`` 0: as wide as ``width()``.

    ``first`` begins the first line, ``indent`` all others.
    """
    firm = _COMMAND.sub(lambda command: command[0].replace(" ", _FIRM), text)
    lines = textwrap.wrap(
        firm,
        columns or width(),
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(_FIRM, " ") if lines else first.rstrip()

"""Draw the picture of the README, docs/demo.svg: what `sentineld demo` printed on a terminal of 80 columns.

python docs/picture.py           run the demo, as it is, and draw it (a minute)
python docs/picture.py --fast    the same without pauses
"""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURE = Path(__file__).parent / "demo.svg"
WIDTH = 80
TITLE = "sentineld demo"
#: Dark, and readable on light pages and dark ones: background, text, and the eight colours of a terminal.
THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (72, 79, 88),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (201, 209, 217),
    ],
)
#: Fonts that the drawing would fetch from elsewhere: the reader's own serve as well.
_FETCHED_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def record(*arguments: str) -> str:
    """Return what the demo prints on a terminal, colours and all. Raises where it does not succeed."""
    terminal, end = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    env.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "sentineld", "demo", *arguments]
    process = subprocess.Popen(command, stdout=end, stdin=end, env=env)  # noqa: S603 (ourselves)
    os.close(end)
    shown = b""
    # A terminal ends with an error as soon as nobody writes to it any more.
    try:
        while part := os.read(terminal, 65_536):
            shown += part
    except OSError:
        pass
    os.close(terminal)
    if process.wait() != 0:
        sys.exit(f"the demo did not show what it promises:\n{shown.decode()}")
    return shown.decode().replace("\r\n", "\n")


def draw(text: str) -> str:
    """Return the picture of what stood on a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(Text.from_ansi(text.rstrip()), soft_wrap=True)
    drawn = console.export_svg(title=TITLE, theme=THEME, unique_id="demo")
    return _FETCHED_FONT.sub("", drawn)


if __name__ == "__main__":
    PICTURE.write_text(draw(record(*sys.argv[1:])), encoding="utf-8")
    print(f"wrote {PICTURE}")

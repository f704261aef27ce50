"""What the documentation shows: blocks of code, commands, and what these print."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentineld.shell import parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page: its language, its text, the line where it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


class Step(NamedTuple):
    """A command that a console block shows, and what it prints ("..." stands for anything)."""

    command: str
    output: str

    def fits(self, printed: str) -> bool:
        """Say whether something that was printed is what the page shows."""
        parts = map(re.escape, re.split(r"\.\.\.", self.output.strip()))
        return re.fullmatch(".*?".join(parts), printed.strip(), re.DOTALL) is not None


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[2], found[3])
        for found in _FENCE.finditer(text)
    ]


def steps(page: Path) -> list[Step]:
    """Return the commands of a page's console blocks, in order."""
    found = []
    for block in blocks(page):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append(Step(command, output))
    return found


def invocations(block: Block) -> Iterator[list[str]]:
    """Yield the words of every call of sentineld in a block of commands."""
    text = block.text
    if block.language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    for command in parse(text):
        words = command.words
        if words[:1] == ["sudo"]:
            words = words[1:]
            while words and words[0].startswith("-"):
                words = words[2:] if words[0] in ("-u", "-g") else words[1:]
        if words and words[0].rpartition("/")[2] == "sentineld":
            yield words[1:]

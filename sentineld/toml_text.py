"""The text of a TOML file: where its keys stand, and what is probably meant where it cannot be read.

``tomllib`` tells no lines but for text that is no TOML.
"""

import re

#: Where tomllib found a fault: line and column, from 1.
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)")
_SETTING = re.compile(r"\s*([\w.-]+)\s*=\s*(\[?)\s*([^\s,\]#]*)")
_NUMBER = re.compile(r"[+-]?[\d_.]+(?:[eE][+-]?\d+)?")
_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_NAMES = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_NAMES})\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(rf"\s*({_NAMES})\s*=")
_LAST = re.compile(r"(?:\.[^.\[\]]*|\[[^\]]*\])$")


def lines_of(text: str) -> dict[str, int]:
    """Return the line (from 1) of every key and table: ``limits.files``, ``telemetry.sources[1].path``.

    Found line by line, so members of inline tables and what stands in quotes over several lines are not.
    """
    found: dict[str, int] = {}
    #: Tables that have no header of their own, such as ``state`` where there is a ``[state.keys]``.
    implied: dict[str, int] = {}
    counts: dict[str, int] = {}
    table, quotes = "", ""
    # As editors and tomllib count: there are characters at which only Python ends a line.
    for number, line in enumerate(text.split("\n"), 1):
        if not quotes:
            if line.lstrip().startswith("#"):
                continue
            header = _HEADER.fullmatch(line)
            setting = _KEY.match(line)
            if header:
                table = _plain(header[2])
                found.setdefault(table, number)
                for at in (match.start() for match in re.finditer(r"\.", table)):
                    implied.setdefault(table[:at], number)
                if header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table += f"[{counts[table]}]"
                    found.setdefault(table, number)
            elif setting:
                found.setdefault(f"{table}.{_plain(setting[1])}".lstrip("."), number)
        for mark in ('"""', "'''"):
            if quotes in ("", mark) and line.count(mark) % 2:
                quotes = "" if quotes else mark
    return implied | found


def line_of(key: str, lines: dict[str, int]) -> int:
    """Return the line of a key, else of what it is part of; 0 where the file has neither."""
    while key:
        if key in lines:
            return lines[key]
        shorter = _LAST.sub("", key)
        key = shorter if shorter != key else ""
    return 0


def place_of(message: str) -> tuple[int, str]:
    """Return the line (0: none) that an error of ``tomllib`` names, and its text without that."""
    place = _PLACE.search(message)
    return (
        (0, message) if place is None else (int(place[1]), message.replace(place[0], f", column {place[2]}"))
    )


def syntax_hint(text: str, message: str) -> str:
    """Say what is probably meant where TOML cannot be read. No value is repeated: it may be a secret."""
    place = _PLACE.search(message)
    if message.startswith("Cannot"):
        return "each name may stand once in its section, and each [section] once"
    if place is None:
        return "a quote or a bracket that was opened is not closed"
    line = text.replace("\r\n", "\n").split("\n")[int(place[1]) - 1]
    if message.partition(" (")[0].endswith("character '\\n'"):
        return f"close the quotes in line {place[1]}"
    setting = _SETTING.match(line)
    name, bracket, value = setting.groups() if setting else ("", "", "")
    if value.lower() in ("true", "false"):
        return f"{name} = {value.lower()}"
    is_bare = bool(value) and value[0] not in "\"'[{" and not _NUMBER.fullmatch(value)
    if is_bare or (message.startswith("Invalid value") and line[int(place[2]) - 1 :].strip(" \t]},")):
        form = '["..."]' if bracket else '"..."'
        return f"text needs quotes: {name} = {form}" if name else f"text needs quotes: {form}"
    return 'a line is name = "text", name = 30, name = true or [section]'


def _plain(names: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in re.findall(_NAME, names))

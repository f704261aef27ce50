"""Screen: what ``sentineld top`` shows, as lines of styled text of any width and height; no terminal here."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sentineld.instant import SECOND_US, parse_iso
from sentineld.tier import Tier
from sentineld.visible import visible

#: Pieces of text, each with how it looks: ``""``, ``"bold"``, ``"dim"``, ``"selected"``, or ``"tier1"`` to
#: ``"tier3"``.
Line: TypeAlias = list[tuple[str, str]]

#: What the table can be sorted by, and the key that does it.
SORTS: dict[str, tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]] = {
    "t": ("tier", lambda one: (-one["would"], -one["score"])),
    "s": ("score", lambda one: (-one["score"],)),
    "e": ("events/min", lambda one: (-one["events_per_minute"],)),
    "l": ("last seen", lambda one: (-parse_iso(one["last_activity"]),)),
    "a": ("agent", lambda one: (one["agent"],)),
}

#: Columns beside the agent's: heading and width, the first to go last; what is left is for the surprise.
_COLUMNS = (("TIER", 4), ("SCORE", 5), ("LAST", 6), ("EV/MIN", 6), ("THRESHOLD", 10))
_ORDER = ("TIER", "SCORE", "THRESHOLD", "EV/MIN", "LAST")
_LEFT_ALIGNED = ("TIER", "THRESHOLD")
_LEAST_NAME, _MOST_NAME, _LEAST_SURPRISE = 10, 32, 14
#: What the foot tells, as many as there is room for.
_KEYS = ("q quit", "enter why", "/ filter", "? help", "sort: t s e l a", "r reverse")
#: Columns below which the heading leaves out what is known anyway.
_NARROW = 60
HELP = (
    "up, down, page up, page down, home, end   choose an agent (also k and j)",
    "enter       why it has its tier",
    "/           show agents whose name contains what you type; escape: all of them",
    "t s e l a   sort by tier, score, events a minute, last activity, agent",
    "r           turn the order round",
    "q           leave; from here and from why: back",
    "",
    "SCORE is 0 to 1; the bar beside it has a mark where tier 2 begins. EV/MIN is of",
    "the last five minutes. MOST SURPRISING is what the open session's score rests",
    "on most, in bits, or what gave the agent its tier. TIER 3(1): behaviour calls",
    "for 3, and 1 is in force; 2p: pinned.",
)

WHY_HELP = (
    "up, down, page up, page down, space, home, end   scroll (also k and j)",
    "q           back to the table (also escape, enter, left)",
    "",
    "The view is what `sentineld why` says: the tier and since when, what was seen,",
    "record by record with file and byte, how surprising each is in bits (10 bits:",
    "once in a thousand times), what would have been normal, and what lifts it.",
    "It stays as it was when you opened it; go back and open it again for news.",
)


@dataclass(slots=True)
class Choice:
    """What the operator chose: order, filter, which agent."""

    sort: str = "t"
    is_reversed: bool = False
    pattern: str = ""
    is_typing: bool = False
    agent: str = ""
    #: The first row that is shown.
    top: int = 0
    #: What had gone wrong when the table was read last; empty: nothing.
    trouble: str = ""


@dataclass(slots=True)
class Pager:
    """Text that is longer than the screen, under a heading."""

    title: str
    text: Sequence[str]
    #: What the foot tells beside the keys of every pager.
    keys: Sequence[str] = ()
    top: int = 0
    lines: list[str] = field(default_factory=list)

    def draw(self, width: int, height: int) -> list[Line]:
        """Return the lines that are shown, ``height`` of them, and a foot."""
        self.lines = [part for line in self.text for part in wrapped(line, width)]
        room = max(1, height - 2)
        self.top = max(0, min(self.top, len(self.lines) - room))
        shown = [[(line, "")] for line in self.lines[self.top : self.top + room]]
        shown += [[] for _ in range(room - len(shown))]
        more = f"{min(len(self.lines), self.top + room)} of {len(self.lines)} lines"
        foot = foot_of(("q back", "arrows scroll", more, *self.keys), width)
        return [[(fit(self.title, width), "bold")], *shown, [(fit(foot, width), "dim")]][:height]


def rows_of(document: dict[str, Any], choice: Choice) -> list[dict[str, Any]]:
    """Return the agents that are shown, in order."""
    pattern = choice.pattern.lower()
    rows = [one for one in document["agents"] if pattern in one["agent"].lower()]
    _, key = SORTS[choice.sort]
    rows.sort(key=lambda one: (*key(one), one["agent"]), reverse=choice.is_reversed)
    return rows


def draw(document: dict[str, Any], choice: Choice, width: int, height: int) -> list[Line]:
    """Return the lines of the table, ``height`` of them, each at most ``width`` cells wide.

    Moves ``choice.top`` so that the chosen agent is in sight.
    """
    rows = rows_of(document, choice)
    head = heading(document, choice, len(rows), width)
    # A small screen is for agents.
    head = head if height >= 8 else head[1:] if height >= 4 else []
    foot = (
        [f"/{choice.pattern}_  enter keep  escape all" if choice.is_typing else foot_of(_KEYS, width)]
        if height >= 5
        else []
    )
    room = max(1, height - len(head) - len(foot) - (height > 1))
    place = next((n for n, one in enumerate(rows) if one["agent"] == choice.agent), 0)
    choice.top = max(0, min(choice.top, place, len(rows) - room), min(place - room + 1, len(rows) - room))
    shown = rows[choice.top : choice.top + room]
    lines: list[Line] = [[(fit(text, width), style)] for text, style in head]
    body = table(document, shown, width, chosen=rows[place]["agent"] if rows else "")
    lines += body if height > 1 else body[1:]
    if not rows:
        what = "no agent has been seen yet" if not document["agents"] else "no agent's name contains that"
        lines.append([(fit(what, width), "dim")])
    lines += [[] for _ in range(height - len(foot) - len(lines))]
    return [*lines, *([(fit(text, width), "dim")] for text in foot)][:height]


def foot_of(keys: Sequence[str], width: int) -> str:
    """Return what keys do, the first of them that there is room for."""
    text = keys[0]
    for key in keys[1:]:
        if cells(text) + 2 + cells(key) > width:
            break
        text += f"  {key}"
    return text


def heading(document: dict[str, Any], choice: Choice, shown: int, width: int) -> list[tuple[str, str]]:
    """Return the lines over the table, with how they look."""
    is_narrow = width < _NARROW
    state, agents = document["state"], document["agents"]
    now = document["generated_at"]
    title = f"{now[11:16]}" if is_narrow else f"sentineld top  {now[11:19]} UTC"
    if choice.trouble:
        first = (choice.trouble if is_narrow else f"sentineld top  {choice.trouble}", "tier3")
    elif state["fresh"]:
        published = ago(state["generated_at"], now)
        verb = "" if is_narrow else "published "
        first = (f"{title}  {state['status']}, {state['mode']}, {verb}{published} ago", "bold")
    else:
        first = (f"{title}  NOT FRESH: {state['reason']}", "tier3")
    # The worst first, and the short screen leaves out those who are well.
    tiers = ", ".join(
        f"{sum(one['would'] == tier for one in agents)} {f'at {int(tier)}' if is_narrow else tier.label}"
        for tier in sorted(Tier, reverse=True)
        if tier > Tier.NORMAL or not is_narrow
    )
    order = f"by {SORTS[choice.sort][0]}{', reversed' if choice.is_reversed else ''}"
    wanted = f"; {shown} contain {visible(choice.pattern)!r}" if choice.pattern else ""
    return [first, (f"{len(agents)} agent{'s' * (len(agents) != 1)}: {tiers}; {order}{wanted}", "")]


def table(
    document: dict[str, Any], rows: Sequence[dict[str, Any]], width: int, chosen: str = ""
) -> list[Line]:
    """Return the heading of the table and a line for each agent; columns go where there is no room."""
    names = [visible(one["agent"], _MOST_NAME) for one in rows]
    wanted = min(_MOST_NAME, max([_LEAST_NAME, *map(cells, names)]))
    left, columns = width - _LEAST_NAME, {}
    for title, size in _COLUMNS:
        if left < size + 1:
            break
        columns[title], left = size, left - size - 1
    name_width = min(wanted, _LEAST_NAME + max(0, left))
    left -= name_width - _LEAST_NAME
    surprise_width = left - 2 if left >= _LEAST_SURPRISE + 2 else 0
    lines: list[Line] = [[(_row("AGENT", dict.fromkeys(columns), name_width, columns), "dim")]]
    if surprise_width:
        lines[0].append(("  " + fit("MOST SURPRISING", surprise_width), "dim"))
    for one, name in zip(rows, names, strict=True):
        values = {
            "TIER": f"{one['would']}{_mark(one)}",
            "SCORE": f"{one['score']:.2f}",
            "THRESHOLD": bar(one["score"], document["threshold"]),
            "EV/MIN": _rate(one["events_per_minute"]),
            "LAST": ago(one["last_activity"], document["generated_at"]),
        }
        text = _row(name, values, name_width, columns)
        style = "selected" if one["agent"] == chosen else f"tier{one['would']}" if one["would"] > 1 else ""
        line: Line = [(text, style)]
        if surprise_width:
            line.append(("  " + fit(surprise_text(one["surprise"]), surprise_width), style))
        lines.append(line)
    return lines


def surprise_text(surprise: dict[str, Any] | None) -> str:
    """Say in a few words what is most surprising."""
    if surprise is None:
        return ""
    weight = f"{surprise['bits']:.0f} bits " if surprise["bits"] else ""
    rule = "rule " if surprise["detector"] == "rule" else ""
    return visible(f"{weight}{rule}{surprise['feature']} {surprise['value']}".strip())


def bar(score: float, limit: float, size: int = 10) -> str:
    """Return a score (0..1) as a bar of ASCII, with a mark at the limit."""
    filled, mark = round(score * size), min(size - 1, int(limit * size))
    return "".join("|" if n == mark else "#" if n < filled else "." for n in range(size))


def ago(at: str, now: str) -> str:
    """Return the time between two instants, short."""
    seconds = max(0, parse_iso(now) - parse_iso(at)) // SECOND_US
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def fit(text: str, width: int) -> str:
    """Cut a text to a number of cells, or fill it up with spaces."""
    if cells(text) > width:
        text = text[: _most(text, width - 2)] + ".." if width > 4 else text[: _most(text, width)]
    return text + " " * (width - cells(text))


def wrapped(line: str, width: int) -> list[str]:
    """Break a line into pieces of at most ``width`` cells, at spaces where there are any."""
    indent = len(line) - len(line.lstrip(" "))
    pieces, rest = [], line
    while cells(rest) > width:
        cut = max(1, _most(rest, width))
        start = len(rest) - len(rest.lstrip(" "))
        space = rest.rfind(" ", start + 1, cut + 1)
        if space > start:
            cut = space
        pieces.append(rest[:cut].rstrip(" "))
        # Less than what a piece holds: each takes some of the text away.
        rest = " " * min(indent + 2, width // 4) + rest[cut:].lstrip(" ")
    return [*pieces, rest]


def _most(text: str, width: int) -> int:
    """Return how many characters of a text fit into so many cells."""
    if text.isascii():
        return min(len(text), width)
    room = width
    for count, char in enumerate(text):
        room -= _cells_of(char)
        if room < 0:
            return count
    return len(text)


def _cells_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _row(name: str, values: Mapping[str, str | None], width: int, columns: Mapping[str, int]) -> str:
    parts = [fit(name, width)]
    for title in _ORDER:
        if title in columns:
            value = values[title]
            text = title if value is None else value
            size = columns[title]
            parts.append(fit(text, size) if title in _LEFT_ALIGNED else f"{text:>{size}}")
    return " ".join(parts)


def _mark(one: dict[str, Any]) -> str:
    """Return what is to be said of a tier in a letter or two: pinned, or not in force."""
    return f"({one['tier']})" if one["tier"] != one["would"] else "p" if one["pinned"] else ""


def _rate(rate: float) -> str:
    return f"{rate:.1f}" if 0 < rate < 10 else f"{rate:.0f}"

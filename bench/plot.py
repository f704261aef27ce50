"""Small pictures of measurements: panels of lines over a logarithmic axis, as SVG."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 320, 200, 48, 26, 40
_NAMES = "http://www.w3.org/2000/svg"
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f")


class Panel(NamedTuple):
    """One picture: what is along its axes, and lines by name, each of values by where they lie (above 0)."""

    along: str
    up: str
    lines: Mapping[str, Mapping[int, float]]


def draw(panels: Sequence[Panel], columns: int = 2) -> str:
    """Return an SVG document of the panels side by side; what is up begins at 0."""
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    width, height = columns * _WIDTH, rows * _HEIGHT + 18 * len(names) + 12
    parts = [
        f'<svg xmlns="{_NAMES}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        x, y = number % columns * _WIDTH, number // columns * _HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel, colours), "</g>"]
    for number, (name, colour) in enumerate(colours.items()):
        y = rows * _HEIGHT + 12 + 18 * number
        parts.append(f'<rect x="{_LEFT}" y="{y - 7}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 20}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, colours: Mapping[str, str]) -> list[str]:
    places = sorted({place for line in panel.lines.values() for place in line})
    highest = _round_up(max(value for line in panel.lines.values() for value in line.values()))
    low, high = math.log(places[0]), math.log(places[-1])
    right, bottom = _WIDTH - 20, _HEIGHT - _BOTTOM

    def at(place: int, value: float) -> tuple[float, float]:
        share = (math.log(place) - low) / (high - low) if high > low else 0.5
        return _LEFT + 12 + share * (right - _LEFT - 24), bottom - value / highest * (bottom - _TOP)

    parts = [f'<text x="{_LEFT}" y="{_TOP - 10}">{escape(panel.up)}</text>']
    for step in range(5):
        value = highest * step / 4
        y = at(places[0], value)[1]
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts += [
        f'<text x="{at(place, 0)[0]:.1f}" y="{bottom + 15}" text-anchor="middle">{place:,}</text>'
        for place in places
    ]
    parts.append(
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 30}" text-anchor="middle">{escape(panel.along)}</text>'
    )
    for name, line in panel.lines.items():
        points = [at(place, value) for place, value in sorted(line.items())]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colours[name]}"/>' for x, y in points]
    return parts


def _round_up(value: float) -> float:
    step = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(step * factor for factor in (1, 2, 4, 6, 8, 10) if step * factor >= value)

"""Line charts as inline SVG: no script, no other file."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from msgspec import Struct

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 42
COLOURS: Final = ("#1f5fa8", "#c2410c", "#15803d", "#7c3aed", "#b45309", "#0e7490", "#be185d", "#4d7c0f")
DASHES: Final = ("", "7 4", "2 3", "9 3 2 3")
"""Lines differ in more than colour."""
TICKS: Final = 5
_STEPS: Final = (1, 2, 2.5, 5, 10)

Points = Sequence[tuple[float, float]]


class Mark(Struct, frozen=True):
    """A vertical line with a word: something happened then."""

    at: float
    text: str


def line_chart(
    title: str,
    series: Mapping[str, Points],
    x_label: str,
    y_label: str,
    *,
    marks: Sequence[Mark] = (),
    limit: float | None = None,
) -> str:
    """A chart of some lines over one axis.

    Args:
        title: above it, and for those who do not see it.
        series: points by the line's name.
        x_label: under the axis.
        y_label: beside it.
        marks: instants to point out.
        limit: a horizontal bound to hold the lines against.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return f"<figure><figcaption>{escape(title)}</figcaption><p>no data</p></figure>"
    frame = _Frame(
        min(x for x, _ in points), max(x for x, _ in points), max([y for _, y in points] + [limit or 0.0, 1e-9]) * 1.05
    )
    parts = [*_axes(frame, x_label, y_label)]
    if limit is not None:
        y = frame.y(limit)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="limit"/>')
    for number, mark in enumerate(marks):
        parts += _mark(frame, mark, number)
    for number, line in enumerate(series.values()):
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" {_stroke(number)}/>')
    body = "".join(parts)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{_legend(tuple(series))}"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg></figure>'
    )


class _Frame(Struct, frozen=True):
    """From values to the picture."""

    first: float
    last: float
    top: float

    def x(self, value: float) -> float:
        span = (self.last - self.first) or 1.0
        return LEFT + (value - self.first) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def _axes(frame: _Frame, x_label: str, y_label: str) -> list[str]:
    parts = [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" class="axis"/>']
    for value in _ticks(0.0, frame.top):
        y = frame.y(value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.6g}</text>')
    for value in _ticks(frame.first, frame.last):
        x = frame.x(value)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:,.6g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'
    )
    return parts


def _ticks(first: float, last: float) -> list[float]:
    span = (last - first) or 1.0
    power = 10.0 ** int(f"{span / TICKS:e}".partition("e")[2])
    step = next(power * one for one in _STEPS if span / (power * one) <= TICKS + 1)
    start = -(-first // step)
    return [number * step for number in range(int(start), int(last / step) + 1)]


def _mark(frame: _Frame, mark: Mark, number: int) -> list[str]:
    x = frame.x(min(max(mark.at, frame.first), frame.last))
    y = TOP + 10 + 13 * (number % 3)
    anchor = "end" if x > WIDTH * 0.7 else "start"
    at = x + (-4 if anchor == "end" else 4)
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="mark"/>'
    return [line, f'<text x="{at:.1f}" y="{y}" text-anchor="{anchor}" class="note">{escape(mark.text)}</text>']


def _stroke(number: int) -> str:
    dash = DASHES[number // len(COLOURS) % len(DASHES)]
    return f'fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="1.8" stroke-dasharray="{dash}"'


def _legend(names: Sequence[str]) -> str:
    items = "".join(map(_key, range(len(names)), names))
    return f'<div class="legend">{items}</div>'


def _key(number: int, name: str) -> str:
    line = f'<line x1="0" x2="22" y1="4" y2="4" {_stroke(number)}/>'
    return f'<span><svg width="22" height="8">{line}</svg> {escape(name)}</span>'

"""Plots as inline SVG: they scale, print, and say in words what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 420, 300
_LINE = 14  # from one name to the next
_LEFT, _RIGHT, _TOP, _BELOW = 58, 14, 12, 42

# Okabe and Ito's colours, which are told apart without seeing all hues; black is for the axes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7d00", "#666666")

# Shapes about (0, 0), so that nothing hangs on colour alone.
_SHAPES = (
    "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
    "M-4.5,-4.5h9v9h-9z",
    "M0,-6L5.5,4h-11z",
    "M0,-6L6,0L0,6L-6,0z",
    "M0,6L5.5,-4h-11z",
)

STEPS = 200
"""Points of a line at most."""


@dataclass(frozen=True)
class Series:
    """One row in a plot.

    Attributes:
        label: Its name.
        points: (x, y) of single files, perhaps not all.
        mean: (x, y) over all files.
    """

    label: str
    points: Sequence[tuple[float, float]]
    mean: tuple[float, float]


def mark(number: int) -> str:
    """The sign of a row, as a small picture for a legend or a table."""
    shape, colour = _SHAPES[number % len(_SHAPES)], COLOURS[number % len(COLOURS)]
    return (
        '<svg class="mark" viewBox="-8 -8 16 16" width="14" height="14" aria-hidden="true">'
        f'<path d="{shape}" fill="{colour}"/></svg>'
    )


def rates(series: Sequence[tuple[int, Series]], *, x: str, y: str, name: str) -> str:
    """Quality against rate: single files faint, means large and named.

    Args:
        series: (number of the row, what is to be drawn); all means are finite.
        x: Title of its axis.
        y: Likewise.
        name: Of the plot, unique in the page.
    """
    everything = [p for _, each in series for p in (*each.points, each.mean)]
    left, right = _span([each[0] for each in everything])
    axes = _Axes((max(0.0, left), right), _span([each[1] for each in everything]))
    drawn = [axes.frame(x, y)]
    for number, each in series:
        colour = COLOURS[number % len(COLOURS)]
        dots = "".join(f"M{axes.at(*point)}h.01" for point in each.points)
        drawn.append(f'<path d="{dots}" stroke="{colour}" class="dots"/>')
    heights = _apart([axes.y(each.mean[1]) for _, each in series])
    for (number, each), height in zip(series, heights, strict=True):
        shape, colour = _SHAPES[number % len(_SHAPES)], COLOURS[number % len(COLOURS)]
        x_at, y_at = axes.x(each.mean[0]), axes.y(each.mean[1])
        side, anchor = (-9, "end") if x_at > WIDTH * 0.6 else (9, "start")
        words = f"{each.label}: {each.mean[1]:.4g} at {each.mean[0]:.3g}"
        drawn.append(
            f'<g transform="translate({x_at:.1f},{y_at:.1f})"><title>{escape(words)}</title>'
            f'<path d="{shape}" fill="{colour}" class="mean"/>'
            f'<text x="{side}" y="{height - y_at + 4:.1f}" text-anchor="{anchor}" '
            f'class="name">{escape(each.label)}</text></g>'
        )
    told = "; ".join(f"{e.label}: {e.mean[1]:.4g} at {e.mean[0]:.3g} {x}" for _, e in series)
    return _svg(name, f"{y} against {x}", f"Means over files: {told}.", drawn)


def ranks(stages: Sequence[Sequence[int]], *, entries: int, name: str, title: str) -> str:
    """How often each entry of a codebook is used, most frequent first, counts logarithmic.

    Args:
        stages: For each stage, how often each of its used entries occurred, in any order.
        entries: K.
        name: Of the plot, unique in the page.
        title: What it shows.
    """
    rows = [sorted((int(n) for n in stage if n > 0), reverse=True) for stage in stages]
    top = max((row[0] for row in rows if row), default=1)
    axes = _Axes((0.0, float(entries)), (0.0, math.log10(top + 1)))
    drawn = [axes.frame("entries, by frequency", "occurrences", logarithmic=True)]
    for number in reversed(range(len(rows))):
        row = rows[number]
        step = max(1, math.ceil(len(row) / STEPS))
        picked = sorted({*range(0, len(row), step), len(row) - 1} if row else ())
        points = [axes.at(rank, math.log10(row[rank] + 1)) for rank in picked]
        points.append(axes.at(len(row), 0.0))
        light = 25 + round(50 * number / max(1, len(rows) - 1)) if len(rows) > 1 else 35
        drawn.append(f'<path d="M{"L".join(points)}" stroke="hsl(205 80% {light}%)" class="line"/>')
    used = ", ".join(str(len(row)) for row in rows)
    what = "Used entries" if len(rows) == 1 else "Used entries, stage by stage"
    return _svg(name, title, f"{what}: {used} of {entries}. Most frequent: {top} times.", drawn)


class _Axes:
    """Numbers → places in the frame."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return HEIGHT - _BELOW - (value - low) / (high - low) * (HEIGHT - _TOP - _BELOW)

    def at(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def frame(self, x: str, y: str, *, logarithmic: bool = False) -> str:
        """Grid, numbers and titles of both axes."""
        parts = []
        for value in _ticks(*self._x):
            at = f"{self.x(value):.1f}"
            parts.append(f'<path d="M{at},{_TOP}V{HEIGHT - _BELOW}" class="grid"/>')
            parts.append(
                f'<text x="{at}" y="{HEIGHT - _BELOW + 16}" text-anchor="middle">{value:g}</text>'
            )
        decades = range(math.ceil(self._y[1]) + 1) if logarithmic else ()
        marks = [(math.log10(10**d + 1), f"{10**d:,}") for d in decades]
        marks = [each for each in marks if each[0] <= self._y[1]] or [
            (value, f"{value:g}") for value in _ticks(*self._y)
        ]
        for value, text in marks:
            at = f"{self.y(value):.1f}"
            parts.append(f'<path d="M{_LEFT},{at}H{WIDTH - _RIGHT}" class="grid"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{at}" dy="4" text-anchor="end">{text}</text>')
        parts.append(f'<path d="M{_LEFT},{_TOP}V{HEIGHT - _BELOW}H{WIDTH - _RIGHT}" class="axis"/>')
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(
            f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>'
            f'<text transform="translate(13,{HEIGHT / 2 - 10}) rotate(-90)" text-anchor="middle">'
            f"{escape(y)}</text>"
        )
        return "".join(parts)


def _svg(name: str, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(description)}</desc>{"".join(parts)}</svg>'
    )


def _apart(heights: Sequence[float]) -> list[float]:
    """Heights of texts, so far apart that none covers another, each near where it belongs."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    out = list(heights)
    for above, below in pairwise(order):
        out[below] = max(out[below], out[above] + _LINE)
    excess = max(0.0, max(out) - (HEIGHT - _BELOW))
    return [each - excess for each in out]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis: a little more than the values need."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers within a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(i * step, digits) + 0.0 for i in range(first, last + 1)]

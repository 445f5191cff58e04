"""Curves of a run over its steps, each with its own axis of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from vqtok.plots import sheet
from vqtok.plots.sheet import COLOURS, FRAMED, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 160
"""Points of a curve at most; more of them are averaged."""

WIDTH, HEIGHT = 620, 100
"""Pixels of each curve's axes."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Values over steps.

    Attributes:
        title: What is drawn, with its unit.
        points: (step, value), by step; two at least.
        best: A step to mark, or None.
        logarithmic: Draw values by their ratios; all are positive then.
    """

    title: str
    points: Sequence[Point]
    best: int | None = None
    logarithmic: bool = False


def draw(curves: Sequence[Curve]) -> str:
    """Draw curves below each other over one axis of steps, as an SVG document."""
    last = max(step for curve in curves for step, _ in curve.points)
    panels = []
    for index, curve in enumerate(curves):
        is_lowest = index == len(curves) - 1
        drawn = partial(
            _draw, curve=curve, last=last, colour=COLOURS[index % len(COLOURS)], is_lowest=is_lowest
        )
        margins = FRAMED if is_lowest else FRAMED._replace(below=14)
        panels.append(Panel(curve.title, (WIDTH, HEIGHT), drawn, margins))
    words = "; ".join(
        f"{each.title}: from {each.points[0][1]:.4g} to {each.points[-1][1]:.4g}" for each in curves
    )
    return sheet.document(panels, name="curves", title="Curves over steps", description=words)


def _draw(axes: Axes, *, curve: Curve, last: float, colour: str, is_lowest: bool) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    points = _thinned(curve.points)
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    axes.set_xlim(0, max(last, 1))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if is_lowest:
        axes.set_xlabel("step")
    else:
        axes.tick_params(labelbottom=False)
    if curve.logarithmic:
        axes.set_yscale("log")
        room = 1.01 * min(10.0, high**0.08 / low**0.08)
        axes.set_ylim(low / room, high * room)
    else:
        room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
        axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if curve.logarithmic and high > 4 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 400 * low else (1,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:.4g}")
    axes.grid(True)
    axes.plot(steps, values, color=colour, gid="line")
    marked = dict(curve.points).get(curve.best) if curve.best is not None else None
    if marked is not None and curve.best is not None and low <= marked <= high:
        axes.plot([curve.best], [marked], "o", color=colour, gid="best")


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Reduces them to at most ``POINTS``: means of equal parts, the ends as they are."""
    if len(points) <= POINTS:
        return list(points)
    inner = POINTS - 2
    body = points[1:-1]
    edges = [len(body) * i // inner for i in range(inner + 1)]
    means = [
        (sum(s for s, _ in body[a:b]) / (b - a), sum(v for _, v in body[a:b]) / (b - a))
        for a, b in pairwise(edges)
    ]
    return [points[0], *means, points[-1]]

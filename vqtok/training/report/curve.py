"""A run's curves as a picture: SVG text, readable on light and on dark pages.

The same log gives the same bytes. Colours are of middle lightness and the ground is transparent,
so that the file is right wherever it is shown, also as an ``<img>``, which knows nothing of the
page around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from vqtok.training.log import total

POINTS = 160
"""Points of a curve at most; more of them are averaged."""

WIDTH, HEIGHT = 720, 150
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 26, 22

TEXT, GRID = "#808890", "#808890"
COLOURS = ("#2f81c9", "#d0762b", "#3c9a5f", "#8f6fc0", "#b0567a")

Point = tuple[float, float]


class Panel(NamedTuple):
    """One curve with its own axis.

    Attributes:
        title: What is drawn.
        points: (step, value), by step.
        best: A step to mark, or None.
        logarithmic: Draw values by their ratios; all are positive then.
    """

    title: str
    points: Sequence[Point]
    best: int | None = None
    logarithmic: bool = False


def panels(records: Iterable[Mapping[str, Any]]) -> list[Panel]:
    """Loss, first held-out metric and codebook use from the lines of a ``log.jsonl``."""
    loss: list[Point] = []
    use: dict[str, list[Point]] = {}
    held: dict[str, list[Point]] = {}
    best: int | None = None
    for each in records:
        step = each["step"]
        if each["event"] == "progress":
            loss.append((step, total(each.get("losses", {}))))
            for level, share in _uses(each).items():
                use.setdefault(level, []).append((step, 100.0 * share))
        elif each["event"] == "evaluated":
            for name, value in each["metrics"].items():
                if value is not None:
                    held.setdefault(name, []).append((step, value))
            best = step if each.get("best") else best
    out = []
    if len(loss) > 1:
        positive = all(value > 0 for _, value in loss)
        out.append(Panel("training loss", loss, logarithmic=positive))
    name, points = next(iter(held.items()), ("", []))
    if len(points) > 1:
        title = f"held out: {name.replace('_db', ' dB').replace('_', ' ')}"
        marked = dict(points).get(best) if best is not None else None
        if marked is not None:
            title += f", best {marked:.4g} at step {best}"
        out.append(Panel(title, points, best=best))
    for level, points in use.items():
        if len(points) > 1:
            of_level = f" of the level {level}" if level else ""
            out.append(Panel(f"codebook use{of_level}, %", points))
    return out


def _uses(record: Mapping[str, Any]) -> dict[str, float]:
    """Share of entries used by level; of a single one under ""."""
    levels = record.get("levels")
    if isinstance(levels, dict) and levels:
        return {name: level["share"] for name, level in levels.items()}
    return {} if record.get("use") is None else {"": record["use"]}


def draw(shown: Sequence[Panel]) -> str:
    """The panels below each other, over one axis of steps.

    Args:
        shown: One panel at least, of two points at least.

    Returns:
        An SVG document.
    """
    last = max(step for panel in shown for step, _ in panel.points)
    height = HEIGHT * len(shown)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">'
    ]
    for index, panel in enumerate(shown):
        colour = COLOURS[index % len(COLOURS)]
        lines += _panel(panel, top=index * HEIGHT, last=last, colour=colour)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(panel: Panel, *, top: int, last: float, colour: str) -> list[str]:
    points = _thinned(panel.points)
    values = [value for _, value in points]
    low, high = min(values), max(values)
    scale: Callable[[float], float] = math.log if panel.logarithmic else float
    base, span = scale(low), scale(high) - scale(low)
    if span <= 0:  # a flat curve lies in the middle
        base, span = base - 0.5, 1.0
    y0, y1 = top + TOP, top + HEIGHT - BOTTOM

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(last, 1)

    def y(value: float) -> float:
        return y1 - (y1 - y0) * (scale(value) - base) / span

    path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    out = [f'<text x="{LEFT}" y="{top + 16}" fill="{TEXT}">{escape(panel.title)}</text>']
    for value, at in ((high, y0), (low, y1)):
        out += [
            f'<line x1="{LEFT}" y1="{at}" x2="{WIDTH - RIGHT}" y2="{at}" stroke="{GRID}" '
            'stroke-opacity="0.35"/>',
            f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end" fill="{TEXT}">{value:.4g}</text>',
        ]
    out += [
        f'<text x="{LEFT}" y="{y1 + 15}" fill="{TEXT}">0</text>',
        f'<text x="{WIDTH - RIGHT}" y="{y1 + 15}" text-anchor="end" fill="{TEXT}">'
        f"step {last:.0f}</text>",
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>',
    ]
    marked = dict(panel.points).get(panel.best) if panel.best is not None else None
    if marked is not None and panel.best is not None and low <= marked <= high:
        at_x, at_y = x(panel.best), y(marked)
        out.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="3.5" fill="{colour}"/>')
    return out


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most ``POINTS`` of them: means of equal parts, the ends as they are."""
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

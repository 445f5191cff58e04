"""Quality against rate: single files faint, means large and named, one colour and mark per row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from vqtok.plots import sheet
from vqtok.plots.sheet import COLOURS, FONT, FRAMED, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (340, 250)

_LINE = FONT + 2  # pixels from one name to the next

# Shapes beside colours, so that nothing hangs on colour alone: matplotlib's letter, and its path.
_MARKS = (
    ("o", "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0"),
    ("s", "M-4.5,-4.5h9v9h-9z"),
    ("^", "M0,-6L5.5,4h-11z"),
    ("D", "M0,-6L6,0L0,6L-6,0z"),
    ("v", "M0,6L5.5,-4h-11z"),
)


@dataclass(frozen=True)
class Series:
    """One row in a plot.

    Attributes:
        number: Of the model: it has the same colour and mark everywhere.
        label: Its name.
        points: (rate, quality) of single files, perhaps not all.
        mean: (rate, quality) over all files; finite, or a rate of NaN: it has none.
    """

    number: int
    label: str
    points: Sequence[tuple[float, float]]
    mean: tuple[float, float]


def colour(number: int) -> str:
    """Returns the colour of a row."""
    return COLOURS[number % len(COLOURS)]


def mark(number: int) -> str:
    """Returns the path of a row's mark about (0, 0), for a legend or a table."""
    return _MARKS[number % len(_MARKS)][1]


def draw(rows: Sequence[Series], *, x: str, y: str, name: str) -> str:
    """Draw quality against rate, as an SVG document.

    Args:
        rows: One at least that has a rate.
        x: Title of the axis of rates, with its unit.
        y: Likewise of quality.
        name: Of the plot, unique in the page.
    """
    words = {each.number: f"{each.label}: {each.mean[1]:.4g}{_at(each)}" for each in rows}
    return sheet.document(
        [Panel("", SIZE, partial(_draw, rows=rows, x=x, y=y), FRAMED._replace(above=12))],
        name=name,
        title=f"{y} against {x}",
        description=f"Means over files: {'; '.join(words.values())} {x}.",
        tips={f"mean-{number}": text for number, text in words.items()},
    )


def _draw(axes: Axes, *, rows: Sequence[Series], x: str, y: str) -> None:
    from matplotlib.ticker import MaxNLocator

    everything = np.array([point for each in rows for point in (*each.points, each.mean)])
    left, right = _span(everything[np.isfinite(everything[:, 0]), 0])
    axes.set_xlim(max(0.0, left), right)
    axes.set_ylim(*_span(everything[:, 1]))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True)
    for each in rows:
        # A round dot is the cap of a line without length: short, however many there are.
        dots = np.repeat(np.array(each.points, float).reshape(-1, 2), 3, axis=0)
        dots[2::3] = np.nan
        axes.plot(
            *dots.T,
            color=colour(each.number),
            linewidth=4,
            alpha=0.45,
            solid_capstyle="round",
            gid="dots",
        )
    ends = [each.mean if math.isfinite(each.mean[0]) else (right, each.mean[1]) for each in rows]
    at = axes.transData.transform(ends)
    for each, end, (pixel, level), height in zip(
        rows, ends, at, _apart(at[:, 1], low=axes.bbox.y0), strict=True
    ):
        is_right = pixel > axes.bbox.x0 + 0.55 * axes.bbox.width
        if end is not each.mean:
            axes.axhline(end[1], color=colour(each.number), linestyle="--", gid="unrated")
        axes.plot(
            *end,
            _MARKS[each.number % len(_MARKS)][0],
            color=colour(each.number),
            markersize=9,
            gid=f"mean-{each.number}",
        )
        axes.annotate(
            each.label,
            end,
            (-9 if is_right else 9, height - level),
            textcoords="offset pixels",
            ha="right" if is_right else "left",
            va="center",
            weight="bold",
            gid=f"mean-{each.number}",
        )


def _at(row: Series) -> str:
    return f" at {row.mean[0]:.3g}" if math.isfinite(row.mean[0]) else " without a rate"


def _apart(heights: np.ndarray, *, low: float) -> list[float]:
    """Heights of texts, so far apart that none covers another, each near where it belongs."""
    order = np.argsort(-heights, kind="stable").tolist()
    out: list[float] = heights.tolist()
    for above, below in pairwise(order):
        out[below] = min(out[below], out[above] - _LINE)
    missing = max(0.0, low - min(out))
    return [each + missing for each in out]


def _span(values: np.ndarray) -> tuple[float, float]:
    """Returns the range of an axis: a little more than the values need."""
    low, high = float(values.min()), float(values.max())
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    return low - room, high + room

"""Codes as pictures: maps in which each code has one colour, and how often entries are used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vqtok.plots import sheet
from vqtok.plots.sheet import COLOURS, End, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 10
"""Pixels between the maps of a stack of grids."""

STEPS = 200
"""Steps of a line of use at most."""


def code_map(codes: np.ndarray) -> np.ndarray:
    """Colour codes: each has one colour, always the same.

    Args:
        codes: (h, w), (q, t) or (n,) integers; of (q, h, w), one map per stage.

    Returns:
        (H, W, 3) uint8, enlarged to be seen.
    """
    if codes.ndim == 3:
        maps = [code_map(stage) for stage in codes]
        gap = np.full((len(maps[0]), GAP, 3), 255, np.uint8)
        return np.concatenate([part for each in maps for part in (each, gap)][:-1], axis=1)
    grid = np.atleast_2d(codes)
    height, width = grid.shape
    if width <= 4 * height:
        tall = wide = max(1, min(640 // max(height, width), 32))
    else:  # a few stages of many frames would be a thread: rows are made tall enough to see
        wide = max(1, min(1500 // width, 32))
        tall = max(wide, min(16, 256 // height))
    return _hashed_colours(grid).repeat(tall, axis=0).repeat(wide, axis=1)


def map_panel(codes: np.ndarray, *, title: str, x: End | None, y: End | None) -> Panel:
    """Show a map of codes, as ``code_map`` takes them; ``x`` and ``y`` as ``sheet.image``."""
    return sheet.image(code_map(codes), title=title, x=x, y=y)


def use_panel(
    stages: Sequence[np.ndarray],
    *,
    entries: int,
    title: str = "",
    colour: str = COLOURS[0],
    size: tuple[int, int] = (720, 220),
) -> Panel:
    """Show how often the entries of a codebook are used, most frequent first.

    Args:
        stages: For each stage, how often each of its used entries occurred, in any order; each is
            one line, the first the darkest.
        entries: K.
        title: A line above it.
        colour: Of the lines.
        size: (width, height) in pixels.
    """
    counts = [np.sort(stage[stage > 0])[::-1] for stage in map(np.asarray, stages)]
    return Panel(title, size, partial(_draw, stages=counts, entries=entries, colour=colour))


def _draw(axes: Axes, *, stages: Sequence[np.ndarray], entries: int, colour: str) -> None:
    from matplotlib.colors import to_rgb

    top = max((int(row[0]) for row in stages if len(row)), default=1)
    # Logarithmic from 1 up, with room below for what never occurs.
    axes.set_yscale("symlog", linthresh=1, linscale=0.35)
    axes.set(xlim=(0, entries), ylim=(0, top * 1.3))
    axes.set(xlabel="entries, by frequency", ylabel="occurrences")
    axes.set_yticks([0, *(10**decade for decade in range(len(str(top))))])
    axes.set_yticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(True, axis="y")
    for number, row in reversed(list(enumerate(stages))):
        edges = np.unique(np.linspace(0, len(row), min(len(row), STEPS) + 1).astype(int))
        x = np.append(edges[:1], np.repeat(edges[1:], 2))
        y = np.append(np.repeat(row[edges[:-1]], 2), 0)
        light = 0.45 * number / max(1, len(stages) - 1)  # the first is the colour, a little darker
        shade = [light + (0.8 - light) * part for part in to_rgb(colour)]
        axes.plot(x, y, color=shade, gid="line")


def _hashed_colours(codes: np.ndarray) -> np.ndarray:
    """Maps (H, W) integers → (H, W, 3) uint8: each has one colour, unlike its neighbours'."""
    number = codes.astype(np.uint64)
    hue = (number.astype(np.float64) * 0.6180339887498949) % 1.0  # golden ratio: never in step
    spread = (number * np.uint64(2654435761)) >> np.uint64(8)  # Knuth's multiplicative hash
    saturation = 0.40 + 0.55 * (spread % np.uint64(97)).astype(np.float64) / 96
    value = 0.50 + 0.50 * (spread % np.uint64(89)).astype(np.float64) / 88
    sector = (hue[..., None] * 6.0 + np.array([5.0, 3.0, 1.0])) % 6.0
    wave = np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0)  # HSV → RGB in one formula
    rgb = value[..., None] * (1.0 - saturation[..., None] * wave)
    coloured: np.ndarray = np.rint(rgb * 255).astype(np.uint8)
    return coloured

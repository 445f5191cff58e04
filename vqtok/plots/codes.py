"""Codes as pictures: maps, codebooks entry by entry, and how often entries are used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vqtok.plots import sheet
from vqtok.plots.comparison import SHOWN_DB
from vqtok.plots.sheet import COLOURS, End, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 10
"""Pixels between the maps of a stack of grids."""

BOOK = 720
"""Pixels of a codebook's picture each way, or a little less; more only if entries need it."""

LINED = 12
"""Pixels of an entry from which on a line lies between it and the next."""

UNUSED = 225
"""Grey of what is never used."""

STEPS = 200
"""Steps of a line of use at most."""


def code_map(codes: np.ndarray, *, colours: np.ndarray | None = None) -> np.ndarray:
    """Colour codes: each has one colour, always the same.

    Args:
        codes: (h, w), (q, t) or (n,) integers; of (q, h, w), one map per stage.
        colours: (K, 3) uint8 of the entries; None: unlike each other and without a meaning.

    Returns:
        (H, W, 3) uint8, enlarged to be seen.
    """
    if codes.ndim == 3:
        maps = [code_map(stage, colours=colours) for stage in codes]
        gap = np.full((len(maps[0]), GAP, 3), 255, np.uint8)
        return np.concatenate([part for each in maps for part in (each, gap)][:-1], axis=1)
    grid = np.atleast_2d(codes)
    height, width = grid.shape
    if width <= 4 * height:
        tall = wide = max(1, min(640 // max(height, width), 32))
    else:  # a few stages of many frames would be a thread: rows are made tall enough to see
        wide = max(1, min(1500 // width, 32))
        tall = max(wide, min(16, 256 // height))
    shown = _hashed_colours(grid) if colours is None else colours[grid]
    return shown.repeat(tall, axis=0).repeat(wide, axis=1)


def map_panel(
    codes: np.ndarray,
    *,
    title: str,
    x: End | None,
    y: End | None,
    colours: np.ndarray | None = None,
) -> Panel:
    """Show a map of codes, as ``code_map`` takes them; ``x`` and ``y`` as ``sheet.image``."""
    return sheet.image(code_map(codes, colours=colours), title=title, x=x, y=y)


def book_panels(pictures: np.ndarray, used: np.ndarray | None, *, title: str) -> list[Panel]:
    """Show what each entry of a codebook decodes to, and how often it is used.

    Args:
        pictures: (K, 3, h, w) float in [-1, 1], in reading order.
        used: (K,) how often each occurred; None: that is not shown.
        title: Over the pictures.
    """
    count, width = len(pictures), pictures.shape[-1]
    columns = math.ceil(math.sqrt(count))
    times = max(1, min(16, BOOK // (columns * width)))
    pixels = np.rint((np.clip(pictures, -1, 1) + 1) * 127.5).astype(np.uint8)
    cells = pixels.transpose(0, 2, 3, 1).repeat(times, axis=1).repeat(times, axis=2)
    panels = [sheet.image(_grid(cells, columns), title=title)]
    if used is not None:
        fills = np.broadcast_to(_used_colours(used)[:, None, None], cells.shape)
        panels.append(sheet.image(_grid(fills, columns), title=_used_title(used)))
    return panels


def spectra_panels(spectra: np.ndarray, used: np.ndarray | None, *, title: str) -> list[Panel]:
    """Show the spectrum of each entry of a codebook of sound, and how often it is used.

    Args:
        spectra: (K, bins) log10 magnitudes, low frequencies first, from left to right.
        used: (K,) how often each occurred; None: that is not shown.
        title: Over the spectra.
    """
    count, bins = spectra.shape
    times = max(1, BOOK // count)
    levels = 20 * (spectra - spectra.max()) / SHOWN_DB + 1  # the loudest is 1
    pixels = sheet.colour_map(levels.T[::-1]).repeat(3, axis=0).repeat(times, axis=1)
    panels = [sheet.image(pixels, title=f"{title}; spectra of {bins} mel bands, low ones below")]
    if used is not None:
        strip = _used_colours(used)[None].repeat(24, axis=0).repeat(times, axis=1)
        panels.append(sheet.image(strip, title=_used_title(used)))
    return panels


def below(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put (H, W, 3) uint8 pictures below each other, white beside the narrow ones."""
    width = max(part.shape[1] for part in parts)
    wide = [
        np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in parts
    ]
    return np.concatenate(wide)


def rows_by(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Sort for a grid that is nearly square: rows by the first number, within them the second."""
    count = len(first)
    columns = math.ceil(math.sqrt(count))
    order = np.argsort(first, kind="stable")
    rows = [order[start : start + columns] for start in range(0, count, columns)]
    return np.concatenate([row[np.argsort(second[row], kind="stable")] for row in rows])


def brightness_and_hue(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give (n, 3) RGB colours two numbers: luma, and the angle of hue in the plane without it."""
    luma: np.ndarray = colours @ np.array(
        [0.299, 0.587, 0.114], colours.dtype
    )  # BT.601, as in JPEG
    hue: np.ndarray = np.arctan2(colours[:, 2] - luma, colours[:, 0] - luma)
    return luma, hue


def _grid(cells: np.ndarray, columns: int) -> np.ndarray:
    """Lay (n, h, w, 3) out row by row, large ones with lines between; what is left is white."""
    if cells.shape[1] >= LINED:
        cells = np.pad(cells, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=255)
    count, height, width, _ = cells.shape
    rows = -(-count // columns)
    out = np.full((rows * columns, height, width, 3), 255, np.uint8)
    out[:count] = cells
    grid = out.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    found: np.ndarray = grid.reshape(rows * height, columns * width, 3)
    return found


def _used_colours(used: np.ndarray) -> np.ndarray:
    """Colour counts by their logarithm, black to yellow; what never occurs is light grey."""
    shares = np.log1p(used) / max(np.log1p(used.max(initial=0)), 1e-9)
    found: np.ndarray = sheet.colour_map(shares[None])[0]
    found[used == 0] = UNUSED
    return found


def _used_title(used: np.ndarray) -> str:
    return (
        f"used {np.count_nonzero(used):,} of {len(used):,}, up to {int(used.max(initial=0)):,} "
        "times: yellow; never: grey"
    )


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

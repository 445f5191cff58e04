"""Codes as a picture: the map of codes and the histogram of their use. numpy and Pillow only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vqtok.codes import rates
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import LevelSpec
from vqtok.metrics.codebook import Usage, Use
from vqtok.pipeline import canvas

GAP = 10
FRAMES = 750
"""Longest row of a map; longer recordings show their start."""

CHANNELS = 8
"""Channels of a recording that are drawn."""

STAGES = 64
"""Stages of a stack that are drawn."""

_PLOT = (720, 220)  # pixels of a histogram's frame
_LEFT, _BELOW = 56, 24  # room for its labels


def plot(header: Header, codes: Codes) -> np.ndarray:
    """One picture of a codes file: for each level its map, and how often each entry is used.

    Args:
        header: Of the file.
        codes: numpy codes, (B, *axes) per level; B are the channels of a recording.

    Returns:
        (H, W, 3) uint8.
    """
    panels = [canvas.text_panel(_title(header, codes))]
    for level, array in zip(codes.spec.levels, codes.levels, strict=True):
        name = "" if len(codes.levels) == 1 else f"{level.name}: "
        for channel, item in enumerate(array[:CHANNELS]):
            which = f"channel {channel + 1}, " if len(array) > 1 else ""
            shown, note = _shown(item, level)
            text = f"{name}{which}{_size(item, level)}; each code has its own colour{note}"
            panels.append(canvas.caption(code_map(shown), text))
        usage = Usage.of(level)
        usage.add(array)
        stages = "; stages from dark to bright" if len(usage.used) > 1 else ""
        text = name + _words(usage.total) + stages
        panels.append(
            canvas.caption(histogram(usage.used[:STAGES], entries=level.codebook_size), text)
        )
    return canvas.framed(canvas.stack(panels, gap=GAP), margin=GAP)


def code_map(codes: np.ndarray) -> np.ndarray:
    """Codes as a mosaic in which each code has one colour, always the same.

    Args:
        codes: (h, w), (q, t) or (n,) integers; of (q, h, w), one mosaic per stage.

    Returns:
        (H, W, 3) uint8, enlarged to be seen.
    """
    if codes.ndim == 3:
        return canvas.beside([code_map(stage) for stage in codes], gap=GAP)
    grid = np.atleast_2d(codes)
    height, width = grid.shape
    if width <= 4 * height:
        tall = scale = max(1, min(640 // max(height, width), 32))
    else:  # a few stages of many frames would be a thread: rows are made tall enough to see
        scale = max(1, min(1500 // width, 32))
        tall = max(scale, min(16, 256 // height))
    return canvas.hashed_colours(grid).repeat(tall, axis=0).repeat(scale, axis=1)


def histogram(
    counts: np.ndarray | Sequence[np.ndarray], *, entries: int | None = None
) -> np.ndarray:
    """How often the entries of a codebook are used, most frequent first, both axes labelled.

    Args:
        counts: (Q, K) or (K,) occurrences, or for each stage those of the entries that occur; each
            stage is one line, the first the darkest.
        entries: K; None: as many as there are counts.

    Returns:
        (H, W, 3) uint8; the vertical axis is logarithmic.
    """
    stages = np.atleast_2d(counts) if isinstance(counts, np.ndarray) else counts
    rows = [np.sort(stage)[::-1] for stage in stages]
    size = entries or len(rows[0])
    width, height = _PLOT
    most = max((int(row[0]) for row in rows if len(row)), default=0)
    top = max(1, math.ceil(math.log10(max(1, most) + 1)))  # decades
    image = Image.fromarray(canvas.blank(height + _BELOW + 8, width + _LEFT + 8))
    draw = ImageDraw.Draw(image)
    _axes(draw, entries=size, decades=top)
    for stage in reversed(range(len(rows))):
        used = rows[stage][rows[stage] > 0]
        if len(used):
            colour = _stage_colour(stage, len(rows))
            _line(draw, used, entries=size, decades=top, colour=colour)
    return np.array(image)


def _axes(draw: ImageDraw.ImageDraw, *, entries: int, decades: int) -> None:
    width, height = _PLOT
    font = canvas.font()
    for count in (0, *(10**decade for decade in range(decades + 1))):
        y = _height(count, decades)
        draw.line((_LEFT, y, _LEFT + width, y), fill=canvas.FAINT)
        draw.text((_LEFT - 6, y), f"{count:,}", fill=canvas.INK, font=font, anchor="rm")
    bottom = 8 + height
    marks = ((0, "la"), (entries // 2, "ma"), (entries, "ra"))
    for rank, anchor in marks:
        x = _LEFT + width * rank / entries
        draw.line((x, 8, x, bottom + 3), fill=canvas.FAINT)
        text = f"{rank:,} entries, by frequency" if rank == entries else f"{rank:,}"
        draw.text((x, bottom + 5), text, fill=canvas.INK, font=font, anchor=anchor)
    draw.line((_LEFT, 8, _LEFT, bottom), fill=canvas.INK)
    draw.line((_LEFT, bottom, _LEFT + width, bottom), fill=canvas.INK)


def _line(
    draw: ImageDraw.ImageDraw,
    used: np.ndarray,
    *,
    entries: int,
    decades: int,
    colour: tuple[int, int, int],
) -> None:
    """Steps of the sorted counts, from the left edge, down to the axis after the last one."""
    edges = _LEFT + _PLOT[0] * np.arange(len(used) + 1) / entries
    heights = [_height(int(count), decades) for count in used]
    points = [(float(edges[0]), float(heights[0]))]
    for left, right, y in zip(edges[:-1], edges[1:], heights, strict=True):
        points += [(float(left), float(y)), (float(right), float(y))]
    points.append((float(edges[-1]), _height(0, decades)))
    draw.line(points, fill=colour, width=2)


def _height(count: int, decades: int) -> float:
    """Where a count lies: logarithmic from 1 up, with room below 1 for what never occurs."""
    room = 0.35
    place = (math.log10(count) + room) / (decades + room) if count else 0.0
    return 8 + _PLOT[1] * (1.0 - place)


def _stage_colour(stage: int, stages: int) -> tuple[int, int, int]:
    """Dark to bright along the stack; one stage alone is dark violet."""
    position = 0.25 if stages == 1 else 0.15 + 0.65 * stage / (stages - 1)
    red, green, blue = canvas.colour_map(np.array([[position]]))[0, 0]
    return int(red), int(green), int(blue)


def _shown(item: np.ndarray, level: LevelSpec) -> tuple[np.ndarray, str]:
    if "q" in level.axes and len(item) > STAGES and level.axes[0] == "q":
        return item[:STAGES, ..., :FRAMES], f"; the first {STAGES} of {len(item)} stages"
    if level.axes[-1] in ("t", "n") and item.shape[-1] > FRAMES:
        return item[..., :FRAMES], f"; the first {FRAMES} of {item.shape[-1]} columns"
    return item, ""


def _size(item: np.ndarray, level: LevelSpec) -> str:
    units = {"q": "stages", "t": "frames", "h": "rows", "w": "columns", "n": "tokens"}
    sizes = zip(item.shape, level.axes, strict=True)
    return " x ".join(f"{size} {units[axis]}" for size, axis in sizes)


def _title(header: Header, codes: Codes) -> str:
    modality = codes.spec.modality
    bits = rates.bits(codes.spec.levels, [array.size for array in codes.levels])
    amount = rates.amount(codes.extent, codes.spec.rate)
    if modality == "audio":
        size = f"{amount:.2f} s"
    else:
        height, width = codes.extent[-2:]
        size = f"{width}x{height} pixels"
    facts = f"{size}, {rates.rate(bits, amount, modality):.3g} {rates.unit(modality).symbol}"
    names = [name for name in (header.source.name, header.model) if name]
    return ", ".join([*names, facts])


def _words(use: Use) -> str:
    return (
        f"used {use.used:,} of {use.entries:,} entries ({100 * use.share:.1f} %), "
        f"entropy {use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits, "
        f"perplexity {use.perplexity:,.0f}"
    )

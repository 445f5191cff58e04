"""Pictures for people to look at: of codes, of reconstructions beside their originals.

Each is (H, W, 3) uint8; ``save`` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vqtok import atomic
from vqtok.codes import rates
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import LevelSpec
from vqtok.errors import MediaError, one_line
from vqtok.media.image.mosaic import repeated
from vqtok.media.image.pixels import to_uint8
from vqtok.media.opening import os_message
from vqtok.metrics.codebook import Usage, Use
from vqtok.plots import captions, comparison, sheet
from vqtok.plots import codes as code_plots
from vqtok.plots.sheet import Panel

if TYPE_CHECKING:
    from torch import Tensor

FRAMES, SIDE = 750, 4096
"""Frames or tokens of a map at most, and rows or columns; of more the first ones are drawn."""

CHANNELS = 8
"""Channels of a recording that are drawn."""

STAGES, GRIDS = 64, 12
"""Stages of a stack that are drawn; those of images lie side by side."""

_WINDOW, _BINS = 1024, 80  # samples and bands of a spectrogram


def save(target: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        MediaError: the target cannot be written.
    """
    try:
        with atomic.file(target) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")
    except OSError as error:
        raise MediaError(target, f"cannot write: {os_message(error)}") from error


def of_codes(
    header: Header, codes: Codes, *, colours: Sequence[np.ndarray | None] | None = None
) -> np.ndarray:
    """Draw a codes file: of each level its map, and how often each entry is used.

    Args:
        header: Of the file.
        codes: numpy codes, (B, *axes) per level; B are the channels of a recording.
        colours: Of each level's entries, (K, 3) uint8; None: their own, without a meaning.
    """
    panels = []
    tables = colours or [None for _ in codes.levels]
    for level, array, table in zip(codes.spec.levels, codes.levels, tables, strict=True):
        name = "" if len(codes.levels) == 1 else f"{level.name}: "
        for channel, item in enumerate(array[:CHANNELS]):
            which = f"channel {channel + 1}, " if len(array) > 1 else ""
            panels.append(
                _map(item, level, title=name + which, rate=codes.spec.rate, colours=table)
            )
        usage = Usage.of(level)
        usage.add(array)
        panels.append(
            use_panel(
                usage.used, entries=level.codebook_size, title=name + _use_in_words(usage.total)
            )
        )
    return sheet.pixels(panels, title=one_line(_title(header, codes)))


def cells(
    shown: Sequence[np.ndarray], *, names: Sequence[str], scale: int | None
) -> list[np.ndarray]:
    """Enlarge the pictures of a grid, and write names under them.

    Args:
        shown: (C, H, W) float in [-1, 1] each, of one size.
        names: Of each; none: nothing is written.
        scale: Times that each pixel is repeated; None: so that the names fit under the pictures.

    Returns:
        (C, h, w) float each, of one size; with names (3, h, w).
    """
    needed = max(map(captions.width, names), default=0)
    width = shown[0].shape[-1]
    large = [repeated(each, scale or max(1, -(-needed // width))) for each in shown]
    if not names:
        return large
    wide = max(needed, large[0].shape[-1])
    found = []
    for picture, name in zip(large, names, strict=True):
        text = captions.caption(name, wide=wide).transpose(2, 0, 1) / np.float32(127.5) - 1
        rest = wide - picture.shape[-1]
        sides = ((0, 0), (0, 0), (rest // 2, rest - rest // 2))
        framed = np.pad(picture, sides, constant_values=1.0)
        found.append(np.concatenate([framed, text], axis=1))
    return found


def use_panel(stages: Sequence[np.ndarray], *, entries: int, title: str) -> Panel:
    """Draw how often entries are used, of the first ``STAGES`` stages."""
    title += "; stages from dark to bright" if len(stages) > 1 else ""
    return code_plots.use_panel(stages[:STAGES], entries=entries, title=title)


def compare_images(
    original: np.ndarray, decoded: np.ndarray, *, captions: tuple[str, str]
) -> np.ndarray:
    """Draw original, reconstruction and error map, side by side.

    Args:
        original: (3, H, W) float in [-1, 1].
        decoded: The same shape.
        captions: Texts over the first two.
    """
    a, b = (to_uint8(each).transpose(1, 2, 0) for each in (original, decoded))
    return comparison.pictures(a, b, captions=captions)


def compare_recordings(x: Tensor, y: Tensor, *, rate: int, captions: tuple[str, str]) -> np.ndarray:
    """Draw the spectrograms of a recording and its reconstruction, and their difference.

    Args:
        x: (1, L) original.
        y: (1, L) reconstruction.
        rate: Hz.
        captions: Texts over the first two.
    """
    from vqtok.metrics.mel import centres_hz

    return comparison.spectrograms(
        log_mel(x, rate=rate),
        log_mel(y, rate=rate),
        duration_s=x.shape[-1] / rate,
        bins_hz=centres_hz(rate=rate, bins=_BINS),
        captions=captions,
    )


def log_mel(x: Tensor, *, rate: int) -> np.ndarray:
    """Transform (1, L) samples into (bins, T) log10 magnitudes, low frequencies first."""
    from vqtok.metrics.audio import MEL_FLOOR
    from vqtok.metrics.mel import spectrogram

    magnitudes = spectrogram(x.float(), rate=rate, window=_WINDOW, bins=_BINS)[0]
    found: np.ndarray = magnitudes.clamp(min=MEL_FLOOR).log10().numpy()
    return found


def _map(
    item: np.ndarray,
    level: LevelSpec,
    *,
    title: str,
    rate: float | None,
    colours: np.ndarray | None,
) -> Panel:
    """Returns the map of one channel's codes of a level, no larger than can be seen."""
    units = {"q": "stages", "t": "frames", "h": "rows", "w": "columns", "n": "tokens"}
    sizes = zip(item.shape, level.axes, strict=True)
    title += " x ".join(f"{size} {units[axis]}" for size, axis in sizes)
    own = "its own colour" if colours is None else "the mean colour of its decoded entry"
    title += f"; each code has {own}"
    stages = STAGES if item.ndim < 3 else GRIDS
    most = {"q": stages, "t": FRAMES, "n": FRAMES, "h": SIDE, "w": SIDE}
    for size, axis in zip(item.shape, level.axes, strict=True):
        title += f"; the first {most[axis]} of {size} {units[axis]}" if size > most[axis] else ""
    item = item[tuple(slice(most[axis]) for axis in level.axes)]
    names = {"q": "stage", "t": "frame", "h": "row", "w": "column", "n": "token"}
    ends: list[tuple[str, float]] = [
        (names[axis], size) for size, axis in zip(item.shape, level.axes, strict=True)
    ]
    if level.axes[-1] == "t" and rate:
        ends[-1] = ("time in s", item.shape[-1] * level.stride[-1] / rate)
    if item.ndim == 3:  # one grid beside the other
        return code_plots.map_panel(item, title=title, x=None, y=None, colours=colours)
    y = ends[0] if item.ndim == 2 else None
    return code_plots.map_panel(item, title=title, x=ends[-1], y=y, colours=colours)


def _title(header: Header, codes: Codes) -> str:
    modality = codes.spec.modality
    bits = rates.bits(codes.spec.levels, [array.size for array in codes.levels])
    amount = rates.amount(codes.extent, codes.spec.rate)
    if modality == "audio":
        size = f"{amount:.2f} s"
    else:
        height, width = codes.extent[-2:]
        size = f"{width}x{height} pixels"
    facts = (
        f"{size}, {rates.digits(rates.rate(bits, amount, modality))} {rates.unit(modality).symbol}"
    )
    names = [name for name in (header.source.name, header.model) if name]
    return ", ".join([*names, facts])


def _use_in_words(use: Use) -> str:
    return (
        f"used {use.used:,} of {use.entries:,} entries ({100 * use.share:.1f} %), "
        f"entropy {use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits, "
        f"perplexity {use.perplexity:,.0f}"
    )

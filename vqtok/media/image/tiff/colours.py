"""Samples of a page → grey or RGB, and alpha, by its photometric interpretation."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from vqtok.media.image.raster import Raster
from vqtok.media.image.tiff.layout import CMYK, PALETTE, WHITE_IS_ZERO, YCBCR, Layout

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the default of the tag
_REFERENCE = (0, 255, 128, 255, 128, 255)


def raster_of(samples: np.ndarray, layout: Layout) -> Raster:
    """Make a picture of (H, W, colours and alpha).

    Raises:
        ValueError: a palette that is too short.
    """
    colours = samples[..., : layout.colours]
    alpha = None if layout.alpha is None else samples[..., layout.colours :]
    # 32-bit integers have no scale that all agree on; the one here is that of their 16 bits.
    white = 1.0 if layout.kind == "f" else float((1 << min(layout.bits, 16)) - 1)
    if layout.photometric == WHITE_IS_ZERO:
        colours = samples.dtype.type(white) - colours
    elif layout.photometric == PALETTE:
        colours, top = _looked_up(colours[..., 0], layout)
        alpha, white = _rescaled(alpha, white, top, colours.dtype), top
    elif layout.photometric == CMYK:
        colours, top = _of_inks(colours, white)
        alpha, white = _rescaled(alpha, white, top, colours.dtype), top
    elif layout.photometric == YCBCR:
        colours = _of_luma(colours, layout)
    if alpha is not None:
        untouched = colours.base is samples
        colours = samples if untouched else np.concatenate([colours, alpha], axis=2)
    return Raster(
        colours,
        white,
        has_alpha=alpha is not None,
        associated=layout.associated,
        orientation=layout.orientation,
    )


def _rescaled(
    alpha: np.ndarray | None, white: float, top: float, dtype: np.dtype[Any]
) -> np.ndarray | None:
    """Alpha on the scale that its colours have come to."""
    if alpha is None or white == top:
        return alpha
    scaled = alpha * np.float64(top / white)
    return (scaled if dtype.kind == "f" else np.rint(scaled)).astype(dtype)


def _looked_up(indices: np.ndarray, layout: Layout) -> tuple[np.ndarray, float]:
    """Colours (H, W, 3) of a palette, and the value of white."""
    table: np.ndarray = np.asarray(layout.page.many(320), dtype=np.uint16)
    entries = 1 << layout.bits
    if len(table) != 3 * entries:
        raise ValueError(f"a palette of {len(table)} values, {3 * entries} expected")
    table = table.reshape(3, entries).T
    # The values are of 16 bits, but many writers shift those of 8 bits, or do not even do that.
    if not (table & 255).any() and table.any():
        table = table >> np.uint16(8)
    if table.max(initial=0) > 255:
        return table[indices], 65535.0
    return table.astype(np.uint8)[indices], 255.0


def _of_inks(inks: np.ndarray, white: float) -> tuple[np.ndarray, float]:
    """Cyan, magenta, yellow and black → RGB, each ink taking its share, and the value of white."""
    if inks.dtype == np.uint8 and white == 255:
        with Image.fromarray(np.ascontiguousarray(inks), "CMYK") as image:
            return np.asarray(image.convert("RGB")), white
    share = inks.astype(np.float32) / np.float32(white)
    return (1 - share[..., :3]) * (1 - share[..., 3:]), 1.0


def _of_luma(samples: np.ndarray, layout: Layout) -> np.ndarray:
    """YCbCr of 8 bits → RGB; TIFF 6.0, section 21."""
    red, green, blue = layout.page.many(529)[:3] or _LUMA
    black_y, white_y, black_b, white_b, black_r, white_r = layout.page.many(532)[:6] or _REFERENCE
    if not (green and white_y != black_y and white_b != black_b and white_r != black_r):
        raise ValueError("coefficients of YCbCr that are zero")
    y, cb, cr = np.moveaxis(samples.astype(np.float32), 2, 0)
    y = (y - black_y) * (255 / (white_y - black_y))
    cb = (cb - black_b) * (127 / (white_b - black_b))
    cr = (cr - black_r) * (127 / (white_r - black_r))
    r = y + cr * (2 - 2 * red)
    b = y + cb * (2 - 2 * blue)
    g = (y - red * r - blue * b) / green
    made: np.ndarray = np.clip(np.rint(np.stack([r, g, b], axis=2)), 0, 255).astype(np.uint8)
    return made

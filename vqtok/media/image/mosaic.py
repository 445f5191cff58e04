"""Pictures of one size side by side in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

GAP = 2
"""Pixels between pictures."""


def mosaic(pictures: Sequence[np.ndarray], *, columns: int | None = None) -> np.ndarray:
    """Lay pictures out row by row, with white lines between them.

    Args:
        pictures: (C, H, W) float in [-1, 1] each, one at least.
        columns: Of the grid; None: as many as make it nearly square.

    Returns:
        (C, rows·H + …, columns·W + …) float32; cells that are left over are white.
    """
    count = len(pictures)
    wide = min(count, columns or math.ceil(math.sqrt(count)))
    rows = -(-count // wide)
    channels, height, width = pictures[0].shape
    size = (channels, rows * (height + GAP) - GAP, wide * (width + GAP) - GAP)
    out = np.ones(size, dtype=np.float32)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, wide)
        top, left = row * (height + GAP), column * (width + GAP)
        out[:, top : top + height, left : left + width] = picture
    return out


def enlarged(picture: np.ndarray, *, side: int) -> np.ndarray:
    """Repeats each pixel of (C, H, W) as often as keeps the longer side to ``side``."""
    return repeated(picture, max(1, side // max(picture.shape[1:])))


def repeated(picture: np.ndarray, times: int) -> np.ndarray:
    """Repeats each pixel of (C, H, W) so many times each way."""
    out: np.ndarray = picture.repeat(times, axis=1).repeat(times, axis=2)
    return out

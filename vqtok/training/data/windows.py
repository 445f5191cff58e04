"""The part of a file that an item shows: drawn first, cut afterwards, wherever the file is kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Crop(NamedTuple):
    """A square of an image.

    Attributes:
        top, left: Its first row and column.
        mirrored: Whether left and right are exchanged.
    """

    top: int
    left: int
    mirrored: bool


def crop(height: int, width: int, *, size: int, flip: bool, rng: np.random.Generator) -> Crop:
    """Draw a square of ``size`` pixels a side, from the corner of an image that is smaller."""
    top, left = (int(rng.integers(max(1, side - size + 1))) for side in (height, width))
    return Crop(top, left, flip and bool(rng.random() < 0.5))


def cut(pixels: np.ndarray, crop: Crop, *, size: int) -> np.ndarray:
    """The square out of (H, W, 3): (size, size, 3); the last pixels go on beyond the edges."""
    square = pixels[crop.top : crop.top + size, crop.left : crop.left + size]
    missing = [(0, size - side) for side in square.shape[:2]]
    if any(after for _, after in missing):
        square = np.pad(square, [*missing, (0, 0)], mode="edge")
    return square[:, ::-1] if crop.mirrored else square


def gather(table: Tensor, files: Tensor, crops: Tensor, *, size: int) -> Tensor:
    """``cut`` of many images of one size at once, where they are.

    Args:
        table: (n, H, W, 3).
        files: (B,) int64, which image.
        crops: (B, 3) int64, a ``Crop`` each.
        size: Of the squares.

    Returns:
        (B, size, size, 3), of the table's type.
    """
    steps = torch.arange(size, device=table.device)
    rows = (crops[:, :1] + steps).clamp(max=table.shape[1] - 1)  # (B, size)
    columns = (crops[:, 1:2] + steps).clamp(max=table.shape[2] - 1)
    columns = torch.where(crops[:, 2:] > 0, columns.flip(1), columns)
    return table[files[:, None, None], rows[:, :, None], columns[:, None, :]]


class Stretch(NamedTuple):
    """A part of a recording.

    Attributes:
        channel: Which one.
        start: First sample.
        scale: What turns int16 into floats, attenuation included.
    """

    channel: int
    start: int
    scale: np.float32


def stretch(
    channels: int, length: int, *, size: int, gain_db: float, rng: np.random.Generator
) -> Stretch:
    """Draw ``size`` samples of a channel, attenuated by up to ``gain_db``."""
    channel = int(rng.integers(channels))
    start = int(rng.integers(max(1, length - size + 1)))
    return Stretch(channel, start, np.float32(10.0 ** (-gain_db * rng.random() / 20.0) / 32767))


def heard(samples: np.ndarray, scale: np.float32, *, size: int) -> np.ndarray:
    """int16 (n,) → (1, size) float32 in [-1, 1], followed by silence if it is shorter."""
    out = np.zeros((1, size), dtype=np.float32)
    out[0, : len(samples)] = samples * scale
    return out

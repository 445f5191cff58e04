"""A picture as the samples of its file, at their own depth: for what Pillow has no exact mode."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL.Image import Transpose

_TURNED_UPRIGHT = {
    Transpose.FLIP_LEFT_RIGHT: lambda x: x[:, ::-1],
    Transpose.FLIP_TOP_BOTTOM: lambda x: x[::-1],
    Transpose.ROTATE_180: lambda x: x[::-1, ::-1],
    Transpose.ROTATE_270: lambda x: np.rot90(x, -1),
    Transpose.ROTATE_90: lambda x: np.rot90(x),
    Transpose.TRANSPOSE: lambda x: x.transpose(1, 0, 2),
    Transpose.TRANSVERSE: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
}


@dataclass(frozen=True)
class Raster:
    """Holds samples; what can be asked of it is called as Pillow's images call it.

    Attributes:
        values: (H, W, C): grey or RGB, then alpha if there is one.
        white: Value of white, and of opaque; black is 0.
        has_alpha: Whether the last channel is alpha.
        associated: Whether the colours are multiplied by alpha already.
        key: Values of a colour that is transparent, one per channel; None: no colour is.
        orientation: As EXIF counts, 1 to 8; to be applied by who shows it.
    """

    values: np.ndarray
    white: float
    has_alpha: bool = False
    associated: bool = False
    key: tuple[int, ...] | None = None
    orientation: int = 1

    mode = "samples"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.size[1]

    @property
    def is_transparent(self) -> bool:
        """Whether the background may show through."""
        return self.has_alpha or self.key is not None

    def crop(self, box: tuple[int, int, int, int]) -> Raster:
        """Cut out a part: left, top, right, bottom."""
        left, top, right, bottom = box
        return replace(self, values=self.values[top:bottom, left:right])

    def transpose(self, how: Transpose) -> Raster:
        """Turn or mirror it."""
        return replace(self, values=_TURNED_UPRIGHT[how](self.values))

    def samples(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns (1 or 3, H, W) and alpha (1, H, W) or None, float32 in [0, 1].

        Colours that are multiplied by alpha already stay so.
        """
        scaled = _scaled(self.values.transpose(2, 0, 1), self.white)
        if self.has_alpha:
            return scaled[:-1], scaled[-1:]
        if self.key is None:
            return scaled, None
        seen = (self.values != np.asarray(self.key, dtype=self.values.dtype)).any(axis=2)
        return scaled, seen.astype(np.float32)[None]


def _scaled(values: np.ndarray, white: float) -> np.ndarray:
    if values.dtype == np.uint8:
        made = values.astype(np.float32)
        made /= np.float32(white)
        return made
    if values.dtype.kind == "f" and white == 1:
        return values.astype(np.float32, copy=False)
    wide = values.astype(np.float64)
    wide /= white
    return wide.astype(np.float32)

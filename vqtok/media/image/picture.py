"""A decoded image that hands out windows: float samples are made only of the part asked for.

Pillow holds an image in 1 byte per pixel for grey and 4 for colour; as float32 it would be 12.
What is done to a window (orientation, conversion, background) is done pixel by pixel, so that
windows put together are the whole image bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from vqtok.media.image.facts import ImageInfo
from vqtok.media.image.pillow import orientation, quiet_pillow
from vqtok.media.image.pixels import GREY_MODES, check_range, has_alpha, samples, to_uint8
from vqtok.media.image.raster import Raster

# What Pillow makes RGB of byte by byte.
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Picture:
    """One image in memory, as Pillow holds it, or as its samples.

    Args:
        image: Decoded.
        info: Its facts from the header.
        background: (3,) float32 in [0, 1] that shows through transparent pixels.
        name: Of the file, in messages.

    Attributes:
        info: The facts; ``mode`` is "RGBA" if a grey image becomes coloured over a coloured
            background.

    Raises:
        MediaError: samples outside of the scale of their format.
    """

    def __init__(
        self,
        image: Image.Image | Raster,
        info: ImageInfo,
        *,
        background: np.ndarray,
        name: str,
    ) -> None:
        check_range(image, name)
        self._image, self._background = image, background
        self._orientation = image.orientation if isinstance(image, Raster) else orientation(image)
        width, height = image.size[::-1] if self._orientation >= 5 else image.size
        info = replace(info, width=width, height=height)
        if has_alpha(image) and len(set(background.tolist())) > 1 and info.mode in GREY_MODES:
            info = replace(info, mode="RGBA")
        self.info = info

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """Part of the upright image.

        Args:
            rows: Within the image, start and stop given.
            columns: The same.

        Returns:
            (3, h, w) float32 in [-1, 1].
        """
        with quiet_pillow():
            part = self._crop(rows, columns)
            pixels, alpha = samples(part)
        if alpha is not None:
            if not (isinstance(part, Raster) and part.associated):
                pixels = pixels * alpha
            pixels = pixels + self._background[:, None, None] * (1 - alpha)
            np.minimum(pixels, np.float32(1), out=pixels)  # colours beyond their alpha
        height, width = pixels.shape[1:]
        if len(pixels) < 3:
            pixels = np.broadcast_to(pixels, (3, height, width))
        out = np.empty((3, height, width), dtype=np.float32)
        np.multiply(pixels, np.float32(2), out=out)
        out -= np.float32(1)
        return out

    def whole(self) -> np.ndarray:
        """Returns the upright image: (3, H, W) float32 in [-1, 1]."""
        return self.window(slice(0, self.info.height), slice(0, self.info.width))

    def shrunk(self, side: int | None) -> np.ndarray:
        """Returns the upright image, resized (Lanczos) so that its short side is at most ``side``.

        Args:
            side: In pixels; None keeps the size.

        Returns:
            (H, W, 3) uint8: what ``whole`` is as bytes, where nothing is resized.
        """
        image, turn = self._image, _TURNS.get(self._orientation)
        with quiet_pillow():
            if (
                isinstance(image, Image.Image)
                and image.mode in _PLAIN_MODES
                and not has_alpha(image)
            ):
                image = image.convert("RGB")
            else:
                bytes_ = to_uint8(self.whole())
                image, turn = Image.fromarray(bytes_.transpose(1, 2, 0)), None
            short = min(image.size)
            if side is not None and short > side:
                width, height = (max(side, round(each * side / short)) for each in image.size)
                image = image.resize((width, height), Image.Resampling.LANCZOS)
            return np.array(image if turn is None else image.transpose(turn))

    def _crop(self, rows: slice, columns: slice) -> Image.Image | Raster:
        """Cut the part out where it lies in the file's orientation, then turn it alone."""
        width, height = self._image.size
        if self._orientation >= 5:  # rows of the upright image are columns of the file
            rows, columns = columns, rows
        if self._orientation in (3, 4, 6, 7):
            rows = slice(height - rows.stop, height - rows.start)
        if self._orientation in (2, 3, 7, 8):
            columns = slice(width - columns.stop, width - columns.start)
        box = (columns.start, rows.start, columns.stop, rows.stop)
        part = self._image if box == (0, 0, width, height) else self._image.crop(box)
        turn = _TURNS.get(self._orientation)
        return part if turn is None else part.transpose(turn)

"""A TIFF that is open: its facts first, its pixels when they are asked for."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image

from vqtok.media.image.facts import ImageInfo
from vqtok.media.image.raster import Raster
from vqtok.media.image.tiff import colours, layout, segments, tags


class TiffFile:
    """One TIFF, of which the first page is read.

    Args:
        stream: Seekable.
        name: Of the file, in messages.

    Attributes:
        size: Width and height as they lie in the file.

    Raises:
        MediaError: sound, but not read.
        ValueError: damaged.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        page, self._pages = tags.pages(stream)
        self._layout = layout.layout_of(page, name)
        self.size = self._layout.width, self._layout.height

    @property
    def info(self) -> ImageInfo:
        """Facts of the page."""
        found = self._layout
        width, height = self.size[::-1] if found.orientation >= 5 else self.size
        return ImageInfo(
            width=width,
            height=height,
            mode=_mode(found),
            format="TIFF",
            frames=self._pages,
            has_alpha=found.alpha is not None,
            bits=found.bits,
            spare=found.spare,
        )

    def decode(self, enough: int | None) -> Raster:
        """Read the pixels; ``enough`` of them are all.

        Raises:
            ValueError, zlib.error, OSError, …: damaged.
        """
        if self._layout.compression in layout.OF_PICTURES:
            return self._by_pillow()
        return colours.raster_of(segments.read(self._stream, self._layout), self._layout)

    def _by_pillow(self) -> Raster:
        """JPEG and WebP inside come out as 8 bits of grey, RGB or CMYK, and alpha."""
        self._stream.seek(0)
        with Image.open(self._stream, formats=("TIFF",)) as image:
            image.seek(self._layout.page.index)
            image.load()  # turns it upright, too
            has_alpha = image.mode in ("LA", "La", "RGBA", "RGBa")
            associated = image.mode in ("La", "RGBa")
            plain = image if image.mode in ("L", "RGB") or has_alpha else image.convert("RGB")
            values = np.asarray(plain)
        values = values[..., None] if values.ndim == 2 else values
        return Raster(values, 255.0, has_alpha=has_alpha, associated=associated)


def _mode(found: layout.Layout) -> str:
    """Name of the pixel format, as Pillow calls its like."""
    if found.photometric in (layout.WHITE_IS_ZERO, layout.BLACK_IS_ZERO):
        if found.alpha is not None:
            return "LA"
        if found.kind == "f" or found.bits == 32:
            return "F" if found.kind == "f" else "I"
        return "1" if found.bits == 1 else "L" if found.bits <= 8 else "I;16"
    if found.photometric == layout.RGB:
        return "RGB" if found.alpha is None else "RGBA"
    return {layout.PALETTE: "P", layout.CMYK: "CMYK", layout.YCBCR: "YCbCr"}[found.photometric]

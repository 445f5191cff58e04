"""Write image files from parts of them: Pillow holds the image, nothing else does."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image

from vqtok import atomic
from vqtok.errors import MediaError, UsageError
from vqtok.media.image.pixels import to_uint8
from vqtok.media.opening import os_message, subject

# What Pillow's decoders and encoders raise; anything else is a bug worth a traceback.
CODEC_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)

_JPEG: tuple[str, dict[str, Any]] = ("JPEG", {"quality": 95, "subsampling": 0})
# Suffix → Pillow's format and options. Lossless wherever the format can be.
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    # Level 6 takes three times as long, for files that are a twentieth smaller.
    "png": ("PNG", {"compress_level": 3}),
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif", "jif"), _JPEG),
    "webp": ("WEBP", {"lossless": True}),
    "tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
}
# Pixels turned into bytes at a time: 1.5 MB as float32, and that several times over.
_PART_PIXELS = 1 << 17


class Writer:
    """An image that is filled part by part and saved at the end, whole or not at all.

    PNG, WebP, TIFF and BMP are written without loss, JPEG at quality 95 in 4:4:4.

    Args:
        target: A file or a stream.
        size: (H, W) of the image.
        format: "png", "jpg", "webp", "tiff" or "bmp"; by the suffix if None, PNG for streams.
        grey: Write one grey channel, the mean of the three.

    Raises:
        UsageError: a format that cannot be written.
        MediaError: no memory for an image of this size.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        size: tuple[int, int],
        *,
        format: str | None = None,
        grey: bool = False,
    ) -> None:
        self._target, self._name = target, subject(target)
        self._format, self._options = _encoding(target, format)
        self._size, self._grey = size, grey
        self._row = self._done = 0
        try:
            self._image = Image.new("L" if grey else "RGB", (size[1], size[0]))
        except MemoryError as error:
            what = f"not enough memory for {size[1]}x{size[0]} pixels"
            raise MediaError(self._name, what) from error

    def write(self, band: np.ndarray) -> None:
        """Append (3, rows, W) float pixels in [-1, 1]; see ``put``."""
        rows = band.shape[1] if band.ndim == 3 else 0
        self.put(slice(self._row, self._row + rows), slice(0, self._size[1]), band)
        self._row += rows

    def put(self, rows: slice, columns: slice, pixels: np.ndarray) -> None:
        """Set part of the image; every pixel is to be set once.

        Args:
            rows: Where; start and stop given.
            columns: The same.
            pixels: (3, h, w) float in [-1, 1]; values outside are clipped.

        Raises:
            MediaError: pixels that are not finite.
        """
        height, width = rows.stop - rows.start, columns.stop - columns.start
        fits = 0 <= rows.start < rows.stop <= self._size[0]
        if not fits or columns.stop > self._size[1] or pixels.shape != (3, height, width):
            raise ValueError(f"pixels {pixels.shape} do not fit {rows}, {columns} of {self._size}")
        step = max(1, _PART_PIXELS // width)
        for start in range(0, height, step):
            part = pixels[:, start : start + step]
            if not np.isfinite(part).all():
                raise MediaError(self._name, "cannot write image: pixels are not finite")
            if self._grey:
                values = to_uint8(part.mean(axis=0))
            else:
                values = np.ascontiguousarray(to_uint8(part).transpose(1, 2, 0))
            self._image.paste(Image.fromarray(values), (columns.start, rows.start + start))
        self._done += height * width

    def save(self) -> None:
        """Write the file, once all pixels are there.

        Raises:
            MediaError: too many pixels for the format, or an unwritable target.
        """
        if self._done != self._size[0] * self._size[1]:
            raise ValueError(f"{self._done} pixels of {self._size[0]}x{self._size[1]} are set")
        try:
            if isinstance(self._target, Path):
                with atomic.file(self._target) as temporary, temporary.open("wb+") as stream:
                    self._encode(stream)
                return
            # Headers may need what comes later, and a pipe cannot be wound back.
            with tempfile.TemporaryFile() as stream:
                self._encode(stream)
                stream.seek(0)
                shutil.copyfileobj(stream, self._target, 1 << 20)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise MediaError(self._name, f"cannot write: {os_message(error)}") from error

    def _encode(self, stream: BinaryIO) -> None:
        try:
            # Pillow would write to a descriptor without a look at what became of it.
            plain = cast(BinaryIO, atomic.Stream(stream))
            self._image.save(plain, format=self._format, **self._options)
            stream.flush()
        except CODEC_ERRORS as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            _check_disk(stream)
            what = f"{self._image.width}x{self._image.height} pixels as {self._format}"
            raise MediaError(self._name, f"cannot write {what}: {error}") from error


def _check_disk(stream: BinaryIO) -> None:
    """Pillow's C code forgets why a write failed; if the disk is full, so is it for more bytes.

    Raises:
        OSError: that reason.
    """
    stream.seek(0, os.SEEK_END)
    stream.write(bytes(1 << 20))
    stream.flush()


def _encoding(target: Path | BinaryIO, format: str | None) -> tuple[str, dict[str, Any]]:
    name = subject(target)
    if format is None:
        format = target.suffix if isinstance(target, Path) else "png"
    key = format.lower().lstrip(".")
    if key not in _WRITERS:
        reason = {"gif": "GIF holds only 256 colours", "": "the name has no suffix"}
        raise UsageError(
            name,
            f"cannot write image: {reason.get(key, f'unknown format {key!r}')}",
            hint="formats: png, jpg, webp, tiff, bmp",
        )
    return _WRITERS[key]

"""A picture that Pillow opened: its facts, and its pixels exactly as the file has them."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from vqtok.media.image import facts
from vqtok.media.image.facts import ImageInfo
from vqtok.media.image.pixels import ALPHA_MODES
from vqtok.media.image.raster import Raster

_ORIENTATION_TAG = 0x0112

_PART_PIXELS = 1 << 20
_DEPTHS = {"JPEG2000": facts.jpeg_2000_bits, "AVIF": facts.avif_bits}

# Pillow's names, where ours are others: MPO is a JPEG with more than one picture.
_NAMES = {"MPO": "JPEG", "HEIF": "HEIC", "JPEG2000": "JPEG 2000"}

_lock = threading.Lock()
_users = 0
_undo = ExitStack()


class PillowFile:
    """One picture of any format but TIFF.

    Args:
        image: Open, not decoded.
        stream: It was opened from.
        most: Pixels of a PNG whose EXIF data is not looked for: that would decode a bomb.

    Attributes:
        size: Width and height as they lie in the file.
        info: Its facts.

    Raises:
        ValueError: what Pillow would read wrongly.
    """

    def __init__(self, image: Image.Image, stream: BinaryIO, *, most: int) -> None:
        self._image, self._stream, self.size = image, stream, image.size
        self._raw = _raw_mode(image)  # first: looking for EXIF data may decode the image
        self._frame = _extent(image) if image.format == "GIF" else None
        self.info = self._facts(most)
        if image.format == "JPEG2000" and self.info.bits != 8 and image.mode != "I;16":
            # Pillow rounds to 8 bits without a limit, white to 256, which is black; and shifts
            # fewer bits up, white to 248.
            raise ValueError(f"unsupported {self.info.bits} bits per sample")

    def decode(self, enough: int | None) -> Image.Image | Raster:
        """Decode the pixels, or, of a JPEG, as few as leave ``enough`` on the short side."""
        if enough is not None:
            self._image.draft(None, (enough, enough))
        if self._image.format == "PNG":
            decoded = self._png()
            self._check_rows(decoded)
            return decoded
        self._image.load()
        return self._on_canvas()

    def _facts(self, most: int) -> ImageInfo:
        image = self._image
        width, height = image.size
        # once decoded, a PNG is asked again
        is_bomb = image.format == "PNG" and width * height > most
        if not is_bomb and orientation(image) >= 5:
            width, height = height, width
        first = image.tell()  # of several pictures in a HEIC one is the first
        frames = getattr(image, "n_frames", 1)
        image.seek(first)
        format = image.format or ""
        return ImageInfo(
            width=width,
            height=height,
            mode="LA" if self._raw.startswith("LA") else image.mode,
            format=_NAMES.get(format, format),
            frames=frames,
            has_alpha=image.mode in ALPHA_MODES
            or "transparency" in image.info
            or self._is_partial(),
            bits=self._bits(),
        )

    def _is_partial(self) -> bool:
        """Tells whether the first frame of a GIF is smaller than its canvas."""
        return self._frame is not None and self._frame != (0, 0, *self.size)

    def _on_canvas(self) -> Image.Image:
        """Make a canvas transparent around a frame that fills a part, where Pillow has colour 0."""
        image = self._image
        if not self._is_partial() or "transparency" in image.info:
            return image
        canvas = Image.new("RGBA", image.size)
        canvas.paste(image.crop(self._frame).convert("RGB"), self._frame)
        return canvas

    def _check_rows(self, decoded: Image.Image | Raster) -> None:
        """Checks that a PNG's data has all rows; Pillow leaves those that are missing at zero.

        Raises:
            OSError: some are missing.
        """
        width, height = self.size
        last = decoded.crop((0, height - 1, width, height))
        is_zero = not np.any(last.values if isinstance(last, Raster) else np.asarray(last))
        if is_zero or self._image.info.get("interlace"):
            there, expected = facts.png_bytes(self._stream)
            if there < expected:
                raise OSError(f"{there} of {expected} bytes of pixels")

    def _bits(self) -> int:
        """Bits per sample in the file."""
        image, raw = self._image, self._raw
        if image.format == "PNG":
            depth = raw.partition(";")[2].rstrip("B")
            return int(depth) if depth.isdigit() else 1 if image.mode == "1" else 8
        if image.format in _DEPTHS:
            place = self._stream.tell()
            self._stream.seek(0)
            found = _DEPTHS[image.format](self._stream.read(facts.HEAD_BYTES))
            self._stream.seek(place)
            return found or 8
        if image.format == "HEIF":
            return int(image.info.get("bit_depth", 8))
        return 1 if image.mode == "1" else 8

    def _png(self) -> Image.Image | Raster:
        """Decode a PNG; what Pillow would round to 8 bits stays as it is.

        tRNS of grey and RGB is a value of the file's own depth (PNG, third edition, 11.3.1.1),
        which Pillow hands on as it is while it brings the samples to 8 bits.
        """
        image, key = self._image, self._image.info.get("transparency")
        deep = self.info.bits == 16 and image.mode in ("RGB", "RGBA", "LA")
        if image.mode == "P" or not (deep or key is not None):
            image.load()
            return image
        if deep:
            values = self._sixteen_bits()
        else:
            image.load()
            values = np.asarray(image, dtype=np.uint16 if self.info.bits == 16 else np.uint8)
            values = values[..., None] if values.ndim == 2 else values
        white = 65535.0 if self.info.bits == 16 else 1.0 if image.mode == "1" else 255.0
        colours = key if isinstance(key, tuple) else None if key is None else (key,)
        if colours is not None:
            # Bits above the depth do not count; samples of 2 and 4 bits are spread over 8.
            most = (1 << self.info.bits) - 1
            colours = tuple(int((each & most) * white / most) for each in colours)
        return Raster(
            values,
            white,
            has_alpha=image.mode in ALPHA_MODES,
            key=colours,
            orientation=orientation(image),
        )

    def _sixteen_bits(self) -> np.ndarray:
        """Decode colours of 16 bits, which Pillow has no mode for, as two pictures of 8 bits.

        To its raw modes the same bytes are samples of either order: the first of two is the high
        byte of the one, the second of the other. Grey and its alpha lie like four bytes of colour.
        """
        image = self._image
        is_grey = self._raw == "LA;16B"
        values = np.empty((image.height, image.width, 2 if is_grey else len(image.mode)), np.uint16)
        if is_grey:
            with self._again("RGBA") as all_bytes:
                for rows, part in _bands(all_bytes):
                    values[rows] = part[..., ::2] * np.uint16(256) + part[..., 1::2]
            return values
        image.load()
        for rows, part in _bands(image):
            values[rows] = part * np.uint16(256)
        with self._again(f"{image.mode};16L") as low:
            for rows, part in _bands(low):
                values[rows] |= part
        return values

    def _again(self, raw: str) -> ImageFile:
        """Decode the file once more, its bytes taken for a raw mode of Pillow."""
        self._stream.seek(0)
        image = Image.open(self._stream, formats=("PNG",))
        image.tile = [each._replace(args=raw) for each in image.tile]
        image.load()
        return image


def _bands(image: Image.Image) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of a picture, (n, W, C) uint8 each: another copy of the whole is not made."""
    step = max(1, _PART_PIXELS // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), np.asarray(image.crop((0, top, image.width, bottom)))


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 still to be applied; a damaged EXIF block counts as none."""
    if image.format == "TIFF":
        return 1  # Pillow's TIFF reader turns the image itself
    try:
        value: Any = image.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return 1
    return int(value) if value in range(1, 9) else 1


def with_key_in_bytes(image: Image.Image) -> Image.Image:
    """Decode a user's image; its transparent colour, of the file's depth, becomes one of 8 bits.

    Of grey that was decoded before, the depth of the file is not known any more.
    """
    raw = _raw_mode(image)
    image.load()
    key, spread = image.info.get("transparency"), {"L;2": 85, "L;4": 17}.get(raw, 1)
    if isinstance(key, int) and spread > 1:
        key *= spread
    elif isinstance(key, tuple) and max(key) > 255:
        key = tuple(each >> 8 for each in key)
    else:
        return image
    made = image.copy()
    made.info["transparency"] = key
    return made


def _extent(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the frame that is to be decoded; None: it has been."""
    tiles = getattr(image, "tile", ())
    return tiles[0][1] if tiles else None


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", ())
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Lift Pillow's global pixel limit and silence its warnings: our checks stand in for them.

    Both are process-wide settings, so several threads share one change: the first to enter makes
    it, the last to leave undoes it.
    """
    global _users
    with _lock:
        if _users == 0:
            _enter()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _undo.close()


def _enter() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    _undo.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _undo.callback(_set_limit, limit)
    _set_limit(None)


def _set_limit(limit: int | None) -> None:
    Image.MAX_IMAGE_PIXELS = limit

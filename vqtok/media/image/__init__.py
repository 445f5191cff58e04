"""Image files ⇄ float arrays (3, H, W) in [-1, 1], through Pillow.

What happens to a file on its way in, in this order:

* only the first frame of an animation or a multi-page TIFF is read;
* the EXIF orientation is applied, so that the array is what a viewer shows;
* palettes, grey, CMYK (JPEG's inverted CMYK too, as Pillow does) and 16-bit samples become RGB;
  16-bit grey keeps its precision, 16-bit colour is what Pillow makes of it, 8 bits;
* float samples are read as 0 (black) to 1 (white), 32-bit integers as 0 to 65535; values outside
  are an error, since no scale is defined for them;
* alpha, a transparent palette entry or a transparent colour is composited over ``background``.

Colour profiles are not applied.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from vqtok.errors import MediaError
from vqtok.media.image.formats import damaged, open_image
from vqtok.media.image.picture import ImageInfo as ImageInfo
from vqtok.media.image.picture import Picture as Picture
from vqtok.media.image.picture import orientation
from vqtok.media.image.pixels import ALPHA_MODES, GREY_MODES, check_size, parse_background
from vqtok.media.image.pixels import to_uint8 as to_uint8
from vqtok.media.image.quiet import quiet_pillow
from vqtok.media.image.writer import CODEC_ERRORS
from vqtok.media.image.writer import Writer as Writer
from vqtok.media.kinds import IMAGE_SUFFIXES
from vqtok.media.opening import seekable, subject

SUFFIXES = IMAGE_SUFFIXES

# Twice Pillow's warning limit, where Pillow itself would raise: 179 megapixels, 2 GiB as float32.
MAX_PIXELS = 2 * (1024**3 // 4 // 3)

# Pillow's names, where ours are others: MPO is a JPEG with more than one picture.
_NAMES = {"MPO": "JPEG", "HEIF": "HEIC", "JPEG2000": "JPEG 2000"}


def probe(source: Path | BinaryIO) -> ImageInfo:
    """Read an image's header.

    Raises:
        MediaError: not a readable image.
    """
    with seekable(source) as stream, quiet_pillow():
        image = open_image(stream, subject(source), max_pixels=MAX_PIXELS)
        return _info(image, subject(source))


def load(
    source: Path | BinaryIO,
    *,
    background: str = "white",
    max_pixels: int | None = MAX_PIXELS,
    enough: int | None = None,
) -> Picture:
    """Decode an image, to take windows from it: memory holds what Pillow needs for it.

    Args:
        source: A file, or a stream (which need not be seekable).
        background: CSS colour name or hex that shows through transparent pixels.
        max_pixels: Refuse larger images before they are decoded; None for no limit.
        enough: Pixels of the short side that will do: a JPEG is then decoded at 1/2, 1/4 or 1/8 of
            its size where that leaves as many. None: every pixel.

    Raises:
        MediaError: not a readable image, or too large.
        UsageError: ``background`` is not a colour.
    """
    colour = parse_background(background)
    name = subject(source)
    with seekable(source) as stream, quiet_pillow():
        image = open_image(stream, name, max_pixels=max_pixels)
        check_size(image.size, name, max_pixels)
        info = _info(image, name)
        try:
            if enough is not None:
                image.draft(None, (enough, enough))
            image.load()
            return Picture(image, info, background=colour, name=name)
        except MemoryError as error:
            raise MediaError(name, f"not enough memory for {_size(image)} pixels") from error
        except (*CODEC_ERRORS, RuntimeError) as error:
            raise damaged(name, info.format, error) from error


def read(
    source: Path | BinaryIO, *, background: str = "white", max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, ImageInfo]:
    """Read a whole image; ``load`` with the same arguments, all its pixels at once.

    Returns:
        (3, H, W) float32 in [-1, 1], and the file's facts. ``mode`` is "RGBA" there if a grey image
        became coloured over a coloured background, so that ``is_grey`` tells how the pixels are.

    Raises:
        MediaError: not a readable image, or too large.
        UsageError: ``background`` is not a colour.
    """
    picture = load(source, background=background, max_pixels=max_pixels)
    try:
        return picture.whole(), picture.info
    except MemoryError as error:
        size = f"{picture.info.width}x{picture.info.height}"
        raise MediaError(subject(source), f"not enough memory for {size} pixels") from error


def is_grey(info: ImageInfo) -> bool:
    """Checks whether the format has no colour, so that the pixels are to be restored as grey."""
    return info.mode in GREY_MODES


def write(
    target: Path | BinaryIO, pixels: np.ndarray, *, format: str | None = None, grey: bool = False
) -> None:
    """Write a whole image; see ``Writer``.

    Args:
        target: A file, which appears whole or not at all, or a stream.
        pixels: (3, H, W) float in [-1, 1]; values outside are clipped.
        format: "png", "jpg", "webp", "tiff" or "bmp"; by the suffix if None, PNG for streams.
        grey: Write one grey channel, the mean of the three.

    Raises:
        UsageError: a format that cannot be written.
        MediaError: pixels not finite or too many for the format, or an unwritable target.
    """
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ValueError(f"expected pixels (3, H, W), found {pixels.shape}")
    writer = Writer(target, (pixels.shape[1], pixels.shape[2]), format=format, grey=grey)
    writer.write(pixels)
    writer.save()


def _info(image: Image.Image, name: str) -> ImageInfo:
    format = _NAMES.get(image.format or "", image.format or "")
    width, height = image.size
    bits = _bits(image)  # first: looking for EXIF data may decode the image
    try:
        if _orientation(image) >= 5:
            width, height = height, width
        first = image.tell()  # of several pictures in a HEIC one is the first
        frames = getattr(image, "n_frames", 1)
        image.seek(first)
    except CODEC_ERRORS as error:
        raise damaged(name, format, error) from error
    return ImageInfo(
        width=width,
        height=height,
        mode=image.mode,
        format=format,
        frames=frames,
        has_alpha=image.mode in ALPHA_MODES or "transparency" in image.info,
        bits=bits,
    )


def _bits(image: Image.Image) -> int:
    tiles = getattr(image, "tile", ())
    raw = str(tiles[0].args) if tiles else ""
    if image.mode in ("I", "F"):
        return 32
    if "16" in image.mode or ";16" in raw:
        return 16
    return 1 if image.mode == "1" else 8


def _orientation(image: Image.Image) -> int:
    # A PNG's getexif() would decode a bomb; once decoded, it is asked again.
    is_bomb = image.format == "PNG" and image.width * image.height > MAX_PIXELS
    return 1 if is_bomb else orientation(image)


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"

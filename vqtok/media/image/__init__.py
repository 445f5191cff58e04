"""Image files ⇄ float arrays (3, H, W) in [-1, 1], through Pillow.

What happens to a file on its way in, in this order:

* only the first frame of an animation or a multi-page TIFF is read;
* the EXIF orientation is applied, so that the array is what a viewer shows;
* palettes, grey and CMYK (JPEG's inverted CMYK too, as Pillow does) become RGB; samples of 16 bits
  keep their precision, but in JPEG 2000, AVIF and HEIC, where Pillow makes colours of 8 bits;
* float samples are read as 0 (black) to 1 (white), 32-bit integers as 0 to 65535; values outside
  are an error, since no scale is defined for them;
* alpha, a transparent palette entry or a transparent colour is composited over ``background``.

Colour profiles are not applied.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from vqtok.errors import MediaError
from vqtok.media.image.facts import WEBP_HEAD_BYTES, jpeg_that_is_not_read, webp_canvas
from vqtok.media.image.facts import ImageInfo as ImageInfo
from vqtok.media.image.picture import Picture as Picture
from vqtok.media.image.pillow import PillowFile, quiet_pillow
from vqtok.media.image.pixels import GREY_MODES, check_size, parse_background
from vqtok.media.image.pixels import to_uint8 as to_uint8
from vqtok.media.image.raster import Raster
from vqtok.media.image.tiff.file import TiffFile
from vqtok.media.image.writer import CODEC_ERRORS
from vqtok.media.image.writer import Writer as Writer
from vqtok.media.kinds import HEAD_BYTES, IMAGE_SUFFIXES, sniff_format, supported
from vqtok.media.kinds import MAX_PIXELS as MAX_PIXELS
from vqtok.media.opening import seekable, subject

SUFFIXES = IMAGE_SUFFIXES

# Name in ``kinds`` → Pillow's.
_FORMATS = {
    **{name: name for name in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "AVIF")},
    "WebP": "WEBP",
    "JPEG 2000": "JPEG2000",
    "HEIC": "HEIF",
}
# Formats that not every build of Pillow reads.
_FEATURES = {"AVIF": "avif", "JPEG 2000": "jpg_2000"}


class Opened(Protocol):
    """A picture's file, before it is decoded."""

    size: tuple[int, int]
    """Width and height as they lie in the file."""

    @property
    def info(self) -> ImageInfo:
        """What it says about itself."""

    def decode(self, enough: int | None) -> Image.Image | Raster:
        """Decode the pixels, or as few as leave ``enough`` on the short side."""


def probe(source: Path | BinaryIO) -> ImageInfo:
    """Read an image's header.

    Raises:
        MediaError: not a readable image.
    """
    with seekable(source) as stream, quiet_pillow():
        opened = _opened(stream, subject(source), max_pixels=MAX_PIXELS, most=MAX_PIXELS)
        return opened.info


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
        opened = _opened(stream, name, max_pixels=max_pixels, most=MAX_PIXELS)
        check_size(opened.size, name, max_pixels)
        info = opened.info
        try:
            return Picture(opened.decode(enough), info, background=colour, name=name)
        except MemoryError as error:
            size = f"{info.width}x{info.height}"
            raise MediaError(name, f"not enough memory for {size} pixels") from error
        except (*CODEC_ERRORS, RuntimeError) as error:
            raise _damaged(name, info.format, error) from error


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


def _opened(stream: BinaryIO, name: str, *, max_pixels: int | None, most: int) -> Opened:
    """Open an image without decoding it.

    Args:
        stream: Seekable, at its start.
        name: Of the file, in messages.
        max_pixels: A WebP takes memory even when it is opened, so its size is looked at first.
        most: Pixels of a PNG that may be decoded to look for its EXIF data.

    Raises:
        MediaError: no format that is read here, or damaged.
    """
    format = sniff_format(stream.read(HEAD_BYTES))
    stream.seek(0)
    if format is None or format not in _FORMATS:
        holds = f" (it holds {format})" if format else ""
        raise MediaError(
            name, f"not an image that vqtok reads{holds}", hint=f"supported: {supported('image')}"
        )
    if format == "HEIC":
        _register_heif(name)
    elif not features.check(_FEATURES.get(format, "pil")):
        raise MediaError(name, f"this Pillow reads no {format}", hint="pip install -U pillow")
    if format == "WebP":
        check_size(webp_canvas(stream.read(WEBP_HEAD_BYTES)) or (0, 0), name, max_pixels)
        stream.seek(0)
    try:
        if format == "TIFF":
            return TiffFile(stream, name)
        image = Image.open(stream, formats=(_FORMATS[format],))
        return PillowFile(image, stream, most=most)
    except (*CODEC_ERRORS, RuntimeError) as error:
        unusual = jpeg_that_is_not_read(stream) if format == "JPEG" else None
        raise _damaged(name, format, error, unusual=unusual) from error


def _damaged(
    name: str, format: str, error: BaseException, *, unusual: str | None = None
) -> MediaError:
    """Make the error of a file that breaks off or is nonsense, or of an ``unusual`` kind."""
    if unusual is not None:
        return MediaError(name, f"unsupported {format}: {unusual}", hint="save it as PNG")
    # What Pillow says when no reader takes a file holds nothing but the object that it was given.
    unnamed = isinstance(error, UnidentifiedImageError)
    text = "its beginning makes no sense" if unnamed else " ".join(str(error).split())
    if text.lower().startswith("unsupported"):  # Pillow has no other way to tell these apart
        return MediaError(name, f"unsupported {format}: {text[12:]}", hint="save it as PNG")
    return MediaError(name, f"truncated or damaged {format}: {text or type(error).__name__}")


def _register_heif(name: str) -> None:
    """Let Pillow read HEIC, if the extra is there.

    Raises:
        MediaError: it is not.
    """
    if importlib.util.find_spec("pillow_heif") is None:
        raise MediaError(
            name,
            "HEIC is read by an extra that is not installed",
            hint="pip install 'vqtok[heif]', or convert the files: heif-convert x.heic x.png",
        )
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)

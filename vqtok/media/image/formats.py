"""Formats of pictures that are read, each by its bytes, and how one is opened."""

from __future__ import annotations

import importlib.util
from typing import BinaryIO, Protocol

from PIL import Image, UnidentifiedImageError, features

from vqtok.errors import MediaError
from vqtok.media.image import webp
from vqtok.media.image.facts import ImageInfo
from vqtok.media.image.headers import jpeg_that_is_not_read
from vqtok.media.image.pillow import PillowFile
from vqtok.media.image.pixels import check_size
from vqtok.media.image.raster import Raster
from vqtok.media.image.tiff.file import TiffFile
from vqtok.media.image.writer import CODEC_ERRORS
from vqtok.media.kinds import HEAD_BYTES, sniff_format, supported

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


def open_image(stream: BinaryIO, name: str, *, max_pixels: int | None, most: int) -> Opened:
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
        check_size(webp.canvas(stream.read(webp.HEAD_BYTES)) or (0, 0), name, max_pixels)
        stream.seek(0)
    try:
        if format == "TIFF":
            return TiffFile(stream, name)
        image = Image.open(stream, formats=(_FORMATS[format],))
        return PillowFile(image, stream, most=most)
    except (*CODEC_ERRORS, RuntimeError) as error:
        unusual = jpeg_that_is_not_read(stream) if format == "JPEG" else None
        raise damaged(name, format, error, unusual=unusual) from error


def damaged(
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

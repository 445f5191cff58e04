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

import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from vqtok import atomic
from vqtok.errors import MediaError, UsageError
from vqtok.media import webp
from vqtok.media.kinds import HEAD_BYTES, IMAGE_SUFFIXES, sniff_format, supported
from vqtok.media.opening import os_message, seekable, subject
from vqtok.media.pixels import ALPHA_MODES, GREY_MODES, check_size, parse_background, samples
from vqtok.media.pixels import to_uint8 as to_uint8
from vqtok.media.quiet import quiet_pillow

SUFFIXES = IMAGE_SUFFIXES

# Twice Pillow's warning limit, where Pillow itself would raise: 179 megapixels, 2 GiB as float32.
MAX_PIXELS = 2 * (1024**3 // 4 // 3)

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged data; anything else is a bug worth a traceback.
_DECODER_ERRORS = (
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

# Suffix → Pillow's format and options. Lossless wherever the format can be.
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "webp": ("WEBP", {"lossless": True}),
    "tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
}


@dataclass(frozen=True)
class ImageInfo:
    """What a file says about itself.

    Attributes:
        width, height: Pixels, after the EXIF orientation.
        mode: Pillow's name of the pixel format in the file: "RGB", "L", "P", "CMYK", ….
        format: "PNG", "JPEG", "WEBP", "TIFF", "BMP" or "GIF".
        frames: Frames of an animation or pages; only the first is read.
        has_alpha: An alpha channel, or a transparent palette entry or colour.
        bits: Bits per sample in the file.
    """

    width: int
    height: int
    mode: str
    format: str
    frames: int
    has_alpha: bool
    bits: int


def probe(source: Path | BinaryIO) -> ImageInfo:
    """Read an image's header.

    Raises:
        MediaError: not a readable image.
    """
    with seekable(source) as stream, quiet_pillow():
        image = _open(stream, subject(source), max_pixels=MAX_PIXELS)
        return _info(image, subject(source))


def read(
    source: Path | BinaryIO, *, background: str = "white", max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, ImageInfo]:
    """Read an image.

    Args:
        source: A file, or a stream (which need not be seekable).
        background: CSS colour name or hex that shows through transparent pixels.
        max_pixels: Refuse larger images before they are decoded; None for no limit.

    Returns:
        (3, H, W) float32 in [-1, 1], and the file's facts. ``mode`` is "RGBA" there if a grey image
        became coloured over a coloured background, so that ``is_grey`` tells how the pixels are.

    Raises:
        MediaError: not a readable image, or too large.
        UsageError: ``background`` is not a colour.
    """
    colour = parse_background(background)
    name = subject(source)
    with seekable(source) as stream, quiet_pillow():
        image = _open(stream, name, max_pixels=max_pixels)
        check_size(image.size, name, max_pixels)
        info = _info(image, name)
        try:
            image.load()
            turned = _upright(image)
            pixels, alpha = samples(turned, name)
        except MemoryError as error:
            raise MediaError(f"{name}: not enough memory for {_size(image)} pixels") from error
        except _DECODER_ERRORS as error:
            raise MediaError(_damaged(name, info.format, error)) from error
    if alpha is not None:
        coloured = len(set(colour.tolist())) > 1
        pixels = pixels * alpha + colour[:, None, None] * (1 - alpha)
        if coloured and is_grey(info):
            info = replace(info, mode="RGBA")
    height, width = pixels.shape[1:]
    pixels = np.broadcast_to(pixels, (3, height, width)) * np.float32(2) - np.float32(1)
    return np.ascontiguousarray(pixels, dtype=np.float32), info


def is_grey(info: ImageInfo) -> bool:
    """Whether the format has no colour, so that the pixels are to be restored as grey."""
    return info.mode in GREY_MODES


def write(
    target: Path | BinaryIO, pixels: np.ndarray, *, format: str | None = None, grey: bool = False
) -> None:
    """Write an image: PNG, WebP, TIFF and BMP without loss, JPEG at quality 95 in 4:4:4.

    Args:
        target: A file, which appears whole or not at all, or a stream.
        pixels: (3, H, W) float in [-1, 1]; values outside are clipped.
        format: "png", "jpg", "webp", "tiff" or "bmp"; by the suffix if None, PNG for streams.
        grey: Write one grey channel, the mean of the three.

    Raises:
        UsageError: a format that cannot be written.
        MediaError: pixels not finite or too many for the format, or an unwritable target.
    """
    name = subject(target)
    pillow_format, options = _writer(target, format)
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ValueError(f"expected pixels (3, H, W), found {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise MediaError(f"{name}: cannot write image: pixels are not finite")
    if grey:
        image = Image.fromarray(to_uint8(pixels.mean(axis=0)))
    else:
        image = Image.fromarray(np.ascontiguousarray(to_uint8(pixels).transpose(1, 2, 0)))
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=pillow_format, **options)
    except _DECODER_ERRORS as error:
        what = f"{image.width}x{image.height} pixels as {pillow_format}"
        raise MediaError(f"{name}: cannot write {what}: {error}") from error
    _put(target, buffer.getbuffer())


def _put(target: Path | BinaryIO, data: memoryview) -> None:
    try:
        if isinstance(target, Path):
            with atomic.file(target) as temporary:
                temporary.write_bytes(data)
        else:
            target.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise MediaError(f"{subject(target)}: cannot write: {os_message(error)}") from error


def _writer(target: Path | BinaryIO, format: str | None) -> tuple[str, dict[str, Any]]:
    name = subject(target)
    if format is None:
        format = target.suffix if isinstance(target, Path) else "png"
    key = format.lower().lstrip(".")
    if key not in _WRITERS:
        reason = {"gif": "GIF holds only 256 colours", "": "the name has no suffix"}
        raise UsageError(
            f"{name}: cannot write image: {reason.get(key, f'unknown format {key!r}')}",
            hint="formats: png, jpg, webp, tiff, bmp",
        )
    return _WRITERS[key]


def _open(stream: BinaryIO, name: str, *, max_pixels: int | None) -> Image.Image:
    """Open an image without decoding it; a WebP takes memory even then, so its size is first."""
    format = sniff_format(stream.read(HEAD_BYTES))
    stream.seek(0)
    if format is None or format.upper() not in _FORMATS:
        holds = f" (it holds {format})" if format else ""
        raise MediaError(
            f"{name}: not an image that vqtok reads{holds}", hint=f"supported: {supported('image')}"
        )
    if format == "WebP":
        check_size(webp.canvas(stream.read(webp.HEAD_BYTES)) or (0, 0), name, max_pixels)
        stream.seek(0)
    try:
        return Image.open(stream, formats=(format.upper(),))
    except _DECODER_ERRORS as error:
        raise MediaError(_damaged(name, format, error)) from error


def _info(image: Image.Image, name: str) -> ImageInfo:
    format = "JPEG" if image.format == "MPO" else image.format or ""
    width, height = image.size
    bits = _bits(image)  # first: looking for EXIF data may decode the image
    try:
        if _orientation(image) >= 5:
            width, height = height, width
        frames = getattr(image, "n_frames", 1)
        image.seek(0)
    except _DECODER_ERRORS as error:
        raise MediaError(_damaged(name, format, error)) from error
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
    """EXIF orientation 1 to 8 still to be applied; a damaged EXIF block counts as none."""
    # Pillow's TIFF reader turns the image itself, and a PNG's getexif() would decode a bomb.
    if image.format == "TIFF" or image.width * image.height > MAX_PIXELS:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return 1
    return value if value in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


def _damaged(name: str, format: str, error: BaseException) -> str:
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"{name}: truncated or damaged {format}: {detail}"

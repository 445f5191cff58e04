"""Small sound pictures of every kind that can be read, as bytes."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

WIDTH, HEIGHT = 13, 9


def png(header: tuple[int, int, int, int, int], rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of (width, height, bits, colour type, interlace), packed rows, and chunks before them.

    The rows come with their filter bytes.
    """
    return png_of(header, zlib.compress(rows), *extra)


def png_of(
    header: tuple[int, int, int, int, int], data: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    """The same of deflated rows."""
    width, height, bits, colour, interlace = header
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)),
        *extra,
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def _saved(mode: str, format: str, **options: Any) -> bytes:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    colour = np.stack([x * 19, y * 28, (x + y) * 11], axis=-1).astype(np.uint8)
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        grey = (x * 5000 + y * 100).astype(np.float64)
        image = Image.fromarray((grey / 65535 if mode == "F" else grey).astype(dtype))
    elif "A" in mode:
        image = Image.fromarray(colour)
        image.putalpha(Image.fromarray((x * 19).astype(np.uint8)))
        image = image.convert(mode)
    else:
        image = Image.fromarray(colour).convert(mode)
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


def _interlaced() -> bytes:
    """8x8 grey in Adam7: seven small pictures one after the other."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2))  # fmt: skip
    rows = b""
    for left, top, across, down in passes:
        for y in range(top, 8, down):
            rows += b"\0" + bytes((x + y) * 16 for x in range(left, 8, across))
    return png((8, 8, 8, 0, 1), rows)


def _animated(format: str, mode: str) -> bytes:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), (40 * n, 255 - 40 * n, 9)) for n in range(3)]
    frames = [frame.convert(mode) for frame in frames]
    stream = io.BytesIO()
    frames[0].save(stream, format=format, save_all=True, append_images=frames[1:], duration=50)
    return stream.getvalue()


@cache
def seeds() -> dict[str, bytes]:
    """Name → file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "plain")
    text.add_text("Long", "deflated " * 30, zip=True)
    text.add_itxt("Title", "é", "de", "t", zip=True)
    profile = bytes(range(256)) * 2
    found = {
        "png rgb": _saved("RGB", "PNG", pnginfo=text, exif=exif, icc_profile=profile),
        "png palette": _saved("P", "PNG", transparency=3),
        "png palette 2 bits": _saved("P", "PNG", bits=2),
        "png interlaced": _interlaced(),
        "png 16-bit colour": png((3, 2, 16, 2, 0), (b"\0" + bytes(range(18))) * 2),
        "png 16-bit colour alpha": png((2, 2, 16, 6, 0), (b"\0" + bytes(range(16))) * 2),
        "png 4 bits": png((5, 2, 4, 0, 0), (b"\0" + bytes(3)) * 2),
        "png animated": _animated("PNG", "RGB"),
        "jpeg": _saved("RGB", "JPEG", exif=exif, icc_profile=profile),
        "jpeg progressive": _saved("RGB", "JPEG", progressive=True, subsampling=2),
        "jpeg cmyk": _saved("CMYK", "JPEG"),
        "jpeg grey": _saved("L", "JPEG", comment=b"a comment"),
        "webp": _saved("RGB", "WEBP", exif=exif.tobytes(), icc_profile=profile),
        "webp lossless alpha": _saved("RGBA", "WEBP", lossless=True),
        "webp alpha": _saved("RGBA", "WEBP"),
        "webp animated": _animated("WEBP", "RGB"),
        "tiff animated": _animated("TIFF", "RGB"),
        "tiff exif": _saved("RGB", "TIFF", exif=exif, icc_profile=profile),
        "tiff big": _saved("RGB", "TIFF", big_tiff=True),
        "gif": _saved("P", "GIF", transparency=2),
        "gif animated": _animated("GIF", "P"),
    }
    for mode in ("1", "L", "LA", "RGBA", "I;16"):
        found[f"png {mode}"] = _saved(mode, "PNG")
    for mode in ("1", "L", "RGB", "RGBA", "P"):
        found[f"bmp {mode}"] = _saved(mode, "BMP")
    for mode in ("1", "L", "RGBA", "CMYK", "P", "I;16", "I", "F", "LAB", "YCbCr"):
        found[f"tiff {mode}"] = _saved(mode, "TIFF")
    for method in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found[f"tiff {method}"] = _saved("RGB", "TIFF", compression=method)
    found["tiff group4"] = _saved("1", "TIFF", compression="group4")
    return found

"""What the tags of a page say about its samples, or why they are not read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from vqtok.errors import MediaError
from vqtok.media.image.tiff.tags import Page

# Photometric interpretations that are read.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
_OTHERS = {4: "a mask", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a raw mosaic"}
_OTHERS |= {32844: "LogL", 32845: "LogLuv", 34892: "linear raw", 51177: "depth"}

PLAIN = 1
FAX = (2, 3, 4)
DEFLATE = (8, 32946)
OF_LIBTIFF = (5, 32773, 32809, 34925, 50000)
"""LZW, PackBits, ThunderScan, LZMA and Zstandard: bytes go in, bytes come out."""
OF_PICTURES = (6, 7, 50001)
"""JPEG and WebP, which give samples of 8 bits."""
_PREDICTED = (5, 34925, 50000, *DEFLATE)

Refuse = Callable[[str, str], MediaError]
"""What is not read, and the tag that says so → the error."""

UNSIGNED, FLOAT = 1, 3
_FORMATS = {2: "signed integers", 5: "complex integers", 6: "complex floats"}
_ASSOCIATED, _UNASSOCIATED = 1, 2


@dataclass(frozen=True)
class Layout:
    """What the samples of a page are and where they lie.

    Attributes:
        page: Where it was read from.
        width, height: Pixels, before the orientation.
        bits: Per sample.
        kind: "u", "i" or "f": unsigned or signed integers, or floats.
        photometric: PhotometricInterpretation.
        samples: Per pixel.
        alpha: Number of the sample that is alpha, or None.
        associated: Whether colours are multiplied by alpha.
        compression, predictor, orientation: As the tags count.
        planar: Whether each sample has segments of its own.
        reversed: Whether bits are in the wrong order in each byte.
        tile: Height and width of a segment: of a tile, or of a strip.
        subsampling: Pixels that share a chroma sample, across and down.
        offsets, sizes: Of the segments, bytes.
    """

    page: Page
    width: int
    height: int
    bits: int
    kind: str
    photometric: int
    samples: int
    alpha: int | None
    associated: bool
    compression: int
    predictor: int
    orientation: int
    planar: bool
    reversed: bool
    tile: tuple[int, int]
    is_tiled: bool
    subsampling: tuple[int, int]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def colours(self) -> int:
        """Samples of a pixel that are its colour."""
        return _CHANNELS[self.photometric]

    @property
    def spare(self) -> int:
        """Samples of a pixel that are neither colour nor alpha: they are left out."""
        return self.samples - self.colours - (self.alpha is not None)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of segments in a plane."""
        return math.ceil(self.height / self.tile[0]), math.ceil(self.width / self.tile[1])


def layout_of(page: Page, name: str) -> Layout:
    """Understand a page.

    Raises:
        MediaError: sound, but not read: names the tag.
        ValueError: tags that contradict each other.
    """

    def refuse(what: str, tag: str) -> MediaError:
        return MediaError(
            name,
            f"unsupported TIFF: {what} ({tag})",
            hint="save it as 8 or 16 bits of grey or RGB, as PNG say",
        )

    width, height = page.one(256), page.one(257)
    samples = page.one(277, 1)
    if not (0 < width < 1 << 31 and 0 < height < 1 << 31 and 0 < samples < 1 << 16):
        raise ValueError(f"{samples} samples for {width}x{height} pixels")
    if page.one(32997, 1) > 1:
        raise refuse(f"a volume of {page.one(32997)} slices", "ImageDepth")
    if page.one(254) & 1:
        raise refuse("its only page is a reduced copy, as raw files have", "NewSubfileType")
    compression = page.one(259, PLAIN)
    if compression not in (PLAIN, *FAX, *DEFLATE, *OF_LIBTIFF, *OF_PICTURES):
        raise refuse(f"compression {compression}", "Compression")
    photometric = page.one(262, _guess(samples, compression))
    if photometric not in _CHANNELS:
        what = _OTHERS.get(photometric, f"colours of kind {photometric}")
        raise refuse(what, "PhotometricInterpretation")
    bits, kind = _depth(page, samples, refuse)
    is_float = kind == "f"
    if is_float and photometric == PALETTE:
        raise refuse("a palette of floats", "SampleFormat")
    if bits == 32 and not is_float and photometric != BLACK_IS_ZERO:
        raise refuse("32-bit integers other than grey from black", "PhotometricInterpretation")
    if photometric == YCBCR and (bits != 8 or is_float):
        raise refuse(f"YCbCr of {bits} bits", "BitsPerSample")
    if compression in OF_PICTURES and bits != 8:
        raise refuse(f"{bits} bits of JPEG or WebP", "BitsPerSample")
    if photometric == CMYK and page.one(332, 1) != 1:
        raise refuse("inks other than CMYK", "InkSet")
    alpha, associated = _alpha(page, samples, photometric, refuse)
    planar = page.one(284, 1) == 2 and samples > 1
    subsampling = (1, 1)
    if photometric == YCBCR and compression not in OF_PICTURES:
        subsampling = (page.many(530) or (2, 2))[:2]
        if planar and subsampling != (1, 1):
            raise refuse("subsampled YCbCr in planes", "PlanarConfiguration")
        if subsampling != (1, 1) and samples != 3:
            raise refuse("subsampled YCbCr with alpha", "ExtraSamples")
        if len(subsampling) < 2 or not set(subsampling) <= {1, 2, 4}:
            raise ValueError(f"chroma samples for {subsampling} pixels")
    predictor = page.one(317, 1) if compression in _PREDICTED else 1
    if predictor not in (1, 2, 3) or (predictor == 2 and bits not in (8, 16, 32, 64)):
        raise refuse(f"predictor {predictor} of {bits} bits", "Predictor")
    if (predictor == 3) > is_float or (predictor > 1 and subsampling != (1, 1)):
        raise refuse(f"predictor {predictor} of such samples", "Predictor")
    is_tiled = 322 in page.tags
    tile = (page.one(323), page.one(322)) if is_tiled else (page.one(278, height) or height, width)
    if not is_tiled:
        tile = (min(tile[0], height), width)
    if min(tile) < 1 or max(tile) >= 1 << 31:
        raise ValueError(f"tiles of {tile[1]}x{tile[0]} pixels")
    turn = page.one(274, 1)
    return Layout(
        page=page,
        width=width,
        height=height,
        bits=bits,
        kind=kind,
        photometric=photometric,
        samples=samples,
        alpha=alpha,
        associated=associated,
        compression=compression,
        predictor=predictor,
        orientation=turn if 1 <= turn <= 8 else 1,
        planar=planar,
        reversed=page.one(266, 1) == 2,
        tile=tile,
        is_tiled=is_tiled,
        subsampling=subsampling,
        offsets=page.many(324) or page.many(273),
        sizes=page.many(325) or page.many(279),
    )


def _guess(samples: int, compression: int) -> int:
    """Photometric interpretation of a page that does not tell, as libtiff has it."""
    if compression in FAX:
        return WHITE_IS_ZERO
    return RGB if samples >= 3 else BLACK_IS_ZERO


def _depth(page: Page, samples: int, refuse: Refuse) -> tuple[int, str]:
    """Bits per sample, and what they are: "u", "i" or "f"."""
    depths = set(page.many(258)[:samples] or (1,))
    formats = set(page.many(339)[:samples] or (UNSIGNED,))
    if len(depths) > 1:
        each = ", ".join(str(depth) for depth in page.many(258)[:samples])
        raise refuse(f"samples of {each} bits", "BitsPerSample")
    bits, format = int(depths.pop()), formats.pop()
    if formats:
        raise refuse("samples of different kinds", "SampleFormat")
    if format == FLOAT:
        if bits not in (16, 32, 64):
            raise refuse(f"{bits}-bit float", "BitsPerSample")
        return bits, "f"
    # Pillow writes its 32-bit mode as signed; what is below zero is refused with the values.
    if format in _FORMATS and not (format == 2 and bits == 32):
        raise refuse(f"{bits}-bit {_FORMATS[format]}", "SampleFormat")
    if not (1 <= bits <= 16 or bits == 32):
        raise refuse(f"{bits}-bit integers", "BitsPerSample")
    return bits, "i" if format == 2 else "u"


def _alpha(page: Page, samples: int, photometric: int, refuse: Refuse) -> tuple[int | None, bool]:
    """Number of the sample that is alpha, and whether colours are multiplied by it."""
    colours = _CHANNELS[photometric]
    count = samples - colours
    if count < 0:
        raise refuse(f"{samples} samples for a pixel of {colours}", "SamplesPerPixel")
    kinds = page.many(338)[:count]
    for number, kind in enumerate(kinds):
        if kind in (_ASSOCIATED, _UNASSOCIATED):
            if kind == _ASSOCIATED and photometric in (WHITE_IS_ZERO, PALETTE, CMYK, YCBCR):
                raise refuse("alpha that is in such colours already", "ExtraSamples")
            return colours + number, kind == _ASSOCIATED
    if not kinds and count == 1 and photometric == RGB:
        return colours, False  # as Pillow and others have it
    if count and (not kinds or (colours == 1 and count > 1)):
        raise refuse(f"{samples} samples for each pixel, of unknown meaning", "ExtraSamples")
    return None, False

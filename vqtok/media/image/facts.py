"""What a picture's file says about itself; and what headers tell that Pillow does not hand on."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

HEAD_BYTES = 1 << 16
"""What ``jpeg_2000_bits`` and ``avif_bits`` look at."""
WEBP_HEAD_BYTES = 30

# Frames of JPEG (ITU-T T.81, table B.1) that are coded as most are, with Huffman's codes.
_USUAL = {0xC0, 0xC1, 0xC2}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by colour type."""
# First column and row of each pass, and its steps.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_PART_BYTES = 1 << 20

_PARTS = {"TIFF": "pages", "JPEG": "pictures", "HEIC": "pictures"}
"""What the frames of a file are called, where it is no animation."""


@dataclass(frozen=True)
class ImageInfo:
    """What a file says about itself.

    Attributes:
        width, height: Pixels, after the EXIF orientation.
        mode: Pillow's name of the pixel format in the file: "RGB", "L", "P", "CMYK", ….
        format: "PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIC" or "JPEG 2000".
        frames: Frames of an animation or pages; only the first is read.
        has_alpha: An alpha channel, or a transparent palette entry or colour.
        bits: Bits per sample in the file.
        spare: Channels beside colour and alpha.
    """

    width: int
    height: int
    mode: str
    format: str
    frames: int
    has_alpha: bool
    bits: int
    spare: int = 0

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of the file does not come back from its codes, in words."""
        notes = []
        if self.frames > 1:
            notes.append(f"1 of {self.frames} {_PARTS.get(self.format, 'frames')} is taken")
        if self.bits > 8:
            notes.append(f"{self.bits} bits per sample come back as 8")
        if self.has_alpha:
            notes.append("transparency is laid over the background")
        if self.spare:
            what = "1 channel" if self.spare == 1 else f"{self.spare} channels"
            notes.append(f"{what} beside the colours left out")
        return tuple(notes)


def jpeg_2000_bits(head: bytes) -> int | None:
    """Bits per sample of the first component, from its marker SIZ (ITU-T T.800, A.5.1)."""
    at = head.find(b"\xff\x4f\xff\x51")
    return None if at < 0 or len(head) <= at + 42 else (head[at + 42] & 0x7F) + 1


def avif_bits(head: bytes) -> int | None:
    """Bits per sample, from the box av1C (AV1 in ISO base media files, 2.3.3)."""
    at = head.find(b"av1C")
    if at < 0 or len(head) <= at + 6:
        return None
    flags = head[at + 6]
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def jpeg_that_is_not_read(stream: BinaryIO) -> str | None:
    """What is unusual about a JPEG that was not read; None: nothing, so it is damaged."""
    stream.seek(2)
    while True:
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == _SCAN:
            return None
        if head[1] in _FRAMES:
            bits = stream.read(1)
            if not bits:
                return None
            if bits[0] != 8:
                return f"{bits[0]} bits per sample"
            return None if head[1] in _USUAL else f"frames of kind SOF{head[1] - 0xC0}"
        stream.seek(int.from_bytes(head[2:], "big") - 2, 1)


def png_bytes(stream: BinaryIO) -> tuple[int, int]:
    """Counts bytes of pixels that a PNG holds, and those that its header promises (W3C PNG, 7.3).

    Each row of each pass (8.1) has a byte more, its filter. Counting stops at what is promised.
    """
    stream.seek(16)
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", stream.read(13))
    bits = depth * _PNG_CHANNELS[colour]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    expected = sum(h * (1 + (w * bits + 7) // 8) for w, h in sizes if w > 0 and h > 0)
    inflating, there = zlib.decompressobj(), 0
    stream.seek(8)
    while there < expected and len(head := stream.read(8)) == 8:
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] != b"IDAT":
            stream.seek(length + 4, 1)
            continue
        waiting = stream.read(length)
        stream.seek(4, 1)
        while waiting and there < expected and not inflating.eof:
            there += len(inflating.decompress(waiting, _PART_BYTES))
            waiting = inflating.unconsumed_tail
    return there, expected


def webp_canvas(head: bytes) -> tuple[int, int] | None:
    """Width and height that the first ``WEBP_HEAD_BYTES`` bytes of a WebP promise; None: damaged.

    Pillow makes room for it on opening. The container is Google's "WebP Container Specification"; a
    lossy key frame is that of RFC 6386, section 9.1, a lossless one that of RFC 9649, section 3.4.
    """
    if len(head) < WEBP_HEAD_BYTES:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = struct.unpack("<I", head[21:25])[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None

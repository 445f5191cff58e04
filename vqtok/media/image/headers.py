"""What headers tell and Pillow does not hand on: how many bits a sample has, and why it gave up."""

from __future__ import annotations

from typing import BinaryIO

HEAD_BYTES = 1 << 16

# Frames of JPEG (ITU-T T.81, table B.1) that are coded as most are, with Huffman's codes.
_USUAL = {0xC0, 0xC1, 0xC2}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


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

"""The size of a WebP's canvas, from its first bytes: Pillow makes room for it on opening."""

from __future__ import annotations

import struct

HEAD_BYTES = 30


def canvas(head: bytes) -> tuple[int, int] | None:
    """Width and height that the first ``HEAD_BYTES`` bytes of a WebP promise; None: damaged.

    The container is Google's "WebP Container Specification"; a lossy key frame is that of RFC 6386,
    section 9.1, a lossless one that of RFC 9649, section 3.4.
    """
    if len(head) < HEAD_BYTES:
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

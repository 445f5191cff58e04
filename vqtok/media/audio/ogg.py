"""Give an Ogg file a fixed serial number: libsndfile takes a random one, so no two runs agree."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

_SERIAL = 1
_HEADER_BYTES = 27
# Ogg's checksum (RFC 3533, section 6) is zlib's polynomial with the bits of each byte, and of the
# result, in the other order, and without inverting start and end.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def fix_serial(stream: BinaryIO) -> None:
    """Rewrite the serial number and checksum of every page of a one-stream Ogg file in place."""
    offset = 0
    while True:
        stream.seek(offset)
        page = bytearray(stream.read(_HEADER_BYTES))
        if len(page) < _HEADER_BYTES:
            return
        lengths = stream.read(page[26])
        page += lengths + stream.read(sum(lengths))
        page[14:18] = struct.pack("<I", _SERIAL)
        page[22:26] = bytes(4)  # the checksum counts itself as zero
        page[22:26] = struct.pack("<I", checksum(bytes(page)))
        stream.seek(offset)
        stream.write(page)
        offset += len(page)


def checksum(page: bytes) -> int:
    """Returns the checksum of a page whose own checksum field is zero."""
    value = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)

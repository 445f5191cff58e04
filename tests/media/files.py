"""Bytes of small files that the libraries under test do not write, and streams that cannot seek."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any


def png(header: bytes, rows: bytes) -> bytes:
    """A PNG of an IHDR body and unfiltered rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


class Pipe(io.RawIOBase):
    """What a pipe is to its reader: bytes once, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)

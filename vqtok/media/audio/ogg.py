"""Ogg (RFC 3533): pages, the streams that they carry, and the order of channels in them.

A file may hold several recordings one after the other ("chained"), and several streams side by
side. libsndfile knows of neither.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from vqtok.media.audio.views import Run, bytes_at, size_of

_SERIAL = 1
_HEADER_BYTES = 27
_MOST_PAGE = _HEADER_BYTES + 255 + 255 * 255
_WINDOW = 1 << 16
_BEGINS = 2
_NO_GRANULE = -1
_MAPPING_AT, _MAPPED = 18, 1
# Ogg's checksum (RFC 3533, section 6) is zlib's polynomial with the bits of each byte, and of the
# result, in the other order, and without inverting start and end.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_CODECS = (
    (b"\x01vorbis", "VORBIS"),
    (b"OpusHead", "OPUS"),
    (b"\x7fFLAC", "FLAC"),
    (b"Speex   ", "SPEEX"),
)
FLAC_AT = 9
"""Offset of a native FLAC header in the first packet of FLAC in Ogg (its mapping, version 1)."""


class Page(NamedTuple):
    """Where a page lies, and what its header says.

    Attributes:
        offset: Of its first byte.
        body: Of its first byte behind the header.
        size: Bytes of header and body.
        flags: 1 continues a packet, 2 begins a stream, 4 ends it.
        granule: Position of its end, in units of the codec; -1: no packet ends here.
        serial: The stream that it belongs to.
        is_whole: It lies within the file.
    """

    offset: int
    body: int
    size: int
    flags: int
    granule: int
    serial: int
    is_whole: bool


@dataclass
class Stream:
    """Pages of one stream in a file.

    Attributes:
        codec: "VORBIS", "OPUS", "FLAC", "SPEEX", or "" for what is no sound.
        mapping: Of Opus: 1 if its channels have an order (RFC 7845, section 5.1.1).
        pages: In the order in which they lie.
    """

    codec: str
    mapping: int = 0
    pages: list[Page] = field(default_factory=list)

    @property
    def goes_back(self) -> bool:
        """Checks whether a page says that it ends before the one in front of it."""
        known = [page.granule for page in self.pages if page.granule != _NO_GRANULE]
        return any(after < before for before, after in pairwise(known))

    @property
    def has_order(self) -> bool:
        """Checks whether more than two channels are in Vorbis's order."""
        return self.codec == "VORBIS" or self.mapping == _MAPPED

    def whole(self) -> list[Run]:
        """Returns its pages."""
        return [Run(page.offset, page.size) for page in self.pages]

    def bodies(self) -> list[Run]:
        """Returns what its pages carry."""
        return [Run(page.body, page.offset + page.size - page.body) for page in self.pages]


def pages(stream: BinaryIO) -> Iterator[Page]:
    """All pages of a file; what lies between them is passed over, a cut one comes last."""
    size, offset = size_of(stream), 0
    while offset + 4 <= size:
        head = bytes_at(stream, offset, _HEADER_BYTES + 255)
        if not head.startswith(b"OggS"):
            offset = _next_mark(stream, offset)
            continue
        if len(head) < _HEADER_BYTES or len(head) < _HEADER_BYTES + head[26]:
            yield Page(offset, size, size - offset, 0, _NO_GRANULE, 0, is_whole=False)
            return
        flags, granule, serial = struct.unpack("<BqI", head[5:18])
        body = offset + _HEADER_BYTES + head[26]
        end = body + sum(head[_HEADER_BYTES : _HEADER_BYTES + head[26]])
        yield Page(offset, body, end - offset, flags, granule, serial, is_whole=end <= size)
        offset = end


def links(stream: BinaryIO, found: list[Page]) -> list[list[Stream]]:
    """Sort pages into the streams of each of the recordings that a file was chained of."""
    chain: list[dict[int, Stream]] = []
    began = False
    for page in found:
        begins = bool(page.flags & _BEGINS)
        if begins and not began:
            chain.append({})
        began = begins
        if not chain:
            continue  # pages without a beginning cannot be decoded
        if begins:
            first = bytes_at(stream, page.body, _MAPPING_AT + 1)
            chain[-1][page.serial] = Stream(_codec(first), mapping=first[-1] if first else 0)
        if page.serial in chain[-1]:
            chain[-1][page.serial].pages.append(page)
    return [list(link.values()) for link in chain]


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


def _codec(begin: bytes) -> str:
    return next((name for mark, name in _CODECS if begin.startswith(mark)), "")


def _next_mark(stream: BinaryIO, offset: int) -> int:
    """Offset of the next "OggS"; the end if there is none."""
    while data := bytes_at(stream, offset, _WINDOW):
        at = data.find(b"OggS")
        if at >= 0:
            return offset + at
        offset += max(1, len(data) - 3)
    return offset

"""WAV: its chunks, its header and the sizes in it. Nothing else here knows where they lie.

Programs that write into pipes cannot go back to fill in a length: they declare 0 or the largest
size, and their samples go on to the end of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PLAIN_TAGS = (1, 3, 6, 7)
"""Encodings whose samples all have one size: integers, floats, A-law and µ-law."""

MPEG_TAGS = (0x50, 0x55)
"""Frames of MPEG audio, layers I and II, and III."""

KNOWN_TAGS = (*PLAIN_TAGS, *MPEG_TAGS, 0x02, 0x11, 0x31, 0x38, 0x40, 0xFFFE)
"""Encodings that libsndfile decodes: ADPCM of Microsoft, IMA and NMS, GSM, G.721 among them."""

EXTENSIBLE = 0xFFFE
"""The encoding is named further on in the format chunk."""

MAX_BYTES = (1 << 32) - 4096
"""Samples that the 32 bits of a size can hold, with room for the header."""

_UNKNOWN = 0xFFFFFFFF
_MOST_BODY = 1 << 16  # of a chunk that is looked into


@dataclass(frozen=True)
class Header:
    """Describes what comes before the samples.

    Attributes:
        order: "<", or ">" of RIFX.
        shape: The format chunk, b"" if there is none.
        size: Bytes of samples, as declared.
        start: Offset of the first sample.
        file_size: Bytes of the file, as declared.
        is_unfinished: Nothing was declared yet when writing ended.
        is_open: The samples go on to the end, whatever ``size`` is.
    """

    order: str
    shape: bytes
    size: int
    start: int
    file_size: int
    is_unfinished: bool
    is_open: bool

    @property
    def unit(self) -> int:
        """Bytes of one sample of all channels; 0 if unknown."""
        return int(struct.unpack(self.order + "H", self.shape[12:14])[0]) if self.shape else 0

    @property
    def tag(self) -> int:
        """Number of the encoding; 0 if unknown."""
        return tag_of(self.shape, self.order)

    def with_samples(self, data: bytes) -> bytes:
        """Build a small file of the same encoding around samples."""
        chunk = struct.pack(self.order + "4sI", b"fmt ", len(self.shape)) + self.shape
        chunk += struct.pack(self.order + "4sI", b"data", len(data)) + data
        name = b"RIFF" if self.order == "<" else b"RIFX"
        return name + struct.pack(self.order + "I", 4 + len(chunk)) + b"WAVE" + chunk


def chunks(
    read: Callable[[int], bytes],
    skip: Callable[[int], object],
    *,
    order: str,
    kept: tuple[bytes, ...],
    last: bytes,
) -> Iterator[tuple[bytes, int, bytes]]:
    """Walk over the chunks of a RIFF or FORM file, from behind its first 12 bytes.

    Args:
        read: Gives so many of the next bytes, fewer at the end.
        skip: Passes over so many.
        order: "<" or ">".
        kept: Chunks whose beginnings are wanted.
        last: Where to stop, behind its name and size.

    Yields:
        (name, declared size, the first 64 KiB at most if ``kept``, else b"").
    """
    while len(head := read(8)) == 8:
        key, size = struct.unpack(order + "4sI", head)
        padded = size + size % 2
        body = read(min(padded, _MOST_BODY)) if key in kept and key != last else b""
        yield key, size, body[:size]
        if key == last:
            return
        skip(padded - len(body))


def read_header(read: Callable[[int], bytes], skip: Callable[[int], object]) -> Header | None:
    """Read a file up to its samples, from its first byte; None if it ends before them.

    Args:
        read: Gives so many of the next bytes, fewer at the end.
        skip: Passes over so many.
    """
    head = read(12)
    if len(head) < 12:
        return None
    order = order_of(head)
    (riff_size,) = struct.unpack(order + "I", head[4:8])
    start, shape, long_size = 12, b"", 0
    for key, size, body in chunks(read, skip, order=order, kept=(b"fmt ", b"ds64"), last=b"data"):
        start += 8
        if key == b"data":
            is_unfinished = size == 0 and (riff_size == _UNKNOWN or riff_size + 8 <= start)
            is_open = is_unfinished or is_endless(size)
            if size == _UNKNOWN and long_size:
                size, is_open = long_size, False
            return Header(order, shape, size, start, riff_size + 8, is_unfinished, is_open)
        if len(body) >= 16:
            if key == b"fmt ":
                shape = body
            else:
                riff_size, long_size = struct.unpack("<QQ", body[:16])
        start += size + size % 2
    return None


def order_of(head: bytes) -> str:
    """Byte order of a file, as ``struct`` writes it, by its first four bytes."""
    return ">" if head[:4] == b"RIFX" else "<"


def tag_of(shape: bytes, order: str) -> int:
    """Number of the encoding that a format chunk names; 0 if none."""
    return int(struct.unpack(order + "H", shape[:2])[0]) if len(shape) >= 2 else 0


def is_plain(shape: bytes, order: str) -> bool:
    """Checks whether the samples have one size each, so that any of them can be decoded alone."""
    tag = tag_of(shape, order)
    return (tag_of(shape[24:], order) if tag == EXTENSIBLE else tag) in PLAIN_TAGS


def is_endless(declared: int) -> bool:
    """Checks whether a declared size means "until the end"."""
    # What ffmpeg, sox and arecord write into a pipe: the largest length, less some alignment.
    return declared >= 0xFFFFF000 or 0x7FFFE000 <= declared <= 0x80000000


def resized(head: bytes, size: int) -> bytes:
    """Put the true size of all samples into what comes before them.

    It is in the form that has 64 bits for it (EBU Tech 3306); of RIFX, which has none, "until the
    end".
    """
    if order_of(head) == ">":
        return head[:-4] + b"\xff" * 4
    chunk = struct.pack("<4sIQQQI", b"ds64", 28, size + len(head) + 28, size, 0, 0)
    return b"RF64" + b"\xff" * 4 + b"WAVE" + chunk + head[12:-4] + b"\xff" * 4


def sized(head: bytes, size: int | None) -> bytes:
    """Declare so many bytes of samples in a header; None, or too many: an unknown number."""
    known = size if size is not None and size <= MAX_BYTES else None
    whole = _UNKNOWN if known is None else len(head) - 8 + known
    declared = _UNKNOWN if known is None else known
    return head[:4] + struct.pack("<I", whole) + head[8:-4] + struct.pack("<I", declared)

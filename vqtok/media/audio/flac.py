"""FLAC (RFC 9639): how many samples its frames hold, whatever its header says.

The count in the header is optional, and tags or padding may lie behind the last frame, at which
libsndfile fails. The last frame says where it ends, in samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from vqtok.media.audio.views import bytes_at

_MARK = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_INFO_AT, _INFO_BYTES = 8, 34
_TOTAL_AT = _INFO_AT + 13
_WINDOW, _TAIL = 1 << 18, 1 << 15
_LONGEST_HEADER = 16
_SIZES = {1: 192, **{n: 576 << n - 2 for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
_CRC = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte << 1 ^ 0x107 if _byte & 0x80 else _byte << 1
    _CRC.append(_byte)


class Info(NamedTuple):
    """What a stream says about itself, and where its frames begin.

    Attributes:
        block: Samples of all blocks but the last, if they have one size.
        channels, bits: Of each sample.
        total: Samples per channel; 0 if unknown.
        frames_at: Offset of the first frame.
    """

    block: int
    channels: int
    bits: int
    total: int
    frames_at: int


class _Frame(NamedTuple):
    """Header of a frame: its number (of its first sample if blocks vary), and its samples."""

    varies: bool
    number: int
    samples: int


def starts(stream: BinaryIO, offset: int) -> list[int]:
    """Offsets of all streams in a file from an offset on: more than one if files were joined."""
    found, data = [], b""
    while more := bytes_at(stream, offset + len(data), _WINDOW):
        data += more
        found += [offset + match.start() for match in _MARK.finditer(data)]
        offset, data = offset + max(0, len(data) - 7), data[-7:]
    return found


def read_info(stream: BinaryIO, offset: int = 0) -> Info | None:
    """Read the header of the stream at an offset; None if it is cut or none."""
    head = bytes_at(stream, offset, _INFO_AT + _INFO_BYTES)
    if len(head) < _INFO_AT + _INFO_BYTES or not _MARK.match(head):
        return None
    at, last = offset + 4, False
    while not last:
        block = bytes_at(stream, at, 4)
        if len(block) < 4:
            return None
        last, at = bool(block[0] & 0x80), at + 4 + int.from_bytes(block[1:], "big")
    packed = int.from_bytes(head[_INFO_AT + 10 : _INFO_AT + 18], "big")
    return Info(
        block=int.from_bytes(head[_INFO_AT : _INFO_AT + 2], "big"),
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        total=packed & (1 << 36) - 1,
        frames_at=at,
    )


def counted(stream: BinaryIO, info: Info, end: int) -> int | None:
    """Samples per channel up to an offset, by the last frame before it; None if none is found."""
    first = _frame(bytes_at(stream, info.frames_at, _LONGEST_HEADER), info)
    if first is None:
        return None
    block = first.samples if info.block < first.samples else info.block
    following: _Frame | None = None
    for frame in _backwards(stream, info, end):
        if frame.varies != first.varies:
            continue
        if _end_of(frame, block) == info.total:
            return info.total
        # What contradicts the header could be an accident of bits: the frame before it must agree.
        if following is not None and _follows(frame, following):
            return _end_of(following, block)
        if frame == first and following is None:
            return _end_of(first, block)
        following = frame
    return None


def with_total(stream: BinaryIO, offset: int, total: int) -> bytes:
    """Returns the header at an offset, up to the end of its first block, with another count."""
    head = bytearray(bytes_at(stream, offset, _INFO_AT + _INFO_BYTES))
    head[_TOTAL_AT] = head[_TOTAL_AT] & 0xF0 | total >> 32
    head[_TOTAL_AT + 1 : _TOTAL_AT + 5] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(head)


def _end_of(frame: _Frame, block: int) -> int:
    return (frame.number if frame.varies else frame.number * block) + frame.samples


def _follows(frame: _Frame, following: _Frame) -> bool:
    return frame.number + (frame.samples if frame.varies else 1) == following.number


def _backwards(stream: BinaryIO, info: Info, end: int) -> Iterator[_Frame]:
    """Headers of frames, the last one first."""
    stop = end
    while stop > info.frames_at:
        start = max(info.frames_at, stop - _TAIL)
        data = bytes_at(stream, start, min(end, stop + _LONGEST_HEADER) - start)
        marks = [match.start() for match in _SYNC.finditer(data, 0, stop - start + 1)]
        headers = (_frame(data[at : at + _LONGEST_HEADER], info) for at in reversed(marks))
        yield from (header for header in headers if header is not None)
        stop = start


def _frame(head: bytes, info: Info) -> _Frame | None:
    """Read a frame's header; None if these bytes are none of this stream's."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    layout, bits_code = head[3] >> 4, head[3] >> 1 & 7
    channels = 2 if 8 <= layout <= 10 else layout + 1
    if channels != info.channels or layout > 10 or rate_code == 15:
        return None
    if size_code == 0 or (bits_code and _BITS.get(bits_code) != info.bits):
        return None
    width = _width(head[4])
    tail = {6: 1, 7: 2}.get(size_code, 0)
    stop = 4 + width + tail + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if not width or stop >= len(head) or _crc(head[:stop]) != head[stop]:
        return None
    number = head[4] if width == 1 else head[4] & (1 << 7 - width) - 1
    for byte in head[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    samples = _SIZES.get(size_code, 0)
    if tail:
        samples = int.from_bytes(head[4 + width : 4 + width + tail], "big") + 1
    return _Frame(bool(head[1] & 1), number, samples)


def _width(byte: int) -> int:
    """Bytes of a number that is coded as UTF-8 codes characters; 0 if none begins so."""
    if byte < 0x80:
        return 1
    width = 8 - (~byte & 0xFF).bit_length()
    return width if 2 <= width <= 7 else 0


def _crc(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC[value ^ byte]
    return value

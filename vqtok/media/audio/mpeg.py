"""Headers of MPEG audio frames (ISO 11172-3 and 13818-3): where they are, how many there are.

An MP3 has no length of its own. Encoders put a frame in front that holds the frame count ("Xing" or
"Info", or "VBRI" by one encoder); where it is missing, ``made_header`` counts and makes one.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

# Layer II at 384 kbit/s and 32 kHz; layer III frames are smaller.
MAX_FRAME_BYTES = 1728

_WINDOW = 1 << 20
# kbit/s by (MPEG 1?, layer), index 1 to 14.
_KBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class StreamHeader(NamedTuple):
    """What a Xing, Info or VBRI frame says; None where it does not.

    Attributes:
        frames: Frames of audio.
        bytes: Size of the stream, this frame included, tags excluded.
    """

    frames: int | None
    bytes: int | None


def audio_start(stream: BinaryIO) -> int:
    """Offset of the first frame: behind any ID3v2 tags."""
    offset = 0
    while True:
        stream.seek(offset)
        head = stream.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return offset
        a, b, c, d = (byte & 0x7F for byte in head[6:10])
        footer = 10 if head[5] & 0x10 else 0
        offset += 10 + (a << 21 | b << 14 | c << 7 | d) + footer


def frame_size(header: bytes) -> int | None:
    """Bytes of the frame that starts with these four; None if none does, or in free format."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    bits_per_s = 1000 * _KBITS[version == 3, layer][bitrate - 1]
    rate_hz, padding = _RATES[version][rate], header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits_per_s // rate_hz + padding) * 4
    half = layer == 3 and version != 3
    return (72 if half else 144) * bits_per_s // rate_hz + padding


def stream_header(stream: BinaryIO, start: int) -> StreamHeader | None:
    """Read the Xing, Info or VBRI frame at ``start``; None if there is none."""
    stream.seek(start)
    frame = stream.read(64)
    if len(frame) == 64 and frame[36:40] == b"VBRI":
        size, frames = struct.unpack(">II", frame[46:54])
        return StreamHeader(frames, size)
    at = _side_bytes(frame)
    if at is None or frame[at : at + 4] not in (b"Xing", b"Info") or len(frame) < at + 16:
        return None
    flags, first, second = struct.unpack(">III", frame[at + 4 : at + 16])
    frames_there, bytes_there = bool(flags & 1), bool(flags & 2)
    size = (second if frames_there else first) if bytes_there else None
    return StreamHeader(first if frames_there else None, size)


def made_header(stream: BinaryIO, start: int) -> bytes | None:
    """Makes a Xing frame with the true frame count, to be put in front of the frames at ``start``.

    Returns:
        The frame, or None where the frames cannot be followed from ``start`` (free format, junk).
    """
    count = _count(stream, start)
    stream.seek(start)
    first = stream.read(4)
    at = _side_bytes(first)
    if not count or at is None:
        return None
    # The first frame's format, without its checksum and padding, at the highest bit rate: there is
    # room for the count at any sample rate.
    header = bytes((first[0], first[1] | 1, 0xE0 | first[2] & 0x0D, first[3]))
    size = frame_size(header)
    if size is None or size < at + 12:
        return None
    body = b"Xing" + struct.pack(">II", 1, count)
    return header + bytes(at - 4) + body + bytes(size - at - len(body))


def _side_bytes(header: bytes) -> int | None:
    """Offset of a Xing mark in a layer III frame: behind the header and the side information."""
    if frame_size(header[:4]) is None or header[1] >> 1 & 3 != 1:
        return None
    mono = header[3] >> 6 == 3
    if header[1] >> 3 & 3 == 3:
        return 4 + (17 if mono else 32)
    return 4 + (9 if mono else 17)


def _count(stream: BinaryIO, start: int) -> int:
    """Whole frames from ``start`` up to the first thing that is no frame."""
    end = stream.seek(0, os.SEEK_END)
    count, offset, window, base = 0, start, b"", start
    while True:
        at = offset - base
        if at + 4 > len(window):
            stream.seek(offset)
            window, base, at = stream.read(_WINDOW), offset, 0
        size = frame_size(window[at : at + 4])
        if size is None or offset + size > end:
            return count
        count += 1
        offset += size

"""Headers of MPEG audio frames (ISO 11172-3 and 13818-3): where they are, how many there are.

An MP3 has no length of its own. Encoders put a frame in front that holds the frame count ("Xing" or
"Info", or "VBRI" by one encoder). The count is a claim: files are joined, cut and edited. So frames
are followed from the first to the last, past tags and whatever else lies between them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from vqtok.media.audio.views import Run, bytes_at, size_of

# Layer II at 384 kbit/s and 32 kHz; layer III frames are smaller.
MAX_FRAME_BYTES = 1728

DECODER_DELAY = 529
"""Samples by which every decoder of layer III is late."""

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
# Behind something that is no frame, so many in a row are no accident.
_SURE = 3
_VBRI_AT = 36
# Encoders that sign what they know of delay and padding, behind the counts of a Xing frame.
_ENCODER = re.compile(rb"LAME|Lavc|Lavf|GOGO|L3\.99")
_GAP_AT = 21  # of delay and padding, 12 bits each, behind the encoder's name


class StreamHeader(NamedTuple):
    """What a Xing, Info or VBRI frame says; None where it does not.

    Attributes:
        frames: Frames of audio.
        bytes: Size of the stream, this frame included, tags excluded.
        delay, padding: Samples that the encoder put in front and behind.
        is_xing: libsndfile knows it.
    """

    frames: int | None
    bytes: int | None
    delay: int = 0
    padding: int = 0
    is_xing: bool = True


@dataclass
class Part:
    """Frames of one recording, as one encoder wrote them.

    Attributes:
        first: The four bytes that begin its first frame.
        header: Of the frame in front that holds counts; None if there is none.
        runs: Where the frames lie, that one included.
        frames: How many, without that one.
        restarts: Nothing tells that the frame behind the last one counted in the header goes on
            with the same recording.
    """

    first: bytes
    header: StreamHeader | None
    runs: list[Run] = field(default_factory=list)
    frames: int = 0
    restarts: bool = False

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(run.size for run in self.runs)

    def add(self, offset: int, size: int) -> None:
        """Append a frame."""
        if self.runs and self.runs[-1].offset + self.runs[-1].size == offset:
            self.runs[-1] = Run(self.runs[-1].offset, self.runs[-1].size + size)
        else:
            self.runs.append(Run(offset, size))


class _Shape(NamedTuple):
    """What the four bytes of a header say of a frame.

    Attributes:
        size: Bytes.
        kind: Equal in all frames of a recording: version, layer, rate, whether mono.
        mark_at: Offset of a Xing mark; None in layers I and II.
        samples: Per channel.
    """

    size: int
    kind: tuple[int, int, int, bool]
    mark_at: int | None
    samples: int


def behind_tags(stream: BinaryIO) -> int:
    """Offset of what follows any ID3v2 tags at the start."""
    offset = 0
    while (size := _tag_size(bytes_at(stream, offset, 10))) is not None:
        offset += size
    return offset


def frame_size(header: bytes) -> int | None:
    """Bytes of the frame that starts with these four; None if none does, or in free format."""
    shape = _shape(header[:4])
    return None if shape is None else shape.size


def frame_samples(header: bytes) -> int:
    """Samples per channel of the frame that starts with these four bytes; 0 if none does."""
    shape = _shape(header[:4])
    return 0 if shape is None else shape.samples


def has_header(header: bytes) -> bool:
    """Checks whether files of this kind of frames, layer III, have counts in front and delays."""
    shape = _shape(header[:4])
    return shape is not None and shape.mark_at is not None


def is_free(header: bytes) -> bool:
    """Checks whether these four bytes begin a frame in free format, which tells no size."""
    return len(header) >= 4 and header[2] < 0x10 and _shape(_longest(header)) is not None


def starts_here(stream: BinaryIO, offset: int = 0) -> bool:
    """Checks whether frames begin within the first bytes behind an offset, padding allowed."""
    end = min(offset + _WINDOW, size_of(stream))
    return next(_frames(stream, offset, end), None) is not None


def parts(stream: BinaryIO) -> list[Part]:
    """Follow the frames of a file: a part for each recording that was joined into it."""
    found: list[Part] = []
    part, kind = None, None
    for frame in _frames(stream, behind_tags(stream), size_of(stream)):
        header = stream_header(frame.data, frame.shape.mark_at)
        if part is None or header is not None or frame.shape.kind != kind:
            part, kind = Part(frame.data[:4], header), frame.shape.kind
            found.append(part)
        part.add(frame.offset, frame.shape.size)
        if header is None:
            if part.header is not None and 0 < part.frames == part.header.frames:
                part.restarts = _reservoir(frame.data) == 0
            part.frames += 1
    return found


def stream_header(frame: bytes, mark_at: int | None) -> StreamHeader | None:
    """Read a Xing, Info or VBRI frame; None if it is none."""
    if frame[_VBRI_AT : _VBRI_AT + 4] == b"VBRI" and len(frame) >= _VBRI_AT + 18:
        size, frames = struct.unpack(">II", frame[_VBRI_AT + 10 : _VBRI_AT + 18])
        return StreamHeader(frames, size, is_xing=False)
    if mark_at is None or frame[mark_at : mark_at + 4] not in (b"Xing", b"Info"):
        return None
    at = mark_at + 8
    flags = int.from_bytes(frame[mark_at + 4 : at], "big")
    fields = {}
    for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)):
        if flags & bit:
            fields[bit] = int.from_bytes(frame[at : at + size], "big")
            at += size
    named = _ENCODER.search(frame, mark_at + 8)
    at = _GAP_AT + (named.start() if named else at)
    gap = int.from_bytes(frame[at : at + 3], "big")
    return StreamHeader(fields.get(1), fields.get(2), gap >> 12, gap & 0xFFF)


def made_header(first: bytes, header: StreamHeader) -> bytes | None:
    """Makes a Xing frame, to be put in front of frames.

    Args:
        first: Four bytes that begin one of them.
        header: What it is to say; bytes are left out.

    Returns:
        The frame, or None for layers that have none.
    """
    begin = _longest(first)
    shape = _shape(begin)
    if shape is None or shape.mark_at is None:
        return None
    body = b"Xing" + struct.pack(">II", 1, header.frames or 0)
    if header.delay or header.padding:
        gap = (header.delay << 12 | header.padding).to_bytes(3, "big")
        body += b"LAME3.100".ljust(_GAP_AT, b"\0") + gap
    return (begin + bytes(shape.mark_at - 4) + body).ljust(shape.size, b"\0")


def late_header(first: bytes, frames: int) -> bytes | None:
    """Makes a Xing frame as ``made_header``, with which no sample is taken for a decoder's delay.

    A frame of silence behind it is what is left out instead.
    """
    delay = frame_samples(first) - DECODER_DELAY
    made = made_header(first, StreamHeader(frames + 1, None, delay))
    return None if made is None else made + _longest(first).ljust(len(made), b"\0")


def _longest(first: bytes) -> bytes:
    """Returns a header of the format of another one, without checksum, at the highest bit rate.

    There is room for counts at any sample rate.
    """
    return bytes((first[0], first[1] | 1, 0xE0 | first[2] & 0x0C, first[3]))


class _Frame(NamedTuple):
    """A frame in a file, with its bytes."""

    offset: int
    shape: _Shape
    data: bytes


def _frames(stream: BinaryIO, start: int, end: int) -> Iterator[_Frame]:
    """All whole frames that begin in a stretch of a file, whatever lies between them."""
    source, kind, offset = _Window(stream), None, start
    while offset < end:
        head = source.at(offset, 4)
        shape = _shape(head)
        if shape is None or (shape.kind != kind and not _is_sure(source, offset, shape)):
            tag = _tag_size(source.at(offset, 32))
            next_sync = offset + tag if tag is not None else source.sync(offset + 1)
            offset, kind = next_sync, None
            continue
        data = source.at(offset, shape.size)
        if len(data) < shape.size:
            return  # the last one is cut: players don't play it either
        kind = shape.kind
        yield _Frame(offset, shape, data)
        offset += shape.size


def _is_sure(source: _Window, offset: int, shape: _Shape) -> bool:
    """Checks whether frames of one kind follow each other, up to the end or a tag at least."""
    for _ in range(_SURE - 1):
        offset += shape.size
        head = source.at(offset, 32)
        following = _shape(head[:4])
        if following is None or following.kind != shape.kind:
            return not head or head[:3] == b"TAG" or _tag_size(head) is not None
        shape = following
    return True


class _Window:
    """A file that is read in large pieces, looked at forwards."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._base, self._data = stream, 0, b""

    def at(self, offset: int, size: int) -> bytes:
        """Returns so many bytes at an offset, fewer at the end."""
        start = offset - self._base
        if start < 0 or start + size > len(self._data):
            self._base, start = offset, 0
            self._data = bytes_at(self._stream, offset, _WINDOW)
        return self._data[start : start + size]

    def sync(self, offset: int) -> int:
        """Offset of the next bytes that may begin a frame or a tag; the end if none do."""
        while self.at(offset, _LONGEST_START):
            found = _START.search(self._data, offset - self._base)
            if found:
                return self._base + found.start()
            # The last bytes of a piece may be the first of a mark.
            offset = max(offset + 1, self._base + len(self._data) - _LONGEST_START + 1)
        return offset


_START = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]|ID3|APETAGEX", re.DOTALL)
_LONGEST_START = 8


@lru_cache(maxsize=4096)
def _shape(header: bytes) -> _Shape | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    mono = header[3] >> 6 == 3
    kind = (version, layer, rate, mono)
    bits_per_s = 1000 * _KBITS[version == 3, layer][bitrate - 1]
    rate_hz, padding = _RATES[version][rate], header[2] >> 1 & 1
    if layer == 1:
        return _Shape((12 * bits_per_s // rate_hz + padding) * 4, kind, None, 384)
    half = layer == 3 and version != 3
    size = (72 if half else 144) * bits_per_s // rate_hz + padding
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return _Shape(size, kind, 4 + side if layer == 3 else None, 576 if half else 1152)


def _reservoir(frame: bytes) -> int:
    """Bytes of earlier frames that a layer III frame needs: 0 where a recording starts."""
    at = 4 if frame[1] & 1 else 6
    if frame[1] >> 3 & 3 == 3:
        return int.from_bytes(frame[at : at + 2], "big") >> 7
    return frame[at]


def _tag_size(head: bytes) -> int | None:
    """Bytes of the ID3v2 or APE tag that begins so; None if none does."""
    if head[:3] == b"ID3" and len(head) >= 10:
        a, b, c, d = (byte & 0x7F for byte in head[6:10])
        footer = 10 if head[5] & 0x10 else 0
        return 10 + (a << 21 | b << 14 | c << 7 | d) + footer
    if head[:8] == b"APETAGEX" and len(head) >= 32:
        size, _, flags = struct.unpack("<III", head[12:24])
        # The size counts the items and the footer, not the header; a footer alone is passed over.
        return 32 + int(size) if flags & 1 << 29 else 32
    return None

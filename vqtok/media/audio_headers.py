"""Does a file hold all the audio that its header promises? libsndfile does not say.

It shortens a truncated WAV in silence, gives no sample of a WAV whose header was never finished
(recorders and pipes leave 0 there), and guesses the length of an MP3 without a Xing header from its
first frame, then stops there.
"""

from __future__ import annotations

import io
import os
import struct
from contextlib import suppress
from typing import BinaryIO, cast

from vqtok.errors import MediaError
from vqtok.media import mpeg

# Formats whose samples all have one size, so that bytes can be told as samples.
PLAIN_TAGS = (1, 3, 6, 7, 0xFFFE)
_PAGE_BYTES = 27 + 255 + 255 * 255


class Lenient:
    """A read-only file that stays where it is when it is sent where no file can be.

    A damaged header sends libsndfile to negative offsets and beyond 2^63, where files raise: an
    exception would be lost in C, but not without its traceback on stderr.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.read, self.tell = stream.read, stream.tell
        if hasattr(stream, "readinto"):
            self.readinto = stream.readinto

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as files do, or not at all."""
        with suppress(ValueError, OverflowError, OSError):
            self._stream.seek(offset, whence)
        return self._stream.tell()


class Spliced:
    """A read-only file: ``head``, then ``stream`` from the offset ``skip`` on."""

    def __init__(self, head: bytes, stream: BinaryIO, skip: int) -> None:
        self._head, self._stream, self._skip = head, stream, skip
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes, all if negative."""
        data = self._head[self._at :] if size < 0 else self._head[self._at : self._at + size]
        if size < 0 or len(data) < size:
            self._stream.seek(max(0, self._at - len(self._head)) + self._skip)
            data += self._stream.read(size if size < 0 else size - len(data))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as files do."""
        start = 0
        if whence == os.SEEK_CUR:
            start = self._at
        elif whence == os.SEEK_END:
            start = self._stream.seek(0, os.SEEK_END) - self._skip + len(self._head)
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._at


def complete(stream: BinaryIO, format: str, name: str) -> BinaryIO:
    """Check that a file is whole, as far as its container tells.

    Args:
        stream: Seekable.
        format: From ``kinds.sniff_format``.
        name: The file, in messages.

    Returns:
        What libsndfile is to read: the stream, or a view of it with a repaired header.

    Raises:
        MediaError: the file is truncated.
    """
    size = stream.seek(0, os.SEEK_END)
    if format == "WAV":
        return _wav(stream, size, name)
    if format == "AIFF":
        _aiff(stream, size, name)
    elif format == "OGG":
        _ogg(stream, size, name)
    elif format == "MP3":
        return _mp3(stream, size, name)
    return stream


def _wav(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    head = _at(stream, 0, 12)
    order = ">" if head[:4] == b"RIFX" else "<"
    riff_bytes = struct.unpack(order + "I", head[4:8])[0]
    offset, unit, long_bytes = 12, 0, 0
    while True:
        chunk = _at(stream, offset, 8 + 16)
        if len(chunk) < 8:
            raise MediaError(name, "truncated: the file ends before any sample")
        key, declared = struct.unpack(order + "4sI", chunk[:8])
        if key == b"data":
            break
        if key == b"ds64" and len(chunk) == 24:
            long_bytes = struct.unpack("<8xQ", chunk[8:])[0]
        elif key == b"fmt " and len(chunk) == 24:
            tag, align = struct.unpack(order + "H10xH2x", chunk[8:])
            unit = align if tag in PLAIN_TAGS else 0
        offset += 8 + declared + declared % 2
    start = offset + 8
    found = size - start
    unfinished = declared == 0 and (riff_bytes == 0xFFFFFFFF or riff_bytes + 8 <= start)
    open_ended = unfinished or is_open_ended(declared)
    if declared == 0xFFFFFFFF and long_bytes:
        declared, open_ended = long_bytes, False
    if open_ended and found > declared and (unfinished or riff_bytes + 8 < size):
        header = _at(stream, 0, start)
        header = _long_header(header, found) if order == "<" else header[:-4] + b"\xff" * 4
        return cast(BinaryIO, Spliced(header, stream, start))
    if declared > found and not open_ended:
        raise truncated(name, declared, found, unit)
    return stream


def _long_header(header: bytes, size: int) -> bytes:
    """A WAV's header with its true size, in the form that has 64 bits for it (EBU Tech 3306)."""
    chunk = struct.pack("<4sIQQQI", b"ds64", 28, size + len(header) + 28, size, 0, 0)
    return b"RF64" + b"\xff" * 4 + b"WAVE" + chunk + header[12:-4] + b"\xff" * 4


def is_open_ended(declared: int) -> bool:
    """Whether a declared size means "until the end"."""
    # What ffmpeg, sox and arecord write into a pipe: the largest length, less some alignment.
    return declared >= 0xFFFFF000 or 0x7FFFE000 <= declared <= 0x80000000


def _aiff(stream: BinaryIO, size: int, name: str) -> None:
    offset, unit = 12, 0
    while True:
        chunk = _at(stream, offset, 16)
        if len(chunk) < 8:
            raise MediaError(name, "truncated: the file ends before any sample")
        key, declared = struct.unpack(">4sI", chunk[:8])
        if key == b"SSND":
            break
        if key == b"COMM" and len(chunk) == 16:
            channels, bits = struct.unpack(">H4xH", chunk[8:])
            unit = channels * -(-bits // 8)
        offset += 8 + declared + declared % 2
    # The chunk starts with eight bytes of alignment, which it counts.
    declared, found = max(0, declared - 8), max(0, size - offset - 16)
    if declared > found and not is_open_ended(declared):
        raise truncated(name, declared, found, unit)


def _ogg(stream: BinaryIO, size: int, name: str) -> None:
    """The last page must be whole. A missing end mark is no error: live recordings have none."""
    end = _at(stream, max(0, size - _PAGE_BYTES), _PAGE_BYTES)
    at = end.rfind(b"OggS")
    page = end[at:]
    if at < 0:
        return
    segments = page[26] if len(page) > 26 else 0
    if len(page) < 28 or len(page) < 27 + segments + sum(page[27 : 27 + segments]):
        raise MediaError(name, "truncated: the last Ogg page is cut")


def _mp3(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    start = mpeg.audio_start(stream)
    first = mpeg.frame_size(_at(stream, start, 4))
    if start >= size or (first is not None and start + first > size):
        raise MediaError(name, "truncated: the file ends before any sample")
    header = mpeg.stream_header(stream, start)
    if header is None:
        frame = mpeg.made_header(stream, start)
        return stream if frame is None else cast(BinaryIO, Spliced(frame, stream, start))
    # One frame of tolerance: encoders disagree on whether the header's own frame counts.
    if header.bytes is not None and size - start + mpeg.MAX_FRAME_BYTES < header.bytes:
        raise truncated(name, header.bytes, size - start, 0)
    return stream


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset, io.SEEK_SET)
    return stream.read(size)


def truncated(name: str, declared: int, found: int, unit: int) -> MediaError:
    """The error of a file of fewer bytes than declared; ``unit`` bytes a sample, 0 if unknown."""
    what, unit = ("samples", unit) if unit else ("bytes of audio", 1)
    return MediaError(
        name, f"truncated: header says {declared // unit} {what}, file holds {found // unit}"
    )

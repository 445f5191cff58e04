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
from vqtok.media.audio import mpeg, wav

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
    stream.seek(0)
    header = wav.read_header(stream.read, lambda count: stream.seek(count, io.SEEK_CUR))
    if header is None:
        raise no_samples(name)
    found = size - header.start
    if header.is_open:
        if found > header.size and (header.is_unfinished or header.file_size < size):
            head = wav.resized(_at(stream, 0, header.start), found)
            return cast(BinaryIO, Spliced(head, stream, header.start))
    elif header.size > found:
        is_plain = header.tag in (*wav.PLAIN_TAGS, wav.EXTENSIBLE)
        raise truncated(name, header.size, found, header.unit if is_plain else 0)
    return stream


def _aiff(stream: BinaryIO, size: int, name: str) -> None:
    stream.seek(12)
    unit = 0
    for key, declared, body in wav.chunks(
        stream.read,
        lambda count: stream.seek(count, io.SEEK_CUR),
        order=">",
        kept=(b"COMM",),
        last=b"SSND",
    ):
        if key == b"COMM" and len(body) >= 8:
            channels, bits = struct.unpack(">H4xH", body[:8])
            unit = channels * -(-bits // 8)
        elif key == b"SSND":
            # The chunk starts with eight bytes of alignment, which it counts.
            wanted, found = max(0, declared - 8), max(0, size - stream.tell() - 8)
            if wanted > found and not wav.is_endless(wanted):
                raise truncated(name, wanted, found, unit)
            return
    raise no_samples(name)


def _ogg(stream: BinaryIO, size: int, name: str) -> None:
    """Checks that the last page is whole; live recordings have no end mark."""
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
        raise no_samples(name)
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
    """Makes the error of a file that is too short; ``unit`` bytes a sample, 0 if unknown."""
    what, unit = ("samples", unit) if unit else ("bytes of audio", 1)
    return MediaError(
        name, f"truncated: header says {declared // unit} {what}, file holds {found // unit}"
    )


def no_samples(name: str) -> MediaError:
    """Returns the error of a file that is cut within its header."""
    return MediaError(name, "truncated: the file ends before any sample")

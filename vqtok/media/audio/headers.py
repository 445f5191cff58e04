"""Does a file hold all the audio that its header promises? libsndfile does not say.

It shortens a truncated WAV in silence, and gives no sample of a WAV whose header was never finished
(recorders and pipes leave 0 there).
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from vqtok.errors import MediaError
from vqtok.media.audio import wav
from vqtok.media.audio.views import behind, bytes_at, size_of


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
    size = size_of(stream)
    if format == "WAV":
        return _wav(stream, size, name)
    if format == "AIFF":
        _aiff(stream, size, name)
    return stream


def _wav(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    stream.seek(0)
    header = wav.read_header(stream.read, lambda count: stream.seek(count, io.SEEK_CUR))
    if header is None:
        raise no_samples(name)
    found = size - header.start
    if header.is_open:
        if found > header.size and (header.is_unfinished or header.file_size < size):
            head = wav.resized(bytes_at(stream, 0, header.start), found)
            return behind(stream, header.start, head=head)
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


def truncated(name: str, declared: int, found: int, unit: int) -> MediaError:
    """Makes the error of a file that is too short; ``unit`` bytes a sample, 0 if unknown."""
    what, unit = ("samples", unit) if unit else ("bytes of audio", 1)
    return MediaError(
        name, f"truncated: header says {declared // unit} {what}, file holds {found // unit}"
    )


def no_samples(name: str) -> MediaError:
    """Returns the error of a file that is cut within its header."""
    return MediaError(name, "truncated: the file ends before any sample")

"""What is to be decoded of a file, one stretch after the other.

A length that a header claims is a claim, and a container may hold more than libsndfile plays of it:
MP3s and Ogg files are joined, tags lie in front, between and behind. Each stretch becomes a file of
its own for libsndfile, with a header that tells the truth; so all is decoded that players play.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from vqtok.errors import MediaError
from vqtok.media.audio import flac, mpeg, ogg, wav
from vqtok.media.audio.headers import complete, no_samples, truncated
from vqtok.media.audio.views import Run, bytes_at, size_of, view
from vqtok.media.kinds import LIBAV_FORMATS

_CAF_CODECS = (b"lpcm", b"alaw", b"ulaw", b"alac")

_MOST_FLAC_BITS = 24
"""Bits of a sample of FLAC that libsndfile decodes."""

CONVERT = "ffmpeg -i FILE -f wav - | vqtok encode -"
"""What to type where another program reads more than this one."""


@dataclass(frozen=True)
class Link:
    """A stretch of a file that is decoded as one.

    Attributes:
        stream: What libsndfile is to read.
        length: Samples per channel, where that is known better than libsndfile knows it.
        is_counted: No header can be trusted: samples are counted by decoding.
        least: Samples per channel that there must be.
        is_foreign: libsndfile does not know it, libav does.
        is_surround: More than two channels are in the order that their encoding has.
    """

    stream: BinaryIO
    length: int | None = None
    is_counted: bool = False
    least: int = 0
    is_foreign: bool = False
    is_surround: bool = True


def links(stream: BinaryIO, format: str, name: str) -> list[Link]:
    """Find all that is to be decoded.

    Args:
        stream: Seekable, without tags in front.
        format: From ``kinds.sniff_format``.
        name: The file, in messages.

    Raises:
        MediaError: truncated, without samples, or of a kind that would be decoded in part.
    """
    if format in LIBAV_FORMATS:
        return [Link(stream, is_counted=True, is_foreign=True)]
    if format == "MP3":
        return _mp3(stream, name)
    if format == "OGG":
        return _ogg(stream, name)
    if format == "FLAC":
        return _flac(stream)
    if format == "CAF" and bytes_at(stream, 28, 4) not in _CAF_CODECS:
        return [Link(stream, is_counted=True, is_foreign=True)]
    whole = complete(stream, format, name)
    if format == "WAV":
        whole.seek(0)
        header = wav.read_header(whole.read, lambda count: whole.seek(count, os.SEEK_CUR))
        if header is not None and header.tag in wav.MPEG_TAGS:
            size = size_of(whole) - header.start if header.is_open else header.size
            return _mp3(view(whole, [Run(header.start, size)]), name, is_late=True)
        if header is not None and header.tag and header.tag not in wav.KNOWN_TAGS:
            return [Link(stream, is_counted=True, is_foreign=True)]
    return [Link(whole)]


def _mp3(stream: BinaryIO, name: str, *, is_late: bool = False) -> list[Link]:
    """Makes a link of each part; ``is_late``: with the delay of the decoder if none is stated."""
    parts = mpeg.parts(stream)
    for part in parts:
        _check_counts(part, name)
    found = [_mp3_link(stream, part, is_late=is_late) for part in parts if part.frames]
    if not found:
        if mpeg.is_free(bytes_at(stream, mpeg.behind_tags(stream), 4)):
            what = "MPEG audio in free format, whose frames don't tell their size, is not read"
            raise MediaError(name, what, hint="mpg123 -w - FILE | vqtok encode -")
        raise no_samples(name)
    return found


def _check_counts(part: mpeg.Part, name: str) -> None:
    """Refuse what is shorter than its header says, unless half of the header says it is whole."""
    header = part.header
    if header is None:
        return
    frames, size = header.frames or 0, header.bytes or 0
    # One frame of tolerance: encoders disagree on whether the header's own frame counts.
    lacks_bytes = part.size + mpeg.MAX_FRAME_BYTES < size
    lacks_frames = part.frames + 1 < frames
    if lacks_bytes and (lacks_frames or not frames):
        raise truncated(name, size, part.size, 0)
    if lacks_frames and not size:
        samples = mpeg.frame_samples(part.first)
        raise truncated(name, frames * samples, part.frames * samples, 1)


def _mp3_link(stream: BinaryIO, part: mpeg.Part, *, is_late: bool) -> Link:
    header = part.header or mpeg.StreamHeader(None, None)
    samples = mpeg.frame_samples(part.first)
    least = part.frames * samples
    if mpeg.has_header(part.first):
        least -= header.delay + header.padding + mpeg.DECODER_DELAY + 2 * samples
    # libsndfile prints to the terminal if the bytes are not those that its header tells of.
    has_size = header.bytes is None or abs(header.bytes - part.size) <= part.size // 200
    if header.is_xing and header.frames in (part.frames, part.frames + 1) and has_size:
        return Link(view(stream, part.runs), is_counted=True, least=least)
    padding = 0 if part.restarts else header.padding
    said = header._replace(frames=part.frames, padding=padding)
    made, runs = mpeg.made_header(part.first, said), part.runs
    if part.header is None and is_late:
        made = mpeg.late_header(part.first, part.frames)
    if made is not None and part.header is not None:
        size = mpeg.frame_size(part.first) or 0
        runs = [Run(runs[0].offset + size, runs[0].size - size), *runs[1:]]
    return Link(view(stream, runs, head=made or b""), is_counted=True, least=least)


def _ogg(stream: BinaryIO, name: str) -> list[Link]:
    pages = list(ogg.pages(stream))
    if pages and not pages[-1].is_whole:
        raise MediaError(name, "truncated: the last Ogg page is cut")
    found: list[Link] = []
    for streams in ogg.links(stream, pages):
        sounds = [each for each in streams if each.codec]
        if len(sounds) != 1:
            what = "streams of sound side by side" if sounds else "no sound that is known"
            count = f"{len(sounds)} " if sounds else ""
            raise MediaError(name, f"Ogg with {count}{what}", hint=CONVERT)
        sound = sounds[0]
        if sound.goes_back:
            raise MediaError(name, "damaged: positions of Ogg pages go back", hint=CONVERT)
        if sound.codec == "SPEEX":
            found.append(Link(stream, is_counted=True, is_foreign=True))
        elif sound.codec == "FLAC":
            found += _flac_in_ogg(stream, sound)
        else:
            found.append(Link(view(stream, sound.whole()), is_surround=sound.has_order))
    if not found:
        raise no_samples(name)
    return found


def _flac_in_ogg(stream: BinaryIO, sound: ogg.Stream) -> list[Link]:
    first, *rest = sound.bodies()
    begin = Run(first.offset + ogg.FLAC_AT, first.size - ogg.FLAC_AT)
    return _flac(view(stream, [begin, *rest]))


def _flac(stream: BinaryIO) -> list[Link]:
    """Splits a file where a stream begins, behind the frames of the one before."""
    info = flac.read_info(stream)
    begins = [0] if info is None else [0, *flac.starts(stream, info.frames_at)]
    return [
        _flac_link(stream, start, stop)
        for start, stop in zip(begins, [*begins[1:], size_of(stream)], strict=True)
    ]


def _flac_link(stream: BinaryIO, start: int, stop: int) -> Link:
    info = flac.read_info(stream, start)
    total = None if info is None else flac.counted(stream, info, stop)
    is_foreign = info is not None and info.bits > _MOST_FLAC_BITS
    if info is None or not total or total < info.total:
        whole = view(stream, [Run(start, stop - start)])
        return Link(whole, is_foreign=is_foreign)  # decoding it tells where it is cut
    head = flac.with_total(stream, start, total)
    rest = view(stream, [Run(start + len(head), stop - start - len(head))], head=head)
    return Link(rest, total, is_foreign=is_foreign)


def nearly(stream: BinaryIO, format: str, name: str) -> list[Link]:
    """As ``links``, but without reading all of a FLAC.

    Of FLACs of one length that were joined, the first alone is found.

    Raises:
        MediaError: see ``links``.
    """
    if format == "FLAC":
        found = _flac_link(stream, 0, size_of(stream))
        info = flac.read_info(stream)
        if info is not None and found.length == info.total:
            return [found]
    return links(stream, format, name)

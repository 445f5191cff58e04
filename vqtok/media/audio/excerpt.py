"""Part of a long recording, without reading the rest of it.

The same excerpt has the same samples every time, but not to the last bit those of ``audio.read``:
Opus decoders start anew where they are sent to, and the filter that changes the rate sees only the
excerpt and its surroundings. MP3 is read from the start on: after a jump its decoder complains to
the terminal about frames that it has not seen. So are recordings that were joined into one file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile

from vqtok.errors import MediaError
from vqtok.media.audio import AudioInfo, probe
from vqtok.media.audio.decoding import UNKNOWN_LENGTH, Forward, blocks, describe, opened, recognised
from vqtok.media.audio.frames import check_samples
from vqtok.media.audio.links import Link, nearly
from vqtok.media.audio.resample import check_rates, resample, resampled_length
from vqtok.media.kinds import LIBAV_FORMATS
from vqtok.media.opening import seekable, subject

FORWARD = frozenset({"MP3", *LIBAV_FORMATS})
"""Formats that are read from their start on."""

# Around an excerpt: more than the resampling filter sees, and what Opus needs to settle (RFC 7845).
_MARGIN_S = 0.1
_READ_FRAMES = 1 << 14


def glance(source: Path | BinaryIO) -> AudioInfo:
    """Reads what a header says; the length of an MP3 may count the encoder's padding.

    Raises:
        MediaError: not a readable audio file, truncated, or without samples.
    """
    with _open(source) as (_, info):
        if info.length == 0:
            raise MediaError(subject(source), "no audio samples")
    return info if info.length < UNKNOWN_LENGTH else probe(source)


def excerpt(source: Path | BinaryIO, *, rate: int, start: int, length: int) -> np.ndarray:
    """Samples from ``start`` on.

    Args:
        source: A file, or a seekable stream.
        rate: Resample to this many Hz; ``start`` and ``length`` count at this rate.
        start: First sample.
        length: Samples per channel.

    Returns:
        (C, length) float32; fewer samples where the recording ends.

    Raises:
        MediaError: damaged data, a sample that is not finite or beyond any scale, or a rate too far
            from the file's.
    """
    name = subject(source)
    with _open(source) as (found, info):
        try:
            check_rates(info.rate, rate)
        except MediaError as error:
            error.about(name)
            raise
        first, last, skip = _stretch(info.rate, rate, start, start + length)
        if len(found) > 1 or found[0].is_counted or info.length >= UNKNOWN_LENGTH:
            frames = _forward(found, last, info, name)
            skip = start
        else:
            frames = _frames(found[0], first, last, info, name)
        resampled = resample(frames, info.rate, rate, channels=info.channels)
        return _cut(resampled, skip, skip + length, channels=info.channels)


def _stretch(from_hz: int, to_hz: int, start: int, stop: int) -> tuple[int, int, int]:
    """Returns (first, last, skip): samples to read, and how many to drop once resampled.

    The first one lies where a sample of either rate does.
    """
    common = math.gcd(from_hz, to_hz)
    margin = math.ceil(_MARGIN_S * to_hz)
    period = to_hz // common
    periods = max(0, start - margin) // period
    last = resampled_length(stop + margin, to_hz, from_hz)
    return periods * (from_hz // common), last, start - periods * period


def _frames(link: Link, first: int, last: int, info: AudioInfo, name: str) -> Iterator[np.ndarray]:
    """Blocks (C, n) of the file's samples ``first`` … ``last - 1``, as far as there are any."""
    # What libav decodes is read from its start.
    with cast(Forward, opened(link, info.format, name)) as sound:
        try:
            if first:
                sound.seek(first)
            at, end = first, last if link.length is None else min(last, link.length)
            while at < end:
                frames = sound.take(min(_READ_FRAMES, end - at))
                if not len(frames):
                    return
                check_samples(frames, at, rate=info.rate, name=name)
                at += len(frames)
                yield frames.T
        except soundfile.SoundFileError as error:
            where = f"after {first / info.rate:.3f} s"
            raise MediaError(name, f"truncated or damaged {info.format} {where}") from error


def _forward(found: Sequence[Link], last: int, info: AudioInfo, name: str) -> Iterator[np.ndarray]:
    """Blocks (C, n) from the start on, until sample ``last`` is among them."""
    at = 0
    for frames in blocks(found, info.format, name):
        yield frames.T
        at += len(frames)
        if at >= last:
            return


def _cut(blocks: Iterator[np.ndarray], start: int, stop: int, *, channels: int) -> np.ndarray:
    """Samples ``start`` … ``stop - 1`` of a stream of (C, n) blocks; what follows is not read."""
    parts = [np.zeros((channels, 0), dtype=np.float32)]
    at = 0
    for block in blocks:
        size = block.shape[1]
        if at + size > start:
            parts.append(block[:, max(0, start - at) : stop - at])
        at += size
        if at >= stop:
            break
    return np.concatenate(parts, axis=1)


@contextmanager
def _open(source: Path | BinaryIO) -> Iterator[tuple[list[Link], AudioInfo]]:
    """Returns what is to be decoded, and what the headers say."""
    name = subject(source)
    with seekable(source) as stream:
        format, stream = recognised(stream, name)
        found = nearly(stream, format, name)
        yield found, describe(found, format, name)

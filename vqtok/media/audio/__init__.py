"""Audio files ⇄ float arrays (C, L) in [-1, 1], through libsndfile or libav, block by block.

Samples are read as they are: a float file may hold values somewhat beyond ±1, and they stay
(writing an integer format clips them). Whatever the source and the block size, the samples are the
same bit for bit, and memory does not grow with the length of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from vqtok.errors import MediaError
from vqtok.media.audio.arriving import Arriving as Arriving
from vqtok.media.audio.arriving import open_arriving
from vqtok.media.audio.decoding import UNKNOWN_LENGTH, blocks, describe, recognised
from vqtok.media.audio.decoding import AudioInfo as AudioInfo
from vqtok.media.audio.decoding import Forward as Forward
from vqtok.media.audio.frames import mixed
from vqtok.media.audio.links import links
from vqtok.media.audio.resample import check_rates, rechunk, resample
from vqtok.media.audio.resample import resampled_length as resampled_length
from vqtok.media.audio.writer import Writer as Writer
from vqtok.media.kinds import AUDIO_SUFFIXES
from vqtok.media.opening import seekable, subject

SUFFIXES = AUDIO_SUFFIXES

# Samples per channel in one block: 2.7 s at 24 kHz.
BLOCK = 1 << 16


class Reader:
    """An open audio file, read as often as wanted, one iteration at a time.

    Args:
        source: A file, or a stream (which need not be seekable: pipes are spooled to disk first).

    Attributes:
        info: What the file says about itself.
        rate, channels, format, length: Of it.
        declared: Its length: here it is known from the start.

    Raises:
        MediaError: not a readable audio file, truncated, or without samples.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        self._name = subject(source)
        with ExitStack() as stack:
            stream = stack.enter_context(seekable(source))
            self._format, stream = recognised(stream, self._name)
            self._links = links(stream, self._format, self._name)
            self.info = self._read_info()
            if self.info.length == 0:
                raise MediaError(self._name, "no audio samples")
            self._stack = stack.pop_all()
        self.rate, self.channels, self.format = self.info.rate, self.info.channels, self.info.format
        self.length = self.declared = self.info.length

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; streams that the caller opened stay open."""
        self._stack.close()

    def blocks(
        self, rate: int | None = None, *, mono: bool = False, block: int = BLOCK
    ) -> Iterator[np.ndarray]:
        """Returns all samples from the start.

        Args:
            rate: Resample to this many Hz; None keeps the file's rate.
            mono: Mix the channels down to their mean, before resampling.
            block: Samples per channel in each block; the last may be shorter.

        Yields:
            (C, block) float32. Lengths add up to ``resampled_length`` of ``info.length``.

        Raises:
            MediaError: damaged data, a sample that is not finite or beyond any scale, fewer samples
                than the header says, or a rate too far from the file's.
        """
        try:
            check_rates(self.info.rate, rate or self.info.rate)
        except MediaError as error:
            error.about(self._name)
            raise
        channels = 1 if mono else self.info.channels
        pieces = mixed(self._pieces()) if mono else self._pieces()
        resampled = resample(pieces, self.info.rate, rate or self.info.rate, channels=channels)
        return rechunk(resampled, block)

    def _read_info(self) -> AudioInfo:
        info = describe(self._links, self._format, self._name)
        # A FLAC or AU from a pipe has no length, and an MP3's may include the encoder's padding.
        if info.length >= UNKNOWN_LENGTH or any(link.is_counted for link in self._links):
            decoded = blocks(self._links, self._format, self._name)
            info = replace(info, length=sum(len(frames) for frames in decoded))
        return info

    def _pieces(self) -> Iterator[np.ndarray]:
        position = 0
        for frames in blocks(self._links, self._format, self._name):
            position += len(frames)
            yield frames.T
        if position != self.info.length:
            raise MediaError(
                self._name,
                f"truncated: header says {self.info.length} samples, file holds {position}",
            )


def listen(source: Path | BinaryIO) -> Reader | Arriving:
    """Open audio; a WAV in a pipe is read as it arrives, other formats are spooled to disk first.

    Raises:
        MediaError: not a readable audio file, truncated, or without samples.
    """
    with ExitStack() as stack:
        found = open_arriving(source, stack)
        if isinstance(found, Arriving):
            found.close_too(stack.pop_all())
            return found
        return Reader(cast("Path | BinaryIO", found))  # a pipe is spooled by now


def probe(source: Path | BinaryIO) -> AudioInfo:
    """Read an audio file's header.

    Raises:
        MediaError: not a readable audio file, truncated, or without samples.
    """
    with Reader(source) as reader:
        return reader.info


def read(
    source: Path | BinaryIO, *, rate: int | None = None, mono: bool = False
) -> tuple[np.ndarray, AudioInfo]:
    """Read a whole file: ``Reader.blocks`` joined.

    Returns:
        (C, L) float32, and the file's facts (its own rate, channels and length).

    Raises:
        MediaError: see ``Reader`` and ``Reader.blocks``.
    """
    with Reader(source) as reader:
        return np.concatenate(list(reader.blocks(rate, mono=mono)), axis=1), reader.info

"""Audio files ⇄ float arrays (C, L) in [-1, 1], through libsndfile, block by block.

Samples are read as they are: a float file may hold values beyond ±1, and they stay (writing an
integer format clips them). Whatever the source and the block size, the samples are the same bit for
bit, and memory does not grow with the length of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
import soundfile

from vqtok.errors import MediaError
from vqtok.media.audio.arriving import Arriving as Arriving
from vqtok.media.audio.arriving import open_arriving
from vqtok.media.audio.frames import check_finite, mixed
from vqtok.media.audio.headers import Lenient, complete
from vqtok.media.audio.resample import check_rates, rechunk, resample
from vqtok.media.audio.resample import resampled_length as resampled_length
from vqtok.media.audio.writer import Writer as Writer
from vqtok.media.kinds import AUDIO_SUFFIXES, HEAD_BYTES, sniff_format, supported
from vqtok.media.opening import seekable, subject

SUFFIXES = AUDIO_SUFFIXES

# Samples per channel in one block: 2.7 s at 24 kHz.
BLOCK = 1 << 16
_READ_FRAMES = 1 << 14
UNKNOWN_LENGTH = 1 << 62
"""No file is as long: libsndfile's "no idea" is 2**63 - 1."""
_FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF")


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about itself.

    Attributes:
        rate: Hz.
        channels: 1 for mono, 2 for stereo, ….
        length: Samples per channel.
        format: "WAV", "FLAC", "OGG", "MP3" or "AIFF".
        subtype: libsndfile's name of the encoding: "PCM_16", "FLOAT", "VORBIS", "OPUS", ….
    """

    rate: int
    channels: int
    length: int
    format: str
    subtype: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.length / self.rate


class Forward(soundfile.SoundFile):  # type: ignore[misc]
    """Read from start to end without seeking.

    soundfile seeks to where it is after every block that it reads, and MP3 and Opus decoders lose
    their state by that: samples would depend on the block size.
    """

    def seekable(self) -> bool:
        """Returns False, so that soundfile leaves the decoder alone."""
        return False


class Reader:
    """An open audio file, read as often as wanted, one iteration at a time.

    Args:
        source: A file, or a stream (which need not be seekable: pipes are spooled to disk first).

    Raises:
        MediaError: not a readable audio file, truncated, or without samples.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        self._name = subject(source)
        with ExitStack() as stack:
            self._stream = stack.enter_context(seekable(source))
            self._format = checked_format(self._stream, self._name)
            self._stream = complete(self._stream, self._format, self._name)
            self.info = self._read_info()
            if self.info.length == 0:
                raise MediaError(self._name, "no audio samples")
            self._stack = stack.pop_all()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def rate(self) -> int:
        """Hz."""
        return self.info.rate

    @property
    def channels(self) -> int:
        """1 for mono, 2 for stereo, …."""
        return self.info.channels

    @property
    def format(self) -> str:
        """See ``AudioInfo``."""
        return self.info.format

    @property
    def declared(self) -> int:
        """Samples per channel, known from the start."""
        return self.info.length

    @property
    def length(self) -> int:
        """Samples per channel."""
        return self.info.length

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
        with self._sound() as sound:
            length = sound.frames
            # An MP3's length is at best a count of frames that includes the encoder's padding, and
            # a FLAC from a pipe has none.
            if self._format == "MP3" or length >= UNKNOWN_LENGTH:
                length = sum(len(frames) for frames in self._frames(sound))
            return AudioInfo(
                rate=sound.samplerate,
                channels=sound.channels,
                length=length,
                format=self._format,
                subtype=sound.subtype,
            )

    def _pieces(self) -> Iterator[np.ndarray]:
        position = 0
        with self._sound() as sound:
            for frames in self._frames(sound):
                check_finite(frames, position, rate=self.info.rate, name=self._name)
                position += len(frames)
                yield frames.T
        if position != self.info.length:
            raise MediaError(
                self._name,
                f"truncated: header says {self.info.length} samples, file holds {position}",
            )

    def _frames(self, sound: Forward) -> Iterator[np.ndarray]:
        """Blocks (n, C) up to the end."""
        position = 0
        while True:
            try:
                frames = sound.read(_READ_FRAMES, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                at = position / sound.samplerate
                raise MediaError(
                    self._name, f"truncated or damaged {self._format} after {at:.3f} s"
                ) from error
            if not len(frames):
                return
            position += len(frames)
            yield frames

    def _sound(self) -> Forward:
        self._stream.seek(0)
        try:
            return Forward(Lenient(self._stream))
        except soundfile.LibsndfileError as error:
            reason = error.error_string.strip(". ").lower()
            raise MediaError(
                self._name, f"truncated, damaged or unsupported {self._format}: {reason}"
            ) from error


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


def checked_format(stream: BinaryIO, name: str) -> str:
    """Name of the audio format that a stream holds, by its first bytes.

    Raises:
        MediaError: none that is read here.
    """
    format = sniff_format(stream.read(HEAD_BYTES))
    if format is None or format not in _FORMATS:
        holds = f" (it holds {format})" if format else ""
        raise MediaError(
            name, f"not audio that vqtok reads{holds}", hint=f"supported: {supported('audio')}"
        )
    return format

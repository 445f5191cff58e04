"""Links of a file ⇄ blocks of samples, through libsndfile or libav."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile

from vqtok.errors import MediaError
from vqtok.media.audio import mpeg
from vqtok.media.audio.frames import check_samples, from_file
from vqtok.media.audio.libav import Track
from vqtok.media.audio.links import CONVERT, Link
from vqtok.media.audio.views import Lenient, behind, bytes_at
from vqtok.media.kinds import AUDIO_FORMATS, HEAD_BYTES, sniff_format, supported

UNKNOWN_LENGTH = 1 << 62
"""No file is as long: libsndfile's "no idea" is 2**63 - 1."""
_READ_FRAMES = 1 << 14
_MOST_PADDING = 1 << 16
_UNSUPPORTED_ENCODING = 4  # libsndfile's number of this error


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about itself.

    Attributes:
        rate: Hz.
        channels: 1 for mono, 2 for stereo, ….
        length: Samples per channel.
        format: "WAV", "FLAC", "OGG", "MP3", "AIFF", ….
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

    is_surround = False

    def seekable(self) -> bool:
        """Returns False, so that soundfile leaves the decoder alone."""
        return False

    def take(self, count: int) -> np.ndarray:
        """Decode the next (n, C) float32 samples, at most ``count``; none at the end."""
        frames: np.ndarray = self.read(count, dtype="float32", always_2d=True)
        return from_file(frames, self.subtype) if self.is_surround else frames


def recognised(stream: BinaryIO, name: str) -> tuple[str, BinaryIO]:
    """Name the audio format that a stream holds, and skip what lies in front of it.

    Raises:
        MediaError: none that is read here.
    """
    start = mpeg.behind_tags(stream)
    if start:  # not all programs count the padding of a tag
        zeros = bytes_at(stream, start, _MOST_PADDING)
        start += len(zeros) - len(zeros.lstrip(b"\0"))
    format = sniff_format(bytes_at(stream, start, HEAD_BYTES))
    if format not in AUDIO_FORMATS and mpeg.starts_here(stream, start):
        format = "MP3"  # padding, or the rest of a tag, lies before the first frame
    if format is None or format not in AUDIO_FORMATS:
        holds = f" (it holds {format})" if format else ""
        raise MediaError(
            name, f"not audio that vqtok reads{holds}", hint=f"supported: {supported('audio')}"
        )
    return format, behind(stream, start) if start and format != "MP3" else stream


def opened(link: Link, format: str, name: str) -> Forward | Track:
    """Begin to decode a link.

    Raises:
        MediaError: it cannot be decoded.
    """
    if link.is_foreign:
        return Track(link.stream, format, name)
    link.stream.seek(0)
    try:
        sound = Forward(Lenient(link.stream))
    except soundfile.LibsndfileError as error:
        if error.code == _UNSUPPORTED_ENCODING:
            return Track(link.stream, format, name)
        reason = error.error_string.strip(". ").lower()
        raise MediaError(name, f"truncated, damaged or unsupported {format}: {reason}") from error
    sound.is_surround = link.is_surround
    return sound


def describe(links: Sequence[Link], format: str, name: str) -> AudioInfo:
    """Read the headers of all links.

    Raises:
        MediaError: one cannot be read, or differs from the first in rate or channels.
    """
    found: AudioInfo | None = None
    for link in links:
        with opened(link, format, name) as sound:
            length = sound.frames if link.length is None else link.length
            if isinstance(sound, Track) and not link.is_counted:
                length = UNKNOWN_LENGTH
            info = AudioInfo(sound.samplerate, sound.channels, length, format, sound.subtype)
        found = info if found is None else _joined(found, info, name)
    if found is None:
        raise MediaError(name, "no audio samples")
    return found


def _joined(found: AudioInfo, info: AudioInfo, name: str) -> AudioInfo:
    if (info.rate, info.channels) != (found.rate, found.channels):
        before, after = (f"{each.rate} Hz, channels: {each.channels}" for each in (found, info))
        what = f"recordings of {before} and of {after} were joined into one file"
        raise MediaError(name, what, hint=CONVERT)
    length = min(found.length + info.length, UNKNOWN_LENGTH)
    return AudioInfo(info.rate, info.channels, length, info.format, found.subtype)


def blocks(links: Sequence[Link], format: str, name: str) -> Iterator[np.ndarray]:
    """Decode all links, one after the other, from the start: (n, C) float32.

    Raises:
        MediaError: damaged data, a sample that is not finite or far beyond full scale, or fewer
            samples than there must be.
    """
    position = 0
    for link in links:
        begin = position
        with opened(link, format, name) as sound:
            while len(frames := _next(sound, link, position - begin, format, name, position)):
                check_samples(frames, position, rate=sound.samplerate, name=name)
                position += len(frames)
                yield frames
        if position - begin < link.least:
            what = f"only {position - begin} samples of some {link.least} can be decoded"
            raise MediaError(name, what, hint=CONVERT)


def _next(
    sound: Forward | Track, link: Link, done: int, format: str, name: str, position: int
) -> np.ndarray:
    """The next samples of a link, none at its end."""
    left = _READ_FRAMES if link.length is None else min(_READ_FRAMES, link.length - done)
    try:
        return sound.take(left) if left else np.zeros((0, sound.channels), np.float32)
    except soundfile.SoundFileError as error:
        at = position / sound.samplerate
        raise MediaError(name, f"truncated or damaged {format} after {at:.3f} s") from error

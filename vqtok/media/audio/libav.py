"""Sound that libsndfile lacks, through PyAV (``vqtok[av]``): AAC, ALAC, WMA, AC-3, ….

In any container, that of a film too: its first sound, or the one that it names as usual. What an
encoder put in front is left out, as ffmpeg does; memory does not grow with the length of the file.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from vqtok.errors import MediaError
from vqtok.media.audio.views import Lenient, bytes_at, size_of
from vqtok.media.kinds import LIBAV_FORMATS

if TYPE_CHECKING:
    import av

_FULL = {"u1": (128.0, 128.0), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31), "i8": (0.0, 2.0**63)}
"""Of each kind of integers: the value of silence, and what is full scale above it."""

_MOST_PLANES = 7
"""Channels of which PyAV counts the planes rightly: from 8 on it reads behind the last of them."""

# An encoder fills its last frame, at most two of AAC: what is beyond the end that an MP4 tells.
_MOST_PADDING = 4096
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


class Track:
    """Sound of a file that is being decoded, from its start to its end.

    Attributes:
        samplerate, channels: Of the decoded sound.
        frames: Samples per channel, as the container tells: at best an estimate.
        subtype: libav's name of the codec in capitals.
    """

    _waiting: np.ndarray

    def __init__(self, stream: BinaryIO, format: str, name: str) -> None:
        self._format, self._name = format, name
        av = _library(format, name)
        self._error: type[Exception] = av.error.FFmpegError
        _check_size(stream, format, name)
        stream.seek(0)
        try:
            self._container = av.open(Lenient(stream), "r", metadata_errors="ignore")
        except (self._error, ValueError) as error:
            raise self._damaged(0) from error
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End decoding; the stream stays open."""
        self._container.close()

    def take(self, count: int) -> np.ndarray:
        """Decode the next (n, C) float32 samples, at most ``count``; none at the end.

        Raises:
            MediaError: truncated or damaged data, or one whose rate or channels change.
        """
        while not len(self._waiting):
            block = next(self._decoded, None)
            if block is None:
                return np.zeros((0, self.channels), np.float32)
            self._waiting = block
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _begin(self) -> None:
        stream = self._container.streams.best("audio")
        if stream is None:
            raise MediaError(self._name, f"{self._format} without sound")
        if stream.codec_context is None:
            raise MediaError(self._name, f"damaged or unsupported {self._format}: unknown codec")
        self._stream: av.AudioStream = stream
        self._stream.codec_context.thread_count = 1
        self.samplerate = self.channels = 0
        self.subtype = self._stream.codec_context.name.upper()
        self._done, self._packets = 0, 0
        self._packing: av.AudioResampler | None = None
        self._decoded = self._blocks()
        self._waiting = next(self._decoded, np.zeros((0, 1), np.float32))
        self.frames = self._declared() or 1 << 62
        if not len(self._waiting):
            raise MediaError(self._name, "no audio samples")

    def _declared(self) -> int:
        """Samples per channel by the container; 0 if it does not say."""
        duration, base = self._stream.duration, self._stream.time_base
        if duration is None or base is None:
            return 0
        return round(duration * base * self.samplerate)

    def _blocks(self) -> Iterator[np.ndarray]:
        """All samples, block by block; what the last block has beyond the end is cut."""
        last: np.ndarray | None = None
        for block in self._frames():
            if last is not None:
                yield last
            self._done += len(block)
            last = block
        # Packets are counted in front; of plain samples each counts, and many make a packet.
        found = self._done if self._stream.frames == self._declared() else self._packets
        if self._format == "MP4" and found < self._stream.frames:
            counts = f"header says {self._stream.frames} frames, file holds {found}"
            raise MediaError(self._name, f"truncated: {counts}")
        if last is not None:
            # Fragments are not counted in front, and what they say of the end is an estimate.
            is_counted = self._format == "MP4" and self._stream.frames > 0
            excess = self._done - self._declared() if is_counted else 0
            yield last[: len(last) - excess] if 0 < excess < min(len(last), _MOST_PADDING) else last

    def _frames(self) -> Iterator[np.ndarray]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._packets += 1
                if packet.is_corrupt:
                    raise self._damaged(self._done)
                for frame in packet.decode():
                    yield self._samples(frame)
        except self._error as error:
            raise self._damaged(self._done) from error

    def _samples(self, frame: Any) -> np.ndarray:
        """Returns the (n, C) float32 samples of a frame."""
        channels = frame.layout.nb_channels
        if not self.samplerate:
            self.samplerate, self.channels = frame.sample_rate, channels
        if (frame.sample_rate, channels) != (self.samplerate, self.channels):
            before, after = f"{self.samplerate} Hz, channels: {self.channels}", frame.sample_rate
            what = f"sound of {before} goes on with {after} Hz, channels: {channels}"
            raise MediaError(self._name, what, hint="ffmpeg -i FILE -f wav - | vqtok encode -")
        if frame.format.is_planar and channels <= _MOST_PLANES:
            data: np.ndarray = frame.to_ndarray().T
        else:
            data = self._interleaved(frame).reshape(-1, channels)
        if data.dtype.kind != "f":
            silence, full = _FULL[data.dtype.str[1:]]
            data = (data.astype(np.float64) - silence) / full
        return np.ascontiguousarray(data, np.float32)

    def _interleaved(self, frame: Any) -> np.ndarray:
        """Returns the samples of a frame, those of all channels one after the other."""
        if not frame.format.is_planar:
            return np.asarray(frame.to_ndarray())
        if self._packing is None:
            import av

            self._packing = av.AudioResampler(format=frame.format.packed)
        packed = [each.to_ndarray() for each in self._packing.resample(frame)]
        return np.concatenate(packed, axis=1)

    def _damaged(self, position: int) -> MediaError:
        at = position / self.samplerate if position else 0.0
        return MediaError(self._name, f"truncated or damaged {self._format} after {at:.3f} s")


def _library(format: str, name: str) -> Any:
    """Import PyAV.

    Raises:
        MediaError: it is not installed.
    """
    if importlib.util.find_spec("av") is None:
        what = format if format in LIBAV_FORMATS else f"this kind of {format}"
        raise MediaError(
            name,
            f"{what} is read by an extra that is not installed",
            hint="pip install 'vqtok[av]', or ffmpeg -i FILE -f wav - | vqtok encode -",
        )
    import av
    import av.logging

    av.logging.set_level(None)  # our errors say what goes wrong
    return av


def _check_size(stream: BinaryIO, format: str, name: str) -> None:
    """Refuse a file that is shorter than its container says.

    Raises:
        MediaError: truncated.
    """
    size, declared = size_of(stream), 0
    head = bytes_at(stream, 0, 1 << 16)
    if format == "Matroska" and (at := head.find(_MATROSKA_SEGMENT)) >= 0 and len(head) > at + 12:
        width = 9 - head[at + 4].bit_length()
        number = int.from_bytes(head[at + 4 : at + 4 + width], "big") & (1 << 7 * width) - 1
        # All ones: unknown, as of what is recorded live.
        declared = 0 if number == (1 << 7 * width) - 1 else at + 4 + width + number
    elif format == "ASF" and (at := head.find(_ASF_PROPERTIES)) >= 0:
        is_live = bool(head[at + 88 : at + 89] and head[at + 88] & 1)
        declared = 0 if is_live else int.from_bytes(head[at + 40 : at + 48], "little")
    if declared > size:
        raise MediaError(name, f"truncated: header says {declared} bytes, file holds {size}")

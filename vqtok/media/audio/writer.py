"""Write audio files block by block, in constant memory, with an exact length."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from vqtok import atomic
from vqtok.errors import MediaError, UsageError
from vqtok.media.audio import wav
from vqtok.media.audio.frames import to_file
from vqtok.media.audio.ogg import fix_serial
from vqtok.media.audio.resample import Resampler
from vqtok.media.audio.sinks import FileSink, WavSink
from vqtok.media.opening import os_message, subject

# Suffix → libsndfile's format and encoding.
_FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "oga": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aif": ("AIFF", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
}
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_RATES = {"OPUS": _OPUS_RATES, "MPEG_LAYER_III": _MPEG_RATES}
# libsndfile's Vorbis encoder overflows its stack on one huge write.
_WRITE_FRAMES = 1 << 13


class Writer:
    """An audio file that grows by blocks and appears whole or not at all.

    Samples are clipped to [-1, 1]. WAV, FLAC and AIFF are written with 16 bits.

    Args:
        target: A file, or a stream. A stream gets a WAV as it is made (whose header declares the
            largest size where the length is not known), other formats at the end.
        rate: Hz of the file.
        channels: C.
        format: "wav", "flac", "ogg", "opus", "mp3" or "aiff"; by the suffix if None, WAV for
            streams.
        from_rate: Hz of the blocks, resampled to ``rate`` on the way; None: they are at ``rate``.
        length: Samples per channel in the file: cut, or padded with silence. None: as they come,
            or as ``settle`` says.

    Raises:
        UsageError: a format that cannot be written, or cannot hold this rate or channel count.
        MediaError: the target cannot be written.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        rate: int,
        channels: int,
        format: str | None = None,
        *,
        from_rate: int | None = None,
        length: int | None = None,
    ) -> None:
        self._target, self._name = target, subject(target)
        self._rate, self._channels, self._length = rate, channels, length
        self._format, self._subtype = _encoding(target, format, rate, channels)
        self._leaves = self._format == "WAV" and not isinstance(target, Path)
        if self._format == "WAV" and not self._leaves and self._is_long(length or 0):
            self._format = "RF64"
        self._resampler = Resampler(from_rate or rate, rate, channels=channels)
        # Rounding may have made up to so many samples too many, of which ``settle`` tells.
        self._hold = 0 if length is not None else rate // (from_rate or rate) + 1
        self._held = np.zeros((channels, 0), dtype=np.float32)
        self._written = 0
        self._stack = ExitStack()

    def __enter__(self) -> Writer:
        try:
            if isinstance(self._target, Path):
                temporary = self._stack.enter_context(atomic.file(self._target))
                stream: BinaryIO = self._stack.enter_context(temporary.open("wb+"))
            elif not self._leaves:
                stream = self._stack.enter_context(tempfile.TemporaryFile())
        except OSError as error:
            raise self._unwritable(error) from error
        self._sink: FileSink | WavSink
        if self._leaves and not isinstance(self._target, Path):
            size = None if self._length is None else self._length * self._channels * 2
            self._sink = WavSink(self._target, size)
        else:
            self._sink = FileSink(stream)
        try:
            self._sound = soundfile.SoundFile(
                self._sink,
                "w",
                samplerate=self._rate,
                channels=self._channels,
                format=self._format,
                subtype=self._subtype,
            )
        except (soundfile.SoundFileError, OverflowError) as error:
            self._abandon(error)
            raise UsageError(
                self._name,
                f"{self._format} cannot hold this: {self._rate} Hz, channels: {self._channels}",
                hint="--format wav",
            ) from error
        return self

    def write(self, block: np.ndarray) -> None:
        """Append (C, n) float samples.

        Raises:
            MediaError: samples that are not finite, or a full disk.
        """
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"expected ({self._channels}, n) samples, found {block.shape}")
        if not np.isfinite(block).all():
            raise MediaError(self._name, "cannot write audio: samples are not finite")
        for ready in self._resampler.push(block.astype(np.float32, copy=False)):
            self._append(ready)

    def settle(self, length: int | None) -> None:
        """Returns the length was not known when writing began: it is this one.

        Args:
            length: Samples per channel in the file, at most one or two fewer than were written;
                None: as they came.
        """
        self._length = length

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._abandon(error)
            return
        try:
            self._finish()
        except OSError as failure:
            self._abandon(failure)
            if isinstance(failure, BrokenPipeError):
                raise
            raise self._unwritable(failure) from failure
        except BaseException as failure:
            self._abandon(failure)
            raise

    def _finish(self) -> None:
        for ready in self._resampler.finish():
            self._append(ready)
        held, self._hold = self._held, 0
        self._append(held)
        if self._length is not None:
            while self._written < self._length:
                frames = min(self._length - self._written, _WRITE_FRAMES)
                self._append(np.zeros((self._channels, frames), dtype=np.float32))
        if isinstance(self._sink, WavSink):
            self._sink.begin()
        self._sound.close()
        if isinstance(self._sink, WavSink):
            self._sink.finish()
        else:
            self._sink.check()
            self._hand_over(self._sink.stream)
        self._stack.close()

    def _hand_over(self, stream: BinaryIO) -> None:
        if self._format == "OGG":
            fix_serial(stream)
        stream.flush()
        if not isinstance(self._target, Path):
            stream.seek(0)
            shutil.copyfileobj(stream, self._target, 1 << 20)
            self._target.flush()

    def _append(self, block: np.ndarray) -> None:
        if self._hold:
            joined = np.concatenate([self._held, block], axis=1)
            cut = max(0, joined.shape[1] - self._hold)
            block, self._held = joined[:, :cut], joined[:, cut:]
        if self._length is not None:
            block = block[:, : max(0, self._length - self._written)]
        for start in range(0, block.shape[1], _WRITE_FRAMES):
            piece = np.clip(block[:, start : start + _WRITE_FRAMES], -1, 1)
            if isinstance(self._sink, WavSink):
                self._sink.begin()
            self._sound.write(np.ascontiguousarray(to_file(piece.T, self._subtype)))
            self._pass_on()
            self._written += piece.shape[1]
            if self._format == "WAV" and not self._leaves and self._is_long(self._written):
                what = "cannot write: a WAV of unknown length holds 4 GiB at most"
                raise MediaError(self._name, what, hint="--format flac")

    def _pass_on(self) -> None:
        """Send what libsndfile made, or find out that it could not be written."""
        try:
            if isinstance(self._sink, WavSink):
                self._sink.flush()
            else:
                self._sink.check()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    def _abandon(self, error: BaseException) -> None:
        sound = getattr(self, "_sound", None)
        if sound is not None:
            sound.close()
        # Tells atomic.file that there is nothing to keep; it raises the error again.
        try:
            self._stack.__exit__(type(error), error, error.__traceback__)
        except OSError:
            pass  # the last flush fails as the write did, and the first error is the one to tell
        except BaseException as again:
            if again is not error:
                raise

    def _is_long(self, length: int) -> bool:
        return length * self._channels * 2 > wav.MAX_BYTES

    def _unwritable(self, error: OSError) -> MediaError:
        return MediaError(self._name, f"cannot write: {os_message(error)}")


def _encoding(
    target: Path | BinaryIO, format: str | None, rate: int, channels: int
) -> tuple[str, str]:
    name = subject(target)
    if format is None:
        format = target.suffix if isinstance(target, Path) else "wav"
    key = format.lower().lstrip(".")
    if key not in _FORMATS:
        what = f"unknown format {key!r}" if key else "the name has no suffix"
        raise UsageError(
            name,
            f"cannot write audio: {what}",
            hint="formats: wav, flac, ogg, opus, mp3, aiff",
        )
    encoding = _FORMATS[key]
    rates = _RATES.get(encoding[1], (rate,))
    if rate not in rates:
        allowed = ", ".join(str(each) for each in rates)
        raise UsageError(
            name, f"{key} cannot hold {rate} Hz", hint=f"--format wav; {key} holds {allowed} Hz"
        )
    if encoding[0] == "MP3" and channels > 2:
        raise UsageError(name, f"mp3 cannot hold {channels} channels", hint="--format wav")
    return encoding

"""Write audio files block by block, in constant memory, with an exact length."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import soundfile

from vqtok import atomic
from vqtok.errors import MediaError, UsageError
from vqtok.media.ogg import fix_serial
from vqtok.media.opening import os_message, subject
from vqtok.media.resample import Resampler

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
# The size fields of a WAV header have 32 bits.
_MAX_WAV_BYTES = (1 << 32) - 4096


class Writer:
    """An audio file that grows by blocks and appears whole or not at all.

    Samples are clipped to [-1, 1]. WAV, FLAC and AIFF are written with 16 bits.

    Args:
        target: A file, or a stream (which gets its bytes at the end: headers need the length).
        rate: Hz of the file.
        channels: C.
        format: "wav", "flac", "ogg", "opus", "mp3" or "aiff"; by the suffix if None, WAV for
            streams.
        from_rate: Hz of the blocks, resampled to ``rate`` on the way; None: they are at ``rate``.
        length: Samples per channel in the file: cut, or padded with silence. None: as they come.

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
        if self._format == "WAV" and (length or 0) * channels * 2 > _MAX_WAV_BYTES:
            self._format = "RF64"
        self._resampler = Resampler(from_rate or rate, rate, channels=channels)
        self._written = 0
        self._stack = ExitStack()

    def __enter__(self) -> Writer:
        try:
            if isinstance(self._target, Path):
                temporary = self._stack.enter_context(atomic.file(self._target))
                stream: BinaryIO = self._stack.enter_context(temporary.open("wb+"))
            else:
                stream = self._stack.enter_context(tempfile.TemporaryFile())
        except OSError as error:
            raise self._unwritable(error) from error
        self._sink = _Sink(stream)
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
                f"{self._name}: {self._format} cannot hold this: {self._rate} Hz, "
                f"channels: {self._channels}",
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
            raise MediaError(f"{self._name}: cannot write audio: samples are not finite")
        for ready in self._resampler.push(block.astype(np.float32, copy=False)):
            self._append(ready)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        if self._length is not None:
            while self._written < self._length:
                frames = min(self._length - self._written, _WRITE_FRAMES)
                self._append(np.zeros((self._channels, frames), dtype=np.float32))
        self._sound.close()
        self._sink.check()
        if self._format == "OGG":
            fix_serial(self._sink.stream)
        self._sink.stream.flush()
        if not isinstance(self._target, Path):
            self._sink.stream.seek(0)
            shutil.copyfileobj(self._sink.stream, self._target, 1 << 20)
            self._target.flush()
        self._stack.close()

    def _append(self, block: np.ndarray) -> None:
        if self._length is not None:
            block = block[:, : self._length - self._written]
        for start in range(0, block.shape[1], _WRITE_FRAMES):
            piece = np.clip(block[:, start : start + _WRITE_FRAMES], -1, 1)
            self._sound.write(np.ascontiguousarray(piece.T))
            self._written += piece.shape[1]
            try:
                self._sink.check()
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

    def _unwritable(self, error: OSError) -> MediaError:
        return MediaError(f"{self._name}: cannot write: {os_message(error)}")


class _Sink:
    """A file for libsndfile that remembers the first error, which would be lost in C otherwise."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                return self.stream.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self.stream.seek(offset, whence)
        except OSError as error:  # seeking flushes the buffer
            self._error = self._error or error
            return 0

    def tell(self) -> int:
        return self.stream.tell()

    def check(self) -> None:
        """Raise the error that a write met.

        Raises:
            OSError: the disk is full, ….
        """
        if self._error is not None:
            raise self._error


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
            f"{name}: cannot write audio: {what}",
            hint="formats: wav, flac, ogg, opus, mp3, aiff",
        )
    encoding = _FORMATS[key]
    rates = _RATES.get(encoding[1], (rate,))
    if rate not in rates:
        allowed = ", ".join(str(each) for each in rates)
        raise UsageError(
            f"{name}: {key} cannot hold {rate} Hz", hint=f"--format wav; {key} holds {allowed} Hz"
        )
    if encoding[0] == "MP3" and channels > 2:
        raise UsageError(f"{name}: mp3 cannot hold {channels} channels", hint="--format wav")
    return encoding

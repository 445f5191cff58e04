"""A WAV that is decoded while it arrives through a pipe.

Programs that write into pipes cannot go back to fill in a length, so a WAV from ffmpeg, sox or
arecord declares 0 or the largest size, and is taken to its end. Each piece of samples is given to
libsndfile as a small WAV of the same encoding: samples are those of the file form bit for bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from vqtok.errors import MediaError
from vqtok.media.audio import wav
from vqtok.media.audio.frames import check_samples, mixed
from vqtok.media.audio.headers import check_strange, no_samples, strange_bytes, truncated
from vqtok.media.audio.resample import resample
from vqtok.media.audio.views import Lenient
from vqtok.media.kinds import HEAD_BYTES, sniff_format
from vqtok.media.opening import os_message, subject

# Samples decoded together: a quarter of a second, at most so many bytes.
_PIECES_PER_S = 4
_PIECE_BYTES = 1 << 16
# Where the format is looked for before it is known whether this can be read as it arrives.
_MOST_HEAD = 1 << 16


class Beginning:
    """A stream whose first bytes can be looked at and then read again; never sought."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self.name, self._head = stream, name, b""
        # What has arrived is given at once: ``read`` would wait for all that was asked for.
        self._some = getattr(stream, "read1", stream.read)

    def peek(self, size: int) -> bytes:
        """Returns the next ``size`` bytes, fewer at the end; they stay to be read."""
        while len(self._head) < size:
            more = self._some(size - len(self._head))
            if not more:
                break
            self._head += more
        return self._head[:size]

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes, fewer at the end; all if negative."""
        if size < 0:
            data, self._head = self._head + self._stream.read(), b""
            return data
        data = self.peek(size)
        self._head = self._head[size:]
        return data

    def some(self, size: int) -> bytes:
        """Returns what is there of the next ``size`` bytes, at least one but at the end."""
        if self._head:
            return self.read(min(size, len(self._head)))
        data: bytes = self._some(size)
        return data

    def skip(self, size: int) -> None:
        """Pass over bytes, as many as there are of so many."""
        while size > 0 and (data := self.some(min(size, _PIECE_BYTES))):
            size -= len(data)

    def seekable(self) -> bool:
        """Never."""
        return False


class Arriving:
    """An open WAV, read once, as it arrives.

    Use ``open_arriving``.

    Attributes:
        rate, channels: As declared.
        subtype: libsndfile's name of the encoding.
        declared: Samples per channel that the header promises; None: until the end.
        length: Samples per channel that were read.
        format: "WAV".
    """

    format = "WAV"

    def __init__(self, stream: Beginning, name: str) -> None:
        self._stream, self._name, self._stack = stream, name, ExitStack()
        header = wav.read_header(stream.read, stream.skip)
        if header is None:
            raise no_samples(name)
        if not header.unit:
            raise MediaError(name, "truncated, damaged or unsupported WAV: no format")
        self._header, self._unit = header, header.unit
        with self._decoder(b"") as sound:
            self.rate, self.channels = sound.samplerate, sound.channels
            self.subtype: str = sound.subtype
        self.declared = None if header.is_open else header.size // self._unit
        self.length = 0
        if self.declared == 0:
            raise MediaError(name, "no audio samples")

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def close_too(self, stack: ExitStack) -> None:
        """Close what it holds together with this."""
        self._stack = stack

    def blocks(self, rate: int | None = None, *, mono: bool = False) -> Iterator[np.ndarray]:
        """Returns all samples, once.

        Args:
            rate: Resample to this many Hz; None keeps the file's rate.
            mono: Mix the channels down to their mean, before resampling.

        Yields:
            (C, n) float32, n > 0 as it comes. Lengths add up to ``resampled_length`` of ``length``.

        Raises:
            MediaError: no samples, one that is not finite or far beyond full scale,
                or fewer than the header says.
        """
        pieces = mixed(self._pieces()) if mono else self._pieces()
        channels = 1 if mono else self.channels
        yield from resample(pieces, self.rate, rate or self.rate, channels=channels)

    def _pieces(self) -> Iterator[np.ndarray]:
        for data in self._data():
            with self._decoder(data) as sound:
                frames = sound.read(dtype="float32", always_2d=True)
            check_samples(frames, self.length, rate=self.rate, name=self._name)
            self.length += len(frames)
            yield frames.T
        if self.declared is not None and self.length < self.declared:
            wanted, found = self.declared * self._unit, self.length * self._unit
            raise truncated(self._name, wanted, found, self._unit)
        if not self.length:
            raise MediaError(self._name, "no audio samples")

    def _data(self) -> Iterator[bytes]:
        """Bytes of whole samples, as they arrive."""
        left = None if self.declared is None else self.declared * self._unit
        frames = min(_PIECE_BYTES // self._unit, self.rate // _PIECES_PER_S)
        most = max(1, frames) * self._unit
        waiting = bytearray()
        try:
            while left is None or left > 0:
                wanted = most - len(waiting)
                data = self._stream.some(wanted if left is None else min(wanted, left))
                if left is not None:
                    left -= len(data)
                waiting += data
                # A few bytes at a time would be decoded at a great price each.
                if len(waiting) == most or not data or left == 0:
                    whole = len(waiting) // self._unit * self._unit
                    if whole:
                        yield bytes(waiting[:whole])
                    del waiting[:whole]
                if not data:
                    return
            # To the end: who writes chunks behind the samples must not find the pipe closed.
            order, size = self._header.order, self._header.size
            strange = strange_bytes(self._stream.read, order=order, padded=size % 2 > 0)
            check_strange(strange, is_declared=False, format="WAV", name=self._name)
        except OSError as error:
            raise MediaError(self._name, f"cannot read: {os_message(error)}") from error

    def _decoder(self, data: bytes) -> soundfile.SoundFile:
        whole = self._header.with_samples(data)
        try:
            return soundfile.SoundFile(Lenient(io.BytesIO(whole)))
        except soundfile.LibsndfileError as error:
            reason = error.error_string.strip(". ").lower()
            raise MediaError(
                self._name, f"truncated, damaged or unsupported WAV: {reason}"
            ) from error


def open_arriving(
    source: Path | BinaryIO, stack: ExitStack
) -> Arriving | Path | BinaryIO | Beginning:
    """Open a WAV in a pipe, to be decoded as it arrives.

    Args:
        source: A file or a stream.
        stack: Gets what is opened here.

    Returns:
        The open WAV; or, if the source can seek or holds something else, what ``audio.Reader`` is
        to read: the source, from its start.

    Raises:
        MediaError: unreadable, or truncated before any sample.
    """
    name = subject(source)
    try:
        if isinstance(source, Path):
            if source.is_file() or source.is_dir() or not source.exists():
                return source
            source = stack.enter_context(source.open("rb"))
        if source.seekable():
            return source
        stream = Beginning(source, name)
        return Arriving(stream, name) if _is_plain_wav(stream) else stream
    except OSError as error:
        raise MediaError(name, f"cannot read: {os_message(error)}") from error


def _is_plain_wav(stream: Beginning) -> bool:
    """Checks whether a WAV's samples have one size each, so that any can be decoded alone."""
    if sniff_format(stream.peek(HEAD_BYTES)) != "WAV":
        return False
    order, at = wav.order_of(stream.peek(4)), 12

    def read(size: int) -> bytes:
        nonlocal at
        data = stream.peek(at + size)[at:] if at < _MOST_HEAD else b""
        at += len(data)
        return data

    def skip(size: int) -> None:
        nonlocal at
        at += size

    for key, _, body in wav.chunks(read, skip, order=order, kept=(b"fmt ",), last=b"data"):
        if key == b"data":
            break
        if wav.tag_of(body, order):
            return wav.is_plain(body, order)
    return at < _MOST_HEAD  # a truncated one is refused by whoever reads on

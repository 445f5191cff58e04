"""Streaming change of sample rate with soxr HQ, aligned with its input and of an exact length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from vqtok.errors import MediaError

# Frames per call into soxr. It is fed blocks of this size whatever the caller's blocks are, so that
# nothing can depend on how the samples arrived.
_FEED_FRAMES = 1 << 14
_MAX_OUTPUT_FRAMES = 1 << 20

MAX_RATIO = 256
"""Furthest that two rates may lie apart. A header can say 1 Hz: 24 000 samples out of each byte."""


def check_rates(from_hz: int, to_hz: int) -> None:
    """Refuse to resample between rates that cannot both be of sound.

    Raises:
        MediaError: so they are.
    """
    if max(from_hz, to_hz) > MAX_RATIO * min(from_hz, to_hz):
        raise MediaError(f"cannot resample {from_hz} Hz to {to_hz} Hz: too far apart")


def resampled_length(length: int, from_hz: int, to_hz: int) -> int:
    """Samples after resampling: ``length * to_hz / from_hz``, rounded up."""
    return -(-length * to_hz // from_hz)


class Rechunker:
    """Cut a stream of (C, n) blocks anew into blocks of one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._waiting: list[np.ndarray] = []
        self._count = 0

    def push(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take (C, n) samples, give the (C, size) blocks that are full now."""
        start, frames = 0, block.shape[1]
        while self._count + frames - start >= self.size:
            cut = start + self.size - self._count
            pieces = [*self._waiting, block[:, start:cut]]
            self._waiting, self._count, start = [], 0, cut
            yield _join(pieces)
        if start < frames:
            # A copy: the caller may reuse its buffer.
            self._waiting.append(block[:, start:].copy())
            self._count += frames - start

    def finish(self) -> Iterator[np.ndarray]:
        """Give the last block, (C, n) with 0 < n < size, if there is one."""
        if self._count:
            yield _join(self._waiting)


def rechunk(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Cut (C, n) blocks anew into (C, size) blocks; the last may be shorter, none is empty."""
    chunks = Rechunker(size)
    for block in blocks:
        yield from chunks.push(block)
    yield from chunks.finish()


class Resampler:
    """Change of sample rate for a stream of (C, n) float32 blocks.

    The output starts where the input starts (soxr holds its own delay back) and has
    ``resampled_length`` samples in all. Equal rates pass through untouched.

    Args:
        from_hz, to_hz: Sample rates.
        channels: C.

    Raises:
        MediaError: rates too far apart.
    """

    def __init__(self, from_hz: int, to_hz: int, *, channels: int) -> None:
        check_rates(from_hz, to_hz)
        self.from_hz, self.to_hz, self.channels = from_hz, to_hz, channels
        self._read = self._written = 0
        if from_hz != to_hz:
            self._soxr = soxr.ResampleStream(from_hz, to_hz, channels, "float32", "HQ")
            feed = max(1, min(_FEED_FRAMES, _MAX_OUTPUT_FRAMES * from_hz // to_hz))
            self._chunks = Rechunker(feed)

    def push(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take (C, n) samples, give those that are ready, as blocks (C, n)."""
        if self.from_hz == self.to_hz:
            yield block
            return
        for chunk in self._chunks.push(block):
            yield from self._step(chunk)

    def finish(self) -> Iterator[np.ndarray]:
        """Give the rest once all input was pushed."""
        if self.from_hz == self.to_hz:
            return
        for chunk in self._chunks.finish():
            yield from self._step(chunk)
        # soxr rounds the length to the nearest sample, we round up: silence after the end gives it
        # the inputs of one more output sample.
        tail = np.zeros((self.from_hz // self.to_hz + 2, self.channels), dtype=np.float32)
        rest = self._soxr.resample_chunk(tail, last=True).T
        missing = resampled_length(self._read, self.from_hz, self.to_hz) - self._written
        if missing > 0:
            yield rest[:, :missing]

    def _step(self, chunk: np.ndarray) -> Iterator[np.ndarray]:
        out = self._soxr.resample_chunk(np.ascontiguousarray(chunk.T)).T
        self._read += chunk.shape[1]
        self._written += out.shape[1]
        if out.shape[1]:
            yield out


def resample(
    blocks: Iterable[np.ndarray], from_hz: int, to_hz: int, *, channels: int
) -> Iterator[np.ndarray]:
    """Resample a stream of (C, n) float32 blocks; see ``Resampler``."""
    resampler = Resampler(from_hz, to_hz, channels=channels)
    for block in blocks:
        yield from resampler.push(block)
    yield from resampler.finish()


def _join(pieces: list[np.ndarray]) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

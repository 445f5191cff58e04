"""Measures how loud recordings are, and gives that back to sound that a model made.

The loudness of a recording is the mean power of its frames of 25 ms above two gates: at -70 dB
against full scale, and 10 dB below the mean of those; gates as in ITU-R BS.1770-4, without its
filter. It depends on the samples alone, not on the blocks in which they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

SILENT = -100.0
"""dB of a recording without a frame above the first gate."""

FRAMES_PER_S = 40

_LOWEST, _RELATIVE = -70.0, -10.0  # dB: the gates of BS.1770-4
_STEP = 0.01  # dB between the bins of a histogram of frames

PAUSE_DB, PAUSE_FRAMES = -34.0, 4
"""A pause is so far below the loudness for so many frames or longer: 100 ms, no consonant."""

REST_DB = -30.0
"""What is left of a pause's sound."""


class Loudness:
    """Measures channels of a recording that comes in blocks; memory is flat.

    Args:
        rate: Hz.
    """

    def __init__(self, rate: int) -> None:
        self._frames = _Frames(rate)
        self._bins = round((40.0 - SILENT) / _STEP)
        self._counts: np.ndarray | None = None

    def add(self, samples: np.ndarray) -> None:
        """Take the next (C, n) samples."""
        levels = self._frames.levels(samples)
        if self._counts is None:
            self._counts = np.zeros((len(samples), self._bins), np.int64)
        places = np.clip((levels - SILENT) / _STEP, 0, self._bins - 1).astype(np.intp)
        for counts, row in zip(self._counts, places, strict=True):
            counts += np.bincount(row, minlength=self._bins)

    @property
    def db(self) -> tuple[float, ...]:
        """Each channel's loudness, dB against full scale; none before there are samples."""
        if self._counts is None:
            return ()
        levels = SILENT + _STEP * (np.arange(self._bins) + 0.5)
        return tuple(round(gated(levels, counts), 2) for counts in self._counts)


class _Frames:
    """Cuts blocks into frames of 25 ms, whatever the sizes of the blocks."""

    def __init__(self, rate: int) -> None:
        self.size = max(1, rate // FRAMES_PER_S)
        self._rest: np.ndarray | None = None

    def levels(self, samples: np.ndarray) -> np.ndarray:
        """Take the next (C, n) samples; give the levels of the frames that are whole now."""
        joined = samples if self._rest is None else np.concatenate([self._rest, samples], axis=1)
        levels = frame_levels(joined, self.size)
        self._rest = joined[:, levels.shape[1] * self.size :]
        return levels


def frame_levels(samples: np.ndarray, frame: int) -> np.ndarray:
    """Compute the power of each whole frame: (C, L) → (C, L // frame) dB, float64."""
    count = samples.shape[1] // frame
    frames = samples[:, : count * frame].reshape(len(samples), count, frame).astype(np.float64)
    power = np.square(frames).mean(axis=2)
    levels: np.ndarray = 10.0 * np.log10(np.maximum(power, 10.0 ** (SILENT / 10.0)))
    return levels


def gated(levels: np.ndarray, counts: np.ndarray) -> float:
    """Compute the loudness of frames: so many of each level, dB; ``SILENT`` if all are silent."""
    power = 10.0 ** (levels / 10.0)
    for gate in (_LOWEST, None):
        low = _mean(power, counts) + _RELATIVE if gate is None else gate
        counts = np.where(levels > low, counts, 0)
        if not counts.any():
            return SILENT
    return _mean(power, counts)


def _mean(power: np.ndarray, counts: np.ndarray) -> float:
    return float(10.0 * np.log10((power * counts).sum() / counts.sum()))


@dataclass
class _Measured:
    """What the first pass found of sound: levels of its frames, and its peaks, by channel."""

    levels: np.ndarray
    peaks: np.ndarray


def restored(
    sound: Callable[[], Iterable[np.ndarray]], wanted: tuple[float, ...], *, rate: int
) -> Iterator[np.ndarray]:
    """Give sound the loudness of its source, and quieten its pauses.

    The sound is made twice, to be measured and to be given; memory holds a number for each frame.
    A channel gets one gain, from its own loudness to the one that is wanted, less if a peak would
    pass full scale. In pauses, ``PAUSE_DB`` below its loudness for ``PAUSE_FRAMES`` or longer, it
    fades to ``REST_DB`` within a frame.

    Args:
        sound: Makes pieces (C, n) of any lengths, the same samples each time.
        wanted: dB of each channel; a silent source asks for nothing.
        rate: Hz.

    Yields:
        (C, n) float32 pieces, as they come.
    """
    frames = _Frames(rate)
    found = _measured(sound(), frames)
    curves = np.stack(
        [
            _gains(levels, peak, level)
            for levels, peak, level in zip(found.levels, found.peaks, wanted, strict=True)
        ]
    )
    # Gains hold in the middle of a frame and are joined by straight lines.
    middles = (np.arange(curves.shape[1]) + 0.5) * frames.size
    at = 0
    for piece in sound():
        where = np.arange(at, at + piece.shape[1])
        at += piece.shape[1]
        gains = np.stack([np.interp(where, middles, curve) for curve in curves])
        yield (piece * gains).astype(np.float32)


def _measured(pieces: Iterable[np.ndarray], frames: _Frames) -> _Measured:
    levels: list[np.ndarray] = []
    peaks = np.zeros(1)
    for piece in pieces:
        levels.append(frames.levels(piece))
        peaks = np.maximum(peaks, np.abs(piece).max(axis=1, initial=0.0))
    whole = np.concatenate(levels or [np.zeros((1, 0))], axis=1)
    # What is less than a frame goes with the one before.
    last = whole[:, -1:] if whole.size else np.full((len(whole), 1), SILENT)
    return _Measured(np.concatenate([whole, last], axis=1), peaks)


def _gains(levels: np.ndarray, peak: float, wanted: float) -> np.ndarray:
    """Compute a channel's gain in each frame."""
    own = gated(levels, np.ones(len(levels), np.int64))
    if SILENT in (own, wanted):
        return np.ones(len(levels))
    gain = min(10.0 ** ((wanted - own) / 20.0), max(1.0, 1.0 / peak) if peak else 1.0)
    curve = np.full(len(levels), gain)
    quiet = np.concatenate([[False], levels < own + PAUSE_DB, [False]])
    edges = np.flatnonzero(quiet[1:] != quiet[:-1]).reshape(-1, 2)
    for start, stop in edges:
        if stop - start >= PAUSE_FRAMES:
            curve[start:stop] *= 10.0 ** (REST_DB / 20.0)
    return curve

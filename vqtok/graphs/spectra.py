"""Spectra of sound in numpy: what ``nn/spectral`` and ``tokenizers/_spectral`` do in torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = Any
"""An array of numpy."""

HIGHEST = 8000.0
"""Hz of the uppermost mel band's end."""
QUIET = 1e-3
"""Added to magnitudes before their logarithm."""
LIMITS = (-12.0, 6.0)
"""Of log-magnitudes."""
FRAMES = 64
"""At once: what lies between stays in the cache."""


class Spectra:
    """Samples → features of frames, and back.

    Args:
        frame: Samples per frame.
        hop: Samples between frames.
        bands: Of the mel scale, as features; None: every bin with its phase.
        rate: Hz of the audio.
    """

    def __init__(self, frame: int, hop: int, *, bands: int | None, rate: float) -> None:
        self.size, self.hop, self.overlap = frame, hop, frame // hop
        self.bins = frame // 2 + 1
        turn = np.arange(frame, dtype=np.float64) * (2 * math.pi / frame)
        self.window = np.sqrt(0.5 - 0.5 * np.cos(turn)).astype(np.float32)
        self.bank = None if bands is None else _mel_bands(self.bins, bands, rate)

    def features(self, samples: Array) -> Array:
        """Maps (B, n·hop) samples, silence before them → (B, n, F) float64."""
        silence = np.zeros((len(samples), self.size - self.hop))
        whole = np.concatenate((silence, samples.astype(np.float64)), axis=1)
        frames = np.lib.stride_tricks.sliding_window_view(whole, self.size, axis=1)
        frames = frames[:, :: self.hop]
        width = 2 * self.bins if self.bank is None else self.bank.shape[1]
        found = np.empty((*frames.shape[:2], width))
        for item, start in np.ndindex(len(frames), -(-frames.shape[1] // FRAMES)):
            some = slice(start * FRAMES, (start + 1) * FRAMES)
            spectrum = np.fft.rfft(frames[item, some] * self.window, norm="ortho")
            if self.bank is not None:
                found[item, some] = np.log(np.abs(spectrum) @ self.bank + QUIET)
                continue
            scale = np.square(spectrum.real)
            scale += np.square(spectrum.imag)
            scale += 1e-8
            np.sqrt(np.sqrt(scale, out=scale), out=scale)
            np.divide(spectrum.real, scale, out=found[item, some, 0::2])
            np.divide(spectrum.imag, scale, out=found[item, some, 1::2])
        return found

    def samples(self, parts: Array) -> Array:
        """Maps (B, T, 2·bins) log-magnitudes and phases → (B, (T + overlap - 1)·hop) float32."""
        pairs = parts.reshape(*parts.shape[:2], self.bins, 2)
        magnitude, phase = np.exp(np.clip(pairs[..., 0], *LIMITS)), pairs[..., 1]
        spectrum = np.empty(phase.shape, dtype=np.complex64)
        spectrum.real, spectrum.imag = magnitude * np.cos(phase), magnitude * np.sin(phase)
        frames = np.fft.irfft(spectrum, n=self.size, norm="ortho") * self.window
        batch, count, _ = frames.shape
        pieces = frames.reshape(batch, count, self.overlap, self.hop)
        out = np.zeros((batch, count + self.overlap - 1, self.hop), dtype=np.float32)
        for i in range(self.overlap):
            out[:, i : i + count] += pieces[:, :, i]
        return out.reshape(batch, -1) * np.float32(2.0 / self.overlap)


def _mel_bands(bins: int, bands: int, rate: float) -> Array:
    """Triangles that overlap by half, evenly on the mel scale: (bins, bands), each adds up to 1."""
    hz = np.linspace(0.0, rate / 2, bins)[:, None]
    highest = min(HIGHEST, rate / 2)
    edges = 700.0 * np.expm1(np.linspace(0.0, 1.0, bands + 2) * math.log1p(highest / 700.0))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre))
    triangles = np.maximum(triangles, 0.0)
    return np.asarray(triangles / np.maximum(triangles.sum(axis=0, keepdims=True), 1e-12))

"""Causal short-time Fourier transform and its exact inverse, with power-law compression.

Frame t covers samples (t + 1)·hop - size … (t + 1)·hop: it ends with its own hop and looks back,
never ahead. Sample s is then covered by size/hop frames, the last of which comes size - hop
samples later.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Spectrum(nn.Module):
    """Waveform ⇄ complex frames with a Hann window.

    Args:
        size: Samples per frame; a multiple of ``hop``, two hops at least.
        hop: Samples between frames.
    """

    window: Tensor

    def __init__(self, size: int, hop: int) -> None:
        super().__init__()
        if size % hop or size < 2 * hop:
            raise ValueError(f"frame size {size} is not a multiple, from two on, of the hop {hop}")
        self.size, self.hop = size, hop
        self.overlap = size // hop
        # sqrt-Hann at analysis and synthesis: their product is Hann, whose shifted copies sum to
        # size/(2·hop).
        window = torch.hann_window(size, dtype=torch.float64).sqrt().float()
        self.register_buffer("window", window, persistent=False)

    @property
    def bins(self) -> int:
        """Frequencies per frame, zero and Nyquist included."""
        return self.size // 2 + 1

    def analyse(self, x: Tensor, history: Tensor) -> Tensor:
        """Frames that end inside x.

        Args:
            x: (B, L) float32, L a multiple of hop.
            history: (B, size - hop) samples before x; zeros at the start of a signal.

        Returns:
            (B, L/hop, bins) complex64, orthonormal scale.
        """
        frames = torch.cat([history, x], dim=1).unfold(1, self.size, self.hop)  # (B, T, size)
        spectrum: Tensor = torch.fft.rfft(frames * self.window, norm="ortho")
        return spectrum

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Overlap-add frames.

        Args:
            spectrum: (B, T, bins) complex64.

        Returns:
            (B, (T + overlap - 1)·hop): sample 0 is the first that frame 0 covers. The first and
            last size - hop samples lack frames of their neighbours: callers cut or add them.
        """
        frames = torch.fft.irfft(spectrum, n=self.size, norm="ortho") * self.window  # (B, T, size)
        batch, count, _ = frames.shape
        parts = frames.view(batch, count, self.overlap, self.hop)
        length = (count + self.overlap - 1) * self.hop
        # Shifted sums in a fixed order, not scatter-add: the same bits on every run.
        out = frames.new_zeros(batch, length)
        for i in range(self.overlap):
            part = parts[:, :, i].reshape(batch, count * self.hop)
            out = out + F.pad(part, (i * self.hop, length - (i + count) * self.hop))
        scaled: Tensor = out * (2.0 / self.overlap)
        return scaled


def compress(spectrum: Tensor) -> Tensor:
    """Map c → c / sqrt(|c|): half the range in dB, the same phase; (…) complex → (…, 2) real."""
    parts = torch.view_as_real(spectrum)
    power = parts[..., 0].square() + parts[..., 1].square() + 1e-8
    return parts * power.sqrt().rsqrt()[..., None]  # a power would be several times as slow


def mel_bands(hz: Tensor, *, bands: int, highest: float) -> Tensor:
    """Triangles that overlap by half, evenly on the mel scale 2595 log10(1 + f / 700).

    Args:
        hz: (…, bins) float64 frequencies of bins.
        bands: Their number; the first begins at 0 Hz.
        highest: Hz at which the last one ends.

    Returns:
        (…, bins, bands) float64; the weights of a band add up to 1, or to 0 if it holds no bin.
    """
    edges = torch.linspace(0.0, 1.0, bands + 2, dtype=torch.float64, device=hz.device)
    edges = 700.0 * (edges * math.log1p(highest / 700.0)).expm1()
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    at = hz[..., None]
    slopes = torch.minimum((at - low) / (centre - low), (high - at) / (high - centre))
    triangles = slopes.clamp(min=0.0)
    return triangles / triangles.sum(dim=-2, keepdim=True).clamp(min=1e-12)


def from_polar(parts: Tensor) -> Tensor:
    """Log-magnitude and phase in radians, (…, 2) real → (…) complex, as Vocos (arXiv:2306.00814).

    The magnitude is held within e^-12 … e^6, so that an untrained head can neither overflow nor
    lose its gradient for good.
    """
    magnitude, phase = parts[..., 0].clamp(-12.0, 6.0).exp(), parts[..., 1]
    return torch.complex(magnitude * phase.cos(), magnitude * phase.sin())

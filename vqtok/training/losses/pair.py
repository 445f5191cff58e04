"""A reconstruction beside its original: what every loss term is a function of."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOWS = (512, 1024, 2048)
"""Samples of each scale of the spectra that terms share."""


class Pair:
    """A reconstruction beside its original, with what several terms need computed once.

    Args:
        y: Reconstruction, (B, C, H, W) or (B, 1, L) float32.
        x: Original, the same shape; no gradient flows into it.
        rate: Hz of audio; 0 for images.
        raw: What the decoder gave before it became y, as ``Reconstructed.raw``.
    """

    def __init__(self, y: Tensor, x: Tensor, *, rate: float, raw: Tensor | None = None) -> None:
        self.y, self.x, self.rate, self.raw = y, x.detach(), rate, raw
        self._spectra: list[tuple[Spectrum, Spectrum]] = []

    def spectra(self) -> list[tuple[Spectrum, Spectrum]]:
        """(of y, of x) at each of ``WINDOWS``."""
        if not self._spectra:
            for size in WINDOWS:
                self._spectra.append((Spectrum(self.y[:, 0], size), Spectrum(self.x[:, 0], size)))
        return self._spectra


class Spectrum:
    """STFT of (B, L) audio: Hann window, hop size/2, a full-scale tone has magnitude 0.5.

    Attributes:
        magnitude: (B, bins, T).
        compressed: (B, bins, T, 2), real and imaginary part, magnitude^0.5.
    """

    def __init__(self, x: Tensor, size: int) -> None:
        parts = torch.view_as_real(frames(x, size, hop=size // 2) * (2.0 / size))
        power = parts.square().sum(-1)
        # The constants keep gradients finite at silence. The first lies far below the mel floor;
        # the second is larger because bins near silence would else outweigh all others.
        self.magnitude = (power + 1e-12).sqrt()
        self.compressed = parts * ((power + 1e-8) ** -0.25)[..., None]


def frames(x: Tensor, size: int, *, hop: int) -> Tensor:
    """Complex STFT of (B, L) float32 audio, (B, size/2 + 1, T); frames centred, edges reflected.

    Where L is too short to be reflected, zeros follow it.
    """
    shortest = size // 2 + 1  # reflection needs more samples than it adds
    x = torch.nn.functional.pad(x, (0, max(0, shortest - x.shape[-1])))
    window = torch.hann_window(size, device=x.device)
    spectrum: Tensor = torch.stft(x, size, hop_length=hop, window=window, return_complex=True)
    return spectrum

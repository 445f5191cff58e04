"""Reconstruction losses by name, over one reconstruction and its original."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.errors import ConfigError
from vqtok.metrics.mel import filterbank

WINDOWS = ((512, 80), (1024, 80), (2048, 80))
"""(samples, mel bins) of each scale of the spectral losses."""


class Pair:
    """A reconstruction beside its original, with what several terms need computed once.

    Args:
        y: Reconstruction, (B, C, H, W) or (B, 1, L) float32.
        x: Original, the same shape; no gradient flows into it.
        rate: Hz of audio; 0 for images.
    """

    def __init__(self, y: Tensor, x: Tensor, *, rate: float) -> None:
        self.y, self.x, self.rate = y, x.detach(), rate
        self._spectra: list[tuple[_Spectrum, _Spectrum]] = []

    def spectra(self) -> list[tuple[_Spectrum, _Spectrum]]:
        """(of y, of x) at each of ``WINDOWS``."""
        if not self._spectra:
            for size, _ in WINDOWS:
                self._spectra.append((_Spectrum(self.y[:, 0], size), _Spectrum(self.x[:, 0], size)))
        return self._spectra


class Objective:
    """The weighted sum of reconstruction terms.

    Args:
        weights: Term name → weight; names are those of ``TERMS``.
        rate: Hz, for the terms that need it; None for images.

    Raises:
        ConfigError: an unknown term, or one for audio without a rate.
    """

    def __init__(self, weights: Mapping[str, float], *, rate: float | None) -> None:
        for name in weights:
            if name not in TERMS:
                raise ConfigError(
                    f"train.losses.{name}: unknown term", hint="known: " + ", ".join(sorted(TERMS))
                )
            if name in SPECTRAL and rate is None:
                raise ConfigError(f"train.losses.{name}: this term is for audio")
        # Sorted: gradients are summed in this order, and a resumed recipe may have another.
        self.weights = dict(sorted(weights.items()))
        self.rate = rate or 0.0

    def __call__(self, y: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Weighted terms, each a scalar.

        Args:
            y: Reconstruction, (B, C, H, W) or (B, 1, L), float32.
            x: Original, the same shape.
        """
        pair = Pair(y, x, rate=self.rate)
        return {name: weight * TERMS[name](pair) for name, weight in self.weights.items()}


def mse(pair: Pair) -> Tensor:
    """Mean squared error: a Gaussian likelihood, what PSNR measures."""
    return F.mse_loss(pair.y, pair.x)


def l1(pair: Pair) -> Tensor:
    """Mean absolute error: a Laplace likelihood, sharper edges."""
    return F.l1_loss(pair.y, pair.x)


def mel(pair: Pair) -> Tensor:
    """L1 between log10 mel spectrograms, mean over ``WINDOWS``.

    Multi-scale as in DAC (arXiv:2306.06546, section 3.4), with fewer scales and a hop of half a
    window. The floor lies about 80 dB below a full-scale tone: quieter than that is silence.
    """
    total = pair.y.new_zeros(())
    for (size, bins), (of_y, of_x) in zip(WINDOWS, pair.spectra(), strict=True):
        bank = filterbank(rate=pair.rate, window=size, bins=bins).to(pair.y.device)
        a, b = ((bank @ each.magnitude).clamp(min=1e-6).log10() for each in (of_y, of_x))
        total = total + F.l1_loss(a, b)
    return total / len(WINDOWS)


def stft(pair: Pair) -> Tensor:
    """L1 between complex spectra of compressed magnitude, mean over ``WINDOWS``.

    It sees phase, and the compression (|c|^0.5 with the phase of c) makes quiet bins count.
    """
    total = pair.y.new_zeros(())
    for of_y, of_x in pair.spectra():
        total = total + F.l1_loss(of_y.compressed, of_x.compressed)
    return total / len(WINDOWS)


TERMS: dict[str, Callable[[Pair], Tensor]] = {"mse": mse, "l1": l1, "mel": mel, "stft": stft}

SPECTRAL = frozenset({"mel", "stft"})


class _Spectrum:
    """STFT of (B, L) audio: Hann window, hop size/2, a full-scale tone has magnitude 0.5.

    Attributes:
        magnitude: (B, bins, T).
        compressed: (B, bins, T, 2), real and imaginary part, magnitude^0.5.
    """

    def __init__(self, x: Tensor, size: int) -> None:
        window = torch.hann_window(size, device=x.device)
        spectrum = torch.stft(x, size, hop_length=size // 2, window=window, return_complex=True)
        parts = torch.view_as_real(spectrum * (2.0 / size))
        power = parts.square().sum(-1)
        # The constants keep gradients finite at silence. The first lies far below the mel floor;
        # the second is larger because bins near silence would else outweigh all others.
        self.magnitude = (power + 1e-12).sqrt()
        self.compressed = parts * ((power + 1e-8) ** -0.25)[..., None]

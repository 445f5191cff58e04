"""Reconstruction losses by name: each takes (y, x) of one shape and gives a scalar."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.errors import ConfigError
from vqtok.metrics.mel import filterbank

Loss = Callable[[Tensor, Tensor], Tensor]

MEL_WINDOWS = ((256, 40), (512, 80), (1024, 80), (2048, 80))
"""(samples, mel bins) of each scale of the mel loss."""

STFT_WINDOWS = (512, 1024, 2048)
"""Samples per window of each scale of the complex STFT loss."""


class Objective:
    """The weighted sum of reconstruction terms.

    Args:
        weights: Term name → weight; names are those of ``TERMS``.
        rate: Hz, for the terms that need it (audio).

    Raises:
        ConfigError: an unknown term.
    """

    def __init__(self, weights: Mapping[str, float], *, rate: float | None) -> None:
        for name in weights:
            if name not in TERMS:
                raise ConfigError(
                    f"train.losses.{name}: unknown term", hint="known: " + ", ".join(sorted(TERMS))
                )
            if name in ("mel", "stft") and rate is None:
                raise ConfigError(f"train.losses.{name}: this term is for audio")
        self.weights = dict(weights)
        self.rate = rate

    def __call__(self, y: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Weighted terms, each a scalar.

        Args:
            y: Reconstruction, (B, C, H, W) or (B, 1, L), float32.
            x: Original, the same shape.
        """
        return {name: w * TERMS[name](y, x, self.rate or 0.0) for name, w in self.weights.items()}


def mse(y: Tensor, x: Tensor, rate: float) -> Tensor:
    """Mean squared error: a Gaussian likelihood, what PSNR measures."""
    return F.mse_loss(y, x)


def l1(y: Tensor, x: Tensor, rate: float) -> Tensor:
    """Mean absolute error: a Laplace likelihood, sharper edges."""
    return F.l1_loss(y, x)


def mel(y: Tensor, x: Tensor, rate: float) -> Tensor:
    """L1 between log10 mel spectrograms, mean over ``MEL_WINDOWS``.

    Multi-scale as in DAC (arXiv:2306.06546, section 3.4). The floor lies 80 dB or so below a
    full-scale tone: quieter than that is silence.
    """
    total = y.new_zeros(())
    for size, bins in MEL_WINDOWS:
        bank = filterbank(rate=rate, window=size, bins=bins).to(y.device)
        pair = torch.cat([y[:, 0], x[:, 0]])
        power = bank @ _stft(pair, size).abs()  # (2B, bins, T)
        a, b = power.clamp(min=1e-6).log10().chunk(2)
        total = total + F.l1_loss(a, b)
    return total / len(MEL_WINDOWS)


def stft(y: Tensor, x: Tensor, rate: float) -> Tensor:
    """L1 between power-compressed complex spectra, mean over ``STFT_WINDOWS``.

    It sees phase, and the compression makes quiet bins count.
    """
    total = y.new_zeros(())
    for size in STFT_WINDOWS:
        parts = torch.view_as_real(_stft(torch.cat([y[:, 0], x[:, 0]]), size))
        power = parts.square().sum(-1, keepdim=True)
        a, b = (parts * (power + 1e-6) ** -0.35).chunk(2)  # |c|^0.3 with the phase of c
        total = total + F.l1_loss(a, b)
    return total / len(STFT_WINDOWS)


TERMS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "mse": mse,
    "l1": l1,
    "mel": mel,
    "stft": stft,
}


def _stft(x: Tensor, size: int) -> Tensor:
    """(B, L) → (B, bins, T) complex, Hann window, hop size/4, unit gain for a full-scale sine."""
    window = torch.hann_window(size, device=x.device)
    spectrum = torch.stft(
        x, size, hop_length=size // 4, window=window, center=True, return_complex=True
    )
    return spectrum * (2.0 / size)

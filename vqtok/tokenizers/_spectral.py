"""Turn spectra into the features that an audio encoder reads: complex bins, or mel bands.

Bands of the mel scale have neither phase nor fine pitch. In training each item may be perturbed as
if another mouth had spoken it into another microphone: stretched in frequency, as vocal-tract
length perturbation does (Jaitly & Hinton 2013), and coloured by a smooth random filter. The target
stays as it was, so codes that kept the voice would mislead the decoder, which needs a label for it.
NANSY (Choi et al. 2021, arXiv:2110.14513) perturbs for the same reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqtok import distributed
from vqtok.nn.spectral import compress, mel_bands

HIGHEST = 8000.0
"""Hz of the uppermost band's end: above it recordings differ by microphone more than by words."""

QUIET = 1e-3
"""Added to magnitudes before their logarithm: about 60 dB below loud speech."""

WAVES = 4
"""Cosines over the bands that make a colour, the slowest ones."""


@dataclass(frozen=True)
class Mel:
    """Log-magnitudes in bands of the mel scale, up to 8 kHz.

    Attributes:
        bands: Their number.
        warp: In training, frequencies are stretched by a factor from 1/warp to warp, drawn for each
            item; 1: not at all.
        colour_db: In training, standard deviation of each of the four slow cosines over the bands
            that are added to an item's spectrum, in dB; 0: none.
    """

    bands: int = 40
    warp: float = 1.0
    colour_db: float = 0.0

    def __post_init__(self) -> None:
        if self.bands < 2:
            raise ValueError("bands must be at least 2")
        if not 1.0 <= self.warp <= 2.0:
            raise ValueError(f"warp {self.warp} is not from 1 to 2")
        if not self.colour_db >= 0.0:
            raise ValueError("colour_db must be at least 0")


class Perturbation(NamedTuple):
    """Changes to the spectra of a batch."""

    stretch: Tensor
    """(B,) float64: a band at f Hz takes what is at f · stretch."""
    gain: Tensor
    """(B, bands) float64: factors of magnitudes."""


def check_bands(mel: Mel | None, *, frame: int, rate: float) -> None:
    """Check that every band holds a bin, however an item is stretched; see ``FrontEnd``.

    Raises:
        ValueError: one may hold none.
    """
    if mel is None:
        return
    top = math.log1p(min(HIGHEST, rate / 2) / 700.0)
    lowest = 700.0 * math.expm1(top * 2.0 / (mel.bands + 1))  # Hz that the narrowest one spans
    if lowest <= mel.warp * rate / frame:
        raise ValueError(f"mel.bands {mel.bands}: too many for frames of {frame} samples")


class FrontEnd:
    """Complex frames → real features.

    Args:
        mel: Bands; None: every bin, power-compressed, with its phase.
        frame: Samples of a frame.
        rate: Hz of the audio.
    """

    def __init__(self, mel: Mel | None, *, frame: int, rate: float) -> None:
        self._mel, bins = mel, frame // 2 + 1
        self.bands = None if mel is None else mel.bands
        self.channels = 2 * bins if mel is None else mel.bands
        if mel is None:
            return
        self._hz = torch.linspace(0.0, rate / 2, bins, dtype=torch.float64)
        self._highest = min(HIGHEST, rate / 2)

    def __call__(self, spectrum: Tensor, perturbation: Perturbation | None = None) -> Tensor:
        """Maps (B, T, bins) complex → (B, T, channels), in the precision of the spectrum."""
        if self._mel is None:
            return compress(spectrum).flatten(2)
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        one = torch.ones(1, dtype=torch.float64)
        bank = self._bank(one if perturbation is None else perturbation.stretch)
        bands = power.sqrt() @ bank.to(power)  # (B, T, bands)
        if perturbation is not None:
            bands = bands * perturbation.gain[:, None].to(bands)
        return (bands + QUIET).log()

    def perturbation(self, batch: int, *, generator: torch.Generator | None) -> Perturbation | None:
        """Draw how the items of a training step are changed; None: not at all.

        Args:
            batch: Items of this rank.
            generator: On the CPU, in the same state on all ranks; None: torch's global one.
        """
        mel = self._mel
        if mel is None or (mel.warp == 1.0 and mel.colour_db == 0.0):
            return None
        total, mine = distributed.share(batch)
        drawn = torch.rand(total, generator=generator, dtype=torch.float64)
        waves = torch.randn(total, WAVES, generator=generator, dtype=torch.float64)
        centres = (torch.arange(mel.bands, dtype=torch.float64) + 0.5) / mel.bands
        slow = torch.arange(1, WAVES + 1, dtype=torch.float64)[:, None]
        colour_db = mel.colour_db * waves @ (math.pi * slow * centres).cos()  # (total, bands)
        stretch, gain = mel.warp ** (2.0 * drawn - 1.0), 10.0 ** (colour_db / 20.0)
        return Perturbation(stretch[mine], gain[mine])

    def _bank(self, stretch: Tensor) -> Tensor:
        """Weigh bins for the mean around each stretched band: (B,) → (B, bins, bands)."""
        hz = self._hz / stretch[:, None]
        return mel_bands(hz, bands=self.channels, highest=self._highest)

"""What the encoder of an audio codec is given of each frame: complex bins, or mel bands.

Bands of the mel scale have neither phase nor fine pitch. In training each item may be heard as if
another mouth had spoken it into another microphone: stretched in frequency, as vocal-tract length
perturbation does (Jaitly & Hinton 2013), and coloured by a smooth random filter. What the decoder
has to give stays as it was, so codes that kept the voice would mislead it, and a label is needed to
tell it. NANSY (Choi et al. 2021, arXiv:2110.14513) perturbs for the same reason.
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
"""Hz of the uppermost band's end: above it a recording tells more of its microphone than of words.
"""

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


class Disguise(NamedTuple):
    """How each item of a batch is heard."""

    stretch: Tensor
    """(B,) float64: a band at f Hz hears what is at f · stretch."""
    gain: Tensor
    """(B, bands) float64: factors of magnitudes."""


def check_bands(mel: Mel | None, *, frame: int, rate: float) -> None:
    """Check that every band holds a bin, however an item is stretched; see ``Hearing``.

    Raises:
        ValueError: one may hold none.
    """
    if mel is None:
        return
    top = math.log1p(min(HIGHEST, rate / 2) / 700.0)
    lowest = 700.0 * math.expm1(top * 2.0 / (mel.bands + 1))  # Hz that the narrowest one spans
    if lowest <= mel.warp * rate / frame:
        raise ValueError(f"mel.bands {mel.bands}: too many for frames of {frame} samples")


class Hearing:
    """Complex frames → real features.

    Args:
        mel: Bands; None: every bin, power-compressed, with its phase.
        frame: Samples of a frame.
        rate: Hz of the audio.
    """

    def __init__(self, mel: Mel | None, *, frame: int, rate: float) -> None:
        self._mel, bins = mel, frame // 2 + 1
        self.channels = 2 * bins if mel is None else mel.bands
        if mel is None:
            return
        self._hz = torch.linspace(0.0, rate / 2, bins, dtype=torch.float64)
        self._highest = min(HIGHEST, rate / 2)

    def __call__(self, spectrum: Tensor, disguise: Disguise | None = None) -> Tensor:
        """(B, T, bins) complex → (B, T, channels), in the precision of the spectrum."""
        if self._mel is None:
            return compress(spectrum).flatten(2)
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        one = torch.ones(1, dtype=torch.float64)
        bank = self._bank(one if disguise is None else disguise.stretch)
        heard = power.sqrt() @ bank.to(power)  # (B, T, bands)
        if disguise is not None:
            heard = heard * disguise.gain[:, None].to(heard)
        return (heard + QUIET).log()

    def disguise(self, batch: int, *, generator: torch.Generator | None) -> Disguise | None:
        """Draw how the items of a training step are heard; None: as they are.

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
        places = (torch.arange(mel.bands, dtype=torch.float64) + 0.5) / mel.bands
        slow = torch.arange(1, WAVES + 1, dtype=torch.float64)[:, None]
        colour_db = mel.colour_db * waves @ (math.pi * slow * places).cos()  # (total, bands)
        stretch, gain = mel.warp ** (2.0 * drawn - 1.0), 10.0 ** (colour_db / 20.0)
        return Disguise(stretch[mine], gain[mine])

    def _bank(self, stretch: Tensor) -> Tensor:
        """(B,) → (B, bins, bands): means of magnitudes around each stretched band."""
        hz = self._hz / stretch[:, None]
        return mel_bands(hz, bands=self.channels, highest=self._highest)

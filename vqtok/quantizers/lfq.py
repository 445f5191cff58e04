"""Quantize without lookup: the signs of a few numbers are the code.

Yu et al. 2023, "Language Model Beats Diffusion" (MAGVIT-v2, 2310.05737), section 3.1: Eq. 3 and 4
(signs and index) and Eq. 5 (entropies). What differs from the paper: bits are factorised in the
entropies, which changes none of their values up to ``group`` bits (see ``_bits.entropies``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vqtok.quantizers._bits import Binary, Settings


@dataclass(frozen=True)
class Config(Settings):
    """Settings of a code of signs: the fields of ``_bits.Settings``.

    Attributes:
        entropy: Beside a mean squared error of signals in [-1, 1] a tenth of the default lets codes
            collapse.
        temperature: At 1, latents near ±1 have a slope; at the 0.01 that is usual elsewhere only
            those next to 0 do.
        group: Above about log2 of the latents per step a larger one adds little.
    """

    bits: int = 13
    entropy: float = 0.1
    diversity: float = 1.0
    temperature: float = 1.0
    group: int = 18
    commitment: float = 0.25

    def build(self, *, dim: int) -> Lfq:
        """Make the quantizer of (B, dim, *grid) latents; linear maps if dim is not bits."""
        return Lfq(self, dim)


class Lfq(Binary):
    """Signs of latents of any grid, as ±1."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim, value=1.0)
        self.config = config

    def scaled(self, rows: Tensor) -> Tensor:
        """Leave the latents as they are."""
        return rows

"""Binary spherical quantization: latents on the unit sphere, each to the nearest corner of a cube.

Zhao et al. 2024, "Image and Video Tokenization with Binary Spherical Quantization" (2406.07548),
section 3.2: latents are made unit vectors and their signs, over √d, are the values. What differs
from the paper: the entropy of use is taken of groups of bits, as in its code, where the paper has
single bits (section 3.3); ``group=1`` restores that.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from vqtok.quantizers._bits import Binary, Settings


@dataclass(frozen=True)
class Config(Settings):
    """Settings of a code of signs on the sphere: the fields of ``_bits.Settings``.

    Attributes:
        entropy: The default is meant for a mean squared error of signals in [-1, 1].
        commitment: Distances on the sphere are bounded, so none is needed.
    """

    bits: int = 18
    entropy: float = 0.01
    diversity: float = 1.0
    temperature: float = 0.1
    group: int = 9
    commitment: float = 0.0

    def build(self, *, dim: int) -> Bsq:
        """Make the quantizer of (B, dim, *grid) latents; linear maps if dim is not bits."""
        return Bsq(self, dim)


class Bsq(Binary):
    """Signs of latents of any grid, as ±1/√d."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim, value=config.bits**-0.5)
        self.config = config

    def scaled(self, rows: Tensor) -> Tensor:
        """Give the latents unit length."""
        return F.normalize(rows, dim=1)

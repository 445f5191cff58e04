"""Do not quantize at all: a plain autoencoder, to compare every other method with.

Its reconstructions are an upper bound for a network of the same size. Its latents have no measure
of information, so there is no rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vqtok.protocols import Quantized
from vqtok.quantizers._codeless import Codeless, no_codes


@dataclass(frozen=True)
class Config:
    """No settings."""

    def build(self, *, dim: int) -> Identity:
        """Make the quantizer of (B, dim, *grid) latents."""
        return Identity(self)


class Identity(Codeless):
    """Latents pass as they are."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, z: Tensor) -> Quantized:
        """Pass (B, D, *grid) latents, as float32."""
        out = z.float()
        return Quantized(out, no_codes(z), out.new_zeros(()))

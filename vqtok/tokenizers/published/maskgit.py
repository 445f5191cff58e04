"""The VQGAN of MaskGIT (Chang et al. 2022, arXiv:2202.04200), for its published weights.

Pixels are in [0, 1] inside. GroupNorm sees the whole picture: no exact tiling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vqtok.codes.spec import CodeSpec
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published._lookup import Table
from vqtok.tokenizers.published._maskgit import GROUPS, Decoder, Encoder
from vqtok.tokenizers.published._whole import WholeImages, one_grid


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        widths: Channels per level, fine to coarse; each level but the first halves the size.
        blocks: Residual blocks per level.
        dim: D, dimension of the entries.
        codebook_size: K.
        channels: Of the pictures.
    """

    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    blocks: int = 2
    dim: int = 256
    codebook_size: int = 1024
    channels: int = 3

    def __post_init__(self) -> None:
        if not self.widths or any(each % GROUPS or each < 1 for each in self.widths):
            raise ValueError(f"widths must be multiples of {GROUPS}")
        if min(self.blocks, self.dim, self.codebook_size, self.channels) < 1:
            raise ValueError("all sizes must be positive")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        return one_grid(self.codebook_size, 2 ** (len(self.widths) - 1))

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return MaskGIT(self)


class MaskGIT(WholeImages):
    """Images ⇄ one grid of codes."""

    decoding_parts = ("decoder",)

    def __init__(self, config: Config) -> None:
        super().__init__(config, multiple=config.spec.levels[0].stride[0], channels=config.channels)
        blocks, latent, channels = config.blocks, config.dim, config.channels
        self.encoder = Encoder(config.widths, blocks=blocks, latent=latent, channels=channels)
        self.decoder = Decoder(config.widths, blocks=blocks, latent=latent, channels=channels)
        self.quantize = Table(config.codebook_size, config.dim)

    def _analyse(self, x: Tensor) -> Tensor:
        z: Tensor = self.encoder((x + 1) / 2)
        return z

    def _paint(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.decoder(z_q) * 2 - 1
        return x

"""VQGAN and its kin (Esser et al. 2021, arXiv:2012.09841), for weights that were trained elsewhere.

One network, many names: taming-transformers and latent diffusion (2112.10752), its Gumbel variant,
``VQModel`` of diffusers, LlamaGen (2406.06525: codes by direction) and IBQ (2412.02692: codes by
the largest product). GroupNorm and attention see the whole picture, so it goes through whole: no
exact tiling, and large pictures take memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.nn.residual import group_norm
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published._lookup import Scores, Table
from vqtok.tokenizers.published._taming import Decoder, Encoder, Sizes
from vqtok.tokenizers.published._whole import WholeImages, one_grid


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        widths: Channels per level, fine to coarse; each level but the first halves the size.
        stem: Channels before the first level.
        blocks: Residual blocks per level of the encoder.
        decoder_blocks: The same of the decoder; 0: there is none, and the model encodes only.
        attention: Levels with attention in the encoder, 0 being the finest.
        decoder_attention: The same in the decoder.
        middle_attention: Whether there is attention in the middle of both.
        latent: Channels that the encoder gives.
        decoder_latent: Channels that the decoder takes.
        dim: D, dimension of the entries.
        codebook_size: K.
        lookup: "nearest" entry, nearest direction ("cosine"), nearest entry of which the decoder is
            given the direction ("unit"), largest product ("dot"), or largest learned score
            ("scores").
        channels: Of the pictures.
        groups: Of the norms; every width is a multiple of it.
    """

    widths: tuple[int, ...]
    stem: int
    blocks: int
    decoder_blocks: int
    attention: tuple[int, ...]
    decoder_attention: tuple[int, ...]
    latent: int
    decoder_latent: int
    dim: int
    codebook_size: int
    lookup: Literal["nearest", "cosine", "unit", "dot", "scores"] = "nearest"
    middle_attention: bool = True
    channels: int = 3
    groups: int = 32

    def __post_init__(self) -> None:
        if self.groups < 1 or not self.widths:
            raise ValueError("groups must be positive and widths not empty")
        if any(each % self.groups or each < 1 for each in (self.stem, *self.widths)):
            raise ValueError(f"stem and widths must be multiples of {self.groups}")
        if min(self.blocks, self.dim, self.codebook_size) < 1 or self.decoder_blocks < 0:
            raise ValueError("blocks, dim and codebook_size must be positive")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        return one_grid(self.codebook_size, 2 ** (len(self.widths) - 1))

    @property
    def decodes(self) -> bool:
        """Whether there is a decoder."""
        return self.decoder_blocks > 0

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return VQGAN(self)


class VQGAN(WholeImages):
    """Images ⇄ one grid of codes."""

    decoding_parts: tuple[str, ...] = ("decoder", "post_quant_conv")

    def __init__(self, config: Config) -> None:
        super().__init__(config, multiple=config.spec.levels[0].stride[0], channels=config.channels)
        sizes = Sizes(
            config.widths,
            stem=config.stem,
            blocks=config.blocks,
            attention=config.attention,
            middle=config.middle_attention,
            channels=config.channels,
            latent=config.latent,
            norm=partial(group_norm, groups=config.groups),
        )
        self.encoder = Encoder(sizes)
        back = replace(
            sizes,
            blocks=config.decoder_blocks,
            attention=config.decoder_attention,
            latent=config.decoder_latent,
        )
        if config.decodes:
            self.decoder = self._decoding(back, config.dim)
            self.post_quant_conv = nn.Conv2d(config.dim, config.decoder_latent, 1)
        self.quant_conv = nn.Conv2d(config.latent, config.dim, 1)
        if config.lookup == "scores":
            self.quantize = Scores(config.codebook_size, config.dim, config.dim)
        else:
            self.quantize = Table(config.codebook_size, config.dim, config.lookup)

    def _decoding(self, sizes: Sizes, dim: int) -> nn.Module:
        """Make the decoder; ``dim`` is that of the entries."""
        return Decoder(sizes)

    def _analyse(self, x: Tensor) -> Tensor:
        z: Tensor = self.quant_conv(self.encoder(x))
        return z

    def _paint(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.decoder(self.post_quant_conv(z_q))
        return x

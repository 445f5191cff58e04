"""Discrete image tokenizers of Cosmos (NVIDIA 2025, arXiv:2501.03575), for their published weights.

A Haar transform makes small pictures with many channels, VQGAN's network codes those, and latents
are rounded to a few levels per number (FSQ, Mentzer et al. 2023, 2309.15505). GroupNorm and
attention see the whole picture: no exact tiling.

Pictures are padded with black on all sides, as upstream does; but to whole strides, where upstream
pads to multiples of 16 pixels: of some pictures its codes of stride 8 have a row or column more.
Upstream computes in bfloat16, here all is float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.nn.residual import GROUPS
from vqtok.protocols import Halves, Tokenizer
from vqtok.quantizers import fsq
from vqtok.tokenizers.published._taming import Decoder, Encoder, Sizes
from vqtok.tokenizers.published._whole import WholeImages, one_grid

BLACK = -1.0


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        widths: Channels per level, fine to coarse.
        stem: Channels before the first level.
        blocks: Residual blocks per level of the encoder; the decoder has one more.
        halvings: Levels that are followed by a step to half the size: the first so many.
        attention: Levels with attention in the encoder, 0 being the finest.
        decoder_attention: The same in the decoder.
        patch: The Haar transform makes one position of so many squared: 2, 4, ….
        latent: Channels of encoder and decoder around the quantizer.
        levels: Of each number; K is their product, and the first changes fastest in a code.
        channels: Of the pictures.
    """

    widths: tuple[int, ...] = (256, 512, 512)
    stem: int = 128
    blocks: int = 2
    halvings: int = 2
    attention: tuple[int, ...] = ()
    decoder_attention: tuple[int, ...] = ()
    patch: int = 4
    latent: int = 256
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)
    channels: int = 3

    def __post_init__(self) -> None:
        if not self.widths or any(each % GROUPS or each < 1 for each in (self.stem, *self.widths)):
            raise ValueError(f"stem and widths must be multiples of {GROUPS}")
        if min(self.blocks, self.latent, self.channels) < 1:
            raise ValueError("blocks, latent and channels must be positive")
        if not 0 <= self.halvings <= len(self.widths):
            raise ValueError(f"halvings: {self.halvings} is not 0 to {len(self.widths)}")
        if self.patch < 1 or self.patch & (self.patch - 1):
            raise ValueError(f"patch: {self.patch} is not a power of two")
        fsq.Config(self.levels)  # which says what is wrong with them

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        return one_grid(math.prod(self.levels), self.patch * 2**self.halvings)

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return Cosmos(self)


class _Haar(nn.Module):
    """Pairs of rows and columns as their sums and differences, ``times`` over on all channels."""

    wavelets: Tensor

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        # Stored, as archives in bfloat16 hold a rounded one, which upstream computes with.
        self.register_buffer("wavelets", torch.full((2,), math.sqrt(0.5)))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) → (B, C·4^times, H/2^times, W/2^times)."""
        for _ in range(self.times):
            columns = self._split(x, 3)
            x = torch.cat([part for each in columns for part in self._split(each, 2)], dim=1) / 2
        return x

    def back(self, x: Tensor) -> Tensor:
        """Maps (B, C·4^times, h, w) → (B, C, h·2^times, w·2^times)."""
        for _ in range(self.times):
            low, low_high, high, high_high = x.chunk(4, dim=1)
            columns = self._joined(low, low_high, 2), self._joined(high, high_high, 2)
            x = self._joined(*columns, 3) * 2
        return x

    def _split(self, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        first, second = torch.unflatten(x, dim, (-1, 2)).unbind(dim + 1)
        a, b = self.wavelets
        return b * first + a * second, a * first - b * second

    def _joined(self, low: Tensor, high: Tensor, dim: int) -> Tensor:
        a, b = self.wavelets
        pair = torch.stack((b * low + a * high, a * low - b * high), dim=dim + 1)
        return pair.flatten(dim, dim + 1)


class Cosmos(WholeImages):
    """Images ⇄ one grid of codes."""

    decoding_parts = ("decoder", "post_quant_conv")

    def __init__(self, config: Config) -> None:
        super().__init__(
            config, multiple=config.patch * 2**config.halvings, channels=config.channels
        )
        sizes = Sizes(
            config.widths,
            stem=config.stem,
            blocks=config.blocks,
            attention=config.attention,
            middle=True,
            channels=config.channels * config.patch**2,
            latent=config.latent,
            halvings=config.halvings,
        )
        self.patcher = _Haar(config.patch.bit_length() - 1)
        self.unpatcher = _Haar(config.patch.bit_length() - 1)
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(
            replace(sizes, blocks=config.blocks + 1, attention=config.decoder_attention)
        )
        self.quant_conv = nn.Conv2d(config.latent, len(config.levels), 1)
        self.quantizer = fsq.Config(config.levels, diversity=0.0).build(dim=len(config.levels))
        self.post_quant_conv = nn.Conv2d(len(config.levels), config.latent, 1)

    def halves(self) -> Halves:
        """Give the networks, to be traced."""
        return super().halves()._replace(fill="black")

    def _entering(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (self._margins(size) for size in x.shape[-2:])
        return F.pad(x, (left, right, top, bottom), value=BLACK)

    def _leaving(self, x: Tensor, extent: tuple[int, ...]) -> Tensor:
        (top, _), (left, _) = (self._margins(size) for size in extent)
        return x[..., top : top + extent[0], left : left + extent[1]].float()

    def _margins(self, size: int) -> tuple[int, int]:
        """Pixels before and behind a side that is not a multiple of the stride."""
        missing = -size % self._multiple
        return missing // 2, missing - missing // 2

    def _analyse(self, x: Tensor) -> Tensor:
        z: Tensor = self.quant_conv(self.encoder(self.patcher(x)))
        return z

    def _assign(self, z: Tensor) -> tuple[Tensor, ...]:
        return (self.quantizer.assign(z, tolerance=0.0).codes,)

    def _look_up(self, levels: tuple[Tensor, ...]) -> Tensor:
        return self.quantizer.decode(levels[0])

    def _paint(self, z_q: Tensor) -> Tensor:
        return self.unpatcher.back(self.decoder(self.post_quant_conv(z_q)))

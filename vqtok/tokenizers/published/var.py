"""The multi-scale VQ-VAE of VAR (Tian et al. 2024, arXiv:2404.02905), for its published weights.

The latent grid is coded as a sum: what is left of it is shrunk to 1x1, looked up, enlarged,
convolved and taken away, then 2x2, and so on up to the whole grid. The scales are those of pictures
of one size, so every picture is brought to that size, and back on decode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published._lookup import Table
from vqtok.tokenizers.published._taming import Decoder, Encoder, Sizes
from vqtok.tokenizers.published._whole import ResizedImages

SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
RATIO = 0.5
"""Of the convolution in what is taken away; the rest is the entry as it is."""


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        widths: Channels per level, fine to coarse; each level but the first halves the size.
        stem: Channels before the first level.
        blocks: Residual blocks per level of the encoder; the decoder has one more.
        dim: D, dimension of the entries.
        codebook_size: K, of all scales together.
        scales: Positions per side of each scale, coarse to fine.
        convolutions: How many the scales share.
        kernel: Side of the convolutions around the codes.
        channels: Of the pictures.
    """

    widths: tuple[int, ...] = (160, 160, 320, 320, 640)
    stem: int = 160
    blocks: int = 2
    dim: int = 32
    codebook_size: int = 4096
    scales: tuple[int, ...] = SCALES
    convolutions: int = 4
    kernel: int = 3
    channels: int = 3

    def __post_init__(self) -> None:
        if not self.widths or any(each % 32 or each < 1 for each in (self.stem, *self.widths)):
            raise ValueError("stem and widths must be multiples of 32")
        if len(self.scales) < 2 or list(self.scales) != sorted(set(self.scales)):
            raise ValueError("scales must grow, and be two at least")
        least = min(self.blocks, self.dim, self.codebook_size, self.convolutions, self.scales[0])
        if least < 1 or self.kernel % 2 == 0:
            raise ValueError("all sizes must be positive, and kernel odd")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        levels = (
            LevelSpec(f"scale{index}", ("n",), self.codebook_size, (), depth=side * side)
            for index, side in enumerate(self.scales)
        )
        return CodeSpec(modality="image", levels=tuple(levels))

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return VAR(self)


class VAR(ResizedImages):
    """Images ⇄ one sequence of codes per scale, rows from top to bottom."""

    decoding_parts = ("decoder", "post_quant_conv")

    def __init__(self, config: Config) -> None:
        size = config.scales[-1] * 2 ** (len(config.widths) - 1)
        super().__init__(config, side=size, channels=config.channels)
        self.scales = config.scales
        last = (len(config.widths) - 1,)
        sizes = Sizes(
            config.widths, config.stem, config.blocks, last, True, config.channels, config.dim
        )
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(replace(sizes, blocks=config.blocks + 1))
        d, kernel = config.dim, config.kernel
        self.quant_conv = nn.Conv2d(d, d, kernel, padding=kernel // 2)
        self.post_quant_conv = nn.Conv2d(d, d, kernel, padding=kernel // 2)
        self.quantize = Table(config.codebook_size, d)
        self.shared = nn.ModuleList(
            nn.Conv2d(d, d, 3, padding=1) for _ in range(config.convolutions)
        )

    def _analyse(self, x: Tensor) -> Tensor:
        z: Tensor = self.quant_conv(self.encoder(x))
        return z

    def _assign(self, z: Tensor) -> tuple[Tensor, ...]:
        rest, levels = z.float(), []
        for index, side in enumerate(self.scales):
            seen = _shrunk(rest, side)
            codes = self.quantize.assign(rest if side == self.scales[-1] else seen)
            levels.append(codes.flatten(1))
            rest = rest - self._part(index, codes.flatten(1))
        return tuple(levels)

    def _look_up(self, levels: tuple[Tensor, ...]) -> Tensor:
        total = torch.zeros((), device=self._device())
        for index, codes in enumerate(levels):
            total = total + self._part(index, codes)
        return total

    def _paint(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.decoder(self.post_quant_conv(z_q))
        return x

    def _part(self, index: int, codes: Tensor) -> Tensor:
        """Returns what the codes of one scale, (B, n), add to the latents: (B, D, h, w)."""
        side, full = self.scales[index], self.scales[-1]
        entries = self.quantize.decode(codes.reshape(-1, side, side))
        if side != full:
            entries = F.interpolate(entries, size=(full, full), mode="bicubic")
        position = index / (len(self.scales) - 1)
        convolution = cast(nn.Conv2d, self.shared[_nearest_tick(position, len(self.shared))])
        out: Tensor = entries * (1 - RATIO) + convolution(entries) * RATIO
        return out


def _shrunk(x: Tensor, side: int) -> Tensor:
    """Means of (B, D, h, w) over windows that may overlap: (B, D, side, side)."""
    if not torch.onnx.is_in_onnx_export():
        return F.interpolate(x, size=(side, side), mode="area")
    # ONNX has no such windows: each side is multiplied by the matrix of its means.
    full = int(x.shape[-1])
    means = F.adaptive_avg_pool1d(torch.eye(full), side)  # (full, side)
    return means.T @ x @ means


def _nearest_tick(position: float, count: int) -> int:
    """Returns which of the shared convolutions a scale takes, by its position between 0 and 1.

    The ticks are evenly spaced from 1/(2·count), but with four of them, as published, from
    1/(3·count). Of ten scales two lie exactly between two ticks: rounding decides, so this must be
    numpy's, as it was in training.
    """
    first = 1 / (3 if count == 4 else 2) / count
    ticks = np.linspace(first, 1 - first, count)
    return int(np.argmin(np.abs(ticks - position)))

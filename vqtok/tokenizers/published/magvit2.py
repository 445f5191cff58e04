"""Open-MAGVIT2 (Luo et al. 2024, arXiv:2409.04410), for its published weights.

A code is the signs of D numbers, the first of them the lowest bit: no codebook to look up. The
decoder's norms are conditioned on mean and spread of all codes, so it sees the whole picture, as
does GroupNorm: no exact tiling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.nn.residual import EPS, GROUPS, ResBlock
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published._taming import Downward, Level
from vqtok.tokenizers.published._whole import WholeImages, one_grid


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        widths: Channels per level, fine to coarse; each level but the first halves the size.
        stem: Channels before the first level.
        blocks: Residual blocks per level.
        bits: D; K is 2^D.
        channels: Of the pictures.
    """

    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    stem: int = 128
    blocks: int = 4
    bits: int = 18
    channels: int = 3

    def __post_init__(self) -> None:
        if not self.widths or any(each % GROUPS or each < 1 for each in (self.stem, *self.widths)):
            raise ValueError(f"stem and widths must be multiples of {GROUPS}")
        if min(self.blocks, self.channels) < 1 or not 1 <= self.bits <= 31:
            raise ValueError("blocks and channels must be positive, bits 1 to 31")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        return one_grid(2**self.bits, 2 ** (len(self.widths) - 1))

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return Magvit2(self)


def _blocks(inside: int, out: int, count: int) -> list[ResBlock]:
    return [ResBlock(out if i else inside, out, bias=False) for i in range(count)]


class _Double(nn.Module):
    """Twice the size: each position's channels become those of four, row by row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x).unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)
        return F.pixel_shuffle(h, 2)


class _Adaptive(nn.Module):
    """GroupNorm whose scale and shift come of the spread and mean of the codes."""

    def __init__(self, bits: int, width: int) -> None:
        super().__init__()
        self.gn = nn.GroupNorm(GROUPS, width, eps=EPS, affine=False)
        self.gamma = nn.Linear(bits, width)
        self.beta = nn.Linear(bits, width)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        flat = style.flatten(2)
        # One position alone has no spread; upstream divides zero by zero there.
        spread = flat.var(dim=-1) if flat.shape[-1] > 1 else torch.zeros_like(flat[..., 0])
        scale = self.gamma((spread + EPS).sqrt())[:, :, None, None]
        shift = self.beta(flat.mean(dim=-1))[:, :, None, None]
        out: Tensor = scale * self.gn(x) + shift
        return out


class _Encoder(Downward):
    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, blocks = config.widths, config.blocks
        self.conv_in = nn.Conv2d(config.channels, config.stem, 3, padding=1, bias=False)
        self.down = nn.ModuleList()
        for index, width in enumerate(widths):
            level = Level(*_blocks(widths[index - 1] if index else config.stem, width, blocks))
            if index < len(widths) - 1:
                level.downsample = nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.down.append(level)
        self.mid_block = nn.Sequential(*_blocks(widths[-1], widths[-1], blocks))
        self.norm_out = nn.GroupNorm(GROUPS, widths[-1], eps=EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.bits, 1)

    @property
    def middle(self) -> nn.Module:
        return self.mid_block


class _Decoder(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, blocks = config.widths, config.blocks
        self.conv_in = nn.Conv2d(config.bits, widths[-1], 3, padding=1)
        self.mid_block = nn.Sequential(*_blocks(widths[-1], widths[-1], blocks))
        inner = [*widths[1:], widths[-1]]
        self.adaptive = nn.ModuleList(_Adaptive(config.bits, width) for width in inner)
        self.up = nn.ModuleList()
        for index, width in enumerate(widths):
            level = Level(*_blocks(inner[index], width, blocks))
            if index > 0:
                level.upsample = _Double(width)
            self.up.append(level)
        self.norm_out = nn.GroupNorm(GROUPS, widths[0], eps=EPS)
        self.conv_out = nn.Conv2d(widths[0], config.channels, 3, padding=1)

    def forward(self, z_q: Tensor) -> Tensor:
        h = self.mid_block(self.conv_in(z_q))
        pairs = zip(cast("list[Level]", self.up), self.adaptive, strict=True)
        for level, adaptive in reversed(list(pairs)):
            h = level(adaptive(h, z_q))
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


class Magvit2(WholeImages):
    """Images ⇄ one grid of codes."""

    decoding_parts = ("decoder",)

    def __init__(self, config: Config) -> None:
        super().__init__(config, multiple=config.spec.levels[0].stride[0], channels=config.channels)
        self.bits = config.bits
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)

    def _assign(self, z: Tensor) -> tuple[Tensor, ...]:
        return (((z > 0).long() * self._worth(z.device)).sum(dim=1),)

    def _look_up(self, levels: tuple[Tensor, ...]) -> Tensor:
        return (levels[0][:, None] // self._worth(levels[0].device) % 2).float() * 2 - 1

    def _worth(self, device: torch.device) -> Tensor:
        """Give what each bit adds to a code: (bits, 1, 1)."""
        return 2 ** torch.arange(self.bits, device=device)[:, None, None]

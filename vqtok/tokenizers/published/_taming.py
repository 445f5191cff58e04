"""The encoder and decoder of VQGAN (Esser et al. 2021, 2012.09841), under their published names.

Latent diffusion, LlamaGen, VAR, IBQ and others have the same network with other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.residual import AttnBlock, Downsample, Norm, ResBlock, Upsample, group_norm


@dataclass(frozen=True)
class Sizes:
    """Of one side of the network.

    Attributes:
        widths: Channels per level, fine to coarse.
        stem: Channels of the finest level before its first block.
        blocks: Residual blocks per level.
        attention: Levels with attention after each block, 0 being the finest.
        middle: Whether there is attention in the middle.
        channels: Of the pictures.
        latent: Channels between encoder and decoder.
        norm: Of all blocks.
        halvings: How many of the levels are followed by a step to half the size: the finest of the
            encoder, the coarsest of the decoder; None: all but the last.
    """

    widths: Sequence[int]
    stem: int
    blocks: int
    attention: Sequence[int]
    middle: bool
    channels: int
    latent: int
    norm: Norm = group_norm
    halvings: int | None = None

    @property
    def steps(self) -> int:
        """Steps to half the size, and back."""
        return len(self.widths) - 1 if self.halvings is None else self.halvings


class _Level(nn.Module):
    """Blocks of one size, and the step to the next."""

    downsample: Downsample
    upsample: Upsample

    def __init__(self, inside: int, out: int, sizes: Sizes, index: int, blocks: int) -> None:
        super().__init__()
        widths = [inside] + [out] * blocks
        self.block = nn.ModuleList(ResBlock(a, out, norm=sizes.norm) for a in widths[:-1])
        attends = index in sizes.attention
        self.attn = nn.ModuleList(
            AttnBlock(out, norm=sizes.norm) for _ in range(blocks if attends else 0)
        )

    def forward(self, h: Tensor, *given: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            h = block(h, *given)
            if len(self.attn):
                h = self.attn[index](h, *given)
        return h


class _Middle(nn.Module):
    def __init__(self, channels: int, sizes: Sizes) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels, norm=sizes.norm)
        if sizes.middle:
            self.attn_1 = AttnBlock(channels, norm=sizes.norm)
        self.block_2 = ResBlock(channels, channels, norm=sizes.norm)

    def forward(self, h: Tensor, *given: Tensor) -> Tensor:
        h = self.block_1(h, *given)
        if hasattr(self, "attn_1"):
            h = self.attn_1(h, *given)
        out: Tensor = self.block_2(h, *given)
        return out


class Level(nn.Module):
    """Blocks of one size under the published name, and perhaps a step to the next."""

    downsample: nn.Module
    upsample: nn.Module

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*blocks)

    def forward(self, h: Tensor) -> Tensor:
        """Compute the blocks."""
        out: Tensor = self.block(h)
        return out


class Downward(nn.Module):
    """What encoders have in common: levels, a step behind each that has one, a middle."""

    conv_in: nn.Module
    down: nn.ModuleList
    norm_out: nn.Module
    conv_out: nn.Module

    @property
    def middle(self) -> nn.Module:
        """Layers behind the last level."""
        return self.get_submodule("mid")

    def forward(self, x: Tensor) -> Tensor:
        """Compute the latents."""
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
            if hasattr(level, "downsample"):
                h = cast(nn.Module, level.downsample)(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.middle(h))))
        return out


class Encoder(Downward):
    """(B, channels, H, W) → (B, latent, H/2^steps, W/2^steps)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(sizes.channels, sizes.stem, 3, padding=1)
        self.down = nn.ModuleList()
        inside = sizes.stem
        for index, width in enumerate(sizes.widths):
            level = _Level(inside, width, sizes, index, sizes.blocks)
            if index < sizes.steps:
                level.downsample = Downsample(width)
            self.down.append(level)
            inside = width
        self.mid = _Middle(inside, sizes)
        self.norm_out = sizes.norm(inside)
        self.conv_out = nn.Conv2d(inside, sizes.latent, 3, padding=1)


class Decoder(nn.Module):
    """(B, latent, h, w) → (B, channels, h·2^steps, w·2^steps)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        inside = sizes.widths[-1]
        self.conv_in = nn.Conv2d(sizes.latent, inside, 3, padding=1)
        self.mid = _Middle(inside, sizes)
        levels: list[nn.Module] = []
        for index in reversed(range(len(sizes.widths))):
            width = sizes.widths[index]
            level = _Level(inside, width, sizes, index, sizes.blocks)
            if index >= len(sizes.widths) - sizes.steps:
                level.upsample = Upsample(width)
            levels.insert(0, level)  # the published index counts from the finest
            inside = width
        self.up = nn.ModuleList(levels)
        self.norm_out = sizes.norm(inside)
        self.conv_out = nn.Conv2d(inside, sizes.channels, 3, padding=1)

    def forward(self, z: Tensor, *given: Tensor) -> Tensor:
        """Compute the picture; ``given`` goes to the norms."""
        h = self.mid(self.conv_in(z), *given)
        for level in reversed(cast("list[_Level]", self.up)):
            h = level(h, *given)
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h, *given)))
        return out

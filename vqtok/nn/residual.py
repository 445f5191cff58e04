"""Residual and attention blocks with GroupNorm, as VQGANs and latent diffusion have them.

Ho et al. 2020 (2006.11239) by way of Esser et al. 2021 (2012.09841). GroupNorm and attention see
the whole picture: what is made of these is not local. Names of submodules are the published ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32
EPS = 1e-6

Norm = Callable[[int], nn.Module]
"""Width → a norm of (B, width, H, W); blocks hand it what they are given beside their input."""


def group_norm(width: int, groups: int = GROUPS) -> nn.Module:
    """Make the usual norm, of 32 groups."""
    return nn.GroupNorm(groups, width, eps=EPS)


class ResBlock(nn.Module):
    """Norm, SiLU, 3x3, twice, beside a shortcut: (B, inside, H, W) → (B, out, H, W)."""

    def __init__(
        self, inside: int, out: int, *, norm: Norm = group_norm, bias: bool = True
    ) -> None:
        super().__init__()
        self.norm1 = norm(inside)
        self.conv1 = nn.Conv2d(inside, out, 3, padding=1, bias=bias)
        self.norm2 = norm(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=bias)
        if inside != out:
            self.nin_shortcut = nn.Conv2d(inside, out, 1, bias=bias)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        """Compute the block; ``given`` goes to the norms."""
        h = self.conv1(F.silu(self.norm1(x, *given)))
        h = self.conv2(F.silu(self.norm2(h, *given)))
        shortcut = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        out: Tensor = shortcut + h
        return out


class AttnBlock(nn.Module):
    """Attention of one head between all positions: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, *, norm: Norm = group_norm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        """Compute the block; ``given`` goes to the norm."""
        h = self.norm(x, *given)
        q, k, v = (each(h).flatten(2).transpose(1, 2)[:, None] for each in (self.q, self.k, self.v))
        # Never the whole matrix of positions by positions, which large pictures cannot afford.
        seen = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)  # (B, C, H·W)
        out: Tensor = self.proj_out(seen.reshape(x.shape))
        return x + out


class Downsample(nn.Module):
    """Half the size, by a 3x3 convolution of stride 2 that is padded below and right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) → (B, C, H/2, W/2)."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Twice the size: every position four times, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) → (B, C, 2H, 2W)."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out

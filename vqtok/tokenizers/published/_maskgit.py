"""The networks of MaskGIT's VQGAN (Chang et al. 2022, 2202.04200), under their published names.

VQGAN's without attention and mostly without biases. A block that changes the width adds to what it
computed a projection of the same, not of what came in: so it is in the published code, and so the
weights were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.tokenizers.published._taming import Downward, Level

GROUPS = 32
EPS = 1e-6


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width, eps=EPS)


class _Block(nn.Module):
    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.norm1 = _norm(inside)
        self.conv1 = nn.Conv2d(inside, out, 3, padding=1, bias=False)
        self.norm2 = _norm(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        if inside != out:
            self.nin_shortcut = nn.Conv2d(out, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = h + (self.nin_shortcut(h) if hasattr(self, "nin_shortcut") else x)
        return out


def _level(inside: int, out: int, blocks: int) -> Level:
    return Level(*(_Block(out if i else inside, out) for i in range(blocks)))


class Encoder(Downward):
    """(B, C, H, W) → (B, latent, H/2^(levels-1), W/2^(levels-1))."""

    def __init__(self, widths: Sequence[int], *, blocks: int, latent: int, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        inner = [widths[0], *widths]
        self.down = nn.ModuleList(
            _level(a, b, blocks) for a, b in zip(inner[:-1], widths, strict=True)
        )
        for level in list(self.down)[:-1]:
            cast(Level, level).downsample = nn.AvgPool2d(2)
        self.mid = nn.Sequential(*(_Block(widths[-1], widths[-1]) for _ in range(blocks)))
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent, 1)


class Decoder(nn.Module):
    """(B, latent, h, w) → (B, C, h·2^(levels-1), w·2^(levels-1))."""

    def __init__(self, widths: Sequence[int], *, blocks: int, latent: int, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.mid = nn.Sequential(*(_Block(widths[-1], widths[-1]) for _ in range(blocks)))
        inner = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(_level(a, b, blocks) for a, b in zip(inner, widths, strict=True))
        for level, width in zip(list(self.up)[1:], widths[1:], strict=True):
            level.upsample_conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Compute the picture."""
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
            if hasattr(level, "upsample_conv"):
                h = cast(nn.Module, level.upsample_conv)(
                    F.interpolate(h, scale_factor=2.0, mode="nearest")
                )
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out

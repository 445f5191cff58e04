"""The decoder of MoVQ (Zheng et al. 2022, 2209.09002): its norms take the quantized map."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.residual import EPS, GROUPS, Upsample
from vqtok.tokenizers.published._taming import Sizes


class _Norm(nn.Module):
    """GroupNorm, whose scale and shift at each position come of the entry that lies there."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.norm_layer = nn.GroupNorm(GROUPS, width, eps=EPS)
        self.conv_y = nn.Conv2d(dim, width, 1)
        self.conv_b = nn.Conv2d(dim, width, 1)

    def forward(self, x: Tensor, z_q: Tensor) -> Tensor:
        seen = F.interpolate(z_q, size=x.shape[-2:], mode="nearest")
        out: Tensor = self.norm_layer(x) * self.conv_y(seen) + self.conv_b(seen)
        return out


class _Block(nn.Module):
    def __init__(self, inside: int, out: int, dim: int) -> None:
        super().__init__()
        self.norm1 = _Norm(inside, dim)
        self.conv1 = nn.Conv2d(inside, out, 3, padding=1)
        self.norm2 = _Norm(out, dim)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        if inside != out:
            self.nin_shortcut = nn.Conv2d(inside, out, 1)

    def forward(self, x: Tensor, z_q: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, z_q)))
        h = self.conv2(F.silu(self.norm2(h, z_q)))
        out: Tensor = h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)
        return out


class _Attention(nn.Module):
    """Of one head, between all positions."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.norm = _Norm(width, dim)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, z_q: Tensor) -> Tensor:
        h = self.norm(x, z_q)
        q, k, v = (each(h).flatten(2).mT[:, None] for each in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(q, k, v)[:, 0].mT  # (B, C, H·W)
        out: Tensor = self.proj_out(seen.reshape(x.shape))
        return x + out


class _Level(nn.Module):
    upsample: Upsample

    def __init__(self, inside: int, out: int, *, blocks: int, attends: bool, dim: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(_Block(out if i else inside, out, dim) for i in range(blocks))
        self.attn = nn.ModuleList(_Attention(out, dim) for _ in range(blocks if attends else 0))

    def forward(self, h: Tensor, z_q: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            h = block(h, z_q)
            if len(self.attn):
                h = self.attn[index](h, z_q)
        return self.upsample(h) if hasattr(self, "upsample") else h


class _Middle(nn.Module):
    def __init__(self, width: int, dim: int, *, attends: bool) -> None:
        super().__init__()
        self.block_1 = _Block(width, width, dim)
        if attends:
            self.attn_1 = _Attention(width, dim)
        self.block_2 = _Block(width, width, dim)

    def forward(self, h: Tensor, z_q: Tensor) -> Tensor:
        h = self.block_1(h, z_q)
        if hasattr(self, "attn_1"):
            h = self.attn_1(h, z_q)
        out: Tensor = self.block_2(h, z_q)
        return out


class Decoder(nn.Module):
    """(B, latent, h, w) and entries (B, dim, h, w) → (B, channels, H, W)."""

    def __init__(self, sizes: Sizes, dim: int) -> None:
        super().__init__()
        inside = sizes.widths[-1]
        self.conv_in = nn.Conv2d(sizes.latent, inside, 3, padding=1)
        self.mid = _Middle(inside, dim, attends=sizes.middle)
        levels: list[nn.Module] = []
        for index, width in reversed(list(enumerate(sizes.widths))):
            attends = index in sizes.attention
            level = _Level(inside, width, blocks=sizes.blocks, attends=attends, dim=dim)
            if index > 0:
                level.upsample = Upsample(width)
            levels.insert(0, level)
            inside = width
        self.up = nn.ModuleList(levels)
        self.norm_out = _Norm(inside, dim)
        self.conv_out = nn.Conv2d(inside, sizes.channels, 3, padding=1)

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """Compute the picture."""
        h = self.mid(self.conv_in(z), z_q)
        for level in reversed(cast("list[_Level]", self.up)):
            h = level(h, z_q)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h, z_q)))
        return out

"""Layers of SNAC, with the published names of their weights and norms of weights folded in."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Snake(nn.Module):
    """x + sin²(αx) / α (2006.08195), one α per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T) → (B, C, T)."""
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)


class Residual(nn.Module):
    """A dilated convolution and a pointwise one beside the identity."""

    def __init__(self, dim: int, *, dilation: int, groups: int) -> None:
        super().__init__()
        window = nn.Conv1d(dim, dim, 7, dilation=dilation, padding=3 * dilation, groups=groups)
        self.block = nn.Sequential(Snake(dim), window, Snake(dim), nn.Conv1d(dim, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T) → (B, C, T)."""
        return x + self.block(x)  # type: ignore[no-any-return]


class Down(nn.Module):
    """Three residual units, then a stride that doubles the channels."""

    def __init__(self, dim: int, stride: int, *, depthwise: bool) -> None:
        super().__init__()
        groups = dim if depthwise else 1
        units = [Residual(dim, dilation=d, groups=groups) for d in (1, 3, 9)]
        padding = math.ceil(stride / 2)
        conv = nn.Conv1d(dim, 2 * dim, 2 * stride, stride=stride, padding=padding)
        self.block = nn.Sequential(*units, Snake(dim), conv)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T) → (B, 2C, T / stride)."""
        return self.block(x)  # type: ignore[no-any-return]


class Noise(nn.Module):
    """Adds noise, as loud as the signal tells; drawn from torch's current generator."""

    given: Tensor | None = None
    """Noise that is taken instead, (B, 1, T)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T) → (B, C, T)."""
        noise = self.given
        if noise is None:
            noise = torch.randn((x.shape[0], 1, x.shape[2]), device=x.device, dtype=x.dtype)
        return x + noise * self.linear(x)  # type: ignore[no-any-return]


class Up(nn.Module):
    """A transposed stride that halves the channels, perhaps noise, three residual units."""

    def __init__(self, dim: int, stride: int, *, noise: bool, depthwise: bool) -> None:
        super().__init__()
        half = dim // 2
        conv = nn.ConvTranspose1d(
            dim,
            half,
            2 * stride,
            stride=stride,
            padding=math.ceil(stride / 2),
            output_padding=stride % 2,
        )
        groups = half if depthwise else 1
        units = [Residual(half, dilation=d, groups=groups) for d in (1, 3, 9)]
        drawn = [Noise(half)] if noise else []
        self.block = nn.Sequential(Snake(dim), conv, *drawn, *units)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T) → (B, C / 2, T · stride)."""
        return self.block(x)  # type: ignore[no-any-return]


class LocalAttention(nn.Module):
    """Attention inside windows, with rotary positions (2104.09864)."""

    HEAD = 64

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.window, self.heads = window, dim // self.HEAD
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)
        self.rel_pos: Any = nn.Module()
        steps = torch.arange(0, self.HEAD, 2).float() / self.HEAD
        self.rel_pos.register_buffer("inv_freq", 1.0 / (10000**steps))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T) → (B, C, T); T is a multiple of the window."""
        parts = self.to_qkv(self.norm(x.transpose(1, 2))).chunk(3, dim=-1)
        batch, _, frames = x.shape
        # Sizes and axes by their numbers: exporters mistake -1 for another one.
        sizes = (batch, frames // self.window, self.window, self.heads, self.HEAD)
        q, k, v = (
            part.reshape(sizes).permute(0, 3, 1, 2, 4) for part in parts
        )  # (B, heads, T / window, window, HEAD)
        times = torch.arange(self.window, device=x.device).type_as(self.rel_pos.inv_freq)
        angles = torch.einsum("i,j->ij", times, self.rel_pos.inv_freq)
        angles = torch.cat((angles, angles), dim=1)
        q, k = _turned(q, angles), _turned(k, angles)
        out = F.scaled_dot_product_attention(q, k, v).permute(0, 2, 3, 1, 4)
        out = self.to_out(out.reshape(batch, frames, self.heads * self.HEAD))
        return out.transpose(1, 2) + x  # type: ignore[no-any-return]


class Stage(nn.Module):
    """One codebook, at a rate of its own: nearest direction in few dimensions."""

    def __init__(self, dim: int, *, codebook_size: int, codebook_dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.in_proj = nn.Conv1d(dim, codebook_dim, 1)
        self.out_proj = nn.Conv1d(codebook_dim, dim, 1)
        self.codebook = nn.Embedding(codebook_size, codebook_dim)

    def assign(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, D, T) → codes (B, T / stride), and what they stand for, (B, D, T)."""
        if self.stride > 1:
            z = F.avg_pool1d(z, self.stride, self.stride)
        z_e = self.in_proj(z)
        found = F.normalize(z_e.transpose(1, 2).flatten(0, 1))  # (B·T, d)
        entries = F.normalize(self.codebook.weight)
        distance = (
            found.pow(2).sum(1, keepdim=True)
            - 2 * found @ entries.t()
            + entries.pow(2).sum(1, keepdim=True).t()
        )
        codes = (-distance).max(1)[1].reshape(z_e.shape[0], z_e.shape[2])
        z_q = self.codebook(codes).transpose(1, 2)
        # Not z_q itself: the published code rounds so, and the next stage sees the remainder.
        return codes, self._out(z_e + (z_q - z_e))

    def decode(self, codes: Tensor) -> Tensor:
        """Maps (B, T / stride) → (B, D, T)."""
        return self._out(self.codebook(codes).transpose(1, 2))

    def _out(self, z_q: Tensor) -> Tensor:
        z_q = self.out_proj(z_q)
        return z_q.repeat_interleave(self.stride, dim=-1) if self.stride > 1 else z_q


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat((-second, first), dim=x.ndim - 1) * angles.sin()

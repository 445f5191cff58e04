"""Causal self-attention with rotary positions (arXiv:2104.09864) in any number of axes, cached.

A step's query is turned by the position that it predicts, its key by that of what it holds, so
that "the code to the left" is the same turn in every row, and the end of a row is not next to the
beginning of the following one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Turns(NamedTuple):
    """Rotary angles of queries and keys: cosines and sines, (S, d/2) each."""

    query: tuple[Tensor, Tensor]
    key: tuple[Tensor, Tensor]

    def part(self, start: int, stop: int) -> Turns:
        """Those of steps start … stop."""
        (a, b), (c, d) = self
        pick = slice(start, stop)
        return Turns((a[pick], b[pick]), (c[pick], d[pick]))


def turns(at: Tensor, held: Tensor, *, dim: int, dtype: torch.dtype) -> Turns:
    """Angles for attention heads of dimension ``dim``.

    Args:
        at: float64 (S, A): position that each step predicts.
        held: float64 (S, A): position of what each step holds.
        dim: d, even; each axis turns d / 2 / A pairs, what is left over stays as it is.
        dtype: Of the result.
    """
    axes = at.shape[1]
    pairs = dim // 2 // axes
    # Long signals have one axis; a grid's sides are short, and its few pairs had better differ.
    slowest = 10000.0 if axes == 1 else 100.0
    powers = torch.arange(pairs, dtype=torch.float64, device=at.device) / max(pairs, 1)
    speeds = slowest**-powers

    def circle(positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = (positions[:, :, None] * speeds).flatten(1)  # (S, A · pairs)
        angles = F.pad(angles, (0, dim // 2 - angles.shape[1]))
        return angles.cos().to(dtype), angles.sin().to(dtype)

    return Turns(circle(at), circle(held))


class Cache:
    """Keys and values of the steps so far, of one layer.

    Args:
        like: (B, heads, n, d): gives batch, heads, dimension, dtype and device.
        steps: S, steps that there will be at most.
    """

    def __init__(self, like: Tensor, steps: int) -> None:
        batch, heads, _, dim = like.shape
        self.length = 0
        self._keys = like.new_empty(batch, heads, steps, dim)
        self._values = like.new_empty(batch, heads, steps, dim)

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, heads, n, d) each; return all so far."""
        stop = self.length + keys.shape[2]
        self._keys[:, :, self.length : stop] = keys
        self._values[:, :, self.length : stop] = values
        self.length = stop
        return self._keys[:, :, :stop], self._values[:, :, :stop]


class Caches:
    """One cache for each layer, made when the layer first runs."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._found: dict[int, Cache] = {}

    def of(self, layer: nn.Module, like: Tensor) -> Cache:
        """Returns the layer's own cache."""
        if id(layer) not in self._found:
            self._found[id(layer)] = Cache(like, self.steps)
        return self._found[id(layer)]


class Attention(nn.Module):
    """Multi-head attention of each step to itself and all before it.

    Queries and keys are normalised (arXiv:2302.05442, section 2): large learning rates stay stable.

    Args:
        width: D.
        heads: Must divide D into even parts.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, width // heads
        self.enter = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = nn.LayerNorm(self.dim, bias=False)
        self.key_norm = nn.LayerNorm(self.dim, bias=False)
        self.leave = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, positions: Turns, caches: Caches | None = None) -> Tensor:
        """Mix (B, n, D): all steps, or those that follow what the cache holds."""
        batch, length, width = x.shape
        parts = self.enter(x).view(batch, length, 3, self.heads, self.dim)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, n, d) each
        query = _turned(self.query_norm(query), positions.query)
        key = _turned(self.key_norm(key), positions.key)
        if x.device.type == "cpu":
            # The CPU's bf16 attention is slower than the float32 one, its backward by far.
            value = value.to(query.dtype)
        query, key = query.to(value.dtype), key.to(value.dtype)
        if caches is not None:
            key, value = caches.of(self, key).extend(key, value)
        with torch.autocast(x.device.type, enabled=x.device.type != "cpu"):
            out = attend(query, key, value)
        mixed: Tensor = self.leave(out.transpose(1, 2).reshape(batch, length, width))
        return mixed


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of the last n of S steps: (B, heads, n, d) to (B, heads, S, d)."""
    length, total = query.shape[2], key.shape[2]
    if length == 1:
        return F.scaled_dot_product_attention(query, key, value)
    if length == total:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    mask = torch.ones(length, total, dtype=torch.bool, device=query.device).tril(total - length)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class Block(nn.Module):
    """Attention, then an MLP, each normalised before and added after.

    Args:
        width: D.
        heads: Of the attention.
        expansion: Hidden channels of the MLP per channel.
        dropout: Share of the numbers that training leaves out of what is added.
    """

    def __init__(self, width: int, *, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, heads=heads)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.expand = nn.Linear(width, expansion * width)
        self.project = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Turns, caches: Caches | None = None) -> Tensor:
        """Maps (B, n, D) → the same shape; see ``Attention``."""
        x = x + self.dropout(self.attention(self.attention_norm(x), positions, caches))
        hidden = F.gelu(self.expand(self.mlp_norm(x)))
        out: Tensor = x + self.dropout(self.project(hidden))
        return out


def _turned(x: Tensor, circle: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = circle
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1)

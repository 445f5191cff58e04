"""Latents as rows: (B, D, *grid) ⇄ (B·|grid|, D), and a linear map that treats every row alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 256
"""Rows per matrix product in evaluation: one shape for any N, so that a row's bits cannot depend on N."""


def to_rows(z: Tensor) -> Tensor:
    """(B, D, *grid) of any float dtype → (N, D) float32, in batch-major, row-major grid order."""
    return z.movedim(1, -1).reshape(-1, z.shape[1]).float()


def from_rows(rows: Tensor, batch: int, grid: tuple[int, ...]) -> Tensor:
    """(N, D) → (B, D, *grid)."""
    return rows.reshape(batch, *grid, rows.shape[-1]).movedim(-1, 1)


def linear(layer: nn.Module, rows: Tensor) -> Tensor:
    """Apply ``layer`` to (N, D) rows, in blocks of ROWS (padded by zeros) unless gradients are wanted.

    Matrix products of different shapes round differently; with one fixed shape a row's result is the same whatever
    else is in the batch. Training has no such promise to keep and takes the single product.
    """
    if not isinstance(layer, nn.Linear):
        return rows
    if torch.is_grad_enabled() and (rows.requires_grad or layer.training):
        return F.linear(rows, layer.weight, layer.bias)
    count = rows.shape[0]
    padded = F.pad(rows, (0, 0, 0, math.ceil(count / ROWS) * ROWS - count))
    blocks = [F.linear(block, layer.weight, layer.bias) for block in padded.split(ROWS)]
    return torch.cat(blocks)[:count] if blocks else rows.new_zeros(0, layer.out_features)

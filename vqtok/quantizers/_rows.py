"""Turn latents into rows, (B, D, *grid) ⇄ (N, D); maps of rows whose bits do not depend on N."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 1 << 14
"""Rows per float64 product: bounds its memory."""


def to_rows(z: Tensor) -> Tensor:
    """Maps (B, D, *grid) to (N, D) float32, or float64 if z is; row-major in the grid."""
    rows = z.movedim(1, z.ndim - 1).reshape(-1, z.shape[1])
    return rows if rows.dtype == torch.float64 else rows.float()


class Grid(NamedTuple):
    """Items and positions that rows belong to."""

    batch: int
    """B."""
    sides: tuple[int, ...]
    """*grid."""

    @classmethod
    def of(cls, x: Tensor) -> Grid:
        """Take the grid of (B, D, *grid) latents or (B, Q, *grid) codes."""
        return cls(x.shape[0], tuple(x.shape[2:]))

    @classmethod
    def of_codes(cls, codes: Tensor) -> Grid:
        """Take the grid of (B, *grid) codes."""
        return cls(codes.shape[0], tuple(codes.shape[1:]))

    def latents(self, rows: Tensor) -> Tensor:
        """Maps (N, D) → (B, D, *grid)."""
        latents = rows.reshape(self.batch, *self.sides, rows.shape[-1])
        return latents.movedim(latents.ndim - 1, 1)

    def codes(self, rows: Tensor) -> Tensor:
        """Maps (N,) → (B, *grid); of several stages (Q, N) → (B, Q, *grid)."""
        if rows.ndim == 1:
            return rows.reshape(self.batch, *self.sides)
        return rows.reshape(-1, self.batch, *self.sides).movedim(0, 1).contiguous()


class Projection(nn.Linear):
    """A linear map of rows, or nothing at all between equal dimensions.

    A matrix product rounds differently with the number of rows, and a code can hang on the last
    bit. In evaluation products are therefore taken in float64 and rounded once at the end.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Maps (N, in) → (N, out), float32; float64 rows stay float64."""
        if self.training:
            return super().forward(rows)
        weight, bias = self.weight.double(), self.bias.double()
        blocks = [
            F.linear(block.double(), weight, bias).to(rows.dtype)
            for block in torch.split(rows, BLOCK)
        ]
        return torch.cat(blocks)


def stretch(project: nn.Module) -> float:
    """Bound how much farther apart two rows can be behind a ``projection`` than before it."""
    if not isinstance(project, Projection):
        return 1.0
    return float(torch.linalg.matrix_norm(project.weight.detach().double(), ord=2))


def rounding(rows: Tensor) -> Tensor:
    """Bound how far (N, d) float32 rows are from what was rounded to them: (N,) float64."""
    norm: Tensor = torch.linalg.vector_norm(rows.double(), dim=1)
    return norm * 2.0**-24 + 2.0**-126


def projection(dim_in: int, dim_out: int | None) -> nn.Module:
    """Make a ``Projection`` to ``dim_out``; with None, the identity."""
    return nn.Identity() if dim_out is None else Projection(dim_in, dim_out)

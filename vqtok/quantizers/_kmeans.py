"""Lloyd's k-means for thousands of centres, in seconds: where a codebook starts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok.quantizers.search.nearest import nearest


def draw(rows: Tensor, count: int, *, generator: torch.Generator | None) -> Tensor:
    """Draws ``count`` rows of (S, d), distinct while S lasts, then with a little noise.

    Args:
        rows: (S, d), S at least 1 unless ``count`` is 0.
        count: How many.
        generator: CPU generator.
    """
    order = torch.randperm(len(rows), generator=generator)[:count]
    chosen = rows[order.to(rows.device)]
    missing = count - len(chosen)
    if missing:
        again = torch.randint(len(rows), (missing,), generator=generator)
        noise = torch.randn(missing, rows.shape[1], generator=generator).to(rows)
        # Copies of one row would stay copies forever: equals go to the lowest index.
        scale = 1e-3 * (rows - rows.mean(dim=0)).square().mean().sqrt() + 1e-6
        chosen = torch.cat((chosen, rows[again.to(rows.device)] + noise * scale))
    return chosen


def sums(rows: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Members of each of ``size`` entries and their sum: (K,) and (K, d), float32."""
    total = rows.new_zeros(size, rows.shape[1]).index_add_(0, codes, rows)
    return torch.bincount(codes, minlength=size).to(rows.dtype), total


def kmeans(
    rows: Tensor,
    size: int,
    *,
    iterations: int,
    cosine: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Finds ``size`` centres of (S, d) rows; one without members goes to a random row.

    Args:
        rows: (S, d) float32; of unit length if ``cosine``.
        size: K; may exceed S.
        iterations: Lloyd steps; 0 returns random rows.
        cosine: Keep the centres on the unit sphere (spherical k-means).
        generator: CPU generator of the random choices.

    Returns:
        (K, d).
    """
    centres = draw(rows, size, generator=generator)
    for step in range(iterations):
        count, total = sums(rows, nearest(rows, centres), size)
        centres = torch.where(count[:, None] > 0, total / count.clamp(min=1)[:, None], centres)
        empty = count == 0
        if step + 1 < iterations:
            centres[empty] = draw(rows, int(empty.sum()), generator=generator)
        if cosine:
            centres = F.normalize(centres, dim=1)
    return centres

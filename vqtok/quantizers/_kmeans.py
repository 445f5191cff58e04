"""Lloyd's k-means for thousands of centres: the start of a codebook (van den Oord's Sonnet demo never needed it; 8192 entries do)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok.quantizers._nearest import nearest


def draw(rows: Tensor, count: int, *, generator: torch.Generator | None) -> Tensor:
    """``count`` random rows of (S, d), distinct as far as S reaches, then repeated with a little noise."""
    order = torch.randperm(len(rows), generator=generator)[:count].to(rows.device)
    chosen = rows[order]
    while len(chosen) < count:
        more = rows[torch.randint(len(rows), (count - len(chosen),), generator=generator)]
        noise = torch.randn(more.shape, generator=generator).to(rows.device)
        # Copies of one row would stay copies forever: ties go to the lowest index.
        chosen = torch.cat((chosen, more + noise * 1e-3 * (rows.std() + 1e-6)))
    return chosen


def sums(rows: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Members and their sum for each of ``size`` entries: (K,), (K, d), float32."""
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
    """``size`` centres of (S, d) rows; centres that lose all members restart at random rows.

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
    for _ in range(iterations):
        codes = nearest(rows, centres)
        count, total = sums(rows, codes, size)
        empty = count == 0
        centres = total / count.clamp(min=1)[:, None]
        centres[empty] = draw(rows, int(empty.sum()), generator=generator)
        if cosine:
            centres = F.normalize(centres, dim=1)
    return centres

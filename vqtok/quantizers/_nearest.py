"""Exact nearest-entry search without an N x K matrix.

Scores come from one matrix product per block of rows, |e|² - 2 z·e, with |e|² folded in as one more column, into a
small buffer that is used again for every block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BUFFER = 1 << 20
"""Floats in the score buffer: 4 MB stay in a last-level cache."""


class Packed(NamedTuple):
    """A codebook made ready for ``nearest``."""

    centre: Tensor
    """(d,): the mean entry. Far from the origin |e|² - 2 z·e would cancel to noise."""
    weight: Tensor
    """(d + 1, K): -2 (e - centre) over |e - centre|²."""


def pack(codebook: Tensor) -> Packed:
    """Prepare a (K, d) codebook for ``nearest``; costs O(K d)."""
    entries = codebook.detach().float()
    centre = entries.mean(dim=0)
    entries = entries - centre
    norms = entries.square().sum(dim=1)
    weight = torch.cat((entries.t() * -2, norms[None]))
    return Packed(centre, weight.contiguous())


@torch.no_grad()
def nearest(z: Tensor, codebook: Tensor | Packed) -> Tensor:
    """Index of the entry at the smallest Euclidean distance from each row; the lowest index of equals.

    Args:
        z: (N, d) float.
        codebook: (K, d), or what ``pack`` made of it.

    Returns:
        int64 (N,).
    """
    packed = codebook if isinstance(codebook, Packed) else pack(codebook)
    rows, size = z.shape[0], packed.weight.shape[1]
    out = torch.empty(rows, dtype=torch.int64, device=z.device)
    block = max(1, min(4096, BUFFER // size))
    scores = z.new_empty(block, size, dtype=torch.float32)
    left = z.new_ones(block, z.shape[1] + 1, dtype=torch.float32)
    for start in range(0, rows, block):
        stop = min(start + block, rows)
        torch.sub(z[start:stop], packed.centre, out=left[: stop - start, :-1])
        torch.mm(left, packed.weight, out=scores)
        part = scores[: stop - start]
        if z.device.type == "cpu":
            out[start:stop] = torch.from_numpy(part.numpy().argmin(axis=1))
        else:
            out[start:stop] = part.argmin(dim=1)
    return out

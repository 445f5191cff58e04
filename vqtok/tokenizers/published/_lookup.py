"""Codebooks that were trained elsewhere: they look up, and learn nothing."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Lookup = Literal["nearest", "cosine", "unit", "dot"]

_BLOCK = 1 << 24
"""Scores in memory at once: 64 MB."""


class Table(nn.Module):
    """One codebook.

    Args:
        size: K.
        dim: D.
        lookup: "nearest" entry; nearest direction, "cosine", whose entries have length 1; the
            nearest entry, of which decoders get the direction, "unit"; or the largest "dot" product
            (IBQ, 2412.02692).
    """

    def __init__(self, size: int, dim: int, lookup: Lookup = "nearest") -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)
        self.lookup = lookup

    def assign(self, z: Tensor) -> Tensor:
        """Codes of (B, D, *grid) latents: int64 (B, *grid)."""
        rows = z.flatten(2).transpose(1, 2).reshape(-1, z.shape[1]).float()
        entries = self.embedding.weight
        if self.lookup == "cosine":
            rows, entries = F.normalize(rows, dim=-1), F.normalize(entries, dim=-1)
        find = _largest if self.lookup == "dot" else closest
        return find(rows, entries).reshape(z.shape[:1] + z.shape[2:])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid) → (B, D, *grid)."""
        entries = self.embedding(codes)
        if self.lookup in ("cosine", "unit"):
            entries = F.normalize(entries, dim=-1)
        return _channels_first(entries)


class Scores(nn.Module):
    """Codes by the largest of K learned scores of each latent, as a Gumbel-softmax leaves them.

    Args:
        size: K.
        inside: Channels of the latents.
        dim: D, dimension of the entries.
    """

    def __init__(self, size: int, inside: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inside, size, 1)
        self.embed = nn.Embedding(size, dim)

    def assign(self, z: Tensor) -> Tensor:
        """Codes of (B, inside, h, w) latents: int64 (B, h, w)."""
        rows = max(1, _BLOCK // (self.proj.out_channels * z.shape[-1] * z.shape[0]))
        parts = [self.proj(part).argmax(dim=1) for part in _split(z, rows, dim=2)]
        return torch.cat(parts, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) → (B, D, h, w)."""
        return _channels_first(self.embed(codes))


def _channels_first(entries: Tensor) -> Tensor:
    """Maps (B, *grid, D) → (B, D, *grid)."""
    return entries.permute(0, entries.ndim - 1, *range(1, entries.ndim - 1)).contiguous()


def _split(x: Tensor, size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Split a tensor, but not while it is traced: the number of parts would become fixed."""
    return (x,) if torch.onnx.is_in_onnx_export() else torch.split(x, size, dim=dim)


def closest(rows: Tensor, entries: Tensor) -> Tensor:
    """Find each row's nearest entry, in the arithmetic that trained these codebooks.

    Dead entries of theirs lie together near zero, closer than float32 can tell apart; which of
    them it names is then part of the model.
    """
    block = max(1, _BLOCK // len(entries))
    lengths = (entries**2).sum(dim=1)
    found = []
    for part in _split(rows, block):
        distances = (part**2).sum(dim=1, keepdim=True) + lengths - 2 * (part @ entries.T)
        found.append(distances.argmin(dim=1))
    return torch.cat(found)


def _largest(rows: Tensor, entries: Tensor) -> Tensor:
    block = max(1, _BLOCK // len(entries))
    return torch.cat([(part @ entries.T).argmax(dim=1) for part in _split(rows, block)])

"""Check and shape the signals that tokenizers take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.tokenizers.given.arrays import check_shape


def size_of(x: Tensor) -> tuple[int, int]:
    """Give (H, W) of (…, H, W)."""
    return int(x.shape[-2]), int(x.shape[-1])


def padded(x: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of the stride."""
    bottom, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def repeated(x: Tensor, bottom: int, right: int) -> Tensor:
    """Repeat the last row and column of (C, H, W) so many times."""
    return F.pad(x[None], (0, right, 0, bottom), mode="replicate")[0]


def concatenated(pieces: Sequence[Tensor]) -> Tensor:
    """Join pieces of a signal along their last axis."""
    return torch.cat(list(pieces), dim=-1)


def check_signals(x: Tensor, modality: str, channels: int = 1) -> None:
    """Check that x is (B, C, *space), none of it empty.

    Raises:
        UsageError: it is not.
    """
    check_shape(tuple(x.shape), modality, channels)


def joined(items: Sequence[Codes]) -> Codes:
    """Join codes of signals of one size, as ``Codes.stack`` does for numpy arrays."""
    columns = zip(*(each.levels for each in items), strict=True)
    return replace(items[0], levels=tuple(map(torch.cat, columns)))

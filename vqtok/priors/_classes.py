"""Classes or speakers that a prior is conditioned on: a learned vector each, and one for "none"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqtok.errors import UsageError


def check_names(names: Sequence[str], unlabelled: float) -> None:
    """Check what a config says of classes.

    Raises:
        ValueError: a name that is empty or there twice, or a share that is none.
    """
    if "" in names or len(set(names)) < len(names):
        raise ValueError("classes: names must not be empty and each there once")
    if not 0 <= unlabelled <= 1:
        raise ValueError(f"unlabelled {unlabelled} is not between 0 and 1")


class Classes(nn.Module):
    """One learned vector for each class, and one for items without; nothing if there are none.

    Args:
        names: In order.
        width: D of the vectors.
        unlabelled: Share of the items whose class training hides, so that sampling can do without
            one and move away from what no class in particular gives.
    """

    def __init__(self, names: Sequence[str], width: int, *, unlabelled: float) -> None:
        super().__init__()
        self.names, self.unlabelled = tuple(names), unlabelled
        if names:
            self.vectors = nn.Parameter(torch.randn(len(names) + 1, width) * 0.02)

    def forward(self, numbers: Tensor | None) -> Tensor | None:
        """int64 (B,), -1 for none → (B, D); None without classes."""
        if not self.names:
            return None
        if numbers is None:
            return self.vectors[-1:]
        if self.training and self.unlabelled:
            hidden = torch.rand(len(numbers), device=numbers.device) < self.unlabelled
            numbers = torch.where(hidden, -1, numbers)
        # Index -1 is the last row: the vector for "none".
        return self.vectors[numbers]


def checked(
    condition: Tensor | None, names: Sequence[str], *, count: int, device: torch.device
) -> Tensor | None:
    """Makes a caller's condition as int64 (count,), or None.

    Raises:
        UsageError: a condition that does not fit.
    """
    if condition is None:
        return None
    if not names:
        raise UsageError("condition: this prior was made without classes")
    if condition.ndim != 1 or len(condition) not in (1, count) or condition.is_floating_point():
        found = f"{tuple(condition.shape)} {condition.dtype}"
        raise UsageError(f"condition: {found} found, ({count},) int64 expected")
    low, high = int(condition.min()), int(condition.max())
    if low < -1 or high >= len(names):
        bad = low if low < -1 else high
        raise UsageError(f"class {bad}: the prior has 0 … {len(names) - 1}")
    return condition.to(device, torch.int64).expand(count)

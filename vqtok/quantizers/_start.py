"""The warm-up of a codebook: latents pass unquantized while a sample of them is collected.

State that only training needs lives in submodules called ``learning``: their state dict keys hold
"learning.". A checkpoint for use may leave them out; what is missing starts anew.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Learning(nn.Module):
    """Buffers that a state dict may lack, or hold with another length."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            stored = state_dict.setdefault(prefix + name, buffer)
            if stored.ndim == buffer.ndim and stored.shape[1:] == buffer.shape[1:]:
                setattr(self, name, buffer.new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Sample(Learning):
    """Latents of the latest training steps.

    Args:
        dim: d.
        capacity: Rows kept; the oldest go first, since the encoder has moved on from them.
    """

    rows: Tensor
    steps: Tensor

    def __init__(self, dim: int, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("rows", torch.zeros(0, dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def add(self, rows: Tensor) -> None:
        """Take in the (N, d) latents of one step."""
        self.rows = torch.cat((self.rows, rows.detach()))[-self.capacity :].clone()
        self.steps += 1

    def ready(self, warmup: int) -> bool:
        """Whether the warm-up is over and the sample full."""
        return int(self.steps) >= warmup and len(self.rows) >= self.capacity

    def take(self) -> Tensor:
        """The rows; the sample is empty afterwards."""
        rows, self.rows = self.rows, self.rows[:0].clone()
        return rows

"""A moving average of the weights: often a better model than the last step's (Polyak averaging)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """A second model whose parameters follow the first one's.

    Its buffers, a codebook's moving averages among them, are the first one's as they are.

    Args:
        model: The one that learns.
        decay: Per step; in the first steps less, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: nn.Module, *, step: int) -> None:
        """Take in the parameters after optimizer step ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own: list[Tensor] = [*self.model.parameters()]
        new: list[Tensor] = [*model.parameters()]
        torch._foreach_lerp_(own, new, 1.0 - decay)

    @torch.no_grad()
    def catch_up(self, model: nn.Module) -> nn.Module:
        """The averaged model, with the buffers of the one that learns."""
        for (_, own), (_, new) in zip(
            self.model.named_buffers(), model.named_buffers(), strict=True
        ):
            if own.shape != new.shape:  # the sample of a warm-up grows
                own.resize_(new.shape)
            own.copy_(new)
        return self.model

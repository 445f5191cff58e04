"""A small residual network for small images (He et al. 2016, arXiv:1603.05027, pre-activation).

Differences: GroupNorm (arXiv:1803.08494) in place of BatchNorm, so that what an image is taken for
does not depend on its neighbours in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec

GROUPS = 8


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        width: C of the first stage; each further one has twice as many, at half the resolution.
        stages: How many.
        blocks: Residual blocks in each.
        dropout: Share of the last layer's input that training leaves out.
        classes: Names, in the order of their numbers.
    """

    width: int = 48
    stages: int = 3
    blocks: int = 2
    dropout: float = 0.2
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.stages, self.blocks) < 1 or self.width < GROUPS or self.width % GROUPS:
            raise ValueError(f"stages and blocks must be positive, width a multiple of {GROUPS}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not from 0 to below 1")
        if "" in self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: names must not be empty and each there once")

    def build(self, **context: Any) -> Convnet:
        """Make the network, with fresh weights."""
        return Convnet(self)


class Convnet(nn.Module):
    """Images of any size from 4x4 up → logits of classes.

    Attributes:
        spec: Of no codes: a classifier makes none.
        name: The directory's NAME; "" if it was not loaded from one.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.name = config, ""
        self.spec = CodeSpec("image", ())
        widths = [config.width * 2**stage for stage in range(config.stages)]
        self.first = nn.Conv2d(3, config.width, 3, padding=1)
        blocks: list[nn.Module] = []
        before = config.width
        for stage, width in enumerate(widths):
            for index in range(config.blocks):
                stride = 2 if stage and not index else 1
                blocks.append(_Block(before, width, stride=stride))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.GroupNorm(GROUPS, before)
        self.dropout = nn.Dropout(config.dropout)
        self.last = nn.Linear(before, max(1, len(config.classes)))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return self.config.classes

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, 3, H, W) float in [-1, 1] → (B, classes) logits."""
        hidden = F.silu(self.norm(self.blocks(self.first(x))))
        logits: Tensor = self.last(self.dropout(hidden.mean(dim=(2, 3))))
        return logits

    @torch.inference_mode()
    def probabilities(self, x: Tensor) -> Tensor:
        """Maps (B, 3, H, W) float in [-1, 1] → (B, classes) float32 on the CPU."""
        device = next(self.parameters()).device
        found: Tensor = self(x.to(device)).float().softmax(dim=1).cpu()
        return found


class _Block(nn.Module):
    """Two convolutions beside a way that leaves out both."""

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(GROUPS, before), nn.GroupNorm(GROUPS, width)])
        self.one = nn.Conv2d(before, width, 3, stride=stride, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.two.weight)  # at first a block changes nothing
        changes = stride > 1 or before != width
        self.beside = nn.Conv2d(before, width, 1, stride=stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(F.silu(self.norms[0](x)))
        out: Tensor = self.beside(x) + self.two(F.silu(self.norms[1](hidden)))
        return out

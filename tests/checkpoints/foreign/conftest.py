"""Pictures to code, and what every family is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqtok.checkpoints import directory, foreign


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with every weight drawn anew: defaults of zero and one would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            spread = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1
            weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
            if weight.ndim == 1 and name.endswith("weight"):
                weight.add_(1.0)
    return module.eval().requires_grad_(False)


def picture(height: int, width: int, *, seed: int = 1, batch: int = 2) -> Tensor:
    """Smooth colours with some noise, (batch, 3, H, W) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 4, 4, generator=generator) * 2 - 1
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = torch.rand(batch, 3, height, width, generator=generator) - 0.5
    return (smooth * 0.8 + noise * 0.4).clamp(-1, 1)


def agrees(
    path: Path,
    x: Tensor,
    levels: list[Tensor],
    shown: Tensor,
    *,
    within: float = 1e-5,
    fewest: int = 4,
) -> Any:
    """Hold a checkpoint to upstream: codes element for element, pixels within 1e-5.

    And the same of what ``save`` makes of it, under the same fingerprint.

    Returns:
        The tokenizer.
    """
    ours: Any = directory.load(path)
    converted = path.parent / f"{path.stem}-converted"
    directory.save(converted, ours)
    again: Any = directory.load(converted)
    assert again.spec == ours.spec
    assert foreign.describe(path).fingerprint == directory.describe(converted).fingerprint
    for model in (ours, again):
        codes = model.encode(x).check()
        assert len(codes.levels) == len(levels)
        for mine, theirs in zip(codes.levels, levels, strict=True):
            assert mine.unique().numel() >= fewest, "a test on one code would show nothing"
            assert torch.equal(mine, theirs.reshape(mine.shape))
        decoded = model.decode(codes)
        assert decoded.shape == x.shape
        torch.testing.assert_close(decoded, shown.clamp(-1, 1), atol=within, rtol=0)
        torch.testing.assert_close(model(x).x.clamp(-1, 1), decoded, atol=within, rtol=0)
    return ours


@pytest.fixture
def odd() -> Tensor:
    """A picture whose sides are multiples of nothing."""
    return picture(45, 39, batch=1)

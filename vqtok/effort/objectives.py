"""Measure what a search makes smaller: a map of errors, and how steeply it curves."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE, SIGMA = 11, 1.5
"""The Gaussian window of SSIM (Wang et al. 2004)."""

K1, K2, RANGE = 0.01, 0.03, 2.0
"""Its constants, and the range of values in [-1, 1]."""


class Objective(Protocol):
    """What is to fall: the sum of a map."""

    def errors(self, x: Tensor, y: Tensor) -> Tensor:
        """Map original and decoded (1, C, H, W) in [-1, 1] to (H, W), differentiable by y."""

    def weights(self, x: Tensor) -> Tensor | None:
        """Compute (H, W): the error of a pixel that is off by d is about this times d squared."""


class SquaredError:
    """The sum of squares over channels, on values in [-1, 1]."""

    def errors(self, x: Tensor, y: Tensor) -> Tensor:
        """Square the difference, and add the channels up."""
        return (x - y).square().sum(dim=1)[0]

    def weights(self, x: Tensor) -> None:
        """Give none: all pixels count the same."""


class Dissimilarity:
    """What SSIM lacks to 1, summed over channels; the border is repeated."""

    def errors(self, x: Tensor, y: Tensor) -> Tensor:
        """Compare windows around every pixel."""
        x, y = x + 1, y + 1  # brightness is compared from black
        mean_x, mean_y = _blurred(x), _blurred(y)
        var_x = _blurred(x * x) - mean_x * mean_x
        var_y = _blurred(y * y) - mean_y * mean_y
        both = _blurred(x * y) - mean_x * mean_y
        c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
        light = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
        contrast = (2 * both + c2) / (var_x + var_y + c2)
        return (1 - light * contrast).sum(dim=1)[0]

    def weights(self, x: Tensor) -> Tensor:
        """Divide by the variance around: 1 - contrast is var(x - y) / (2 var(x) + c2) nearby."""
        mean = _blurred(x)
        variance = (_blurred(x * x) - mean * mean).clamp(min=0)
        return _blurred(1 / (2 * variance + (K2 * RANGE) ** 2)).mean(dim=1)[0]


OBJECTIVES: dict[str, Objective] = {"mse": SquaredError(), "ssim": Dissimilarity()}
"""Each of ``levels.METRICS``."""


def _blurred(x: Tensor) -> Tensor:
    """Average (1, C, H, W) over the window around each position; the border is repeated."""
    at = torch.arange(SIDE, dtype=x.dtype, device=x.device) - SIDE // 2
    window = torch.exp(-at.square() / (2 * SIGMA**2))
    window = window / window.sum()
    half, channels = SIDE // 2, x.shape[1]
    x = F.pad(x, (half, half, half, half), mode="replicate")
    x = F.conv2d(x, window.expand(channels, 1, 1, SIDE), groups=channels)
    return F.conv2d(x, window[:, None].expand(channels, 1, SIDE, 1), groups=channels)

"""Loss terms of images: edges, and the same error at several scales."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqtok.training.losses.pair import Pair

SCALES = 4
"""Levels of the pyramid of "multiscale": 1, 1/2, 1/4 and 1/8 of the size."""


def gradient(pair: Pair) -> Tensor:
    """L1 between differences of neighbouring pixels, the mean across plus the mean down.

    The gradient difference loss of Mathieu, Couprie and LeCun 2016 (arXiv:1511.05440, Eq. 6) with
    exponent 1, but of signed differences: an edge that is as steep the wrong way is an error.
    """
    error = pair.y - pair.x  # differences are linear: those of the error are the errors of those
    total = error.new_zeros(())
    for axis in (-1, -2):
        if error.shape[axis] > 1:
            total = total + error.diff(dim=axis).abs().mean()
    return total


def multiscale(pair: Pair) -> Tensor:
    """L1 over a pyramid of average-pooled images, mean over its levels.

    Coarse levels weigh errors of brightness and colour that extend over many pixels more than
    those that cancel out. Halving ends at one pixel.
    """
    error = pair.y - pair.x  # pooling is linear too
    total = error.abs().mean()
    levels = 1
    while levels < SCALES and min(error.shape[-2:]) > 1:
        error = F.avg_pool2d(error, 2)
        total = total + error.abs().mean()
        levels += 1
    return total / levels

"""Gradients through a choice: how the decoder's gradient reaches the encoder past an argmin."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """The values of z_q with the gradient of z (van den Oord et al. 2017, 1711.00937, section 3.2).

    Unlike the usual ``z + (z_q - z).detach()`` the result equals z_q bit for bit: a decoder is
    trained on exactly what it will be given when codes come from a file.

    Args:
        z: Any shape; receives the gradient.
        z_q: Same shape; receives none.
    """
    return cast(Tensor, _StraightThrough.apply(z, z_q.detach()))  # type: ignore[no-untyped-call]

"""Gradients through a choice: how the decoder's gradient reaches the encoder past an argmin."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

Gradient = Literal["straight-through", "rotation"]
"""``straight_through`` or ``rotate``."""


def estimate(z: Tensor, z_q: Tensor, gradient: Gradient) -> Tensor:
    """Returns the values of z_q, with a gradient for z: (N, d) each."""
    return rotate(z, z_q) if gradient == "rotation" else straight_through(z, z_q)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """Gives z_q the gradient of z (van den Oord et al. 2017, 1711.00937, section 3.2).

    Unlike the usual ``z + (z_q - z).detach()`` the result equals z_q bit for bit: a decoder is
    trained on exactly what it will be given when codes come from a file.

    Args:
        z: Any shape; receives the gradient.
        z_q: Same shape; receives none.
    """
    return cast(Tensor, _StraightThrough.apply(z, z_q.detach()))  # type: ignore[no-untyped-call]


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_q: Tensor) -> Tensor:
        ctx.save_for_backward(z, z_q)
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad, (z, z_q) = grads[0], ctx.saved_tensors
        length = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        target = torch.linalg.vector_norm(z_q, dim=-1, keepdim=True)
        # z_q = s R z with R = I - 2 r rᵀ + 2 q eᵀ; its transpose takes the gradient back.
        e, q = F.normalize(z, dim=-1), F.normalize(z_q, dim=-1)
        r = F.normalize(e + q, dim=-1)
        turned = grad - 2 * r * (r * grad).sum(-1, keepdim=True)
        turned = turned + 2 * e * (q * grad).sum(-1, keepdim=True)
        # What has no length has no direction to turn from or to.
        return torch.where((length > 0) & (target > 0), target / length * turned, grad), None


def rotate(z: Tensor, z_q: Tensor) -> Tensor:
    """Gives z_q the gradient of z, turned and scaled as z is to become z_q.

    The rotation trick: Fifty et al. 2024, 2410.06424, section 4.2, whose rotation and scale are
    constants to the gradient. So the angle between gradient and latent is kept, and latents of one
    entry are pushed apart or together, where ``straight_through`` moves all of them alike.

    Args:
        z: (..., d); receives the gradient.
        z_q: Same shape; receives none.

    Returns:
        z_q, bit for bit.
    """
    return cast(Tensor, _Rotation.apply(z, z_q.detach()))  # type: ignore[no-untyped-call]

"""The rotation trick against its matrix written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.examples import examples
from vqtok.nn.gradients import rotate, straight_through
from vqtok.quantizers import vq


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def by_matrix(z: Tensor, z_q: Tensor) -> Tensor:
    """2410.06424, section 4.2, with R as a d x d matrix: two Householder reflections."""
    rows = []
    for e, q in zip(z, z_q, strict=True):
        source, target = (each.detach() / each.detach().norm() for each in (e, q))
        between = (source + target) / (source + target).norm()
        identity = torch.eye(len(e), dtype=e.dtype)
        first = identity - 2 * torch.outer(source, source)
        second = identity - 2 * torch.outer(between, between)
        # Reflecting source to its opposite, then across the half-way, turns it onto the target.
        rows.append(q.norm() / e.detach().norm() * (second @ first @ e))
    return torch.stack(rows)


@examples(20, many=50)
@given(dim=st.integers(1, 12), count=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_the_gradient_is_that_of_the_rotation_matrix(dim: int, count: int, seed: int) -> None:
    z = gaussian(count, dim, seed=seed).requires_grad_()
    z_q, weight = gaussian(count, dim, seed=seed + 1), gaussian(count, dim, seed=seed + 2)
    if dim == 1:
        z_q = z_q.abs() * z.detach().sign()  # opposites have no half-way
    expected = by_matrix(z, z_q)
    torch.testing.assert_close(expected, z_q)
    (found,) = torch.autograd.grad((rotate(z, z_q) * weight).sum(), z)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), z)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


def test_values_are_those_of_z_q_bit_for_bit() -> None:
    z, z_q = gaussian(50, 8).float(), gaussian(50, 8, seed=1).float()
    assert torch.equal(rotate(z, z_q), z_q)


def test_an_entry_at_the_latent_leaves_the_gradient_as_it_is() -> None:
    z = gaussian(5, 6).requires_grad_()
    weight = gaussian(5, 6, seed=2)
    (found,) = torch.autograd.grad((rotate(z, z.detach()) * weight).sum(), z)
    torch.testing.assert_close(found, weight)


def test_without_a_direction_the_gradient_passes_straight_through() -> None:
    z = torch.zeros(2, 3, dtype=torch.float64)
    z[1] = 1.0
    z_q = 1 - z
    z.requires_grad_()
    weight = gaussian(2, 3)
    (found,) = torch.autograd.grad((rotate(z, z_q) * weight).sum(), z)
    (straight,) = torch.autograd.grad((straight_through(z, z_q) * weight).sum(), z)
    assert torch.equal(found, straight)


def test_opposite_directions_have_a_finite_gradient() -> None:
    z = gaussian(4, 5).float().requires_grad_()
    (found,) = torch.autograd.grad(rotate(z, -2 * z.detach()).sum(), z)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("gradient", ["straight-through", "rotation"])
def test_a_quantizer_uses_the_gradient_that_it_is_told(gradient: str) -> None:
    quantizer = vq.Config(codebook_size=20, gradient=gradient).build(dim=4).eval()  # type: ignore[arg-type]
    z = gaussian(1, 4, 9).float().requires_grad_()
    weight = gaussian(1, 4, 9, seed=1).float()
    out = quantizer(z)
    (found,) = torch.autograd.grad((out.z_q * weight).sum(), z)
    rows = z.detach()[0].t().requires_grad_()
    through = rotate if gradient == "rotation" else straight_through
    (wanted,) = torch.autograd.grad((through(rows, out.z_q[0].t()) * weight[0].t()).sum(), rows)
    torch.testing.assert_close(found[0].t(), wanted)

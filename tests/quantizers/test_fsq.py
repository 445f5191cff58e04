"""Levels ⇄ codes, exhaustively, and the bounds of the paper."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from vqtok import config
from vqtok.errors import ConfigError
from vqtok.quantizers import fsq

LEVELS = [(8, 5, 5, 5), (8, 8, 5, 5, 5), (3,), (4, 7), (5, 4, 3)]


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_count_through_the_levels_with_the_first_fastest(levels: tuple[int, ...]) -> None:
    quantizer = fsq.Config(levels).build(dim=len(levels))
    decoded = quantizer.decode(torch.arange(math.prod(levels))[None])[0].t()
    digits = itertools.product(*(range(size) for size in reversed(levels)))
    expected = [
        [(digit - size // 2) / (size // 2) for digit, size in zip(row[::-1], levels, strict=True)]
        for row in digits
    ]
    np.testing.assert_array_equal(decoded.numpy(), np.array(expected, dtype=np.float32))


@pytest.mark.parametrize("levels", LEVELS)
def test_every_code_is_reached_and_comes_back(levels: tuple[int, ...]) -> None:
    quantizer = fsq.Config(levels).build(dim=len(levels))
    codes = torch.arange(math.prod(levels))[None]
    # The latent that lands on a value is the bound's inverse there; extremes only in the limit.
    steps = quantizer.decode(codes)[0].t().double() * (quantizer.levels // 2)
    half = (quantizer.levels - 1) * (1 + fsq.MARGIN) / 2
    offset = torch.where(quantizer.levels % 2 == 0, 0.5, 0.0)
    z = ((steps + offset) / half).atanh() - (offset / half).atanh()
    out = quantizer(z.float().t()[None])
    assert torch.equal(out.codes, codes)
    assert torch.equal(out.z_q, quantizer.decode(codes))


def test_zero_is_a_value_and_maps_to_itself() -> None:
    out = fsq.Config((8, 5, 4, 7)).build(dim=4)(torch.zeros(1, 4, 3))
    assert torch.equal(out.z_q, torch.zeros(1, 4, 3))


def test_any_latent_stays_within_bounds() -> None:
    quantizer = fsq.Config((8, 5)).build(dim=2)
    out = quantizer(torch.tensor([-1e9, -5.0, 0.0, 5.0, 1e9])[None, None].repeat(1, 2, 1))
    assert out.z_q[0, 0].tolist() == [-1.0, -1.0, 0.0, 0.75, 0.75]
    assert out.z_q[0, 1].tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]


def test_the_gradient_is_that_of_the_bound() -> None:
    quantizer = fsq.Config((5,)).build(dim=1)
    z = torch.linspace(-2, 2, 9).reshape(1, 1, 9).requires_grad_()
    quantizer(z).z_q.sum().backward()
    assert z.grad is not None
    expected = (1 - z.detach().tanh().square()) * (1 + fsq.MARGIN)  # half / (levels // 2)
    torch.testing.assert_close(z.grad, expected)


def test_there_is_no_loss() -> None:
    assert float(fsq.Config().build(dim=16)(torch.randn(2, 16, 3)).loss) == 0


@pytest.mark.parametrize(
    ("levels", "message"), [([], "none given"), ([8, 2], "2 is below 3"), ([999] * 4, r"2\^31")]
)
def test_impossible_levels_are_refused(levels: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse({"levels": levels}, fsq.Config)

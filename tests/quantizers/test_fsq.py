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


def test_the_papers_has_no_loss() -> None:
    out = fsq.Config(diversity=0.0).build(dim=16)(torch.randn(2, 16, 3))
    assert float(out.loss) == 0 and not out.terms


def shares(z: torch.Tensor, levels: tuple[int, ...], temperature: float) -> torch.Tensor:
    """(N, d) bounded → (N, K): how much each counts for each code, code by code."""
    digits = itertools.product(*(range(size) for size in reversed(levels)))
    grid = torch.tensor([row[::-1] for row in digits]) - torch.tensor(levels) // 2
    distance = (z[:, None] - grid).square().sum(dim=2)
    return torch.softmax(-distance / temperature, dim=1)


@pytest.mark.parametrize("levels", LEVELS[2:])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_term_is_what_the_entropy_of_all_codes_lacks(
    levels: tuple[int, ...], temperature: float
) -> None:
    config = fsq.Config(levels, diversity=0.3, temperature=temperature)
    quantizer = config.build(dim=len(levels))
    z = torch.randn(5, len(levels), 7, generator=torch.Generator().manual_seed(0))
    rows = quantizer._bound(z.movedim(1, -1).reshape(35, -1).double())
    mean = shares(rows, levels, temperature).mean(dim=0)
    entropy = -(mean * mean.log()).sum()
    expected = 0.3 * (1 - entropy / math.log(math.prod(levels)))
    out = quantizer(z)
    torch.testing.assert_close(out.loss, expected.float())
    assert set(out.terms) == {"entropy"}


def test_latents_that_are_spread_evenly_lose_nothing_and_equal_ones_all() -> None:
    quantizer = fsq.Config((5, 5), diversity=1.0, temperature=0.01).build(dim=2)
    half = quantizer._half()
    even = (quantizer.decode(torch.arange(25)[None])[0].t().double() * 2 / half).atanh()
    assert float(quantizer(even.t()[None].float()).loss) == pytest.approx(0, abs=1e-5)
    assert float(quantizer(torch.zeros(1, 2, 25)).loss) == pytest.approx(1, abs=1e-5)


def test_more_codes_than_are_counted_together_are_counted_in_groups() -> None:
    levels = (8, 8, 8, 8, 8, 8)
    assert fsq.together(levels) == [(8, 8, 8, 8), (8, 8)]
    assert all(math.prod(part) <= fsq.CELLS for part in fsq.together(levels))
    z = torch.randn(2, 6, 50, generator=torch.Generator().manual_seed(0))
    loss = fsq.Config(levels, diversity=1.0).build(dim=6)(z).loss
    parts = []
    for part in fsq.together(levels):
        at = 4 if parts else 0
        one = fsq.Config(part, diversity=1.0).build(dim=len(part))
        parts.append((1 - one(z[:, at : at + len(part)]).loss) * math.log(math.prod(part)))
    torch.testing.assert_close(loss, 1 - sum(parts) / math.log(math.prod(levels)))


def test_the_term_makes_crowded_latents_use_more_codes() -> None:
    z = torch.randn(4, 3, 64, generator=torch.Generator().manual_seed(0)) * 0.05
    quantizer = fsq.Config((5, 5, 5), diversity=1.0).build(dim=3)
    latents = z.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=0.05)
    before = quantizer(latents).codes.unique().numel()
    for _ in range(60):
        optimizer.zero_grad()
        quantizer(latents).loss.backward()
        optimizer.step()
    assert before < 10
    assert quantizer(latents).codes.unique().numel() > 100


@pytest.mark.parametrize("wrong", [{"diversity": -0.1}, {"temperature": 0.0}])
def test_impossible_weights_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        config.parse(wrong, fsq.Config)


@pytest.mark.parametrize(
    ("levels", "message"), [([], "none given"), ([8, 2], "2 is below 3"), ([999] * 4, r"2\^31")]
)
def test_impossible_levels_are_refused(levels: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse({"levels": levels}, fsq.Config)

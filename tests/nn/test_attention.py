"""Attention: against the formula, step by step and at once, and by relative place alone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from vqtok.nn.attention import Attention, Block, Caches, attend, turns


def naive(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(QKᵀ/√d + mask)·V in float64, position by position."""
    length, total = query.shape[2], key.shape[2]
    out = torch.zeros(*query.shape[:3], value.shape[3], dtype=torch.float64)
    for i in range(length):
        seen = total - length + i + 1
        scores = query[:, :, i : i + 1].double() @ key[:, :, :seen].double().mT
        weights = (scores / math.sqrt(query.shape[3])).softmax(dim=-1)
        out[:, :, i : i + 1] = weights @ value[:, :, :seen].double()
    return out


def grid(height: int, width: int) -> Tensor:
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    return places.double()


@pytest.mark.parametrize(("length", "total"), [(1, 1), (1, 7), (7, 7), (3, 7)])
def test_attention_is_the_formula(length: int, total: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 3, length, 4)
    key, value = torch.randn(2, 3, total, 4), torch.randn(2, 3, total, 4)
    torch.testing.assert_close(
        attend(query, key, value).double(), naive(query, key, value), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("cuts", [(1, 2, 3, 4, 5), (2, 5), (5,)])
def test_steps_in_pieces_give_what_all_at_once_gives(cuts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    block = Block(8, heads=2, expansion=2, dropout=0.5).eval()
    x = torch.randn(2, 6, 8)
    places = turns(grid(2, 3), grid(2, 3), dim=4, dtype=torch.float32)
    whole = block(x, places)
    caches = Caches(6)
    edges = [0, *cuts, 6]
    parts = [block(x[:, a:b], places.part(a, b), caches) for a, b in itertools.pairwise(edges)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_only_the_distance_between_places_counts(axes: int) -> None:
    torch.manual_seed(0)
    attention = Attention(24, heads=2)
    at, held = torch.randn(5, axes).double() * 4, torch.randn(5, axes).double() * 4
    x = torch.randn(1, 5, 24)
    here = attention(x, turns(at, held, dim=12, dtype=torch.float32))
    shifted = attention(x, turns(at + 3, held + 3, dim=12, dtype=torch.float32))
    elsewhere = attention(x, turns(at + 3, held, dim=12, dtype=torch.float32))
    torch.testing.assert_close(shifted, here, atol=1e-5, rtol=1e-4)
    assert float((elsewhere - here).abs().max().detach()) > 1e-3


def test_each_axis_turns_its_own_pairs() -> None:
    places = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()
    cosine, sine = turns(places, places, dim=8, dtype=torch.float64).query
    angle = torch.atan2(sine, cosine)
    assert angle[0].abs().max() == 0
    assert bool((angle[1, :2] > 0).all()) and bool((angle[1, 2:] == 0).all())
    assert bool((angle[2, 2:] > 0).all()) and bool((angle[2, :2] == 0).all())

"""Coarse codes over a finer grid: each position is told of the code above it."""

from __future__ import annotations

import pytest
import torch

from tests.priors.conftest import PAIR, SNAC, STACKS, TOKENS, TRIPLE
from vqtok.codes.spec import LevelSpec
from vqtok.errors import ConfigError
from vqtok.priors._above import Above


def plain(coarser: tuple[LevelSpec, ...], level: LevelSpec) -> Above:
    """Without blocks: every position by itself."""
    torch.manual_seed(0)
    return Above(coarser, level, width=8, blocks=0)


def test_a_fine_position_is_told_of_the_coarse_code_that_covers_it() -> None:
    above = plain(PAIR.levels[:1], PAIR.levels[1])
    coarse = torch.zeros(1, 6, dtype=torch.int64)  # 2 x 3 of 13 x 18 pixels
    before = above(coarse, (13, 18))
    assert before.shape == (1, 8, 4, 5)
    coarse[0, 4] = 3  # row 1, column 1
    told = (above(coarse, (13, 18)) != before).any(dim=1)[0]
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[2:4, 2:4] = True
    assert torch.equal(told, expected)


def test_positions_under_one_code_are_told_apart() -> None:
    above = plain(PAIR.levels[:1], PAIR.levels[1])
    found = above(torch.zeros(1, 6, dtype=torch.int64), (16, 24))[0]
    assert torch.equal(found[:, :2, :2], found[:, 2:4, 4:6])
    corners = found[:, :2, :2].flatten(1).T
    assert len(torch.unique(corners, dim=0)) == 4


def test_all_levels_and_stages_are_told() -> None:
    for spec, extent in ((TRIPLE, (13, 18)), (SNAC, (700,)), (STACKS, (390,))):
        above = plain(spec.levels[:-1], spec.levels[-1])
        shapes = [level.shape(extent) for level in spec.levels[:-1]]
        total = sum(int(torch.Size(shape).numel()) for shape in shapes)
        before = above(torch.zeros(1, total, dtype=torch.int64), extent)
        for cell in range(total):
            coarse = torch.zeros(1, total, dtype=torch.int64)
            coarse[0, cell] = 1
            assert not torch.equal(above(coarse, extent), before)


def test_vectors_begin_at_the_size_asked_for() -> None:
    above = Above(PAIR.levels[:1], PAIR.levels[1], width=64, scale=0.02)
    coarse = torch.randint(6, (2, 12), generator=torch.Generator().manual_seed(0))
    size = above(coarse, (24, 32)).pow(2).mean().sqrt()
    assert float(size.detach()) == pytest.approx(0.02, rel=0.05)


def test_tokens_without_a_place_cannot_be_spread() -> None:
    with pytest.raises(ConfigError, match="grid"):
        Above(TOKENS.levels, PAIR.levels[1], width=8)

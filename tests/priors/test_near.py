"""Near codes: those at the offsets, of the same stage, and always earlier ones."""

from __future__ import annotations

import torch
from hypothesis import given

from tests.priors.conftest import IMAGE, PAIR, STACKED_IMAGE, STACKS
from tests.priors.test_patterns import signals
from vqtok.codes.spec import CodeSpec
from vqtok.priors._near import OFFSETS, kinds, near
from vqtok.priors._patterns import layout


@given(signals())
def test_what_is_near_comes_earlier(signal: tuple[CodeSpec, tuple[int, ...]]) -> None:
    spec, extent = signal
    found = layout(spec, extent, pattern="flat")
    steps = found.cells[:, 0].argsort()  # of each flat code
    assert found.near.shape == (found.steps, kinds(spec.levels))
    there = found.near >= 0
    assert bool((steps[found.near] < torch.arange(found.steps)[:, None])[there].all())


def test_near_codes_of_a_grid_are_those_at_the_offsets() -> None:
    height, width = IMAGE.levels[0].shape((14, 18))
    found = near(IMAGE.levels, [(height, width)]).view(height, width, -1)
    for i in range(height):
        for j in range(width):
            expected = [
                (i + a) * width + j + b if 0 <= i + a < height and 0 <= j + b < width else -1
                for a, b in OFFSETS[2]
            ]
            assert found[i, j].tolist() == expected


def test_near_codes_of_a_stack_are_of_the_same_stage() -> None:
    spec, extent = STACKED_IMAGE, (12, 16)
    shape = spec.levels[0].shape(extent)
    found = near(spec.levels, [shape]).view(*shape, -1)
    numbers = torch.arange(found[..., 0].numel()).view(shape)
    assert torch.equal(found[:, :, 1:, 0], numbers[:, :, :-1])
    assert torch.equal(found[:, 1:, :, 1], numbers[:, :-1])
    assert bool((found[:, 0, :, 1] == -1).all())


def test_the_last_near_code_is_the_coarser_one_that_covers_it() -> None:
    shapes = [level.shape((13, 18)) for level in PAIR.levels]  # 2 x 3 and 4 x 5
    found = near(PAIR.levels, shapes)[:, -1]
    assert found[:6].tolist() == [-1] * 6
    expected = [[(i // 2) * 3 + j // 2 for j in range(5)] for i in range(4)]
    assert found[6:].view(4, 5).tolist() == expected


def test_a_stage_without_a_coarser_one_has_the_last() -> None:
    shapes = [level.shape((320,)) for level in STACKS.levels]  # (2, 2) and (4, 3)
    found = near(STACKS.levels, shapes)[:, -1]
    expected = [[min(q, 1) * 2 + t // 2 for q in range(3)] for t in range(4)]
    assert found[4:].view(4, 3).tolist() == expected

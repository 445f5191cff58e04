"""Samples against the probability of every possible outcome, which ``nll`` gives."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.priors.conftest import PIXELCNN, TRANSFORMER, flat_of, make
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Prompt

DRAWS = 3000
GRID = CodeSpec("image", (LevelSpec("codes", ("h", "w"), 3, (4, 4)),))
STACK = CodeSpec("audio", (LevelSpec("codes", ("q", "t"), 3, (80,), depth=2),), rate=8000.0)
PAIR = CodeSpec(
    "image", (LevelSpec("top", ("h", "w"), 3, (8, 8)), LevelSpec("bottom", ("h", "w"), 3, (8, 4)))
)
CASES: list[tuple[str, dict[str, Any], CodeSpec, tuple[int, ...]]] = [
    ("transformer", {}, GRID, (8, 8)),
    ("transformer", {"pattern": "delay"}, STACK, (160,)),
    ("transformer", {"pattern": "parallel"}, STACK, (160,)),
    ("pixelcnn", {"attention": 2}, GRID, (8, 8)),
    ("hierarchical", {"top": TRANSFORMER, "finer": PIXELCNN}, PAIR, (8, 8)),
]


def outcomes(spec: CodeSpec, extent: tuple[int, ...]) -> Codes:
    """All codes that there can be: three codes a place."""
    shapes = [level.shape(extent) for level in spec.levels]
    sizes = [int(torch.Size(shape).numel()) for shape in shapes]
    flat = torch.tensor(list(itertools.product(range(3), repeat=sum(sizes))))
    parts = flat.split(sizes, dim=1)
    levels = tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
    return Codes(spec, levels, extent)


def chances(prior: Any, codes: Codes, condition: int) -> Tensor:
    """The probability of each."""
    told = torch.full((len(codes),), condition)
    with torch.no_grad():
        nats = flat_of(Codes(codes.spec, prior.nll(codes, condition=told), codes.extent))
    return (-nats.double().sum(dim=1)).exp()


def number_of(flat: Tensor) -> Tensor:
    """The place of each row of codes among all outcomes."""
    weights = 3 ** torch.arange(flat.shape[1] - 1, -1, -1)
    return (flat * weights).sum(dim=1)


@pytest.mark.parametrize(("name", "given", "spec", "extent"), CASES)
def test_samples_come_as_often_as_their_cost_says(
    name: str, given: dict[str, Any], spec: CodeSpec, extent: tuple[int, ...]
) -> None:
    prior: Any = make(name, given, spec)
    everything = outcomes(spec, extent)
    expected = chances(prior, everything, 1)
    assert float(expected.sum()) == pytest.approx(1, abs=1e-4)
    found = prior.sample(DRAWS, extent, condition=torch.tensor([1]), seed=3)
    counts = torch.bincount(number_of(flat_of(found)), minlength=len(expected)).double()
    # Rare outcomes together, so that each cell of the test holds enough.
    often = expected * DRAWS >= 8
    ours = torch.cat([counts[often], counts[~often].sum()[None]])
    theirs = torch.cat([expected[often], expected[~often].sum()[None]]) * DRAWS
    degrees = len(ours) - 1
    # Mean and four and a half deviations of chi-square.
    bound = degrees + 4.5 * (2 * degrees) ** 0.5 + 5
    assert float(((ours - theirs) ** 2 / theirs.clamp_min(1e-9)).sum()) < bound
    # The test can fail: these are not the samples of items without a class.
    other = chances(prior, everything, -1)
    wrong = torch.cat([other[often], other[~often].sum()[None]]) * DRAWS
    assert float(((ours - wrong) ** 2 / wrong.clamp_min(1e-9)).sum()) > bound


def test_what_follows_a_prompt_comes_as_often_as_given_the_prompt() -> None:
    prior: Any = make("transformer", {}, GRID)
    everything = outcomes(GRID, (8, 8))
    expected = chances(prior, everything, 2)
    kept = torch.tensor([[[2, 0], [0, 0]]])
    rest = number_of(flat_of(everything)) // 9 == number_of(torch.tensor([[2, 0]]))
    expected = expected[rest] / expected[rest].sum()
    prompt = Prompt(Codes(GRID, (kept,), (8, 8)), 1)
    found = prior.sample(DRAWS, (8, 8), condition=torch.tensor([2]), prompt=prompt, seed=1)
    counts = torch.bincount(number_of(flat_of(found)[:, 2:]), minlength=9).double()
    chi_square = float(((counts - expected * DRAWS) ** 2 / (expected * DRAWS)).sum())
    assert chi_square < 8 + 4.5 * 4 + 5

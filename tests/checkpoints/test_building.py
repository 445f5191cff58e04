"""Networks are built without drawing weights that are about to be replaced."""

from __future__ import annotations

import torch
from torch import nn

from vqtok.checkpoints.building import Unfilled


def test_nothing_random_is_drawn_inside_and_all_is_outside():
    before = torch.random.get_rng_state()
    with Unfilled():
        built = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(3, 4, 1), nn.Embedding(5, 2))
        nn.init.trunc_normal_(tensor=built[0].weight)
    assert torch.equal(torch.random.get_rng_state(), before)
    nn.Linear(3, 4)
    assert not torch.equal(torch.random.get_rng_state(), before)


def test_what_is_not_random_is_still_filled():
    with Unfilled():
        norm = nn.GroupNorm(2, 4)
        assert torch.equal(norm.weight, torch.ones(4))
        assert torch.equal(torch.arange(3), torch.tensor([0, 1, 2]))

"""The averaged model is the exponentially weighted mean of the weights, beside current buffers."""

from __future__ import annotations

import torch
from torch import nn

from vqtok.training.trainer import Average


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(0))


def test_it_is_the_weighted_mean_of_all_steps() -> None:
    model = Tiny()
    average = Average(model, decay=0.9)
    expected = torch.zeros(3, dtype=torch.float64)
    for step in range(40):
        with torch.no_grad():
            model.weight.copy_(torch.tensor([1.0, step, step**2]))
        average.follow(model, step=step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.model.weight.detach(), expected)


def test_the_random_start_is_soon_forgotten() -> None:
    model = Tiny()
    nn.init.constant_(model.weight, 100.0)
    average = Average(model, decay=0.999)
    nn.init.ones_(model.weight)
    for step in range(50):
        average.follow(model, step=step)
    assert float(average.model.weight[0]) < 1.001


def test_buffers_are_those_of_the_model_whatever_their_length() -> None:
    model = Tiny()
    average = Average(model, decay=0.9)
    model.seen = torch.arange(5.0)
    assert torch.equal(average.catch_up(model).seen, model.seen)
    model.seen = torch.arange(2.0)
    assert torch.equal(average.catch_up(model).seen, model.seen)


def test_it_takes_no_gradient_and_leaves_the_model_its_own() -> None:
    model = Tiny()
    average = Average(model, decay=0.9)
    assert not any(each.requires_grad for each in average.parameters())
    assert model.weight.requires_grad

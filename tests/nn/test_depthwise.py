"""The depthwise convolution's gradients, against those of torch in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqtok.nn import depthwise as subject
from vqtok.nn.convnext import Block
from vqtok.nn.depthwise import depthwise

sizes = st.integers(1, 9)


def gradients(y: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape).sin()
    return torch.autograd.grad((y * direction).sum(), leaves)


@settings(deadline=None)
@given(st.tuples(sizes, sizes), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.data())
def test_gradients_are_those_of_torch(
    area: tuple[int, int], kernel: tuple[int, int], data: st.DataObject
) -> None:
    (height, width), (down, across) = area, kernel
    left, right = (data.draw(st.integers(0, across - 1)) for _ in range(2))
    top, bottom = (data.draw(st.integers(0, down - 1)) for _ in range(2))
    if height + top + bottom < down or width + left + right < across:
        return
    padding = (left, right, top, bottom)
    draw = torch.Generator().manual_seed(0)
    shapes = ((2, 3, height, width), (3, 1, down, across), (3,))
    leaves = tuple(torch.randn(s, generator=draw).requires_grad_() for s in shapes)
    exact = tuple(each.detach().double().requires_grad_() for each in leaves)
    x, weight, bias = leaves
    kept, subject.AREA = subject.AREA, data.draw(st.integers(1, 100))  # of one kernel or many
    try:
        y = depthwise(x, weight, bias, padding)
        found = (y, *gradients(y, leaves))
    finally:
        subject.AREA = kept
    oracle = F.conv2d(F.pad(exact[0], padding), *exact[1:], groups=3)
    expected = (oracle, *gradients(oracle, exact))
    for ours, true in zip(found, expected, strict=True):
        assert ours.shape == true.shape
        torch.testing.assert_close(ours.double(), true, rtol=1e-5, atol=1e-4)


def test_only_the_gradients_asked_for_are_made() -> None:
    x, weight, bias = torch.randn(1, 2, 4, 4), torch.randn(2, 1, 3, 3), torch.randn(2)
    y = depthwise(x, weight, bias.requires_grad_(), (1, 1, 1, 1))
    y.sum().backward()
    assert x.grad is None
    assert weight.grad is None
    assert bias.grad is not None
    assert bias.grad.tolist() == [16.0, 16.0]


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_computes_the_same_while_it_learns(causal: bool) -> None:
    torch.manual_seed(0)
    block = Block(8, kernel=(1 if causal else 3, 5), causal=causal)
    x = torch.randn(2, 8, 6, 20)
    learning = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block(x), learning, rtol=1e-5, atol=1e-5)

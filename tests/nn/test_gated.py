"""Gated layers: row by row and column by column they give what the whole grid gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vqtok.nn.attention import turns
from vqtok.nn.gated import Layer

PLACES = turns(torch.zeros(20, 2).double(), torch.zeros(20, 2).double(), dim=4, dtype=torch.float32)


def layer(kernel: int, *, heads: int = 0) -> Layer:
    torch.manual_seed(0)
    return Layer(8, kernel=kernel, dropout=0.5, conditioned=True, heads=heads).eval()


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("heads", [0, 2])
def test_a_position_sees_exactly_what_its_stack_may(kernel: int, heads: int) -> None:
    net = layer(kernel, heads=heads)
    down = torch.randn(1, 8, 4, 5, requires_grad=True)
    right = torch.randn(1, 8, 4, 5, requires_grad=True)
    reach = kernel // 2
    row, column = 2, 2
    below, beside = net(down, right, None, PLACES)
    (grad,) = torch.autograd.grad(below[0, :, row, column].sum(), down, retain_graph=True)
    seen = grad[0].abs().sum(dim=0) > 0
    for i in range(4):
        for j in range(5):
            assert bool(seen[i, j]) == (row - reach <= i <= row and abs(j - column) <= reach)
    grads = torch.autograd.grad(beside[0, :, row, column].sum(), (down, right))
    seen = grads[1][0].abs().sum(dim=0) > 0
    for i in range(4):
        for j in range(5):
            near = i == row and column - reach <= j <= column
            before = (i, j) <= (row, column)
            assert bool(seen[i, j]) == (before if heads else near)
    assert not bool(grads[0][0, :, row + 1 :].any())


def test_rows_and_columns_one_by_one_are_the_whole() -> None:
    net = layer(5)
    down, right, known = torch.randn(3, 2, 8, 4, 5).unbind(0)
    whole = net(down, right, known, PLACES)
    hints = net.hints(known)
    padded = F.pad(down, (0, 0, net.radius, 0))
    for row in range(4):
        rows = slice(row, row + 1)
        found, between = net.rows(padded[:, :, row : row + net.radius + 1], hints[0][:, :, rows])
        torch.testing.assert_close(found, whole[0][:, :, rows], atol=1e-6, rtol=1e-5)
        line = F.pad(right[:, :, rows], (net.radius, 0))
        for column in range(5):
            one = slice(column, column + 1)
            added = net.columns(
                line[..., column : column + net.radius + 1],
                between[..., one],
                hints[1][:, :, rows, one],
            )
            expected = whole[1][:, :, rows, one]
            torch.testing.assert_close(
                right[:, :, rows, one] + added, expected, atol=1e-6, rtol=1e-5
            )

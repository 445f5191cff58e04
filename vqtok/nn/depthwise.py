"""Depthwise convolution with gradients that are fast on CPUs.

For the gradient of depthwise weights a CPU library has no kernel to speak of: it costs ten times
the convolution itself. It is a depthwise convolution too, though, of every image's channels with
the output's gradient as the kernel, and for small maps that runs at the speed of the forward one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

AREA = 256
"""Positions of the gradient that serve as one kernel; kernels of more are slow."""

Padding = tuple[int, int, int, int]
"""Zeros on the left, right, top and bottom, fewer on each side than the kernel is long there."""


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """Convolve each channel with a kernel of its own, on a CPU.

    Args:
        x: (B, D, H, W), channels-last, of the type of the weight.
        weight: (D, 1, h, w).
        bias: (D,).
        padding: Around x.

    Returns:
        (B, D, H + top + bottom - h + 1, W + left + right - w + 1), channels-last.
    """
    out = _Depthwise.apply(x, weight, bias, padding)  # type: ignore[no-untyped-call]
    return cast(Tensor, out)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Padding) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.biased = padding, bias is not None
        return _convolve(x, weight, bias, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            height, width = weight.shape[2:]
            left, right, top, bottom = ctx.padding
            across, down = width - 1, height - 1
            around = (across - left, across - right, down - top, down - bottom)
            of_x = _convolve(grad, weight.flip(2, 3), None, around)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(x, grad, ctx.padding)
        if ctx.biased and ctx.needs_input_grad[2]:
            of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    left, right, top, bottom = padding
    if x.dtype == torch.float64:
        return _shifted(F.pad(x, padding), weight, bias)
    if left == right and top == bottom:
        return F.conv2d(x, weight, bias, padding=(top, left), groups=len(weight))
    return F.conv2d(F.pad(x, padding), weight, bias, groups=len(weight))


def _shifted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Add up shifted inputs: in float64 there is no kernel to speak of either."""
    height, width = weight.shape[2:]
    rows, columns = x.shape[2] - height + 1, x.shape[3] - width + 1
    positions = x.permute(0, 2, 3, 1)  # (B, H, W, D)
    y = positions.new_zeros(len(x), rows, columns, x.shape[1])
    if bias is not None:
        y += bias
    for i in range(height):
        for j in range(width):
            part = positions[:, i : i + rows, j : j + columns]
            y.addcmul_(part, weight[:, 0, i, j])
    return y.permute(0, 3, 1, 2)


def _of_weight(x: Tensor, grad: Tensor, padding: Padding) -> Tensor:
    """Correlates the padded x, (B, D, H, W), with the output's gradient: (D, 1, h, w)."""
    left, right, top, bottom = padding
    batch, channels, height, width = x.shape
    padded = x.new_zeros(batch, channels, height + top + bottom, width + left + right)
    padded[:, :, top : top + height, left : left + width] = x
    down, across = (p - g for p, g in zip(padded.shape[2:], grad.shape[2:], strict=True))
    total = x.new_zeros(channels, 1, down + 1, across + 1)
    for rows, columns in _kernels(grad.shape[2], grad.shape[3]):
        kernel = grad[:, :, rows, columns].reshape(-1, 1, *_extent(rows, columns))
        seen = padded[:, :, rows.start : rows.stop + down, columns.start : columns.stop + across]
        found = F.conv2d(seen.reshape(1, -1, *seen.shape[2:]), kernel, groups=len(kernel))
        total += found.view(batch, channels, down + 1, across + 1).sum(0)[:, None]
    return total


def _kernels(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    columns = min(width, AREA)
    rows = max(1, AREA // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield slice(top, min(height, top + rows)), slice(left, min(width, left + columns))


def _extent(rows: slice, columns: slice) -> tuple[int, int]:
    return rows.stop - rows.start, columns.stop - columns.start

"""Run networks on a small region of their output, with exactly the input that it takes.

A local network gives one position from a window of its input. ``before`` walks back from the output
to that window, ``region`` forward from it, and each layer computes no more than the next one needs.
Beyond a grid's edge lie the zeros of each layer's own padding, so the result is what the whole
input would give there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.convnext import Block
from vqtok.nn.pyramid import Residual

Span = tuple[int, int]
"""First position and the one behind the last; either may lie beyond the grid's edge."""


class Region(NamedTuple):
    """Positions of a grid, rows and columns."""

    rows: Span
    columns: Span


class Source(NamedTuple):
    """A signal that can be read region by region."""

    read: Callable[[Region], Tensor]
    """Region → (1, C, rows, columns); anything beyond the edge."""
    grid: tuple[int, int]
    """(H, W)."""


def flat(layers: nn.Module | Sequence[nn.Module]) -> Iterator[nn.Module]:
    """Take the layers out of nested ``nn.Sequential``, in order."""
    if isinstance(layers, nn.Sequential | Sequence | nn.ModuleList):
        for layer in layers:
            yield from flat(layer)
    else:
        yield layers


def before(layers: nn.Module | Sequence[nn.Module], span: Span) -> Span:
    """Find the positions of the input that determine a span of the output, along either axis."""
    for layer in reversed(list(flat(layers))):
        span = _before(layer, span)
    return span


def region(layers: nn.Module | Sequence[nn.Module], source: Source, wanted: Region) -> Tensor:
    """Compute what the layers give on a region.

    Args:
        layers: Pointwise ones, convolutions, shuffles and the blocks of this room.
        source: Their input.
        wanted: Region of their output.

    Returns:
        (1, D, rows, columns); anything beyond the output's edge.
    """
    chain = list(flat(layers))
    regions = [wanted]
    for layer in reversed(chain):
        regions.insert(0, Region(*(_before(layer, span) for span in regions[0])))
    x, grid = source.read(regions[0]), source.grid
    for index, layer in enumerate(chain):
        inside = _inside(regions[index], grid, x.device)
        x = _apply(layer, x * inside, inside, regions[index], regions[index + 1])
        grid = (_after(layer, grid[0]), _after(layer, grid[1]))
    return x


def cut(x: Tensor, region: Region) -> Tensor:
    """Cut a region out of (…, H, W), with zeros where it lies beyond the edge."""
    sizes = x.shape[-2:]
    kept = Region(*(_clamped(span, size) for span, size in zip(region, sizes, strict=True)))
    part = x[..., slice(*kept.rows), slice(*kept.columns)]
    if kept == region:
        return part
    (top, bottom), (left, right) = region
    whole = x.new_zeros(*x.shape[:-2], bottom - top, right - left)
    rows, columns = (
        slice(first - start, last - start)
        for (first, last), start in zip(kept, (top, left), strict=True)
    )
    whole[..., rows, columns] = part
    return whole


def _clamped(span: Span, size: int) -> Span:
    first, last = (min(max(0, at), size) for at in span)
    return first, last


def _inside(region: Region, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Mark the positions of a region that lie in the grid: (rows, columns) bool."""
    spans = [torch.arange(*span, device=device) for span in region]
    rows, columns = ((span >= 0) & (span < size) for span, size in zip(spans, grid, strict=True))
    return rows[:, None] & columns


@singledispatch
def _before(layer: nn.Module, span: Span) -> Span:
    return span  # pointwise


@_before.register
def _(layer: nn.Conv2d, span: Span) -> Span:
    step, padding, size = layer.stride[0], cast(int, layer.padding[0]), layer.kernel_size[0]
    return span[0] * step - padding, (span[1] - 1) * step - padding + size


@_before.register
def _(layer: nn.ConvTranspose2d, span: Span) -> Span:
    # Output o takes inputs i with o = i · step - padding + k, 0 <= k < size.
    step, padding, size = layer.stride[0], cast(int, layer.padding[0]), layer.kernel_size[0]
    return -((size - 1 - padding - span[0]) // step), (span[1] - 1 + padding) // step + 1


@_before.register
def _(layer: Block, span: Span) -> Span:
    side = layer.depthwise.kernel_size[0] // 2
    return span[0] - side, span[1] + side


@_before.register
def _(layer: Residual, span: Span) -> Span:
    return span[0] - 1, span[1] + 1


@_before.register
def _(layer: nn.PixelUnshuffle, span: Span) -> Span:
    return span[0] * layer.downscale_factor, span[1] * layer.downscale_factor


@_before.register
def _(layer: nn.PixelShuffle, span: Span) -> Span:
    return span[0] // layer.upscale_factor, -(-span[1] // layer.upscale_factor)


@singledispatch
def _after(layer: nn.Module, size: int) -> int:
    return size


@_after.register
def _(layer: nn.Conv2d, size: int) -> int:
    return size // layer.stride[0]


@_after.register
def _(layer: nn.ConvTranspose2d, size: int) -> int:
    return size * layer.stride[0]


@_after.register
def _(layer: nn.PixelUnshuffle, size: int) -> int:
    return size // layer.downscale_factor


@_after.register
def _(layer: nn.PixelShuffle, size: int) -> int:
    return size * layer.upscale_factor


@singledispatch
def _apply(layer: nn.Module, x: Tensor, inside: Tensor, given: Region, wanted: Region) -> Tensor:
    y: Tensor = layer(x)
    return y


@_apply.register
def _(layer: nn.Conv2d, x: Tensor, inside: Tensor, given: Region, wanted: Region) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, stride=layer.stride)


@_apply.register
def _(
    layer: nn.ConvTranspose2d, x: Tensor, inside: Tensor, given: Region, wanted: Region
) -> Tensor:
    step, padding = layer.stride[0], cast(int, layer.padding[0])
    y = F.conv_transpose2d(x, layer.weight, layer.bias, stride=layer.stride)
    return _crop(y, wanted, [span[0] * step - padding for span in given])


@_apply.register
def _(layer: Block, x: Tensor, inside: Tensor, given: Region, wanted: Region) -> Tensor:
    return layer.inner(x, inside)[0]


@_apply.register
def _(layer: Residual, x: Tensor, inside: Tensor, given: Region, wanted: Region) -> Tensor:
    mixed = F.conv2d(F.relu(x), layer.mix.weight, layer.mix.bias)
    y: Tensor = layer.project(F.relu(mixed))
    return x[..., 1:-1, 1:-1] + y


@_apply.register
def _(layer: nn.PixelShuffle, x: Tensor, inside: Tensor, given: Region, wanted: Region) -> Tensor:
    return _crop(layer(x), wanted, [span[0] * layer.upscale_factor for span in given])


def _crop(y: Tensor, wanted: Region, origin: Sequence[int]) -> Tensor:
    rows, columns = (
        slice(span[0] - first, span[1] - first) for span, first in zip(wanted, origin, strict=True)
    )
    return y[..., rows, columns]

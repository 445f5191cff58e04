"""Layers in float64: what each sees of its input, and makes of it.

Tensors are (items, rows, columns, channels). numpy has no erf, so GELU is computed by a table of
the normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np

from vqtok.graphs.graph import Node

Array = Any
"""An array of numpy."""
Span = tuple[int, int]
"""First position and the one behind the last."""

_STEP = 256
"""Points of the table per unit: between them five terms of a Taylor series reach float64."""
_END = 9
"""Behind it the distribution is 0 and 1 in float64."""
_TERMS = 5
_BLOCK = 1 << 14
"""Numbers at once, so that what lies between stays in the cache."""


class Region(NamedTuple):
    """Positions of a grid, rows and columns."""

    rows: Span
    columns: Span

    @property
    def sides(self) -> tuple[int, int]:
        """Count the rows and columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


class Part(NamedTuple):
    """What is known of a tensor: (items, rows, columns, channels), and where the first lies."""

    values: Array
    region: Region


class _Window(NamedTuple):
    """How a layer looks at its input, along one axis."""

    size: int
    step: int
    before: int
    after: int


def window(node: Node, axis: int) -> _Window:
    """Read sizes of a convolution; of all other nodes those of a pointwise one."""
    found = cast("Mapping[str, Sequence[int]]", node.attributes)
    size = found["kernel_shape"][axis]
    pads = found.get("pads", (0, 0, 0, 0))
    return _Window(size, found["strides"][axis], pads[axis], pads[axis + 2])


def before(node: Node, region: Region) -> Region:
    """Find the positions of the input that determine a region of the output."""
    rows, columns = (_span_before(node, span, axis) for axis, span in enumerate(region))
    return Region(rows, columns)


def _span_before(node: Node, span: Span, axis: int) -> Span:
    if node.op == "DepthToSpace":
        factor = cast(int, node.attributes["blocksize"])
        return span[0] // factor, -(-span[1] // factor)
    if node.op not in ("Conv", "ConvTranspose"):
        return span
    size, step, pad, _ = window(node, axis)
    if node.op == "Conv":
        return span[0] * step - pad, (span[1] - 1) * step - pad + size
    # Output o takes inputs i with o = i · step - pad + k, 0 <= k < size.
    return -((size - 1 - pad - span[0]) // step), (span[1] - 1 + pad) // step + 1


def after(node: Node, length: int, axis: int) -> int:
    """Count the positions of the output."""
    if node.op == "DepthToSpace":
        return length * cast(int, node.attributes["blocksize"])
    if node.op not in ("Conv", "ConvTranspose"):
        return length
    size, step, before, after = window(node, axis)
    if node.op == "Conv":
        return (length + before + after - size) // step + 1
    return (length - 1) * step - before - after + size


def lead(node: Node, wanted: Region, seen: Region) -> Span:
    """Count the rows and columns that a layer makes of ``seen`` before those that are wanted."""
    if node.op == "DepthToSpace":
        factor = cast(int, node.attributes["blocksize"])
        return wanted.rows[0] - seen.rows[0] * factor, wanted.columns[0] - seen.columns[0] * factor
    rows, columns = window(node, 0), window(node, 1)
    return (
        wanted.rows[0] - (seen.rows[0] * rows.step - rows.before),
        wanted.columns[0] - (seen.columns[0] * columns.step - columns.before),
    )


def cut(part: Part, wanted: Region) -> Array:
    """Take a region out of what is known, with zeros where nothing is."""
    if wanted == part.region:
        return part.values
    inside = [
        (max(want[0], have[0]), min(want[1], have[1]))
        for want, have in zip(wanted, part.region, strict=True)
    ]
    if tuple(inside) == tuple(wanted):
        return part.values[_within(inside, part.region)]
    out = np.zeros((len(part.values), *wanted.sides, part.values.shape[-1]))
    if all(first < last for first, last in inside):
        out[_within(inside, wanted)] = part.values[_within(inside, part.region)]
    return out


def _within(spans: Sequence[Span], region: Region) -> tuple[slice, ...]:
    """Slice spans of a grid out of what is known of a region."""
    pairs = zip(spans, region, strict=True)
    inside = (slice(first - start, last - start) for (first, last), (start, _) in pairs)
    return slice(None), *inside


def alone(node: Node, x: Array, numbers: Sequence[Array], out: Array) -> Array:
    """Compute a layer of single positions, (N, C), into ``out``, which may be ``x`` itself."""
    if node.op == "MatMul":
        return np.matmul(x, numbers[0], out=out)
    if node.op == "Add":
        return np.add(x, numbers[0], out=out)
    if node.op == "Gelu":
        return gelu(x, out=out)
    if node.op == "Relu":
        return np.maximum(x, 0.0, out=out)
    weight, bias = numbers
    np.subtract(x, x.mean(axis=-1, keepdims=True), out=out)
    epsilon = cast(float, node.attributes["epsilon"])
    out /= np.sqrt(np.square(out).mean(axis=-1, keepdims=True) + epsilon)
    out *= weight
    out += bias
    return out


def gelu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Compute x · Φ(x) of float64 numbers, Φ to a few units in the last place of 1.

    Args:
        x: Of any shape.
        out: Where to write, contiguous, may be ``x``; None: a new array.
    """
    out = np.empty(x.shape) if out is None else out
    flat, written = x.reshape(-1), out.reshape(-1)
    table = _table()
    for start in range(0, len(flat), _BLOCK):
        part = flat[start : start + _BLOCK]
        off = np.clip(part, -_END, _END)
        nearest = np.rint(off * _STEP)
        off -= nearest / _STEP
        row = nearest.astype(np.intp)
        row += _END * _STEP
        total = table[-1].take(row)
        for terms in table[-2::-1]:
            total *= off
            total += terms.take(row)
        np.multiply(total, part, out=written[start : start + _BLOCK])
    return out


@cache
def _table() -> np.ndarray:
    """Give coefficients of Taylor series around each point: (terms, points)."""
    points = np.arange(-_END * _STEP, _END * _STEP + 1) / _STEP
    table = np.empty((_TERMS, len(points)))
    table[0] = [0.5 * math.erfc(-x * math.sqrt(0.5)) for x in points]
    # The n-th derivative is (-1)^(n-1) He_(n-1) φ, by the recurrence of Hermite polynomials.
    density = np.exp(-0.5 * points * points) / math.sqrt(2 * math.pi)
    before, hermite = np.zeros_like(points), np.ones_like(points)
    for n in range(1, _TERMS):
        table[n] = density * (-1) ** (n - 1) * hermite / math.factorial(n)
        before, hermite = hermite, points * hermite - (n - 1) * before
    return table


def _conv(
    node: Node, part: Part, wanted: Region, weight: Array, bias: Array | None = None
) -> Array:
    x = cut(part, before(node, wanted))
    rows, columns = window(node, 0), window(node, 1)
    taps = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, len(weight))
    if node.attributes.get("group", 1) == 1:
        sizes = (rows.size, columns.size)
        windows = np.lib.stride_tricks.sliding_window_view(x, sizes, axis=(1, 2))
        windows = windows[:, :: rows.step, :: columns.step].transpose(0, 1, 2, 4, 5, 3)
        out = windows.reshape(*windows.shape[:3], -1) @ taps
    else:  # each channel has taps of its own
        height, width = wanted.sides
        out, each = (np.zeros((len(x), height, width, len(weight))) for _ in range(2))
        for index, tap in enumerate(taps):
            i, j = divmod(index, columns.size)
            down = slice(i, i + (height - 1) * rows.step + 1, rows.step)
            across = slice(j, j + (width - 1) * columns.step + 1, columns.step)
            np.multiply(x[:, down, across], tap, out=each)
            out += each
    if bias is not None:
        out += bias
    return out


def _conv_transpose(
    node: Node, part: Part, wanted: Region, weight: Array, bias: Array | None = None
) -> Array:
    seen = before(node, wanted)
    x = cut(part, seen)
    rows, columns = window(node, 0), window(node, 1)
    shape = (
        (x.shape[1] - 1) * rows.step + rows.size,
        (x.shape[2] - 1) * columns.step + columns.size,
    )
    out = np.zeros((len(x), *shape, weight.shape[1]))
    for i in range(rows.size):
        for j in range(columns.size):
            down = slice(i, i + (x.shape[1] - 1) * rows.step + 1, rows.step)
            across = slice(j, j + (x.shape[2] - 1) * columns.step + 1, columns.step)
            out[:, down, across] += x @ weight[:, :, i, j]
    out = _led(out, node, wanted, seen)
    return out if bias is None else out + bias


def _depth_to_space(node: Node, part: Part, wanted: Region) -> Array:
    factor = cast(int, node.attributes["blocksize"])
    seen = before(node, wanted)
    x = cut(part, seen)
    items, rows, columns, channels = x.shape
    x = x.reshape(items, rows, columns, channels // factor**2, factor, factor)
    x = x.transpose(0, 1, 4, 2, 5, 3).reshape(items, rows * factor, columns * factor, -1)
    return _led(x, node, wanted, seen)


def _led(x: Array, node: Node, wanted: Region, seen: Region) -> Array:
    """Take what is wanted of all that a layer made."""
    top, left = lead(node, wanted, seen)
    height, width = wanted.sides
    return x[:, top : top + height, left : left + width]


MAGNIFYING = ("ConvTranspose", "DepthToSpace")
"""Nodes of which a region's first positions may be other ones than those made of what is seen."""

IDLE = ("Identity", "Transpose")
"""Nodes that change no number."""

ALONE = frozenset(("Add", "Gelu", "LayerNormalization", "MatMul", "Relu", *IDLE))
"""Nodes whose output at a position comes of the input there."""

MOVING: Mapping[str, Callable[..., Any]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
}
"""Nodes whose output at a position comes of others of the input."""

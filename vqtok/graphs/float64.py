"""Compute a graph in float64 on a small region of its output, from no more than it depends on.

A local network gives one position from a window of its input. The nodes are walked from the output
back to that window, and computed forward from it, each on what the next ones need. Beyond a grid's
edge lie the zeros of each layer's own padding, so the result is what the whole input would give.

Tensors are (rows, columns, channels) here: that a graph moves axes changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from vqtok.errors import CheckpointError
from vqtok.graphs.gelu import gelu
from vqtok.graphs.graph import Graph, Node

Array = Any
"""An array of numpy."""
Span = tuple[int, int]
"""First position and the one behind the last."""


class Region(NamedTuple):
    """Positions of a grid, rows and columns."""

    rows: Span
    columns: Span

    @property
    def sides(self) -> tuple[int, int]:
        """Count the rows and columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


class Source(NamedTuple):
    """A signal that is read region by region."""

    read: Callable[[Region], Array]
    """Region inside the grid → (rows, columns, C) float64."""
    grid: tuple[int, int]
    """(H, W)."""


class Part(NamedTuple):
    """What is known of a tensor."""

    values: Array
    region: Region


class Float64:
    """A graph, to be computed in float64.

    Args:
        graph: Of one output.
        arrays: Weights by their names in the file.

    Raises:
        CheckpointError: operators in a combination that is never written.
    """

    def __init__(self, graph: Graph, arrays: Mapping[str, Array]) -> None:
        self._graph = graph
        self._constants: dict[str, Array] = dict(graph.constants)
        for weight in graph.weights:
            stored = arrays[weight.name.partition(" ")[0]]
            self._constants[weight.name] = stored.reshape(weight.shape)
        self._nodes: list[Node] = []
        self._sizes: dict[str, str] = {}
        for node in graph.nodes:
            if node.op == "Shape":
                self._sizes[node.outputs[0]] = node.inputs[0]
            elif all(name in self._constants for name in node.inputs):
                given = [self._constants[name] for name in node.inputs]
                self._constants[node.outputs[0]] = _folded(node, given)
            else:
                self._nodes.append(node)

    def __call__(self, sources: Mapping[str, Source], wanted: Region) -> Array:
        """Compute the output on a region: (rows, columns, D).

        Args:
            sources: Of each input.
            wanted: Inside the output's grid.
        """
        grids = {name: source.grid for name, source in sources.items()}
        for node in self._nodes:
            grids[node.outputs[0]] = self._grid(node, grids)
        needed = {self._graph.outputs[0].name: wanted}
        for node in reversed(self._nodes):
            if node.outputs[0] not in needed:
                continue
            seen = _before(node, needed[node.outputs[0]])
            for name in self._signals(node):
                inside = _clamped(seen, grids[name])
                needed[name] = _hull(needed[name], inside) if name in needed else inside
        parts = {
            name: Part(source.read(needed[name]), needed[name])
            for name, source in sources.items()
            if name in needed
        }
        for node in self._nodes:
            name = node.outputs[0]
            if name in needed:
                parts[name] = Part(self._compute(node, parts, needed[name]), needed[name])
        return parts[self._graph.outputs[0].name].values

    def whole(self, inputs: Mapping[str, Array]) -> Array:
        """Compute the output for whole inputs, (rows, columns, C) each."""

        def source(x: Array) -> Source:
            def read(at: Region) -> Array:
                return _wide(x[slice(*at.rows), slice(*at.columns)])

            return Source(read, (x.shape[0], x.shape[1]))

        sources = {name: source(x) for name, x in inputs.items()}
        grids = {name: each.grid for name, each in sources.items()}
        for node in self._nodes:
            grids[node.outputs[0]] = self._grid(node, grids)
        height, width = grids[self._graph.outputs[0].name]
        return self(sources, Region((0, height), (0, width)))

    def _signals(self, node: Node) -> list[str]:
        """List the inputs that are neither weights nor sizes."""
        names = node.inputs[:1] if node.op == "Slice" else node.inputs
        return [name for name in names if name not in self._constants]

    def _grid(self, node: Node, grids: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
        if node.op == "Slice":
            return grids[self._sizes[node.inputs[2]]]
        found = grids[self._signals(node)[0]]
        return _after(node, found[0], 0), _after(node, found[1], 1)

    def _compute(self, node: Node, parts: Mapping[str, Part], wanted: Region) -> Array:
        signals = [parts[name] for name in self._signals(node)]
        numbers = [self._constants[name] for name in node.inputs if name in self._constants]
        if node.op in _MOVING:
            return _MOVING[node.op](node, signals[0], wanted, *numbers)
        given = [_cut(part, wanted) for part in signals]
        if node.op in ("Identity", "Transpose", "Slice"):
            return given[0]
        if node.op == "Concat":
            return np.concatenate(given, axis=-1)
        if node.op == "Gelu":
            return gelu(given[0])
        if node.op == "Relu":
            return np.maximum(given[0], 0.0)
        if node.op == "Add":
            return given[0] + (given[1] if len(given) > 1 else numbers[0])
        if node.op == "MatMul":
            return given[0] @ _wide(numbers[0])
        if node.op == "LayerNormalization":
            return _normed(given[0], *numbers, epsilon=cast(float, node.attributes["epsilon"]))
        raise CheckpointError(f"a foreign graph: {node.op} of a signal")


def _wide(numbers: Array) -> Array:
    return numbers.astype(np.float64)


def _folded(node: Node, given: Sequence[Array]) -> Array:
    """Compute a node of weights alone."""
    if node.op == "Cast":
        return given[0]
    if node.op == "Transpose":
        return given[0].transpose(cast("tuple[int, ...]", node.attributes["perm"]))
    if node.op == "Mul":
        return _wide(given[0]) * _wide(given[1])
    raise CheckpointError(f"a foreign graph: {node.op} of weights")


def _normed(x: Array, weight: Array, bias: Array, *, epsilon: float) -> Array:
    x = x - x.mean(axis=-1, keepdims=True)
    x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + epsilon)
    return x * _wide(weight) + _wide(bias)


class _Window(NamedTuple):
    """How a layer looks at its input, along one axis."""

    size: int
    step: int
    before: int
    after: int


def _window(node: Node, axis: int) -> _Window:
    """Read sizes of a convolution; of all other nodes those of a pointwise one."""
    found = cast("Mapping[str, Sequence[int]]", node.attributes)
    size = found["kernel_shape"][axis]
    pads = found.get("pads", (0, 0, 0, 0))
    return _Window(size, found["strides"][axis], pads[axis], pads[axis + 2])


def _before(node: Node, region: Region) -> Region:
    """Find the positions of the input that determine a region of the output."""
    rows, columns = (_span_before(node, span, axis) for axis, span in enumerate(region))
    return Region(rows, columns)


def _span_before(node: Node, span: Span, axis: int) -> Span:
    if node.op == "DepthToSpace":
        factor = cast(int, node.attributes["blocksize"])
        return span[0] // factor, -(-span[1] // factor)
    if node.op not in ("Conv", "ConvTranspose"):
        return span
    size, step, pad, _ = _window(node, axis)
    if node.op == "Conv":
        return span[0] * step - pad, (span[1] - 1) * step - pad + size
    # Output o takes inputs i with o = i · step - pad + k, 0 <= k < size.
    return -((size - 1 - pad - span[0]) // step), (span[1] - 1 + pad) // step + 1


def _after(node: Node, length: int, axis: int) -> int:
    """Count the positions of the output."""
    if node.op == "DepthToSpace":
        return length * cast(int, node.attributes["blocksize"])
    if node.op not in ("Conv", "ConvTranspose"):
        return length
    size, step, before, after = _window(node, axis)
    if node.op == "Conv":
        return (length + before + after - size) // step + 1
    return (length - 1) * step - before - after + size


def _clamped(region: Region, grid: tuple[int, int]) -> Region:
    rows, columns = (
        (min(max(0, first), size), min(max(0, last), size))
        for (first, last), size in zip(region, grid, strict=True)
    )
    return Region(rows, columns)


def _hull(a: Region, b: Region) -> Region:
    rows, columns = (
        (min(one[0], other[0]), max(one[1], other[1])) for one, other in zip(a, b, strict=True)
    )
    return Region(rows, columns)


def _cut(part: Part, wanted: Region) -> Array:
    """Take a region out of what is known, with zeros where nothing is."""
    if wanted == part.region:
        return part.values
    out = np.zeros((*wanted.sides, part.values.shape[-1]))
    inside = [
        (max(want[0], have[0]), min(want[1], have[1]))
        for want, have in zip(wanted, part.region, strict=True)
    ]
    if all(first < last for first, last in inside):
        out[_within(inside, wanted)] = part.values[_within(inside, part.region)]
    return out


def _within(spans: Sequence[Span], region: Region) -> tuple[slice, ...]:
    """Slice spans of a grid out of what is known of a region."""
    pairs = zip(spans, region, strict=True)
    return tuple(slice(first - start, last - start) for (first, last), (start, _) in pairs)


def _conv(
    node: Node, part: Part, wanted: Region, weight: Array, bias: Array | None = None
) -> Array:
    x = _cut(part, _before(node, wanted))
    rows, columns = _window(node, 0), _window(node, 1)
    height, width = wanted.sides
    single = node.attributes.get("group", 1) != 1
    taps = np.ascontiguousarray(_wide(weight).transpose(2, 3, 1, 0))  # D is 1 of single channels
    windows = [
        x[
            slice(i, i + (height - 1) * rows.step + 1, rows.step),
            slice(j, j + (width - 1) * columns.step + 1, columns.step),
        ]
        for i in range(rows.size)
        for j in range(columns.size)
    ]
    if single:
        out, each = (np.zeros((height, width, len(weight))) for _ in range(2))
        for window, tap in zip(windows, taps.reshape(-1, len(weight)), strict=True):
            np.multiply(window, tap, out=each)
            out += each
    else:
        out = np.concatenate(windows, axis=-1) @ taps.reshape(-1, len(weight))
    return out if bias is None else out + _wide(bias)


def _conv_transpose(
    node: Node, part: Part, wanted: Region, weight: Array, bias: Array | None = None
) -> Array:
    seen = _before(node, wanted)
    x = _cut(part, seen)
    rows, columns = _window(node, 0), _window(node, 1)
    shape = (
        (x.shape[0] - 1) * rows.step + rows.size,
        (x.shape[1] - 1) * columns.step + columns.size,
    )
    out = np.zeros((*shape, weight.shape[1]))
    for i in range(rows.size):
        for j in range(columns.size):
            down = slice(i, i + (x.shape[0] - 1) * rows.step + 1, rows.step)
            across = slice(j, j + (x.shape[1] - 1) * columns.step + 1, columns.step)
            out[down, across] += x @ _wide(weight[:, :, i, j])
    top = wanted.rows[0] - (seen.rows[0] * rows.step - rows.before)
    left = wanted.columns[0] - (seen.columns[0] * columns.step - columns.before)
    height, width = wanted.sides
    out = out[top : top + height, left : left + width]
    return out if bias is None else out + _wide(bias)


def _depth_to_space(node: Node, part: Part, wanted: Region) -> Array:
    factor = cast(int, node.attributes["blocksize"])
    seen = _before(node, wanted)
    x = _cut(part, seen)
    rows, columns, channels = x.shape
    x = x.reshape(rows, columns, channels // factor**2, factor, factor)
    x = x.transpose(0, 3, 1, 4, 2).reshape(rows * factor, columns * factor, -1)
    top, left = wanted.rows[0] - seen.rows[0] * factor, wanted.columns[0] - seen.columns[0] * factor
    height, width = wanted.sides
    return x[top : top + height, left : left + width]


_MOVING: Mapping[str, Callable[..., Any]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
}
"""Nodes whose output at a position comes of others of the input."""

"""Compute a graph in float64 on small regions of its output, from no more than they depend on.

A local network gives one position from a window of its input. The nodes are walked from the output
back to that window, and computed forward from it, each on what the next ones need. Beyond a grid's
edge lie the zeros of each layer's own padding, so the result is what the whole input would give.
Windows of one form, which all are but those at edges, are computed together.

Tensors are (items, rows, columns, channels) here: that a graph moves axes changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from vqtok.errors import CheckpointError
from vqtok.graphs.graph import Graph, Node
from vqtok.graphs.layers import (
    ALONE,
    IDLE,
    MAGNIFYING,
    MOVING,
    Part,
    Region,
    Span,
    after,
    alone,
    before,
    cut,
    lead,
)

Array = Any
"""An array of numpy."""
POSITIONS = 1 << 12
"""Of a grid, computed together: two windows of a photo, many of sound, in a few MB each layer."""

ROWS = 128
"""Positions at once in layers of single positions: what lies between stays in the cache."""


class Source(NamedTuple):
    """A signal that is read region by region."""

    read: Callable[[Region], Array]
    """Region inside the grid → (rows, columns, C) float64."""
    grid: tuple[int, int]
    """(H, W)."""


class Step(NamedTuple):
    """Nodes that are computed one after the other, on positions each alone where they are several.

    Attributes:
        nodes: Of which each but the first is given what the one before gives, and nobody else is.
        signals: What the first is given besides weights.
        output: Of the last one.
        last: Tensors that no later step needs.
    """

    nodes: tuple[Node, ...]
    signals: tuple[str, ...]
    output: str
    last: tuple[str, ...]


class _Plan(NamedTuple):
    """What is needed of each tensor for one region of the output; plans of one form are alike."""

    needed: dict[str, Region]
    form: tuple[Span, ...]


class Float64:
    """A graph, to be computed in float64.

    Args:
        graph: Of one output.
        arrays: Weights by their names in the file.

    Raises:
        CheckpointError: operators in a combination that is never written.
    """

    def __init__(self, graph: Graph, arrays: Mapping[str, Array]) -> None:
        self._output = graph.outputs[0].name
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
        self._signals = {
            node.outputs[0]: [
                name
                for name in (node.inputs[:1] if node.op == "Slice" else node.inputs)
                if name not in self._constants
            ]
            for node in self._nodes
        }
        """Inputs of each node, by its output, that are neither weights nor sizes."""
        self._steps = self._grouped()

    def __call__(
        self, sources: Sequence[Mapping[str, Source]], wanted: Sequence[Region]
    ) -> list[Array]:
        """Compute the output on regions: (rows, columns, D) each.

        Args:
            sources: Of each input, for each region.
            wanted: Inside the output's grid.
        """
        plans = [self._plan(*pair) for pair in zip(sources, wanted, strict=True)]
        alike = defaultdict[tuple[Span, ...], list[int]](list)
        for index, plan in enumerate(plans):
            alike[plan.form].append(index)
        found: dict[int, Array] = {}
        for group in alike.values():
            needed = plans[group[0]].needed
            sides = (needed[each.output].sides for each in self._steps if each.output in needed)
            count = max(1, POSITIONS // max(map(math.prod, sides)))
            for start in range(0, len(group), count):
                some = group[start : start + count]
                parts = dict[str, Part]()
                for name in sources[0].keys() & needed.keys():
                    read = [sources[i][name].read(plans[i].needed[name]) for i in some]
                    parts[name] = Part(np.stack(read), needed[name])
                for step in self._steps:
                    if step.output in needed:
                        region = needed[step.output]
                        parts[step.output] = Part(self._compute(step, parts, region), region)
                        for name in step.last:
                            del parts[name]
                found.update(zip(some, parts[self._output].values, strict=True))
        return [found[index] for index in range(len(plans))]

    def _grouped(self) -> list[Step]:
        """Join nodes of single positions, each of which is all that the next one is given."""
        users = Counter(name for names in self._signals.values() for name in names)
        users[self._output] += 1
        groups, of = list[list[Node]](), dict[str, list[Node]]()
        for node in self._nodes:
            signals = self._signals[node.outputs[0]]
            pointwise = node.op in ALONE and len(signals) == 1
            group = of.get(signals[0])
            if group and pointwise and users[signals[0]] == 1:
                group.append(node)
            else:
                group = [node]
                groups.append(group)
            if pointwise:
                of[node.outputs[0]] = group
        steps, known = list[Step](), {self._output}
        for group in reversed(groups):
            given = tuple(dict.fromkeys(self._signals[group[0].outputs[0]]))
            last = tuple(name for name in given if name not in known)
            known.update(given)
            steps.append(Step(tuple(group), given, group[-1].outputs[0], last))
        return steps[::-1]

    def _plan(self, sources: Mapping[str, Source], wanted: Region) -> _Plan:
        """Find what a region of the output depends on."""
        grids = {name: source.grid for name, source in sources.items()}
        for node in self._nodes:
            grids[node.outputs[0]] = self._grid(node, grids)
        needed = {self._output: wanted}
        for step in reversed(self._steps):
            if step.output not in needed:
                continue
            seen = before(step.nodes[0], needed[step.output])
            for name in step.signals:
                known, spans = needed.get(name), list[Span]()
                for axis, ((first, end), size) in enumerate(zip(seen, grids[name], strict=True)):
                    start, stop = min(max(0, first), size), min(max(0, end), size)
                    if known:
                        start, stop = min(start, known[axis][0]), max(stop, known[axis][1])
                    spans.append((start, stop))
                needed[name] = Region(*spans)
        # Regions are computed alike if each step looks at the same part of what it is given.
        form = [each.sides for each in needed.values()]
        for step in self._steps:
            if step.output in needed:
                node, region = step.nodes[0], needed[step.output]
                (top, _), (left, _) = seen = before(node, region)
                form += [
                    (top - needed[name].rows[0], left - needed[name].columns[0])
                    for name in step.signals
                ]
                if node.op in MAGNIFYING:
                    form.append(lead(node, region, seen))
        return _Plan(needed, tuple(form))

    def whole(self, inputs: Mapping[str, Array]) -> Array:
        """Compute the output for whole inputs, (rows, columns, C) each."""

        def source(x: Array) -> Source:
            def read(at: Region) -> Array:
                return x[slice(*at.rows), slice(*at.columns)].astype(np.float64)

            return Source(read, (x.shape[0], x.shape[1]))

        sources = {name: source(x) for name, x in inputs.items()}
        grids = {name: each.grid for name, each in sources.items()}
        for node in self._nodes:
            grids[node.outputs[0]] = self._grid(node, grids)
        height, width = grids[self._output]
        return self([sources], [Region((0, height), (0, width))])[0]

    def _grid(self, node: Node, grids: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
        if node.op == "Slice":
            return grids[self._sizes[node.inputs[2]]]
        found = grids[self._signals[node.outputs[0]][0]]
        return after(node, found[0], 0), after(node, found[1], 1)

    def _compute(self, step: Step, parts: Mapping[str, Part], wanted: Region) -> Array:
        node = step.nodes[0]
        signals = [parts[name] for name in self._signals[node.outputs[0]]]
        numbers = [
            [
                self._constants[name].astype(np.float64, copy=False)
                for name in each.inputs
                if name in self._constants
            ]
            for each in step.nodes
        ]
        if node.op in MOVING:
            return MOVING[node.op](node, signals[0], wanted, *numbers[0])
        given = [cut(part, wanted) for part in signals]
        if node.op == "Slice":
            return given[0]
        if node.op == "Concat":
            return np.concatenate(given, axis=-1)
        if node.op == "Add" and len(given) > 1:
            return given[0] + given[1]
        if node.op not in ALONE:
            raise CheckpointError(f"a foreign graph: {node.op} of a signal")
        pairs = zip(step.nodes, numbers, strict=True)
        return _each([pair for pair in pairs if pair[0].op not in IDLE], given[0])


def _each(layers: Sequence[tuple[Node, Sequence[Array]]], x: Array) -> Array:
    """Compute layers of single positions, with their weights, some positions at a time."""
    if not layers:
        return x
    flat = x.reshape(-1, x.shape[-1])
    rows, width, spaces = min(ROWS, len(flat)), flat.shape[1], list[Array]()
    for node, numbers in layers:
        if node.op == "MatMul":
            width = numbers[0].shape[1]
        # What comes of a product is nobody else's, so the next layers may write over it.
        new = node.op == "MatMul" or not spaces
        spaces.append(np.empty((rows, width)) if new else spaces[-1])
    out = np.empty((len(flat), width))
    for start in range(0, len(flat), rows):
        found = flat[start : start + rows]
        for (node, numbers), space in zip(layers, spaces, strict=True):
            found = alone(node, found, numbers, space[: len(found)])
        out[start : start + rows] = found
    return out.reshape(*x.shape[:-1], width)


def _folded(node: Node, given: Sequence[Array]) -> Array:
    """Compute a node of weights alone."""
    if node.op == "Cast":
        return given[0]
    if node.op == "Transpose":
        return given[0].transpose(cast("tuple[int, ...]", node.attributes["perm"]))
    if node.op == "Mul":
        return given[0].astype(np.float64) * given[1].astype(np.float64)
    raise CheckpointError(f"a foreign graph: {node.op} of weights")

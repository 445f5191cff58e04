"""Rewrite a graph so that it needs less memory: layers of single positions, some rows at a time.

A block widens every position four times and narrows it again, and what lies between is most of what
a network holds: 100 of 160 MB for a photo of 768x512. Rows of a grid that go through these layers
one part after the other give the same numbers, out of memory that is still in the cache.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import cast

import numpy as np

from vqtok.graphs.graph import Graph, Node

PARTS = 4
"""Of the layers that hold most; each costs a session a millisecond or so to be made."""

_ROWS = 1
"""The axis that is split, of (B, H, W, D)."""
_CHAIN = ("LayerNormalization", "MatMul", "Add", "Gelu", "MatMul", "Add")
"""Operators of a block behind its convolution."""


def in_parts(graph: Graph) -> Graph:
    """Split the layers of single positions of every block into parts of the rows.

    Args:
        graph: Of images. Inputs of any size are allowed, also of fewer rows than there are parts.
    """
    chains = _chains(graph)
    if not chains:
        return graph
    sizes = _sizes(graph, chains)
    largest = max(sizes.values())
    counts = {name: ceil(PARTS * size / largest) for name, size in sizes.items()}
    nodes, inside = list[Node](), {id(node) for chain in chains.values() for node in chain}
    constants = dict(graph.constants)
    for node in graph.nodes:
        name = node.outputs[0]
        if name in chains:
            nodes += _split(chains[name], counts[name], constants)
        elif id(node) not in inside:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _chains(graph: Graph) -> dict[str, list[Node]]:
    """Find the nodes of every block, by the name of what the last of them gives."""
    users = defaultdict[str, list[Node]](list)
    for node in graph.nodes:
        for name in node.inputs:
            users[name].append(node)
    found = {}
    for node in graph.nodes:
        chain = [node]
        while len(chain) < len(_CHAIN) and len(users[chain[-1].outputs[0]]) == 1:
            chain += users[chain[-1].outputs[0]]
        if tuple(each.op for each in chain) == _CHAIN:
            found[chain[-1].outputs[0]] = chain
    return found


def _sizes(graph: Graph, chains: Mapping[str, Sequence[Node]]) -> dict[str, float]:
    """Compare how many numbers lie inside of each chain."""
    widths = {weight.name.partition(" ")[0]: weight.shape[0] for weight in graph.weights}
    scales = dict[str, float]()
    """Positions of a tensor along one axis, to those of the graph's input that it comes of."""
    for node in graph.nodes:
        found = cast("Mapping[str, int | tuple[int, ...]]", node.attributes)
        scale = next((scales[name] for name in node.inputs if name in scales), 1.0)
        if node.op == "Conv":
            scale /= cast("tuple[int, ...]", found["strides"])[0]
        elif node.op == "ConvTranspose":
            scale *= cast("tuple[int, ...]", found["strides"])[0]
        elif node.op == "DepthToSpace":
            scale *= cast(int, found["blocksize"])
        if node.op != "Cast":
            scales[node.outputs[0]] = scale
    return {
        name: scales[name] ** 2 * widths[chain[2].inputs[1].partition(" ")[0]]
        for name, chain in chains.items()
    }


def _split(chain: Sequence[Node], count: int, constants: dict[str, np.ndarray]) -> list[Node]:
    """Write the nodes of a chain, for each part of the rows of what it is given.

    Args:
        chain: Of which each node is given what the one before gives.
        count: Of parts.
        constants: Of the graph, to which those of the parts are added.
    """
    if count == 1:
        return list(chain)
    whole, name = chain[0].inputs[0], chain[-1].outputs[0]
    number, offsets = f"{count} parts", f"offsets of {count} parts"
    constants[number], constants[offsets] = np.array(count), np.arange(count)
    rows, more, sizes = (f"{name} {each}" for each in ("rows", "more", "sizes"))
    starts = tuple(f"{whole} {index} of {name}" for index in range(count))
    ends = list[str]()
    # (rows + i) // n add up to the rows for i from 0 to n - 1.
    nodes = [
        Node("Shape", (whole,), (rows,), {"start": _ROWS, "end": _ROWS + 1}),
        Node("Add", (rows, offsets), (more,)),
        Node("Div", (more, number), (sizes,)),
        Node("Split", (whole, sizes), starts, {"axis": _ROWS}),
    ]
    for index, start in enumerate(starts):
        before, given = whole, start
        for node in chain:
            inputs = tuple(given if each == before else each for each in node.inputs)
            before, given = node.outputs[0], f"{node.outputs[0]} {index}"
            nodes.append(Node(node.op, inputs, (given,), node.attributes))
        ends.append(given)
    return [*nodes, Node("Concat", tuple(ends), (name,), {"axis": _ROWS})]

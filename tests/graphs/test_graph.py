"""Graphs as ONNX files: what is written is standard, and nothing else is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import CheckpointError
from vqtok.graphs import graph, wire
from vqtok.graphs.graph import Graph, Node, Value, Weight

SMALL = Graph(
    nodes=(
        Node("Cast", ("w",), ("w float32",), {"to": 1}),
        Node("Conv", ("x", "w float32"), ("a",), {"pads": (1, 0, 1, 0), "strides": (1, 1)}),
        Node("Shape", ("x",), ("size",), {"start": 2, "end": 4}),
        Node("Slice", ("a", "zero", "size", "axes"), ("b",)),
        Node("LayerNormalization", ("b", "g"), ("z0",), {"axis": -1, "epsilon": 1e-5}),
    ),
    inputs=(Value("x", ("batch", 3, "height", "width")),),
    outputs=(Value("z0", ("batch", 4, "h", "w")),),
    weights=(Weight("w", (4, 3, 3, 1), True, 64), Weight("g", (4,), False, 200)),
    constants={"zero": np.array([0, 0]), "axes": np.array([2, 3])},
)


def same(a: Graph, b: Graph) -> bool:
    return (a.nodes, a.inputs, a.outputs, a.weights) == (b.nodes, b.inputs, b.outputs, b.weights)


def test_what_is_written_is_read_again():
    data = SMALL.to_bytes()
    found = Graph.from_bytes(data)
    epsilon = found.nodes[-1].attributes["epsilon"]
    assert epsilon == np.float32(1e-5)
    nodes = (*found.nodes[:-1], replace(found.nodes[-1], attributes=SMALL.nodes[-1].attributes))
    assert same(replace(found, nodes=nodes), SMALL)
    assert {k: v.tolist() for k, v in found.constants.items()} == {"zero": [0, 0], "axes": [2, 3]}
    assert found.to_bytes() == data


def test_the_onnx_package_reads_the_same_graph():
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model_from_string(SMALL.to_bytes())
    assert [node.op_type for node in model.graph.node] == [node.op for node in SMALL.nodes]
    assert list(model.graph.node[1].attribute[0].ints) == [1, 0, 1, 0]
    assert [each.version for each in model.opset_import] == [graph.OPSET]
    first = model.graph.initializer[0]
    facts = {each.key: each.value for each in first.external_data}
    assert facts == {"location": "model.safetensors", "offset": "64", "length": "72"}
    assert list(first.dims) == [4, 3, 3, 1]
    assert onnx.numpy_helper.to_array(model.graph.initializer[2]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodes": (Node("Loop", ("x",), ("z0",)),)}, "operator 'Loop'"),
        ({"nodes": (Node("FusedConv", ("x",), ("z0",)),)}, "operator 'FusedConv'"),
    ],
)
def test_other_operators_are_refused(change: dict[str, object], reason: str):
    with pytest.raises(CheckpointError, match=reason):
        Graph.from_bytes(replace(SMALL, **change).to_bytes())


def test_operators_of_another_domain_are_refused():
    data = SMALL.to_bytes()
    node = graph._node(SMALL.nodes[1])
    foreign = node + wire.field(7, "com.microsoft")
    swapped = replace(SMALL, nodes=()).to_bytes()
    body = wire.fields(swapped)[7][0]
    assert isinstance(body, bytes)
    whole = swapped.replace(wire.field(7, body), wire.field(7, wire.field(1, foreign) + body))
    with pytest.raises(CheckpointError, match="operator 'Conv'"):
        Graph.from_bytes(whole)
    opset = wire.field(8, wire.field(1, "com.microsoft") + wire.field(2, 1))
    with pytest.raises(CheckpointError, match="not standard"):
        Graph.from_bytes(data + opset)


@pytest.mark.parametrize("place", ["/etc/passwd", "../model.safetensors", "weights.bin"])
def test_weights_elsewhere_are_refused(place: str, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(graph, "WEIGHTS", place)
        data = SMALL.to_bytes()
    with pytest.raises(CheckpointError, match="weights in"):
        Graph.from_bytes(data)


@given(st.data())
def test_damaged_files_are_refused_or_read_as_a_graph(data: st.DataObject):
    whole = bytearray(SMALL.to_bytes())
    stop = data.draw(st.integers(0, len(whole)))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(Graph.from_bytes(bytes(whole[:stop])), Graph)
    except CheckpointError as error:
        assert error.reason

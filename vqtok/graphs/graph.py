"""One network as a graph of standard operators, ⇄ an ONNX file whose weights lie elsewhere.

Only what is written here is read: operators of the table below, float32 and float16 weights in
``model.safetensors``, small integers inside. Everything else is another program's graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vqtok.errors import CheckpointError
from vqtok.graphs import wire

OPSET = 20
"""Of ONNX: the first that has Gelu."""
IR_VERSION = 9

OPERATORS = frozenset(
    ("Add", "Cast", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Gather", "Gelu", "Identity",
     "LayerNormalization", "MatMul", "Mul", "Relu", "Shape", "Slice", "Transpose", "Unsqueeze")
)  # fmt: skip

WEIGHTS = "model.safetensors"
"""The one file in which weights may lie."""

FLOAT, INT64, FLOAT16 = 1, 7, 10  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation

Attribute = int | float | str | tuple[int, ...]


@dataclass(frozen=True)
class Weight:
    """A tensor of ``model.safetensors``.

    Attributes:
        name: In the graph.
        shape: May be another one than in the file, of as many numbers.
        half: float16, not float32.
        begin: First byte in the file.
    """

    name: str
    shape: tuple[int, ...]
    half: bool
    begin: int

    @property
    def size(self) -> int:
        """Count the bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * (2 if self.half else 4)


@dataclass(frozen=True)
class Value:
    """An input or output: its name, and sizes or names of its axes."""

    name: str
    axes: tuple[int | str, ...]
    integer: bool = False


@dataclass(frozen=True)
class Node:
    """One operator."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network; nodes are in an order in which they can be computed.

    Attributes:
        nodes: Its operators.
        inputs: What it is given.
        outputs: What it gives.
        weights: Of the nodes.
        constants: Arrays of the nodes: int64; float32 in graphs for other programs alone.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: tuple[Weight, ...] = ()
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)

    def part(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
        """Cut out what leads from some tensors to others, which become inputs and outputs."""
        wanted, nodes = {each.name for each in outputs}, list[Node]()
        given = {each.name for each in inputs}
        for node in reversed(self.nodes):
            if (wanted - given).intersection(node.outputs):
                nodes.append(node)
                wanted.update(node.inputs)
        return replace(
            self,
            nodes=tuple(reversed(nodes)),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            weights=tuple(each for each in self.weights if each.name in wanted),
            constants={name: value for name, value in self.constants.items() if name in wanted},
        )

    def to_bytes(self) -> bytes:
        """Encode as an ONNX file."""
        body = [wire.field(1, _node(node)) for node in self.nodes]
        body.append(wire.field(2, "vqtok"))
        body += [wire.field(5, _weight(weight)) for weight in self.weights]
        body += [wire.field(5, _constant(*each)) for each in self.constants.items()]
        body += [wire.field(11, _value(value)) for value in self.inputs]
        body += [wire.field(12, _value(value)) for value in self.outputs]
        opset = wire.field(1, "") + wire.field(2, OPSET)
        return b"".join(
            (
                wire.field(1, IR_VERSION),
                wire.field(2, "vqtok"),
                wire.field(7, b"".join(body)),
                wire.field(8, opset),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Graph:
        """Decode an ONNX file.

        Raises:
            CheckpointError: damaged, or anything but what ``to_bytes`` writes.
        """
        model = wire.fields(data)
        bodies = wire.messages(model, 7)
        opsets = [(wire.text(e, 1), wire.integer(e, 2)) for e in wire.messages(model, 8)]
        if len(bodies) != 1 or not opsets:
            raise CheckpointError("no ONNX graph")
        if opsets != [("", OPSET)] or model.get(25):  # 25: functions
            raise CheckpointError("a foreign graph: operators that are not standard")
        body = bodies[0]
        weights, constants = [], {}
        for tensor in wire.messages(body, 5):
            if wire.integer(tensor, 14) == _EXTERNAL:
                weights.append(_read_weight(tensor))
            else:
                constants[wire.text(tensor, 8)] = _read_constant(tensor)
        return cls(
            tuple(_read_node(each) for each in wire.messages(body, 1)),
            tuple(_read_value(each) for each in wire.messages(body, 11)),
            tuple(_read_value(each) for each in wire.messages(body, 12)),
            tuple(weights),
            constants,
        )


def _message(parts: Iterable[tuple[int, int | float | str | bytes]]) -> bytes:
    return b"".join(wire.field(number, value) for number, value in parts)


def _node(node: Node) -> bytes:
    parts: list[tuple[int, int | float | str | bytes]] = []
    parts += [(1, name) for name in node.inputs]
    parts += [(2, name) for name in node.outputs]
    parts += [(3, node.outputs[0]), (4, node.op)]
    parts += [(5, _attribute(*each)) for each in sorted(node.attributes.items())]
    return _message(parts)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _message([(1, name), (2, value), (20, 1)])
    if isinstance(value, int):
        return _message([(1, name), (3, value), (20, 2)])
    if isinstance(value, str):
        return _message([(1, name), (4, value), (20, 3)])
    return _message([(1, name), *((8, each) for each in value), (20, 7)])


def _read_node(found: wire.Fields) -> Node:
    op = wire.text(found, 4)
    if wire.text(found, 7) or op not in OPERATORS:  # 7: domain
        raise CheckpointError(f"a foreign graph: operator {op!r}")
    attributes: dict[str, Attribute] = {}
    for each in wire.messages(found, 5):
        name, kind = wire.text(each, 1), wire.integer(each, 20)
        if kind == 1:
            attributes[name] = float(each[2][-1])
        elif kind == 2:
            attributes[name] = wire.integer(each, 3)
        elif kind == 3:
            attributes[name] = wire.text(each, 4)
        elif kind == 7:
            attributes[name] = wire.integers(each, 8)
        else:
            raise CheckpointError(f"a foreign graph: attribute {name!r}")
    return Node(op, wire.texts(found, 1), wire.texts(found, 2), attributes)


def _weight(weight: Weight) -> bytes:
    parts: list[tuple[int, int | float | str | bytes]] = [(1, size) for size in weight.shape]
    parts += [(2, FLOAT16 if weight.half else FLOAT), (8, weight.name)]
    facts = {"location": WEIGHTS, "offset": str(weight.begin), "length": str(weight.size)}
    parts += [(13, _message([(1, key), (2, text)])) for key, text in facts.items()]
    parts.append((14, _EXTERNAL))
    return _message(parts)


def _read_weight(found: wire.Fields) -> Weight:
    facts = {wire.text(each, 1): wire.text(each, 2) for each in wire.messages(found, 13)}
    name, kind = wire.text(found, 8), wire.integer(found, 2)
    location, begin = facts.get("location"), facts.get("offset", "")
    if location != WEIGHTS:
        raise CheckpointError(f"a foreign graph: weights in {location!r}, not in {WEIGHTS}")
    if kind not in (FLOAT, FLOAT16) or not begin.isdecimal():
        raise CheckpointError(f"a foreign graph: weight {name!r}")
    weight = Weight(name, wire.integers(found, 1), kind == FLOAT16, int(begin))
    if facts.get("length") != str(weight.size):
        raise CheckpointError(f"a foreign graph: length of weight {name!r}")
    return weight


def _constant(name: str, value: np.ndarray) -> bytes:
    parts: list[tuple[int, int | float | str | bytes]] = [(1, size) for size in value.shape]
    kind, dtype = (FLOAT, "<f4") if value.dtype.kind == "f" else (INT64, "<i8")
    parts += [(2, kind), (8, name), (9, value.astype(dtype).tobytes())]
    return _message(parts)


def _read_constant(found: wire.Fields) -> np.ndarray:
    data, shape = found.get(9, [b""])[-1], wire.integers(found, 1)
    if wire.integer(found, 2) != INT64 or not isinstance(data, bytes) or len(data) % 8:
        raise CheckpointError("a foreign graph: numbers inside")
    try:
        return np.frombuffer(data, "<i8").reshape(shape)
    except ValueError as error:
        raise CheckpointError("damaged") from error


def _value(value: Value) -> bytes:
    axes = [
        (1, _message([(1, axis) if isinstance(axis, int) else (2, axis)])) for axis in value.axes
    ]
    tensor = _message([(1, INT64 if value.integer else FLOAT), (2, _message(axes))])
    return _message([(1, value.name), (2, _message([(1, tensor)]))])


def _read_value(found: wire.Fields) -> Value:
    try:
        (kind,) = wire.messages(found, 2)
        (tensor,) = wire.messages(kind, 1)
        (shape,) = wire.messages(tensor, 2)
    except ValueError as error:
        raise CheckpointError("a foreign graph: an input without a shape") from error
    axes = tuple(wire.text(e, 2) or wire.integer(e, 1) for e in wire.messages(shape, 1))
    return Value(wire.text(found, 1), axes, wire.integer(tensor, 1) == INT64)

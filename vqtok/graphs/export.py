"""Graphs for other programs: signals → codes with the search inside, and codes → signals.

They hold their weights, as float32. Near ties are decided in float32 there, so codes that hang on
rounding may differ from those of ``vqtok encode``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqtok.errors import UsageError
from vqtok.graphs.graph import Graph, Node, Value
from vqtok.graphs.quantizers import Stages, quantizers_of
from vqtok.graphs.spectra import LIMITS, QUIET, Spectra
from vqtok.graphs.store import GAIN, Stored

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Exported:
    """Graphs that need nothing else.

    Attributes:
        encoder: "pixels" or "samples" → the codes of each level.
        decoder: The same backwards.
    """

    encoder: Graph
    decoder: Graph


def exported(stored: Stored, levels: tuple[str, ...]) -> Exported:
    """Make graphs for other programs of those of a model directory.

    Args:
        stored: Graphs and numbers of the model.
        levels: Names of its levels.

    Raises:
        UsageError: a model that other programs cannot run so, and why.
    """
    stages: list[Stages] = []
    for quantizer in quantizers_of(stored.facts, stored.arrays):
        if not isinstance(quantizer, Stages) or quantizer.lifted:
            kind = stored.facts["quantizers"][len(stages)]["type"]
            raise UsageError(f"not exported: the search of {kind} has no graph")
        stages.append(quantizer)
    sound = "hop" in stored.facts
    encoder, decoder = _Writer(stored.encoder, stored), _Writer(stored.decoder, stored)
    _encode(encoder, stages, levels, _spectra(stored) if sound else None)
    vectors = stored.arrays["labels.vectors"] if stored.facts["labels"] else None
    _decode(decoder, stages, levels, _spectra(stored) if sound else None, vectors)
    grid = ("frames",) if sound else ("h", "w")
    codes = []
    for index, (name, each) in enumerate(zip(levels, stages, strict=True)):
        axes = tuple(f"{axis}{index}" for axis in grid)
        codes.append(Value(name, ("batch", *(["stages"] if each.stacked else []), *axes), True))
    whole = (
        Value("samples", ("batch", 1, "length"))
        if sound
        else Value("pixels", ("batch", int(stored.facts["channels"]), "height", "width"))
    )
    label = [] if vectors is None else [Value("label", (1,), True)]
    return Exported(encoder.graph([whole], codes), decoder.graph([*codes, *label], [whole]))


def _spectra(stored: Stored) -> Spectra:
    facts = stored.facts
    return Spectra(facts["frame"], facts["hop"], bands=facts["bands"], rate=facts["rate"])


class _Writer:
    """Puts nodes before, between and behind those of a graph.

    Args:
        graph: Whose weights become part of it.
        stored: Its numbers.
    """

    def __init__(self, graph: Graph, stored: Stored) -> None:
        self.inner, self.facts = graph, stored.facts
        self._nodes: list[Node] = []
        self._constants: dict[str, np.ndarray] = dict(graph.constants)
        for weight in graph.weights:
            array = stored.arrays[weight.name.partition(" ")[0]]
            self._constants[weight.name] = np.asarray(array, np.float32).reshape(weight.shape)

    def add(self, op: str, *inputs: str | np.ndarray, out: str = "", **attributes: Any) -> str:
        """Add an operator; arrays among its inputs become constants."""
        name = out or f"export_{op.lower()}_{len(self._nodes)}"
        names = []
        for each in inputs:
            if isinstance(each, str):
                names.append(each)
            else:
                names.append(f"export constant {len(self._constants)}")
                self._constants[names[-1]] = each
        self._nodes.append(Node(op, tuple(names), (name,), attributes))
        return name

    def keep(self, node: Node) -> None:
        """Take over a node of the graph."""
        self._nodes.append(node)

    def graph(self, inputs: list[Value], outputs: list[Value]) -> Graph:
        """Return the whole."""
        nodes, constants = tuple(self._nodes), self._constants
        return replace(Graph(nodes, tuple(inputs), tuple(outputs)), constants=constants)


def _encode(
    to: _Writer, stages: list[Stages], levels: tuple[str, ...], spectra: Spectra | None
) -> None:
    """Write signals → codes, each level's behind its latents."""
    if spectra is not None:
        _features(to, spectra)
    elif to.facts["output"] == "logit-laplace":
        to.add("Add", to.add("Mul", "pixels", _number(0.4)), _number(0.5), out="x")
    else:
        to.add("Identity", "pixels", out="x")
    places = {f"z{level}": level for level in range(len(stages))}
    for node in to.inner.nodes:
        to.keep(node)
        level = places.get(node.outputs[0])
        if level is not None:
            last = level == len(stages) - 1
            _search(to, level, stages[level], levels[level], spectra is not None, last)


def _search(to: _Writer, level: int, quantizer: Stages, name: str, sound: bool, last: bool) -> None:
    """Write latents → codes, and what they stand for, for the next level."""
    residual = _linear(to, to.add("Transpose", f"z{level}", perm=TO_LAST), quantizer.maps[0])
    if quantizer.turned:
        residual = to.add("LpNormalization", residual, axis=-1, p=2)
    found, total = [], ""
    for codebook in quantizer.codebooks:
        centred = to.add("Sub", residual, codebook.centre)
        right = codebook.right
        scores = to.add("Add", to.add("MatMul", centred, right[:-1].copy()), right[-1].copy())
        codes = to.add("ArgMin", scores, axis=-1, keepdims=0)
        entry = to.add("Gather", codebook.entries, codes, axis=0)
        residual = to.add("Sub", residual, entry)
        total = entry if not total else to.add("Add", total, entry)
        found.append(codes)
    if sound:  # (B, 1, T) each
        joined = to.add("Concat", *found, axis=1)
        if quantizer.stacked:
            to.add("Identity", joined, out=name)
        else:
            to.add("Squeeze", joined, _integers(1), out=name)
    elif quantizer.stacked:
        to.add(
            "Concat", *(to.add("Unsqueeze", each, _integers(1)) for each in found), axis=1, out=name
        )
    else:
        to.add("Identity", found[0], out=name)
    if not last:
        back = _linear(to, total, quantizer.maps[1])
        to.add("Transpose", back, perm=TO_FIRST, out=f"q{level}")


def _decode(
    to: _Writer,
    stages: list[Stages],
    levels: tuple[str, ...],
    spectra: Spectra | None,
    vectors: np.ndarray | None,
) -> None:
    """Write codes, and the number of a label if there are any, → signals."""
    chosen = ""  # (1, D): what a label adds to the finest level
    if vectors is not None and vectors.ndim == 2:
        chosen = to.add("Gather", vectors.astype(np.float32), "label", axis=0)
    elif vectors is not None:
        to.add("Gather", GAIN * vectors.astype(np.float32), "label", axis=0, out="vectors")
    for level, (quantizer, name) in enumerate(zip(stages, levels, strict=True)):
        total = ""
        for index, codebook in enumerate(quantizer.codebooks):
            codes = name
            if quantizer.stacked:
                codes = to.add("Gather", name, np.array(index, dtype=np.int64), axis=1)
            entry = to.add("Gather", codebook.entries, codes, axis=0)
            total = entry if not total else to.add("Add", total, entry)
        rows = _linear(to, total, quantizer.maps[1])
        if chosen and level == len(stages) - 1:
            rows = to.add("Add", rows, chosen)
        if spectra is None:
            to.add("Transpose", rows, perm=TO_FIRST, out=f"q{level}")
            continue
        ahead = spectra.overlap - 1
        padded = to.add("Pad", rows, _integers(0, 0, 0, 0, ahead, 0))  # (B, T + ahead, D)
        last = to.add("Transpose", padded, perm=(0, 2, 1))
        to.add("Unsqueeze", last, _integers(2), out=f"q{level}")
    for node in to.inner.nodes:
        to.keep(node)
    if spectra is not None:
        _samples(to, spectra)
        return
    pixels = "raw"
    if to.facts["output"] == "logits":
        doubled = to.add("Mul", to.add("Sigmoid", "raw"), _number(2))
        pixels = to.add("Sub", doubled, _number(1))
    elif to.facts["output"] == "logit-laplace":
        count = int(to.facts["channels"])
        mu = to.add("Slice", "raw", _integers(0), _integers(count), _integers(1))
        shifted = to.add("Sub", to.add("Sigmoid", mu), _number(0.5))
        pixels = to.add("Div", shifted, _number(0.4))
    to.add("Clip", pixels, _number(-1), _number(1), out="pixels")


def _features(to: _Writer, spectra: Spectra) -> None:
    """Write samples, whole hops of them, → features: the transform is a convolution."""
    size, hop, bins = spectra.size, spectra.hop, spectra.bins
    angle = 2 * np.pi / size * np.outer(np.arange(bins), np.arange(size))
    waves = np.stack((np.cos(angle), -np.sin(angle)), axis=1) * spectra.window / np.sqrt(size)
    kernel = waves.reshape(2 * bins, 1, 1, size).astype(np.float32)
    parts = to.add(
        "Conv",
        to.add("Unsqueeze", "samples", _integers(2)),
        kernel,
        kernel_shape=(1, size),
        strides=(1, hop),
        pads=(0, size - hop, 0, 0),
    )
    pairs = to.add("Reshape", parts, _integers(0, bins, 2, -1))
    power = to.add("ReduceSum", to.add("Mul", pairs, pairs), _integers(2), keepdims=1)
    if spectra.bank is None:
        root = to.add("Sqrt", to.add("Sqrt", to.add("Add", power, _number(1e-8))))
        even = to.add("Div", pairs, root)
        to.add("Reshape", even, _integers(0, 2 * bins, 1, -1), out="x")
        return
    last = to.add("Transpose", to.add("Sqrt", power), perm=(0, 2, 3, 1))
    bands = to.add("MatMul", last, spectra.bank.astype(np.float32))
    logs = to.add("Log", to.add("Add", bands, _number(QUIET)))
    to.add("Transpose", logs, perm=TO_FIRST, out="x")


def _samples(to: _Writer, spectra: Spectra) -> None:
    """Write log-magnitudes and phases → samples: the inverse is a transposed convolution."""
    size, hop, bins, ahead = spectra.size, spectra.hop, spectra.bins, spectra.overlap - 1
    pairs = to.add("Reshape", "raw", _integers(0, bins, 2, -1))
    logs, phase = (to.add("Gather", pairs, np.array(i, dtype=np.int64), axis=2) for i in (0, 1))
    loud = to.add("Exp", to.add("Clip", logs, *map(_number, LIMITS)))
    real, imaginary = (to.add("Mul", loud, to.add(op, phase)) for op in ("Cos", "Sin"))
    both = to.add("Concat", real, imaginary, axis=1)
    angle = 2 * np.pi / size * np.outer(np.arange(bins), np.arange(size))
    twice = np.full((bins, 1), 2.0)
    twice[[0, -1]] = 1.0
    waves = np.concatenate((twice * np.cos(angle), -twice * np.sin(angle)))
    kernel = waves * spectra.window * (2.0 / spectra.overlap) / np.sqrt(size)
    kernel = kernel[:, None].astype(np.float32)
    sound = to.add("ConvTranspose", both, kernel, kernel_shape=(size,), strides=(hop,))
    edges = _integers(ahead * hop), _integers(-ahead * hop), _integers(2)
    to.add("Clip", to.add("Slice", sound, *edges), _number(-1), _number(1), out="samples")


def _linear(to: _Writer, rows: str, layer: Any) -> str:
    if layer.weight is None:
        return rows
    product = to.add("MatMul", rows, np.ascontiguousarray(layer.weight.T))
    return to.add("Add", product, layer.bias)


def _number(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def _integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def signal(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what the signals of exported graphs are like, for ``spec.json``."""
    if "hop" in facts:
        return {
            "name": "samples",
            "axes": ["batch", 1, "length"],
            "range": [-1, 1],
            "rate_hz": facts["rate"],
            "multiple": facts["hop"],
            "fill": "zeros",
            "padding": f"zeros behind the end, to a multiple of {facts['hop']} samples",
        }
    return {
        "name": "pixels",
        "axes": ["batch", facts["channels"], "height", "width"],
        "range": [-1, 1],
        "multiple": facts["stride"],
        "fill": "edge",
        "padding": f"the last row and column again, to multiples of {facts['stride']} pixels",
    }

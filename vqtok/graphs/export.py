"""Graphs for other programs: signals → codes with the search inside, and codes → signals.

They hold their weights, as float32. Near ties are decided in float32 there, so codes that hang on
rounding may differ from those of ``vqtok encode``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from vqtok.graphs.graph import FLOAT, INT64, Graph, Node, Value
from vqtok.graphs.quantizers import Groups, Levels, Quantizer, Signs, Stages, quantizers_of
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
    """
    quantizers = quantizers_of(stored.facts, stored.arrays)
    sound = "hop" in stored.facts
    encoder, decoder = _Writer(stored.encoder, stored), _Writer(stored.decoder, stored)
    _encode(encoder, quantizers, levels, _spectra(stored) if sound else None)
    vectors = stored.arrays["labels.vectors"] if stored.facts["labels"] else None
    _decode(decoder, quantizers, levels, _spectra(stored) if sound else None, vectors)
    grid = ("frames",) if sound else ("h", "w")
    codes = []
    for index, (name, each) in enumerate(zip(levels, quantizers, strict=True)):
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
        """Return what leads from inputs to outputs."""
        whole = Graph(tuple(self._nodes), (), (), constants=self._constants)
        return whole.part(inputs, outputs)


def _encode(
    to: _Writer, quantizers: list[Quantizer], levels: tuple[str, ...], spectra: Spectra | None
) -> None:
    """Write signals → codes, each level's behind its latents."""
    if spectra is not None:
        _features(to, spectra)
    elif to.facts["output"] == "logit-laplace":
        to.add("Add", to.add("Mul", "pixels", _number(0.4)), _number(0.5), out="x")
    else:
        to.add("Identity", "pixels", out="x")
    places = {f"z{level}": level for level in range(len(quantizers))}
    for node in to.inner.nodes:
        to.keep(node)
        level = places.get(node.outputs[0])
        if level is not None:
            _search(to, level, quantizers[level], levels[level], spectra is not None)


def _search(to: _Writer, level: int, quantizer: Quantizer, name: str, sound: bool) -> None:
    """Write latents → codes, and what they stand for, for the next level."""
    found = _assign(to, to.add("Transpose", f"z{level}", perm=TO_LAST), quantizer)
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
    to.add("Transpose", _look_up(to, found, quantizer), perm=TO_FIRST, out=f"q{level}")


def _assign(to: _Writer, rows: str, quantizer: Quantizer) -> list[str]:
    """Write (B, h, w, D) rows → codes of each stage, (B, h, w)."""
    if isinstance(quantizer, Groups):
        groups = to.add("Reshape", rows, _integers(0, 0, 0, len(quantizer.parts), -1))
        found = []
        for index, part in enumerate(quantizer.parts):
            place = np.array(index, dtype=np.int64)
            found.append(_assign(to, to.add("Gather", groups, place, axis=3), part))
        return [codes for stage in zip(*found, strict=True) for codes in stage]
    if isinstance(quantizer, Stages):
        return _nearest(to, _linear(to, rows, quantizer.maps[0]), quantizer)
    quantizer = cast("Signs | Levels", quantizer)
    rows = _linear(to, rows, quantizer.maps[0])
    if isinstance(quantizer, Signs):
        digits = to.add("Cast", to.add("Greater", rows, _number(0)), to=INT64)
    else:
        half = (quantizer.levels - 1) * (1 + quantizer.MARGIN) / 2
        offset = np.where(quantizer.levels % 2 == 0, 0.5, 0.0)
        shifted = to.add("Add", rows, np.arctanh(offset / half).astype(np.float32))
        scaled = to.add("Mul", to.add("Tanh", shifted), half.astype(np.float32))
        steps = to.add("Round", to.add("Sub", scaled, offset.astype(np.float32)))
        digits = to.add("Add", to.add("Cast", steps, to=INT64), quantizer.levels // 2)
    return [to.add("ReduceSum", to.add("Mul", digits, quantizer.basis), _integers(-1), keepdims=0)]


def _nearest(to: _Writer, rows: str, quantizer: Stages) -> list[str]:
    """Write rows → codes of entries, of each stage."""
    if quantizer.turned:
        rows = to.add("LpNormalization", rows, axis=-1, p=2)
    elif quantizer.looked_up is not None:
        rows = to.add("Pad", rows, _integers(0, 0, 0, 0, 0, 0, 0, 1))
    found: list[str] = []
    for index, codebook in enumerate(quantizer.codebooks):
        if index:
            before = quantizer.codebooks[index - 1].entries
            rows = to.add("Sub", rows, to.add("Gather", before, found[-1], axis=0))
        centred, right = to.add("Sub", rows, codebook.centre), codebook.right
        scores = to.add("Add", to.add("MatMul", centred, right[:-1].copy()), right[-1].copy())
        found.append(to.add("ArgMin", scores, axis=-1, keepdims=0))
    return found


def _look_up(to: _Writer, codes: list[str], quantizer: Quantizer) -> str:
    """Write codes of each stage, (B, *grid) → (B, *grid, D) rows."""
    if isinstance(quantizer, Groups):
        count = len(quantizer.parts)
        parts = [_look_up(to, codes[i::count], part) for i, part in enumerate(quantizer.parts)]
        return to.add("Concat", *parts, axis=-1)
    if isinstance(quantizer, Stages):
        tables = [each.entries for each in quantizer.codebooks]
        if quantizer.looked_up is not None:
            tables = [quantizer.looked_up]
        total, *more = (
            to.add("Gather", table, each, axis=0) for table, each in zip(tables, codes, strict=True)
        )
        for each in more:
            total = to.add("Add", total, each)
        # Of raised logits, codes stand for entries, which no map follows.
        return total if quantizer.looked_up is not None else _linear(to, total, quantizer.maps[1])
    quantizer = cast("Signs | Levels", quantizer)
    last = to.add("Unsqueeze", codes[0], _integers(-1))
    digits = to.add("Div", last, quantizer.basis)
    if isinstance(quantizer, Signs):
        bits = to.add("Cast", to.add("Mod", digits, _integers(2)), to=FLOAT)
        rows = to.add("Mul", to.add("Sub", bits, _number(0.5)), 2 * np.array(quantizer.value))
    else:
        half = quantizer.levels // 2
        steps = to.add("Sub", to.add("Mod", digits, quantizer.levels), half)
        rows = to.add("Div", to.add("Cast", steps, to=FLOAT), half.astype(np.float32))
    return _linear(to, rows, quantizer.maps[1])


def _depth(quantizer: Quantizer) -> int:
    """Count the stages of a quantizer."""
    if isinstance(quantizer, Groups):
        return sum(map(_depth, quantizer.parts))
    return len(quantizer.codebooks) if isinstance(quantizer, Stages) else 1


def _decode(
    to: _Writer,
    quantizers: list[Quantizer],
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
    for level, (quantizer, name) in enumerate(zip(quantizers, levels, strict=True)):
        codes = [name]
        if quantizer.stacked:
            places = (np.array(index, dtype=np.int64) for index in range(_depth(quantizer)))
            codes = [to.add("Gather", name, place, axis=1) for place in places]
        rows = _look_up(to, codes, quantizer)
        if chosen and level == len(quantizers) - 1:
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

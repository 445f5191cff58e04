"""Measure how far float32 errs in graphs: against float64, on signals that are always the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.graphs.exact import ExactCodes
from vqtok.graphs.float64 import Float64
from vqtok.graphs.graph import Graph
from vqtok.graphs.quantizers import quantizers_of
from vqtok.graphs.sessions import Network
from vqtok.graphs.spectra import Spectra
from vqtok.graphs.store import Graphs

Array = Any
"""An array of numpy."""

SIDE = 16
"""Code positions per side of the image on which rounding is measured."""

FRAMES = 75
"""Frames of the sound on which it is."""


def errors(graphs: Graphs, arrays: Mapping[str, Array], folder: Path) -> tuple[float, ...]:
    """Give the largest Euclidean error of a latent, of each level.

    Args:
        graphs: Of a model.
        arrays: Its weights.
        folder: Where they lie.
    """
    encoder, random = graphs.encoder, np.random.default_rng(0)
    quantizers = quantizers_of(graphs.facts, arrays)
    inputs = {"x": _image(graphs, random) if "stride" in graphs.facts else _sound(graphs, random)}
    found = []
    for level, z in enumerate(encoder.outputs):
        part = encoder.part(encoder.inputs[: 1 + level], [z])
        found.append(_error(part, inputs, arrays, folder))
        if level + 1 < len(encoder.outputs):
            side, sizes = SIDE << level, graphs.facts["codes"][level]
            shape = (1, side, side) if sizes[1] is None else (1, sizes[1], side, side)
            codes = random.integers(sizes[0], size=shape)
            inputs[f"q{level}"] = ExactCodes(quantizers[level], 0.0).decode(codes)
    return tuple(found)


def _error(
    graph: Graph, inputs: Mapping[str, Array], arrays: Mapping[str, Array], folder: Path
) -> float:
    def last(x: Array) -> Array:
        return x[0].transpose(1, 2, 0)

    plain = Network(graph, folder)({k: v.astype(np.float32) for k, v in inputs.items()}, threads=1)
    exact = Float64(graph, arrays).whole({name: last(x) for name, x in inputs.items()})
    return float(np.sqrt(np.square(last(plain[0]) - exact).sum(axis=-1)).max())


def _image(graphs: Graphs, random: np.random.Generator) -> Array:
    """Make noise over a slope: (1, C, H, W) float32."""
    side = SIDE * int(graphs.facts["stride"])
    noise = random.random((1, int(graphs.facts["channels"]), side, side), dtype=np.float32)
    return np.asarray(noise * np.linspace(0, 2, side, dtype=np.float32) - np.float32(1))


def _sound(graphs: Graphs, random: np.random.Generator) -> Array:
    """Make features of noise that grows louder: (1, F, 1, T) float64."""
    facts = graphs.facts
    spectra = Spectra(facts["frame"], facts["hop"], bands=facts["bands"], rate=facts["rate"])
    noise = random.standard_normal((1, FRAMES * int(facts["hop"])))
    samples = (noise * np.linspace(0, 0.3, noise.shape[1])).astype(np.float32)
    return spectra.features(samples).transpose(0, 2, 1)[:, :, None]

"""Regions that are computed in float64 together are what each is alone, and part of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from vqtok.checkpoints import directory
from vqtok.graphs import float64, store
from vqtok.graphs.float64 import Float64, Source
from vqtok.graphs.layers import Region

MODELS = Path(__file__).parents[2] / "models"
GRIDS = {"z0": (10, 9), "z1": (20, 18)}
"""Of image-vqvae2, for a picture of 80x72."""

ROUNDING = 1e-13
"""Of latents of some units, added up in another order."""


def stored(name: str) -> store.Stored:
    folder = MODELS / name
    return store.read(folder, fingerprint=directory.describe(folder).fingerprint)


def networks() -> Iterator[tuple[Float64, dict[str, np.ndarray], list[Region]]]:
    """Give graphs with signals to read from, and regions at corners, edges and inside."""
    random = np.random.default_rng(0)
    found = stored("image-vqvae2")
    pixels, *quantized = found.encoder.inputs
    signals = {
        "x": random.standard_normal((80, 72, 3)),
        "q0": random.standard_normal(
            (10, 9, found.arrays["quantizer.0.codebook.entries"].shape[1])
        ),
    }
    for level, z in enumerate(found.encoder.outputs):
        part = found.encoder.part([pixels, *quantized[:level]], [z])
        height, width = GRIDS[z.name]
        rows, columns = sorted({0, 1, 5, height - 1}), sorted({0, 4, 5, width - 1})
        at = [Region((row, row + 1), (column, column + 1)) for row in rows for column in columns]
        yield Float64(part, found.arrays), signals, at
    found = stored("audio-24k")
    width = found.encoder.inputs[0].axes[1]
    assert isinstance(width, int)
    frames = [0, 1, 2, 40, 41, 59, 77, 99]
    signals = {"x": random.standard_normal((1, 100, width))}
    at = [Region((0, 1), (frame, frame + 1)) for frame in frames]
    yield Float64(found.encoder, found.arrays), signals, at


def sources(signals: Mapping[str, np.ndarray]) -> dict[str, Source]:
    def source(x: np.ndarray) -> Source:
        return Source(lambda at: x[slice(*at.rows), slice(*at.columns)], (x.shape[0], x.shape[1]))

    return {name: source(x) for name, x in signals.items()}


@pytest.mark.parametrize("together", [1, 1 << 7, 1 << 30])
def test_regions_are_parts_of_the_whole(together: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(float64, "POSITIONS", together)
    for network, signals, regions in networks():
        whole = network.whole(signals)
        before = {name: x.copy() for name, x in signals.items()}
        found = network([sources(signals)] * len(regions), regions)
        for (rows, columns), values in zip(regions, found, strict=True):
            expected = whole[slice(*rows), slice(*columns)]
            np.testing.assert_allclose(values, expected, rtol=0, atol=ROUNDING)
        for name, x in signals.items():
            np.testing.assert_array_equal(x, before[name])  # nothing is written over


def test_each_region_is_read_from_its_own_sources():
    network, signals, regions = next(iter(networks()))
    others = {name: -x for name, x in signals.items()}
    region = regions[5]
    one, other = (network([sources(each)], [region])[0] for each in (signals, others))
    both = network([sources(signals), sources(others)], [region, region])
    np.testing.assert_allclose(both, [one, other], rtol=0, atol=ROUNDING)
    assert np.abs(one - other).max() > 0.01


def test_larger_regions_are_computed_as_well():
    for network, signals, _ in networks():
        whole = network.whole(signals)
        height, width = whole.shape[:2]
        at = Region((0, max(1, height - 1)), (1, width))
        (found,) = network([sources(signals)], [at])
        expected = whole[slice(*at.rows), slice(*at.columns)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)

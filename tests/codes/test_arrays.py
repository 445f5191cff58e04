"""Arrays in any of the forms that programs leave give back the codes that they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coded import AUDIO, IMAGE, TWO, codes_of
from tests.codes import strategies as some
from vqtok.codes import _layout, arrays
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CodesError


def assert_same(found: list[arrays.Item], expected: list[Codes]) -> None:
    assert len(found) == len(expected)
    for (codes, header), wanted in zip(found, expected, strict=True):
        assert header.extent == codes.extent == wanted.extent
        for one, other in zip(codes.levels, wanted.levels, strict=True):
            np.testing.assert_array_equal(one, other)


@given(spec=some.specs(), seed=st.integers(0, 99), depth=st.booleans())
def test_a_flat_item_of_known_size_comes_back(spec: CodeSpec, seed: int, depth: bool):
    if spec.modality == "video":
        return
    extent = (7, 19) if spec.modality == "image" else (333,)
    kept = 1 if depth and spec.depth is not None else None
    codes = codes_of(spec, extent, seed=seed, depth=kept)
    flat = np.concatenate([level.reshape(-1).astype(np.int64) for level in codes.levels])
    assert_same(arrays.items({_layout.UNNAMED: flat}, spec, extent=extent), [codes])


@pytest.mark.parametrize("spec", [IMAGE, TWO])
def test_a_batch_is_taken_apart(spec: CodeSpec):
    each = [codes_of(spec, (17, 25), seed=seed) for seed in range(3)]
    named = {
        level.name: np.concatenate([codes.levels[n] for codes in each])
        for n, level in enumerate(spec.levels)
    }
    assert_same(arrays.items(named, spec, extent=(17, 25)), each)
    flat = np.stack([codes.flat().reshape(-1) for codes in each])
    assert_same(arrays.items({_layout.UNNAMED: flat}, spec, extent=(17, 25)), each)


def test_a_leading_axis_of_audio_stays_its_channels():
    codes = codes_of(AUDIO, (4000,), seed=0).levels[0]
    ((found, header),) = arrays.items(
        {_layout.UNNAMED: np.concatenate([codes, codes])}, AUDIO, extent=None
    )
    assert (found.levels[0].shape[0], header.channels) == (2, 2)


@pytest.mark.parametrize("spec", [IMAGE, TWO, AUDIO])
def test_what_is_flat_says_what_it_needs(spec: CodeSpec):
    with pytest.raises(CodesError, match="size of the original must be known") as told:
        arrays.items({_layout.UNNAMED: np.zeros(24, int)}, spec, extent=None)
    assert str(told.value.hint).startswith("--size")
    size = (999,) if spec is AUDIO else (99, 99)
    with pytest.raises(CodesError, match="24 codes found"):
        arrays.items({_layout.UNNAMED: np.zeros(24, int)}, spec, extent=size)

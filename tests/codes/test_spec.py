"""Specs: shapes, tokens and bits by counting, and JSON there and back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import strategies as some
from vqtok.codes import rates
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError


@given(some.specs())
def test_json_brings_back_an_equal_spec(spec: CodeSpec):
    assert CodeSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 40))
def test_the_grid_is_the_smallest_that_covers_the_signal(height: int, width: int, step: int):
    rows, columns = LevelSpec("codes", ("h", "w"), 16, (step, step)).shape((height, width))
    assert (rows - 1) * step < height <= rows * step
    assert (columns - 1) * step < width <= columns * step


@given(some.items())
def test_tokens_and_bits_are_those_of_the_arrays(item):
    codes, header = item
    spec, depth = codes.spec, codes.depth
    assert spec.tokens(codes.extent, depth=depth) * header.channels == codes.tokens
    bits = sum(
        array[0].size * math.log2(level.codebook_size)
        for level, array in zip(spec.levels, codes.levels, strict=True)
    )
    assert rates.bits_of(spec, codes.extent, depth=depth) == pytest.approx(bits)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65535, 65536, 65537, 1 << 32])
def test_the_dtype_is_the_smallest_that_holds_every_code(size: int):
    dtype = np.dtype(LevelSpec("codes", ("t",), size, (1,)).dtype)
    assert np.iinfo(dtype).max >= size - 1
    smaller = [np.dtype(f"u{width}") for width in (1, 2, 4) if width < dtype.itemsize]
    assert all(np.iinfo(each).max < size - 1 for each in smaller)


def test_an_extent_of_another_rank_is_refused():
    with pytest.raises(CodesError, match="does not fit strides"):
        some.image()[0].spec.shapes((33,))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("axes", ["h"], "does not hold together"),
        ("axes", ["h", "h"], "does not hold together"),
        ("axes", ["x", "w"], "does not hold together"),
        ("axes", "hw", "not a list"),
        ("stride", [8], "does not hold together"),
        ("stride", [0, 8], "stride is out of range"),
        ("stride", [8.0, 8], "stride is not an integer"),
        ("codebook_size", 0, "out of range"),
        ("codebook_size", (1 << 32) + 1, "out of range"),
        ("codebook_size", "512", "not an integer"),
        ("depth", 3, "does not hold together"),
        ("name", "", "does not hold together"),
        ("name", "a\nb", "level name is not text"),
    ],
)
def test_levels_that_contradict_themselves_are_refused(key: str, value: object, message: str):
    data = some.image()[0].spec.to_json()
    data["levels"][0][key] = value
    with pytest.raises(ValueError, match=message):
        CodeSpec.from_json(data)


def test_two_levels_of_one_name_are_refused():
    data = some.image()[0].spec.to_json()
    data["levels"] *= 2
    with pytest.raises(ValueError, match="two levels of one name"):
        CodeSpec.from_json(data)


def test_codes_know_their_deepest_stack():
    levels = tuple(LevelSpec(name, ("q", "t"), 4, (2,), q) for name, q in (("a", 1), ("b", 3)))
    spec = CodeSpec("audio", levels, 8.0)
    arrays = tuple(np.zeros((1, *level.shape((5,))), np.uint8) for level in levels)
    assert Codes(spec, arrays, (5,)).depth == spec.depth == 3


@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 9))
def test_codes_in_blocks_come_in_whole_blocks(length: int, stride: int, steps: int):
    level = LevelSpec("codes", ("t",), 16, (stride,), steps=steps)
    spec = CodeSpec("audio", (level,), rate=100.0, channels=2)
    (count,) = level.shape((length,))
    assert count % steps == 0
    assert (count // steps - 1) * stride < length <= count // steps * stride
    assert rates.nominal(spec) == pytest.approx(4 * steps / stride / 10)
    assert CodeSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_what_has_no_blocks_is_written_as_ever():
    spec = CodeSpec("audio", (LevelSpec("codes", ("t",), 16, (4,)),), rate=100.0)
    assert set(spec.to_json()) == {"modality", "levels", "rate", "fingerprint"}
    assert set(spec.to_json()["levels"][0]) == {"name", "axes", "codebook_size", "stride", "depth"}


def test_blocks_of_a_picture_are_refused():
    data = CodeSpec("image", (LevelSpec("codes", ("h", "w"), 16, (4, 4)),)).to_json()
    data["levels"][0]["steps"] = 2
    with pytest.raises(ValueError, match="does not hold together"):
        CodeSpec.from_json(data)

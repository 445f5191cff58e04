"""Arrays that other programs wrote, read for a model that the user names."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.codes import strategies as some
from vqtok.codes import files
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError

IMAGE = some.image()[0].spec
AUDIO = some.audio()[0].spec


def npy(array: np.ndarray) -> io.BytesIO:
    stream = io.BytesIO()
    np.save(stream, array)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, ">u2", ">i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_integers_are_taken(dtype: str, order: str):
    array = np.asarray(np.arange(15).reshape(5, 3), dtype=dtype, order=order)
    codes, header = files.read_foreign(npy(array), IMAGE)
    np.testing.assert_array_equal(codes.levels[0][0], array)
    assert header.extent == (40, 24)
    assert header.vqtok == ""


def test_a_batch_axis_of_one_is_dropped():
    assert files.read_foreign(npy(np.zeros((1, 5, 3), int)), IMAGE)[0].levels[0].shape == (1, 5, 3)
    with pytest.raises(CodesError, match="rank 3 found"):
        files.read_foreign(npy(np.zeros((2, 5, 3), int)), IMAGE)


def test_a_leading_axis_of_audio_is_its_channels():
    codes, header = files.read_foreign(npy(np.zeros((2, 3, 7), int)), AUDIO)
    assert codes.levels[0].shape == (2, 3, 7)
    assert (header.channels, header.extent) == (2, (7 * 320,))
    assert files.read_foreign(npy(np.zeros((3, 7), int)), AUDIO)[1].channels == 1


def test_a_known_extent_is_used():
    codes, _ = files.read_foreign(npy(np.zeros((5, 3), int)), IMAGE, extent=(33, 20))
    assert codes.extent == (33, 20)
    with pytest.raises(CodesError, match="shape"):
        files.read_foreign(npy(np.zeros((5, 3), int)), IMAGE, extent=(32, 20))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_the_extent_of_a_hierarchy_fits_all_its_levels(a: int, b: int, height: int, width: int):
    levels = tuple(
        LevelSpec(name, ("h", "w"), 16, (step, step)) for name, step in (("top", a), ("bottom", b))
    )
    spec = CodeSpec("image", levels)
    arrays = {level.name: np.zeros(level.shape((height, width)), np.uint8) for level in spec.levels}
    codes, _ = files.read_foreign(io.BytesIO(save(arrays)), spec)
    assert codes.extent >= (height, width)


def test_a_flat_hierarchy_needs_the_extent():
    codes, header = some.hierarchy()
    flat = np.concatenate([each.reshape(-1) for each in codes.levels])
    with pytest.raises(CodesError, match="size of the original"):
        files.read_foreign(npy(flat), header.spec)
    found, _ = files.read_foreign(npy(flat), header.spec, extent=header.extent)
    for a, b in zip(found.levels, codes.levels, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_single_tensor_is_taken_by_any_name():
    stored = save({"indices": np.zeros((5, 3), np.int64)})
    assert files.read_foreign(io.BytesIO(stored), IMAGE)[0].levels[0].shape == (1, 5, 3)


def test_a_file_of_ours_keeps_its_own_header():
    stream = io.BytesIO()
    files.write(stream, *some.image())
    stream.seek(0)
    assert files.read_foreign(stream, AUDIO)[1] == some.image()[1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 3)), "floating-point"),
        (np.full((5, 3), -1), "negative"),
        (np.full((5, 3), 512), "at or above"),
        (np.zeros(5, int), "rank 1 found"),
        (np.zeros((0, 3), int), "length 0"),
        (np.array(3), "rank 0 found"),
    ],
)
def test_arrays_that_are_no_codes_of_the_model_are_refused(array: np.ndarray, message: str):
    with pytest.raises(CodesError, match=message):
        files.read_foreign(npy(array), IMAGE)


def test_weights_are_not_codes():
    stored = save({"a": np.zeros(3, np.float32), "b": np.zeros(3, np.int64)})
    with pytest.raises(CodesError, match="codes are integers"):
        files.read_foreign(io.BytesIO(stored), IMAGE)


def test_an_array_of_newer_numpy_headers_is_read():
    for version in ((1, 0), (2, 0), (3, 0)):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.zeros((5, 3), np.uint8), version=version)
        stream.seek(0)
        assert files.read_foreign(stream, IMAGE)[1].extent == (40, 24)

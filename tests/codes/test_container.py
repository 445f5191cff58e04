"""Codes of a batch: checks, cuts and joins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from tests.codes import strategies as some
from vqtok.codes.container import Codes
from vqtok.errors import CodesError


@given(some.items())
def test_codes_split_into_items_stack_back(item):
    codes = item[0].numpy()
    parts = codes.split()
    assert [len(part) for part in parts] == [1] * len(codes)
    again = Codes.stack(parts)
    for a, b in zip(again.levels, codes.levels, strict=True):
        np.testing.assert_array_equal(a, b)


def test_truncated_codes_are_a_prefix_and_pass_the_check():
    codes = some.audio()[0]
    short = codes.truncate(2).check()
    assert short.depth == 2
    np.testing.assert_array_equal(short.levels[0], codes.levels[0][:, :2])


@pytest.mark.parametrize("depth", [0, 5, -1])
def test_a_depth_that_is_not_there_is_refused(depth: int):
    with pytest.raises(CodesError, match="not between 1 and 4"):
        some.audio()[0].truncate(depth)


def test_codes_of_one_codebook_have_no_depth_to_choose():
    assert some.image()[0].depth is None
    with pytest.raises(CodesError, match="one codebook"):
        some.image()[0].truncate(1)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 5, 4), np.int64), r"shape \(1, 5, 4\) found, \(1, 5, 3\) expected"),
        (np.zeros((5, 3), np.int64), r"rank 2 found, \(B, h, w\) expected"),
        (np.full((1, 5, 3), -1), "code -1 is negative"),
        (np.full((1, 5, 3), 512), "code 512 is at or above codebook size 512"),
        (np.zeros((1, 5, 3), np.float32), "float32 values found, integers expected"),
        (np.zeros((1, 5, 3), bool), "bool values found, integers expected"),
    ],
)
def test_arrays_and_tensors_are_checked_alike(kind, array: np.ndarray, message: str):
    codes = replace(some.image()[0], levels=(kind(array),))
    with pytest.raises(CodesError, match=message):
        codes.check()


def test_a_missing_level_is_named_by_count():
    codes = some.hierarchy()[0]
    with pytest.raises(CodesError, match="1 levels found, 2 expected"):
        replace(codes, levels=codes.levels[:1]).check()


def test_tensors_become_arrays_of_the_smallest_dtype():
    codes = some.audio()[0]
    tensors = replace(codes, levels=(torch.as_tensor(codes.levels[0]),))
    assert tensors.numpy().levels[0].dtype == np.uint16
    np.testing.assert_array_equal(tensors.numpy().levels[0], codes.levels[0])


def test_only_codes_of_one_model_and_size_stack():
    codes = some.image()[0]
    with pytest.raises(CodesError, match="cannot be stacked"):
        Codes.stack([codes, replace(codes, extent=(40, 24))])
    with pytest.raises(CodesError, match="no codes"):
        Codes.stack([])

"""GELU of arrays is what the standard library's erf makes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqtok.graphs.layers import gelu


def test_it_is_the_standard_library_s():
    random = np.random.default_rng(0)
    x = np.concatenate(
        [random.standard_normal(9000) * 3, np.linspace(-10, 10, 9001), [0.0, 1e-300]]
    )
    expected = np.array([each * 0.5 * math.erfc(-each / math.sqrt(2)) for each in x])
    assert (np.abs(gelu(x) - expected) <= 5e-16 * np.maximum(1, np.abs(x))).all()


def test_shapes_are_kept_and_large_numbers_too():
    x = np.array([[-1e9, 0.0, 1e9]])
    assert gelu(x).tolist() == [[pytest.approx(0.0, abs=1e-9), 0.0, 1e9]]

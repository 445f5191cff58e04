"""erf of arrays is that of the standard library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqtok.graphs.erf import erf, gelu


def test_it_is_the_standard_library_s():
    random = np.random.default_rng(0)
    x = np.concatenate([random.standard_normal(5000) * 3, np.linspace(-7, 7, 4001), [0.0, 1e-300]])
    expected = np.array([math.erf(each) for each in x])
    np.testing.assert_allclose(erf(x), expected, atol=5e-16, rtol=0)


def test_shapes_and_infinities_are_kept():
    x = np.array([[-np.inf, 0.0, np.inf]])
    assert erf(x).tolist() == [[-1.0, 0.0, 1.0]]
    assert gelu(np.array([30.0, -30.0])) == pytest.approx([30.0, 0.0])

"""Curves of a run: whole and within their picture."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.plots import parts
from vqtok.plots.curves import POINTS, Curve, draw


def test_higher_values_are_higher_and_later_ones_further_right():
    (line,) = parts.paths(draw([Curve("x", [(0, 1.0), (10, 4.0), (20, 2.0)])]), "line")
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[2] < ys[0]
    curve = Curve("x", [(0, 1.0), (10, 4.0), (20, 2.0)], logarithmic=True)
    (line,) = parts.paths(draw([curve]), "line")
    assert line[2][1] == pytest.approx((line[0][1] + line[1][1]) / 2, abs=0.1)  # 2 is halfway


finite = st.floats(min_value=-1e30, max_value=1e30)


@given(st.lists(finite, min_size=2, max_size=700), st.booleans())
@example([1e30, 1e30], False)
@example([1e-300, 1e30], True)
@settings(max_examples=12)
def test_any_curve_is_a_sound_picture_that_stays_inside(values, logarithmic):
    logarithmic = logarithmic and min(values) > 0
    points = [(10 * (i + 1), value) for i, value in enumerate(values)]
    curve = Curve("a < b & c", points, best=20, logarithmic=logarithmic)
    text = draw([curve, curve])
    width, height = parts.size(text)
    lines = parts.paths(text, "line")
    assert len(lines) == 2
    for index, line in enumerate(lines):
        assert 2 <= len(line) <= POINTS
        assert all(0 <= x <= width for x, _ in line)
        assert all(index * 0.4 * height <= y <= (index + 1) * 0.5 * height for _, y in line)
        assert all(math.isfinite(each) for pair in line for each in pair)


def test_it_needs_neither_scripts_nor_fonts_nor_a_background():
    text = draw([Curve("x", [(0, 1.0), (1, 1.0)], best=1)])
    assert not re.search(r"<(script|style|image|foreignObject|rect)|url\(", text)
    assert all(link.startswith("#m") for link in re.findall(r'href="([^"]*)"', text))
    assert len(draw([Curve("x", [(i, float(i)) for i in range(100_000)])])) < 10_000

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.pipeline.report import plots

values = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
points = st.tuples(st.floats(0.001, 1e4), values)


def places(svg: str) -> list[tuple[float, float]]:
    """Where points and means lie; a shape about its own place is none."""
    ET.fromstring(svg)
    found = re.findall(r"(?:M(?=[^\"]*h\.01)|translate\()(-?[\d.]+),(-?[\d.]+)", svg)
    return [(float(x), float(y)) for x, y in found]


@given(st.lists(st.tuples(st.lists(points, max_size=5), points), min_size=1, max_size=9))
def test_whatever_the_numbers_everything_lies_within_the_frame(rows: list) -> None:
    series = [(i, plots.Series(f"row <{i}>", p, mean)) for i, (p, mean) in enumerate(rows)]
    svg = plots.rates(series, x="bits/pixel", y="PSNR dB", name="plot")
    found = places(svg)
    assert len(found) == sum(len(p) + 1 for p, _ in rows) + 1  # the title of an axis is one
    for x, y in found:
        assert -0.1 <= x <= plots.WIDTH + 0.1
        assert -0.1 <= y <= plots.HEIGHT + 0.1
    assert svg.count('class="mean"') == len(rows)


@given(
    st.lists(st.lists(st.integers(0, 10**9), max_size=900), min_size=1, max_size=4),
    st.integers(900, 10**6),
)
def test_a_line_falls_and_has_a_bounded_number_of_points(stages: list, entries: int) -> None:
    svg = plots.ranks(stages, entries=entries, name="use", title="Use")
    lines = re.findall(r'<path d="M([^"]+)" stroke="hsl', svg)
    assert len(lines) == len(stages)
    for line in lines:
        heights = [float(point.split(",")[1]) for point in line.split("L")]
        assert heights == sorted(heights)
        assert len(heights) <= plots.STEPS + 3
    used = [sum(n > 0 for n in stage) for stage in reversed(stages)]
    assert ", ".join(map(str, reversed(used))) in svg


@given(values, st.floats(1e-3, 1e6))
def test_an_axis_has_a_few_round_numbers(low: float, width: float) -> None:
    ticks = plots._ticks(low, low + width)
    assert 2 <= len(ticks) <= 11
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)


def test_names_of_rows_at_the_same_height_do_not_cover_each_other() -> None:
    heights = plots._apart([100.0, 100.0, 101.0, 30.0])
    gaps = sorted(heights)
    assert all(b - a >= 14 for a, b in pairwise(gaps))
    assert heights[3] == 30.0


@pytest.mark.parametrize("number", [0, 7, 8, 100])
def test_each_row_has_a_mark(number: int) -> None:
    ET.fromstring(plots.mark(number))

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plots import parts
from vqtok.plots import quality

values = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
points = st.tuples(st.floats(0.001, 1e4), values)


@given(st.lists(st.tuples(st.lists(points, max_size=5), points), min_size=1, max_size=9))
@settings(max_examples=12)
def test_whatever_the_numbers_everything_lies_within_the_frame(rows: list) -> None:
    series = [quality.Series(i, f"row <{i}>", p, mean) for i, (p, mean) in enumerate(rows)]
    document = quality.draw(series, x="bits/pixel", y="PSNR dB", name="plot")
    dots = [each for line in parts.paths(document, "dots") for each in line]
    means = parts.marks(document, "mean")
    assert len(dots) == 2 * sum(len(p) for p, _ in rows)
    assert len(means) == len(rows)
    width, height = parts.size(document)
    for x, y in [*dots, *means]:
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_a_row_has_its_own_colour_and_mark_whoever_else_is_drawn() -> None:
    row = quality.Series(2, "c", [(1.0, 2.0)], (1.0, 2.0))
    other = quality.Series(0, "a", [], (2.0, 3.0))
    for drawn in ([row], [other, row]):
        document = quality.draw(drawn, x="bits/pixel", y="PSNR dB", name="plot")
        means = [each for each in parts.groups(document, "mean") if each[0].text == "c: 2 at 1"]
        (mark,) = (use for each in means for use in each.iter(f"{parts.SVG}use"))
        assert mark.attrib["fill"] == quality.colour(2)


def test_names_are_text_whatever_they_hold() -> None:
    name = '$x$ <b> & "style="a" 12.3456'
    row = quality.Series(0, name, [], (1.0, 2.0))
    document = quality.draw([row], x="bits/pixel", y="PSNR dB", name="plot")
    texts = [each.text for each in parts.groups(document, "mean")[1].iter(f"{parts.SVG}text")]
    assert texts == [name]


def test_names_of_rows_at_the_same_height_do_not_cover_each_other() -> None:
    heights = quality._apart(np.array([100.0, 100.0, 101.0, 230.0]), low=40.0)
    assert all(b - a >= 14 for a, b in pairwise(sorted(heights)))
    assert heights[3] == 230.0


@pytest.mark.parametrize("number", [0, 7, 8, 100])
def test_each_row_has_a_mark(number: int) -> None:
    assert quality.mark(number).startswith("M")


def test_what_has_no_rate_is_a_line_across_at_its_quality() -> None:
    rated = quality.Series(0, "a", [], (1.0, 2.0))
    free = quality.Series(1, "b", [], (float("nan"), 4.0))
    document = quality.draw([rated, free], x="bits/pixel", y="PSNR dB", name="plot")
    ((first, second),) = parts.paths(document, "unrated")
    assert first[1] == second[1] < parts.marks(document, "mean")[0][1]  # higher up: better
    assert second[0] - first[0] > 300
    assert "b: 4 without a rate" in document
    assert "unrated" not in quality.draw([rated], x="bits/pixel", y="PSNR dB", name="plot")

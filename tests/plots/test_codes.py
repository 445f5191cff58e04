from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plots import parts
from vqtok.plots import codes, sheet


def lines(stages: list, *, entries: int) -> list[parts.Points]:
    panel = codes.use_panel(stages, entries=entries)
    return parts.paths(sheet.document([panel], name="use", title="Use", description=""), "line")


def test_one_code_is_one_colour_and_neighbours_differ() -> None:
    grid = np.arange(64).reshape(8, 8)
    mosaic = codes.code_map(grid)
    step = mosaic.shape[0] // 8
    assert mosaic.shape == (8 * step, 8 * step, 3)
    colours = {tuple(mosaic[y * step, x * step]) for y in range(8) for x in range(8)}
    assert len(colours) == 64
    assert (mosaic[:step, :step] == mosaic[0, 0]).all()
    again = codes.code_map(grid[2:4, 2:4])
    assert tuple(again[0, 0]) == tuple(mosaic[2 * step, 2 * step])


def test_neighbouring_codes_are_far_apart_in_colour() -> None:
    colours = codes.code_map(np.arange(512)[None])[0, ::2].astype(int)
    assert np.abs(np.diff(colours, axis=0)).sum(1).min() > 40


@given(
    st.lists(st.lists(st.integers(0, 10**9), max_size=900), min_size=1, max_size=4),
    st.integers(900, 10**6),
)
@settings(max_examples=12)
def test_a_line_of_use_falls_and_has_a_bounded_number_of_points(stages: list, entries: int) -> None:
    found = lines(stages, entries=entries)
    assert len(found) == len(stages)
    for line in found:
        heights = [y for _, y in line]
        assert heights == sorted(heights)
        assert len(heights) <= 2 * codes.STEPS + 1


def test_a_line_of_use_falls_to_the_axis_after_the_last_used_entry() -> None:
    (few,) = lines([np.array([10, 1])], entries=100)
    (every,) = lines([np.full(100, 10)], entries=100)
    (left, _), (right, floor) = every[0], every[-1]
    assert few[0][0] == left
    assert few[-1] == (round(left + 0.02 * (right - left), 1), floor)


def test_use_of_nothing_is_an_empty_frame() -> None:
    assert sheet.pixels([codes.use_panel(np.zeros((2, 16), np.int64), entries=16)]).shape[2] == 3

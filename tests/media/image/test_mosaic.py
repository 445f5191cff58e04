"""Pictures in a grid stay as they are, in reading order."""

from __future__ import annotations

import numpy as np
import pytest

from vqtok.media.image.mosaic import GAP, enlarged, mosaic


@pytest.mark.parametrize(("count", "columns", "wide", "rows"), [
    (1, None, 1, 1), (4, None, 2, 2), (5, None, 3, 2), (16, None, 4, 4), (5, 2, 2, 3), (3, 8, 3, 1),
])  # fmt: skip
def test_every_picture_lies_in_its_cell(
    count: int, columns: int | None, wide: int, rows: int
) -> None:
    pictures = [np.full((3, 5, 7), -1 + index / 10, np.float32) for index in range(count)]
    found = mosaic(pictures, columns=columns)
    assert found.shape == (3, rows * (5 + GAP) - GAP, wide * (7 + GAP) - GAP)
    covered = np.zeros(found.shape[1:], bool)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, wide)
        top, left = row * (5 + GAP), column * (7 + GAP)
        np.testing.assert_array_equal(found[:, top : top + 5, left : left + 7], picture)
        covered[top : top + 5, left : left + 7] = True
    assert (found[:, ~covered] == 1.0).all()


def test_small_pictures_grow_by_whole_numbers() -> None:
    picture = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    found = enlarged(picture, side=10)
    assert found.shape == (1, 6, 9)
    np.testing.assert_array_equal(found[:, ::3, ::3], picture)
    assert enlarged(picture, side=2).shape == picture.shape

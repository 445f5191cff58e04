from __future__ import annotations

import numpy as np
import pytest

from vqtok.plots import comparison, sheet
from vqtok.plots.sheet import BARE, FRAMED

TEXTS = ("original", "decoded")


def pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).integers(0, 230, (height, width, 3), np.uint8)
    return x, x + np.uint8(25)


def contains(picture: np.ndarray, panel: np.ndarray) -> bool:
    """Whether the panel occurs pixel for pixel somewhere in the picture."""
    height, width = panel.shape[:2]
    first = np.argwhere((picture == panel[0, 0]).all(-1))
    return any(
        np.array_equal(picture[y : y + height, x : x + width], panel) for y, x in first.tolist()
    )


@pytest.mark.parametrize("size", [(300, 320), (300, 700)])
def test_both_pictures_are_shown_as_they_are(size: tuple[int, int]) -> None:
    x, y = pair(*size)
    picture = comparison.pictures(x, y, captions=TEXTS)
    assert picture.dtype == np.uint8
    assert contains(picture, x)
    assert contains(picture, y)


def test_error_map_is_black_where_equal_and_brightest_at_a_quarter_of_the_range() -> None:
    x = np.zeros((256, 256, 3), np.uint8)
    y = x.copy()
    y[100:150, 100:150] = 77
    picture = comparison.pictures(x, y, captions=("", ""))
    error = picture[-BARE.below - 256 : -BARE.below, -BARE.right - 256 : -BARE.right]
    assert tuple(error[10, 10]) == (0, 0, 4)
    assert tuple(error[120, 120]) == (252, 255, 164)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (2, 300), (700, 3)])
def test_pictures_of_any_size_can_be_compared(size: tuple[int, int]) -> None:
    picture = comparison.pictures(*pair(*size), captions=TEXTS)
    assert max(picture.shape) >= 256
    assert (picture[: BARE.above] < 100).any()  # captions


def test_huge_pictures_are_shrunk_to_be_looked_at() -> None:
    picture = comparison.pictures(*pair(1000, 2400), captions=TEXTS)
    assert picture.shape[1] <= 1600 + BARE.left + BARE.right
    assert picture.shape[0] > 3 * 600  # wide ones lie one above the other


def test_spectrograms_have_low_frequencies_at_the_bottom() -> None:
    mel = np.full((80, 100), -5.0, np.float32)
    mel[:10] = 1.0
    picture = comparison.spectrograms(
        mel, mel, duration_s=1.0, bins_hz=np.geomspace(50, 11000, 80), captions=TEXTS
    )
    panel = picture[FRAMED.above : FRAMED.above + 180, FRAMED.left : FRAMED.left + 480]
    assert panel[-5].mean() > 150
    assert panel[5].mean() < 10


def test_spectrograms_of_silence_and_of_one_frame_are_drawn() -> None:
    silence = np.full((80, 1), -5.0, np.float32)
    picture = comparison.spectrograms(
        silence, silence, duration_s=0.0, bins_hz=np.geomspace(50, 7000, 80), captions=TEXTS
    )
    assert picture.shape[2] == 3


def test_an_error_is_measured_by_how_bright_it_looks() -> None:
    black = np.zeros((1, 3, 3), np.uint8)
    primaries = (np.eye(3) * 51)[None].astype(np.uint8)
    errors = comparison.error_map(black, primaries)
    np.testing.assert_allclose(errors[0], np.array([0.299, 0.587, 0.114]) * 0.8, rtol=1e-5)
    assert sheet.colour_map(errors).shape == (1, 3, 3)

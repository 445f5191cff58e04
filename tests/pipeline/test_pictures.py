from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import MediaError
from vqtok.pipeline import canvas, codeplot, pictures

INK = np.array(canvas.INK)


def pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (3, height, width)).astype(np.float32)
    return x, np.clip(x + 0.1, -1, 1)


def contains(picture: np.ndarray, panel: np.ndarray) -> bool:
    """Whether the panel occurs pixel for pixel somewhere in the picture."""
    height, width = panel.shape[:2]
    first = np.argwhere((picture == panel[0, 0]).all(-1))
    return any(
        np.array_equal(picture[y : y + height, x : x + width], panel) for y, x in first.tolist()
    )


def test_comparison_shows_both_pictures_as_they_are() -> None:
    x, y = pair(300, 320)
    picture = pictures.compare(x, y)
    assert picture.dtype == np.uint8
    for each in (x, y):
        assert contains(picture, np.rint((each.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8))


def test_error_map_is_black_where_equal_and_brightest_at_a_quarter_of_the_range() -> None:
    x = np.full((3, 256, 256), -1, np.float32)
    y = x.copy()
    y[:, 100:150, 100:150] += 0.6
    picture = pictures.compare(x, y, captions=("", ""))
    error = picture[-8 - 256 : -8, -8 - 256 : -8]
    assert tuple(error[10, 10]) == (0, 0, 4)
    assert tuple(error[120, 120]) == (252, 255, 164)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (2, 300), (700, 3)])
def test_pictures_of_any_size_can_be_compared(size: tuple[int, int]) -> None:
    picture = pictures.compare(*pair(*size))
    assert max(picture.shape) >= 256
    assert (picture == INK).all(-1).any()  # captions


def test_huge_pictures_are_shrunk_to_be_looked_at() -> None:
    picture = pictures.compare(*pair(1000, 2400))
    assert picture.shape[1] <= 1600 + 2 * pictures.MARGIN
    assert picture.shape[0] > 3 * 600  # wide ones lie one above the other


def test_spectrograms_have_low_frequencies_at_the_bottom() -> None:
    mel = np.full((80, 100), -5.0, np.float32)
    mel[:10] = 1.0
    picture = pictures.compare_spectrograms(mel, mel, duration_s=1.0, rate_hz=24000)
    top = canvas._LINE + pictures.MARGIN
    panel = picture[top : top + 160, pictures.MARGIN : pictures.MARGIN + 480]
    assert panel[-5].mean() > 150
    assert panel[5].mean() < 10


def test_spectrograms_of_silence_and_of_one_frame_are_drawn() -> None:
    silence = np.full((80, 1), -5.0, np.float32)
    picture = pictures.compare_spectrograms(silence, silence, duration_s=0.0, rate_hz=16000)
    assert picture.shape[2] == 3


def test_saved_pictures_are_png_and_failures_are_named(tmp_path: Path) -> None:
    pictures.save(tmp_path / "deep" / "a.png", pictures.compare(*pair(9, 9)))
    with Image.open(tmp_path / "deep" / "a.png") as saved:
        assert saved.format == "PNG"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match=r"b\.png: cannot write"):
        pictures.save(tmp_path / "file" / "b.png", pictures.compare(*pair(9, 9)))


def test_one_code_is_one_colour_and_neighbours_differ() -> None:
    grid = np.arange(64).reshape(8, 8)
    mosaic = codeplot.code_map(grid)
    step = mosaic.shape[0] // 8
    assert mosaic.shape == (8 * step, 8 * step, 3)
    colours = {tuple(mosaic[y * step, x * step]) for y in range(8) for x in range(8)}
    assert len(colours) == 64
    assert (mosaic[:step, :step] == mosaic[0, 0]).all()
    again = codeplot.code_map(grid[2:4, 2:4])
    assert tuple(again[0, 0]) == tuple(mosaic[2 * step, 2 * step])


def test_neighbouring_codes_are_far_apart_in_colour() -> None:
    colours = canvas.hashed_colours(np.arange(512)[None])[0].astype(int)
    assert np.abs(np.diff(colours, axis=0)).sum(1).min() > 40


def level(axes: tuple[str, ...], *, size: int, depth: int | None = None) -> LevelSpec:
    spatial = sum(axis in ("h", "w", "t") for axis in axes)
    return LevelSpec("codes", axes, size, (8,) * spatial, depth)


@pytest.mark.parametrize(
    ("modality", "axes", "shape", "extent"),
    [
        ("image", ("h", "w"), (1, 6, 9), (48, 72)),
        ("image", ("h", "w"), (1, 1, 1), (1, 1)),
        ("image", ("q", "h", "w"), (1, 3, 4, 5), (32, 40)),
        ("image", ("n",), (1, 32), (256, 256)),
        ("audio", ("q", "t"), (2, 4, 900), (7200,)),
        ("audio", ("t",), (1, 3), (20,)),
    ],
)
def test_every_layout_of_codes_can_be_drawn(
    modality: str, axes: tuple[str, ...], shape: tuple[int, ...], extent: tuple[int, ...]
) -> None:
    depth = shape[1] if axes[0] in ("q", "n") else None
    rate = 24000.0 if modality == "audio" else None
    spec = CodeSpec(modality, (level(axes, size=64, depth=depth),), rate)  # type: ignore[arg-type]
    codes = Codes(spec, (np.random.default_rng(0).integers(0, 64, shape),), extent)
    header = Header(spec, extent, "model", shape[0], Source(name="cat.png"))
    picture = codeplot.plot(header, codes)
    assert picture.dtype == np.uint8
    assert picture.shape[1] < 2000
    title = canvas.text_panel("cat.png, model")[:, :80]
    height, width = title.shape[:2]
    corner = picture[codeplot.GAP :, codeplot.GAP :][:height, :width]
    np.testing.assert_array_equal(corner, title)


def test_hierarchies_show_each_level() -> None:
    levels = (
        LevelSpec("top", ("h", "w"), 512, (16, 16)),
        LevelSpec("bottom", ("h", "w"), 512, (8, 8)),
    )
    spec = CodeSpec("image", levels)
    rng = np.random.default_rng(0)
    arrays = tuple(rng.integers(0, 512, shape) for shape in ((1, 4, 4), (1, 8, 8)))
    picture = codeplot.plot(Header(spec, (64, 64)), Codes(spec, arrays, (64, 64)))
    assert contains(picture, codeplot.code_map(arrays[0][0]))
    assert contains(picture, codeplot.code_map(arrays[1][0]))


def test_histogram_falls_to_the_axis_after_the_last_used_entry() -> None:
    counts = np.zeros(100, np.int64)
    counts[[3, 50]] = [10, 1]
    few = codeplot.histogram(counts)
    all_used = codeplot.histogram(np.full(100, 10))
    violet = tuple(canvas.colour_map(np.array([[0.25]]))[0, 0])

    def reach(picture: np.ndarray) -> int:
        return int(np.argwhere((picture == violet).all(-1))[:, 1].max())

    width = codeplot._PLOT[0]
    assert reach(few) == pytest.approx(codeplot._LEFT + width * 2 / 100, abs=2)
    assert reach(all_used) == pytest.approx(codeplot._LEFT + width, abs=2)


def test_histogram_of_nothing_is_an_empty_frame() -> None:
    assert codeplot.histogram(np.zeros((2, 16), np.int64)).shape[2] == 3

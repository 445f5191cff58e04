from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plots.test_comparison import contains
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import MediaError
from vqtok.pipeline import pictures
from vqtok.plots import sheet
from vqtok.plots.codes import code_map


def test_comparison_shows_both_images_as_they_are() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (3, 300, 320)).astype(np.float32)
    y = np.clip(x + 0.1, -1, 1)
    picture = pictures.compare_images(x, y, captions=("original", "decoded"))
    for each in (x, y):
        assert contains(picture, np.rint((each.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8))


def test_recordings_are_compared_by_their_spectrograms() -> None:
    x = torch.sin(torch.arange(8000) * 0.5)[None]
    texts = ("original", "decoded")
    same = pictures.compare_recordings(x, x, rate=8000, captions=texts)
    other = pictures.compare_recordings(x, x * 0.5, rate=8000, captions=texts)
    assert same.shape == other.shape
    assert (same != other).any()


def test_saved_pictures_are_png_and_failures_are_named(tmp_path: Path) -> None:
    picture = np.zeros((9, 9, 3), np.uint8)
    pictures.save(tmp_path / "deep" / "a.png", picture)
    with Image.open(tmp_path / "deep" / "a.png") as saved:
        assert saved.format == "PNG"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match=r"b\.png: cannot write"):
        pictures.save(tmp_path / "file" / "b.png", picture)


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
    picture = pictures.of_codes(header, codes)
    assert picture.dtype == np.uint8
    assert picture.shape[1] < 2000
    other = pictures.of_codes(
        Header(spec, extent, "model", shape[0], Source(name="dog.png")), codes
    )
    assert (picture != other)[:26].any()  # its title
    np.testing.assert_array_equal(picture[26:], other[26:])


def test_hierarchies_show_each_level() -> None:
    levels = (
        LevelSpec("top", ("h", "w"), 512, (16, 16)),
        LevelSpec("bottom", ("h", "w"), 512, (8, 8)),
    )
    spec = CodeSpec("image", levels)
    rng = np.random.default_rng(0)
    arrays = tuple(rng.integers(0, 512, shape) for shape in ((1, 4, 4), (1, 8, 8)))
    picture = pictures.of_codes(Header(spec, (64, 64)), Codes(spec, arrays, (64, 64)))
    assert contains(picture, code_map(arrays[0][0]))
    assert contains(picture, code_map(arrays[1][0]))


@pytest.mark.parametrize("axes", [("h", "w"), ("q", "h", "w")])
def test_maps_and_sheets_of_any_size_are_cut_to_what_can_be_drawn(
    axes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 1000 if "q" in axes else 5000
    monkeypatch.setattr(sheet, "LONGEST", longest)
    shape = (70, 2, 1000) if "q" in axes else (70_000, 1)
    levels = tuple(level(axes, size=64, depth=70 if "q" in axes else None) for _ in range(3))
    levels = tuple(replace(each, name=str(i)) for i, each in enumerate(levels))
    spec = CodeSpec("image", levels)
    codes = Codes(spec, tuple(np.zeros((1, *shape), np.uint8) for _ in levels), shape[-2:])
    picture = pictures.of_codes(Header(spec, shape[-2:]), codes)
    assert picture.shape[0] <= longest + 26
    assert picture.shape[1] < 2**16

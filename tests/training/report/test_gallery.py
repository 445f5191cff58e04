"""Previews: pictures in pairs, and never many of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.media.image.pixels import to_uint8
from vqtok.training.report import gallery
from vqtok.training.report.gallery import GAP, GREY, HEIGHT, name_of_clip, prune, sheet

sides = st.integers(min_value=1, max_value=1200)


@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=4))
def test_every_picture_is_whole_and_in_its_cell(sizes):
    pairs = [
        (np.full((3, h, w), -1.0, np.float32), np.full((3, h, w), 1.0, np.float32))
        for h, w in sizes
    ]
    found = to_uint8(sheet(pairs))
    assert found.shape[:2] == (3, 2 * HEIGHT + 3 * GAP)
    above, below = found[0, : HEIGHT + GAP], found[0, HEIGHT + 2 * GAP :]
    assert not (above == 255).any() and not (below == 0).any()
    # As many columns of black as of white, and a gap on both sides of each picture.
    dark, light = (above == 0).any(axis=0), (below == 255).any(axis=0)
    np.testing.assert_array_equal(dark, light)
    starts = np.flatnonzero(np.diff(dark.astype(int)) == 1)
    assert len(starts) == len(sizes)
    np.testing.assert_array_equal(found[:, :, :GAP], GREY)
    np.testing.assert_array_equal(found[:, :, -GAP:], GREY)


@pytest.mark.parametrize(
    ("size", "shown"),
    [((32, 32), (224, 224)), ((32, 48), (224, 336)), ((448, 448), (224, 224)),
     ((300, 100), (224, 75)), ((100, 1000), (45, 448)), ((200, 150), (200, 150))],
)  # fmt: skip
def test_proportions_are_kept(size, shown):
    white = np.ones((3, *size), np.float32)
    found = to_uint8(sheet([(white, white)]))[0]
    rows, columns = np.nonzero(found[: HEIGHT + GAP] == 255)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == shown


def test_small_pictures_grow_pixel_by_pixel():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (3, 32, 32)).astype(np.float32)
    found = to_uint8(sheet([(pixels, pixels)]))
    cell = found[:, GAP : GAP + 224, GAP : GAP + 224]
    np.testing.assert_array_equal(cell[:, ::7, ::7], to_uint8(pixels))
    np.testing.assert_array_equal(cell, np.repeat(np.repeat(cell[:, ::7, ::7], 7, 1), 7, 2))


def test_names_are_safe_in_links_and_distinct():
    assert name_of_clip(0, Path("a/ä b|c.wav"), step=1000) == "step-0001000-1-_b_c.wav"
    assert name_of_clip(1, Path("x/1.wav"), step=None) == "original-2-1.wav"
    assert name_of_clip(0, Path("x/1.wav"), step=7) != name_of_clip(1, Path("y/1.wav"), step=7)
    assert len(name_of_clip(0, "y" * 300, step=7)) < 100


@given(st.sets(st.integers(min_value=1, max_value=10**8), max_size=12), st.data())
def test_the_first_the_best_and_the_last_stay(steps, data):
    import tempfile

    order = sorted(steps)
    best = data.draw(st.sampled_from([*order, None]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "previews"
        folder.mkdir()
        for step in steps:
            (folder / f"step-{step:07d}.png").touch()
        for other in ("original-1-a.wav", "step-by-step.png", "notes.txt"):
            (folder / other).touch()
        gone = prune(Path(name), best=best)
        left = {step for step in steps if gallery.of_step(Path(name), step)}
        assert left == {*order[:1], *order[-3:], *([best] if best else [])}
        assert len(gone) == len(steps) - len(left)
        assert {"original-1-a.wav", "step-by-step.png", "notes.txt"} <= {
            path.name for path in folder.iterdir()
        }


def test_a_new_run_deletes_old_previews_and_nothing_else(tmp_path: Path):
    gallery.begin(tmp_path)
    folder = tmp_path / "previews"
    folder.mkdir()
    for name in ("step-0000010.png", "step-0000010-1-a.wav", "original-1-a.wav", "mine.png"):
        (folder / name).touch()
    gallery.begin(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["mine.png"]

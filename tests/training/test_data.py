"""Batches are a function of files, seed and step; held-out files are never among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.training.data import Dataset, split
from vqtok.training.recipe import Train

PLAN = Train(losses={}, batch=3, window=20, seed=5)


@given(count=st.integers(1, 60), share=st.floats(0.0, 0.9), seed=st.integers(0, 3))
def test_splits_are_disjoint_whole_and_repeatable(count: int, share: float, seed: int) -> None:
    files = [Path(f"{i:03}.png") for i in range(count)]
    train, held = split(files, share=share, seed=seed)
    assert train and held
    assert split(files, share=share, seed=seed) == (train, held)
    if count > 1:
        assert not set(train) & set(held)
        assert sorted([*train, *held]) == files


def test_a_batch_is_a_function_of_the_step(photos: Path) -> None:
    files = sorted(photos.iterdir())
    first = Dataset(files, kind="image", recipe=PLAN, rate=None)
    expected = [first.batch(step) for step in range(4)]
    second = Dataset(files, kind="image", recipe=PLAN, rate=None)
    assert torch.equal(second.batch(3), expected[3])  # another order of calls, another cache
    ahead = second.batches(1)
    assert torch.equal(next(ahead), expected[1])
    assert torch.equal(next(ahead), expected[2])
    ahead.close()


def test_windows_have_the_promised_shape_and_range(photos: Path, clips: Path) -> None:
    images = Dataset(sorted(photos.iterdir()), kind="image", recipe=PLAN, rate=None).batch(0)
    assert images.shape == (3, 3, 20, 20)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1.0
    sounds = Dataset(sorted(clips.iterdir()), kind="audio", recipe=PLAN, rate=800).batch(0)
    assert sounds.shape == (3, 1, 20)
    assert 0.0 < sounds.abs().max() <= 0.31


def test_windows_larger_than_the_file_are_filled(photos: Path) -> None:
    plan = Train(losses={}, batch=2, window=64)
    batch = Dataset(sorted(photos.iterdir()), kind="image", recipe=plan, rate=None).batch(0)
    assert batch.shape == (2, 3, 64, 64)
    assert torch.equal(batch[..., -1, :], batch[..., -2, :])  # the last row repeats


def test_a_full_cache_changes_nothing(photos: Path) -> None:
    files = sorted(photos.iterdir())
    small = Train(losses={}, batch=3, window=20, seed=5, cache_gb=0.0)
    a = Dataset(files, kind="image", recipe=PLAN, rate=None).batch(2)
    b = Dataset(files, kind="image", recipe=small, rate=None).batch(2)
    assert torch.equal(a, b)


def test_unreadable_files_are_noted_and_passed_over(photos: Path) -> None:
    files = sorted(photos.iterdir())
    files[0].write_bytes(b"not an image")
    data = Dataset(files, kind="image", recipe=PLAN, rate=None)
    for step in range(12):
        assert np.isfinite(data.batch(step).numpy()).all()
    assert list(data.bad) == [files[0]]


def test_a_folder_of_broken_files_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no")
    data = Dataset([broken], kind="image", recipe=PLAN, rate=None)
    with pytest.raises(MediaError, match="none of the 1 files"):
        data.batch(0)

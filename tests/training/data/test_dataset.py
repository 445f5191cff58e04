"""The items of a step are a function of files, seed and step, however they are read and shared."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vqtok.errors import ConfigError, MediaError
from vqtok.training.data.dataset import Batch, Dataset
from vqtok.training.data.files import find_files
from vqtok.training.data.media import media_dataset
from vqtok.training.recipe import Train

PLAN = Train(losses={}, batch=3, window=20, seed=5, workers=2)


def images(files: Sequence[Path], plan: Train = PLAN, **context: int) -> Dataset:
    return media_dataset(files, kind="image", recipe=plan, rate=None, **context)


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.values, b.values)


def test_a_batch_is_a_function_of_the_step(photos: Path) -> None:
    files = sorted(photos.iterdir())
    first = images(files)
    expected = [first.batch(step) for step in range(4)]
    second = images(files)
    assert same(second.batch(3), expected[3])  # another order of calls, another cache
    ahead = second.batches(1)
    assert same(next(ahead)[0], expected[1])
    assert same(next(ahead)[0], expected[2])
    ahead.close()
    assert not same(expected[0], expected[1])


def test_windows_have_the_promised_shape_and_range(photos: Path, clips: Path) -> None:
    batch = images(sorted(photos.iterdir())).batch(0)
    assert batch.values.shape == (3, 3, 20, 20)
    assert batch.values.dtype == torch.uint8
    x = batch.signal()
    assert x.dtype == torch.float32
    assert x.abs().max() <= 1.0
    assert x.is_contiguous(memory_format=torch.channels_last)
    sounds = media_dataset(sorted(clips.iterdir()), kind="audio", recipe=PLAN, rate=800).batch(0)
    assert sounds.signal().shape == (3, 1, 20)
    assert 0.0 < sounds.signal().abs().max() <= 0.31


def test_black_is_minus_one_and_white_is_one() -> None:
    x = Batch(torch.tensor([0, 255], dtype=torch.uint8)).signal()
    assert x.tolist() == [-1.0, 1.0]


def test_a_window_is_a_part_of_its_image_or_of_the_mirrored_one(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :50].astype(np.uint8)
    pixels = np.stack([y, x, y ^ x], axis=2)  # every position has a colour of its own
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data = images([tmp_path / "a.png"], replace(PLAN, batch=32))
    mirrored = 0
    for each in data.batch(0).values.movedim(1, 3).numpy():
        square = each[:, ::-1] if each[0, 0, 1] > each[0, -1, 1] else each
        mirrored += square is not each
        top, left = square[0, 0, :2]
        np.testing.assert_array_equal(square, pixels[top : top + 20, left : left + 20])
    assert 0 < mirrored < 32


def test_windows_larger_than_the_file_are_filled(photos: Path) -> None:
    batch = images(sorted(photos.iterdir()), replace(PLAN, window=64)).batch(0).values
    assert batch.shape == (3, 3, 64, 64)
    assert torch.equal(batch[..., -1, :], batch[..., -2, :])  # the last row repeats


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 9),
    batch=st.integers(1, 4),
    ranks=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    step=st.integers(0, 50),
)
def test_ranks_and_parts_share_the_items_of_one_large_batch(
    folder_of_many: Path, count: int, batch: int, ranks: int, accumulate: int, step: int
) -> None:
    files = sorted(folder_of_many.iterdir())[:count]
    whole = images(files, replace(PLAN, batch=batch * ranks * accumulate)).batch(step)
    plan = replace(PLAN, batch=batch, accumulate=accumulate)
    each = [images(files, plan, rank=r, ranks=ranks) for r in range(ranks)]
    parts = [data.batch(step, part=p).values for data in each for p in range(accumulate)]
    assert torch.equal(torch.cat(parts), whole.values)


def test_steps_come_with_all_their_parts(photos: Path) -> None:
    data = images(sorted(photos.iterdir()), replace(PLAN, accumulate=2))
    steps = data.batches(7)
    first, second = next(steps)
    steps.close()
    assert same(first, data.batch(7, part=0))
    assert same(second, data.batch(7, part=1))


def test_an_epoch_shows_every_image_once(folder_of_many: Path) -> None:
    files = sorted(folder_of_many.iterdir())  # each of one grey
    data = images(files, replace(PLAN, batch=3))
    greys = torch.cat([data.batch(step).values[:, 0, 0, 0] for step in range(6)]).tolist()
    for epoch in (greys[:9], greys[9:]):
        assert sorted(epoch) == [10 * i for i in range(9)]
    assert greys[:9] != greys[9:]


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_threads_and_caches_change_nothing(photos: Path, workers: int) -> None:
    files = sorted(photos.iterdir())
    expected = [images(files).batch(step) for step in range(12)]
    for room in (0.0, 3e-6, 4.0):  # none, a file or two, all
        steps = images(files, replace(PLAN, cache_gb=room, workers=workers)).batches(0)
        for wanted in expected:
            assert same(next(steps)[0], wanted)
        steps.close()


def test_unreadable_files_are_noted_and_passed_over(photos: Path) -> None:
    files = sorted(photos.iterdir())
    files[0].write_bytes(b"not an image")
    files[3].write_bytes(b"")
    data = images(files)
    for step in range(12):
        assert np.isfinite(data.batch(step).signal().numpy()).all()
    assert list(data.unreadable) == [str(files[0]), str(files[3])]
    # What stands in for a broken file does not depend on whether it is already known.
    late = images(files, replace(PLAN, cache_gb=0.0))
    assert same(late.batch(11), data.batch(11))


def test_a_folder_of_broken_files_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no")
    steps = images([broken]).batches(0)
    with pytest.raises(MediaError, match="none of the 1 files"):
        next(steps)


def test_closing_ends_the_threads(photos: Path) -> None:
    steps = images(sorted(photos.iterdir()), replace(PLAN, workers=3)).batches(0)
    next(steps)
    assert any(each.name.startswith("vqtok-data") for each in threading.enumerate())
    steps.close()
    assert not any(each.name.startswith("vqtok-data") for each in threading.enumerate())


def test_labels_are_the_directories_of_the_files(tmp_path: Path) -> None:
    for name, grey in (("cats", 10), ("dogs/small", 20), ("dogs/large", 30)):
        (tmp_path / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (20, 20), (grey,) * 3).save(tmp_path / name / f"{i}.png")
    files = find_files([str(tmp_path)]).files
    data = images(files, replace(PLAN, labels=True, batch=9))
    batch = data.batch(0)
    assert data.names == ("cats", "dogs/large", "dogs/small")
    assert batch.labels is not None
    assert batch.labels.dtype == torch.int64
    greys = dict(zip(data.names, (10, 30, 20), strict=True))
    for label, values in zip(batch.labels.tolist(), batch.values, strict=True):
        assert values.unique().tolist() == [greys[data.names[label]]]


def test_one_directory_is_no_choice_of_labels(photos: Path) -> None:
    with pytest.raises(ConfigError, match="one directory"):
        images(sorted(photos.iterdir()), replace(PLAN, labels=True))


def test_images_on_the_device_give_the_same_crops(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(5):
        noise = rng.integers(0, 255, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"broken")
    files = sorted(tmp_path.iterdir())
    for window in (20, 28):  # smaller than the images; larger than one side of them
        plan = replace(PLAN, window=window, batch=8)
        memory = images(files, plan)
        device = images(files, replace(plan, cache="device"))
        for step in range(4):
            assert same(device.batch(step), memory.batch(step))
        assert device.unreadable == memory.unreadable


def test_images_of_several_sizes_do_not_fit_the_device(photos: Path) -> None:
    data = images(sorted(photos.iterdir()), replace(PLAN, cache="device"))
    with pytest.raises(ConfigError, match=r"one size: .*0\.png is 30x24, .*1\.png is 30x25"):
        data.batch(0)


def test_large_images_are_shrunk_when_they_are_read(tmp_path: Path) -> None:
    Image.effect_noise((900, 600), 60).convert("RGB").save(tmp_path / "a.jpg")
    plan = replace(PLAN, window=100, shrink=100, batch=1)
    wide = images([tmp_path / "a.jpg"], plan).batch(0).signal()
    assert wide.shape == (1, 3, 100, 100)
    assert float(wide.std()) < 0.2  # noise of one pixel is averaged away, not sampled

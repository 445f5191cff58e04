"""Windows of codes show one part of the signal on every level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import coded
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import ConfigError
from vqtok.training.data.code_items import CodeItems, find_codes
from vqtok.training.data.code_windows import CodeSampler, fit_window, split_levels

SIDE = st.integers(1, 60)


def positions(spec: CodeSpec, extent: tuple[int, ...]) -> Codes:
    """Codes that tell where they are: the number of their row times 16 plus that of the column."""
    levels = []
    for level in spec.levels:
        rows, columns = level.shape(extent)
        levels.append(np.arange(rows)[None, :, None] * 16 + np.arange(columns))
    return Codes(spec, tuple(levels), extent)


def spec_of(*strides: int) -> CodeSpec:
    levels = (LevelSpec(f"l{s}", ("h", "w"), 1024, (s, s)) for s in strides)
    return CodeSpec("image", tuple(levels), fingerprint="aa")


def items_of(folder: Path, *items: Codes) -> CodeItems:
    for number, codes in enumerate(items):
        coded.write(folder / f"{number:03d}.npy", codes)
    return find_codes([str(folder)])[0]


@given(extent=st.tuples(SIDE, SIDE), window=st.tuples(SIDE, SIDE), seed=st.integers(0, 99))
def test_all_levels_of_a_window_begin_at_one_pixel(
    extent: tuple[int, int],
    window: tuple[int, int],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    spec = spec_of(8, 4)
    window = (min(extent[0], window[0]), min(extent[1], window[1]))
    items = items_of(tmp_path_factory.mktemp("codes"), positions(spec, extent))
    flat = CodeSampler(items, window, seed=0).cut(0, np.random.default_rng(seed))
    shapes = spec.shapes(window)
    top, bottom = (each[0].numpy() for each in split_levels(torch.from_numpy(flat)[None], shapes))
    assert top.shape == shapes[0]
    row, column = divmod(int(top[0, 0]), 16)
    expected = positions(spec, extent)
    for level, found, step in zip(expected.levels, (top, bottom), (1, 2), strict=True):
        cut = level[0, row * step :, column * step :][: found.shape[0], : found.shape[1]]
        np.testing.assert_array_equal(found, cut)


def test_every_window_is_drawn(tmp_path: Path) -> None:
    sampler = CodeSampler(items_of(tmp_path, positions(spec_of(8), (32, 24))), (16, 16), seed=0)
    begun = {int(sampler.cut(0, np.random.default_rng(seed))[0]) for seed in range(200)}
    assert begun == {16 * row + column for row in range(3) for column in range(2)}
    assert int(sampler.beginning(0)[0]) == 0


def test_items_of_one_size_are_taken_whole(tmp_path: Path) -> None:
    found = fit_window(items_of(tmp_path, positions(spec_of(8, 4), (30, 21))), most=100)
    assert found.extent == (30, 21)


def test_large_items_are_cut_until_their_codes_fit_window(tmp_path: Path) -> None:
    spec = spec_of(8, 4)
    items = items_of(tmp_path, positions(spec, (60, 40)))
    found = fit_window(items, most=60)
    assert spec.tokens(found.extent) <= 60
    assert found.extent == (24, 32)  # 12 + 48 codes; the longest axis gives way first
    with pytest.raises(ConfigError, match=r"train\.window"):
        fit_window(items, most=4)


def test_few_small_items_are_left_out_and_many_make_windows_smaller(tmp_path: Path) -> None:
    large, little = positions(spec_of(8), (40, 40)), positions(spec_of(8), (16, 24))
    few = fit_window(items_of(tmp_path / "few", *[large] * 12, little), most=100)
    assert few.extent == (40, 40)
    assert few.large.tolist() == [True] * 12 + [False]
    many = fit_window(items_of(tmp_path / "many", *[large] * 3, little), most=100)
    assert many.extent == (16, 24)
    assert many.large.all()


def test_a_long_recording_is_drawn_more_often(tmp_path: Path) -> None:
    items = [coded.codes_of(coded.AUDIO, (length,), seed=0) for length in (800, 7200)]
    sampler = CodeSampler(items_of(tmp_path, *items), (400,), seed=0)
    drawn = [sampler.order.file(n, np.random.default_rng(n)) for n in range(1000)]
    assert 0.86 < np.mean(drawn) < 0.94


def test_codes_without_a_position_need_items_of_one_size(tmp_path: Path) -> None:
    spec = CodeSpec("image", (LevelSpec("codes", ("n",), 8, (), 5),), fingerprint="aa")
    items = [coded.codes_of(spec, extent, seed=0) for extent in ((32, 32), (32, 40))]
    with pytest.raises(ConfigError, match="several sizes"):
        fit_window(items_of(tmp_path / "two", *items), most=100)
    one = items_of(tmp_path / "one", items[0])
    assert fit_window(one, most=100).extent == (32, 32)
    assert (
        CodeSampler(one, (32, 32), seed=0).beginning(0).tolist() == items[0].levels[0][0].tolist()
    )

"""The look in bfloat16 changes no code, and its tolerance is both needed and enough."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.examples import examples
from vqtok.quantizers.search import candidates as search_candidates
from vqtok.quantizers.search import nearest as search_nearest
from vqtok.quantizers.search import prescreen as search_prescreen
from vqtok.quantizers.search.nearest import Packed


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clustered(count: int, dim: int, spread: float, seed: int) -> Tensor:
    """Points around the same 20 centres."""
    member = torch.randint(0, 20, (count,), generator=torch.Generator().manual_seed(seed))
    return gaussian(20, dim, seed=99)[member] + spread * gaussian(count, dim, seed=seed)


def assert_same(z: Tensor, codebook: Tensor) -> int:
    """What the screen decides is what float32 and float64 find; returns how much it decides."""
    packed = Packed(codebook)
    codes, undecided = search_prescreen.prescreen(z, packed.screen())
    decided = torch.ones(len(z), dtype=torch.bool)
    decided[undecided] = False
    assert torch.equal(codes[decided], search_nearest._search(z, packed)[decided])
    return int(decided.sum())


def usable() -> bool:
    return search_prescreen.trusted(512, 19, 1024)


@pytest.mark.parametrize("dim", [1, 2, 8, 65])
@pytest.mark.parametrize("size", [1, 16, 129, 1000, 9000])
def test_gaussian_rows_get_the_same_codes(size: int, dim: int) -> None:
    decided = assert_same(gaussian(700, dim), gaussian(size, dim, seed=1))
    if usable() and dim >= 8:
        assert decided > 690


@pytest.mark.parametrize("spread", [1.0, 0.1, 1e-3, 1e-5, 0.0])
def test_clustered_rows_get_the_same_codes(spread: float) -> None:
    assert_same(clustered(900, 16, spread, 1), clustered(1500, 16, spread, 2))


@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-30, 1e-20, 1e-4, 1e8, 1e17, 1e19, 1e30])
def test_scale_does_not_matter(scale: float) -> None:
    assert_same(gaussian(300, 8) * scale, gaussian(500, 8, seed=1) * scale)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e17])
def test_rows_of_another_scale_than_the_codebook(scale: float) -> None:
    assert_same(gaussian(300, 8) * scale, gaussian(500, 8, seed=1))


def test_a_few_far_entries_blur_no_others() -> None:
    codebook = gaussian(600, 8, seed=1)
    codebook[7], codebook[300, 2] = 1e5, -1e16
    assert_same(gaussian(300, 8), codebook)


@given(
    rows=st.integers(1, 80),
    size=st.integers(1, 80),
    dim=st.integers(1, 6),
    exponent=st.integers(-30, 30),
    seed=st.integers(0, 1000),
)
@examples(20, many=80)
def test_ties_go_to_the_lowest_index(
    rows: int, size: int, dim: int, exponent: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randint(-3, 4, (rows, dim), generator=generator) * 2.0**exponent
    codebook = torch.randint(-3, 4, (size, dim), generator=generator) * 2.0**exponent
    assert_same(z, codebook)


def test_many_tiles_and_blocks_are_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    z, codebook = gaussian(1500, 8), gaussian(3000, 8, seed=1)
    codebook[2500] = codebook[20]
    z[:50] = codebook[20]
    monkeypatch.setattr(search_nearest, "TILE", 512)
    monkeypatch.setattr(search_prescreen, "BUFFER", 1 << 16)
    monkeypatch.setattr(search_prescreen, "ROWS", 320)
    for kept in (0, 1 << 23):  # rounded at every call, or once
        monkeypatch.setattr(search_nearest, "KEPT", kept)
        decided = assert_same(z, codebook)
    if usable():
        assert decided > 1490


def test_without_its_tolerance_codes_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    z, codebook = gaussian(3000, 32), gaussian(1000, 32, seed=1)
    packed = Packed(codebook)
    if not usable():
        pytest.skip("bfloat16 products of this machine are not rounded once, at the end")
    expected = search_nearest._search(z, packed)
    assert torch.equal(search_prescreen.prescreen(z, packed.screen())[0], expected)
    monkeypatch.setattr(search_prescreen, "tolerance", lambda square, *rest: 0 * square)
    monkeypatch.setattr(search_prescreen, "HALF", 0.0)
    assert not torch.equal(search_prescreen.prescreen(z, packed.screen())[0], expected)


@given(
    dim=st.integers(1, 70),
    spread=st.sampled_from([1e-6, 1e-2, 1.0, 1e3]),
    offset=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
@examples(20, many=60)
def test_scores_are_off_by_no_more_than_the_tolerance(
    dim: int, spread: float, offset: float, seed: int
) -> None:
    codebook = gaussian(60, dim, seed=seed) * spread + offset
    z = gaussian(40, dim, seed=seed + 1) * spread + offset
    screen = Packed(codebook).screen()
    left, slack = search_prescreen._left(z, screen)
    ((_, tile),) = screen.tiles()
    scores = left.double() @ tile.flatten(1)[:, : len(codebook)].double()
    true = (z[:, None].double() - codebook.double()).square().sum(dim=2)
    # All of a row may be off by one constant: what counts is each pair of entries.
    off = scores - true
    assert bool((off.amax(dim=1) - off.amin(dim=1) <= 2 * slack.double()).all())
    assert bool((scores > 0).all())


@given(values=st.lists(st.floats(0, 2.0**126, width=32), min_size=2, max_size=50))
def test_bits_of_positive_numbers_have_their_order(values: list[float]) -> None:
    rounded = torch.tensor(values).bfloat16()
    assert torch.equal(rounded.view(torch.int16).argsort(stable=True), rounded.argsort(stable=True))


def test_rows_near_too_many_entries_are_handed_back_and_right() -> None:
    codebook = gaussian(1, 24).repeat(3000, 1) + 1e-4 * gaussian(3000, 24, seed=1)
    codebook[1000:] += 5 * gaussian(2000, 24, seed=2)
    z = torch.cat((codebook[:40] + 1e-5, codebook[1000:2960] + 0.01))
    packed = Packed(codebook)
    _, undecided = search_prescreen.prescreen(z, packed.screen())
    if usable():
        assert undecided.tolist() == list(range(40))
        assert not packed.screen().crowded
    assert torch.equal(search_nearest.nearest(z, packed), search_nearest._search(z, packed))


def test_a_crowded_codebook_is_left_to_float32_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_prescreen, "_native", lambda: True)
    packed = Packed(1 + 1e-3 * gaussian(2000, 8))
    packed.entries[0] = -50  # far from the mean, for bfloat16, all the others are one
    packed = Packed(packed.entries)
    z = 1 + 1e-3 * gaussian(4000, 8, seed=1)
    expected = search_nearest._search(z, packed)
    assert torch.equal(search_nearest.nearest(z, packed), expected)
    assert packed.screen().crowded
    monkeypatch.setattr(search_prescreen, "prescreen", None)
    assert torch.equal(search_nearest.nearest(z, packed), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_broken_rows_and_entries_are_left_to_float32(value: float) -> None:
    z, codebook = gaussian(300, 8), gaussian(500, 8, seed=1)
    z[[3, 200], 2] = value
    _, undecided = search_prescreen.prescreen(z, Packed(codebook).screen())
    assert {3, 200} <= set(undecided.tolist())
    codebook[9, 4] = value
    _, undecided = search_prescreen.prescreen(z, Packed(codebook).screen())
    assert len(undecided) == 300


def test_products_that_truncate_or_add_up_in_bf16_are_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def truncated(left: Tensor, right: Tensor) -> Tensor:
        bits = (left.float() @ right.float()).view(torch.int32) & -65536
        return bits.view(torch.float32).bfloat16()

    def added_up(left: Tensor, right: Tensor) -> Tensor:
        total = torch.zeros(len(left), right.shape[1], dtype=torch.bfloat16)
        for i in range(left.shape[1]):
            total = total + left[:, i : i + 1] * right[i]
        return total

    for wrong in (truncated, added_up):
        monkeypatch.setattr(torch, "mm", wrong)
        assert not search_prescreen.trusted.__wrapped__(64, 11, 256)
    monkeypatch.undo()
    monkeypatch.setattr(search_prescreen, "trusted", lambda *shape: False)
    _, undecided = search_prescreen.prescreen(gaussian(300, 8), Packed(gaussian(500, 8)).screen())
    assert len(undecided) == 300


def test_a_large_search_goes_through_it_where_the_cpu_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_prescreen, "_native", lambda: True)
    calls = []
    real = search_prescreen.prescreen
    monkeypatch.setattr(search_prescreen, "prescreen", lambda *args: calls.append(1) or real(*args))
    z, packed = gaussian(4096, 8), Packed(gaussian(300, 8, seed=1))
    whole = search_nearest.nearest(z, packed)
    assert calls == [1]
    assert torch.equal(search_nearest.nearest(z[:20], packed), whole[:20])
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # not the kernels of the probe
    assert torch.equal(search_nearest.nearest(z, packed), whole)
    assert calls == [1]


def test_the_nearest_of_candidates_is_the_oracles() -> None:
    z, entries = gaussian(50, 5), gaussian(30, 5, seed=1)
    entries[20] = entries[3]
    rng = np.random.default_rng(0)
    pairs = [(i, j) for i in range(50) for j in rng.permutation(30)[: rng.integers(1, 12)]]
    row, code = (np.array(each) for each in zip(*pairs, strict=True))
    kept = search_candidates.Candidates(torch.zeros(50, dtype=torch.bool))
    kept.add(row, code, np.zeros(len(row), dtype=np.int16))
    kept.drop(torch.zeros(50, dtype=torch.int16))
    found = kept.nearest(z, entries)
    distance = (z[:, None].double() - entries.double()).square().sum(dim=2).numpy()
    for i in range(50):
        own = np.sort(code[row == i])
        assert int(found[i]) == own[distance[i, own].argmin()]


def test_a_codebook_in_training_counts_as_crowded_for_some_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_prescreen, "_native", lambda: True)
    monkeypatch.setattr(search_nearest, "TRUSTED", 3)
    entries = 1 + 1e-3 * gaussian(2000, 8)
    entries[0] = -50
    z = 1 + 1e-3 * gaussian(4000, 8, seed=1)
    first = packed = Packed(entries)
    looked = []
    for _ in range(5):
        assert torch.equal(search_nearest.nearest(z, packed), search_nearest._search(z, first))
        looked.append(packed._screen is not None)
        packed = Packed(entries, earlier=packed)
    assert looked == [True, False, False, True, False]
    assert not Packed(entries, earlier=Packed(entries)).crowded()

"""The search against a float64 oracle, and its independence of everything but the row."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.examples import examples
from vqtok.quantizers.search import candidates as search_candidates
from vqtok.quantizers.search import nearest as search_nearest
from vqtok.quantizers.search import product
from vqtok.quantizers.search import product as search_product
from vqtok.quantizers.search.nearest import Packed, nearest


def oracle(z: Tensor, codebook: Tensor) -> np.ndarray:
    """(N, K) squared distances in float64, from the differences themselves."""
    rows, entries = z.detach().float().double().numpy(), codebook.detach().double().numpy()
    return ((rows[:, None, :] - entries[None]) ** 2).sum(axis=2)


def assert_nearest(codes: Tensor, z: Tensor, codebook: Tensor) -> None:
    """Codes are the first minimum, but for distances that float64 itself can hardly tell apart."""
    distances = oracle(z, codebook)
    chosen = distances[np.arange(len(z)), codes.numpy()]
    least = distances.min(axis=1)
    assert (chosen <= least * (1 + 1e-14 * z.shape[1])).all()
    clear = np.partition(distances, min(1, distances.shape[1] - 1), axis=1)[:, :2]
    clear = (clear.shape[1] == 1) | (clear[:, 0] < clear[:, -1] * (1 - 1e-14 * z.shape[1]))
    assert (codes.numpy() == distances.argmin(axis=1))[clear].all()


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dim", [1, 2, 8, 17, 64])
@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 257, 1000, 2049])
def test_codes_are_those_of_float64_distances(size: int, dim: int) -> None:
    z, codebook = gaussian(300, dim), gaussian(size, dim, seed=1)
    assert_nearest(nearest(z, codebook), z, codebook)


@given(
    rows=st.integers(0, 40),
    size=st.integers(1, 40),
    dim=st.integers(1, 5),
    exponent=st.integers(-12, 12),
    seed=st.integers(0, 1000),
)
@examples(20, many=150)
def test_small_integers_tie_often_and_ties_go_to_the_lowest_index(
    rows: int, size: int, dim: int, exponent: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Powers of two keep every float64 distance exact, so equal means equal.
    z = torch.randint(-3, 4, (rows, dim), generator=generator) * 2.0**exponent
    codebook = torch.randint(-3, 4, (size, dim), generator=generator) * 2.0**exponent
    assert np.array_equal(nearest(z, codebook).numpy(), oracle(z, codebook).argmin(axis=1))


def test_many_tiles_give_the_same_codes_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    z, codebook = gaussian(500, 5), gaussian(1000, 5, seed=1)
    codebook[700] = codebook[20]
    z[:50] = codebook[20]
    whole = nearest(z, codebook)
    monkeypatch.setattr(search_nearest, "TILE", 64)
    for kept in (0, 1 << 23):  # packed at every call, or once
        monkeypatch.setattr(search_nearest, "KEPT", kept)
        assert torch.equal(nearest(z, codebook), whole)
    assert whole[:50].tolist() == [20] * 50


def test_a_row_has_the_same_code_in_any_batch() -> None:
    z, packed = gaussian(5000, 16), Packed(gaussian(700, 16, seed=1))
    whole = nearest(z, packed)
    picks = np.random.default_rng(0).integers(0, 5000, (40, 2))
    for start, stop in np.sort(picks, axis=1).tolist():
        assert torch.equal(nearest(z[start:stop], packed), whole[start:stop])
    shuffled = torch.randperm(5000, generator=torch.Generator().manual_seed(2))
    assert torch.equal(nearest(z[shuffled], packed), whole[shuffled])


def test_near_ties_have_the_same_code_in_any_batch_on_any_thread_count_and_block_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Rows halfway between two entries: float32 scores differ by rounding alone.
    codebook = gaussian(600, 33, seed=1) + 3
    left, right = torch.randint(0, 600, (2, 800), generator=torch.Generator().manual_seed(2))
    z = (codebook[left] + codebook[right]) / 2 * (1 + 1e-7 * gaussian(800, 1, seed=3))
    whole = nearest(z, codebook)
    assert_nearest(whole, z, codebook)
    before = torch.get_num_threads()
    try:
        for threads, buffer in [(1, 1 << 14), (2, 1 << 20), (1, 1 << 21)]:
            torch.set_num_threads(threads)
            monkeypatch.setattr(search_nearest, "BUFFER", buffer)
            assert torch.equal(nearest(z, codebook), whole)
            assert torch.equal(nearest(z[300:317], codebook), whole[300:317])
    finally:
        torch.set_num_threads(before)


def test_duplicates_go_to_the_lowest_index() -> None:
    codebook = gaussian(10, 4).repeat(30, 1)
    codes = nearest(codebook + 1e-3 * gaussian(300, 4, seed=1), codebook)
    assert codes.tolist() == list(range(10)) * 30


def test_a_collapsed_codebook_is_not_compared_copy_by_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = []
    real = search_candidates.distances
    for module in (search_candidates, search_nearest):
        monkeypatch.setattr(module, "distances", lambda z, e: pairs.append(len(z)) or real(z, e))
    codebook = torch.ones(3000, 8)
    codebook[17] = 2.0
    codes = nearest(torch.cat((torch.zeros(2000, 8), torch.full((5, 8), 3.0))), codebook)
    assert codes.tolist() == [0] * 2000 + [17] * 5
    assert sum(pairs) <= 2 * 2005


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_vectors_far_from_the_origin_are_not_confused(offset: float) -> None:
    z, codebook = gaussian(400, 8) + offset, gaussian(300, 8, seed=1) + offset
    assert_nearest(nearest(z, codebook), z, codebook)


def test_rows_far_from_the_codebook_are_right_too() -> None:
    z, codebook = gaussian(200, 6) * 1e4, gaussian(300, 6, seed=1)
    assert_nearest(nearest(z, codebook), z, codebook)


def test_one_far_entry_does_not_blur_the_others() -> None:
    z, codebook = gaussian(400, 6), gaussian(300, 6, seed=1)
    codebook[5] = 1e6
    assert_nearest(nearest(z, codebook), z, codebook)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e-4, 1e15])
def test_scale_does_not_matter(scale: float) -> None:
    z, codebook = gaussian(300, 6) * scale, gaussian(200, 6, seed=1) * scale
    assert_nearest(nearest(z, codebook), z, codebook)


def test_no_rows_give_no_codes() -> None:
    assert nearest(torch.zeros(0, 4), gaussian(9, 4)).shape == (0,)


def test_strided_and_half_precision_rows_count_as_their_float32_copies() -> None:
    codebook = gaussian(90, 6)
    wide = gaussian(400, 12, seed=1)
    strided = wide[::2, ::2]
    assert torch.equal(nearest(strided, codebook), nearest(strided.contiguous(), codebook))
    half = strided.bfloat16()
    assert torch.equal(nearest(half, codebook), nearest(half.float(), codebook))
    assert torch.equal(nearest(strided.double(), codebook), nearest(strided, codebook))
    assert torch.equal(nearest(strided, codebook[::2]), nearest(strided, codebook[::2].clone()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_broken_rows_get_a_code_in_range_and_spoil_no_others(value: float) -> None:
    z, codebook = gaussian(70, 5), gaussian(33, 5, seed=1)
    whole = nearest(z, codebook)
    broken = z.clone()
    broken[[3, 40], 2] = value
    codes = nearest(broken, codebook)
    assert int(codes.min()) >= 0 and int(codes.max()) < 33
    intact = [i for i in range(70) if i not in (3, 40)]
    assert torch.equal(codes[intact], whole[intact])


def test_a_search_in_inference_mode_leaves_nothing_unusable_behind() -> None:
    z, codebook = gaussian(50, 4), gaussian(20, 4, seed=1)
    with torch.inference_mode():
        inside = nearest(z, codebook)
    assert torch.equal(nearest(z, codebook), inside)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_users_settings_neither_change_codes_nor_are_changed(precision: str) -> None:
    z, codebook = gaussian(300, 8), gaussian(600, 8, seed=1)
    expected = nearest(z, codebook)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert torch.equal(nearest(z, codebook), expected)
        assert torch.equal(nearest(z[:20], codebook), expected[:20])
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_back_end_setting_is_as_it_was() -> None:
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(settings, "fp32_precision"):
        pytest.skip("this torch has no such setting")
    before = settings.fp32_precision
    try:
        for value in ("ieee", "bf16"):
            settings.fp32_precision = value
            nearest(gaussian(300, 8), gaussian(600, 8))
            assert settings.fp32_precision == value
    finally:
        settings.fp32_precision = before


def test_threads_do_not_leave_each_others_setting_behind() -> None:
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(settings, "fp32_precision"):
        pytest.skip("this torch has no such setting")
    before, stop = settings.fp32_precision, threading.Event()

    def others() -> None:
        while not stop.is_set():
            with product._precision("cpu", "bf16"):
                time.sleep(1e-4)

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for _ in range(100):
            with product._precision("cpu", "ieee"):
                time.sleep(1e-4)
                assert settings.fp32_precision == "ieee"
    finally:
        stop.set()
        thread.join()
    assert settings.fp32_precision == before


def test_a_back_end_that_computes_in_bf16_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.Tensor.__matmul__

    def rounded(left: Tensor, right: Tensor) -> Tensor:
        if left.dtype == torch.float32:
            return real(left.bfloat16().float(), right.bfloat16().float())
        return real(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    monkeypatch.setattr(product, "_has_bf16", lambda: False)
    for shape in [(64, 3, 100), (128, 65, 512), (256, 257, 1024)]:
        assert not product._trusted.__wrapped__(*shape)
    monkeypatch.undo()
    z, codebook = gaussian(300, 8), gaussian(600, 8, seed=1)
    monkeypatch.setattr(search_product, "_trusted", lambda *shape: False)
    assert_nearest(nearest(z, codebook), z, codebook)


def test_a_cpu_that_has_bf16_is_never_set_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is the process's: while it stood, other threads' encoders computed in bf16."""
    asked: list[str] = []
    real = product._set_precision

    def watched(device: str, value: str) -> Iterator[None]:
        asked.append(value)
        yield from real(device, value)

    monkeypatch.setattr(product, "_set_precision", watched)
    monkeypatch.setattr(product, "_has_bf16", lambda: True)
    product._trusted.cache_clear()
    try:
        product.multiply(gaussian(128, 8), gaussian(8, 512), out=torch.empty(128, 512))
    finally:
        product._trusted.cache_clear()
    assert asked == ["ieee"]


def test_products_keep_to_their_bound() -> None:
    for rows, inner, columns in [(64, 9, 512), (128, 65, 300), (64, 257, 128)]:
        left, right = gaussian(rows, inner), gaussian(inner, columns, seed=1)
        out = torch.empty(rows, columns)
        product.multiply(left, right, out=out)
        error = (out - left.double() @ right.double()).abs()
        assert bool((error <= product.bound(inner) * (left.abs() @ right.abs())).all())

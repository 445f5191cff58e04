from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import entr

from vqtok.metrics.codebook import Usage, entropy_bits

SIZE = 12


@given(
    codes=arrays.arrays(np.uint16, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 11))
)
def test_statistics_equal_scipys_over_the_same_codes(codes: np.ndarray) -> None:
    usage = Usage(SIZE)
    usage.add(codes)
    counts = np.bincount(codes.ravel(), minlength=SIZE)
    np.testing.assert_array_equal(usage.counts, counts[None])
    total, nats = usage.total, entr(counts / counts.sum()).sum()
    assert total.used == len(np.unique(codes))
    assert total.share == total.used / SIZE
    assert total.entropy_bits == pytest.approx(nats / math.log(2), abs=1e-12)
    assert total.perplexity == pytest.approx(math.exp(nats))
    assert total.nominal_bits == math.log2(SIZE)


def test_adding_in_parts_equals_adding_at_once() -> None:
    codes = np.random.default_rng(0).integers(0, SIZE, (6, 3, 10))
    whole, parts = Usage(SIZE, stage_axis=1), Usage(SIZE, stage_axis=1)
    whole.add(codes)
    for part in (codes[:2], codes[2:3, ..., :4], codes[2:3, ..., 4:], codes[3:].astype(np.uint8)):
        parts.add(part)
    np.testing.assert_array_equal(whole.counts, parts.counts)


def test_each_stage_is_counted_by_itself() -> None:
    codes = np.stack([np.zeros((1, 8), int), np.arange(8)[None]], axis=1)  # (1, 2, 8)
    usage = Usage(8, stage_axis=1)
    usage.add(codes)
    first, second = usage.stages
    assert (first.used, first.entropy_bits, first.perplexity) == (1, 0.0, 1.0)
    assert (second.used, second.entropy_bits, second.perplexity) == (8, 3.0, 8.0)
    total = usage.total
    assert (total.tokens, total.used, total.entries, total.entropy_bits) == (16, 9, 16, 1.5)
    assert [stage["used"] for stage in usage.to_json()["stages"]] == [1, 8]


def test_shallower_codes_count_for_the_stages_they_have() -> None:
    usage = Usage(4, stage_axis=1)
    usage.add(np.zeros((1, 1, 5), np.uint8))
    usage.add(np.ones((1, 3, 5), np.uint8))
    assert usage.counts.tolist() == [[5, 5, 0, 0], [0, 5, 0, 0], [0, 5, 0, 0]]
    assert usage.total.entropy_bits == pytest.approx(10 / 20)  # only the first stage carries any


def test_uniform_codes_need_all_nominal_bits() -> None:
    usage = Usage(64)
    usage.add(np.tile(np.arange(64), 3))
    assert usage.total.entropy_bits == pytest.approx(usage.total.nominal_bits)
    assert usage.total.share == 1.0


def test_nothing_counted_is_all_zero() -> None:
    assert entropy_bits(np.zeros(5, np.int64)) == 0.0
    for usage in (Usage(5), Usage(5, stage_axis=1)):
        assert (usage.total.tokens, usage.total.used, usage.total.entropy_bits) == (0, 0, 0.0)


def test_memory_is_that_of_the_entries_that_occur_not_of_the_size_claimed() -> None:
    codes = np.array([[3, 2**31, 3, 0]] * 5)
    usage = Usage(1 << 32, stage_axis=0)
    usage.add(codes)
    usage.add(codes[:2])
    assert [each.tolist() for each in usage.used[:3]] == [[2, 4, 2], [2, 4, 2], [1, 2, 1]]
    assert (usage.total.used, usage.total.entries) == (15, 5 << 32)
    assert usage.total.nominal_bits == 32.0
    assert usage.total.entropy_bits == pytest.approx(1.5)


def test_very_many_stages_of_a_large_codebook_are_counted_at_once() -> None:
    stages, size = 1 << 16, 1 << 20
    codes = np.arange(2 * stages).reshape(stages, 2) * 7 % size
    usage = Usage(size, stage_axis=0)
    start = time.process_time()
    usage.add(codes)
    usage.add(codes)
    total = usage.total
    assert time.process_time() - start < 20  # stage by stage, each a megabyte, it takes minutes
    assert (total.tokens, total.used, total.entries) == (4 * stages, 2 * stages, stages * size)
    assert total.entropy_bits == pytest.approx(1.0)

"""The nearest entry in numpy is that of brute force, and near ties are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import MANY, examples
from vqtok.graphs import search
from vqtok.graphs.search import Codebook, NearTies


def brute_force(rows: np.ndarray, entries: np.ndarray) -> np.ndarray:
    differences = rows[:, None].astype(np.float64) - entries[None].astype(np.float64)
    found: np.ndarray = np.square(differences).sum(axis=2).argmin(axis=1)
    return found


@examples(20, many=60)
@given(
    st.integers(1, 70),
    st.integers(1, 60),
    st.integers(1, 9),
    st.sampled_from(["plain", "far", "copies", "close", "large"]),
    st.integers(1, 2),
)
def test_every_row_takes_the_nearest_entry_the_lowest_of_equals(
    count: int, size: int, dim: int, kind: str, threads: int
):
    random = np.random.default_rng(count + 100 * size + dim)
    entries = random.standard_normal((size, dim)).astype(np.float32)
    rows = random.standard_normal((count, dim)).astype(np.float32)
    if kind == "far":
        entries, rows = entries + np.float32(1000), rows + np.float32(1000)
    elif kind == "copies":
        entries = entries[random.integers(0, max(1, size // 4), size)]
    elif kind == "close":
        entries = (entries * np.float32(1e-4)).round(6)
    elif kind == "large":
        entries, rows = entries * np.float32(1e6), rows * np.float32(1e6)
    codes = Codebook(entries).nearest(rows, NearTies(rows, 0.0), threads=threads)
    np.testing.assert_array_equal(codes, brute_force(rows, entries))
    wide = rows.astype(np.float64)
    np.testing.assert_array_equal(Codebook(entries).nearest(wide, NearTies(wide, 0.0)), codes)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    entries = random.standard_normal((300, 5)).astype(np.float32)
    rows = random.standard_normal((500, 5)).astype(np.float32)
    found = []
    for size in (1, 1 << 12, 1 << 20):
        monkeypatch.setattr(search, "SCORES", size)
        ties = NearTies(rows, 1e-3)
        found.append((Codebook(entries).nearest(rows, ties, threads=2), ties.found))
    for codes, ties in found[1:]:
        np.testing.assert_array_equal(codes, found[0][0])
        np.testing.assert_array_equal(ties, found[0][1])


@pytest.mark.many
def test_rows_that_a_move_could_take_to_another_entry_are_marked():
    random = np.random.default_rng(0)
    entries = random.standard_normal((200, 3)).astype(np.float32)
    rows = random.standard_normal((2000 if MANY else 1000, 3)).astype(np.float32)
    tolerance = 1e-2
    ties = NearTies(rows, tolerance)
    codes = Codebook(entries).nearest(rows, ties)
    moved = np.zeros(len(rows), dtype=bool)
    for _ in range(300 if MANY else 100):
        step = random.standard_normal(rows.shape)
        step *= tolerance / np.linalg.norm(step, axis=1, keepdims=True)
        moved |= brute_force(rows + step, entries) != codes
    assert moved.any()
    assert ties.found[moved].all()
    assert ties.found.mean() < 0.5


def test_rows_of_nan_get_a_code_in_range():
    entries = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = np.array([[np.nan, 0.0], [4.0, 5.0]], dtype=np.float32)
    codes = Codebook(entries).nearest(rows, NearTies(rows, 0.0))
    assert 0 <= codes[0] < 3
    assert codes[1] == 2

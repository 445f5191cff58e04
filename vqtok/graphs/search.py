"""The exact nearest entry of a codebook in numpy: the answer of float64, by float32 products.

The same argument as in ``quantizers/search``: scores |e|² - 2 z·e come of one product, with |e|²
folded in, and a row whose two best scores lie within what rounding, and what the row itself may be
off by, can exchange is decided by float64 distances.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

Array = Any
"""An array of numpy."""

SCORES = 1 << 20
"""Floats of a block of scores: 4 MB stay in a cache."""
PAIRS = 1 << 18
"""Numbers in a block of float64 differences."""
ROUND_OFF = 2.0**-24
"""Largest relative error of one float32 operation."""


class NearTies:
    """Rows that are known only roughly, and which of them could therefore have another code.

    Args:
        rows: (N, d); float32 rows may also be rounded.
        tolerance: Euclidean: how far each may be from the one that is meant.
    """

    def __init__(self, rows: Array, tolerance: float) -> None:
        self.tolerance = np.full(len(rows), tolerance)
        """(N,) float64."""
        self.found = np.zeros(len(rows), dtype=bool)
        """(N,): another entry may be the nearest one."""
        self.round(rows)

    def round(self, rows: Array) -> None:
        """Add how far float32 rows may be from what was rounded to them."""
        if rows.dtype == np.float32:
            self.tolerance += lengths(rows) * ROUND_OFF + 2.0**-126


class Codebook:
    """Entries made ready for search.

    Args:
        entries: (K, d).
    """

    def __init__(self, entries: Array) -> None:
        self.entries = np.ascontiguousarray(entries, dtype=np.float32)
        # Far from the origin |e|² - 2 z·e would cancel to noise: all is relative to the mean entry.
        self.centre = self.entries.mean(axis=0, dtype=np.float64).astype(np.float32)

    def nearest(self, rows: Array, ties: NearTies, *, threads: int = 1) -> Array:
        """Find the entry at the smallest Euclidean distance from each row; the lowest of equals.

        Args:
            rows: (N, d) float32; or float64, then all is decided in float64.
            ties: How well the rows are known; marked are those that could have another code.
            threads: That search blocks of rows beside each other.

        Returns:
            int64 (N,).
        """
        if rows.dtype == np.float64:
            return self._by_distances(rows, ties)
        codes = np.empty(len(rows), dtype=np.int64)
        step = max(16, SCORES // len(self.entries))
        blocks = [slice(at, at + step) for at in range(0, len(rows), step)]

        def search(some: slice) -> None:
            codes[some] = self._search(rows[some], ties, some)

        each(search, blocks, threads)
        return codes

    @cached_property
    def right(self) -> Array:
        """(d + 1, K): -2 e over |e|²."""
        shifted = self.entries - self.centre
        squares = np.square(shifted).sum(axis=1, keepdims=True)
        return np.ascontiguousarray(np.concatenate((-2 * shifted, squares), axis=1).T)

    @cached_property
    def _firsts(self) -> Array:
        """(K,) bool: False for copies of an earlier entry."""
        _, first = np.unique(self.entries, axis=0, return_index=True)
        found = np.zeros(len(self.entries), dtype=bool)
        found[first] = True
        return found

    def _search(self, rows: Array, ties: NearTies, some: slice) -> Array:
        left = np.empty((len(rows), rows.shape[1] + 1), dtype=np.float32)
        np.subtract(rows, self.centre, out=left[:, :-1])
        left[:, -1] = 1
        scores, row = left @ self.right, np.arange(len(rows))
        codes = scores.argmin(axis=1)
        best = scores[row, codes]
        scores[row, codes] = np.inf
        second = scores.min(axis=1)
        scores[row, codes] = best
        limit = self._limit(lengths(left[:, :-1]), best.astype(np.float64), ties.tolerance[some])
        for which in np.flatnonzero(second <= limit):
            near = scores[which] <= limit[which]
            if near.sum() > 16:  # a collapsed codebook: look at each point once
                near &= self._firsts
            at = some.start + which
            codes[which], ties.found[at] = self._decide(
                rows[which], np.flatnonzero(near), ties.tolerance[at]
            )
        return codes

    def _limit(self, radius: Array, best: Array, tolerance: Array) -> Array:
        """Bound the score of entries that may be nearest: (N,) float64.

        Args:
            radius: Distance of the rows from the centre.
            best: Smallest scores.
            tolerance: Of the rows.
        """
        # A rival is no farther from the row than the best entry is; the hundredth covers the
        # error of ``best`` itself.
        rival = 1.01 * (radius + np.sqrt(np.maximum(radius**2 + best, 0)))
        error = (self.entries.shape[1] + 9) * ROUND_OFF
        limit = best + 2 * error * (2 * radius * rival + rival**2)
        square = np.maximum(limit + radius**2, 0)
        return limit + 1.001 * ((np.sqrt(square) + 2 * tolerance) ** 2 - square)

    def _decide(self, row: Array, candidates: Array, tolerance: float) -> tuple[int, bool]:
        """Find the nearest candidate of one row in float64, and whether it is a near tie."""
        if not len(candidates):
            return 0, False  # a row of NaN
        entries = self.entries[candidates]
        distance = distances(row, entries)
        code = int(distance.argmin())
        apart = np.sqrt(distances(entries[code], entries))
        # A move by δ changes the difference of two squared distances by 2 δ·(e₁ - e₂).
        close = distance - distance[code] <= 2.001 * tolerance * apart
        return int(candidates[code]), bool((close & (apart > 0)).any())

    def _by_distances(self, rows: Array, ties: NearTies) -> Array:
        # Of float32 numbers, but added up in float64: the limit allows for more.
        left = rows - self.centre
        scores = left @ self.right[:-1] + self.right[-1]
        limit = self._limit(lengths(left), scores.min(axis=1), ties.tolerance)
        found = [
            self._decide(row, np.flatnonzero(near), tolerance)
            for row, near, tolerance in zip(
                rows, scores <= limit[:, None], ties.tolerance, strict=True
            )
        ]
        ties.found |= np.array([tie for _, tie in found], dtype=bool)
        return np.array([code for code, _ in found], dtype=np.int64)


def distances(row: Array, entries: Array) -> Array:
    """Compute squared distances of one row to (K, d) entries in float64, summed in one order."""
    total = np.empty(len(entries))
    step = PAIRS // entries.shape[1] + 1
    for at in range(0, len(entries), step):
        terms = np.square(row.astype(np.float64) - entries[at : at + step].astype(np.float64))
        while terms.shape[1] > 1:
            half = terms.shape[1] // 2
            rest = terms[:, 2 * half :]
            terms = np.concatenate((terms[:, :half] + terms[:, half : 2 * half], rest), axis=1)
        total[at : at + step] = terms[:, 0]
    return total


def lengths(rows: Array) -> Array:
    """Compute Euclidean norms of (N, d) rows: (N,) float64."""
    found: Array = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
    return found


def each(work: Callable[[slice], None], items: list[slice], threads: int) -> None:
    """Do work on items, several beside each other: numpy computes without Python's lock."""
    if threads == 1 or len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        list(pool.map(work, items))

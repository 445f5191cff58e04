"""The entries that may be a row's nearest, and the choice among them by float64 distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqtok.quantizers._rows import rounding
from vqtok.quantizers.search.product import bound, slices

MOST = 32
"""Entries that a row may keep: with more, it is quicker to look at the whole codebook again."""
BLOCK = 1 << 17
"""Floats of rows at once."""

Integers = NDArray[Any]


@dataclass(frozen=True)
class NearTies:
    """Rows that are known only roughly, and which of them could therefore have another code.

    Attributes:
        tolerance: (N,) float64, Euclidean: how far each row may be from the one that is meant.
        found: (N,) bool, filled in by the search: another entry may be the nearest one.
    """

    tolerance: Tensor
    found: Tensor

    @classmethod
    def of(cls, rows: Tensor, tolerance: float) -> NearTies:
        """Begin with no row found; (N, d) float32 rows may also be rounded."""
        ties = cls(
            torch.full((len(rows),), tolerance, dtype=torch.float64, device=rows.device),
            torch.zeros(len(rows), dtype=torch.bool, device=rows.device),
        )
        if rows.dtype == torch.float32:
            ties.tolerance.add_(rounding(rows))
        return ties

    def __getitem__(self, rows: slice | Tensor) -> NearTies:
        return NearTies(self.tolerance[rows], self.found[rows])

    def rivals(self, squares: Tensor) -> Tensor:
        """Bounds the squared distance of entries that may be nearest, given the smallest: (N,)."""
        return (squares.clamp(min=0).double().sqrt() + 2 * self.tolerance).square()

    def compare(
        self, row: Tensor, code: Tensor, distance: Tensor, nearest: Tensor, entries: Tensor
    ) -> None:
        """Mark rows by pairs with entries and their squared distances.

        A move by δ changes the difference of two squared distances by 2 δ·(e₁ - e₂).

        Args:
            row: (P,) of each pair; the pair of a row's nearest entry must be among them.
            code: (P,).
            distance: (P,) float64.
            nearest: (N,) codes of all rows.
            entries: (K, d) float32.
        """
        least = torch.full((len(nearest),), torch.inf, dtype=torch.float64, device=row.device)
        least.scatter_reduce_(0, row, distance, "amin")
        for some in slices(len(row), BLOCK // entries.shape[1] + 1):
            rows = row[some]
            apart = distances(entries[code[some]], entries[nearest[rows]]).sqrt()
            close = distance[some] - least[rows] <= 2.001 * self.tolerance[rows] * apart
            self.found[rows[close & (apart > 0)]] = True


class Candidates:
    """Pairs of a row and an entry, with the score that let the entry in.

    Args:
        broken: (N,) bool: rows that keep none.
    """

    def __init__(self, broken: Tensor) -> None:
        self.broken = broken
        """Rows that kept too many, or none."""
        self._row: Integers = np.zeros(0, dtype=np.int64)
        self._code: Integers = np.zeros(0, dtype=np.int64)
        self._score: Integers = np.zeros(0, dtype=np.int16)
        self._new: list[tuple[Integers, Integers, Integers]] = []

    def add(self, row: Integers, code: Integers, score: Integers) -> None:
        """Take pairs in, (P,) each."""
        self._new.append((row, code, score))

    def drop(self, limit: Tensor) -> None:
        """Keep what scores within the rows' limits, (N,), and no row with more than ``MOST``."""
        pairs = [(self._row, self._code, self._score), *self._new]
        row, code, score = (np.concatenate(each) for each in zip(*pairs, strict=True))
        self._new = []
        within = score <= limit.numpy()[row]
        count = np.bincount(row[within], minlength=len(limit))
        self.broken |= torch.from_numpy((count > MOST) | (count == 0))
        within &= ~self.broken.numpy()[row]
        self._row, self._code, self._score = row[within], code[within], score[within]

    def nearest(self, z: Tensor, entries: Tensor, ties: NearTies | None = None) -> Tensor:
        """int64 (N,): of each row's candidates the nearest in float64, the lowest of equals."""
        row, code = self._row, self._code
        codes = np.zeros(len(z), dtype=np.int64)
        for exact in (False, True):
            codes[row] = code  # right wherever a row has one left
            several = np.bincount(row, minlength=len(z))[row] > 1
            row, code = row[several], code[several]
            pairs = torch.from_numpy(row), torch.from_numpy(code)
            squares = _between(z, entries, *pairs, exact=exact)
            least = torch.full((len(z),), torch.inf, dtype=squares.dtype)
            least.scatter_reduce_(0, pairs[0], squares, "amin")
            if exact:
                rivals = pairs, squares
            else:  # differences round before they are squared, so the error is relative
                wide = 1 + 4 * bound(z.shape[1])
                least = least * wide + 2.0**-110
                if ties is not None:
                    least = ties.rivals(least) * wide
            near = squares.numpy() <= least.numpy()[row]
            row, code = row[near], code[near]
        codes[row] = len(entries)
        np.minimum.at(codes, row, code)
        found = torch.from_numpy(codes)
        if ties is not None:
            ties.compare(*rivals[0], rivals[1], found, entries)
        return found


def _between(z: Tensor, entries: Tensor, row: Tensor, code: Tensor, *, exact: bool) -> Tensor:
    """Returns (P,) squared distances of the pairs, in float64 or only in float32."""
    distance = torch.empty(len(row), dtype=torch.float64 if exact else torch.float32)
    for some in slices(len(row), BLOCK // z.shape[1] + 1):
        left, right = z.index_select(0, row[some]), entries.index_select(0, code[some])
        distance[some] = distances(left, right) if exact else left.sub_(right).square_().sum(dim=1)
    return distance


def distances(z: Tensor, entries: Tensor) -> Tensor:
    """Squared distances of (P, d) pairs in float64, added up in one order whatever P is."""
    terms = (z.double() - entries.double()).square()
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        rest = terms[:, 2 * half :]
        terms = torch.cat((terms[:, :half] + terms[:, half : 2 * half], rest), dim=1)
    return terms[:, 0]


def all_distances(z: Tensor, entries: Tensor, ties: NearTies | None = None) -> Tensor:
    """int64 (N,): nearest entries of a few (N, d) rows, the lowest of equals, all in float64."""
    codes = torch.empty(len(z), dtype=torch.int64, device=z.device)
    for rows in slices(len(z), BLOCK // entries.numel() + 1):
        count = len(z[rows])
        row = torch.arange(count, device=z.device).repeat_interleave(len(entries))
        code = torch.arange(len(entries), device=z.device).repeat(count)
        distance = distances(z[rows][row], entries[code])
        codes[rows] = distance.view(count, -1).argmin(dim=1)
        if ties:
            ties[rows].compare(row, code, distance, codes[rows], entries)
    return codes

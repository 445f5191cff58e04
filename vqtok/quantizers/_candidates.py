"""The entries that may be a row's nearest, and the choice among them by float64 distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqtok.quantizers._product import bound, slices

MOST = 32
"""Entries that a row may keep: with more, it is quicker to look at the whole codebook again."""
BLOCK = 1 << 17
"""Floats of rows at once."""

Integers = NDArray[Any]


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

    def nearest(self, z: Tensor, entries: Tensor) -> Tensor:
        """int64 (N,): of each row's candidates the nearest in float64, the lowest of equals."""
        row, code = self._row, self._code
        codes = np.zeros(len(z), dtype=np.int64)
        for exact in (False, True):
            codes[row] = code  # right wherever a row has one left
            several = np.bincount(row, minlength=len(z))[row] > 1
            row, code = row[several], code[several]
            pairs = torch.from_numpy(row), torch.from_numpy(code)
            distance = _between(z, entries, *pairs, exact=exact)
            least = torch.full((len(z),), torch.inf, dtype=distance.dtype)
            least.scatter_reduce_(0, pairs[0], distance, "amin")
            if not exact:  # differences round before they are squared, so the error is relative
                least = least * (1 + 4 * bound(z.shape[1])) + 2.0**-110
            near = distance.numpy() <= least.numpy()[row]
            row, code = row[near], code[near]
        codes[row] = len(entries)
        np.minimum.at(codes, row, code)
        return torch.from_numpy(codes)


def _between(z: Tensor, entries: Tensor, row: Tensor, code: Tensor, *, exact: bool) -> Tensor:
    """(P,) squared distances of the pairs, in float64 or only in float32."""
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

"""Which documents are in a part of a stream, in which order, and which of them are for validation.

All of it is computed from *candidates*: the items, or the lines of documents, whether or not they
become documents. How many there are is known before one is composed, so every part of a fleet's
work finds its own without the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Selection:
    """Chooses the documents of one part.

    In the order of the corpora, a part has whole units of work. Shuffled, it has its stretch of the
    permutation: it reads all units, and composes its own candidates of each.

    Args:
        counts: Candidates of each unit.
        shuffle: Seed of the order; None: that of the corpora.
        split: Part of the candidates that is for validation; 0: no split.
        shard: (i, n): the i-th of n parts, which follow each other.

    Attributes:
        units: That have candidates of this part.
    """

    def __init__(
        self,
        counts: Sequence[int],
        *,
        shuffle: int | None,
        split: float,
        shard: tuple[int, int],
    ) -> None:
        self._starts = np.cumsum([0, *counts])
        self._shuffle, self._split = shuffle, split
        part, parts = shard
        ends = [place * len(counts) // parts for place in (part, part + 1)]
        self.units = range(*ends)
        self._ranks: np.ndarray | None = None
        self._span: tuple[int, int] | None = None
        if shuffle is not None:
            total = int(self._starts[-1])
            order = np.random.default_rng([0, shuffle]).permutation(total)
            self._ranks = np.empty(total, np.int64)
            self._ranks[order] = np.arange(total)
            if parts > 1:
                self.units = range(len(counts))
                self._span = part * total // parts, (part + 1) * total // parts

    def first(self, unit: int) -> int:
        """Return the number of a unit's first candidate."""
        return int(self._starts[unit])

    def wanted(self, unit: int) -> np.ndarray | None:
        """Return which candidates of a unit are of this part: bool; None: all are."""
        if self._ranks is None or self._span is None:
            return None
        ranks = self._ranks[self._starts[unit] : self._starts[unit + 1]]
        found: np.ndarray = (ranks >= self._span[0]) & (ranks < self._span[1])
        return found

    def order(self, candidates: np.ndarray) -> np.ndarray:
        """Return the order of documents: positions in this list of their candidates.

        Args:
            candidates: (n,) numbers, ascending.
        """
        if self._ranks is None:
            return np.arange(len(candidates))
        return np.argsort(self._ranks[candidates], kind="stable")

    def validation(self, candidates: np.ndarray) -> np.ndarray:
        """Return which documents are for validation: (n,) bool; each candidate is drawn alone.

        At least one candidate is, if there are two.

        Args:
            candidates: (n,) numbers.
        """
        total = int(self._starts[-1])
        draws = np.random.default_rng([1, self._shuffle or 0]).random(total)
        wanted = min(max(round(self._split * total), 1), total - 1) if total > 1 else 0
        held = np.zeros(total, bool)
        held[np.argsort(draws, kind="stable")[:wanted]] = True
        found: np.ndarray = held[candidates]
        return found

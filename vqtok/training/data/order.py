"""Which file an item is cut from: a pure function of the seed and the item's number."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np


class Order(Protocol):
    """Which file an item is cut from."""

    def file(self, item: int, rng: np.random.Generator) -> int:
        """The number of a file.

        Args:
            item: Of the run, from 0.
            rng: The item's own.
        """
        ...


class Epochs:
    """Every file once, then every file once in another order, and so on.

    Args:
        count: Files.
        seed: Of the orders.
    """

    _KEPT = 2  # a batch may lie across the border of two epochs

    def __init__(self, count: int, *, seed: int) -> None:
        self._count, self._seed = count, seed
        self._orders: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def file(self, item: int, rng: np.random.Generator) -> int:
        """The file of the run's item with this number; the generator is not used."""
        epoch, at = divmod(item, self._count)
        with self._lock:
            order = self._orders.get(epoch)
            if order is None:
                mix = np.random.default_rng([self._seed, epoch, 0, 0, 1])
                order = mix.permutation(self._count).astype(np.int32)
                self._orders[epoch] = order
                while len(self._orders) > self._KEPT:
                    del self._orders[min(self._orders)]
        return int(order[at])


class Weighted:
    """Files drawn with replacement.

    Args:
        weights: (n,) of the files, not all 0: 0 is never drawn.
    """

    def __init__(self, weights: np.ndarray) -> None:
        sums = np.cumsum(weights, dtype=np.float64)
        self._sums = sums / sums[-1]

    def file(self, item: int, rng: np.random.Generator) -> int:
        """A file drawn with the item's generator."""
        return int(np.searchsorted(self._sums, rng.random(), side="right"))

"""What samplers of windows share: the order of files, a cache of decoded ones, the unreadable."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from torch import Tensor

from vqtok.errors import MediaError


class Order(Protocol):
    """Chooses the item that a window is cut from: a pure function of seed and window number."""

    def file(self, item: int, rng: np.random.Generator) -> int:
        """Choose the number of a file.

        Args:
            item: Number of the window in the run, from 0.
            rng: The window's own.
        """


class Sampler(Protocol):
    """Cuts random windows out of items."""

    @property
    def order(self) -> Order:
        """Chooses the item."""

    def begin(self) -> None:
        """Prepare what the windows of a batch need; called before each batch."""

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """Cut a window of an item, of the same shape for all.

        Raises:
            MediaError: the item cannot be read; ``WindowError`` if others of its windows can.
        """

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """Stack the windows of a batch, as ``Batch.values``."""


class WindowError(MediaError):
    """Refuses one window of a recording; others may be read."""


class Epochs:
    """Orders files: every one once, then every one once in another order, and so on.

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
        """Look up the file of a window; the generator is not used."""
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
    """Draws files with replacement.

    Args:
        weights: (n,) of the files, not all 0: 0 is never drawn.
    """

    def __init__(self, weights: np.ndarray) -> None:
        sums = np.cumsum(weights, dtype=np.float64)
        self._sums = sums / sums[-1]

    def file(self, item: int, rng: np.random.Generator) -> int:
        """Draw a file with the window's generator."""
        return int(np.searchsorted(self._sums, rng.random(), side="right"))


class Cache:
    """Keeps decoded files by number while there is room; nothing leaves it.

    Args:
        room: Bytes.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, number: int) -> np.ndarray | None:
        """Return what was put there."""
        with self._lock:
            return self._kept.get(number)

    def put(self, number: int, values: np.ndarray) -> None:
        """Keep the values, if there is room."""
        with self._lock:
            if values.nbytes <= self._room and number not in self._kept:
                self._room -= values.nbytes
                self._kept[number] = values

    def fits(self, size: int) -> bool:
        """Tell whether there is room for so many bytes."""
        with self._lock:
            return size <= self._room


class Unreadable:
    """Notes files that cannot be read: which, depends on the files and not on who found them."""

    def __init__(self) -> None:
        self._whole: set[int] = set()
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, number: int, file: object, error: MediaError) -> None:
        """Note a failure; after any but ``WindowError`` the file is never tried again."""
        with self._lock:
            self._reasons.setdefault(str(file), error.without(file))
            if not isinstance(error, WindowError):
                self._whole.add(number)

    def __contains__(self, number: int) -> bool:
        return number in self._whole

    def reasons(self) -> dict[str, str]:
        """Return the first reason of each file by its name, sorted."""
        with self._lock:
            return dict(sorted(self._reasons.items()))

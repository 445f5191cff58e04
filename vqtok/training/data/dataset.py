"""From items to batches: a step's items are a pure function of the data, the seed and the step.

That is why a resumed run sees exactly the data that an uninterrupted one would have seen, with
nothing to save, and why it does not matter which thread reads what, nor what is kept in memory.
Window i of step s has a generator of its own, seeded by (seed, s, i). What it is cut from is the
sampler's business: images go by in epochs, each once in an order of its own; recordings are drawn
by their lengths, with replacement.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vqtok.errors import MediaError
from vqtok.threads import available
from vqtok.training.data.sampling import Sampler, Unreadable
from vqtok.training.recipe import Train

QUEUED = 2
"""Finished steps that may wait, beyond one in the making for every worker."""

MOST_WORKERS = 8

Step = TypeVar("Step")


@dataclass(frozen=True, eq=False)
class Batch:
    """Holds items as they travel to the device.

    Attributes:
        values: (B, 3, H, W) uint8, channels last in memory; (B, 1, L) float32; or of codes
            (B, S) int64, one level after the other.
        labels: (B,) int64, positions in ``Dataset.names``; None if the recipe wants none.
    """

    values: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def signal(self, device: torch.device | str = "cpu") -> Tensor:
        """Convert to (B, C, *space) float32 in [-1, 1] on the device; images are channels last."""
        x = self.values.to(device, non_blocking=True)
        # The sum is exact where it matters: 0 is -1, 255 is 1.
        return x if x.is_floating_point() else x.float().div_(127.5).sub_(1.0)

    def pinned(self) -> Batch:
        """Copy to memory from which a GPU copies while it works."""
        if self.values.is_cuda:
            return self
        labels = None if self.labels is None else self.labels.pin_memory()
        return Batch(self.values.pin_memory(), labels)


class Items(Protocol):
    """What windows are cut from: files, or codes that were read already."""

    @property
    def names(self) -> tuple[str, ...]:
        """Directories that hold the items, sorted."""

    def labels(self) -> np.ndarray:
        """Number each item's directory by its position in ``names``: (n,) int64."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> object:
        """Something that prints as the item's name."""


class Dataset:
    """Makes batches of random windows.

    Args:
        items: To train on.
        sampler: Chooses and cuts them.
        unreadable: Where the sampler notes what cannot be read.
        recipe: Batch, accumulation, workers and seed.
        labels: Whether batches have each item's label.
        rank: Which process this is.
        ranks: How many there are.
        device: Where the model is: to pin memory for a GPU.

    Attributes:
        names: Of the labels, sorted; empty without ``labels``.
    """

    def __init__(
        self,
        items: Items,
        *,
        sampler: Sampler,
        unreadable: Unreadable,
        recipe: Train,
        labels: bool,
        rank: int = 0,
        ranks: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.items, self.recipe = items, recipe
        self.rank, self.ranks = rank, ranks
        self.device = torch.device(device)
        self.names = items.names if labels else ()
        self._sampler, self._unreadable = sampler, unreadable
        self._labels = items.labels() if labels else None

    @property
    def unreadable(self) -> dict[str, str]:
        """Files that could not be read so far: name → why, sorted."""
        return self._unreadable.reasons()

    def batch(self, step: int, *, part: int = 0) -> Batch:
        """Make one of a step's batches.

        A step has ranks · accumulate · batch items. Rank r takes a run of accumulate · batch of
        them, from r · accumulate · batch on, and its part p the p-th ``batch`` of that run: two
        ranks, two parts or one batch of twice the size all see the same items.

        Args:
            step: Of the optimizer, from 0.
            part: From 0 to ``recipe.accumulate`` - 1.

        Raises:
            MediaError: no file can be read.
            ConfigError: a cache on the device that does not fit.
        """
        return self._batch(step, part, threading.Event())

    def batches(self, start: int) -> Generator[tuple[Batch, ...], None, None]:
        """Make the ``recipe.accumulate`` batches of each step from ``start`` on, without end.

        ``recipe.workers`` threads prepare them ahead; what they raise is raised here.
        """
        return prefetched(self._step, start, workers=worker_count(self.recipe))

    def _step(self, step: int, closing: threading.Event) -> tuple[Batch, ...]:
        parts = tuple(self._batch(step, p, closing) for p in range(self.recipe.accumulate))
        return tuple(each.pinned() for each in parts) if self.device.type == "cuda" else parts

    def _batch(self, step: int, part: int, closing: threading.Event) -> Batch:
        size = self.recipe.batch
        first = (self.rank * self.recipe.accumulate + part) * size
        chosen: list[int] = []
        cuts: list[np.ndarray] = []
        self._sampler.begin()
        for number in range(first, first + size):
            if closing.is_set():
                raise CancelledError
            item, cut = self._window(step, number)
            chosen.append(item)
            cuts.append(cut)
        numbers = np.array(chosen)
        values = self._sampler.join(numbers, np.stack(cuts))
        labels = None if self._labels is None else torch.from_numpy(self._labels[numbers])
        return Batch(values, labels)

    def _window(self, step: int, number: int) -> tuple[int, np.ndarray]:
        """Makes an item and its window; one that cannot be read gives way to the next that can."""
        seed, count = self.recipe.seed, len(self.items)
        rng = np.random.default_rng([seed, step, number])
        per_step = self.ranks * self.recipe.accumulate * self.recipe.batch
        item = self._sampler.order.file(step * per_step + number, rng)
        for attempt in range(count):
            if attempt:  # what the failed file drew must not matter: it may not have been opened
                rng = np.random.default_rng([seed, step, number, attempt])
            at = (item + attempt) % count
            if at in self._unreadable:
                continue
            try:
                return at, self._sampler.cut(at, rng)
            except MediaError as error:
                self._unreadable.add(at, self.items[at], error)
        raise MediaError("--data", f"none of the {count} files can be read")


def worker_count(recipe: Train) -> int:
    """Decide how many threads read files: as wanted, or by the processor."""
    if recipe.workers is not None:
        return max(0, recipe.workers)
    return min(MOST_WORKERS, available())


def prefetched(
    make: Callable[[int, threading.Event], Step], start: int, *, workers: int
) -> Generator[Step, None, None]:
    """Yield ``make(start, …)``, ``make(start + 1, …)`` and so on without end, in order.

    Args:
        make: Makes one step; it should raise soon after the event is set.
        start: First step.
        workers: Threads; 0: each step is made when it is needed.

    Raises:
        Exception: what ``make`` raised, at the step where it did.
    """
    closing = threading.Event()
    step = start
    if not workers:
        while True:
            yield make(step, closing)
            step += 1
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="vqtok-data")
    queue: deque[Future[Step]] = deque()
    try:
        while True:
            while len(queue) < workers + QUEUED:
                queue.append(pool.submit(make, step, closing))
                step += 1
            yield queue.popleft().result()
    finally:
        closing.set()
        pool.shutdown(wait=True, cancel_futures=True)

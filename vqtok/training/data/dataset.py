"""From items to batches: a step's items are a pure function of the data, the seed and the step.

That is why a resumed run sees exactly the data that an uninterrupted one would have seen, with
nothing to save, and why it does not matter which thread reads what, nor what is kept in memory.
Item i of step s has a generator of its own, seeded by (seed, s, i). What it is cut from is the
cutter's business: images go by in epochs, each once in an order of its own; recordings are drawn by
their lengths, with replacement.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vqtok.errors import ConfigError, MediaError
from vqtok.media.items import Place
from vqtok.training.data import ahead
from vqtok.training.data.cutters import Elsewhere, Pictures, Sounds, Table
from vqtok.training.data.order import Order
from vqtok.training.data.places import Part, Places
from vqtok.training.data.shelf import Bad
from vqtok.training.recipe import Train


@dataclass(frozen=True, eq=False)
class Batch:
    """Items as they travel to the device.

    Attributes:
        values: (B, 3, H, W) uint8, channels last in memory; (B, 1, L) float32; or of codes
            (B, S) int64, one level after the other.
        labels: (B,) int64, places in ``Dataset.names``; None if the recipe wants none.
    """

    values: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def signal(self, device: torch.device | str = "cpu") -> Tensor:
        """(B, C, *space) float32 in [-1, 1] on the device; images are channels last in memory."""
        x = self.values.to(device, non_blocking=True)
        # The sum is exact where it matters: 0 is -1, 255 is 1.
        return x if x.is_floating_point() else x.float().div_(127.5).sub_(1.0)

    def pinned(self) -> Batch:
        """The same in memory from which a GPU copies while it works."""
        if self.values.is_cuda:
            return self
        labels = None if self.labels is None else self.labels.pin_memory()
        return Batch(self.values.pin_memory(), labels)


class _Item(NamedTuple):
    file: int
    cut: np.ndarray


class Files(Protocol):
    """What can be drawn from: places of files, or codes that were read already."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the directories that hold the items, sorted."""
        ...

    def labels(self) -> np.ndarray:
        """(n,) int64: for each item the place of its directory in ``names``."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> object:
        """Something that prints as the item's name."""
        ...


class Cutter(Protocol):
    """Which item is drawn, and what of it."""

    @property
    def order(self) -> Order:
        """Chooses the item."""
        ...

    def begin(self) -> None:
        """Called before the windows of every batch."""
        ...

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """A window of an item, of the same shape for all.

        Raises:
            MediaError: the item cannot be read; ``Elsewhere`` if others of its windows can.
        """
        ...

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """The windows of a batch, stacked, as ``Batch.values``."""
        ...


class Dataset:
    """Random windows of items.

    Args:
        files: Training items.
        cutter: Draws and cuts them.
        bad: Where the cutter notes what cannot be read.
        recipe: Batch, accumulation, workers, labels and seed.
        labels: Whether batches tell each item's class.
        rank: Which process this is.
        ranks: How many there are.
        device: Where the model is: to pin memory for a GPU.

    Attributes:
        names: Of the labels, sorted; empty without ``labels``.
    """

    def __init__(
        self,
        files: Files,
        *,
        cutter: Cutter,
        bad: Bad,
        recipe: Train,
        labels: bool,
        rank: int = 0,
        ranks: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.files, self.recipe = files, recipe
        self.rank, self.ranks = rank, ranks
        self.device = torch.device(device)
        self.workers = ahead.threads(recipe.workers)
        self.names = files.names if labels else ()
        self._cutter, self._bad = cutter, bad
        self._labels = files.labels() if labels else None

    @property
    def bad(self) -> dict[str, str]:
        """Files that could not be read so far: name → why, sorted."""
        return self._bad.reasons()

    def batch(self, step: int, *, part: int = 0) -> Batch:
        """Some of a step's items.

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
        """From step ``start`` on, without end: the ``recipe.accumulate`` batches of each step.

        ``recipe.workers`` threads prepare them ahead; what they raise is raised here.
        """
        return ahead.prepared(self._step, start, workers=self.workers)

    def _step(self, step: int, closing: threading.Event) -> tuple[Batch, ...]:
        parts = tuple(self._batch(step, p, closing) for p in range(self.recipe.accumulate))
        return tuple(each.pinned() for each in parts) if self.device.type == "cuda" else parts

    def _batch(self, step: int, part: int, closing: threading.Event) -> Batch:
        size = self.recipe.batch
        first = (self.rank * self.recipe.accumulate + part) * size
        items: list[_Item] = []
        self._cutter.begin()
        for number in range(first, first + size):
            if closing.is_set():
                raise ahead.Closing
            items.append(self._item(step, number))
        files = np.array([each.file for each in items])
        values = self._cutter.join(files, np.stack([each.cut for each in items]))
        labels = None if self._labels is None else torch.from_numpy(self._labels[files])
        return Batch(values, labels)

    def _item(self, step: int, number: int) -> _Item:
        """One window; a file that cannot be read gives way to the next one that can."""
        seed, count = self.recipe.seed, len(self.files)
        rng = np.random.default_rng([seed, step, number])
        per_step = self.ranks * self.recipe.accumulate * self.recipe.batch
        file = self._cutter.order.file(step * per_step + number, rng)
        for attempt in range(count):
            if attempt:  # what the failed file drew must not matter: it may not have been opened
                rng = np.random.default_rng([seed, step, number, attempt])
            at = (file + attempt) % count
            if at in self._bad:
                continue
            try:
                return _Item(at, self._cutter.cut(at, rng))
            except MediaError as error:
                hopeless = not isinstance(error, Elsewhere)
                self._bad.add(at, self.files[at], error, hopeless=hopeless)
        raise MediaError(f"--data: none of the {count} files can be read")


def of_media(
    files: Sequence[Place],
    *,
    kind: Literal["image", "audio"],
    recipe: Train,
    rate: int | None,
    rank: int = 0,
    ranks: int = 1,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Random windows of images or recordings.

    Args:
        files: Training files: a ``Places``, a ``Part`` of one, or a list.
        kind: What they are.
        recipe: Batch, accumulation, window, augmentation, cache, workers, labels and seed.
        rate: Hz of the model, for audio; None: as the files are.
        rank: Which process this is.
        ranks: How many there are.
        device: Where the model is: for ``cache="device"``, and to pin memory for a GPU.

    Raises:
        ConfigError: labels are wanted and there are fewer than two, or a cache does not fit.
        MediaError: no recording can be read.
    """
    places = files if isinstance(files, Places | Part) else Places.of(files)
    bad = Bad()
    if recipe.labels and len(places.names) < 2:
        raise ConfigError(
            "train.labels: all files lie in one directory",
            hint="a directory for every class or speaker, and --data above them",
        )
    if recipe.cache == "device" and kind == "audio":
        raise ConfigError("train.cache: device is for images", hint="train.cache=memory")
    cutter: Cutter
    if kind == "audio":
        cutter = Sounds(places, recipe, bad, rate=rate)
    elif recipe.cache == "device":
        workers = ahead.threads(recipe.workers)
        cutter = Table(places, recipe, bad, device=torch.device(device), workers=workers)
    else:
        cutter = Pictures(places, recipe)
    return Dataset(
        places,
        cutter=cutter,
        bad=bad,
        recipe=recipe,
        labels=recipe.labels,
        rank=rank,
        ranks=ranks,
        device=device,
    )

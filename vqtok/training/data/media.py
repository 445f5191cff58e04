"""Images or recordings of a run: those to train on, and those that are held out.

Held-out files are chosen by the seed, and opened before they are relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from vqtok.errors import ConfigError, MediaError
from vqtok.media.items import Place
from vqtok.training.data import audio
from vqtok.training.data.dataset import Dataset, worker_count
from vqtok.training.data.files import FileList, FileSubset, FoundFiles
from vqtok.training.data.groups import grouped
from vqtok.training.data.held_out import held_out
from vqtok.training.data.images import CropSampler, DeviceCropSampler, read_pixels
from vqtok.training.data.sampling import Sampler, Unreadable
from vqtok.training.data.survey import survey
from vqtok.training.recipe import Train

ENOUGH = 16
"""Held-out files that are opened to see whether they can be read."""

OPENING_S = 10
"""Of a long recording only the beginning is tried."""

Check = Callable[[Place], None]
"""Raises ``MediaError`` for a file that cannot be read."""


class MediaTask:
    """What tasks have in common that learn from files; see ``training.task.Task``."""

    plan: Train
    split_notes: Sequence[str]
    unreadable: dict[str, str]

    def split(self, found: FoundFiles, *, rate: int | None) -> None:
        """Split the files of a run, once.

        Args:
            found: All of them.
            rate: Hz of the model, for audio; None: as the files are.

        Raises:
            MediaError: no file can be read.
        """
        groups, self.split_notes = grouped(found.files, self.plan)
        self._kind, self._rate = found.kind, rate
        self._training, self._held, self.unreadable = split(
            found.files,
            share=self.plan.holdout,
            seed=self.plan.seed,
            check=checker(found.kind, rate=rate),
            enough=self.plan.holdout_items,
            groups=groups,
        )

    @property
    def measured(self) -> FileSubset:
        """Held-out files that are measured while training; they were opened."""
        return self._held[: self.plan.holdout_items]

    @property
    def held_out(self) -> int:
        """Files that are never trained on."""
        return len(self._held)

    def held_out_names(self, data: Sequence[str]) -> dict[str, Any]:
        """Name the held-out files."""
        return held_out(self._held, data, measured=len(self.measured))

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Make batches of windows of the training files."""
        return media_dataset(
            self._training,
            kind=self._kind,
            recipe=self.plan,
            rate=self._rate,
            rank=rank,
            ranks=ranks,
            device=device,
        )

    def describe_data(self, dataset: Dataset) -> dict[str, Any]:
        """Describe the training files by the headers of some."""
        return survey(self._training, self._kind).to_json(labels=dataset.names)


def media_dataset(
    files: Sequence[Place],
    *,
    kind: Literal["image", "audio"],
    recipe: Train,
    rate: int | None,
    rank: int = 0,
    ranks: int = 1,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Make batches of random windows of images or recordings.

    Args:
        files: Training files: a ``FileList``, a ``FileSubset`` of one, or a list.
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
    items = files if isinstance(files, FileList | FileSubset) else FileList.of(files)
    unreadable = Unreadable()
    if recipe.labels and len(items.names) < 2:
        raise ConfigError(
            "train.labels",
            "all files lie in one directory",
            hint="a directory for every class or speaker, and --data above them",
        )
    if recipe.cache == "device" and kind == "audio":
        raise ConfigError("train.cache", "device is for images", hint="train.cache=memory")
    sampler: Sampler
    if kind == "audio":
        sampler = audio.AudioSampler(items, recipe, unreadable, rate=rate)
    elif recipe.cache == "device":
        sampler = DeviceCropSampler(
            items, recipe, unreadable, device=torch.device(device), workers=worker_count(recipe)
        )
    else:
        sampler = CropSampler(items, recipe)
    return Dataset(
        items,
        sampler=sampler,
        unreadable=unreadable,
        recipe=recipe,
        labels=recipe.labels,
        rank=rank,
        ranks=ranks,
        device=device,
    )


class Split(NamedTuple):
    """Separates training from held-out files, one of each at least.

    A single file is trained on and measured on; the card then says so.

    Attributes:
        training: In the order of the files.
        held_out: Those that could be read first, each group in the order of the files.
        unreadable: Files that turned out not to be readable, which are in neither: name → why.
    """

    training: FileSubset
    held_out: FileSubset
    unreadable: dict[str, str]


def split(
    files: FileList,
    *,
    share: float,
    seed: int,
    check: Check | None = None,
    enough: int = ENOUGH,
    groups: np.ndarray | None = None,
) -> Split:
    """Split files, in the same way for the same seed.

    Args:
        files: All of them.
        share: Of the files to hold out.
        seed: Of the choice.
        check: ``checker``. A file that fails gives way to another one. None: no file is opened.
        enough: Held-out files to check, since more are not measured.
        groups: (n,) numbers: files that share one come on one side. Then some more may be held out
            than their share. None: each file by itself.

    Raises:
        MediaError: no file can be read.
    """
    numbers = split_numbers(
        len(files),
        share=share,
        seed=seed,
        check=None if check is None else lambda at: check(files[at]),
        enough=0 if check is None else enough,
        groups=groups,
    )
    if len(numbers.failures) == len(files):
        raise MediaError("--data", f"none of the {len(files)} files can be read")
    unreadable = {
        str(files[at]): error.without(files[at]) for at, error in numbers.failures.items()
    }
    return Split(files.subset(numbers.training), files.subset(numbers.held_out), unreadable)


class Numbers(NamedTuple):
    """Separates items by their numbers, (n,) int64, as ``Split`` does files."""

    training: np.ndarray
    held_out: np.ndarray
    failures: dict[int, MediaError]


def split_numbers(
    count: int,
    *,
    share: float,
    seed: int,
    check: Callable[[int], None] | None = None,
    enough: int = ENOUGH,
    groups: np.ndarray | None = None,
) -> Numbers:
    """Split items, in the same way for the same seed; see ``split``."""
    order = np.random.default_rng([seed, count]).permutation(count)
    wanted = min(max(1, round(share * count)), max(1, count - 1))
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    if groups is not None:
        order, wanted = _together(order, wanted, groups)
    good, failures = list[int](), dict[int, MediaError]()
    for at in map(int, order):
        if len(good) == min(wanted, enough):
            break
        try:
            if check is not None:
                check(at)
            good.append(at)
        except MediaError as error:
            failures[at] = error
    tried, more = len(good) + len(failures), wanted - len(good)
    later = order[tried:]
    if groups is not None:
        # Files that could not be read have moved the end into the next group: it ends there.
        while 0 < tried + more < len(order) and _same(order, groups, tried + more):
            more += 1
        more = max(0, min(more, len(later) - 1))
    held = np.concatenate([np.sort(good), np.sort(later[:more])]).astype(np.int64)
    training = np.sort(later[more:])
    return Numbers(training if len(training) else held, held, failures)


def _same(order: np.ndarray, groups: np.ndarray, at: int) -> bool:
    return bool(groups[order[at]] == groups[order[at - 1]])


def _together(order: np.ndarray, count: int, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Bring the files of a group together, whole groups first; what is held out ends with one.

    Args:
        order: (n,) all numbers, as they are drawn.
        count: How many are to be held out.
        groups: (n,) of each file.

    Returns:
        The order, in which the files that are held out come as they were drawn, so that the first
        of them are of many groups; and how many are held out.
    """
    first: dict[int, int] = {}
    for at, number in enumerate(order):
        first.setdefault(int(groups[number]), at)
    rank = np.array([first[int(groups[number])] for number in order])
    arranged = order[np.argsort(rank, kind="stable")]
    end = count
    while end < len(arranged) and _same(arranged, groups, end):
        end += 1
    if end == len(arranged):  # the last group is for training
        end = int(np.argmax(groups[arranged] == groups[arranged[-1]]))
    if not end:  # there is but one
        return order, count
    held = np.isin(order, arranged[:end])
    return np.concatenate([order[held], arranged[end:]]), end


def checker(kind: Literal["image", "audio"], *, rate: int | None) -> Check:
    """Make a check that reads a file to its end, or a long recording's beginning."""

    def check_image(file: Place) -> None:
        read_pixels(file, side=None)

    def check_audio(file: Place) -> None:
        info = audio.read_info(file)
        if audio.is_long(info):
            hz = rate or info.rate
            audio.read_part(file, rate=hz, start=0, length=OPENING_S * hz)
        else:
            audio.read_all(file, rate=rate)

    return check_image if kind == "image" else check_audio

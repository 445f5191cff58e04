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
from vqtok.training.data.groups import groups_of, note_of
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


class MediaData:
    """Splits the files of a run once.

    Args:
        found: All of them.
        plan: Share and seed of the split, windows, augmentation, labels.
        rate: Hz of the model, for audio; None: as the files are.

    Attributes:
        notes: What of the split people should know.

    Raises:
        MediaError: no file can be read.
    """

    def __init__(self, found: FoundFiles, plan: Train, *, rate: int | None) -> None:
        self.kind, self._plan, self._rate = found.kind, plan, rate
        groups = groups_of(found.files) if plan.holdout_groups else None
        self.notes = () if groups is None else tuple(filter(None, [note_of(groups)]))
        self.training, self.held_out, self.unreadable = split(
            found.files,
            share=plan.holdout,
            seed=plan.seed,
            check=checker(found.kind, rate=rate),
            enough=plan.holdout_items,
            groups=groups,
        )

    @property
    def measured(self) -> FileSubset:
        """Held-out files that are measured while training; they were opened."""
        return self.held_out[: self._plan.holdout_items]

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Make batches of the training files."""
        return media_dataset(
            self.training,
            kind=self.kind,
            recipe=self._plan,
            rate=self._rate,
            rank=rank,
            ranks=ranks,
            device=device,
        )


class MediaTask:
    """What tasks have in common that learn from files; see ``training.task.Task``."""

    media: MediaData

    @property
    def held_out(self) -> int:
        """Files that are never trained on."""
        return len(self.media.held_out)

    @property
    def unreadable(self) -> dict[str, str]:
        """Files that turned out not to be readable: name → why."""
        return self.media.unreadable

    @property
    def split_notes(self) -> Sequence[str]:
        """What of the split people should know."""
        return self.media.notes

    def held_out_names(self, data: Sequence[str]) -> dict[str, Any]:
        """Name the held-out files."""
        return held_out(self.media.held_out, data, measured=len(self.media.measured))

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Make batches of windows of the training files."""
        return self.media.dataset(rank=rank, ranks=ranks, device=device)

    def describe_data(self, dataset: Dataset) -> dict[str, Any]:
        """Describe the training files by the headers of some."""
        return survey(self.media.training, self.media.kind).to_json(labels=dataset.names)


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
    order, count = _drawn(len(files), share=share, seed=seed)
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    if groups is not None:
        order, count = _together(order, count, groups)
    good: list[int] = []
    unreadable: dict[str, str] = {}
    tried = 0
    if check is not None:
        for at in order:
            if len(good) == min(count, enough):
                break
            tried += 1
            file = files[int(at)]
            try:
                check(file)
            except MediaError as error:
                unreadable[str(file)] = error.without(file)
            else:
                good.append(int(at))
        if not good:
            raise MediaError("--data", f"none of the {len(files)} files can be read")
    later = order[tried:]
    more = count - len(good)
    if groups is not None:
        # Files that could not be read have moved the end into the next group: it ends there.
        while 0 < tried + more < len(order) and _same(order, groups, tried + more):
            more += 1
        more = max(0, min(more, len(later) - 1))
    training, held = _apart(good, later, more)
    return Split(files.subset(training), files.subset(held), unreadable)


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


def split_numbers(
    count: int,
    *,
    share: float,
    seed: int,
    enough: int = ENOUGH,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Splits items that were all read already: (training, held out), int64 numbers."""
    order, held = _drawn(count, share=share, seed=seed)
    if groups is not None and len(np.unique(groups)) < len(groups):
        order, held = _together(order, held, groups)
    first = min(held, enough)
    return _apart(order[:first], order[first:], held - first)


def _drawn(count: int, *, share: float, seed: int) -> tuple[np.ndarray, int]:
    """Returns all numbers in the order in which they are held out, and how many are."""
    order = np.random.default_rng([seed, count]).permutation(count)
    return order, min(max(1, round(share * count)), max(1, count - 1))


def _apart(
    first: Sequence[int] | np.ndarray, later: np.ndarray, more: int
) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out numbers, both what is held out ``first`` and ``more`` of the others."""
    held = np.concatenate([np.sort(first), np.sort(later[:more])]).astype(np.int64)
    training = np.sort(later[more:])
    return (training if len(training) else held), held


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

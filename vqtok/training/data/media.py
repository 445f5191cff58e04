"""Images or recordings of a run: those to train on, those that are held out, and what they are."""

from __future__ import annotations

from typing import Any

import torch

from vqtok.training.data.dataset import Dataset, of_media
from vqtok.training.data.heldout import checker, split
from vqtok.training.data.places import Part
from vqtok.training.data.sources import Found
from vqtok.training.recipe import Train
from vqtok.training.report.inventory import inventory


class Media:
    """Files, split once.

    Args:
        found: All of them.
        plan: Share and seed of the split, windows, augmentation, labels.
        rate: Hz of the model, for audio; None: as the files are.

    Raises:
        MediaError: no file can be read.
    """

    def __init__(self, found: Found, plan: Train, *, rate: int | None) -> None:
        self.kind, self._plan, self._rate = found.kind, plan, rate
        self._split = split(
            found.files,
            share=plan.holdout,
            seed=plan.seed,
            check=checker(found.kind, rate=rate),
            enough=plan.holdout_items,
        )

    @property
    def held_out(self) -> Part:
        """Files that are never trained on; those that were opened come first."""
        return self._split.held_out

    @property
    def measured(self) -> Part:
        """Those of them that are measured while training."""
        return self._split.held_out[: self._plan.holdout_items]

    @property
    def bad(self) -> dict[str, str]:
        """Files that turned out not to be readable: name → why."""
        return self._split.bad

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Windows of the training files."""
        return of_media(
            self._split.training,
            kind=self.kind,
            recipe=self._plan,
            rate=self._rate,
            rank=rank,
            ranks=ranks,
            device=device,
        )

    def inventory(self, dataset: Dataset) -> dict[str, Any]:
        """What the training files are like, by the headers of some."""
        return inventory(self._split.training, kind=self.kind, labels=dataset.names)

"""What can be learned: all in which training one kind of model differs from training another.

``tokenizer.py``, ``prior.py`` and ``classifier.py`` each have a task, with its objective, its data,
its measurement and its card. ``run.py`` is given one of them and knows no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vqtok import config
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.training.data.dataset import Batch, Dataset
from vqtok.training.log import Learns
from vqtok.training.losses.adversarial import Discriminator
from vqtok.training.recipe import Recipe, parse


class StepOutput(NamedTuple):
    """Holds what an objective computes of one batch."""

    loss: Tensor
    """(): to be lowered."""
    terms: dict[str, Tensor]
    """What it is made of: name → (), weighted and detached."""
    codes: tuple[Tensor, ...] = ()
    """That the model made, of each level."""
    pair: tuple[Tensor, Tensor] | None = None
    """A reconstruction without its gradients, and the original: for a discriminator."""


class Objective(Protocol):
    """Computes what a model is to lower."""

    discriminator: Discriminator | None
    """Learns beside the model."""
    compiled: tuple[str, ...]
    """Submodules that torch.compile is for; "" is the model itself."""

    def __call__(self, model: nn.Module, batch: Batch, *, step: int) -> StepOutput:
        """Run the model on a batch, and compute the loss.

        Args:
            model: The model, or its replica that averages gradients over ranks.
            batch: Of the data.
            step: Of the run.
        """


class Measured(NamedTuple):
    """Holds what the held-out items say of a model.

    Attributes:
        metrics: Name → value.
        pictures: Previews, relative to the model directory.
    """

    metrics: dict[str, float]
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """Holds what the user wants: arguments of ``train.train``.

    Attributes:
        saved: State of the run to go on with, or None.
    """

    data: Sequence[str]
    output: Path
    preset: str | None
    start: str | None
    edits: Sequence[str]
    saved: dict[str, Any] | None

    @property
    def edited(self) -> frozenset[str]:
        """Fields that the user has set: "train.flip"."""
        return frozenset(edit.partition("=")[0] for edit in self.edits)

    def saved_recipe(self) -> Recipe | None:
        """Return the recipe of the run to go on with, edited; None if there is none.

        Raises:
            ConfigError: it does not fit together.
        """
        if self.saved is None:
            return None
        return parse(config.assign(self.saved["recipe"], self.edits), where=f"{self.output}")


class Resolved(NamedTuple):
    """Holds all that a run needs.

    Attributes:
        recipe: Complete, fitted to the data.
        task: What to learn, from what.
        notes: What was left out, what was adapted; a sentence each.
        unreached: Entries of folders, lists and tars that could not be looked at.
        left_out: Paths of files that are of no kind that is wanted, the first thousand.
    """

    recipe: Recipe
    task: Task
    notes: tuple[str, ...]
    unreached: int = 0
    left_out: tuple[str, ...] = ()


class Task(Protocol):
    """Says what is learned, and from what."""

    quality: str
    """The metric that says how good a model is."""
    count: int
    """Items that were found."""

    @property
    def learns(self) -> Learns:
        """Which kind of model."""

    @property
    def reads(self) -> Sequence[str]:
        """Fingerprints of models whose codes the model keeps."""

    @property
    def held_out(self) -> int:
        """How many items are never trained on."""

    @property
    def unreadable(self) -> dict[str, str]:
        """Why items were left out, by name."""

    @property
    def fine_tunes(self) -> bool:
        """Whether the model begins with the weights of another."""

    @property
    def split_notes(self) -> Sequence[str]:
        """What of the split into training and held-out items people should know."""

    def held_out_names(self, data: Sequence[str]) -> dict[str, Any]:
        """Name the held-out items, as ``data.held_out`` does; empty: they have no names.

        Args:
            data: What was trained on.
        """

    @property
    def spec(self) -> CodeSpec:
        """Of the model's codes, once it is built."""

    @property
    def monitored(self) -> Sequence[LevelSpec]:
        """Levels whose codes the model makes, so that their use is monitored."""

    @property
    def window(self) -> tuple[int, ...]:
        """Extent of an item of a batch."""

    def build(self, device: torch.device, *, name: str) -> nn.Module:
        """Make the model to begin with, on the device; its random weights are torch's.

        Args:
            device: Where it learns.
            name: Its own.
        """

    def objective(self, model: nn.Module) -> Objective:
        """Make the objective of the model that was built."""

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Make the batches."""

    def seed(self, model: nn.Module, value: int) -> None:
        """Seed the model's random choices of the step to come."""

    def measure(self, model: nn.Module, output: Path, *, step: int) -> Measured:
        """Measure a model in evaluation mode, and write previews."""

    def describe_data(self, dataset: Dataset) -> dict[str, Any]:
        """Describe the training items, as JSON data."""

    def content(self, model: nn.Module) -> dict[str, Any]:
        """Return the content of the model's ``config.json``."""

"""Training a classifier: images in, the names of their directories out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from vqtok import config
from vqtok.checkpoints import classifiers
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import ConfigError, UsageError
from vqtok.media import image
from vqtok.training.asked import Asked, Settled
from vqtok.training.data.dataset import Dataset
from vqtok.training.data.files import FoundFiles, find_files, opened
from vqtok.training.data.fit import keys
from vqtok.training.data.media import MediaData
from vqtok.training.data.survey import survey
from vqtok.training.lessons import Classification, Teacher
from vqtok.training.log import Learns
from vqtok.training.recipe import Recipe, load, parse, refuse
from vqtok.training.report import classifier_card
from vqtok.training.task import Measured

OTHERS = ("losses", "adversarial", "stage", "features", "gain_db", "samples")
"""Fields of ``Train`` that say nothing of a classifier."""


def settle_classifier(asked: Asked) -> Settled:
    """Find the images, and give the recipe their classes.

    Raises:
        UsageError: no images, images of one class, or a classifier to start from.
        ConfigError: a recipe that does not fit together.
    """
    if asked.start is not None:
        raise UsageError("-m: a classifier begins with fresh weights", hint="leave it out")
    if asked.saved is not None:
        recipe = parse(config.assign(asked.saved["recipe"], asked.edits), where=f"{asked.output}")
    else:
        recipe = load(asked.preset or "classifier", edits=asked.edits)
    refuse(recipe.train, OTHERS, touched=keys(asked.edits), what="a classifier")
    if not recipe.train.labels:
        raise ConfigError("train.labels: false: a classifier has nothing else to learn")
    found = find_files(asked.data, kind="image")
    model: Any = recipe.model
    if not model.classes:
        recipe = dataclasses.replace(
            recipe, model=dataclasses.replace(model, classes=found.files.names)
        )
    elif tuple(model.classes) != found.files.names:
        raise UsageError("--data: other directories than the classes that are learned")
    return Settled(recipe, Classifying(recipe, found), found.notes())


class Classifying:
    """The task of a classifier; see ``Task``.

    Args:
        recipe: What to build and how to train it; its model has the classes' names.
        found: The images.
    """

    learns: Learns = "classifier"
    quality = "accuracy"
    reads: tuple[str, ...] = ()

    def __init__(self, recipe: Recipe, found: FoundFiles) -> None:
        self.recipe, self.plan, self.count = recipe, recipe.train, len(found.files)
        self._media = MediaData(found, self.plan, rate=None)

    @property
    def held_out(self) -> int:
        """Images that are never trained on."""
        return len(self._media.held_out)

    @property
    def unreadable(self) -> dict[str, str]:
        """Files that turned out not to be readable: name → why."""
        return self._media.unreadable

    def build(self, device: torch.device) -> Any:
        """The network, with fresh weights."""
        return self.recipe.model.build().to(device)

    def window(self, spec: CodeSpec) -> tuple[int, ...]:
        """Extent of an item of a batch."""
        return (self.plan.window, self.plan.window)

    def teacher(self, model: Any) -> Teacher:
        """Teaches the classes."""
        return Classification(model, self.plan)

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Windows of the training images."""
        return self._media.dataset(rank=rank, ranks=ranks, device=device)

    def watched(self, spec: CodeSpec) -> Sequence[LevelSpec]:
        """None: there are no codes."""
        return ()

    def seed(self, model: Any, value: int) -> None:
        """Dropout."""
        torch.manual_seed(value)

    def measure(self, model: Any, output: Path, *, step: int) -> Measured:
        """Accuracy and cross-entropy of whole held-out images."""
        files = self._media.measured
        right, nats = 0, 0.0
        for path, label in zip(files, files.labels().tolist(), strict=True):
            with opened(path) as source:
                pixels, _ = image.read(source)
            found = model.probabilities(torch.from_numpy(pixels)[None])[0]
            right += int(found.argmax()) == label
            nats += float(F.nll_loss(found.log()[None], torch.tensor([label])))
        return Measured({"accuracy": right / len(files), "nats_per_item": nats / len(files)}, ())

    def inventory(self, dataset: Dataset) -> dict[str, Any]:
        """By the headers of some files."""
        return survey(self._media.training, self._media.kind).to_json(labels=dataset.names)

    def save(
        self,
        directory: Path,
        model: Any,
        *,
        training: Mapping[str, Any],
        card: str | None = None,
        half: bool = False,
    ) -> None:
        """Write the classifier."""
        classifiers.save(directory, model, training=training, card=card, half=half)

    def card(self, output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
        """With its accuracy."""
        return classifier_card.compose(output, facts)

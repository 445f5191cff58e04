"""Training a classifier: images in, the names of their directories out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.checkpoints import classifiers
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import ConfigError, UsageError
from vqtok.media import image
from vqtok.pipeline.signals import opened
from vqtok.protocols import Classifier
from vqtok.training.data.dataset import Batch
from vqtok.training.data.files import FoundFiles, find_files
from vqtok.training.data.media import MediaTask
from vqtok.training.log import Learns
from vqtok.training.losses.adversarial import Discriminator
from vqtok.training.recipe import Recipe, load, rebuilt, refuse
from vqtok.training.task import Measured, Options, Resolved, StepOutput

OTHERS = ("losses", "adversarial", "stage", "features", "gain_db", "samples")
"""Fields of ``Train`` that say nothing of a classifier."""


class Classification:
    """Computes what a classifier is to lower: the cross-entropy of classes.

    Args:
        model: The classifier, on its device.
    """

    compiled: tuple[str, ...] = ("",)
    discriminator: Discriminator | None = None

    def __init__(self, model: nn.Module) -> None:
        self._device: torch.device = next(model.parameters()).device

    def __call__(self, model: nn.Module, batch: Batch, *, step: int) -> StepOutput:
        """Classify every image of the batch."""
        if batch.labels is None:
            raise ValueError("a batch without labels")
        logits: Tensor = model(batch.signal(self._device))
        loss = F.cross_entropy(logits.float(), batch.labels.to(self._device))
        return StepOutput(loss, {"nats_per_item": loss.detach()})


class ClassifierTask(MediaTask):
    """Learns a classifier; see ``Task``.

    Args:
        recipe: What to build and how to train it; its model has the classes' names.
        found: The images.
    """

    learns: Learns = "classifier"
    quality = "accuracy"
    reads: tuple[str, ...] = ()
    monitored: Sequence[LevelSpec] = ()
    fine_tunes = False

    def __init__(self, recipe: Recipe, found: FoundFiles) -> None:
        self.recipe, self.plan, self.count = recipe, recipe.train, len(found.files)
        self.window: tuple[int, ...] = (self.plan.window, self.plan.window)
        self.split(found, rate=None)

    def build(self, device: torch.device, *, name: str) -> nn.Module:
        """Make the network, with fresh weights."""
        model = self.recipe.model.build()
        model.name = name
        self.spec: CodeSpec = model.spec
        network: nn.Module = model.to(device)
        return network

    def objective(self, model: nn.Module) -> Classification:
        """Make the objective: classify."""
        return Classification(model)

    def seed(self, model: nn.Module, value: int) -> None:
        """Seed dropout."""
        torch.manual_seed(value)

    def measure(self, model: nn.Module, output: Path, *, step: int) -> Measured:
        """Measure accuracy and cross-entropy of whole held-out images."""
        files, classifier = self.measured, cast(Classifier, model)
        right, nats = 0, 0.0
        for file, label in zip(files, files.labels().tolist(), strict=True):
            with opened(file) as source:
                pixels, _ = image.read(source)
            found = classifier.probabilities(torch.from_numpy(pixels)[None])[0]
            right += int(found.argmax()) == label
            nats += float(F.nll_loss(found.log()[None], torch.tensor([label])))
        return Measured({"accuracy": right / len(files), "nats_per_item": nats / len(files)})

    def content(self, model: nn.Module) -> dict[str, Any]:
        """Return the content of the classifier's ``config.json``."""
        return classifiers.content(cast(Classifier, model))


def resolve(options: Options) -> Resolved:
    """Find the images, and give the recipe their classes.

    Raises:
        UsageError: no images, images of one class, or a classifier to start from.
        ConfigError: a recipe that does not fit together.
    """
    if options.start is not None:
        raise UsageError("-m", "a classifier begins with fresh weights", hint="leave it out")
    recipe = options.saved_recipe() or load(options.preset or "classifier", edits=options.edits)
    refuse(recipe.train, OTHERS, edited=options.edited, what="a classifier")
    if not recipe.train.labels:
        raise ConfigError("train.labels", "false: a classifier has nothing else to learn")
    found = find_files(options.data, kind="image")
    classes: tuple[str, ...] = getattr(recipe.model, "classes", ())
    if not classes:
        recipe = rebuilt(recipe, classes=found.files.names)
    elif classes != found.files.names:
        raise UsageError("--data", "other directories than the classes that are learned")
    task, left_out = ClassifierTask(recipe, found), tuple(found.left_out.paths)
    return Resolved(recipe, task, found.notes(), found.unreached, left_out)

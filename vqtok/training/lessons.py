"""What a batch teaches: to reconstruct, to predict, or to classify it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.protocols import Reconstructed
from vqtok.training.data.code_windows import split_levels
from vqtok.training.data.dataset import Batch
from vqtok.training.losses.adversarial import Adversary
from vqtok.training.losses.objectives import Objective
from vqtok.training.precision import Precision
from vqtok.training.recipe import Train


class Lesson(NamedTuple):
    """One batch."""

    total: Tensor
    """(): to be lowered."""
    terms: dict[str, Tensor]
    """What it is made of: name → (), weighted and detached."""
    codes: tuple[Tensor, ...] = ()
    """That the model made, of each level."""
    pair: tuple[Tensor, Tensor] | None = None
    """A reconstruction without its gradients, and the original: for a discriminator."""


class Teacher(Protocol):
    """Makes lessons of batches."""

    precision: Precision
    adversary: Adversary | None
    """A discriminator that learns beside the model."""
    compiled: tuple[str, ...]
    """Submodules that torch.compile is for; "" is the model itself."""

    def __call__(self, model: Any, batch: Batch, *, step: int) -> Lesson:
        """The lesson of a batch.

        Args:
            model: The model, or what gives its gradients to other ranks.
            batch: Of the data.
            step: Of the run.
        """
        ...


class Reconstruction:
    """Teaches a tokenizer.

    Args:
        model: The tokenizer, on its device.
        plan: Losses, discriminator, labels and precision.

    Raises:
        ConfigError: loss terms that do not fit the model.
    """

    compiled: tuple[str, ...] = ("encoder", "decoder")

    def __init__(self, model: Any, plan: Train) -> None:
        self._labels = plan.labels
        self._device: torch.device = next(model.parameters()).device
        self.precision = Precision(plan.precision, self._device)
        modality, rate = model.spec.modality, model.spec.rate
        self._objective = Objective(plan.losses, rate=rate, features=plan.features)
        self._objective.to(self._device)
        self.adversary: Adversary | None = None
        if plan.adversarial is not None:
            channels = model.config.channels if modality == "image" else 1
            self.adversary = Adversary(plan.adversarial, modality=modality, channels=channels)
            self.adversary.to(self._device)

    def __call__(self, model: Any, batch: Batch, *, step: int) -> Lesson:
        """Reconstruct the batch."""
        x = batch.signal(self._device)
        with self.precision.autocast():
            if self._labels:
                told = None if batch.labels is None else batch.labels.to(self._device)
                result: Reconstructed = model(x, labels=told)
            else:
                result = model(x)
        terms = self._objective(result, x)
        if self.adversary is not None:
            with self.precision.autocast():
                terms |= self.adversary.generator_terms(result.x, x, step=step)
        total = torch.stack([*terms.values(), result.loss]).sum()
        shown = {name: value.detach() for name, value in terms.items()} | dict(result.terms)
        if not result.terms and result.loss.requires_grad:  # one that does not name its parts
            shown["quantizer"] = result.loss.detach()
        return Lesson(total, shown, result.codes.levels, (result.x.detach(), x))


class Prediction:
    """Teaches a prior.

    Args:
        model: The prior, on its device.
        plan: Labels and precision.
        extent: Of every item of a batch.
        depth: Stages of stacked codes that the items have.
    """

    compiled: tuple[str, ...] = ("",)
    adversary: Adversary | None = None

    def __init__(
        self, model: Any, plan: Train, *, extent: tuple[int, ...], depth: int | None
    ) -> None:
        self._spec, self._extent = model.spec, extent
        self._shapes = model.spec.shapes(extent, depth=depth)
        self._device: torch.device = next(model.parameters()).device
        self.precision = Precision(plan.precision, self._device)

    def __call__(self, model: Any, batch: Batch, *, step: int) -> Lesson:
        """Predict every code of the batch from those before it."""
        flat = batch.values.to(self._device, non_blocking=True)
        levels = split_levels(flat, self._shapes)
        told = None if batch.labels is None else batch.labels.to(self._device)
        with self.precision.autocast():
            loss: Tensor = model(Codes(self._spec, levels, self._extent), condition=told)
        return Lesson(loss, {"nats_per_code": loss.detach()})


class Classification:
    """Teaches a classifier.

    Args:
        model: The classifier, on its device.
        plan: Precision.
    """

    compiled: tuple[str, ...] = ("",)
    adversary: Adversary | None = None

    def __init__(self, model: Any, plan: Train) -> None:
        self._device: torch.device = next(model.parameters()).device
        self.precision = Precision(plan.precision, self._device)

    def __call__(self, model: Any, batch: Batch, *, step: int) -> Lesson:
        """Tell the class of every image of the batch."""
        if batch.labels is None:
            raise ValueError("a batch without labels")
        with self.precision.autocast():
            logits: Tensor = model(batch.signal(self._device))
        loss = F.cross_entropy(logits.float(), batch.labels.to(self._device))
        return Lesson(loss, {"nats_per_item": loss.detach()})

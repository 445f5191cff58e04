"""Training a prior: codes in, their distribution out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vqtok.checkpoints import directory as directories
from vqtok.checkpoints import priors
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.distributed import rank as this_rank
from vqtok.distributed import world
from vqtok.errors import VqtokError
from vqtok.training.data.code_items import CodeItems
from vqtok.training.data.code_windows import CodeSampler, fit_window
from vqtok.training.data.dataset import Dataset
from vqtok.training.data.media import split_numbers
from vqtok.training.data.sampling import Unreadable
from vqtok.training.learner import begin_from
from vqtok.training.lessons import Prediction, Teacher
from vqtok.training.log import Learns
from vqtok.training.recipe import Recipe
from vqtok.training.report import prior_card, samples
from vqtok.training.task import Measured

if TYPE_CHECKING:
    from vqtok.protocols import Prior


class Predicting:
    """The task of a prior; see ``Task``.

    Args:
        recipe: What to build and how to train it; its model has the classes' names.
        items: All codes.
        unreadable: Files of codes that could not be read: name → why.
        start: A prior of the recipe's config whose weights to begin with, or None.

    Raises:
        ConfigError: windows of codes that hold nothing.
    """

    learns: Learns = "prior"
    quality = "nats_per_code"

    def __init__(
        self,
        recipe: Recipe,
        items: CodeItems,
        unreadable: dict[str, str],
        *,
        start: Prior | None = None,
    ) -> None:
        self.recipe, self.plan = recipe, recipe.train
        self.reads = (items.origin.spec.fingerprint,)
        self.origin, self.start, self.unreadable = items.origin, start, unreadable
        self.count = len(items)
        self._classes: tuple[str, ...] = getattr(recipe.model, "classes", ())
        fitted = fit_window(items, most=self.plan.window)
        self.extent = fitted.extent
        self.smaller = int((~fitted.large).sum())
        large = items.with_classes(self._classes).subset(np.flatnonzero(fitted.large))
        training, held = split_numbers(
            len(large),
            share=self.plan.holdout,
            seed=self.plan.seed,
            enough=self.plan.holdout_items,
        )
        self._training, self._held = large.subset(training), large.subset(held)
        self._told = bool(self._classes)
        self._tokenizer: Any = None
        self._looked = False

    @property
    def held_out(self) -> int:
        """Items that are never trained on."""
        return len(self._held)

    def build(self, device: torch.device) -> Any:
        """The prior, with the weights of the start if there is one."""
        model = self.recipe.model.build(spec=self.origin.spec).to(device)
        if self.start is not None:
            begin_from(model, self.start)
        return model

    def window(self, spec: CodeSpec) -> tuple[int, ...]:
        """Extent of the signal whose codes an item of a batch is."""
        return self.extent

    def teacher(self, model: Any) -> Teacher:
        """Teaches prediction."""
        return Prediction(model, self.plan, extent=self.extent, depth=self.origin.depth)

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Windows of the training items."""
        return Dataset(
            self._training,
            sampler=CodeSampler(self._training, self.extent, seed=self.plan.seed),
            unreadable=Unreadable(),
            recipe=self.plan,
            labels=self._told,
            rank=rank,
            ranks=ranks,
            device=device,
        )

    def watched(self, spec: CodeSpec) -> Sequence[LevelSpec]:
        """None: the codes are given."""
        return ()

    def seed(self, model: Any, value: int) -> None:
        """Dropout, and which items' classes are hidden: others on every rank."""
        torch.manual_seed(value * world() + this_rank())

    def measure(self, model: Any, output: Path, *, step: int) -> Measured:
        """The cost of the beginnings of held-out items; samples, if their tokenizer is here."""
        part = self._held.subset(np.arange(min(len(self._held), self.plan.holdout_items)))
        metrics = samples.measure(model, part, self.extent, batch=self.plan.batch, told=self._told)
        tokenizer = self._find_tokenizer(model) if self.plan.samples else None
        if tokenizer is None:
            return Measured(metrics, ())
        made = samples.preview(
            model,
            tokenizer,
            output,
            step=step,
            count=self.plan.samples,
            extent=self.extent,
            seed=self.plan.seed,
        )
        return Measured(metrics, made)

    def _find_tokenizer(self, model: Any) -> Any:
        """The tokenizer of the codes, if it is on the search path."""
        if not self._looked:
            self._looked = True
            origin = self.origin
            found = directories.find(origin.spec.fingerprint, name=origin.model)
            device = str(next(model.parameters()).device)
            try:
                if found is not None:
                    self._tokenizer = directories.load(found.path, device=device)
            except VqtokError:  # samples can be done without
                self._tokenizer = None
        return self._tokenizer

    def inventory(self, dataset: Dataset) -> dict[str, Any]:
        """What the codes are."""
        origin = self.origin
        return {
            "kind": "codes",
            "files": len(self._training),
            "labels": list(dataset.names),
            "codes": self._training.tokens,
            "extent": list(self.extent),
            "window": origin.tokens(self.extent),
            "smaller": self.smaller,
            "tokenizer": origin.model,
            "fingerprint": origin.spec.fingerprint,
        }

    def save(
        self,
        directory: Path,
        model: Any,
        *,
        training: Mapping[str, Any],
        card: str | None = None,
        half: bool = False,
    ) -> None:
        """Write the prior."""
        priors.save(
            directory,
            model,
            tokenizer=self.origin.model,
            extent=self.extent,
            training=training,
            card=card,
            half=half,
        )

    def card(self, output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
        """With samples."""
        return prior_card.compose(output, spec, facts)

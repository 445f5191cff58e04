"""Training a tokenizer: images or recordings in, reconstructions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vqtok.checkpoints import directory as directories
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Tokenizer
from vqtok.training.data.dataset import Dataset
from vqtok.training.data.files import FoundFiles
from vqtok.training.data.media import MediaData
from vqtok.training.data.survey import survey
from vqtok.training.learner import begin_from
from vqtok.training.lessons import Reconstruction, Teacher
from vqtok.training.log import Learns
from vqtok.training.losses import likelihoods
from vqtok.training.recipe import Recipe
from vqtok.training.report import card, preview
from vqtok.training.task import Measured


class Tokenizing:
    """The task of a tokenizer; see ``Task``.

    Args:
        recipe: What to build and how to train it.
        found: The files; the held-out ones are split off here, once the model is built.
        start: A model of the recipe's config whose weights to begin with, or None.
        reads: Fingerprints of models whose codes stay valid: those of the start, if only the
            decoder is trained.
    """

    learns: Learns = "tokenizer"

    def __init__(
        self,
        recipe: Recipe,
        found: FoundFiles,
        *,
        start: Tokenizer | None = None,
        reads: Sequence[str] = (),
    ) -> None:
        self.recipe, self.plan = recipe, recipe.train
        self.found, self.start, self.reads = found, start, tuple(reads)
        self.quality = preview.QUALITY[found.kind]
        self.count = len(found.files)
        self._generator = torch.Generator()

    def build(self, device: torch.device) -> Any:
        """The tokenizer, with the weights of the start if there is one.

        Raises:
            ConfigError: losses that do not fit the model.
            UsageError: a start that is built differently.
            MediaError: no file can be read.
        """
        likelihoods.check(self.plan.losses, self.recipe.model)
        model = self.recipe.model.build().to(device)
        if self.start is not None:
            begin_from(model, self.start)
        rate = None if model.spec.rate is None else int(model.spec.rate)
        self._media = MediaData(self.found, self.plan, rate=rate)
        return model

    @property
    def held_out(self) -> int:
        """Files that are never trained on."""
        return len(self._media.held_out)

    @property
    def unreadable(self) -> dict[str, str]:
        """Files that turned out not to be readable: name → why."""
        return self._media.unreadable

    def window(self, spec: CodeSpec) -> tuple[int, ...]:
        """Extent of an item of a batch."""
        return (self.plan.window,) * (2 if spec.modality == "image" else 1)

    def teacher(self, model: Any) -> Teacher:
        """Teaches reconstruction."""
        return Reconstruction(model, self.plan)

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Windows of the training files."""
        return self._media.dataset(rank=rank, ranks=ranks, device=device)

    def watched(self, spec: CodeSpec) -> Sequence[LevelSpec]:
        """All levels: the tokenizer makes their codes."""
        return spec.levels

    def seed(self, model: Any, value: int) -> None:
        """The quantizer's choices."""
        self._generator.manual_seed(value)
        model.quantizer.generator = self._generator

    def measure(self, model: Any, output: Path, *, step: int) -> Measured:
        """Reconstruct held-out files."""
        files = self._media.measured
        labels = files.labels().tolist() if self.plan.labels else None
        return Measured(*preview.measure(model, files, output, step=step, labels=labels))

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
        """Write the tokenizer."""
        directories.save(
            directory, model, training=training, card=card, half=half, reads=self.reads
        )

    def card(self, output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
        """With reconstructions."""
        return card.compose(output, spec, facts)

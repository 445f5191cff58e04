"""All in which training one kind of model differs from training another.

``training/tokenizing.py`` learns a tokenizer from images or recordings, ``training/predicting.py``
a prior from codes. ``Run`` is given one of them and knows no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from vqtok.codes.spec import CodeSpec
from vqtok.training.data.dataset import Dataset
from vqtok.training.lessons import Teacher
from vqtok.training.log import Learns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqtok.codes.spec import LevelSpec


class Measured(NamedTuple):
    """What the held-out items say of a model.

    Attributes:
        metrics: Name → value.
        pictures: Previews, relative to the model directory.
    """

    metrics: dict[str, float]
    pictures: tuple[str, ...]


class Task(Protocol):
    """What is learned, from what."""

    quality: str
    """The metric that says how good a model is."""
    count: int
    """Items that were found."""

    @property
    def learns(self) -> Learns:
        """Which kind of model."""
        ...

    @property
    def reads(self) -> Sequence[str]:
        """Fingerprints of models whose codes the model keeps."""
        ...

    @property
    def held_out(self) -> int:
        """How many items are never trained on."""
        ...

    @property
    def unreadable(self) -> dict[str, str]:
        """Why items were left out, by name."""
        ...

    def build(self, device: torch.device) -> Any:
        """The model to begin with, on the device; its random weights are torch's."""
        ...

    def window(self, spec: CodeSpec) -> tuple[int, ...]:
        """Extent of an item of a batch."""
        ...

    def teacher(self, model: Any) -> Teacher:
        """Of what the model learns from a batch."""
        ...

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Of the batches."""
        ...

    def watched(self, spec: CodeSpec) -> Sequence[LevelSpec]:
        """Levels whose codes the model makes, so that their use is watched."""
        ...

    def seed(self, model: Any, value: int) -> None:
        """Make the model's random choices of the step to come a function of a number."""
        ...

    def measure(self, model: Any, output: Path, *, step: int) -> Measured:
        """Measure a model in evaluation mode, and write previews."""
        ...

    def inventory(self, dataset: Dataset) -> dict[str, Any]:
        """What the training items are like."""
        ...

    def save(
        self,
        directory: Path,
        model: Any,
        *,
        training: Mapping[str, Any],
        card: str | None = None,
        half: bool = False,
    ) -> None:
        """Write a model directory."""
        ...

    def card(self, output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
        """The model's README."""
        ...

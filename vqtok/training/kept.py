"""The models that a run leaves: the best at the top of its directory, the latest in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vqtok import atomic
from vqtok import config as configs
from vqtok.checkpoints.facts import CARD, TRAINING
from vqtok.errors import ConfigError
from vqtok.training.recipe import Train

Save = Callable[..., None]
"""Writes a model directory: ``Task.save``."""

FOLDER = "checkpoints"

BETTER = {
    "psnr_db": 1,
    "mel_distance": -1,
    "kl": -1,
    "active_units": 1,
    "accuracy": 1,
    "nats_per_item": -1,
    "nats_per_code": -1,
    "bits_per_code": -1,
    "bits_per_dimension": -1,
    "use": 1,
    "perplexity": 1,
}
"""Metric → whether more (1) or less (-1) of it is better."""


class Kept:
    """Decides which model is the best, and writes and removes models.

    Args:
        output: Model directory.
        plan: ``best_by``, ``keep``, ``store``.
        quality: The metric that "auto" goes by.
        save: Writes a model.

    Raises:
        ConfigError: an unknown ``best_by``.
    """

    def __init__(self, output: Path, plan: Train, *, quality: str, save: Save) -> None:
        self.output, self.plan, self._save = output, plan, save
        self.by = plan.best_by
        if self.by == "auto":
            # A discriminator trades the metric for sharpness: by the metric, its first model wins.
            self.by = quality if plan.adversarial is None else "last"
        if self.by != "last" and not _sense(self.by):
            known = ", ".join(["auto", "last", *sorted(BETTER)])
            raise ConfigError(f"train.best_by: {self.by!r} is no metric", hint=f"known: {known}")
        self.best: dict[str, Any] = {}
        """{"step": …, "value": …} of the best model; {} before the first measurement."""

    def begin(self) -> None:
        """Remove what an earlier run left: it must not be taken for this one's."""
        for path in self.output.glob(f"{FOLDER}/step-*"):
            shutil.rmtree(path, ignore_errors=True)

    def is_best(self, metrics: Mapping[str, float], *, step: int) -> bool:
        """Whether a model with these metrics is the best so far; it then counts as that."""
        if self.by == "last":
            self.best = {"step": step}
            return True
        if self.by not in metrics:
            raise ConfigError(
                f"train.best_by: {self.by!r} is not measured for this model",
                hint="measured: " + ", ".join(sorted(metrics)),
            )
        value = metrics[self.by]
        if "value" in self.best and _sense(self.by) * (value - self.best["value"]) <= 0:
            return False
        self.best = {"step": step, "value": value}
        return True

    def save(
        self, model: Any, *, step: int, best: bool, facts: Mapping[str, Any], card: str
    ) -> None:
        """Write the model where it belongs, and the run's facts and card in any case."""
        half = self.plan.store == "float16"
        if best:
            self._save(self.output, model, training=facts, card=card, half=half)
        else:
            for name, text in ((TRAINING, configs.to_json(facts)), (CARD, card)):
                with atomic.file(self.output / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        if self.plan.keep:
            folder = self.output / FOLDER / f"step-{step:07d}"
            self._save(folder, model, training=facts, half=half)
        self._rotate()

    def _rotate(self) -> None:
        folder = self.output / FOLDER
        if not folder.is_dir():
            return
        kept = sorted(path for path in folder.iterdir() if path.name.startswith("step-"))
        for path in kept[: max(0, len(kept) - self.plan.keep)]:
            # Renamed first: a kill must not leave half a model under a model's name.
            gone = path.with_name(f".{path.name}")
            path.replace(gone)
        for path in folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)


def _sense(metric: str) -> int:
    """Of ``BETTER``; "use_top" is the use of one level. 0: no metric."""
    kind = metric.partition("_")[0]
    return BETTER.get(metric) or (BETTER[kind] if kind in ("use", "perplexity") else 0)

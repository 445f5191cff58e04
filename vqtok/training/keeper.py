"""The models that a run leaves: the best at the top of its directory, the latest in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vqtok import atomic
from vqtok import config as configs
from vqtok.checkpoints import directory as directories
from vqtok.checkpoints.facts import CARD, TRAINING
from vqtok.errors import ConfigError
from vqtok.metrics import registry
from vqtok.metrics.metric import Metric
from vqtok.training.recipe import Train

FOLDER = "checkpoints"


class CheckpointKeeper:
    """Decides which model is the best, and writes and removes models.

    Args:
        output: Model directory.
        plan: ``best_by``, ``keep``, ``store``.
        quality: The metric that "auto" goes by.
        content: Gives the content of a model's ``config.json``.

    Raises:
        ConfigError: an unknown ``best_by``.
    """

    def __init__(
        self,
        output: Path,
        plan: Train,
        *,
        quality: str,
        content: Callable[[nn.Module], Mapping[str, Any]],
    ) -> None:
        self.output, self.plan, self._content = output, plan, content
        self.by = plan.best_by
        if self.by == "auto":
            # A discriminator trades the metric for sharpness: by the metric, its first model wins.
            self.by = quality if plan.adversarial is None else "last"
        self._metric = registry.find(self.by)
        if self.by != "last" and not _has_best(self._metric, quality):
            found = (key for key, each in registry.ALL.items() if _has_best(each, quality))
            known = ", ".join(["auto", "last", *sorted(found)])
            raise ConfigError("train.best_by", f"{self.by!r} is no metric", hint=f"known: {known}")
        self.best: dict[str, Any] = {}
        """{"step": …, "value": …} of the best model; {} before the first measurement."""

    def begin(self) -> None:
        """Remove what an earlier run left: it must not be taken for this one's."""
        for path in self.output.glob(f"{FOLDER}/step-*"):
            shutil.rmtree(path, ignore_errors=True)

    def is_best(self, metrics: Mapping[str, float], *, step: int) -> bool:
        """Tell whether a model with these metrics is the best so far; it then counts as that."""
        if self._metric is None:
            self.best = {"step": step}
            return True
        if self.by not in metrics:
            raise ConfigError(
                "train.best_by",
                f"{self.by!r} is not measured for this model",
                hint="measured: " + ", ".join(sorted(metrics)),
            )
        value = metrics[self.by]
        if "value" in self.best and not self._metric.is_better(value, self.best["value"]):
            return False
        self.best = {"step": step, "value": value}
        return True

    def save(
        self, model: nn.Module, *, step: int, best: bool, facts: Mapping[str, Any], card: str
    ) -> None:
        """Write the model where it belongs, and the run's facts and card in any case."""
        half, data = self.plan.store == "float16", self._content(model)
        if best:
            directories.write(self.output, model, data, training=facts, card=card, half=half)
        else:
            for name, text in ((TRAINING, configs.to_json(facts)), (CARD, card)):
                with atomic.file(self.output / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        if self.plan.keep:
            folder = self.output / FOLDER / f"step-{step:07d}"
            directories.write(folder, model, data, training=facts, half=half)
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


def _has_best(metric: Metric | None, quality: str) -> bool:
    """Checks whether training measures it, and one direction of it is better."""
    if metric is None or metric.higher_is_better is None:
        return False
    return metric.measure is None or metric.key == quality

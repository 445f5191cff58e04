"""Directories of classifiers: a tokenizer's layout, with a spec of no codes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vqtok import config as configs
from vqtok.checkpoints import directory as directories
from vqtok.checkpoints.facts import CONFIG, FORMAT, name_of, read_config
from vqtok.errors import CheckpointError
from vqtok.protocols import Classifier, Config

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load", "save"]


def save(
    directory: str | Path,
    classifier: Classifier,
    *,
    training: Mapping[str, Any] | None = None,
    card: str | None = None,
    half: bool = False,
) -> None:
    """Write a classifier as a model directory; arguments and errors are those of tokenizers.

    Raises:
        CheckpointError: NaN or infinite weights, or a directory that cannot be written.
    """
    spec = {k: v for k, v in classifier.spec.to_json().items() if k != "fingerprint"}
    data = {"vqtok": FORMAT, "spec": spec, "model": configs.dump(classifier.config)}
    module = cast("nn.Module", classifier)
    directories.write(Path(directory), module, data, training=training, card=card, half=half)


def load(name: str | Path, *, device: str = "cpu") -> Classifier:
    """Make a classifier from its directory: evaluation mode, float32, no gradients.

    Args:
        name: NAME of a model, or a directory.
        device: Where the weights go, as torch names devices.

    Raises:
        UsageError: no such model.
        ConfigError: a config that does not fit, with the place in it.
        CheckpointError: files missing or damaged, or a model that is no classifier.
    """
    folder = directories.resolve(name) if isinstance(name, str) else name
    data = read_config(folder)
    config = configs.parse(data["model"], Config, where=f"{folder / CONFIG}: model")
    if not configs.type_name(config).startswith("classifiers/"):
        raise CheckpointError(
            folder / CONFIG,
            f"{configs.type_name(config)} is no classifier",
            hint="vqtok train --data PHOTOS/ --preset classifier -o DIR makes one",
        )
    classifier = directories.built(folder, config.build)
    classifier.name = name_of(folder)
    return cast(Classifier, classifier.to(device))

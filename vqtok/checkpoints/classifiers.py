"""Directories of classifiers: a tokenizer's layout, with a spec of no codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqtok.checkpoints import directory as directories
from vqtok.checkpoints import facts
from vqtok.checkpoints.facts import name_of, read_config
from vqtok.protocols import Classifier

__all__ = ["content", "load"]


def content(classifier: Classifier) -> dict[str, Any]:
    """Return the content of a classifier's ``config.json``; ``directory.write`` writes the rest."""
    return facts.content(classifier.spec, classifier.config)


def load(name: str | Path, *, device: str = "cpu") -> Classifier:
    """Make a classifier from its directory: evaluation mode, float32, no gradients.

    Args:
        name: NAME of a model, or a directory.
        device: Where the weights go, as torch names devices.

    Raises:
        UsageError: no such model.
        ConfigError: a config that does not fit, with the location in it.
        CheckpointError: files missing or damaged, or a model that is no classifier.
    """
    folder = directories.resolve(name) if isinstance(name, str) else name
    data = read_config(folder)
    hint = "vqtok train --data PHOTOS/ --preset classifier -o DIR makes one"
    config = directories.parsed_as("classifier", folder, data, hint=hint)
    classifier: Classifier = directories.built(folder, config.build, device=device)
    classifier.name = name_of(folder)
    return classifier

"""All that precedes the first step: find the files, settle the recipe, build the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from vqtok import config
from vqtok.checkpoints import directory, resume
from vqtok.errors import ConfigError, UsageError
from vqtok.protocols import Tokenizer
from vqtok.training.data.fit import fit, keys, modality, survey
from vqtok.training.data.sources import Found, Kind, find
from vqtok.training.recipe import DEFAULT_PRESET, Adversarial, Recipe, load, parse
from vqtok.training.run import Run
from vqtok.training.tokenizing import Tokenizing

GENTLER = 0.05
"""Learning rate of a decoder that goes on from trained weights, as a share of the recipe's: Adam's
first steps, without a history, would otherwise undo much of what it knows."""


def prepare(
    data: Sequence[str],
    output: Path,
    *,
    preset: str | None = None,
    start: str | None = None,
    edits: Sequence[str] = (),
    resuming: bool = False,
    device: str = "cpu",
    command: str = "",
) -> Run:
    """A run that is ready to ``begin``; arguments are ``loop.train``'s, ``device`` as torch's."""
    saved = resume.read_state(output) if resuming else None
    model: Tokenizer | None = None
    notes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    if saved is not None:
        recipe = parse(config.assign(saved["recipe"], edits), where=f"{output}")
        reads = tuple(saved["reads"])
        found = find(data, kind=modality(recipe))
    elif start is not None:
        model = directory.load(start)
        found = find(data, kind=_kind(model))
        recipe = load(preset or DEFAULT_PRESET[found.kind], model=model.config, edits=edits)
    elif preset is not None:
        recipe = load(preset, edits=edits)
        found = find(data, kind=modality(recipe))
    else:
        found = find(data)
        recipe = load(DEFAULT_PRESET[found.kind], edits=edits)
        recipe, notes = fit(recipe, survey(found.files, found.kind), kept=keys(edits))
    if saved is None:
        if recipe.train.stage == "decoder":
            if model is None:
                raise UsageError("train.stage: decoder: of which model?", hint="-m NAME")
            made = directory.describe(start or "")
            reads = (made.fingerprint, *made.reads)
            recipe = _alone(recipe, model, kept=keys(edits))
        if recipe.train.labels:
            recipe = _labelled(recipe, found)
    task = Tokenizing(recipe, found, start=model, reads=reads)
    run = Run(recipe, task, output, device=device, command=command, saved=saved)
    if saved is not None and saved["files"] != task.count:
        changed = f"{task.count} files, {saved['files']} before"
        notes = (f"the data has changed ({changed}): what was trained on may now be held out",)
    run.notes = (*found.notes(), *notes)
    return run


def _kind(model: Tokenizer) -> Kind:
    return "audio" if model.spec.modality == "audio" else "image"


def _alone(recipe: Recipe, model: Tokenizer, *, kept: Collection[str]) -> Recipe:
    """The recipe of a decoder that goes on alone.

    Unless told otherwise it does so against a discriminator, and at a lower learning rate.

    Raises:
        ConfigError: stored as the recipe asks, encoder and codebook would not be what they were.
    """
    plan = recipe.train
    if plan.adversarial is None and "train.adversarial" not in kept:
        plan = dataclasses.replace(plan, adversarial=Adversarial())
    if plan.store == "float16" and not _fits_half(model):
        if "train.store" in kept:
            raise ConfigError(
                "train.store: float16 would round the encoder, and codes would change",
                hint="--set train.store=float32",
            )
        plan = dataclasses.replace(plan, store="float32")
    if "train.learning_rate" not in kept:
        plan = dataclasses.replace(plan, learning_rate=GENTLER * plan.learning_rate)
    return dataclasses.replace(recipe, train=plan)


def _fits_half(model: Any) -> bool:
    """Whether all weights that codes depend on are float16 numbers already."""
    weights = [*model.encoder.state_dict().values(), *model.quantizer.state_dict().values()]
    return all(torch.equal(w, w.half().to(w.dtype)) for w in weights if w.is_floating_point())


def _labelled(recipe: Recipe, found: Found) -> Recipe:
    """Give the model the names of the files' directories, if it has none of its own."""
    model = recipe.model
    if getattr(model, "labels", None):
        return recipe
    # Files that lie in no directory of their own share the label ".".
    names = tuple(name or "." for name in found.files.names)
    labelled = dataclasses.replace(model, labels=names)  # type: ignore[type-var]
    return dataclasses.replace(recipe, model=labelled)

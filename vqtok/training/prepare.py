"""All that precedes the first step: find the files, settle the recipe, build the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from vqtok import config
from vqtok.checkpoints import directory, resume
from vqtok.errors import UsageError
from vqtok.protocols import Tokenizer
from vqtok.training.fit import fit, keys, modality, survey
from vqtok.training.recipe import DEFAULT_PRESET, Adversarial, Recipe, load, parse
from vqtok.training.run import Run
from vqtok.training.sources import Found, Kind, find


def prepare(
    data: Sequence[str],
    output: Path,
    *,
    preset: str | None = None,
    start: str | None = None,
    edits: Sequence[str] = (),
    resuming: bool = False,
    device: str = "auto",
    command: str = "",
) -> Run:
    """A run that is ready to ``begin``; the arguments are those of ``loop.train``."""
    saved = resume.read_state(output) if resuming else None
    model: Tokenizer | None = None
    notes: tuple[str, ...] = ()
    if saved is not None:
        recipe = parse(config.assign(saved["recipe"], edits), where=f"{output}")
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
            recipe = _judged(recipe, kept=keys(edits))
        if recipe.train.labels:
            recipe = _labelled(recipe, found)
    run = Run(recipe, found, output, device=device, command=command, saved=saved, start=model)
    run.notes = (*found.notes(), *notes)
    return run


def _kind(model: Tokenizer) -> Kind:
    return "audio" if model.spec.modality == "audio" else "image"


def _judged(recipe: Recipe, *, kept: Collection[str]) -> Recipe:
    """A decoder that goes on alone does so against a discriminator, unless told otherwise."""
    if recipe.train.adversarial is not None or "train.adversarial" in kept:
        return recipe
    plan = dataclasses.replace(recipe.train, adversarial=Adversarial())
    return dataclasses.replace(recipe, train=plan)


def _labelled(recipe: Recipe, found: Found) -> Recipe:
    """Give the model the names of the files' directories, if it has none of its own."""
    model = recipe.model
    if getattr(model, "labels", None):
        return recipe
    labelled = dataclasses.replace(model, labels=found.files.names)  # type: ignore[type-var]
    return dataclasses.replace(recipe, model=labelled)

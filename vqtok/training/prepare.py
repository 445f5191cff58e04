"""All that precedes the first step: find the files, settle the recipe, build the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from vqtok import config
from vqtok.checkpoints import directory, resume
from vqtok.errors import UsageError
from vqtok.protocols import Tokenizer
from vqtok.training.fit import fit, keys, modality, survey
from vqtok.training.recipe import DEFAULT_PRESET, Recipe, load, parse
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
    if recipe.train.stage == "decoder" and model is None and saved is None:
        raise UsageError("train.stage: decoder: of which model?", hint="-m NAME")
    if recipe.train.labels and saved is None:
        recipe = _labelled(recipe, found)
    run = Run(recipe, found, output, device=device, command=command, saved=saved, start=model)
    run.notes = (*_left_out(found), *notes)
    return run


def _kind(model: Tokenizer) -> Kind:
    return "audio" if model.spec.modality == "audio" else "image"


def _labelled(recipe: Recipe, found: Found) -> Recipe:
    """Give the model the names of the files' directories, if it has none of its own."""
    model = recipe.model
    if getattr(model, "labels", None):
        return recipe
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(model, labels=found.files.names),  # type: ignore[type-var]
    )


def _left_out(found: Found) -> tuple[str, ...]:
    """What of the data is not trained on, a sentence each."""
    counts = ", ".join(f"{count} {what}" for what, count in found.left_out.items())
    return (*([f"left out: {counts}"] if counts else []), *found.problems)

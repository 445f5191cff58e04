"""All that precedes the first step: find the data, settle the recipe, build the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from vqtok import config
from vqtok.checkpoints import directory, resume
from vqtok.errors import ConfigError, UsageError
from vqtok.protocols import Tokenizer
from vqtok.training.asked import Asked, Settled
from vqtok.training.classifying import settle_classifier
from vqtok.training.data.code_items import is_codes
from vqtok.training.data.files import FoundFiles, Kind, find_files
from vqtok.training.data.fit import fit, keys, modality
from vqtok.training.data.survey import survey
from vqtok.training.prepare_prior import settle_prior
from vqtok.training.recipe import DEFAULT_PRESET, Adversarial, Recipe, family, load, parse, refuse
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
    if saved is not None and isinstance(saved["recipe"].get("train"), dict):
        saved["recipe"]["train"].setdefault("optimizer", "adamw")  # 0.1.0 knew no other
    asked = Asked(data, output, preset, start, edits, saved)
    made = _SETTLE.get(_family(asked), _settle_tokenizer)(asked)
    run = Run(made.recipe, made.task, output, device=device, command=command, saved=saved)
    notes = made.notes
    if saved is not None and saved["files"] != made.task.count:
        changed = f"{made.task.count} files, {saved['files']} before"
        notes = (f"the data has changed ({changed}): what was trained on may now be held out",)
    run.notes = notes
    return run


def _family(asked: Asked) -> str:
    """What is to be trained: by what the run goes on with, by its preset, or by the data."""
    if asked.saved is not None:
        return str(asked.saved["recipe"].get("model", {}).get("type")).partition("/")[0]
    if asked.start is not None:
        return directory.describe(asked.start).family
    if asked.preset is not None:
        return family(load(asked.preset))
    return "priors" if is_codes(asked.data) else "tokenizers"


def _settle_tokenizer(asked: Asked) -> Settled:
    model: Tokenizer | None = None
    adapted: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    if asked.saved is not None:
        recipe = parse(config.assign(asked.saved["recipe"], asked.edits), where=f"{asked.output}")
        reads = tuple(asked.saved["reads"])
        found = _find(asked.data, kind=modality(recipe))
    elif asked.start is not None:
        model = directory.load(asked.start)
        found = _find(asked.data, kind=_kind(model))
        preset = asked.preset or DEFAULT_PRESET[found.kind]
        recipe = load(preset, model=model.config, edits=asked.edits)
    elif asked.preset is not None:
        recipe = load(asked.preset, edits=asked.edits)
        found = _find(asked.data, kind=modality(recipe))
    else:
        found = find_files(asked.data)
        recipe = load(DEFAULT_PRESET[found.kind], edits=asked.edits)
        recipe, adapted = fit(recipe, survey(found.files, found.kind), kept=keys(asked.edits))
    if asked.saved is None:
        if recipe.train.stage == "decoder":
            if model is None:
                raise UsageError("train.stage: decoder: of which model?", hint="-m NAME")
            made = directory.describe(asked.start or "")
            reads = (made.fingerprint, *made.reads)
            recipe = _alone(recipe, model, kept=keys(asked.edits))
        if recipe.train.labels:
            recipe = _labelled(recipe, found)
    _check(recipe, kept=keys(asked.edits))
    task = Tokenizing(recipe, found, start=model, reads=reads)
    return Settled(recipe, task, (*found.notes(), *adapted))


def _find(data: Sequence[str], *, kind: Kind) -> FoundFiles:
    if is_codes(data):
        raise UsageError(
            "--data: these are codes, the recipe is for "
            + ("audio" if kind == "audio" else "images"),
            hint=f"--preset {DEFAULT_PRESET['codes']} learns a prior of codes",
        )
    return find_files(data, kind=kind)


def _check(recipe: Recipe, *, kept: Collection[str]) -> None:
    """Refuse a recipe that lacks what a tokenizer needs, or has what only a prior uses.

    Raises:
        ConfigError: it does.
    """
    if not recipe.train.losses:
        known = "mse, l1; for audio mel, stft"
        raise ConfigError("train.losses: none: nothing to learn", hint=f"known: {known}")
    refuse(recipe.train, ("samples",), touched=kept, what="a tokenizer")


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


def _labelled(recipe: Recipe, found: FoundFiles) -> Recipe:
    """Give the model the names of the files' directories, if it has none of its own."""
    model = recipe.model
    if getattr(model, "labels", None):
        return recipe
    # Files that lie in no directory of their own share the label ".".
    names = tuple(name or "." for name in found.files.names)
    labelled = dataclasses.replace(model, labels=names)  # type: ignore[type-var]
    return dataclasses.replace(recipe, model=labelled)


_SETTLE: dict[str, Callable[[Asked], Settled]] = {
    "tokenizers": _settle_tokenizer,
    "priors": settle_prior,
    "classifiers": settle_classifier,
}
"""Family of the model → what settles the recipe of its run."""

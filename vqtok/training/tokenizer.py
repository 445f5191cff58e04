"""Training a tokenizer: images or recordings in, reconstructions out."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from vqtok.checkpoints import directory as directories
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import ConfigError, UsageError
from vqtok.protocols import NO_DECODER
from vqtok.training import stages
from vqtok.training.data.code_items import is_codes
from vqtok.training.data.dataset import Batch
from vqtok.training.data.files import FoundFiles, Kind, find_files
from vqtok.training.data.fit import Fitted, fit, kind_of, modality
from vqtok.training.data.media import MediaTask
from vqtok.training.data.survey import survey
from vqtok.training.log import Learns
from vqtok.training.losses.adversarial import Discriminator
from vqtok.training.losses.reconstruction import ReconstructionLoss, check_outputs
from vqtok.training.recipe import DEFAULT_PRESET, Adversarial, Recipe, Train, load, rebuilt, refuse
from vqtok.training.report import preview
from vqtok.training.stages import Published
from vqtok.training.start import begin_from
from vqtok.training.task import Measured, Options, Resolved, StepOutput

if TYPE_CHECKING:
    from vqtok.protocols import Reconstructed, Tokenizer, TrainableTokenizer

GENTLER = 0.05
"""Learning rate of a decoder that goes on from trained weights, as a share of the recipe's: Adam's
first steps, without a history, would otherwise undo much of what it knows."""


PUBLISHED_SIDE, PUBLISHED_BATCH = 256, 4
"""Pixels per side and items per step for published decoders of images: 256 is what VQGAN and its
kin were trained on, and a batch of 4 what fits a small GPU."""


class Reconstruction:
    """Computes what a tokenizer is to lower: reconstruction terms and the quantizer's loss.

    Args:
        model: The tokenizer, on its device.
        spec: Of its codes.
        plan: Losses, discriminator and labels.

    Raises:
        ConfigError: loss terms that do not fit the model.
    """

    compiled: tuple[str, ...] = ("encoder", "decoder")

    def __init__(self, model: nn.Module, spec: CodeSpec, plan: Train) -> None:
        if isinstance(model, Published):
            self.compiled = model.decoding_parts
        self._labels = plan.labels
        self._device: torch.device = next(model.parameters()).device
        self._terms = ReconstructionLoss(plan.losses, rate=spec.rate, features=plan.features)
        self._terms.to(self._device)
        self.discriminator: Discriminator | None = None
        if plan.adversarial is not None:
            channels = cast("TrainableTokenizer", model).channels
            self.discriminator = Discriminator(
                plan.adversarial, modality=spec.modality, channels=channels
            ).to(self._device)

    def __call__(self, model: nn.Module, batch: Batch, *, step: int) -> StepOutput:
        """Reconstruct the batch."""
        x = batch.signal(self._device)
        given = {}
        if self._labels:
            given["labels"] = None if batch.labels is None else batch.labels.to(self._device)
        result: Reconstructed = model(x, **given)
        terms = self._terms(result, x)
        if self.discriminator is not None:
            terms |= self.discriminator.generator_terms(result.x, x, step=step)
        loss = torch.stack([*terms.values(), result.loss]).sum()
        shown = {name: value.detach() for name, value in terms.items()} | dict(result.terms)
        if not result.terms and result.loss.requires_grad:  # one that does not name its parts
            shown["quantizer"] = result.loss.detach()
        return StepOutput(loss, shown, result.codes.levels, (result.x.detach(), x))


class TokenizerTask(MediaTask):
    """Learns a tokenizer; see ``Task``.

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
        self.quality = preview.QUALITY[found.kind].key
        self.count = len(found.files)
        self._generator = torch.Generator()

    def build(self, device: torch.device, *, name: str) -> nn.Module:
        """Make the tokenizer, with the weights of the start if there is one.

        Raises:
            ConfigError: losses that do not fit the model.
            UsageError: a start that is built differently.
            MediaError: no file can be read.
        """
        check_outputs(self.plan.losses, self.recipe.model)
        tokenizer: Tokenizer = self.recipe.model.build()
        tokenizer.name = name
        self.spec = tokenizer.spec
        model = cast("nn.Module", tokenizer).to(device)
        if self.start is not None:
            begin_from(model, cast("nn.Module", self.start))
        rate = None if self.spec.rate is None else int(self.spec.rate)
        self.split(self.found, rate=rate)
        return model

    @property
    def fine_tunes(self) -> bool:
        """Whether the model begins with the weights of another."""
        return self.start is not None

    @property
    def monitored(self) -> Sequence[LevelSpec]:
        """All levels: the tokenizer makes their codes."""
        return self.spec.levels

    @property
    def window(self) -> tuple[int, ...]:
        """Extent of an item of a batch."""
        return (self.plan.window,) * (2 if self.spec.modality == "image" else 1)

    def objective(self, model: nn.Module) -> Reconstruction:
        """Make the objective: reconstruct."""
        return Reconstruction(model, self.spec, self.plan)

    def seed(self, model: nn.Module, value: int) -> None:
        """Seed the quantizer's choices."""
        self._generator.manual_seed(value)
        if not isinstance(model, Published):  # their codes are no one's choice
            cast("TrainableTokenizer", model).quantizer.generator = self._generator

    def measure(self, model: nn.Module, output: Path, *, step: int) -> Measured:
        """Reconstruct held-out files."""
        files = self.measured
        labels = files.labels().tolist() if self.plan.labels else None
        tokenizer = cast("Tokenizer", model)
        return Measured(*preview.measure(tokenizer, files, output, step=step, labels=labels))

    def content(self, model: nn.Module) -> dict[str, Any]:
        """Return the content of the tokenizer's ``config.json``."""
        return directories.content(cast("Tokenizer", model), reads=self.reads)


def resolve(options: Options) -> Resolved:
    """Find the files, and make recipe and files fit each other.

    Raises:
        UsageError: no data, data of another kind than the model's, or a decoder of no model.
        ConfigError: a recipe that does not fit together.
    """
    start: Tokenizer | None = None
    adapted: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    edited = options.edited
    saved = options.saved_recipe()
    if saved is not None and options.saved is not None:
        recipe = saved
        reads = tuple(options.saved["reads"])
        found = _find(options.data, kind=modality(recipe))
    elif options.start is not None:
        start = directories.load(options.start)
        found = _find(options.data, kind=kind_of(start.spec))
        preset = options.preset or DEFAULT_PRESET[found.kind]
        recipe = load(preset, model=start.config, edits=options.edits)
        if isinstance(start, Published):
            _check_published(start, recipe.train)
            recipe, adapted = _fitted(recipe, found, name=start.name, kept=edited)
    elif options.preset is not None:
        recipe = load(options.preset, edits=options.edits)
        found = _find(options.data, kind=modality(recipe))
    else:
        found = find_files(options.data)
        recipe = load(DEFAULT_PRESET[found.kind], edits=options.edits)
        recipe, adapted = fit(recipe, survey(found.files, found.kind), kept=edited)
    if saved is None:
        if recipe.train.stage == "decoder":
            if start is None:
                raise UsageError("train.stage", "decoder: of which model?", hint="-m NAME")
            info = directories.describe(options.start or "")
            reads = (info.fingerprint, *info.reads)
            recipe = _decoder_recipe(recipe, start, kept=edited)
        if recipe.train.labels:
            recipe = _labelled(recipe, found)
    if not recipe.train.losses:
        known = "mse, l1; for audio mel, stft"
        raise ConfigError("train.losses", "none: nothing to learn", hint=f"known: {known}")
    refuse(recipe.train, ("samples",), edited=edited, what="a tokenizer")
    task = TokenizerTask(recipe, found, start=start, reads=reads)
    notes = (*found.notes(), *adapted)
    return Resolved(recipe, task, notes, found.unreached, tuple(found.left_out.paths))


def _find(data: Sequence[str], *, kind: Kind) -> FoundFiles:
    if is_codes(data):
        raise UsageError(
            "--data",
            f"these are codes, the recipe is for {'audio' if kind == 'audio' else 'images'}",
            hint=f"--preset {DEFAULT_PRESET['codes']} learns a prior of codes",
        )
    return find_files(data, kind=kind)


def _check_published(start: Tokenizer, plan: Train) -> None:
    """Refuse what cannot be learned of a network that others published.

    Raises:
        UsageError: another stage than its decoder's, labels, or no decoder that may learn.
    """
    model = cast("Published", start)
    if not model.decodes:
        raise UsageError(f"-m {start.name}", NO_DECODER)
    if not model.decoding_parts:
        raise UsageError(f"-m {start.name}", "the decoder of this family cannot be trained here")
    if plan.stage != "decoder":
        raise UsageError(
            f"-m {start.name}",
            "its codebook was trained by another program: only its decoder can be trained",
            hint="--stage decoder keeps its codes",
        )
    if plan.labels:
        raise UsageError("--labels", "the decoder of this model takes none", hint="leave it out")


def _fitted(recipe: Recipe, found: FoundFiles, *, name: str, kept: Collection[str]) -> Fitted:
    """Fit the recipe of a published decoder to how such were trained, and then to the files.

    Whatever the preset says they take larger windows, as what they normalise over is the whole of
    one, and AdamW steps all of their weights, as it did before.
    """
    changes: dict[str, Any] = {"optimizer": "adamw"}
    if found.kind == "image":
        changes |= {"window": PUBLISHED_SIDE, "batch": PUBLISHED_BATCH}
    fields = {name: value for name, value in changes.items() if f"train.{name}" not in kept}
    about = (
        f"{name} with a decoder that was trained further: it makes and reads the same codes. What "
        "else is in it are that model's weights, with its licence and limits."
    )
    train = dataclasses.replace(recipe.train, **fields)
    recipe = dataclasses.replace(recipe, train=train, about=about)
    return fit(recipe, survey(found.files, found.kind), kept=kept)


def _decoder_recipe(recipe: Recipe, start: Tokenizer, *, kept: Collection[str]) -> Recipe:
    """Adapt the recipe of a decoder that goes on alone.

    Unless the user decides otherwise it does so against a discriminator, and at a lower learning
    rate.

    Raises:
        ConfigError: stored as the recipe asks, encoder and codebook would not be what they were.
    """
    plan = recipe.train
    if plan.adversarial is None and "train.adversarial" not in kept:
        plan = dataclasses.replace(plan, adversarial=Adversarial())
    if plan.store == "float16" and not _fits_half(cast("nn.Module", start)):
        if "train.store" in kept:
            raise ConfigError(
                "train.store",
                "float16 would round the encoder, and codes would change",
                hint="--set train.store=float32",
            )
        plan = dataclasses.replace(plan, store="float32")
    if "train.learning_rate" not in kept:
        plan = dataclasses.replace(plan, learning_rate=GENTLER * plan.learning_rate)
    return dataclasses.replace(recipe, train=plan)


def _fits_half(model: nn.Module) -> bool:
    """Tell whether all weights that codes depend on are float16 numbers already."""
    weights = stages.held(model).values()
    return all(torch.equal(w, w.half().to(w.dtype)) for w in weights if w.is_floating_point())


def _labelled(recipe: Recipe, found: FoundFiles) -> Recipe:
    """Give the model the names of the files' directories, if it has none of its own."""
    if getattr(recipe.model, "labels", None):
        return recipe
    # Files that lie in no directory of their own share the label ".".
    return rebuilt(recipe, labels=tuple(name or "." for name in found.files.names))

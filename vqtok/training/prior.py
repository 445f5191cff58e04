"""Training a prior: codes in, their distribution out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vqtok.checkpoints import directory as directories
from vqtok.checkpoints import priors
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.distributed import rank as this_rank
from vqtok.distributed import world
from vqtok.errors import UsageError, VqtokError
from vqtok.training.data.code_items import CodeItems, Origin, find_codes
from vqtok.training.data.code_windows import CodeSampler, fit_window, split_levels
from vqtok.training.data.dataset import Batch, Dataset
from vqtok.training.data.groups import grouped
from vqtok.training.data.media import split_numbers
from vqtok.training.data.sampling import Unreadable
from vqtok.training.log import Learns
from vqtok.training.losses.adversarial import Discriminator
from vqtok.training.recipe import DEFAULT_PRESET, Recipe, load, rebuilt, refuse
from vqtok.training.report import samples
from vqtok.training.start import begin_from
from vqtok.training.task import Measured, Options, Resolved, StepOutput

if TYPE_CHECKING:
    from vqtok.protocols import Prior, Quantizer, Tokenizer

OTHERS = (
    "losses", "adversarial", "stage", "features", "shrink", "flip", "gain_db", "cache", "cache_gb",
)  # fmt: skip
"""Fields of ``Train`` that say nothing of a prior."""


class Prediction:
    """Computes what a prior is to lower: the cross-entropy of codes.

    Args:
        model: The prior, on its device.
        origin: Whose codes they are.
        extent: Of every item of a batch.
    """

    compiled: tuple[str, ...] = ("",)
    discriminator: Discriminator | None = None

    def __init__(self, model: nn.Module, origin: Origin, extent: tuple[int, ...]) -> None:
        self._spec, self._extent = origin.spec, extent
        self._shapes = origin.shapes(extent)
        self._device: torch.device = next(model.parameters()).device

    def __call__(self, model: nn.Module, batch: Batch, *, step: int) -> StepOutput:
        """Predict every code of the batch from those before it."""
        levels = split_levels(batch.values.to(self._device, non_blocking=True), self._shapes)
        condition = None if batch.labels is None else batch.labels.to(self._device)
        loss: Tensor = model(Codes(self._spec, levels, self._extent), condition=condition)
        return StepOutput(loss, {"nats_per_code": loss.detach()})


class PriorTask:
    """Learns a prior; see ``Task``.

    Args:
        recipe: What to build and how to train it; its model has the classes' names.
        items: All codes.
        unreadable: Files of codes that could not be read: name → why.
        start: A prior of the recipe's config whose weights to begin with, or None.

    Raises:
        ConfigError: windows of codes that hold nothing.
    """

    learns: Learns = "prior"
    quality = "nats_per_code"
    monitored: Sequence[LevelSpec] = ()  # the codes are given

    def __init__(
        self,
        recipe: Recipe,
        items: CodeItems,
        unreadable: dict[str, str],
        *,
        start: Prior | None = None,
    ) -> None:
        self.recipe, self.plan = recipe, recipe.train
        self.origin, self.start, self.unreadable = items.origin, start, unreadable
        self.spec: CodeSpec = self.origin.spec
        self.reads = (self.spec.fingerprint,)
        self.count = len(items)
        classes: tuple[str, ...] = getattr(recipe.model, "classes", ())
        fitted = fit_window(items, most=self.plan.window)
        self.window = fitted.extent
        self.smaller = int((~fitted.large).sum())
        large = items.with_classes(classes).subset(np.flatnonzero(fitted.large))
        names = (large[number] for number in range(len(large)))
        groups, self.split_notes = grouped(names, self.plan)
        training, held, _ = split_numbers(
            len(large),
            share=self.plan.holdout,
            seed=self.plan.seed,
            enough=self.plan.holdout_items,
            groups=groups,
        )
        self._training, self._held = large.subset(training), large.subset(held)
        self._has_classes = bool(classes)
        self._tokenizer: Tokenizer | None = None
        self._searched = False

    @property
    def held_out(self) -> int:
        """Items that are never trained on."""
        return len(self._held)

    def held_out_names(self, data: Sequence[str]) -> dict[str, Any]:
        """Name no items: several channels of one may be held out."""
        return {}

    @property
    def fine_tunes(self) -> bool:
        """Whether the model begins with the weights of another."""
        return self.start is not None

    def build(self, device: torch.device, *, name: str) -> nn.Module:
        """Make the prior, with the weights of the start if there is one."""
        entries = () if self.start is not None else self._entries(str(device))
        prior: Prior = self.recipe.model.build(spec=self.spec, entries=entries)
        prior.name = name
        self.spec = prior.spec
        model = cast("nn.Module", prior).to(device)
        if self.start is not None:
            begin_from(model, cast("nn.Module", self.start))
        return model

    def objective(self, model: nn.Module) -> Prediction:
        """Make the objective: predict codes."""
        return Prediction(model, self.origin, self.window)

    def dataset(self, *, rank: int, ranks: int, device: torch.device) -> Dataset:
        """Make batches of windows of the training items."""
        return Dataset(
            self._training,
            sampler=CodeSampler(self._training, self.window, seed=self.plan.seed),
            unreadable=Unreadable(),
            recipe=self.plan,
            labels=self._has_classes,
            rank=rank,
            ranks=ranks,
            device=device,
        )

    def seed(self, model: nn.Module, value: int) -> None:
        """Seed dropout, and which items' classes are hidden: others on every rank."""
        torch.manual_seed(value * world() + this_rank())

    def measure(self, model: nn.Module, output: Path, *, step: int) -> Measured:
        """Measure the beginnings of held-out items; sample, if their tokenizer is here."""
        prior = cast("Prior", model)
        part = self._held.subset(np.arange(min(len(self._held), self.plan.holdout_items)))
        metrics = samples.measure(
            prior, part, self.window, batch=self.plan.batch, labelled=self._has_classes
        )
        device = str(next(model.parameters()).device)
        tokenizer = self._find_tokenizer(device) if self.plan.samples else None
        if tokenizer is None:
            return Measured(metrics)
        made = samples.preview(
            prior,
            tokenizer,
            output,
            step=step,
            count=self.plan.samples,
            extent=self.window,
            seed=self.plan.seed,
        )
        return Measured(metrics, made)

    def _find_tokenizer(self, device: str) -> Tokenizer | None:
        """Load the tokenizer of the codes once, if it is on the search path."""
        if not self._searched:
            self._searched = True
            found = directories.find(self.origin.spec.fingerprint, name=self.origin.model)
            try:
                if found is not None:
                    self._tokenizer = directories.load(found.path, device=device)
            except VqtokError:  # samples can be done without
                self._tokenizer = None
        return self._tokenizer

    def _entries(self, device: str) -> list[np.ndarray]:
        """Read what each code stands for, by level and stage; nothing if the tokenizer is away."""
        tokenizer = (
            self._find_tokenizer(device) if hasattr(self.recipe.model, "embedding") else None
        )
        return [] if tokenizer is None else entries_of(tokenizer)

    def describe_data(self, dataset: Dataset) -> dict[str, Any]:
        """Describe the codes."""
        origin = self.origin
        return {
            "kind": "codes",
            "files": len(self._training),
            "labels": list(dataset.names),
            "codes": self._training.tokens,
            "extent": list(self.window),
            "window": origin.tokens(self.window),
            "smaller": self.smaller,
            "tokenizer": origin.model,
            "fingerprint": origin.spec.fingerprint,
        }

    def content(self, model: nn.Module) -> dict[str, Any]:
        """Return the content of the prior's ``config.json``."""
        prior = cast("Prior", model)
        return priors.content(prior, tokenizer=self.origin.model, extent=self.window)


@torch.inference_mode()
def entries_of(tokenizer: Tokenizer) -> list[np.ndarray]:
    """Look up the vector of each entry, by level and stage; nothing of networks without lookups.

    Returns:
        (K, D) float32 each; those of stages are moved by one and the same vector.
    """
    found: list[np.ndarray] = []
    device = next(cast("nn.Module", tokenizer).parameters()).device
    quantizers: Sequence[Quantizer] = getattr(tokenizer, "quantizers", ())
    for quantizer in quantizers:
        codes = torch.arange(quantizer.codebook_size, device=device)[None]
        for stage in range(quantizer.depth or 1):
            stacked = codes
            if quantizer.depth is not None:
                before = torch.zeros_like(codes)[:, None].expand(-1, stage, -1)
                stacked = torch.cat([before, codes[:, None]], dim=1)
            found.append(quantizer.decode(stacked)[0].T.float().cpu().numpy())
    return found


def resolve(options: Options) -> Resolved:
    """Read the codes, and make the recipe fit them.

    Raises:
        UsageError: codes of two models, or of another than the start's or the saved run's.
        ConfigError: a recipe that does not fit together, or that is none of a prior.
        CodesError: no codes.
    """
    start: Prior | None = None
    saved = options.saved_recipe()
    if saved is not None:
        recipe = saved
    elif options.start is not None:
        start = priors.load(options.start)
        preset = options.preset or DEFAULT_PRESET["codes"]
        recipe = load(preset, model=start.config, edits=options.edits)
    else:
        recipe = load(options.preset or DEFAULT_PRESET["codes"], edits=options.edits)
    refuse(recipe.train, OTHERS, edited=options.edited, what="a prior")
    found, unreadable = find_codes(options.data)
    _check_origin(found.origin, options, start)
    notes: tuple[str, ...] = ()
    if saved is None and start is None:
        recipe, notes = _fitted(recipe, found)
    task = PriorTask(recipe, found, unreadable, start=start)
    if task.smaller:
        size = "x".join(str(side) for side in reversed(task.window))
        notes = (*notes, f"left out: {task.smaller} items smaller than {size}")
    return Resolved(recipe, task, notes, found.unreached)


def _fitted(recipe: Recipe, found: CodeItems) -> tuple[Recipe, tuple[str, ...]]:
    """Take classes and stages from the codes, where the recipe leaves them open."""
    changes: dict[str, object] = {}
    notes: tuple[str, ...] = ()
    if recipe.train.labels and not getattr(recipe.model, "classes", ()):
        if len(found.names) > 1:
            changes["classes"] = found.names
        else:
            notes = ("all items lie in one directory: the prior has no classes",)
    depth = found.origin.depth
    is_open = getattr(recipe.model, "depth", 0) is None
    if depth is not None and depth != found.origin.spec.depth and is_open:
        changes["depth"] = depth
    return rebuilt(recipe, **changes), notes


def _check_origin(origin: Origin, options: Options, start: Prior | None) -> None:
    """Refuse codes of another tokenizer than the one that the prior knows.

    Raises:
        UsageError: they are.
    """
    ours = origin.spec.fingerprint
    known: str | None = None
    if start is not None:
        known = start.spec.fingerprint
    elif options.saved is not None:
        known = next(iter(options.saved["reads"]), ours)
    if known is not None and known != ours:
        raise UsageError(
            "--data",
            f"codes of {origin.model or 'a model'} ({ours or 'unknown'}), "
            f"the prior is of those of another tokenizer ({known})",
        )

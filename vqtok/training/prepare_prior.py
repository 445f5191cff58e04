"""The recipe of a prior, settled by the codes that it is to learn."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from vqtok import config
from vqtok.checkpoints import priors
from vqtok.errors import UsageError
from vqtok.training.asked import Asked, Settled
from vqtok.training.data.code_items import CodeItems, Origin, find_codes
from vqtok.training.data.fit import keys
from vqtok.training.predicting import Predicting
from vqtok.training.recipe import DEFAULT_PRESET, Recipe, load, parse, refuse

if TYPE_CHECKING:
    from vqtok.protocols import Prior

OTHERS = (
    "losses", "adversarial", "stage", "features", "shrink", "flip", "gain_db", "cache", "cache_gb",
)  # fmt: skip
"""Fields of ``Train`` that say nothing of a prior."""


def settle_prior(asked: Asked) -> Settled:
    """Read the codes, and make the recipe fit them.

    Raises:
        UsageError: codes of two models, or of another than the start's or the saved run's.
        ConfigError: a recipe that does not fit together, or that is none of a prior.
        CodesError: no codes.
    """
    start: Prior | None = None
    if asked.saved is not None:
        recipe = parse(config.assign(asked.saved["recipe"], asked.edits), where=f"{asked.output}")
    elif asked.start is not None:
        start = priors.load(asked.start)
        preset = asked.preset or DEFAULT_PRESET["codes"]
        recipe = load(preset, model=start.config, edits=asked.edits)
    else:
        recipe = load(asked.preset or DEFAULT_PRESET["codes"], edits=asked.edits)
    refuse(recipe.train, OTHERS, touched=keys(asked.edits), what="a prior")
    found, unreadable = find_codes(asked.data)
    _check_origin(found.origin, asked, start)
    notes: tuple[str, ...] = ()
    if asked.saved is None and start is None:
        recipe, notes = _fitted(recipe, found)
    task = Predicting(recipe, found, unreadable, start=start)
    if task.smaller:
        size = "x".join(str(side) for side in reversed(task.extent))
        notes = (*notes, f"left out: {task.smaller} items smaller than {size}")
    return Settled(recipe, task, notes)


def _fitted(recipe: Recipe, found: CodeItems) -> tuple[Recipe, tuple[str, ...]]:
    """The classes and the stages of the codes, where the recipe leaves them open."""
    model: Any = recipe.model
    changes: dict[str, object] = {}
    notes: tuple[str, ...] = ()
    if recipe.train.labels and not getattr(model, "classes", ()):
        if len(found.names) > 1:
            changes["classes"] = found.names
        else:
            notes = ("all items lie in one directory: the prior has no classes",)
    depth = found.origin.depth
    if depth is not None and depth != found.origin.spec.depth and _open_depth(model):
        changes["depth"] = depth
    if changes:
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(model, **changes))
    return recipe, notes


def _open_depth(model: Any) -> bool:
    return hasattr(model, "depth") and model.depth is None


def _check_origin(origin: Origin, asked: Asked, start: Prior | None) -> None:
    """Refuse codes of another tokenizer than the one that the prior knows.

    Raises:
        UsageError: they are.
    """
    ours = origin.spec.fingerprint
    known: str | None = None
    if start is not None:
        known = start.spec.fingerprint
    elif asked.saved is not None:
        known = next(iter(asked.saved["reads"]), ours)
    if known is not None and known != ours:
        raise UsageError(
            f"--data: codes of {origin.model or 'a model'} ({ours or 'unknown'}), "
            f"the prior is of those of another tokenizer ({known})"
        )

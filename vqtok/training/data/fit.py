"""The default recipe, fitted to the files: 50 thumbnails are not trained on like 50 000 photos.

Only what the user left open is changed, every change is noted, and it depends on nothing but the
headers of some of the files.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

import torch

from vqtok import config
from vqtok.codes.rates import digits
from vqtok.codes.spec import CodeSpec
from vqtok.training.data.survey import Survey
from vqtok.training.recipe import Recipe, parse

LATENTS_PER_ENTRY = 16
"""Distinct latents that an entry of a codebook needs: with fewer it learns single patches by heart,
and most of it is left without use."""

FEWEST_ENTRIES = 64

PASSES = 200
"""Times that all pixels or samples are seen, at most: what comes after is learning by heart."""

FEWEST_STEPS = 2000
"""Below this nothing is learned, however little data there is."""

HANDFUL = 8
"""Held-out files, if there are ten times as many."""

MEASUREMENTS = 20
"""In a run that is shorter than the recipe's."""

LARGEST_BATCH = 256

SHORTEST_STRETCH = 4096
"""Samples of audio: the longest window of the spectral losses is half of it."""


class Fitted(NamedTuple):
    """Holds a recipe and what was changed in it.

    Attributes:
        recipe: To train with.
        notes: One line for each change: "train.window 64 → 32: why".
    """

    recipe: Recipe
    notes: tuple[str, ...]


def spec_of(recipe: Recipe) -> CodeSpec:
    """Tell the spec of the recipe's model: modality, strides and rate."""
    found: CodeSpec | None = getattr(recipe.model, "spec", None)  # of published ones
    if found is not None:
        return found
    with torch.device("meta"):  # no weights are made for it
        spec: CodeSpec = recipe.model.build().spec
    return spec


def modality(recipe: Recipe) -> Literal["image", "audio"]:
    """Tell which kind of files the recipe's model takes."""
    return kind_of(spec_of(recipe))


def kind_of(spec: CodeSpec) -> Literal["image", "audio"]:
    """Tell which kind of files a model of these codes takes."""
    return "audio" if spec.modality == "audio" else "image"


def fit(recipe: Recipe, facts: Survey, *, kept: Collection[str] = ()) -> Fitted:
    """Change what does not suit the files.

    Args:
        recipe: A default one.
        facts: ``survey`` of the files.
        kept: Fields that the user has set, as ``--set`` names them: they stay. A field above them
            counts too ("model.quantizer").
    """
    spec = spec_of(recipe)
    if not spec.levels or not (facts.sides or facts.seconds):
        return Fitted(recipe, ())
    work = _Fitting(config.dump(recipe), kept)
    stride = max(spec.levels[0].stride, default=1)
    if facts.kind == "image":
        amount = _image_window(work, facts, stride)
    else:
        amount = _audio_window(work, facts, stride, int(spec.rate or 1))
    _codebook(work, facts, amount)
    _holdout(work, facts)
    _steps(work, facts, amount)
    return Fitted(parse(work.data, where="fitted recipe"), tuple(work.notes))


class _Amount(NamedTuple):
    """Measures how much data there is.

    Attributes:
        latents: Code positions in all files together.
        windows: Windows that hold as much as all files.
        what: The files in words.
    """

    latents: float
    windows: float
    what: str


class _Fitting:
    """Changes a recipe, as JSON data."""

    def __init__(self, data: dict[str, Any], kept: Collection[str]) -> None:
        self.data, self.notes = data, list[str]()
        self._kept = kept

    def get(self, key: str) -> Any:
        node: Any = self.data
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def set(self, key: str, value: Any, why: str) -> None:
        """Change a field that is not kept, and say so."""
        before = self.get(key)
        if before == value or any(key == each or key.startswith(f"{each}.") for each in self._kept):
            return
        *parents, last = key.split(".")
        node = self.data
        for part in parents:
            node = node[part]
        node[last] = value
        self.notes.append(f"{key} {before} → {value}: {why}")


def _image_window(work: _Fitting, facts: Survey, stride: int) -> _Amount:
    shrink = work.get("train.shrink") or math.inf
    scales = [min(1.0, shrink / min(side)) for side in facts.sides]
    sides = [
        (height * scale, width * scale)
        for scale, (height, width) in zip(scales, facts.sides, strict=True)
    ]
    short = math.floor(median(min(each) for each in sides))
    window = work.get("train.window")
    if short < window:
        smaller = max(stride, short // stride * stride)
        size = f"the short side of half of the images is at most {short} pixels"
        work.set("train.window", smaller, size)
        _batch(work, (window / work.get("train.window")) ** 2)
    area = facts.count * fmean(height * width for height, width in sides)
    long = median(max(each) for each in sides)
    return _Amount(
        latents=area / stride**2,
        windows=area / work.get("train.window") ** 2,
        what=f"{_number(facts.count)} images of about {long:.0f}x{short}",
    )


def _audio_window(work: _Fitting, facts: Survey, stride: int, rate: int) -> _Amount:
    typical, window = median(facts.seconds), work.get("train.window")
    if typical * rate < window:
        least = math.ceil(SHORTEST_STRETCH / stride) * stride
        shorter = min(window, max(least, int(typical * rate) // stride * stride))
        work.set(
            "train.window", shorter, f"half of the recordings last {digits(typical, 2)} s or less"
        )
        _batch(work, window / work.get("train.window"))
    total = facts.count * fmean(facts.seconds)
    length = (
        f"{digits(total / 3600)} hours" if total >= 5400 else f"{digits(total / 60, 2)} minutes"
    )
    return _Amount(
        latents=total * rate / stride,
        windows=total * rate / work.get("train.window"),
        what=f"{length} of audio",
    )


def _batch(work: _Fitting, factor: float) -> None:
    """Raise the batch, for as many codes in a step as before."""
    batch = work.get("train.batch")
    larger = max(batch, min(LARGEST_BATCH, round(batch * factor)))
    work.set("train.batch", larger, "smaller windows, as many codes in a step")


def _codebook(work: _Fitting, facts: Survey, amount: _Amount) -> None:
    key = "model.quantizer.codebook_size"
    size = work.get(key)
    if not isinstance(size, int):
        return
    bits = math.floor(math.log2(max(1.0, amount.latents / LATENTS_PER_ENTRY)))
    most = max(FEWEST_ENTRIES, 2**bits)
    if size > most:
        held = _number(round(amount.latents))
        work.set(key, most, f"{amount.what} hold only {held} code positions")


def _holdout(work: _Fitting, facts: Survey) -> None:
    handful = min(HANDFUL, max(1, facts.count // 10))
    if facts.count > 1 and round(work.get("train.holdout") * facts.count) < handful:
        share = round(handful / facts.count, 4)
        work.set("train.holdout", share, f"{handful} of {facts.count} files to measure on")


def _steps(work: _Fitting, facts: Survey, amount: _Amount) -> None:
    before, steps = work.get("train.steps"), work.get("train.steps")
    per_step = work.get("train.batch") * work.get("train.accumulate")
    enough = max(FEWEST_STEPS, math.ceil(PASSES * amount.windows / per_step / 100) * 100)
    if work.get("train.minutes") is None and enough < steps:
        passes = enough * per_step / amount.windows
        work.set("train.steps", enough, f"{amount.what} are seen {passes:,.0f} times by then")
    steps = work.get("train.steps")
    often = max(100, steps // MEASUREMENTS // 50 * 50)
    if steps < before and often < work.get("train.evaluate_every"):
        work.set("train.evaluate_every", often, f"{MEASUREMENTS} measurements in {steps} steps")


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")

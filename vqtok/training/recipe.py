"""The recipe of a run: one frozen dataclass, read from a preset and edited by ``--set``."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from vqtok import config
from vqtok.errors import ConfigError
from vqtok.protocols import Config

LARGEST = {
    "batch": 1_000_000,
    "accumulate": 1_000_000,
    "window": 2**28,
    "workers": 1024,
    "seed": 2**40,  # a step's own seed, some million times as large, is an int64
}
"""Values of ``Train`` beyond which a run would never come to its first step."""

DEFAULT_PRESET = {"image": "image-f8", "audio": "audio-24k", "codes": "prior-transformer"}


@dataclass(frozen=True)
class Adversarial:
    """Configures a discriminator; which network it is follows from the kind of data.

    ``losses/adversarial.py`` has the values that None stands for.

    Attributes:
        weight: Of the model's side of the hinge loss: it pulls as hard as a mean absolute error of
            this weight; None: by the kind of data.
        features: Weight of feature matching, the same way.
        start: Step from which the model's loss has it; the discriminator learns from the first.
        ramp: Steps over which both weights rise from nothing: a discriminator that has learned
            little yet pulls as hard as any, in no useful direction.
        learning_rate: Peak, of the discriminator's own AdamW; it follows the model's schedule.
        betas: Of the same.
        width: Channels of its first layer; None: by the kind of data.
    """

    weight: float | None = None
    features: float | None = None
    start: int = 0
    ramp: int = 1000
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.9)
    width: int | None = None

    def __post_init__(self) -> None:
        for name, least in {"weight": 0, "features": 0, "start": 0, "ramp": 0, "width": 1}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}")


@dataclass(frozen=True)
class Train:
    """Configures how to train.

    Attributes:
        steps: Optimizer steps; the learning rate is planned over them.
        minutes: Wall-clock limit; the learning rate is planned over whichever limit comes first.
        batch: Items per step.
        accumulate: Batches whose gradients are added up before an optimizer step.
        window: Side of the square crop in pixels, or samples of audio. Of a prior: at most so many
            codes of an item, all levels and stages together.
        losses: Term of ``losses/terms.py`` → weight; the quantizer's loss is always added. A
            prior has its own.
        optimizer: "muon" steps the matrices of linear layers, AdamW all else; "adamw" steps all.
        learning_rate: Peak, after the warm-up.
        matrix_rate: Learning rate of Muon's matrices, as a multiple of ``learning_rate``.
        schedule: After the warm-up "cosine" falls all the way; "constant" stays at the peak and
            falls only over the last part of the run.
        decay: That part, as a share of the run.
        final_rate: Learning rate at the end, as a fraction of the peak.
        warmup: Steps of linear rise.
        betas: AdamW moments' decay.
        weight_decay: On matrices and kernels only, never on norms, biases or codebooks.
        clip: Largest gradient norm.
        average: Decay per step of a moving average of the weights, which is what is measured and
            kept; 0: the weights themselves.
        precision: "auto" is bfloat16 where the machine multiplies it natively; the quantizer
            stays in float32.
        compile: Let torch.compile make kernels for this model; slower on CPUs.
        adversarial: A discriminator; None: none.
        stage: "decoder" leaves encoder and codebook as they are and trains the decoder alone, so
            that codes stay valid.
        features: Network behind the loss term "perceptual": "efficientnet-lite0", or a path.
        evaluate_every: Steps between measurements on the held-out split, which also save.
        keep: Models of the latest measurements that are kept beside the best.
        best_by: Metric of the held-out split by which a model is the best, "last" for the latest
            one; "auto": "last" with a discriminator, else the first metric.
        holdout: Share of the files that is never trained on.
        holdout_items: At most this many held-out files are measured while training.
        holdout_groups: Files of one picture or recording, as their names say (``data.groups``), are
            held out together or not at all.
        samples: Of a prior: samples that each measurement shows, if its tokenizer is here.
        shrink: Images whose short side is longer are shrunk to it; None keeps every pixel.
        flip: Mirror images at random.
        gain_db: Audio is attenuated by up to this much, at random.
        labels: Condition the decoder, or the prior, on each file's class or speaker: the name of
            its directory. A prior does without if all lie in one.
        cache_gb: Decoded files kept in memory.
        cache: Where they are kept; "device" needs images of one size.
        workers: Threads that read files ahead; None: by the processor.
        store: Type of the saved weights; float16 halves the model. Resuming keeps float32.
        seed: Of weights, data order, crops and the quantizer's choices.
    """

    losses: dict[str, float] = field(default_factory=dict)
    steps: int = 20000
    minutes: float | None = None
    batch: int = 16
    accumulate: int = 1
    window: int = 64
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 1e-3
    matrix_rate: float = 3.0
    schedule: Literal["cosine", "constant"] = "cosine"
    decay: float = 0.2
    final_rate: float = 0.0
    warmup: int = 200
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False
    adversarial: Adversarial | None = None
    stage: Literal["all", "decoder"] = "all"
    features: str = "efficientnet-lite0"
    evaluate_every: int = 1000
    keep: int = 2
    best_by: str = "auto"
    holdout: float = 0.02
    holdout_items: int = 16
    holdout_groups: bool = True
    samples: int = 8
    shrink: int | None = 512
    flip: bool = True
    gain_db: float = 6.0
    labels: bool = False
    cache_gb: float = 4.0
    cache: Literal["memory", "device"] = "memory"
    workers: int | None = None
    store: Literal["float32", "float16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "window", "evaluate_every", "holdout_items"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name, most in LARGEST.items():
            if (getattr(self, name) or 0) > most:
                raise ValueError(f"{name} must be at most {most}")
        for name in ("holdout", "average"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be at least 0 and below 1")
        for name in ("samples", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0")
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError("decay must be between 0 and 1")
        if not self.matrix_rate > 0.0:
            raise ValueError("matrix_rate must be positive")
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError("minutes must be positive")


@dataclass(frozen=True)
class Recipe:
    """Configures a complete run: what to build and how to train it."""

    model: Config
    train: Train
    about: str = field(default="")


def presets() -> list[str]:
    """Return the names of the recipes that come with the package, sorted."""
    folder = resources.files("vqtok") / "presets"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".json"))


def about(preset: str) -> str:
    """Say what a preset, or a recipe file, is for.

    Raises:
        ConfigError: no such preset, or a file that cannot be read.
    """
    return str(read(preset).get("about", ""))


def load(preset: str, *, model: Config | None = None, edits: Sequence[str] = ()) -> Recipe:
    """Read a preset by name, or a recipe file by path, and apply ``key=value`` edits.

    Args:
        preset: Name, or path of a JSON file.
        model: Config that takes the place of the preset's.
        edits: ``key=value`` changes.

    Raises:
        ConfigError: no such preset, or anything in it that does not fit.
    """
    data = read(preset)
    if "merges" in data:
        raise ConfigError(f"preset {preset}", "trains merges of codes, not a network")
    if model is not None:
        data["model"] = config.dump(model)
    return parse(config.assign(data, edits), where=f"preset {preset}")


def parse(data: dict[str, Any], *, where: str = "recipe") -> Recipe:
    """Make a checked recipe of JSON data."""
    return config.parse(data, Recipe, where=where)


def rebuilt(recipe: Recipe, **changes: object) -> Recipe:
    """Change fields of the recipe's model."""
    model = dataclasses.replace(recipe.model, **changes)  # type: ignore[type-var]
    return dataclasses.replace(recipe, model=model)


def family(recipe: Recipe) -> str:
    """Tell what the recipe trains: "tokenizers", "priors" or "classifiers"."""
    return config.type_name(recipe.model).partition("/")[0]


def refuse(plan: Train, names: Sequence[str], *, edited: Collection[str], what: str) -> None:
    """Refuse settings that would do nothing.

    Args:
        plan: Of the recipe.
        names: Fields of ``Train``.
        edited: Keys that the user has set: "train.flip".
        what: The model, for the message.

    Raises:
        ConfigError: one of the fields is not at its default, or was set.
    """
    usual, keys = Train(), {key.split(".")[1] for key in edited if key.count(".")}
    for name in names:
        if getattr(plan, name) != getattr(usual, name) or name in keys:
            raise ConfigError(f"train.{name}", f"of no effect on {what}", hint="leave it out")


def read(preset: str) -> dict[str, Any]:
    """Read the JSON of a preset by name, or of a recipe file.

    Raises:
        ConfigError: no such preset, or a file that cannot be read.
    """
    if preset.endswith(".json") or "/" in preset:
        return config.read_json(Path(preset))
    if preset not in presets():
        near = difflib.get_close_matches(preset, presets(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(presets())
        raise ConfigError(f"preset {preset!r}", "no such preset", hint=f"{hint}known: {known}")
    text = (resources.files("vqtok") / "presets" / f"{preset}.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data

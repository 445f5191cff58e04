"""The flags of ``vqtok train``, and what they come to: edits of the recipe, a directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from vqtok.cli import options
from vqtok.errors import UsageError

STAGES = ("all", "decoder")


def complete_quantizer(incomplete: str) -> list[str]:
    """Names of quantizers that begin so; lists the package's folder, loads nothing."""
    from vqtok.config import members

    return [name for name in members("quantizers") if name.startswith(incomplete)]


Data = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="PATH",
        help="Directory, tar, file or quoted pattern of images, or of audio; or codes, as "
        "vqtok encode leaves them. May be repeated.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        show_default=False,
        help="Model directory to make; default: models/NAME, called after the data.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        autocompletion=options.complete_preset,
        help="Recipe, by name or JSON file; default: image-f8, audio-24k or prior-transformer, by "
        "the data.",
    ),
]
Quantizer = Annotated[
    str | None,
    typer.Option(
        "--quantizer",
        metavar="NAME",
        autocompletion=complete_quantizer,
        help="Another method in the recipe's place, with its defaults: vq, fsq, rvq, simvq …; "
        "short for --set model.quantizer.type=quantizers/NAME.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        autocompletion=options.complete_model,
        help="Start from this model's weights instead of fresh ones, and train its network; "
        "--set may give it more blocks.",
    ),
]
Stage = Annotated[
    str | None,
    typer.Option(
        "--stage",
        metavar="NAME",
        help="decoder: train only the decoder of -m, so that all its codes stay valid; or all.",
    ),
]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="N", min=1, help="Stop after N steps.")
]
Minutes = Annotated[
    float | None, typer.Option("--minutes", metavar="T", help="Stop after T minutes.")
]
Batch = Annotated[
    int | None, typer.Option("--batch", metavar="N", min=1, help="Items per step and process.")
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, help="Of weights, order, crops and codes."),
]
Labels = Annotated[
    bool,
    typer.Option("--labels", help="Use the directories' names as classes or speakers."),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", metavar="NAME", help="auto, float32, bfloat16 or float16."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="Threads that read files ahead."),
]
Edits = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change any field of the recipe: train.learning_rate=0.0005; may be repeated.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Also write DIR/tensorboard; needs vqtok[tensorboard]."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "-n",
        "--dry-run",
        help="Take a few steps, print sizes, rates and the time that it would take; write nothing.",
    ),
]


def edits_of(
    quantizer: str | None, train: Mapping[str, object], edits: Sequence[str] | None
) -> list[str]:
    """The flags as ``key=value`` edits of the recipe; those of ``--set`` come last and win.

    Args:
        quantizer: NAME of ``--quantizer``.
        train: Field of the recipe's training → value, None if the flag was not given.
        edits: As ``--set`` has them.
    """
    found = [f"train.{key}={value}" for key, value in train.items() if value is not None]
    if quantizer is not None:
        name = quantizer.removeprefix("quantizers/")
        found.insert(0, f"model.quantizer.type=quantizers/{name}")
    return [*found, *(edits or [])]


def default_output(data: Sequence[str]) -> Path:
    """``models/NAME`` after the first of the data, where ``-m NAME`` finds it.

    A directory gives its own name, a file or list its name without suffix, and a pattern the name
    of the directory that it looks into.

    Raises:
        UsageError: there is no name in it.
    """
    path = Path(data[0].removeprefix("@"))
    while any(mark in path.name for mark in "*?[{"):
        path = path.parent
    whole = path.resolve()
    name = whole.name if whole.is_dir() or not path.suffix else whole.stem
    name = name.lstrip(".-")  # the list of models leaves hidden folders out
    if not name:
        raise UsageError(f"--data {data[0]}", "gives the model no name", hint="-o DIR names it")
    return Path("models") / name


def check_start(
    start: str | None, *, stage: str | None, quantizer: str | None, resume: bool
) -> None:
    """Refuse what cannot go together with ``-m`` or cannot go without it.

    Raises:
        UsageError: with what to type instead.
    """
    if stage is not None and stage not in STAGES:
        raise UsageError(f"--stage {stage}", "unknown", hint=f"known: {', '.join(STAGES)}")
    if stage == "decoder" and start is None and not resume:
        raise UsageError("--stage decoder", "needs a model to start from", hint="-m NAME")
    if start is not None and resume:
        raise UsageError(
            "--model and --resume exclude each other", hint="--resume goes on with the run's own"
        )
    if start is not None and quantizer is not None:
        raise UsageError(
            "--model and --quantizer exclude each other",
            hint="a trained network fits its own codebook only",
        )

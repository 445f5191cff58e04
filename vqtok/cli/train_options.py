"""Flags of ``vqtok train``, and what follows from them: edits of the recipe, a directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vqtok.cli import options, terminal
from vqtok.errors import UsageError

STAGES = ("all", "decoder")


def complete_quantizer(incomplete: str) -> list[str]:
    """List quantizers that begin so; lists the package's folder, loads nothing."""
    from vqtok.config import members

    return [name for name in members("quantizers") if name.startswith(incomplete)]


def _list_presets(wanted: bool) -> None:
    """Print the presets, and what each is for."""
    if not wanted:
        return
    from vqtok.training import recipe

    for name in recipe.presets():
        terminal.result(f"{name}: {recipe.about(name)}")
    raise typer.Exit


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Flags of ``vqtok train``."""

    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="PATH",
            help="Directory, tar, file or quoted pattern of images, or of audio; or codes, as "
            "vqtok encode leaves them. May be repeated.",
        ),
    ]
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            show_default=False,
            help="Model directory to make; default: models/NAME, called after the data.",
        ),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            autocompletion=options.complete_preset,
            help="Recipe, by name or JSON file; default: image-f8, audio-24k or prior-transformer, "
            f"by the data. Known: {', '.join(options.complete_preset(''))}.",
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Stop after N steps.")
    ] = None
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="T", help="Stop after T minutes.")
    ] = None
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", min=1, help="Items per step and process.")
    ] = None
    quantizer: Annotated[
        str | None,
        typer.Option(
            "--quantizer",
            metavar="NAME",
            autocompletion=complete_quantizer,
            help="Another method in the recipe's place, with its defaults: vq, fsq, rvq, simvq …; "
            "short for --set model.quantizer.type=quantizers/NAME.",
        ),
    ] = None
    model: Annotated[
        str | None,
        options.names_model(
            *("-m", "--model"),
            help="Start from this model's weights instead of fresh ones, and train its network; "
            "--set may give it more blocks.",
        ),
    ] = None
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            metavar="NAME",
            help="decoder: train only the decoder of -m, so that all its codes stay valid; or all.",
        ),
    ] = None
    labels: Annotated[
        bool,
        typer.Option("--labels", help="Use the directories' names as classes or speakers."),
    ] = False
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, help="Of weights, order, crops and codes."),
    ] = None
    edits: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change any field of the recipe: train.learning_rate=0.0005; may be repeated.",
        ),
    ] = None
    listing: Annotated[
        bool,
        typer.Option(
            "--list", callback=_list_presets, is_eager=True, help="List the presets and exit."
        ),
    ] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = (
        False
    )
    force: options.Force = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "-n",
            "--dry-run",
            help="Take a few steps, print sizes, rates and the time that it would take; write "
            "nothing.",
        ),
    ] = False
    machine: options.Machine
    precision: Annotated[
        str | None,
        typer.Option("--precision", metavar="NAME", help="auto, float32, bfloat16 or float16."),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Threads that read files ahead."),
    ] = None
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Also write DIR/tensorboard; needs vqtok[tensorboard]."),
    ] = False
    messages: options.ProgressMessages

    def all_edits(self) -> list[str]:
        """Turn the flags into ``key=value`` edits of the recipe; those of ``--set`` come last."""
        found = []
        if self.quantizer is not None:
            name = self.quantizer.removeprefix("quantizers/")
            found.append(f"model.quantizer.type=quantizers/{name}")
        for key in ("steps", "minutes", "batch", "seed", "workers", "precision", "stage"):
            value = getattr(self, key)
            found += [] if value is None else [f"train.{key}={value}"]
        found += ["train.labels=true"] if self.labels else []
        return [*found, *(self.edits or [])]

    def check(self) -> None:
        """Refuse a preset that is unknown, and what cannot go together with ``-m`` or without it.

        Raises:
            UsageError: with what to type instead.
        """
        if self.preset is not None:
            from vqtok.training import recipe

            recipe.about(self.preset)
        if self.stage is not None and self.stage not in STAGES:
            raise UsageError(f"--stage {self.stage}", "unknown", hint=f"known: {', '.join(STAGES)}")
        if self.stage == "decoder" and self.model is None and not self.resume:
            raise UsageError("--stage decoder", "needs a model to start from", hint="-m NAME")
        if self.model is not None and self.resume:
            raise UsageError(
                "--model and --resume exclude each other",
                hint="--resume goes on with the run's own",
            )
        if self.model is not None and self.quantizer is not None:
            raise UsageError(
                "--model and --quantizer exclude each other",
                hint="a trained network fits its own codebook only",
            )


def default_output(data: Sequence[str]) -> Path:
    """Derive ``models/NAME`` from the first of the data, where ``-m NAME`` finds it.

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

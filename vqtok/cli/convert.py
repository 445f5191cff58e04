"""``vqtok convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqtok.cli import options


def convert(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", hidden=True)],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Model directory to write."),
    ],
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="Store float16: half the size; a few codes may differ by rounding."
        ),
    ] = False,
    force: options.Force = False,
    *,
    messages: options.Messages,
) -> None:
    """Turn a checkpoint of another program into a model directory.

    CHECKPOINT is a file or a directory, as it was downloaded. It is recognised by the names and
    shapes of its weights, and nothing in it is run. The directory holds config.json and
    model.safetensors, and its codes are those of the checkpoint.

    \b
    Examples:
      vqtok convert last.ckpt -o my-vqgan/
      vqtok convert vq_ds16_c2i.pt -o llamagen-f16/ --half
    """  # noqa: D301
    from vqtok.pipeline import convert as pipeline
    from vqtok.pipeline.model_facts import ModelFacts

    console = messages.console()
    source = pipeline.check(checkpoint, output, force=force)
    done = pipeline.convert(source, output, half=half)
    facts = ModelFacts(done.model.name, done.model)
    if console.as_json:
        found = {"family": done.source.foreign, "notes": list(done.source.notes)}
        console.json({**facts.to_json(), **found})
        return
    rows = [("family", done.source.foreign), *facts.rows()]
    rows += [("note", note) for note in done.source.notes]
    width = max(len(key) for key, _ in rows) + 2
    lines = [str(output), *(f"  {key + ':':<{width}}{value}" for key, value in rows)]
    console.result("\n".join(lines))
    console.say(f"next: vqtok encode FILE -m {output}")

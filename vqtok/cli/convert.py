"""``vqtok convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqtok.cli import options
from vqtok.errors import UsageError


def convert(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", hidden=True)],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            show_default=False,
            help="Model directory to write; a model of vqtok gets its graphs anew without it.",
        ),
    ] = None,
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
    model.safetensors, and its codes are those of the checkpoint. Of a model of vqtok the graphs
    are written anew that run it without torch.

    \b
    Examples:
      vqtok convert last.ckpt -o my-vqgan/
      vqtok convert my-model/
    """  # noqa: D301
    from vqtok.pipeline import convert as pipeline
    from vqtok.pipeline.model_facts import ModelFacts

    console = messages.console()
    if output is None:
        if half or force:
            raise UsageError("--half" if half else "-f", "of no effect without -o")
        written = pipeline.write_graphs(checkpoint)
        if console.as_json:
            console.json({"model": str(written)})
        else:
            console.result(str(written))
        return
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

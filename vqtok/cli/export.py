"""``vqtok export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqtok.cli import options


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", hidden=True)],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder to write."),
    ],
    page: Annotated[
        bool, typer.Option("--page", help="Add a page that runs the graphs in a browser.")
    ] = False,
    force: options.Force = False,
    *,
    messages: options.Messages,
) -> None:
    """Write a model as ONNX graphs for other programs.

    MODEL is a NAME, a directory, or a checkpoint of another program. DIR holds encoder.onnx, pixels
    or samples to codes with the search inside, decoder.onnx, codes to pixels or samples, spec.json
    with ranges, strides and codebook sizes, and a README.md with programs in Python and JavaScript
    that run them. The graphs are first compared with the model on random signals.

    \b
    Examples:
      vqtok export image-f8 -o graphs/
      vqtok export last.ckpt -o vqgan-graphs/
      vqtok export audio-24k -o web/ --page
    """  # noqa: D301
    from vqtok.pipeline import export as pipeline

    console = messages.console()
    info = pipeline.check(model, output, force=force)
    written = pipeline.export(info, output, page=page)
    if console.as_json:
        files = [str(path) for path in written.paths]
        agreement = written.agreement.to_json()
        console.json({"model": info.name, "files": files, "agreement": agreement})
        return
    for path in written.paths:
        console.result(str(path))
    console.say(written.agreement.line())

"""``vqtok pack`` and ``vqtok unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqtok.cli import batch, options
from vqtok.cli.console import Console, Progress
from vqtok.errors import UsageError

Context = Annotated[
    Path | None,
    typer.Option(
        "--context",
        metavar="PATH",
        show_default=False,
        help="Context model: a file, or the directory of the prior that was trained; default: the "
        "one beside the model of the codes.",
    ),
]


def pack(
    files: options.Files,
    output: options.OutputPath = None,
    context: Context = None,
    *,
    writing: options.Writing,
    messages: options.ProgressMessages,
) -> None:
    """Write codes files in fewer bytes, without any loss.

    FILE is a codes file, a directory of them (with all that is below it), a quoted pattern or
    @list.txt (a path on each line). The codes are packed as .vqz with the context model of the
    model that made them; without one by how often each code occurs, which saves little. decode,
    info and eval read .vqz as any codes file, if the context model is here.

    \b
    Examples:
      vqtok pack codes.npy
      vqtok pack codes/ -o packed/
    """  # noqa: D301
    _convert(messages.console(), files, output, "vqz", context, writing, "packed")


def unpack(
    files: options.Files,
    output: options.OutputPath = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="npy or safetensors; default: by the suffix of -o, else safetensors.",
        ),
    ] = None,
    context: Context = None,
    *,
    writing: options.Writing,
    messages: options.ProgressMessages,
) -> None:
    """Write packed codes as .npy or .safetensors again.

    FILE is a .vqz file, a directory of them (with all that is below it), a quoted pattern or
    @list.txt (a path on each line). What comes out is what was packed, byte for byte if it was
    of the same format.

    \b
    Examples:
      vqtok unpack codes.vqz -o codes.npy
      vqtok unpack packed/ -o codes/
    """  # noqa: D301
    if format not in (None, "npy", "safetensors"):
        raise UsageError(f"--format {format}", "unknown format", hint="npy or safetensors")
    _convert(messages.console(), files, output, format, context, writing, "unpacked")


def _convert(
    console: Console,
    files: list[str],
    output: str | None,
    format: str | None,
    context: Path | None,
    writing: options.Writing,
    verb: str,
) -> None:
    from vqtok.pipeline import pack as pipeline
    from vqtok.pipeline.models import Models

    plan = pipeline.plan_for(
        files,
        output=output,
        format=format,
        force=writing.force,
        skip_existing=writing.skip_existing,
    )
    if writing.dry_run:
        batch.dry_run(console, plan)
        return
    models = Models(context=context)
    sizes: list[pipeline.Sizes] = []

    def work(progress: Progress) -> batch.Results:
        return pipeline.convert(
            plan.jobs,
            contexts=models.contexts,
            on_start=lambda job: progress.stage(str(job.source)),
            on_sizes=sizes.append,
        )

    try:
        batch.run(console, plan, verb, work)
    finally:
        if sizes:
            console.say(pipeline.in_words(sizes))

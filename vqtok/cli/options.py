"""Each shared flag, declared once: one name, one letter, one meaning in every command."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def complete_model(incomplete: str) -> list[str]:
    """Names of models that begin so, for the shell; lists folders, loads nothing."""
    from vqtok.pipeline.inspect import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def _remember_verbosity(context: typer.Context, value: int) -> int:
    # The error handler at the top must know whether tracebacks are wanted.
    context.meta["vqtok.verbose"] = value
    return value


Files = Annotated[list[str], typer.Argument(metavar="FILE", hidden=True)]

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        envvar="VQTOK_MODEL",
        show_envvar=True,
        autocompletion=complete_model,
        help="Model, by name or directory; default: image-f8 for images, audio-24k for audio.",
    ),
]
OutputPath = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="File, directory (ends in / or exists) or template with {stem} {name} {parent} "
        "{index}; - for standard output; default: beside the input.",
    ),
]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite existing files.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out inputs whose output exists.")
]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Print what would be written; write nothing.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        callback=_remember_verbosity,
        help="Details of each file; -vv: tracebacks too.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON line per result on stdout.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress.")]
Depth = Annotated[
    int | None,
    typer.Option("--depth", metavar="N", min=1, help="Use the first N residual stages only."),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="VQTOK_DEVICE",
        show_envvar=True,
        help="auto, cpu, cuda, cuda:1 or mps.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="CPU threads of the model."),
]
Jobs = Annotated[
    int,
    typer.Option(
        "-j",
        "--jobs",
        metavar="N",
        min=1,
        help="Pictures to read or write beside the model's work.",
    ),
]

DEFAULT_JOBS = max(1, min(4, os.cpu_count() or 1))
"""Default of -j: a picture is read and written in less time than a model takes."""

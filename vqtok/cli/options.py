"""Each shared flag, declared once: one name, one letter, one meaning in every command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def complete_model(incomplete: str) -> list[str]:
    """Names of models that begin so, for the shell; lists folders, loads nothing."""
    from vqtok.pipeline.inspect import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    """Names of presets that begin so; reads the package's folder, loads nothing."""
    folder = Path(__file__).parents[1] / "presets"
    names = sorted(path.stem for path in folder.glob("*.json"))
    return [name for name in names if name.startswith(incomplete)]


def complete_subject(incomplete: str) -> list[str]:
    """Models and files that begin so."""
    folder, _, start = incomplete.rpartition("/")
    place = Path(f"{folder}/" if "/" in incomplete else ".")
    try:
        found = sorted(path for path in place.iterdir() if path.name.startswith(start))
    except OSError:
        found = []
    return complete_model(incomplete) + [str(path) for path in found]


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
Models = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        show_default=False,
        autocompletion=complete_model,
        help="Model, by name or directory; default: VQTOK_MODEL, or image-f8 for images and "
        "audio-24k for audio. Several are put on one table; jpeg, webp, avif, opus and mp3 "
        "beside models get the bits of the first.",
    ),
]
DecodeModel = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        autocompletion=complete_model,
        help="Model, by name or directory; default: the one whose fingerprint the file carries.",
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
Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        "--speaker",
        metavar="NAME",
        help="Class or speaker, for models that are told one; vqtok info MODEL lists them.",
    ),
]
Depth = Annotated[
    int | None,
    typer.Option("--depth", metavar="N", min=1, help="Use the first N residual stages only."),
]
Mono = Annotated[bool, typer.Option("--mono", help="Mix audio down to one channel.")]
Background = Annotated[
    str,
    typer.Option("--background", metavar="COLOUR", help="Colour behind transparent pixels."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        min=1,
        show_default=False,
        help="Refuse larger images; default: 179 million pixels.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="VQTOK_DEVICE",
        show_envvar=True,
        help="auto, cpu, cuda or cuda:1.",
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

Engine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="NAME", help="local, or ray: workers on this or other machines."
    ),
]
ShardSize = Annotated[
    int | None,
    typer.Option(
        "--shard-size",
        metavar="N",
        min=1,
        show_default=False,
        help="Items in one shard of a corpus; default: 1000.",
    ),
]

DEFAULT_JOBS = max(1, min(4, os.cpu_count() or 1))
"""Default of -j: a picture is read and written in less time than a model takes."""

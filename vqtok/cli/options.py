"""Shared flags, each declared once: one name, one letter, one meaning in every command.

Flags that commands share as a group are a frozen dataclass, and so are all flags of a command, with
groups among its fields; ``command`` turns such a class into the parameters that Typer reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from vqtok.cli.console import Console
from vqtok.errors import UsageError
from vqtok.threads import MOST, available


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Expand parameters of a command that are dataclasses of flags into those flags."""
    hints = get_type_hints(function, include_extras=True)
    hints.pop("return")

    @wraps(function)
    def run(**given: Any) -> None:
        function(**{name: _value(name, hint, given) for name, hint in hints.items()})

    defaults = {name: each.default for name, each in signature(function).parameters.items()}
    parameters = [
        each for name, hint in hints.items() for each in _parameters(name, hint, defaults[name])
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _parameters(name: str, hint: Any, default: object) -> Iterator[Parameter]:
    if not is_dataclass(hint):
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        return
    hints = get_type_hints(hint, include_extras=True)
    for field in fields(hint):
        given = Parameter.empty if field.default is MISSING else field.default
        yield from _parameters(field.name, hints[field.name], given)


def _value(name: str, hint: Any, given: Mapping[str, Any]) -> Any:
    if not is_dataclass(hint):
        return given[name]
    hints = get_type_hints(hint, include_extras=True)
    return hint(**{each.name: _value(each.name, hints[each.name], given) for each in fields(hint)})  # type: ignore[operator]


def complete_model(incomplete: str) -> list[str]:
    """List models that begin so, for the shell; lists folders, loads nothing."""
    from vqtok.pipeline.inspect import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    """List presets that begin so; reads the package's folder, loads nothing."""
    folder = Path(__file__).parents[1] / "presets"
    names = sorted(path.stem for path in folder.glob("*.json"))
    return [name for name in names if name.startswith(incomplete)]


def complete_subject(incomplete: str) -> list[str]:
    """List models and files that begin so."""
    folder, _, start = incomplete.rpartition("/")
    directory = Path(f"{folder}/" if "/" in incomplete else ".")
    try:
        found = sorted(path for path in directory.iterdir() if path.name.startswith(start))
    except OSError:
        found = []
    return complete_model(incomplete) + [str(path) for path in found]


def _remember_verbosity(context: typer.Context, value: int) -> int:
    # The error handler at the top must know whether tracebacks are wanted.
    context.meta["vqtok.verbose"] = value
    return value


def _few(parameter: typer.CallbackParam, value: int | None) -> int | None:
    if value is not None and value > MOST:
        raise UsageError(f"{parameter.opts[-1]} {value}", f"more than {MOST}")
    return value


def names_model(*flags: str, help: str, envvar: str | None = None) -> Any:
    """Declare an option that takes the name of a model."""
    return typer.Option(
        *flags,
        metavar="NAME",
        envvar=envvar,
        show_default=False,
        autocompletion=complete_model,
        help=help,
    )


Files = Annotated[list[str], typer.Argument(metavar="FILE", hidden=True)]

Model = Annotated[
    str | None,
    names_model(
        *("-m", "--model"),
        envvar="VQTOK_MODEL",
        help="Model, by name or directory; default: image-f8 for images, audio-24k for audio.",
    ),
]
Models = Annotated[
    list[str] | None,
    names_model(
        *("-m", "--model"),
        help="Model, by name or directory; default: VQTOK_MODEL, or image-f8 for images and "
        "audio-24k for audio. Several are put on one table; jpeg, webp, avif, opus and mp3 "
        "beside models get the bits of the first.",
    ),
]
DecodeModel = Annotated[
    str | None,
    names_model(
        *("-m", "--model"),
        help="Model, by name or directory; default: the one whose fingerprint the file carries.",
    ),
]
_PLACES = "File, directory (ends in / or exists) or template with {stem} {name} {parent} {index}"
OutputPath = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help=f"{_PLACES}; - for standard output; default: beside the input.",
    ),
]
OutputFile = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="PATH", help=f"{_PLACES}; default: beside the input."),
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
Wide = Annotated[
    bool, typer.Option("--wide", help="Show whole tables, however narrow the terminal is.")
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress.")]
Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        "--speaker",
        metavar="NAME",
        help="Class or speaker, for models that take one; vqtok info MODEL lists them.",
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
    typer.Option("--threads", metavar="N", min=1, callback=_few, help="CPU threads of the model."),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="auto, torch or onnx; auto takes onnx on CPUs, where the model has its graphs.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "-j",
        "--jobs",
        metavar="N",
        min=1,
        callback=_few,
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

Carry = Annotated[
    str | None,
    typer.Option(
        "--carry",
        metavar="KINDS",
        show_default=False,
        help="Captions, classes and JSON beside the items that a corpus takes along: txt,cls,json "
        "or none; default: what members of tars have beside them.",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="HxW",
        help="Size of the originals of flat arrays and tokens without a header (with -m), and of "
        "token ids that do not say it; of audio its samples.",
    ),
]
Append = Annotated[
    bool,
    typer.Option("--append", help="Add to a finished corpus the items that it does not have."),
]

Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do the I-th of N parts, I from 0 to N-1: parts follow each other.",
    ),
]


def shard_of(text: str | None) -> tuple[int, int]:
    """Read ``--shard 3/16``.

    Raises:
        UsageError: no such part.
    """
    if text is None:
        return 0, 1
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts) <= MOST):
        raise UsageError(f"--shard {text}", "no part", hint="--shard 0/4 to --shard 3/4")
    return int(part), int(parts)


Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        metavar="N",
        help="Of images choose codes by what the decoder makes of them: the same bits, closer "
        "pixels, more time; 0 to 9.",
    ),
]
EffortMetric = Annotated[
    str,
    typer.Option("--effort-metric", metavar="NAME", help="What --effort improves: mse or ssim."),
]

DEFAULT_JOBS = min(4, available())
"""Default of -j: a picture is read and written in less time than a model takes."""


@dataclass(frozen=True, kw_only=True)
class Messages:
    """Choose what a command prints."""

    as_json: AsJson = False
    quiet: Quiet = False
    verbose: Verbose = 0

    def console(self) -> Console:
        """Open the command's console."""
        return Console(quiet=self.quiet, verbose=self.verbose, as_json=self.as_json)


@dataclass(frozen=True, kw_only=True)
class ProgressMessages(Messages):
    """Choose what a command prints that shows progress."""

    no_progress: NoProgress = False

    def console(self) -> Console:
        """Open the command's console."""
        return Console(
            quiet=self.quiet,
            verbose=self.verbose,
            as_json=self.as_json,
            progress=not self.no_progress,
        )


@dataclass(frozen=True, kw_only=True)
class Writing:
    """Choose what becomes of files that exist, or that nothing is written."""

    force: Force = False
    skip_existing: SkipExisting = False
    dry_run: DryRun = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Choose how images and audio are read."""

    mono: Mono = False
    background: Background = "white"
    max_pixels: MaxPixels = None

    def given(self) -> dict[str, Any]:
        """Give the options of a pipeline; its own limit of pixels unless one was given."""
        limit = {} if self.max_pixels is None else {"max_pixels": self.max_pixels}
        return {"mono": self.mono, "background": self.background, **limit}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Choose where a model runs."""

    device: Device = "auto"
    threads: Threads = None


@dataclass(frozen=True, kw_only=True)
class CodingMachine(Machine):
    """Choose where a model that encodes or decodes runs, and what runs it."""

    backend: Backend = "auto"

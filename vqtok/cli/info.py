"""``vqtok info``."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vqtok.cli import options
from vqtok.cli.console import Console
from vqtok.cli.terminal import is_terminal
from vqtok.errors import ExitCode, UsageError


class By(str, Enum):
    """What the entries of a codebook are sorted by."""

    COLOUR = "colour"
    PCA = "pca"


def info(
    subjects: Annotated[
        list[str],
        typer.Argument(metavar="FILE", hidden=True, autocompletion=options.complete_subject),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="PNG",
            help="Draw the map of one codes file; of a corpus how often entries are used; of a "
            "model every entry of its codebook, decoded alone.",
        ),
    ] = None,
    by: Annotated[
        By,
        typer.Option("--by", metavar="WHAT", help="Sort the entries of a model: colour, or pca."),
    ] = By.COLOUR,
    use: Annotated[
        str | None,
        typer.Option(
            "--use",
            metavar="CODES",
            help="Codes file or corpus: how often each entry of the model is used there.",
        ),
    ] = None,
    force: options.Force = False,
    model: options.DecodeModel = None,
    size: options.Size = None,
    *,
    messages: options.Messages,
) -> None:
    """Describe codes files, corpora, models, images and audio files, and folders of them.

    FILE is any such file, a folder, a corpus, the name or directory of a model, a checkpoint that
    another program wrote, which is read and never run, or - for standard input. Codes without a
    header need -m.

    \b
    Examples:
      vqtok info codes.npy --plot map.png
      vqtok info image-f8 --plot book.png
    """  # noqa: D301
    from vqtok.pipeline import inspect
    from vqtok.pipeline.results import Failed

    console = messages.console()
    _check(subjects, plot, force=force)
    if plot is None and (use is not None or by is not By.COLOUR):
        flag = "--use" if use is not None else "--by"
        raise UsageError(flag, "of which picture?", hint="--plot book.png")
    if size is not None and model is None:
        raise UsageError("--size", "the codes of which model?", hint="-m NAME")
    failed: list[Failed] = []
    for count, subject in enumerate(subjects):
        stream = sys.stdin.buffer if subject == "-" else None
        try:
            if plot is not None:
                _draw(console, stream or subject, plot, model=model, by=by, use=use)
            facts = inspect.inspect(stream or subject, model=model, size=size)
        except Exception as error:
            failed.append(Failed.of(Path(subject), error, has_model=True))
            if console.as_json:
                console.json(failed[-1].to_json())
            continue
        if console.as_json:
            console.json(facts.to_json())
            continue
        rows = facts.rows()
        width = max(len(key) for key, _ in rows) + 2
        lines = [facts.subject, *(f"  {key + ':':<{width}}{value}" for key, value in rows)]
        console.result(("\n" if count else "") + "\n".join(lines))
    if failed:
        console.failures(failed)
        usage = all(each.error.exit_code == ExitCode.USAGE for each in failed)
        raise typer.Exit(ExitCode.USAGE if usage else ExitCode.FAILED)


def _check(subjects: list[str], plot: Path | None, *, force: bool) -> None:
    if "-" in subjects and is_terminal(sys.stdin):
        raise UsageError("-", "stdin is a terminal", hint="cat FILE | vqtok info -")
    if plot is None:
        return
    if len(subjects) > 1:
        raise UsageError("--plot", "draws one codes file or model", hint="name one")
    if plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {plot}", "only PNG can be written", hint=f"{plot.stem}.png")
    if plot.exists() and not force:
        raise UsageError(plot, "already exists", hint="-f overwrites")


def _draw(
    console: Console, source: object, target: Path, *, model: str | None, by: By, use: str | None
) -> None:
    from vqtok.pipeline import inspect, pictures

    picture = inspect.code_picture(source, model=model, by=by.value, use=use)  # type: ignore[arg-type]
    pictures.save(target, picture)
    console.say(f"drew {target}")

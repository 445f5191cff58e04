"""``vqtok train``."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqtok.cli import options
from vqtok.cli.console import Console, Progress
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.training.log import Evaluated, Event, Finished, Started
    from vqtok.training.log import Progress as Step


def train(
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="PATH",
            help="Directory, file or quoted pattern of images, or of audio; may be repeated.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Model directory to make."),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            autocompletion=options.complete_preset,
            help="Recipe, by name or JSON file; default: image-f8 or audio-24k, by the data.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Stop after N steps.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="T", help="Stop after T minutes.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", min=1, help="Items per step.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, help="Of weights, order, crops and codes."),
    ] = None,
    edits: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change any field of the recipe: train.learning_rate=0.0005; may be repeated.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    force: options.Force = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
) -> None:
    """Train a model on a folder of images, or of audio.

    Ctrl-C stops after the present step, measures and saves; --resume goes on from there.

    \b
    Examples:
      vqtok train --data photos/ -o my-model/ --minutes 30
      vqtok train --data clips/ -o my-codec/ --set model.quantizer.depth=4
    """  # noqa: D301
    console = Console(quiet=quiet, verbose=verbose, as_json=as_json, progress=not no_progress)
    _check_output(output, resume=resume, force=force)
    console.note("loading torch")
    from vqtok.checkpoints.devices import pick_device

    chosen = pick_device(device, threads=threads)
    from vqtok.training import loop

    short = {"steps": steps, "minutes": minutes, "batch": batch, "seed": seed}
    all_edits = [
        *(f"train.{key}={value}" for key, value in short.items() if value is not None),
        *(edits or []),
    ]
    with _stoppable(console) as should_stop:
        events = loop.train(
            data,
            output,
            preset=preset,
            edits=all_edits,
            resuming=resume,
            device=chosen,
            command=shlex.join(["vqtok", *sys.argv[1:]]),
            should_stop=should_stop,
        )
        finished = _watch(console, events)
    _finish(console, finished, data)


def _check_output(output: Path, *, resume: bool, force: bool) -> None:
    """A finished or half-finished run is not overwritten by accident.

    Raises:
        UsageError: the directory holds a model, or is none.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: exists and is not a directory")
    if resume and force:
        raise UsageError("--force and --resume exclude each other")
    if (output / "config.json").exists() and not (resume or force):
        raise UsageError(
            f"{output}: already holds a model", hint="--resume goes on with it, -f starts anew"
        )


@contextmanager
def _stoppable(console: Console) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish to stop, and the second into an end."""
    wished = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal wished
        if wished:
            raise KeyboardInterrupt
        wished = True
        print("\nStopping after this step; Ctrl-C again quits now", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: wished
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(console: Console, events: Iterator[Event]) -> Finished:
    """Show the run while it goes on; its last event."""
    from vqtok.training import log

    with closing(events):  # type: ignore[type-var]  # a generator
        started = next(events)
        if not isinstance(started, log.Started):
            raise TypeError(f"a run begins with Started, not {started!r}")
        _show_start(console, started)
        begin = started.first_step
        with console.progress(started.steps, "trained", unit="steps", start=begin) as progress:
            for event in events:
                _emit(console, event)
                if isinstance(event, log.Progress):
                    _show_step(progress, event)
                elif isinstance(event, log.Evaluated):
                    console.say(_evaluated(event))
                elif isinstance(event, log.Finished):
                    return event
    raise RuntimeError("the run ended without its last event")


def _emit(console: Console, event: Event) -> None:
    # One line per step would be a flood; log.jsonl has them.
    if console.as_json and type(event).__name__ in ("Started", "Evaluated", "Finished"):
        record = {"event": type(event).__name__.lower(), **asdict(event)}
        console.json({key: str(v) if isinstance(v, Path) else v for key, v in record.items()})


def _show_start(console: Console, event: Started) -> None:
    _emit(console, event)
    console.say(
        f"training on {event.files} {event.modality} files ({event.held_out} held out), "
        f"{event.parameters / 1e6:.2f} M parameters, {event.device}, {event.precision}"
    )
    if event.first_step:
        console.say(f"resuming after step {event.first_step}")


def _show_step(progress: Progress, event: Step) -> None:
    losses = ", ".join(f"{name} {value:.4g}" for name, value in event.losses.items())
    skipped = f", {event.skipped} steps skipped" if event.skipped else ""
    progress.stage(
        f"{losses}; codes used {event.use:.0%}; {event.items_per_s:.3g} items/s; "
        f"{_duration(event.left_s)} left{skipped}"
    )
    progress.goto(event.step)


def _evaluated(event: Evaluated) -> str:
    values = ", ".join(f"{key} {value:.4g}" for key, value in event.metrics.items())
    return f"step {event.step}, {_duration(event.elapsed_s)}: held out: {values}"


def _finish(console: Console, event: Finished, data: list[str]) -> None:
    for text in event.unreadable:
        console.say(f"left out: {text}")
    if not console.as_json:
        console.result(str(event.output))
    stopped = event.reason == "stopped"
    text = shlex.quote(str(event.output))
    name = text if "/" in text else f"{text}/"
    again = f"vqtok encode FILE -m {name}"
    if stopped:
        sources = " ".join(f"--data {shlex.quote(each)}" for each in data)
        again = f"vqtok train {sources} -o {name} --resume"
    console.say(f"step {event.step} after {_duration(event.elapsed_s)}. Next: {again}")
    if stopped:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

"""``vqtok train``."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vqtok.cli import merges, terminal
from vqtok.cli import train_options as flags
from vqtok.cli.console import Console, named
from vqtok.cli.rehearsal_view import lines_of
from vqtok.cli.surroundings import check_ranks, is_first_rank
from vqtok.cli.training_view import LABEL, duration, watching
from vqtok.errors import ExitCode, UsageError, VqtokError

if TYPE_CHECKING:
    from vqtok.training.log import Event, Finished, Started
    from vqtok.training.report.rehearsal import Rehearsal

LISTED = 20
"""Lines about files that were left out; ``unreadable.txt`` has them all."""


def train(chosen: flags.Choices) -> None:
    """Train a tokenizer on a folder of images, or of audio; or a prior, or merges, on codes.

    Ctrl-C stops after the present step, measures and saves; --resume goes on from there.

    \b
    Examples:
      vqtok train --data photos/ --minutes 30
      vqtok train --data codes/ --preset prior-transformer -o my-prior/
    """  # noqa: D301
    check_ranks()
    first = is_first_rank()
    messages = chosen.messages
    console = Console(
        quiet=messages.quiet or not first,
        verbose=messages.verbose if first else 0,
        as_json=messages.as_json and first,
        progress=not messages.no_progress,
    )
    output = chosen.output or flags.default_output(chosen.data)
    chosen.check()
    is_merges = merges.is_for(chosen.preset)
    if first:  # the others would find what the first has begun to write
        _check_output(output, resume=chosen.resume, force=chosen.force)
    if is_merges:
        merges.train(console, chosen)
        return
    if chosen.dry_run:
        console.say("a few steps are taken to see; nothing is written")
    console.note("loading torch")
    from vqtok.checkpoints.devices import pick_device

    plan: dict[str, Any] = {
        "preset": chosen.preset,
        "edits": chosen.all_edits(),
        "resuming": chosen.resume,
        "device": pick_device(chosen.machine.device, threads=chosen.machine.threads),
        "command": _command(),
        "start": chosen.model,
    }
    if chosen.dry_run:
        _rehearse(console, chosen.data, output, plan)
        return
    from vqtok.training.train import train as run

    with _stoppable(console) as should_stop:
        events = run(
            chosen.data, output, tensorboard=chosen.tensorboard, should_stop=should_stop, **plan
        )
        finished, unreached = _watch(console, events)
    if first:
        _finish(console, finished, chosen.data)
    if finished.reason == "stopped":
        raise typer.Exit(ExitCode.INTERRUPTED)
    if unreached:
        raise typer.Exit(ExitCode.FAILED)


def _command() -> str:
    # File names may be any bytes; training.json and the card are UTF-8.
    text = shlex.join(["vqtok", *sys.argv[1:]])
    return text.encode("utf-8", "replace").decode("utf-8")


def _rehearse(console: Console, data: list[str], output: Path, plan: dict[str, Any]) -> None:
    """Print what the run would be."""
    from vqtok.training.report import rehearsal
    from vqtok.training.train import prepare

    facts = rehearsal.rehearse(prepare(data, output, **plan))
    _show_notes(console, facts)
    _left_out(console, facts.unreadable)
    if console.as_json:
        console.json({"output": str(output), **facts.to_json()})
    elif is_first_rank():
        rows = [("output", f"{output} (nothing is written now)"), *lines_of(facts)]
        console.result("\n".join(f"{name:<{LABEL}}{text}" for name, text in rows))
    if facts.unreached:
        raise typer.Exit(ExitCode.FAILED)


def _check_output(output: Path, *, resume: bool, force: bool) -> None:
    """Refuse to overwrite a finished or half-finished run by accident.

    Raises:
        UsageError: the directory holds a model, or is none.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(output, "exists and is not a directory")
    if resume and force:
        raise UsageError("--force and --resume exclude each other")
    names = ("config.json", "resume.safetensors", "merges.json")
    begun = any((output / name).exists() for name in names)
    if begun and not (resume or force):
        what = "merges" if (output / "merges.json").exists() else "a model"
        raise UsageError(
            output, f"already holds {what}", hint="--resume goes on with it, -f starts anew"
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
        if is_first_rank():
            terminal.message("\nStopping after this step; Ctrl-C again quits now")

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # a shell's background job heeds no Ctrl-C
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: wished
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(console: Console, events: Iterator[Event]) -> tuple[Finished, int]:
    """Show the run while it goes on; its last event, and how many files could not be read."""
    from vqtok.training import log

    with closing(events):  # type: ignore[type-var]  # a generator
        started = next(events)
        if not isinstance(started, log.Started):
            raise TypeError(f"a run begins with Started, not {started!r}")
        _show_start(console, started)
        with watching(console, started) as show:
            for event in events:
                _emit(console, event)
                show(event)
                if isinstance(event, log.Finished):
                    if event.step <= started.warmup:
                        console.say(
                            f"Warning: not trained: all {event.step} steps are within the warm-up "
                            f"of {started.warmup} (train.warmup)"
                        )
                    return event, started.unreached
    raise RuntimeError("the run ended without its last event")


def _emit(console: Console, event: Event) -> None:
    # One line per step would be a flood; log.jsonl has them.
    if console.as_json and type(event).__name__ != "Progress":
        record = {"event": type(event).__name__.lower(), **asdict(event)}
        record.pop("left_out", None)
        console.json({key: str(v) if isinstance(v, Path) else v for key, v in record.items()})


def _show_start(console: Console, event: Started) -> None:
    _emit(console, event)
    _show_notes(console, event)
    what = "items of codes" if event.learns == "prior" else "files"
    console.say(
        f"training on {event.files} {event.modality} {what} ({event.held_out} held out), "
        f"{event.parameters / 1e6:.2f} M parameters, {event.device}, {event.precision}"
    )
    if event.first_step:
        console.say(f"resuming after step {event.first_step}")


def _show_notes(console: Console, found: Started | Rehearsal) -> None:
    for path in found.left_out:
        console.note(f"left out: {path}")
    for note in found.notes:
        console.say(note)


def _left_out(console: Console, reasons: Mapping[str, str]) -> None:
    """Name the files that could not be read, those with one reason in one line."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    for reason, subjects in list(groups.items())[:LISTED]:
        console.say(f"left out: {named(subjects)}: {reason}")
    rest = sum(len(subjects) for subjects in list(groups.values())[LISTED:])
    if rest:
        console.say(f"left out: {rest} more")


def _finish(console: Console, event: Finished, data: list[str]) -> None:
    _left_out(console, event.unreadable)
    if not console.as_json:
        console.path(event.output)
    name = _name(event.output)
    if event.reason == "stopped":
        sources = " ".join(f"--data {shlex.quote(each)}" for each in data)
        again = f"vqtok train {sources} -o {_path(event.output)} --resume"
    else:
        again = _next(event.output, name)
    console.say(f"step {event.step} after {duration(event.elapsed_s)}. Next: {again}")


def _path(output: Path) -> str:
    text = shlex.quote(str(output))
    return text if "/" in text else f"{text}/"


def _name(output: Path) -> str:
    """Find what -m takes: the NAME if that leads here, else the path."""
    from vqtok.checkpoints import directory

    try:
        if output.parent.name and directory.resolve(output.name).samefile(output):
            return shlex.quote(output.name)
    except (VqtokError, OSError):
        pass  # not found by name
    return _path(output)


def _next(output: Path, name: str) -> str:
    """Say what to do with the model."""
    from vqtok.checkpoints import directory
    from vqtok.codes.packed import CONTEXT

    info = directory.describe(output)
    if (output / CONTEXT).is_file():
        return f"vqtok pack CODES/ -o PACKED/ --context {_path(output)}"
    if info.learned is not None:
        suffix = "wav" if info.spec.modality == "audio" else "png"
        return f"vqtok sample -m {name} -o new.{suffix}"
    if info.family == "classifiers":
        return f"vqtok eval PHOTOS/ -m {name}"
    return f"vqtok encode FILE -m {name}" if info.spec.levels else f"vqtok info {name}"

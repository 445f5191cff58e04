"""Steps that encode and decode share: a plan, results one by one, a summary, an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from vqtok.cli import options
from vqtok.cli.console import Console, Progress
from vqtok.errors import ExitCode

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.codes.header import Effort
    from vqtok.media.kinds import LeftOut
    from vqtok.pipeline.models import Models
    from vqtok.pipeline.plans import Plan
    from vqtok.pipeline.results import Done, Failed

Results = Iterator["Done | Failed"]
Result = TypeVar("Result")


def dry_run(console: Console, plan: Plan) -> None:
    """Print what would be read and written, a line each; failures too."""
    from vqtok.pipeline.results import label

    for job in plan.jobs:
        source, target = label(job.source), label(job.target)
        if console.as_json:
            console.json({"source": source, "target": target, "kind": job.kind})
        else:
            console.result(f"{source} -> {target}")
    _report_skipped(console, plan)
    report_left_out(console, plan.left_out, any_taken=bool(plan.jobs))
    _exit(console, failures_of(plan), done=len(plan.jobs))


def run(console: Console, plan: Plan, verb: str, work: Callable[[Progress], Results]) -> None:
    """Carry a plan out: results to stdout as they come, failures and a summary at the end.

    Raises:
        typer.Exit: 1 if an input failed.
    """
    from vqtok.pipeline.results import Failed

    failed = failures_of(plan)
    for each in failed:
        failed_line(console, each)
    done: list[Done] = []
    # Where one result goes to stdout as bytes, the names of the others must not join it.
    paths = not console.quiet and all(job.target is not None for job in plan.jobs)
    if plan.jobs:
        try:
            with (
                console.progress(len(plan.jobs), verb) as progress,
                closing(work(progress)) as results,  # type: ignore[type-var]  # a generator
            ):
                for count, result in enumerate(results, 1):
                    progress.goto(count)
                    if isinstance(result, Failed):
                        failed.append(result)
                        failed_line(console, result)
                    else:
                        done.append(result)
                        _done_line(console, result, paths=paths)
        except KeyboardInterrupt:
            if len(plan.jobs) > 1:
                console.say(
                    f"stopped: {len(done)} of {len(plan.jobs)} {verb}; "
                    "the same command with --skip-existing goes on"
                )
            raise
    _report_skipped(console, plan)
    report_left_out(console, plan.left_out, any_taken=bool(plan.jobs))
    _summary(console, done, len(failed), verb)
    _exit(console, failed, done=len(done))


def failures_of(plan: Plan) -> list[Failed]:
    """Turn the plan's failures into results."""
    from vqtok.pipeline.results import Failed

    return [Failed(None if name == "-" else Path(name), error) for name, error in plan.failures]


def failed_line(console: Console, failed: Failed) -> None:
    """Print a failure, if results are JSON Lines; else it waits for the end."""
    if console.as_json:
        console.json(failed.to_json())


def _done_line(console: Console, done: Done, *, paths: bool) -> None:
    if console.as_json:
        console.json(done.to_json())
    elif paths:
        console.path(Path(done.target or ""))
    shapes = " + ".join("×".join(str(size) for size in shape) for shape in done.shapes)
    each = f"{done.channels} × {shapes}" if done.channels > 1 else shapes
    console.note(f"{done.source or 'stdin'}: {done.model}, {each} codes, {done.seconds:.3f} s")
    note_left_out(console, done)


def note_left_out(console: Console, done: Done) -> None:
    """Print with -v what of a file is not in its codes: other pages, finer samples."""
    if done.left_out:
        console.note(f"{done.source or 'stdin'}: {'; '.join(done.left_out)}")


def _report_skipped(console: Console, plan: Plan) -> None:
    if plan.skipped:
        count = len(plan.skipped)
        console.say(f"skipped {count} existing {'output' if count == 1 else 'outputs'}")


def report_left_out(console: Console, left_out: LeftOut, *, any_taken: bool) -> None:
    """Count the files of directories that are not taken; with -v also list them.

    Where nothing is taken, an error says so, and that is enough without -v.
    """
    if not left_out or not (any_taken or console.verbose):
        return
    for path in left_out.paths:
        console.note(f"left out: {path}")
    more = "" if console.verbose else " (-v lists them)"
    console.say(f"left out {left_out}{more}")


def _summary(console: Console, done: list[Done], failed: int, verb: str) -> None:
    """Sum up each kind of file in its units; silent in a pipe, where others print too."""
    for modality, name in (("image", "image"), ("audio", "recording")):
        group = [each for each in done if each.modality == modality and each.target is not None]
        if group:
            console.say(f"{verb}: {_measures(group, name)}")
    if failed and len(done) + failed > 1:
        console.say(f"{failed} of {len(done) + failed} inputs failed")


def _measures(group: list[Done], name: str) -> str:
    from vqtok.codes import rates

    count = f"{len(group)} {name}{'' if len(group) == 1 else 's'}"
    seconds = max(sum(each.seconds for each in group), 1e-9)
    tokens = sum(each.tokens for each in group)
    bits = sum(each.bits for each in group)
    if name == "image":
        amount = sum(rates.amount(each.extent, None) for each in group)
        speed = f"{rates.digits(len(group) / seconds)} files/s"
    else:
        amount = sum(rates.amount(each.extent, each.rate_hz) for each in group)
        count += f", {amount:.1f} s"
        speed = f"{rates.digits(amount / seconds)} times real time"
    modality = group[0].modality
    rate = rate_text(rates.rate(bits, amount, modality), modality) if amount else "no samples"
    return f"{count}, {tokens} codes, {rate}, {speed}"


def rate_text(rate: float, modality: str) -> str:
    """Write a rate with its unit."""
    from vqtok.codes import rates

    digits = 3 if modality == "image" else 2
    return f"{rate:.{digits}f} {rates.unit(modality).name}"


def _exit(console: Console, failed: list[Failed], *, done: int) -> None:
    if not failed:
        return
    console.failures(failed)
    # Nothing could be done, and only for reasons of usage: then the command itself was wrong.
    usage = not done and all(each.error.exit_code == ExitCode.USAGE for each in failed)
    raise typer.Exit(ExitCode.USAGE if usage else ExitCode.FAILED)


def models_for(
    model: str | None,
    machine: options.CodingMachine,
    *,
    effort: Effort | None = None,
    depth: int | None = None,
) -> Models:
    """Make the models of a command: each is read once.

    Args:
        model: NAME or directory; None: by kind or fingerprint.
        machine: What they run on.
        effort: How hard the codes of images are searched; None: not at all.
        depth: Residual stages that are searched; None: all.
    """
    from vqtok.codes.header import NO_EFFORT
    from vqtok.pipeline.models import Models

    return Models(
        model,
        device=machine.device,
        threads=machine.threads,
        backend=machine.backend,
        effort=effort or NO_EFFORT,
        depth=depth,
    )


def reporting(console: Console, progress: Progress, models: Models) -> Models:
    """Let models report what they load, and with -v the device."""

    def loading(info: ModelInfo) -> None:
        progress.aside(f"loading {info.name}")
        console.note(f"loading {info.name} from {info.path}")

    models.on_load = loading
    models.on_machine = console.note
    models.on_inexact = lambda info: console.say(
        f"Warning: {info.name}: codes of this model may change with what is coded together and "
        "with the number of threads; each file is coded whole and alone"
    )
    return models


def noting_recomputed(
    console: Console, models: Models, results: Iterator[Result]
) -> Iterator[Result]:
    """Pass on the results; at their end, with -v, count the near ties."""
    with closing(results):  # type: ignore[type-var]  # a generator
        yield from results
    stats = models.recompute_stats()
    if stats.latents:
        console.note(f"{stats.recomputed} of {stats.latents} latents decided in float64")

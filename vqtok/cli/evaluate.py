"""``vqtok eval``."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqtok.cli import batch, cas, classify, comparing, options, reporting, score
from vqtok.cli.console import Console, Progress
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.media.plan import Job, Plan
    from vqtok.pipeline.compare import Comparison
    from vqtok.pipeline.evaluated import Summary
    from vqtok.pipeline.results import Failed


def evaluate(
    files: options.Files,
    model: options.Models = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Keep reconstructions there, each with a picture beside the original.",
        ),
    ] = None,
    force: options.Force = False,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="Only these, with commas: psnr, ssim, ms-ssim; si-sdr, si-sdr-aligned, delay, "
            "mel, pesq, stoi.",
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Write a page to look at and listen to: table, plots, examples; one file that "
            "needs no network.",
        ),
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(
            "--examples",
            metavar="N",
            min=0,
            show_default=False,
            help="Images, and recordings, to show in the report at most; default: 8 of each.",
        ),
    ] = None,
    depth: options.Depth = None,
    label: options.Label = None,
    real: Annotated[
        str | None,
        typer.Option(
            "--cas",
            metavar="DIR",
            help="Of a prior: train classifiers on these real images, on reconstructions of them "
            "and on samples, and test them on FILE; pictures go to -o DIR.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--cas-samples",
            metavar="N",
            min=2,
            help="Samples to train on; default: as many as there are real images.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--cas-steps", metavar="N", min=1, help="Of each classifier's training."),
    ] = None,
    mono: options.Mono = False,
    background: options.Background = "white",
    max_pixels: options.MaxPixels = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
) -> None:
    """Measure quality, rate, speed and codebook use; or a prior, or a classifier.

    FILE is an image, an audio file, a directory of them (with all that is below it), a quoted
    pattern, or - for standard input. With a prior, FILE is codes: files, directories or corpora;
    with a classifier, images in directories that are named as its classes.
    Several models are compared file by file, and with -o each gets a folder there.
    With -v the protocol of each metric is printed too.

    \b
    Examples:
      vqtok eval photos/ -m image-f8 -m jpeg --report page.html
      vqtok eval codes/ -m my-prior
    """  # noqa: D301
    from vqtok.pipeline import plans

    console = Console(quiet=quiet, verbose=verbose, as_json=as_json, progress=not no_progress)
    names = comparing.names_of(model, os.environ.get("VQTOK_MODEL"))
    other = _other_than_tokenizer(names)
    page = reporting.place(report, examples, force=force)
    if real is not None:
        if other is None:
            raise UsageError("--cas", "of which prior?", hint="-m PRIOR")
        if page is not None:
            raise UsageError("--report", "of no effect with --cas", hint="leave it out")
        cas.cas(
            console,
            files,
            other,
            cas.Choices(real, output, samples, steps, force, device, threads),
        )
        return
    if samples is not None or steps is not None:
        raise UsageError("--cas-samples and --cas-steps need --cas", hint="--cas DIR")
    if other is not None:
        given = {"-o": output, "--metrics": metrics, "--depth": depth, "--mono": mono or None}
        given["--report"] = report
        refused = [flag for flag, value in given.items() if value is not None]
        show = score.score if other.family == "priors" else classify.classify
        show(console, files, other, label=label, device=device, threads=threads, refused=refused)
        return
    plan = plans.for_evaluate(files, output=output if len(names) == 1 else None, force=force)
    kinds = sorted({job.kind for job in plan.jobs})
    with console.progress(len(plan.jobs), "evaluated") as progress:
        load = comparing.loader(console, progress, device=device, threads=threads)
        for name in names:
            if not comparing.is_classical(name):
                load(name).check(kinds)
        rows = comparing.coders(names, load)
        target_for = comparing.targets(files, rows, output=output, force=force)
        progress.stage("starting")
        from vqtok.pipeline import compare
        from vqtok.pipeline.evaluate import EvaluateOptions

        chosen = EvaluateOptions(
            depth=depth,
            metrics=None if metrics is None else tuple(each.strip() for each in metrics.split(",")),
            label=label,
            mono=mono,
            background=background,
            **({} if max_pixels is None else {"max_pixels": max_pixels}),
        )
        comparison = compare.Comparison(rows, options=chosen, kinds=kinds)
        shown = reporting.Shown(page, plan.jobs, examples=examples)
        for note in comparison.notes:
            console.say(note)
        failed = _run(console, plan, comparison, target_for, progress, shown)
    _show(console, comparison)
    shown.write(console, comparison)
    if failed:
        console.failures(failed)
        raise typer.Exit(ExitCode.FAILED)


def _show(console: Console, comparison: Comparison) -> None:
    """A summary for each model and kind of files, or a table where there are several models."""
    summaries = comparison.summaries()
    if len(comparison.coders) == 1 or console.as_json:
        for each in summaries:
            _show_summary(console, each)
        return
    for kind in ("image", "audio"):
        rows = [each for each in summaries if each.modality == kind]
        if rows:
            comparing.show(console, rows, comparison.like(kind))


def _other_than_tokenizer(names: list[str | None]) -> ModelInfo | None:
    """Facts of the named model if it is a prior or a classifier."""
    from vqtok.checkpoints import directory

    (name,) = names if len(names) == 1 else (None,)
    info = None if name is None or comparing.is_classical(name) else directory.describe(name)
    return info if info is not None and info.family in ("priors", "classifiers") else None


def _run(
    console: Console,
    plan: Plan,
    comparison: Comparison,
    target_for: Callable[[str, Job], Path | None],
    progress: Progress,
    shown: reporting.Shown,
) -> list[Failed]:
    """Print a line for each file as it comes; give back those that failed."""
    from vqtok.pipeline.results import Failed

    failed = batch.failures_of(plan)
    table = comparing.Table(console, comparison.coders)
    results = comparison.run(
        plan.jobs,
        target_for=target_for,
        on_start=lambda job: progress.stage(str(job.source or "stdin")),
        on_part=progress.part,
        on_pair=shown.pair,
    )
    if console.as_json:
        for each in failed:
            console.json(each.to_json())
    with closing(results):  # type: ignore[type-var]  # a generator
        for count, result in enumerate(results, 1):
            progress.goto(count)
            shown.settle(result)
            if isinstance(result, Failed):
                failed.append(result)
                if console.as_json:
                    console.json(result.to_json())
            elif console.as_json:
                for report in result.reports.values():
                    console.json(report.to_json())
            else:
                table.row(result)
    return failed


def _show_summary(console: Console, summary: Summary) -> None:
    from vqtok.codes import rates

    if console.as_json:
        console.json(summary.to_json())
        return
    what = "image" if summary.rate_hz is None else "recording"
    what += "" if summary.files == 1 else "s"
    depth = "" if summary.depth is None else f", depth {summary.depth}"
    lines = [f"\n{summary.files} {what}, {summary.model} ({summary.fingerprint}){depth}"]
    for column in summary.columns:
        found = summary.statistics[column.name]
        value = f"{column.format(found.mean)} ± {column.format(found.sd)} {column.unit}".rstrip()
        left_out = f" ({found.left_out} not defined)" if found.left_out else ""
        lines.append(f"  {column.title + ':':<16}{value}{left_out}")
    unit = rates.unit(summary.modality).name
    use = summary.codebook
    speed = "megapixels/s" if summary.rate_hz is None else "times real time"
    rows = [("rate", "continuous, there are no codes")]
    if use is not None:
        rows = [
            ("rate", f"{summary.rate:.3f} {unit}, by entropy {summary.entropy_rate:.3f}"),
            ("codebook", f"{use.share:.1%} of {use.entries} entries used by {use.tokens} codes"),
            ("entropy", f"{use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code"),
            ("perplexity", f"{use.perplexity:.0f}"),
            *_level_rows(summary),
        ]
    speeds = f"encode {summary.encode_speed:.3g}, decode {summary.decode_speed:.3g} {speed}"
    rows.append(("speed", speeds))
    lines += [f"  {key + ':':<16}{value}" for key, value in rows]
    console.result("\n".join(lines))
    for sentence in summary.protocol:
        console.note(sentence)


def _level_rows(summary: Summary) -> list[tuple[str, str]]:
    """What each level's codebook is used for; nothing where there is but one."""
    if len(summary.levels) < 2:
        return []
    rows = []
    for name, usage in summary.levels.items():
        use = usage.total
        bits = f"{use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code"
        text = f"{use.share:.1%} of {use.entries} entries used, {bits}"
        rows.append((name, f"{text}, perplexity {use.perplexity:.0f}"))
    return rows

"""``vqtok eval``."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from vqtok.cli import batch, cas, classify, options, score
from vqtok.cli.console import Console, Progress
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.pipeline.evaluate import Evaluation, ItemReport, Summary
    from vqtok.pipeline.plans import Plan
    from vqtok.pipeline.results import Failed


def evaluate(
    files: options.Files,
    model: options.Model = None,
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
    With -v the protocol of each metric is printed too.

    \b
    Examples:
      vqtok eval photos/ -m image-f8 -o compared/
      vqtok eval codes/ -m my-prior
    """  # noqa: D301
    from vqtok.pipeline import plans
    from vqtok.pipeline.models import Models

    console = Console(quiet=quiet, verbose=verbose, as_json=as_json, progress=not no_progress)
    other = _other_than_tokenizer(model)
    if real is not None:
        if model is None or other is None:
            raise UsageError("--cas: of which prior?", hint="-m PRIOR")
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
        refused = [flag for flag, value in given.items() if value is not None]
        show = score.score if other.family == "priors" else classify.classify
        show(console, files, other, label=label, device=device, threads=threads, refused=refused)
        return
    plan = plans.for_evaluate(files, output=output, force=force)
    kinds = sorted({job.kind for job in plan.jobs})
    Models(model).check(kinds)
    with console.progress(len(plan.jobs), "evaluated") as progress:
        models = batch.models_for(console, progress, model=model, device=device, threads=threads)
        progress.stage("starting")
        from vqtok.pipeline import evaluate as pipeline

        chosen = pipeline.EvaluateOptions(
            depth=depth,
            metrics=None if metrics is None else tuple(each.strip() for each in metrics.split(",")),
            label=label,
            mono=mono,
            background=background,
            **({} if max_pixels is None else {"max_pixels": max_pixels}),
        )
        evaluation = pipeline.Evaluation(
            lambda kind: models.load(models.info_for_kind(kind)), options=chosen, kinds=kinds
        )
        for note in evaluation.notes:
            console.say(note)
        failed = _run(console, plan, evaluation, progress)
    for summary in evaluation.summaries():
        _show_summary(console, summary)
    if failed:
        console.failures(failed)
        raise typer.Exit(ExitCode.FAILED)


def _other_than_tokenizer(model: str | None) -> ModelInfo | None:
    """Facts of the named model if it is a prior or a classifier."""
    from vqtok.checkpoints import directory

    info = None if model is None else directory.describe(model)
    return info if info is not None and info.family in ("priors", "classifiers") else None


def _run(console: Console, plan: Plan, evaluation: Evaluation, progress: Progress) -> list[Failed]:
    """Print a line for each file as it comes; give back those that failed."""
    from vqtok.pipeline.results import Failed

    failed = batch.failures_of(plan)
    table = _Table(console)
    results = evaluation.run(
        plan.jobs,
        on_start=lambda job: progress.stage(str(job.source or "stdin")),
        on_part=progress.part,
    )
    if console.as_json:
        for each in failed:
            console.json(each.to_json())
    with closing(results):  # type: ignore[type-var]  # a generator
        for count, result in enumerate(results, 1):
            progress.goto(count)
            if console.as_json:
                console.json(result.to_json())
            if isinstance(result, Failed):
                failed.append(result)
            elif not console.as_json:
                table.row(result)
    return failed


class _Table:
    """Rows as they come: numbers of fixed width first, then the name, which may be long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._modality = ""

    def row(self, report: ItemReport) -> None:
        if report.modality != self._modality:
            self._modality = report.modality
            heads = [column.heading for column in report.columns]
            if report.rate is not None:
                heads.append(_unit(report))
            self._console.result("  ".join([*heads, "file"]))
        cells = [
            f"{column.format(report.values[column.name]):>{len(column.heading)}}"
            for column in report.columns
        ]
        if report.rate is not None:  # a model without codes has no column for it
            cells.append(f"{report.rate:>{len(_unit(report))}.3f}")
        name = "-" if report.source is None else str(report.source)
        self._console.result("  ".join([*cells, name]))


def _unit(report: ItemReport) -> str:
    return "bits/pixel" if report.rate_hz is None else "kbit/s"


def _show_summary(console: Console, summary: Summary) -> None:
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
    unit = "bits per pixel" if summary.rate_hz is None else "kbit/s"
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

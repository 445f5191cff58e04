"""``vqtok decode``."""

from __future__ import annotations

from typing import Annotated

import typer

from vqtok.cli import batch, corpus_decode, options
from vqtok.cli.console import Console, Progress, check_stdout


def decode(
    files: options.Files,
    output: options.OutputPath = None,
    model: options.DecodeModel = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    dry_run: options.DryRun = False,
    depth: options.Depth = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="png, jpg, webp, tiff, bmp; wav, flac, ogg, opus, mp3, aiff; default: by the "
            "suffix of -o, else png or wav.",
        ),
    ] = None,
    label: options.Label = None,
    native_rate: Annotated[
        bool,
        typer.Option("--native-rate", help="Leave audio at the model's rate, not the original's."),
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    jobs: options.Jobs = options.DEFAULT_JOBS,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
) -> None:
    """Turn codes back into images and audio files.

    FILE is a codes file, a directory of them (with all that is below it), a quoted pattern,
    @list.txt (a path on each line), or - for standard input; or one corpus. What comes out has the
    original's size, or length, channels and rate. The model is found by the fingerprint in the
    file; -m is needed for arrays that another program wrote.

    \b
    Examples:
      vqtok decode codes.npy
      vqtok decode corpus/ -o out/
    """  # noqa: D301
    from vqtok.pipeline import plans
    from vqtok.pipeline.models import Models

    console = Console(quiet=quiet, verbose=verbose, as_json=as_json, progress=not no_progress)
    chosen_corpus = corpus_decode.corpus_of(files)
    if chosen_corpus is not None:
        corpus_decode.decode(
            console,
            chosen_corpus,
            output,
            corpus_decode.Choices(
                model=model,
                format=format,
                depth=depth,
                native_rate=native_rate,
                label=label,
                device=device,
                threads=threads,
                jobs=jobs,
                force=force,
                skip_existing=skip_existing,
                dry_run=dry_run,
            ),
        )
        return
    named = Models(model).named()
    foreign = None if named is None else named.spec
    if named is not None:
        named.spec.require_codes(named.name)
    plan = plans.for_decode(
        files,
        output=output,
        format=format,
        foreign=foreign,
        force=force,
        skip_existing=skip_existing,
    )
    check_stdout((job.target for job in plan.jobs), as_json=as_json)
    if dry_run:
        batch.dry_run(console, plan)
        return

    def work(progress: Progress) -> batch.Results:
        models = batch.models_for(console, progress, model=model, device=device, threads=threads)
        from vqtok.pipeline import decode as pipeline

        chosen = pipeline.DecodeOptions(
            depth=depth,
            native_rate=native_rate,
            format=format,
            foreign=foreign,
            threads=jobs,
            label=label,
        )
        return pipeline.decode(
            plan.jobs,
            coder_for=lambda header: models.load(models.info_for_header(header)),
            options=chosen,
            on_start=lambda job: progress.stage(str(job.source or "stdin")),
            on_part=progress.part,
        )

    batch.run(console, plan, "decoded", work)

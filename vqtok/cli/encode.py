"""``vqtok encode``."""

from __future__ import annotations

from typing import Annotated

import typer

from vqtok.cli import batch, corpus, options
from vqtok.cli.console import Console, Progress, check_stdout


def encode(
    files: options.Files,
    model: options.Model = None,
    output: options.OutputPath = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    dry_run: options.DryRun = False,
    depth: options.Depth = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="npy, safetensors or stream (audio codes that leave as they are made); default: "
            "by the suffix of -o, else safetensors; stream for audio from stdin to stdout. "
            "For a corpus: files, tar, bin, parquet or arrow.",
        ),
    ] = None,
    mono: options.Mono = False,
    background: options.Background = "white",
    max_pixels: options.MaxPixels = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    jobs: options.Jobs = options.DEFAULT_JOBS,
    shard_size: options.ShardSize = None,
    engine: options.Engine = "local",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
) -> None:
    """Turn images and audio files into discrete codes.

    FILE is an image, an audio file, a directory of them (with all that is below it), a quoted
    pattern, @list.txt (a path on each line), or - for standard input. For a corpus also .tar files.

    With --format files, tar, bin, parquet or arrow, -o is a folder that becomes one corpus. The
    same command goes on where it was stopped; -f starts over.

    \b
    Examples:
      vqtok encode photo.png -o codes.npy
      vqtok encode photos/ --format tar -o corpus/
    """  # noqa: D301
    from vqtok.corpus.format import FORMATS
    from vqtok.pipeline import plans
    from vqtok.pipeline.models import Models

    console = Console(quiet=quiet, verbose=verbose, as_json=as_json, progress=not no_progress)
    if format in FORMATS:
        corpus.encode(
            console,
            files,
            corpus.Choices(
                format=format,
                output=output,
                model=model,
                depth=depth,
                mono=mono,
                background=background,
                max_pixels=max_pixels,
                device=device,
                threads=threads,
                jobs=jobs,
                shard_size=shard_size,
                engine=engine,
                force=force,
                skip_existing=skip_existing,
                dry_run=dry_run,
            ),
        )
        return
    corpus.refuse(shard_size=shard_size, engine=engine)
    plan = plans.for_encode(
        files, output=output, format=format, force=force, skip_existing=skip_existing
    )
    check_stdout((job.target for job in plan.jobs), as_json=as_json)
    Models(model).check_codes({job.kind for job in plan.jobs})
    if dry_run:
        batch.dry_run(console, plan)
        return

    def work(progress: Progress) -> batch.Results:
        models = batch.models_for(console, progress, model=model, device=device, threads=threads)
        from vqtok.pipeline import encode as pipeline

        extra = {} if max_pixels is None else {"max_pixels": max_pixels}
        chosen = pipeline.EncodeOptions(
            depth=depth, mono=mono, background=background, format=format, threads=jobs, **extra
        )
        results = pipeline.encode(
            plan.jobs,
            coder_for=lambda kind: models.load(models.info_for_kind(kind)),
            options=chosen,
            on_start=lambda job: progress.stage(str(job.source or "stdin")),
            on_part=progress.part,
        )
        return batch.noting_recomputed(console, models, results)

    batch.run(console, plan, "encoded", work)

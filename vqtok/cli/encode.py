"""``vqtok encode``."""

from __future__ import annotations

import importlib.util

from vqtok.cli import batch, corpus, options
from vqtok.cli.coding_options import EncodeChoices
from vqtok.cli.console import Progress, check_stdout
from vqtok.errors import UsageError

ENGINES = ("local", "ray")


def encode(files: options.Files, flags: EncodeChoices) -> None:
    """Turn images and audio files into discrete codes.

    FILE is an image, an audio file, a directory of them (with all that is below it), a quoted
    pattern, @list.txt (a path on each line), or - for standard input. For a corpus also .tar files,
    and hf-dataset:PATH#column, a column of a data set that Hugging Face's datasets saved.

    With --format files, tar, bin, parquet or arrow, -o is a folder that becomes one corpus. The
    same command goes on where it was stopped; -f starts over. --append adds new items later.

    \b
    Examples:
      vqtok encode photo.png -o codes.npy
      vqtok encode photos/ --format tar -o corpus/
    """  # noqa: D301
    from vqtok.codes.header import Effort
    from vqtok.corpus.formats import FORMATS
    from vqtok.pipeline import plans

    console = flags.messages.console()
    effort = Effort(flags.effort, flags.effort_metric)
    _check(flags)
    if flags.format in FORMATS:
        corpus.encode(console, files, flags)
        return
    plan = plans.for_encode(
        files,
        output=flags.output,
        format=flags.format,
        force=flags.writing.force,
        skip_existing=flags.writing.skip_existing,
    )
    check_stdout((job.target for job in plan.jobs), as_json=console.as_json)
    models = batch.models_for(flags.model, flags.machine, effort=effort, depth=flags.depth)
    models.check_codes({job.kind for job in plan.jobs})
    if flags.writing.dry_run:
        batch.dry_run(console, plan)
        return

    def work(progress: Progress) -> batch.Results:
        batch.reporting(console, progress, models)
        from vqtok.pipeline import encode as pipeline

        chosen = pipeline.EncodeOptions(
            depth=flags.depth,
            format=flags.format,
            threads=flags.jobs,
            context_for=lambda header: models.contexts.packing(header),
            effort=effort,
            **flags.reading.given(),
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


def _check(flags: EncodeChoices) -> None:
    """Refuse an engine that is not there, and for single files what only a corpus has.

    Raises:
        UsageError: one of the flags was given.
    """
    from vqtok.corpus.formats import FORMATS

    if flags.engine not in ENGINES:
        raise UsageError(f"--engine {flags.engine}", "unknown engine", hint=" or ".join(ENGINES))
    if flags.engine == "ray" and importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray", "Ray is not installed", hint="pip install 'vqtok[ray]'")
    if flags.format in FORMATS:
        return
    hint = f"--format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    if flags.shard_size is not None:
        raise UsageError("--shard-size", "only a corpus has shards", hint=hint)
    if flags.engine != "local":
        raise UsageError(f"--engine {flags.engine}", "only a corpus is made that way", hint=hint)
    if flags.carry is not None:
        raise UsageError("--carry", "only a corpus takes files along", hint=hint)
    if flags.append:
        raise UsageError("--append", "only a corpus grows", hint=hint)
    if flags.shard is not None:
        raise UsageError("--shard", "only a corpus has parts", hint=hint)

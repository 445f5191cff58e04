"""``vqtok decode``."""

from __future__ import annotations

from vqtok.cli import batch, corpus_decode, options, stream_decode
from vqtok.cli.coding_options import DecodeChoices
from vqtok.cli.console import Progress, check_stdout
from vqtok.errors import UsageError


def decode(files: options.Files, flags: DecodeChoices) -> None:
    """Turn codes back into images and audio files.

    FILE is a codes file, a directory of them (with all that is below it), a quoted pattern,
    @list.txt (a path on each line), or - for standard input; or one corpus, one composed stream, or
    with --vocabulary token ids in JSON, as a model sampled them. What comes out has the original's
    size, or length, channels and rate. The model is found by the fingerprint in the
    file; -m is needed for arrays without a header and for token files: (h, w), (B, h, w), (q, t),
    or flat with --size.

    \b
    Examples:
      vqtok decode codes.npy
      vqtok decode corpus/ -o out/
    """  # noqa: D301
    from vqtok.pipeline import arrays, plans

    console = flags.messages.console()
    if stream_decode.is_for(files, flags):
        stream_decode.decode(console, files, flags)
        return
    folder = corpus_decode.corpus_of(files)
    if folder is not None:
        corpus_decode.decode(console, folder, flags)
        return
    models = batch.models_for(flags.model, flags.machine)
    named = models.named()
    foreign = None if named is None else named.spec
    if named is not None:
        named.spec.require_codes(named.name)
        named.require_decoder()
    elif flags.size is not None:
        raise UsageError("--size", "the codes of which model?", hint="-m NAME")
    size = arrays.size_of(flags.size, foreign) if flags.size and foreign else None
    plan = plans.for_decode(
        files,
        output=flags.output,
        format=flags.format,
        foreign=foreign,
        force=flags.writing.force,
        skip_existing=flags.writing.skip_existing,
    )
    if foreign is not None:
        plan = arrays.expanded(
            plan,
            foreign,
            size=size,
            force=flags.writing.force,
            skip_existing=flags.writing.skip_existing,
        )
    check_stdout((job.target for job in plan.jobs), as_json=console.as_json)
    if flags.writing.dry_run:
        batch.dry_run(console, plan)
        return

    def work(progress: Progress) -> batch.Results:
        batch.reporting(console, progress, models)
        from vqtok.pipeline import decode as pipeline

        chosen = pipeline.DecodeOptions(
            depth=flags.depth,
            native_rate=flags.native_rate,
            format=flags.format,
            foreign=foreign,
            size=size,
            threads=flags.jobs,
            label=flags.label,
            levels=tuple(flags.levels.split(",")) if flags.levels else (),
            contexts=lambda header, fingerprint: models.contexts(header, fingerprint),
        )
        return pipeline.decode(
            plan.jobs,
            coder_for=lambda header: models.load(models.info_for_header(header)),
            options=chosen,
            on_start=lambda job: progress.stage(str(job.source or "stdin")),
            on_part=progress.part,
        )

    batch.run(console, plan, "decoded", work)

"""``vqtok decode STREAM -o DIR/`` and ``vqtok decode ids.json --vocabulary … -o DIR/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqtok.cli import batch
from vqtok.cli.coding_options import DecodeChoices
from vqtok.cli.console import Console, Progress
from vqtok.errors import UsageError


def is_for(files: Sequence[str], chosen: DecodeChoices) -> bool:
    """Tell whether the arguments are a composed stream, or ids with their vocabulary.

    Raises:
        UsageError: a stream among other things, or flags that belong to ids.
    """
    from vqtok.compose.state import is_stream

    if chosen.vocabulary is not None:
        return True
    found = [each for each in files if Path(each).is_dir() and is_stream(Path(each))]
    if found and len(files) > 1:
        raise UsageError(found[0], "a stream is decoded by itself", hint="name nothing else")
    if chosen.lenient:
        raise UsageError("--lenient", "of no effect without --vocabulary")
    return bool(found)


def decode(console: Console, files: Sequence[str], chosen: DecodeChoices) -> None:
    """Decode a stream, or lists of ids, into a directory.

    Raises:
        UsageError: no directory to write to, or files that exist.
        CodesError: a damaged stream.
        typer.Exit: 1 if a block failed.
    """
    from vqtok.media.plan import Plan
    from vqtok.pipeline import stream_decode
    from vqtok.pipeline.decode import DecodeOptions

    if chosen.output in (None, "", "-"):
        raise UsageError(files[0], "is decoded into a directory", hint="-o DIR/")
    target, subject = Path(str(chosen.output)), Path(files[0])
    if target.exists() and not target.is_dir():
        raise UsageError(f"-o {chosen.output}", "is no directory", hint="-o DIR/")
    if chosen.writing.skip_existing:
        raise UsageError("--skip-existing", "not for streams", hint="-f overwrites")
    if chosen.format is not None or chosen.depth is not None or chosen.levels is not None:
        flag = "--format" if chosen.format else "--depth" if chosen.depth else "--levels"
        raise UsageError(flag, "not for streams")
    if chosen.vocabulary is None:
        parts = stream_decode.stream_of(subject)
    else:
        parts = stream_decode.ids_of(
            files,
            Path(chosen.vocabulary),
            lenient=chosen.lenient,
            size=chosen.size,
            on_change=console.say,
        )
    planned = stream_decode.plan(parts, target, subject, force=chosen.writing.force)
    if chosen.writing.dry_run:
        for path in planned.targets:
            console.path(path)
        return

    def work(progress: Progress) -> batch.Results:
        models = batch.models_for(chosen.model, chosen.machine)
        batch.reporting(console, progress, models)
        options = DecodeOptions(
            native_rate=chosen.native_rate, threads=chosen.jobs, label=chosen.label
        )
        return stream_decode.decode_stream(
            parts,
            planned,
            subject=subject,
            coder_for=lambda header: models.load(models.info_for_header(header)),
            options=options,
            on_start=lambda job: progress.stage(str(job.source)),
            on_part=progress.part,
            on_text=console.path,
        )

    plan = Plan(planned.jobs, (), planned.failures)
    batch.run(console, plan, "decoded", work)

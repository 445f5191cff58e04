"""``vqtok pack`` and ``vqtok unpack``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqtok.cli import batch, options
from vqtok.cli.console import Console, Progress
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.pipeline.results import Failed

_REMEMBERED = 1000
"""Failures of a corpus that are printed at the end."""

Context = Annotated[
    Path | None,
    typer.Option(
        "--context",
        metavar="PATH",
        show_default=False,
        help="Context model: a file, or the directory of the prior that was trained; default: the "
        "one beside the model of the codes.",
    ),
]


def pack(
    files: options.Files,
    output: options.OutputFile = None,
    context: Context = None,
    *,
    writing: options.Writing,
    messages: options.ProgressMessages,
) -> None:
    """Write codes files in fewer bytes, without any loss.

    FILE is a codes file, a directory of them (with all that is below it), a quoted pattern or
    @list.txt (a path on each line); or one corpus, of which each item becomes a file below -o
    DIR/: cats/1.png is DIR/cats/1.png.vqz. The codes are packed as .vqz with the context model of
    the model that made them; without one by how often each code occurs, which saves little. decode
    and info read .vqz as any codes file, if the context model is here.

    \b
    Examples:
      vqtok pack codes.npy
      vqtok pack corpus/ -o packed/
    """  # noqa: D301
    from vqtok.pipeline.packed_corpora import corpus_of

    if (corpus := corpus_of(files)) is not None:
        _pack_corpus(messages.console(), corpus, output, context, writing)
        return
    _convert(messages.console(), files, output, "vqz", context, writing, "packed")


def unpack(
    files: options.Files,
    output: options.OutputFile = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="npy or safetensors, default: by the suffix of -o, else safetensors; or that of a "
            "corpus: tar, files, bin, parquet, arrow.",
        ),
    ] = None,
    context: Context = None,
    *,
    writing: options.Writing,
    messages: options.ProgressMessages,
) -> None:
    """Write packed codes as .npy or .safetensors again, or as a corpus.

    FILE is a .vqz file, a directory of them (with all that is below it), a quoted pattern or
    @list.txt (a path on each line). What comes out is what was packed, byte for byte if it was
    of the same format. A corpus of files that a corpus was packed to has its items and names; the
    same command goes on where it was stopped.

    \b
    Examples:
      vqtok unpack codes.vqz -o codes.npy
      vqtok unpack packed/ -o corpus/ --format tar
    """  # noqa: D301
    from vqtok.corpus.formats import FORMATS

    if format in FORMATS:
        _unpack_corpus(messages.console(), files, output, str(format), context, writing)
        return
    if format not in (None, "npy", "safetensors"):
        known = f"npy or safetensors; for a corpus: {', '.join(FORMATS)}"
        raise UsageError(f"--format {format}", "unknown format", hint=known)
    _convert(messages.console(), files, output, format, context, writing, "unpacked")


def _convert(
    console: Console,
    files: list[str],
    output: str | None,
    format: str | None,
    context: Path | None,
    writing: options.Writing,
    verb: str,
) -> None:
    from vqtok.pipeline import pack as pipeline
    from vqtok.pipeline.models import Models

    plan = pipeline.plan_for(
        files,
        output=output,
        format=format,
        force=writing.force,
        skip_existing=writing.skip_existing,
    )
    if writing.dry_run:
        batch.dry_run(console, plan)
        return
    models = Models(context=context)
    sizes: list[pipeline.Sizes] = []

    def work(progress: Progress) -> batch.Results:
        return pipeline.convert(
            plan.jobs,
            contexts=models.contexts,
            on_start=lambda job: progress.stage(str(job.source)),
            on_sizes=sizes.append,
        )

    try:
        batch.run(console, plan, verb, work)
    finally:
        if sizes:
            console.say(pipeline.in_words(sizes))


def _pack_corpus(
    console: Console,
    corpus: Path,
    output: str | None,
    context: Path | None,
    writing: options.Writing,
) -> None:
    from vqtok.corpus.index import is_corpus
    from vqtok.corpus.reader import CorpusReader
    from vqtok.pipeline import pack, packed_corpora
    from vqtok.pipeline.models import Models
    from vqtok.pipeline.results import Failed

    if output in (None, "", "-"):
        raise UsageError(corpus, "a corpus becomes many files", hint="-o DIR/")
    if writing.force and writing.skip_existing:
        raise UsageError("--force and --skip-existing exclude each other")
    folder, reader = Path(str(output)), CorpusReader(corpus)
    if is_corpus(folder):
        raise UsageError(folder, "holds a corpus", hint="choose another folder")
    if writing.dry_run:
        console.result(f"{corpus} -> {folder}: {len(reader)} files")
        return
    total, count, failed = pack.Sizes(0, 0, 0, 0.0), 0, list[Failed]()
    with console.progress(len(reader), "packed") as progress:
        results = packed_corpora.pack_items(
            reader,
            folder,
            contexts=Models(context=context).contexts,
            force=writing.force,
            skip_existing=writing.skip_existing,
        )
        for count, (result, sizes) in enumerate(results, 1):
            progress.goto(count)
            if sizes is not None:
                total = packed_corpora.summed(total, sizes)
            if isinstance(result, Failed) and len(failed) < _REMEMBERED:
                failed.append(result)
            if console.as_json:
                console.json(result.to_json())
    if skipped := len(reader) - count:
        console.say(f"skipped {skipped} existing {'output' if skipped == 1 else 'outputs'}")
    if not console.as_json and not console.quiet:
        console.path(folder)
    if total.codes:
        console.say(pack.in_words([total]))
    _leave(console, failed)


def _unpack_corpus(
    console: Console,
    files: list[str],
    output: str | None,
    format: str,
    context: Path | None,
    writing: options.Writing,
) -> None:
    from vqtok.corpus.writer import CorpusWriter
    from vqtok.pipeline import packed_corpora
    from vqtok.pipeline.models import Models
    from vqtok.pipeline.results import Failed

    if output in (None, "", "-"):
        raise UsageError(f"--format {format}", "a corpus is a folder", hint="-o DIR/")
    if writing.skip_existing:
        raise UsageError("--skip-existing", "a corpus goes on by itself", hint="leave it out")
    folder = Path(str(output))
    items, left_out = packed_corpora.items(files)
    if writing.dry_run:
        for each in items:
            console.result(f"{each.place} -> {folder}: {each.name}")
        return
    spec, model = packed_corpora.spec_of(items)
    carry = packed_corpora.carry_for(items, format=format, folder=folder, restart=writing.force)
    left_out.take_back(carry.files)
    failed: list[Failed] = []
    with CorpusWriter(
        folder,
        format=format,
        names=[item.name for item in items],
        spec=spec,
        job=packed_corpora.job_of(spec, model),
        restart=writing.force,
        carry=carry.kinds,
        command=shlex.join(["vqtok", *sys.argv[1:]]),
    ) as writer:
        before = len(items) - sum(1 for _ in writer.pending())
        if writer.complete:
            console.say(f"{folder}: complete already")
        with console.progress(len(items), "unpacked", start=before) as progress:
            results = packed_corpora.unpack_items(
                items, writer, contexts=Models(context=context).contexts, folder=folder
            )
            for count, result in enumerate(results, before + 1):
                progress.goto(count)
                if isinstance(result, Failed) and len(failed) < _REMEMBERED:
                    failed.append(result)
                if console.as_json:
                    console.json(result.to_json())
        found = writer.finish()
    if not console.as_json and not console.quiet:
        console.path(folder)
    console.say(f"corpus: {found.items} items, {found.tokens} codes")
    batch.report_left_out(console, left_out, any_taken=True)
    _leave(console, failed)
    if found.failed:  # of an earlier run
        raise typer.Exit(ExitCode.FAILED)


def _leave(console: Console, failed: list[Failed]) -> None:
    if failed:
        console.failures(failed)
        raise typer.Exit(ExitCode.FAILED)

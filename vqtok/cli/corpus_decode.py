"""``vqtok decode CORPUS -o DIR/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqtok.cli import batch
from vqtok.cli.coding_options import DecodeChoices
from vqtok.cli.console import Console, Progress
from vqtok.errors import UsageError


def corpus_of(files: Sequence[str]) -> Path | None:
    """Return the corpus among the arguments, or None.

    Raises:
        UsageError: a corpus among other things.
    """
    from vqtok.corpus.index import is_corpus
    from vqtok.corpus.names import TOKENS as TOKENS_FILE
    from vqtok.corpus.single import is_codes_tar

    # The tokens of a corpus are known by its other files.
    named = (p.parent if p.name == TOKENS_FILE else p for p in map(Path, files))
    found = [each for each in named if is_codes_tar(each) or (each.is_dir() and is_corpus(each))]
    if found and len(files) > 1:
        raise UsageError(found[0], "a corpus is decoded by itself", hint="name nothing else")
    return found[0] if found else None


def decode(console: Console, folder: Path, chosen: DecodeChoices) -> None:
    """Decode a whole corpus into a directory.

    Raises:
        UsageError: no directory to write to, or files that exist.
        CodesError: an unfinished or damaged corpus.
        typer.Exit: 1 if an item failed.
    """
    from vqtok.corpus.reader import CorpusReader
    from vqtok.corpus.single import TarReader
    from vqtok.pipeline import corpus_decode
    from vqtok.pipeline.decode import DecodeOptions

    if chosen.output in (None, "", "-"):
        raise UsageError(folder, "a corpus is decoded into a directory", hint="-o DIR/")
    target = Path(str(chosen.output))
    if target.exists() and not target.is_dir():
        raise UsageError(f"-o {chosen.output}", "is no directory", hint="-o DIR/")
    reader = TarReader(folder) if folder.is_file() else CorpusReader(folder)
    plan = corpus_decode.plan(
        reader,
        folder,
        target,
        format=chosen.format,
        force=chosen.writing.force,
        skip_existing=chosen.writing.skip_existing,
    )
    if chosen.writing.dry_run:
        batch.dry_run(console, plan)
        return

    def work(progress: Progress) -> batch.Results:
        models = batch.models_for(chosen.model, chosen.machine)
        batch.reporting(console, progress, models)
        options = DecodeOptions(
            depth=chosen.depth,
            native_rate=chosen.native_rate,
            threads=chosen.jobs,
            label=chosen.label,
            levels=tuple(chosen.levels.split(",")) if chosen.levels else (),
        )
        return corpus_decode.decode_corpus(
            reader,
            plan,
            coder_for=lambda header: models.load(models.info_for_header(header)),
            options=options,
            on_start=lambda job: progress.stage(str(job.source)),
            on_part=progress.part,
        )

    batch.run(console, plan, "decoded", work)

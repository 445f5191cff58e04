"""``vqtok compose``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqtok.cli import options
from vqtok.cli.console import Console
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.compose.state import Totals
    from vqtok.compose.stream import Choices
    from vqtok.compose.texts import Texts
    from vqtok.compose.vocabulary import Vocabulary
    from vqtok.pipeline.compose import Prepared


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Choose what a stream is made of."""

    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="PATH",
            help="Texts of the items, by key: .jsonl, .parquet, .tar, or a folder of .txt or .json "
            "files; default: what the corpora carry.",
        ),
    ] = None
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="PATH", help="tokenizer.json of the text."),
    ] = None
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="plain, rows, chat, emu3, chameleon, orpheus, moshi, or a JSON file; default: "
            "plain, with text rows.",
        ),
    ] = None
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="NAME",
            help="codes, text-to-codes or codes-to-text; default: codes, with a tokenizer "
            "text-to-codes.",
        ),
    ] = None
    documents: Annotated[
        Path | None,
        typer.Option(
            "--documents",
            metavar="JSONL",
            help='Interleaved documents, {"document": ["A cat", {"image": "cat.png"}]}, or chats, '
            '{"messages": […], "images": […]}.',
        ),
    ] = None
    extend: Annotated[
        bool,
        typer.Option(
            "--extend-tokenizer",
            help="Add all special tokens and codes to the tokenizer.json of the stream.",
        ),
    ] = False
    merges: Annotated[
        Path | None,
        typer.Option(
            "--merges",
            metavar="DIR",
            help="Merges of codes, which vqtok train --preset bpe learned: shorter sequences.",
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="NAME", help="Field of --text that names the item."),
    ] = None
    column: Annotated[
        str | None,
        typer.Option("--column", metavar="NAME", help="Field of --text that holds the text."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Laying:
    """Choose how a stream is laid out."""

    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="bin (.bin and .idx, as Megatron), parquet, arrow or tar.",
        ),
    ] = "bin"
    pack: Annotated[
        int | None,
        typer.Option(
            "--pack", metavar="N", min=1, help="Fill sequences of N tokens, one after the other."
        ),
    ] = None
    shuffle: Annotated[
        int | None,
        typer.Option("--shuffle", metavar="SEED", min=0, help="Shuffle the documents."),
    ] = None
    split: Annotated[
        float,
        typer.Option("--split", metavar="PART", help="Part of the documents for validation."),
    ] = 0.0
    shard: options.Shard = None

    def choices(self) -> Choices:
        """Return them for the pipeline, checked."""
        from vqtok.compose.stream import Choices

        made = Choices(
            self.format, self.pack, self.shuffle, self.split, options.shard_of(self.shard)
        )
        made.check()
        return made


def compose(
    corpora: options.Files,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder that becomes the stream."),
    ] = None,
    *,
    contents: Contents,
    laying: Laying,
    force: Annotated[bool, typer.Option("-f", "--force", help="Start over.")] = False,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Count tokens and documents; write nothing.")
    ] = False,
    messages: options.ProgressMessages,
) -> None:
    """Put codes and text into one stream of token ids that a language model trains on.

    FILE is a corpus, as `vqtok encode --format tar` and the others make it; several may be of
    different models. The folder holds the stream, what every id means in vocabulary.json, and what
    each document consists of. The same command goes on where it was stopped.

    \b
    Examples:
      vqtok compose corpus/ -o tokens/
      vqtok compose corpus/ --text captions.jsonl --tokenizer tokenizer.json -n
    """  # noqa: D301
    from vqtok.pipeline import compose as pipeline

    console = messages.console()
    choices = laying.choices()
    if output in (None, "", "-") and not dry_run:
        raise UsageError("-o", "a stream is a folder", hint="-o DIR/")
    request = pipeline.Request(tuple(map(Path, corpora)), **vars(contents))
    with pipeline.prepare(request) as prepared:
        if dry_run:
            _rehearse(console, prepared, choices)
        else:
            _write(console, prepared, choices, Path(str(output)), force=force)


def _rehearse(console: Console, prepared: Prepared, choices: Choices) -> None:
    from vqtok.compose.stream import rehearse

    composer = prepared.composer
    total = sum(composer.items(unit) for unit in choices.selection(composer).units)
    with console.progress(total, "counted", unit="items") as progress:
        done = 0

        def on_items(count: int) -> None:
            nonlocal done
            done += count
            progress.goto(done)

        totals = rehearse(composer, choices, on_items)
    _result(console, None, totals, prepared.vocabulary)
    _lacking(console, totals, None, prepared.texts, choices)


def _write(
    console: Console, prepared: Prepared, choices: Choices, folder: Path, *, force: bool
) -> None:
    from vqtok.compose.stream import compose as run

    composer = prepared.composer
    total = sum(composer.items(unit) for unit in choices.selection(composer).units)
    done = 0
    with console.progress(total, "composed", unit="items") as progress:

        def on_items(count: int) -> None:
            nonlocal done
            done += count
            progress.goto(done)

        def on_begin(count: int) -> None:
            if count:
                console.say(f"{folder}: {count} of {total} items done before, going on")
            on_items(count)

        totals, before = run(
            folder,
            composer,
            prepared.vocabulary,
            choices,
            job=prepared.job,
            sides=prepared.sides,
            texts=prepared.texts,
            restart=force,
            command=shlex.join(["vqtok", *sys.argv[1:]]),
            on_begin=on_begin,
            on_items=on_items,
        )
    if before:
        console.say(f"{folder}: complete already")
    _result(console, folder, totals, prepared.vocabulary)
    _lacking(console, totals, folder, None, choices)


def _result(console: Console, folder: Path | None, totals: Totals, vocabulary: Vocabulary) -> None:
    from dataclasses import asdict

    from vqtok.pipeline.merges import savings

    saved = savings(totals, vocabulary)
    size = totals.tokens * vocabulary.token_bytes
    if console.as_json:
        kind = {"stream": None if folder is None else str(folder), **asdict(totals)}
        kind |= {"merged": [asdict(each) for each in saved]}
        console.json({**kind, "vocabulary": vocabulary.size, "token_bytes": size})
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(totals.kinds.items()) if count)
    text = (
        f"{totals.documents} documents, {totals.tokens} tokens ({kinds}), {size} bytes, "
        f"longest {totals.longest}, {vocabulary.size} ids ({vocabulary.dtype})"
    )
    if folder is None:
        console.result("\n".join([text, *map(str, saved)]))
        return
    console.say(f"stream: {text}")
    for each in saved:
        console.say(str(each))
    if not console.quiet:
        console.path(folder)


def _lacking(
    console: Console, totals: Totals, folder: Path | None, texts: Texts | None, choices: Choices
) -> None:
    """Say which items are not in the stream, and leave with the exit code of that."""
    from vqtok.compose.stream import FAILED, MISSING, UNUSED

    where = "" if folder is None else f": {folder}/"
    unused = totals.unused
    if texts is not None and choices.shard[1] == 1:
        unused = sum(1 for _ in texts.unused())
    if unused:
        name = where and where + UNUSED
        console.say(f"{unused} texts of no item{name}")
    for count, what, file in (
        (totals.missing, "items without text", MISSING),
        (totals.failed, "items that could not be composed", FAILED),
    ):
        if count:
            console.say(f"Error: {count} {what}{where and where + file}")
    if totals.missing or totals.failed:
        raise typer.Exit(ExitCode.FAILED)

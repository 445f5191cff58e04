"""A composed stream, or token ids that a model sampled → media files and texts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vqtok import atomic, regular
from vqtok.compose.extending import is_of
from vqtok.compose.merges import undoing_of
from vqtok.compose.parsing import Parser, Wrong
from vqtok.compose.reader import Block, StreamReader, Text
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import TOKENIZER, Vocabulary
from vqtok.corpus import names
from vqtok.errors import CodesError, ConfigError, UsageError, VqtokError
from vqtok.media.plan import Job
from vqtok.pipeline import arrays, decode
from vqtok.pipeline.corpus_decode import inside
from vqtok.pipeline.plans import DEFAULT_FORMAT, RECON
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from vqtok.codes.container import Codes
    from vqtok.codes.header import Header
    from vqtok.protocols import Coder

Part = Block | Text | Wrong

Parts = Callable[[], Iterator[Part]]
"""Gives the blocks and texts of documents, from the first one, as often as it is called."""

_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class _BlockJob(Job):
    """Holds a job whose codes are read already."""

    block: Block


@dataclass(frozen=True)
class Planned:
    """Holds what will be written.

    Attributes:
        targets: Of each block and text, in order.
        jobs: Of the blocks.
        failures: What is no block: where, and why.
    """

    targets: tuple[Path, ...]
    jobs: tuple[Job, ...]
    failures: tuple[tuple[str, VqtokError], ...]


def targets(parts: Iterable[Block | Text], output: Path, subject: Path) -> Iterator[Path]:
    """Yield the file of each block and text: those of an item are called as it was.

    Blocks of no name, and all where a document has several, are numbered.

    Raises:
        CodesError: a name that leads outside of the folder.
    """
    taken: set[str] = set()
    for part in parts:
        if isinstance(part, Text):
            stem, suffix = f"document-{part.document:06d}", ".txt"
        else:
            plain = names.fault(part.name) is None and part.name
            stem = os.path.splitext(part.name)[0] if plain else f"document-{part.document:06d}"  # noqa: PTH122
            suffix = f"{RECON}.{DEFAULT_FORMAT[part.header.spec.modality]}"
        name, again = f"{stem}{suffix}", 1
        while name in taken:
            again += 1
            name = f"{stem}-{again}{suffix}"
        taken.add(name)
        yield inside(output, name, f"{subject}: {name}")


def plan(parts: Parts, output: Path, subject: Path, *, force: bool) -> Planned:
    """Plan what is written; all ids are read and checked for that.

    Raises:
        UsageError: files that exist.
        CodesError: blocks of a stream that are damaged, or names that lead elsewhere.
    """
    if output.resolve() == subject.resolve():
        raise UsageError(f"-o {output}", "is the stream itself", hint="-o another directory")
    failures: list[tuple[str, VqtokError]] = []
    kinds: list[bool] = []

    def sound() -> Iterator[Block | Text]:
        for part in parts():
            if isinstance(part, Wrong):
                where = f"{subject}: list {part.document}, position {part.position}"
                failures.append((str(subject), CodesError(where, part.reason, hint=part.hint)))
            else:
                kinds.append(isinstance(part, Block))
                yield part

    found = tuple(targets(sound(), output, subject))
    there = [path for path in found if os.path.lexists(path)]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(f"{there[0]}{more}", "already there", hint="-f overwrites")
    jobs = (
        Job(subject, path, "codes") for path, is_block in zip(found, kinds, strict=True) if is_block
    )
    return Planned(found, tuple(jobs), tuple(failures))


def decode_stream(
    parts: Parts,
    planned: Planned,
    *,
    subject: Path,
    coder_for: Callable[[Header], Coder],
    options: decode.DecodeOptions,
    on_start: Callable[[Job], None] = lambda job: None,
    on_part: Callable[[float], None] = lambda fraction: None,
    on_text: Callable[[Path], None] = lambda path: None,
) -> Iterator[Done | Failed]:
    """Decode every block and write every text; one that fails does not stop the others.

    Args:
        parts: Of the documents.
        planned: From ``plan``.
        subject: The stream.
        coder_for: Header → the coder of the model that made it.
        options: How to decode.
        on_start: Called with each job before it is worked on.
        on_part: Called with the part of a long recording that is done, 0 to 1.
        on_text: Called with the file of each text.
    """
    failed: list[Failed] = []

    def jobs() -> Iterator[Job]:
        sound = (part for part in parts() if not isinstance(part, Wrong))
        for part, target in zip(sound, planned.targets, strict=True):
            if isinstance(part, Block):
                source = subject / (part.name or f"document-{part.document:06d}")
                yield _BlockJob(source, target, "codes", part)
                continue
            try:
                with atomic.file(target) as temporary:
                    temporary.write_text(part.text, encoding="utf-8", newline="")
                on_text(target)
            except OSError as error:
                failed.append(Failed.of(target, error, has_model=True))

    results = decode.decode(
        jobs(),
        coder_for=coder_for,
        options=options,
        read=_codes_of,
        on_start=on_start,
        on_part=on_part,
    )
    yield from results
    yield from failed


def stream_of(folder: Path) -> Parts:
    """Open a composed stream; its checksums are checked.

    Raises:
        CodesError: unfinished or damaged.
    """
    reader = StreamReader(folder)
    reader.check()
    return reader.parts


def ids_of(
    files: Sequence[str],
    vocabulary: Path,
    *,
    lenient: bool,
    size: str | None,
    on_change: Callable[[str], None],
) -> Parts:
    """Open lists of ids: JSON of one list, or of several; a ``tokenizer.json`` may lie beside.

    Args:
        files: Of ids.
        vocabulary: ``vocabulary.json``, or the folder of a stream.
        lenient: Cut or fill damaged blocks.
        size: Of pictures, where ids do not say it: "HxW".
        on_change: Called with what was cut or filled, once for each.

    Raises:
        ConfigError: no vocabulary, or no merges of it beside.
        CodesError: not ids.
        UsageError: an extra that is not installed.
    """
    own = Vocabulary.read(vocabulary)
    folder = vocabulary if vocabulary.is_dir() else vocabulary.parent
    beside = folder / TOKENIZER
    text = TextTokenizer.read(beside) if own.text_sha256 and beside.is_file() else None
    if text is not None and not is_of(text, own):
        raise ConfigError(beside, f"not the tokenizer of {vocabulary}")
    lists = [each for file in files for each in _lists(Path(file))]
    extent = None if size is None else arrays.pixels_of(size)
    reported: set[Wrong] = set()

    def changed(wrong: Wrong) -> None:
        if wrong not in reported:
            reported.add(wrong)
            where = f"list {wrong.document}, position {wrong.position}"
            on_change(f"{where}: {wrong.reason}: cut or filled")

    undo = undoing_of(own.tokenizers, own.merges_sha256, folder)
    parser = Parser(own, text, undo=undo, lenient=lenient, size=extent, on_change=changed)

    def parts() -> Iterator[Part]:
        for number, ids in enumerate(lists):
            yield from parser.parts(ids, number)

    return parts


def _lists(path: Path) -> list[np.ndarray]:
    try:
        data = json.loads(regular.read(path, most=_MOST_BYTES))
    except OSError as error:
        raise CodesError(path, f"cannot read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CodesError(path, "not JSON") from error
    whole = data if isinstance(data, list) and data and isinstance(data[0], list) else [data]
    found = []
    for each in whole:
        if not isinstance(each, list) or not all(type(value) is int for value in each):
            raise CodesError(path, "not a list of token ids")
        if each and not -1 << 62 < min(each) <= max(each) < 1 << 62:
            raise CodesError(path, "ids beyond all vocabularies")
        found.append(np.array(each, np.int64))
    return found


def _codes_of(job: Job) -> tuple[Codes, Header]:
    if not isinstance(job, _BlockJob):
        raise CodesError(job.source or "stream", "no codes")
    return job.block.codes, job.block.header

"""A corpus of codes → media files, one item in memory at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vqtok.corpus.items import Entry
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.single import TarReader
from vqtok.errors import CodesError, UsageError, VqtokError
from vqtok.media.plan import Job, Plan
from vqtok.pipeline import decode
from vqtok.pipeline.plans import DEFAULT_FORMAT, RECON, modality_of
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from vqtok.codes.container import Codes
    from vqtok.codes.header import Header
    from vqtok.protocols import Coder

_SHOWN = 3
_DEEPEST, _LONGEST = 500, 255
"""Folders, and bytes of each, on common file systems and in Python's own recursion."""


@dataclass(frozen=True)
class CorpusPlan(Plan):
    """Holds what will be written.

    Attributes:
        numbers: Number of an item → its job.
    """

    numbers: Mapping[int, Job] = field(default_factory=dict)


@dataclass(frozen=True)
class _EntryJob(Job):
    """Holds a job whose codes are read already."""

    entry: Entry


def plan(
    reader: CorpusReader | TarReader,
    folder: Path,
    output: Path,
    *,
    format: str | None = None,
    force: bool = False,
    skip_existing: bool = False,
) -> CorpusPlan:
    """Plan what is written: ``cats/1.jpg`` becomes ``out/cats/1.recon.png``.

    Where several items differ in their suffixes alone, the suffixes stay: ``1.jpg.recon.png``. All
    shards are read and checked for that.

    Args:
        reader: Of the corpus.
        folder: The corpus.
        output: Nothing is written outside of it, whatever names the corpus holds.
        format: Suffix of what is written; None: png or wav.
        force: Overwrite files.
        skip_existing: Leave out items whose file exists.

    Raises:
        UsageError: a format that cannot be written, or files that exist.
        CodesError: a damaged shard.
    """
    if force and skip_existing:
        raise UsageError("--force and --skip-existing exclude each other")
    if output.resolve() == folder.resolve():
        raise UsageError(f"-o {output}", "is the corpus itself", hint="-o another directory")
    suffix = _suffix(reader, format)
    names = {entry.number: entry.name for entry in reader}
    stems = Counter(_stem(name) for name in names.values())
    numbers: dict[int, Job] = {}
    failures: list[tuple[str, VqtokError]] = []
    taken: set[str] = set()
    existing: set[int] = set()
    for number, name in names.items():
        source = folder / PurePosixPath(name)
        stem = name if stems[_stem(name)] > 1 else _stem(name)
        try:
            if name in taken:
                raise CodesError(source, "the corpus holds another item of this name")
            taken.add(name)
            target = inside(output, f"{stem}{RECON}{suffix}", str(source))
            job = Job(source, target, "codes")
            if _exists(job):
                existing.add(number)
            numbers[number] = job
        except CodesError as error:
            failures.append((str(source), error))
    if existing and not (force or skip_existing):
        _refuse([numbers[number] for number in sorted(existing)])
    left = {n: job for n, job in numbers.items() if not skip_existing or n not in existing}
    targets = (numbers[number].target for number in sorted(existing) if number not in left)
    skipped = tuple(target for target in targets if target is not None)
    return CorpusPlan(tuple(left.values()), skipped, tuple(failures), numbers=left)


def decode_corpus(
    reader: CorpusReader | TarReader,
    planned: CorpusPlan,
    *,
    coder_for: Callable[[Header], Coder],
    options: decode.DecodeOptions,
    on_start: Callable[[Job], None] = lambda job: None,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> Iterator[Done | Failed]:
    """Decode every item; one that fails does not stop the others.

    Args:
        reader: The corpus.
        planned: From ``plan``.
        coder_for: Header → the coder of the model that made it.
        options: How to decode.
        on_start: Called with each job before it is worked on.
        on_part: Called with the part of a long recording that is done, 0 to 1.
    """

    def jobs() -> Iterator[Job]:
        for entry in reader:
            job = planned.numbers.get(entry.number)
            if job is not None:
                yield _EntryJob(job.source, job.target, job.kind, entry)

    return decode.decode(
        jobs(),
        coder_for=coder_for,
        options=options,
        read=_codes_of,
        on_start=on_start,
        on_part=on_part,
    )


def _codes_of(job: Job) -> tuple[Codes, Header]:
    if not isinstance(job, _EntryJob):
        raise CodesError(job.source or "stdin", "no codes")
    return job.entry.codes, job.entry.header


def _suffix(reader: CorpusReader | TarReader, format: str | None) -> str:
    modality = reader.spec.modality
    default = DEFAULT_FORMAT.get(modality)
    if default is None:
        raise UsageError(f"codes of {modality} cannot be decoded yet")
    wanted = modality_of(format or default)
    if wanted != modality:
        why = "cannot be written" if wanted is None else f"the corpus holds {modality}"
        raise UsageError(f"--format {format}", why, hint=f"--format {default}")
    return f".{(format or default).lower().lstrip('.')}"


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name


def inside(output: Path, name: str, subject: str) -> Path:
    """Return a path below ``output``, whatever names and links lead elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise CodesError(subject, f"a name that leads outside of {output}")
    if not name.isprintable():  # a terminal would obey it
        raise CodesError(repr(subject), "a name that cannot be printed")
    if len(path.parts) > _DEEPEST or max(len(os.fsencode(part)) for part in path.parts) > _LONGEST:
        raise CodesError(subject, "a name that no file can have: it is too long")
    target = output / path
    if not target.parent.resolve().is_relative_to(output.resolve()):
        raise CodesError(subject, f"a link leads outside of {output}")
    return target


def _exists(job: Job) -> bool:
    return job.target is not None and os.path.lexists(job.target)


def _refuse(jobs: list[Job]) -> None:
    shown = ", ".join(str(job.target) for job in jobs[:_SHOWN])
    more = f" and {len(jobs) - _SHOWN} more" if len(jobs) > _SHOWN else ""
    raise UsageError(
        shown + more,
        f"already {'exists' if len(jobs) == 1 else 'exist'}",
        hint="-f overwrites, --skip-existing leaves them as they are",
    )

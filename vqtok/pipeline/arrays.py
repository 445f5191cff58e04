"""Codes without a header, and flat token files: what they hold, for the model of ``-m``.

A token file is what ``--format bin`` writes: BOS, then the ids of one channel of one item, and so
on; the same in an array. A token says its level and stage, so nothing can be mistaken for another.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, overload

import numpy as np

from vqtok.codes import arrays, files
from vqtok.codes.arrays import Item
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError, UsageError, VqtokError
from vqtok.media.plan import Job, Plan

if TYPE_CHECKING:
    from vqtok.codes.packed.vqz import Contexts

TOKENS = ".bin"
"""Suffix of token files, whose bytes do not say what they are."""


@dataclass(frozen=True)
class ArrayJob(Job):
    """Decodes one item of a file that has no header.

    Attributes:
        item: Its position.
    """

    item: int


def size_of(text: str, spec: CodeSpec) -> tuple[int, ...]:
    """Read "HxW", or a number of samples.

    Raises:
        UsageError: neither.
    """
    return _sizes(text, spec.modality)


def pixels_of(text: str) -> tuple[int, ...]:
    """Read "HxW".

    Raises:
        UsageError: something else.
    """
    return _sizes(text, "image")


def _sizes(text: str, modality: str) -> tuple[int, ...]:
    sizes = text.lower().replace("×", "x").split("x")
    expected = {"image": 2, "audio": 1}.get(modality, 3)
    if len(sizes) != expected or not all(each.isdecimal() and int(each) for each in sizes):
        form = "SAMPLES" if modality == "audio" else "HxW, such as 256x256"
        raise UsageError(f"--size {text}", "not the size of an original", hint=f"--size {form}")
    return tuple(int(each) for each in sizes)


def read(
    source: Path | BinaryIO,
    spec: CodeSpec,
    *,
    size: tuple[int, ...] | None = None,
    contexts: Contexts | None = None,
) -> Sequence[Item]:
    """Read all items of a file.

    Args:
        source: A codes file, an array without a header, a token file, or a binary stream.
        spec: Of the model that arrays and tokens are for.
        size: Original size of their items; None: grid times stride.
        contexts: Finds what ``.vqz`` was packed with.

    Raises:
        CodesError: unreadable or damaged, or it does not fit the model.
    """
    subject = source if isinstance(source, Path) else "stdin"
    try:
        if isinstance(source, Path) and source.suffix.lower() == TOKENS:
            return _token_file(source, spec, size)
        found = files.read_plain(source, contexts=contexts)
        if isinstance(found, dict) and len(found) == 1:
            (array,) = found.values()
            depth = _depth_of(array.reshape(-1)[:1], spec) if array.ndim in (1, 2) else 0
            if depth:
                return Tokens(array.reshape(-1), spec, depth, size)
        if isinstance(found, dict):
            return arrays.items(found, spec, extent=size)
        return [arrays.checked(found, size)]
    except CodesError as error:
        error.about(subject)
        raise


def _token_file(path: Path, spec: CodeSpec, size: tuple[int, ...] | None) -> Sequence[Item]:
    # As many bytes to an id as the vocabulary needs, which depends on the stages that were kept.
    for depth in range(spec.depth or 1, 0, -1):
        dtype = np.dtype(_vocabulary(spec, depth).dtype).newbyteorder("<")
        try:
            if path.stat().st_size < dtype.itemsize or path.stat().st_size % dtype.itemsize:
                continue
            ids = np.memmap(path, dtype, mode="r")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise CodesError(f"cannot read: {reason}") from error
        if _depth_of(ids[:1], spec) == depth:
            return Tokens(ids, spec, depth, size)
    raise CodesError(
        "not a token file of this model: it does not begin with BOS",
        hint="is it of another model, or of a model with other codebooks?",
    )


def _vocabulary(spec: CodeSpec, depth: int) -> Vocabulary:
    levels = (
        replace(level, depth=min(depth, level.depth or depth)) if "q" in level.axes else level
        for level in spec.levels
    )
    return Vocabulary(replace(spec, levels=tuple(levels)))


def _depth_of(first: np.ndarray, spec: CodeSpec) -> int:
    """Return the stages whose BOS this is, all where there are none; 0: it is no BOS."""
    depths = range(spec.depth or 1, 0, -1)
    return next((n for n in depths if len(first) and int(first[0]) == _vocabulary(spec, n).bos), 0)


class Tokens(Sequence[Item]):
    """Items of a sequence of token ids; each is read when it is asked for.

    Args:
        ids: (n,) integers, BOS first.
        spec: Of the model.
        depth: Stages that were kept.
        size: Original size of each item; None: audio, whose length the tokens say.

    Raises:
        CodesError: sizes that must be known.
    """

    def __init__(
        self, ids: np.ndarray, spec: CodeSpec, depth: int, size: tuple[int, ...] | None
    ) -> None:
        self._ids, self._spec, self._depth, self._size = ids, spec, depth, size
        self._vocabulary = _vocabulary(spec, depth)
        self._starts = np.append(np.flatnonzero(ids == self._vocabulary.bos), len(ids))
        if size is None and (spec.modality != "audio" or len(spec.levels) > 1):
            raise CodesError(
                "tokens: the size of the original must be known",
                hint="--size HxW; or decode the folder that they were written in",
            )

    def __len__(self) -> int:
        """Count the items."""
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Return an item's codes and the header that it lacks.

        Raises:
            CodesError: tokens that are not those of the size.
        """
        if isinstance(index, slice):
            return [self[at] for at in range(len(self))[index]]
        at = range(len(self))[index]
        sequence = np.asarray(self._ids[self._starts[at] : self._starts[at + 1]])[None]
        shapes = self._shapes(sequence.shape[1] - 1)
        extent = self._size or self._spec.largest_extent(shapes)
        codes = self._vocabulary.codes(sequence, shapes, spec=self._spec, extent=extent)
        return codes, Header(self._spec, extent)

    def _shapes(self, count: int) -> list[tuple[int, ...]]:
        kept = self._depth if self._spec.depth is not None else None
        if self._size is None:
            (level,) = self._spec.levels
            stages = self._depth if "q" in level.axes else 1
            if not count or count % stages:
                raise CodesError(f"{count} tokens between BOS: not a multiple of {stages}")
            return [tuple(stages if axis == "q" else count // stages for axis in level.axes)]
        shapes = [tuple(shape) for shape in self._spec.shapes(self._size, depth=kept)]
        expected = sum(math.prod(shape) for shape in shapes)
        if count != expected:
            size = "x".join(map(str, self._size))
            raise CodesError(f"{count} tokens between BOS, {expected} expected for {size}")
        return shapes


def expanded(
    plan: Plan,
    spec: CodeSpec,
    *,
    size: tuple[int, ...] | None,
    force: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """Give each item of files that hold several a job and a target of its own: ``x-0.recon.png``.

    Args:
        plan: To decode files.
        spec: Of the model of files without a header.
        size: Original size of their items.
        force: Targets may exist.
        skip_existing: Items whose target exists are left out.

    Raises:
        UsageError: several items for one stream, or targets that exist.
    """
    jobs: list[Job] = []
    failures, skipped = list(plan.failures), list(plan.skipped)
    for job in plan.jobs:
        if job.source is None or files.has_header(job.source):
            jobs.append(job)
            continue
        try:
            count = len(read(job.source, spec, size=size))
        except UsageError:
            raise
        except VqtokError as error:
            failures.append((str(job.source), error))
            continue
        for each in _each(job, count):
            if count > 1 and each.target is not None and os.path.lexists(each.target) and not force:
                if not skip_existing:
                    hint = "-f overwrites, --skip-existing leaves it as it is"
                    raise UsageError(each.target, "already exists", hint=hint)
                skipped.append(each.target)
                continue
            jobs.append(each)
    return replace(plan, jobs=tuple(jobs), failures=tuple(failures), skipped=tuple(skipped))


def _each(job: Job, count: int) -> Iterator[ArrayJob]:
    if count > 1 and job.target is None:
        raise UsageError(
            job.source, f"holds {count} items, a stream takes one", hint="-o DIR/ or -o NAME.png"
        )
    digits = len(str(count - 1))
    for item in range(count):
        target = job.target
        if target is not None and count > 1:
            stem, dot, rest = target.name.partition(".")
            target = target.with_name(f"{stem}-{item:0{digits}d}{dot}{rest}")
        yield ArrayJob(job.source, target, job.kind, item)

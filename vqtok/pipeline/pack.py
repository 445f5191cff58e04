"""Codes files ⇄ packed ones: the same codes and header, in fewer bytes or in those of an array."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from vqtok.codes import files, rates
from vqtok.codes.packed import SUFFIX
from vqtok.corpus.index import is_corpus
from vqtok.errors import UsageError
from vqtok.media.plan import Job, Plan, plan
from vqtok.pipeline.plans import CODES
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from vqtok.pipeline.contexts import Contexts


class Sizes(NamedTuple):
    """Bytes of a codes file before and after, and what its codes come to."""

    before: int
    after: int
    codes: int
    nominal_bits: float


def plan_for(
    inputs: Sequence[str],
    *,
    output: str | None,
    format: str | None,
    force: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """Codes files → codes files of another format.

    Args:
        inputs: Files, directories, patterns.
        output: The ``-o`` argument.
        format: "vqz", "npy" or "safetensors"; None: by ``output``, else safetensors.
        force: Overwrite existing targets.
        skip_existing: Leave out inputs whose targets exist.

    Raises:
        UsageError: as ``plan``; standard streams, corpora, or a target of another format.
    """
    for name in inputs:
        if is_corpus(Path(name)):
            raise UsageError(name, "a corpus, which holds codes unpacked already")
    suffixes = (
        (SUFFIX,)
        if format == SUFFIX[1:]
        else tuple(each for each in files.SUFFIXES if each != SUFFIX)
    )
    made = plan(
        inputs,
        output=output,
        kinds=CODES,
        suffix=f".{format or 'safetensors'}",
        force=force,
        skip_existing=skip_existing,
    )
    for job in made.jobs:
        if job.source is None or job.target is None:
            raise UsageError("-", "files are packed and unpacked, not streams")
        if job.target.suffix.lower() not in suffixes:
            known = " or ".join(suffixes)
            raise UsageError(
                job.target, f"not what is written: {known}", hint=f"-o NAME{suffixes[0]}"
            )
    return made


def convert(
    jobs: Sequence[Job],
    *,
    contexts: Contexts,
    on_start: Callable[[Job], None] = lambda job: None,
    on_sizes: Callable[[Sizes], None] = lambda sizes: None,
) -> Iterator[Done | Failed]:
    """Write the codes of each file in the format of its target; one that fails stops no other.

    Args:
        jobs: From ``plan_for``.
        contexts: Finds context models.
        on_start: Called with each job before it is worked on.
        on_sizes: Called with the sizes of each that is done.

    Yields:
        One result per job.
    """
    for job in jobs:
        on_start(job)
        begun = time.perf_counter()
        try:
            source, target = cast(Path, job.source), cast(Path, job.target)
            codes, header = files.read(source, contexts=contexts)
            is_packed = target.suffix.lower() == SUFFIX
            context = contexts.packing(header) if is_packed else None
            files.write(target, codes, header, context=context)
            seconds = time.perf_counter() - begun
            counts = [array.size for array in codes.levels]
            bits = rates.bits(header.spec.levels, counts)
            on_sizes(Sizes(source.stat().st_size, target.stat().st_size, sum(counts), bits))
        except Exception as error:
            yield Failed.of(job.source, error, has_model=True)
        else:
            yield Done.of(job, header, codes.shapes, seconds=seconds)


def in_words(sizes: Sequence[Sizes]) -> str:
    """Sum up bytes, and bits a code as stored and as nominal."""
    total = Sizes(*(sum(column) for column in zip(*sizes, strict=True)))
    stored = 8 * total.after / max(total.codes, 1)
    nominal = total.nominal_bits / max(total.codes, 1)
    return (
        f"{total.before} bytes became {total.after}: {stored:.2f} bits a code, headers included; "
        f"{nominal:.2f} nominal"
    )

"""Codes files → media files, of the original's size, length, rate and channels."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from vqtok.allocator import give_back
from vqtok.codes import files, streams
from vqtok.codes.arrays import Item
from vqtok.codes.container import Codes, Shapes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CodesError, UsageError
from vqtok.media.plan import Job
from vqtok.pipeline import arrays
from vqtok.pipeline.encode import LARGE
from vqtok.pipeline.labels import check_label
from vqtok.pipeline.results import Done, Failed
from vqtok.pipeline.workers import finish_later
from vqtok.protocols import Coder, ImageCoder, is_audio, is_image

if TYPE_CHECKING:
    from vqtok.codes.packed.vqz import Contexts

Found = tuple[Codes, Header] | streams.Reader
"""The codes; or, if they come through a pipe and may be long in coming, their stream."""


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode.

    Attributes:
        depth: Use the first N residual stages; None: all that the file has.
        native_rate: Leave audio at the model's rate instead of the original's.
        format: "png", "wav", …; None: by the target's suffix.
        foreign: Spec of the model for arrays without a header; None: such arrays are refused.
        size: Original size of these; None: grid times stride.
        threads: Pictures written while the model works on the next.
        label: The class or speaker that decoding is conditioned on; None: the model has none.
        levels: Names of the levels that are kept, the others being the same everywhere; (): all.
        contexts: Finds what ``.vqz`` was packed with.
    """

    depth: int | None = None
    native_rate: bool = False
    format: str | None = None
    foreign: CodeSpec | None = None
    size: tuple[int, ...] | None = None
    threads: int = 2
    label: str | None = None
    levels: tuple[str, ...] = ()
    contexts: Contexts | None = None


def decode(
    jobs: Iterable[Job],
    *,
    coder_for: Callable[[Header], Coder],
    options: DecodeOptions | None = None,
    read: Callable[[Job], tuple[Codes, Header]] | None = None,
    on_start: Callable[[Job], None] = lambda job: None,
    on_part: Callable[[float], None] = lambda fraction: None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Iterator[Done | Failed]:
    """Decode each job, in order; one that fails does not stop the others.

    Pictures come back at their exact size, grey ones as grey; recordings with their channels, rate
    and exact length. Memory holds the codes of a recording, or one tile of it where they come
    through a pipe as a stream, and a picture as Pillow does.

    Args:
        jobs: From ``media.plan``.
        coder_for: Header of a codes file → the coder of the model that made it; it may refuse with
            a ``CodesError``.
        options: How to decode.
        read: Gives a job's codes; None: they are read from its source.
        on_start: Called with each job before it is worked on.
        on_part: Called with the fraction of a long recording that is done.
        stdin: Where jobs without a source read; default: the process's.
        stdout: Where jobs without a target write; default: the process's.

    Yields:
        One result per job.

    Raises:
        UsageError: a mistake that every job would repeat.
    """
    chosen = options or DecodeOptions()
    reader = stdin if stdin is not None else sys.stdin.buffer
    writer = stdout if stdout is not None else sys.stdout.buffer

    # The items of one file come one after the other.
    arrays_of = lru_cache(maxsize=1)(
        partial(arrays.read, spec=chosen.foreign, size=chosen.size, contexts=chosen.contexts)  # type: ignore[arg-type]
    )
    codes_of = read or partial(_codes_of, stdin=reader, options=chosen, arrays_of=arrays_of)
    works = (
        _decode(job, codes_of, writer, coder_for, chosen, on_start=on_start, on_part=on_part)
        for job in jobs
    )
    return finish_later(works, threads=chosen.threads)


def _decode(
    job: Job,
    codes_of: Callable[[Job], Found],
    stdout: BinaryIO,
    coder_for: Callable[[Header], Coder],
    options: DecodeOptions,
    *,
    on_start: Callable[[Job], None],
    on_part: Callable[[float], None],
) -> Callable[[], Done | Failed]:
    """Do what needs the model now; return what is left, the writing, and the result."""
    on_start(job)
    begun, coder = time.perf_counter(), None
    try:
        found = codes_of(job)
        reading_s = time.perf_counter() - begun
        made = coder_for(found.header if isinstance(found, streams.Reader) else found[1])
        check_label(made, options.label)
        coder = made
        begun = time.perf_counter() - reading_s  # without the loading of the model
        target = stdout if job.target is None else job.target
        steps: list[Callable[[], None]] = []
        if isinstance(found, streams.Reader):
            header, shapes = _decode_stream(coder, found, target, options)
        else:
            codes, header = found
            if options.depth is not None:
                codes = codes.truncate(options.depth)
            if options.levels:
                codes = _only_levels(codes, options.levels)
            shapes = codes.shapes
            if is_image(coder):
                steps += _decode_image(coder, codes, header, target, options)
            elif is_audio(coder):
                from vqtok.pipeline import recordings

                recordings.decode(
                    coder,
                    codes,
                    header,
                    target,
                    native_rate=options.native_rate,
                    format=options.format,
                    label=options.label,
                    on_part=on_part,
                )
        if job.target is None:
            steps.append(stdout.flush)
        return partial(_finish, job, header, shapes, steps, begun=begun)
    except Exception as error:
        has_model = coder is not None
        result = Failed.of(job.source, error, has_model=has_model)
        return lambda: result


def _codes_of(
    job: Job,
    *,
    stdin: BinaryIO,
    options: DecodeOptions,
    arrays_of: Callable[[Path], Sequence[Item]],
) -> Found:
    """Read the codes; or, if they come through a pipe and may be long in coming, their stream."""
    source: Path | BinaryIO = stdin if job.source is None else job.source
    if not isinstance(source, Path):
        incoming = streams.Incoming(source)
        if incoming.is_codes_stream():
            return streams.Reader(incoming)
        source = cast(BinaryIO, incoming)
    if options.foreign is None:
        return files.read(source, contexts=options.contexts)
    if isinstance(job, arrays.ArrayJob) and job.source is not None:
        try:
            return arrays_of(job.source)[job.item]
        except CodesError as error:
            error.about(job.source)
            raise
    found = arrays.read(source, options.foreign, size=options.size, contexts=options.contexts)
    if len(found) > 1:
        what = f"{len(found)} items in one array, one expected"
        raise CodesError(job.source or "stdin", what)
    return found[0]


def _decode_stream(
    coder: Coder, reader: streams.Reader, target: Path | BinaryIO, options: DecodeOptions
) -> tuple[Header, Shapes]:
    if not is_audio(coder):
        raise CodesError(f"model {coder.name} is of {coder.spec.modality}, not of audio")
    if options.levels:
        raise UsageError("--levels", "streams have one level")
    from vqtok.pipeline import recordings

    return recordings.decode_stream(
        coder,
        reader,
        target,
        depth=options.depth,
        native_rate=options.native_rate,
        format=options.format,
        label=options.label,
    )


def _decode_image(
    coder: ImageCoder,
    codes: Codes,
    header: Header,
    target: Path | BinaryIO,
    options: DecodeOptions,
) -> list[Callable[[], None]]:
    """Put tiles, as the model makes them, into the one copy that Pillow holds; return the rest."""
    from vqtok.media import image

    height, width = codes.extent
    large = height * width > LARGE
    if large:
        give_back()
    grey = header.source.mode == "L"
    writer = image.Writer(target, (height, width), format=options.format, grey=grey)
    for rows, columns, pixels in coder.decode_tiles(codes, label=options.label):
        writer.put(rows, columns, pixels)
    if large:
        writer.save()  # before the next picture takes as much memory
        return []
    return [writer.save]


def _finish(
    job: Job, header: Header, shapes: Shapes, steps: Sequence[Callable[[], None]], *, begun: float
) -> Done | Failed:
    try:
        for step in steps:
            step()
    except Exception as error:
        return Failed.of(job.source, error, has_model=True)
    return Done.of(job, header, shapes, seconds=time.perf_counter() - begun)


def _only_levels(codes: Codes, names: Sequence[str]) -> Codes:
    """Keep some levels of codes; all positions of the others get their most frequent code.

    Args:
        codes: numpy codes, (B, *axes) per level; each item of the batch for itself.
        names: Of the levels that stay.

    Raises:
        UsageError: a level that the codes do not have.
    """
    known = [level.name for level in codes.spec.levels]
    for name in names:
        if name not in known:
            hint = f"levels: {', '.join(known)}"
            raise UsageError(f"--levels {name}", "the codes have no such level", hint=hint)
    levels = [
        array if name in names else np.stack([_even(item) for item in array])
        for name, array in zip(known, codes.levels, strict=True)
    ]
    return replace(codes, levels=tuple(levels))


def _even(item: np.ndarray) -> np.ndarray:
    values, counts = np.unique(item, return_counts=True)
    return np.full_like(item, values[counts.argmax()])

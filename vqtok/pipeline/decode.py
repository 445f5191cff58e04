"""Codes files → media files, of the original's size, length, rate and channels."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from vqtok.allocator import give_back
from vqtok.codes import files, streams
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.media import image
from vqtok.pipeline import playing
from vqtok.pipeline.ahead import finish_behind
from vqtok.pipeline.encode import AHEAD_PIXELS, measured
from vqtok.pipeline.guard import failed
from vqtok.pipeline.labels import check_label, told
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from vqtok.codes.spec import CodeSpec
    from vqtok.media.plan import Job


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
        threads: Pictures written while the model works on the next.
        label: The class or speaker that the model is told; None: it has none.
    """

    depth: int | None = None
    native_rate: bool = False
    format: str | None = None
    foreign: CodeSpec | None = None
    threads: int = 2
    label: str | None = None


def decode(
    jobs: Iterable[Job],
    *,
    tokenizer_for: Callable[[Header], Any],
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
        tokenizer_for: Header of a codes file → the tokenizer that made it; it may refuse with a
            ``CodesError``.
        options: How to decode.
        read: Gives a job's codes; None: they are read from its source.
        on_start: Told of each job before it is worked on.
        on_part: Told how much of a long recording is done, 0 to 1.
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

    codes_of = read or partial(_codes_of, stdin=reader, options=chosen)
    works = (
        _work(job, codes_of, writer, tokenizer_for, chosen, on_start=on_start, on_part=on_part)
        for job in jobs
    )
    return finish_behind(works, threads=chosen.threads)


def _work(
    job: Job,
    codes_of: Callable[[Job], Found],
    stdout: BinaryIO,
    tokenizer_for: Callable[[Header], Any],
    options: DecodeOptions,
    *,
    on_start: Callable[[Job], None],
    on_part: Callable[[float], None],
) -> Callable[[], Done | Failed]:
    """Do what needs the model now; give back what is left, the writing, and the result."""
    on_start(job)
    begun, tokenizer = time.perf_counter(), None
    try:
        found = codes_of(job)
        reading_s = time.perf_counter() - begun
        made = tokenizer_for(found.header if isinstance(found, streams.Reader) else found[1])
        check_label(made, options.label)
        tokenizer = made
        begun = time.perf_counter() - reading_s  # without the loading of the model
        target = stdout if job.target is None else job.target
        steps: list[Callable[[], None]] = []
        if isinstance(found, streams.Reader):
            header, shapes = _play(tokenizer, found, target, options)
        else:
            codes, header = found
            if options.depth is not None:
                codes = codes.truncate(options.depth)
            steps += _decode(tokenizer, codes, header, target, options, on_part)
            shapes = tuple(tuple(array.shape[1:]) for array in codes.levels)
        if job.target is None:
            steps.append(stdout.flush)
        return partial(_finish, job, header, shapes, steps, begun=begun)
    except Exception as error:
        has_model = tokenizer is not None
        return partial(_known, failed(job.source, error, target=job.target, has_model=has_model))


def _codes_of(job: Job, *, stdin: BinaryIO, options: DecodeOptions) -> Found:
    """The codes; or, if they come through a pipe and may be long in coming, their stream."""
    source: Path | BinaryIO = stdin if job.source is None else job.source
    if not isinstance(source, Path):
        incoming = streams.Incoming(source)
        if incoming.is_codes_stream():
            return streams.Reader(incoming)
        source = cast(BinaryIO, incoming)
    if options.foreign is None:
        return files.read(source)
    return files.read_foreign(source, options.foreign)


def _play(
    tokenizer: Any, reader: streams.Reader, target: Path | BinaryIO, options: DecodeOptions
) -> tuple[Header, tuple[tuple[int, ...], ...]]:
    went = playing.decode_stream(
        tokenizer,
        reader,
        target,
        depth=options.depth,
        native_rate=options.native_rate,
        format=options.format,
        label=options.label,
    )
    return went.header, (went.shape,)


def _decode(
    tokenizer: Any,
    codes: Codes,
    header: Header,
    target: Path | BinaryIO,
    options: DecodeOptions,
    on_part: Callable[[float], None],
) -> list[Callable[[], None]]:
    """Run the model now; give back what needs no model."""
    if codes.spec.modality != "audio":
        return _decode_image(tokenizer, codes, header, target, options)
    playing.decode(
        tokenizer,
        codes,
        header,
        target,
        native_rate=options.native_rate,
        format=options.format,
        label=options.label,
        on_part=on_part,
    )
    return []


def _decode_image(
    tokenizer: Any, codes: Codes, header: Header, target: Path | BinaryIO, options: DecodeOptions
) -> list[Callable[[], None]]:
    """Tiles of pixels, as the model makes them, into the one copy that Pillow holds."""
    import torch

    height, width = codes.extent
    large = height * width > AHEAD_PIXELS
    if large:
        give_back()
    grey = header.source.mode == "L"
    writer = image.Writer(target, (height, width), format=options.format, grey=grey)
    with torch.inference_mode():
        if tokenizer.exact:
            for rows, columns, pixels in tokenizer.decode_tiles(codes, **told(options.label)):
                writer.put(rows, columns, pixels.float().cpu().numpy())
        else:
            decoded = tokenizer.decode(_tensors(codes), **told(options.label))
            writer.write(decoded[0].float().cpu().numpy())
    if large:
        writer.save()  # before the next picture takes as much memory
        return []
    return [writer.save]


def _tensors(codes: Codes) -> Codes:
    """The same codes as int64 tensors, which is what models take."""
    import torch

    levels = tuple(torch.from_numpy(array.astype(np.int64)) for array in codes.levels)
    return replace(codes, levels=levels)


def _finish(
    job: Job,
    header: Header,
    shapes: tuple[tuple[int, ...], ...],
    steps: Sequence[Callable[[], None]],
    *,
    begun: float,
) -> Done | Failed:
    try:
        for step in steps:
            step()
    except Exception as error:
        return failed(job.source, error, target=job.target, has_model=True)
    return measured(job, header, shapes, seconds=time.perf_counter() - begun)


def _known(result: Failed) -> Failed:
    return result

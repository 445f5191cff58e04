"""Media files → codes files."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vqtok import __version__, atomic
from vqtok.allocator import give_back
from vqtok.codes import files, rates, streams
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.errors import CodesError
from vqtok.media import image
from vqtok.media.opening import os_message
from vqtok.media.pixels import parse_background
from vqtok.pipeline import hearing
from vqtok.pipeline.ahead import read_ahead
from vqtok.pipeline.guard import failed
from vqtok.pipeline.plans import STREAM
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from torch import Tensor

    from vqtok.codes.spec import CodeSpec
    from vqtok.media.plan import Job


AHEAD_PIXELS = 1 << 24
"""Larger pictures are decoded and written one by one, not beside each other."""


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    Attributes:
        depth: Keep the first N residual stages; None: all.
        mono: Mix the channels of audio down to one.
        background: Colour behind transparent pixels.
        max_pixels: Larger images are refused; None: no limit.
        format: "npy", "safetensors" or, for audio, "stream"; None: by the target's suffix; stream
            for audio that goes from stdin to stdout.
        threads: Pictures decoded ahead of the model.
    """

    depth: int | None = None
    mono: bool = False
    background: str = "white"
    max_pixels: int | None = image.MAX_PIXELS
    format: str | None = None
    threads: int = 2


def encode(
    jobs: Sequence[Job],
    *,
    tokenizer_for: Callable[[str], Any],
    options: EncodeOptions | None = None,
    on_start: Callable[[Job], None] = lambda job: None,
    on_part: Callable[[float], None] = lambda fraction: None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Iterator[Done | Failed]:
    """Encode each job, in order; one that fails does not stop the others.

    Each file goes through the model alone, so its codes depend on nothing but the file and the
    model. Memory holds the codes of a recording, or one tile of it where they leave as they are
    made, and a picture as Pillow does.

    Args:
        jobs: From ``media.plan``.
        tokenizer_for: "image" or "audio" → the tokenizer to use; called when the first such file is
            ready.
        options: How to encode.
        on_start: Told of each job before it is worked on.
        on_part: Told how much of a long recording is done, 0 to 1.
        stdin: Where jobs without a source read; default: the process's.
        stdout: Where jobs without a target write; default: the process's.

    Yields:
        One result per job.

    Raises:
        UsageError: a mistake that every job would repeat.
    """
    chosen = options or EncodeOptions()
    parse_background(chosen.background)
    reader = stdin if stdin is not None else sys.stdin.buffer
    writer = stdout if stdout is not None else sys.stdout.buffer

    read = partial(_read, stdin=reader, options=chosen)
    for job, pending in read_ahead(jobs, read, threads=chosen.threads):
        on_start(job)
        result: Done | Failed
        tokenizer = None
        try:
            tokenizer = tokenizer_for(job.kind)
            begun = time.perf_counter()
            if job.kind == "audio" and _is_streamed(job, chosen, tokenizer.spec):
                went = _stream(tokenizer, job, reader, writer, chosen, on_part)
                shapes = (went.shape,)
                result = measured(job, went.header, shapes, seconds=time.perf_counter() - begun)
            else:
                if job.kind == "image":
                    picture, reading_s = pending.result()
                    begun -= reading_s
                    codes, facts = _encode_image(tokenizer, picture or _load(job, reader, chosen))
                else:
                    source = reader if job.source is None else job.source
                    codes, facts = hearing.encode(
                        tokenizer, source, mono=chosen.mono, on_part=on_part
                    )
                kept, header = _finish(codes, facts, job, tokenizer, depth=chosen.depth)
                _write(job.target, writer, kept, header, format=chosen.format)
                result = done(job, kept, header, seconds=time.perf_counter() - begun)
        except Exception as error:
            result = failed(job.source, error, target=job.target, has_model=tokenizer is not None)
        yield result


def done(job: Job, codes: Codes, header: Header, *, seconds: float) -> Done:
    """The result of one job, from the codes that it read or wrote."""
    shapes = tuple(tuple(array.shape[1:]) for array in codes.levels)
    return measured(job, header, shapes, seconds=seconds)


def measured(
    job: Job, header: Header, shapes: tuple[tuple[int, ...], ...], *, seconds: float
) -> Done:
    """The result of one job, from its header and the shape of each level of one channel."""
    spec, channels = header.spec, header.channels
    counts = [channels * math.prod(shape) for shape in shapes]
    return Done(
        source=job.source,
        target=job.target,
        modality=spec.modality,
        model=header.model,
        fingerprint=spec.fingerprint,
        extent=header.extent,
        shapes=shapes,
        tokens=sum(counts),
        bits=rates.bits(spec.levels, counts),
        seconds=seconds,
        channels=channels,
        rate_hz=spec.rate if spec.modality == "audio" else None,
    )


def _is_streamed(job: Job, options: EncodeOptions, spec: CodeSpec) -> bool:
    if options.format is None:
        return job.source is None and job.target is None and streams.has_form(spec)
    return options.format == STREAM


def _read(job: Job, *, stdin: BinaryIO, options: EncodeOptions) -> Any:
    """A picture and the seconds it took; None for audio, which is streamed later.

    The picture is None if it is too large to wait beside others.
    """
    if job.kind != "image":
        return None
    begun = time.perf_counter()
    if job.source is not None:
        info = image.probe(job.source)
        if info.width * info.height > AHEAD_PIXELS:
            return None, 0.0
    return _load(job, stdin, options), time.perf_counter() - begun


def _load(job: Job, stdin: BinaryIO, options: EncodeOptions) -> image.Picture:
    source = stdin if job.source is None else job.source
    return image.load(source, background=options.background, max_pixels=options.max_pixels)


def _encode_image(tokenizer: Any, picture: image.Picture) -> tuple[Codes, Source]:
    """Give the model windows of the picture as it asks for them, so that no other copy is made."""
    import torch

    def window(rows: slice, columns: slice) -> Tensor:
        return torch.from_numpy(picture.window(rows, columns))

    info = picture.info
    if info.width * info.height > AHEAD_PIXELS:
        give_back()
    with torch.inference_mode():
        if tokenizer.exact:
            codes: Codes = tokenizer.encode_windows((info.height, info.width), window)
        else:
            codes = tokenizer.encode(torch.from_numpy(picture.whole())[None])
    mode = "L" if image.is_grey(info) else "RGB"
    return codes.numpy(), Source(mode=mode, format=info.format)


def _stream(
    tokenizer: Any,
    job: Job,
    stdin: BinaryIO,
    stdout: BinaryIO,
    options: EncodeOptions,
    on_part: Callable[[float], None],
) -> hearing.Streamed:
    """Codes that leave while the recording is read."""

    def header(source: Source, channels: int, length: int) -> Header:
        return _header(tokenizer.spec, source, job, tokenizer, extent=(length,), channels=channels)

    place = stdin if job.source is None else job.source
    run = partial(
        hearing.encode_stream,
        tokenizer,
        place,
        header=header,
        mono=options.mono,
        depth=options.depth,
        on_part=on_part,
    )
    name = "stdout" if job.target is None else str(job.target)
    try:
        if job.target is None:
            return run(target=stdout)
        with atomic.file(job.target) as temporary, temporary.open("wb") as stream:
            return run(target=stream)
    except OSError as error:
        raise CodesError(f"{name}: cannot write: {os_message(error)}") from error


def _finish(
    codes: Codes, source: Source, job: Job, tokenizer: Any, *, depth: int | None
) -> tuple[Codes, Header]:
    kept = codes if depth is None else codes.truncate(depth)
    return kept, _header(kept.spec, source, job, tokenizer, extent=kept.extent, channels=len(kept))


def _header(
    spec: CodeSpec,
    source: Source,
    job: Job,
    tokenizer: Any,
    *,
    extent: tuple[int, ...],
    channels: int,
) -> Header:
    return Header(
        spec=spec,
        extent=extent,
        model=tokenizer.name,
        channels=channels,
        source=replace(source, name="" if job.source is None else job.source.name),
        vqtok=__version__,
    )


def _write(
    target: Path | None, stdout: BinaryIO, codes: Codes, header: Header, *, format: str | None
) -> None:
    if target is not None:
        files.write(target, codes, header, format=format)
        return
    try:
        files.write(stdout, codes, header, format=format)
        stdout.flush()
    except OSError as error:
        raise CodesError(f"stdout: cannot write: {os_message(error)}") from error

"""Codes files → media files, of the original's size, length, rate and channels."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.errors import CodesError
from vqtok.media import audio, image
from vqtok.pipeline.ahead import finish_behind
from vqtok.pipeline.encode import done
from vqtok.pipeline.guard import failed
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from vqtok.codes.spec import CodeSpec
    from vqtok.media.plan import Job


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode.

    Attributes:
        depth: Use the first N residual stages; None: all that the file has.
        native_rate: Leave audio at the model's rate instead of the original's.
        format: "png", "wav", …; None: by the target's suffix.
        foreign: Spec of the model for arrays without a header; None: such arrays are refused.
        threads: Pictures written while the model works on the next.
    """

    depth: int | None = None
    native_rate: bool = False
    format: str | None = None
    foreign: CodeSpec | None = None
    threads: int = 2


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
    and exact length. Audio is streamed: memory holds one tile and the codes.

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
    codes_of: Callable[[Job], tuple[Codes, Header]],
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
        codes, header = codes_of(job)
        reading_s = time.perf_counter() - begun
        tokenizer = tokenizer_for(header)
        begun = time.perf_counter() - reading_s  # without the loading of the model
        if options.depth is not None:
            codes = codes.truncate(options.depth)
        target = stdout if job.target is None else job.target
        write = _nothing
        if codes.spec.modality == "audio":
            _decode_audio(tokenizer, codes, header, target, options, on_part)
        else:
            write = _decode_image(tokenizer, codes, header, target, options)
        flush = stdout.flush if job.target is None else _nothing
        return partial(_finish, job, codes, header, (write, flush), begun=begun)
    except Exception as error:
        has_model = tokenizer is not None
        return partial(_known, failed(job.source, error, target=job.target, has_model=has_model))


def _codes_of(job: Job, *, stdin: BinaryIO, options: DecodeOptions) -> tuple[Codes, Header]:
    source = stdin if job.source is None else job.source
    if options.foreign is None:
        return files.read(source)
    return files.read_foreign(source, options.foreign)


def _decode_image(
    tokenizer: Any, codes: Codes, header: Header, target: Path | BinaryIO, options: DecodeOptions
) -> Callable[[], None]:
    """Run the model now; give back the writing, which needs no model."""
    import torch

    with torch.inference_mode():
        pixels = tokenizer.decode(_tensors(codes))[0].float().cpu().numpy()
    grey = header.source.mode == "L"
    return partial(image.write, target, pixels, format=options.format, grey=grey)


def _decode_audio(
    tokenizer: Any,
    codes: Codes,
    header: Header,
    target: Path | BinaryIO,
    options: DecodeOptions,
    on_part: Callable[[float], None],
) -> None:
    """Stream the codes of all channels through the model into a file."""
    import torch

    rate_hz, total = int(codes.spec.rate or 0), codes.extent[0]
    _check_length(header, rate_hz, total)
    as_it_was = header.source.rate is not None and not options.native_rate
    writer = audio.Writer(
        target,
        (header.source.rate or rate_hz) if as_it_was else rate_hz,
        len(codes),
        options.format,
        from_rate=rate_hz,
        length=header.source.length if as_it_was else total,
    )
    array = _tensors(codes).levels[0]
    written = 0
    with writer, torch.inference_mode():
        for piece in tokenizer.decode_stream([array], total):  # (C, 1, n)
            writer.write(piece[:, 0].float().cpu().numpy())
            written += piece.shape[-1]
            on_part(written / max(total, 1))


def _check_length(header: Header, rate_hz: int, total: int) -> None:
    # What is missing is written as silence: a few bytes of codes must not ask for years of it.
    source = header.source
    if source.rate is None or source.length is None:
        return
    if audio.resampled_length(source.length, source.rate, rate_hz) != total:
        raise CodesError(
            f"damaged header: {source.length} samples at {source.rate} Hz are not "
            f"{total} at {rate_hz} Hz"
        )


def _tensors(codes: Codes) -> Codes:
    """The same codes as int64 tensors, which is what models take."""
    import torch

    levels = tuple(torch.from_numpy(array.astype(np.int64)) for array in codes.levels)
    return replace(codes, levels=levels)


def _finish(
    job: Job, codes: Codes, header: Header, steps: tuple[Callable[[], None], ...], *, begun: float
) -> Done | Failed:
    try:
        for step in steps:
            step()
    except Exception as error:
        return failed(job.source, error, target=job.target, has_model=True)
    return done(job, codes, header, seconds=time.perf_counter() - begun)


def _known(result: Failed) -> Failed:
    return result


def _nothing() -> None:
    """Audio is on disk already when its codes are used up."""

"""Media files → codes files."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from vqtok import __version__
from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.errors import CodesError
from vqtok.media import audio, image
from vqtok.media.opening import os_message
from vqtok.media.pixels import parse_background
from vqtok.pipeline.ahead import read_ahead
from vqtok.pipeline.guard import failed
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from torch import Tensor

    from vqtok.media.plan import Job


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    Attributes:
        depth: Keep the first N residual stages; None: all.
        mono: Mix the channels of audio down to one.
        background: Colour behind transparent pixels.
        max_pixels: Larger images are refused; None: no limit.
        format: "npy" or "safetensors"; None: by the target's suffix.
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
    model. Audio is streamed: memory holds one block and the codes.

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
            if job.kind == "image":
                codes, facts, reading_s = _encode_image(tokenizer, *pending.result())
                begun -= reading_s
            else:
                source = reader if job.source is None else job.source
                codes, facts = _encode_audio(tokenizer, source, mono=chosen.mono, on_part=on_part)
            kept, header = _finish(codes, facts, job, tokenizer, depth=chosen.depth)
            _write(job.target, writer, kept, header, format=chosen.format)
            result = done(job, kept, header, seconds=time.perf_counter() - begun)
        except Exception as error:
            result = failed(job.source, error, target=job.target, has_model=tokenizer is not None)
        yield result


def done(job: Job, codes: Codes, header: Header, *, seconds: float) -> Done:
    """The result of one job, from the codes that it read or wrote."""
    spec = codes.spec
    pairs = zip(spec.levels, codes.levels, strict=True)
    return Done(
        source=job.source,
        target=job.target,
        modality=spec.modality,
        model=header.model,
        fingerprint=spec.fingerprint,
        extent=codes.extent,
        shapes=tuple(tuple(array.shape[1:]) for array in codes.levels),
        tokens=codes.tokens,
        bits=sum(level.bits_per_code * math.prod(array.shape) for level, array in pairs),
        seconds=seconds,
        channels=header.channels,
        rate_hz=spec.rate if spec.modality == "audio" else None,
    )


def _read(job: Job, *, stdin: BinaryIO, options: EncodeOptions) -> Any:
    """Pixels, facts and the seconds it took; None for audio, which is streamed later."""
    if job.kind != "image":
        return None
    begun = time.perf_counter()
    source = stdin if job.source is None else job.source
    pixels, info = image.read(source, background=options.background, max_pixels=options.max_pixels)
    return pixels, info, time.perf_counter() - begun


def _encode_image(
    tokenizer: Any, pixels: np.ndarray, info: image.ImageInfo, reading_s: float
) -> tuple[Codes, Source, float]:
    import torch

    with torch.inference_mode():
        codes: Codes = tokenizer.encode(torch.from_numpy(pixels)[None])
    mode = "L" if image.is_grey(info) else "RGB"
    return codes.numpy(), Source(mode=mode, format=info.format), reading_s


def _encode_audio(
    tokenizer: Any,
    source: Path | BinaryIO,
    *,
    mono: bool,
    on_part: Callable[[float], None],
) -> tuple[Codes, Source]:
    """Stream a recording through the model; its channels are the batch."""
    import torch

    rate_hz = int(tokenizer.spec.rate)
    level = tokenizer.spec.levels[0]
    with audio.Reader(source) as reader, torch.inference_mode():
        info = reader.info
        total = audio.resampled_length(info.length, info.rate, rate_hz)
        read = 0

        def blocks() -> Iterator[Tensor]:
            nonlocal read
            for block in reader.blocks(rate_hz, mono=mono):
                read += block.shape[-1]
                on_part(read / total)
                yield torch.from_numpy(block)[:, None]  # (C, 1, n)

        # Kept as small integers: an hour of eight stages is 4 MB instead of 17.
        pieces = [
            piece.cpu().numpy().astype(level.dtype) for piece in tokenizer.encode_stream(blocks())
        ]
    codes = Codes(tokenizer.spec, (np.concatenate(pieces, axis=-1),), (read,))
    return codes, Source(rate=info.rate, length=info.length, format=info.format)


def _finish(
    codes: Codes, source: Source, job: Job, tokenizer: Any, *, depth: int | None
) -> tuple[Codes, Header]:
    kept = codes if depth is None else codes.truncate(depth)
    header = Header(
        spec=kept.spec,
        extent=kept.extent,
        model=tokenizer.name,
        channels=len(kept),
        source=replace(source, name="" if job.source is None else job.source.name),
        vqtok=__version__,
    )
    return kept, header


def _write(
    target: Path | None, stdout: BinaryIO, codes: Codes, header: Header, *, format: str | None
) -> None:
    if target is not None:
        files.write(target, codes, header, format=format)
        return
    # Whole or not at all, also into a pipe: a reader must not mistake half a file for one.
    whole = io.BytesIO()
    files.write(whole, codes, header, format=format)
    try:
        stdout.write(whole.getbuffer())
        stdout.flush()
    except OSError as error:
        raise CodesError(f"stdout: cannot write: {os_message(error)}") from error

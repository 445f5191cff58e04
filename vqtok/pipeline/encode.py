"""Media → codes: the one way that files, corpora and evaluations take, and the verb itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from vqtok import __version__, atomic
from vqtok.allocator import give_back
from vqtok.codes import files, streams
from vqtok.codes.container import Codes, Shapes
from vqtok.codes.header import NO_EFFORT, Effort, Header, Source
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CodesError
from vqtok.media.kinds import MAX_PIXELS
from vqtok.media.opening import os_message
from vqtok.media.plan import Job
from vqtok.pipeline.plans import STREAM
from vqtok.pipeline.results import Done, Failed
from vqtok.pipeline.workers import prefetch
from vqtok.protocols import AudioCoder, Coder, ImageCoder, is_audio, is_image

if TYPE_CHECKING:
    from vqtok.codes.packed.vqz import Context
    from vqtok.media import image

WHITE = "white"

LARGE = 1 << 24
"""Pixels of pictures that are decoded and written one by one, not beside each other."""


@dataclass(frozen=True)
class CodingOptions:
    """All that codes depend on besides the file and the model.

    Attributes:
        depth: Keep the first N residual stages; None: all.
        mono: Mix the channels of audio down to one.
        background: Colour behind transparent pixels.
        max_pixels: Larger images are refused; None: no limit.
        effort: How hard the coder searches the codes of images.
    """

    depth: int | None = None
    mono: bool = False
    background: str = WHITE
    max_pixels: int | None = MAX_PIXELS
    effort: Effort = NO_EFFORT


@dataclass(frozen=True)
class EncodeOptions(CodingOptions):
    """How to encode.

    Attributes:
        format: "npy", "safetensors", "vqz" or, for audio, "stream"; None: by the target's suffix;
            stream for audio that goes from stdin to stdout.
        threads: Pictures decoded before the model needs them.
        context_for: Header → what ``.vqz`` is packed with, or None.
    """

    format: str | None = None
    threads: int = 2
    context_for: Callable[[Header], Context | None] = lambda header: None


class Encoded(NamedTuple):
    """Codes of one picture or recording, and what it was."""

    codes: Codes
    """numpy codes; B is 1, or the channels of a recording."""
    source: Source
    left_out: tuple[str, ...] = ()
    """What of it is not in the codes, in words."""

    def named(self, name: str, coder: Coder, *, depth: int | None) -> tuple[Codes, Header]:
        """Complete the header, under the name of the file.

        Args:
            name: Without its folder; "" for standard input.
            coder: That made the codes.
            depth: Keep the first N residual stages; None: all.

        Raises:
            CodesError: a depth that these codes do not have.
        """
        kept = self.codes if depth is None else self.codes.truncate(depth)
        source = replace(self.source, name=name)
        return kept, header_of(coder, kept.spec, source, extent=kept.extent, channels=len(kept))


def encode_image(
    coder: ImageCoder, picture: image.Picture, *, check: Callable[[], None] = lambda: None
) -> Encoded:
    """Encode a picture by the windows that the coder asks for, so that no other copy is made.

    Args:
        coder: Of images.
        picture: As Pillow holds it.
        check: Called before each window.
    """
    info = picture.info
    if info.width * info.height > LARGE:
        give_back()

    def window(rows: slice, columns: slice) -> np.ndarray:
        check()
        return picture.window(rows, columns)

    codes = coder.encode_windows((info.height, info.width), window)
    return Encoded(codes, image_source(info), info.left_out)


def image_source(info: image.ImageInfo) -> Source:
    """Describe a picture as its restoration needs it."""
    from vqtok.media import image

    return Source(mode="L" if image.is_grey(info) else "RGB", format=info.format)


def header_of(
    coder: Coder, spec: CodeSpec, source: Source, *, extent: tuple[int, ...], channels: int
) -> Header:
    """Make the header of what a coder encoded."""
    effort: Effort = getattr(coder, "effort", NO_EFFORT)  # of a coder that searches
    return Header(
        spec=spec,
        extent=extent,
        model=coder.name,
        channels=channels,
        source=source,
        vqtok=__version__,
        effort=effort.level,
        effort_metric=effort.metric if effort.level else "",
    )


def encode(
    jobs: Sequence[Job],
    *,
    coder_for: Callable[[str], Coder],
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
        coder_for: "image" or "audio" → the coder to use; called when the first such file is ready.
        options: How to encode.
        on_start: Called with each job before it is worked on.
        on_part: Called with the fraction of a long recording that is done.
        stdin: Where jobs without a source read; default: the process's.
        stdout: Where jobs without a target write; default: the process's.

    Yields:
        One result per job.

    Raises:
        UsageError: a mistake that every job would repeat.
    """
    chosen = options or EncodeOptions()
    if chosen.background != WHITE:
        from vqtok.media.image.pixels import parse_background

        parse_background(chosen.background)
    reader = stdin if stdin is not None else sys.stdin.buffer
    writer = stdout if stdout is not None else sys.stdout.buffer

    read = partial(_read, stdin=reader, options=chosen)
    for job, pending in prefetch(jobs, read, threads=chosen.threads):
        on_start(job)
        result: Done | Failed
        coder = None
        left_out: tuple[str, ...] = ()
        try:
            coder = coder_for(job.kind)
            begun = time.perf_counter()
            source = reader if job.source is None else job.source
            if is_image(coder):
                picture, reading_s = pending.result()
                begun -= reading_s
                encoded = encode_image(coder, picture or _load(source, chosen))
                left_out = encoded.left_out
                header, shapes = _write(coder, encoded, job, writer, chosen)
            elif is_audio(coder) and _is_streamed(job, chosen, coder.spec):
                header, shapes = _stream(coder, source, job, writer, chosen, on_part)
            elif is_audio(coder):
                from vqtok.pipeline import recordings

                encoded = Encoded(
                    *recordings.encode(coder, source, mono=chosen.mono, on_part=on_part)
                )
                header, shapes = _write(coder, encoded, job, writer, chosen)
            seconds = time.perf_counter() - begun
            result = Done.of(job, header, shapes, seconds=seconds, left_out=left_out)
        except Exception as error:
            result = Failed.of(job.source, error, has_model=coder is not None)
        yield result


def _is_streamed(job: Job, options: EncodeOptions, spec: CodeSpec) -> bool:
    if options.format is None:
        return job.source is None and job.target is None and streams.has_form(spec)
    return options.format == STREAM


def _read(
    job: Job, *, stdin: BinaryIO, options: EncodeOptions
) -> tuple[image.Picture | None, float]:
    """Read a picture, and count the seconds; None for audio, which is read piece by piece.

    A picture that is too large to wait beside others is read later, too.
    """
    if job.kind != "image":
        return None, 0.0
    from vqtok.media import image

    begun = time.perf_counter()
    if job.source is not None:
        info = image.probe(job.source)
        if info.width * info.height > LARGE:
            return None, 0.0
    picture = _load(stdin if job.source is None else job.source, options)
    return picture, time.perf_counter() - begun


def _load(source: Path | BinaryIO, options: EncodeOptions) -> image.Picture:
    from vqtok.media import image

    return image.load(source, background=options.background, max_pixels=options.max_pixels)


def _write(
    coder: Coder, encoded: Encoded, job: Job, stdout: BinaryIO, options: EncodeOptions
) -> tuple[Header, Shapes]:
    """Write codes that are all there."""
    codes, header = encoded.named(_name(job), coder, depth=options.depth)
    packed = options.format == "vqz" or (job.target is not None and job.target.suffix == ".vqz")
    context = options.context_for(header) if packed else None
    if job.target is not None:
        files.write(job.target, codes, header, format=options.format, context=context)
    else:
        try:
            files.write(stdout, codes, header, format=options.format, context=context)
            stdout.flush()
        except OSError as error:
            raise CodesError("stdout", f"cannot write: {os_message(error)}") from error
    return header, codes.shapes


def _stream(
    coder: AudioCoder,
    source: Path | BinaryIO,
    job: Job,
    stdout: BinaryIO,
    options: EncodeOptions,
    on_part: Callable[[float], None],
) -> tuple[Header, Shapes]:
    """Write codes while the recording is read."""
    from vqtok.pipeline import recordings

    def header(found: Source, channels: int, length: int) -> Header:
        named = replace(found, name=_name(job))
        return header_of(coder, coder.spec, named, extent=(length,), channels=channels)

    run = partial(
        recordings.encode_stream,
        coder,
        source,
        header=header,
        mono=options.mono,
        depth=options.depth,
        on_part=on_part,
    )
    try:
        if job.target is None:
            return run(target=stdout)
        with atomic.file(job.target) as temporary, temporary.open("wb") as stream:
            return run(target=stream)
    except OSError as error:
        name = "stdout" if job.target is None else job.target
        raise CodesError(name, f"cannot write: {os_message(error)}") from error


def _name(job: Job) -> str:
    return "" if job.source is None else job.source.name

"""Media files → what coding does to them: quality, rate, speed, and codebook use over all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import numpy as np

from vqtok.codes import header as headers
from vqtok.codes.header import Header, Source
from vqtok.media import audio, image
from vqtok.metrics.metric import Metric
from vqtok.pipeline import pictures
from vqtok.pipeline.classical import Classical
from vqtok.pipeline.encode import CodingOptions, header_of, image_source
from vqtok.pipeline.evaluated import ItemReport as ItemReport
from vqtok.pipeline.evaluated import Summary as Summary
from vqtok.pipeline.labels import label_for
from vqtok.pipeline.recordings import grouped, ungrouped
from vqtok.pipeline.tally import FileTally, Tally

if TYPE_CHECKING:
    from vqtok.codes.container import Codes
    from vqtok.codes.packed.vqz import Context
    from vqtok.media.plan import Job
    from vqtok.protocols import Coder

    AnyCoder = Coder | Classical

SEGMENT_S = 30
"""Longer recordings than two of these are evaluated in segments, so that memory stays flat."""


@dataclass(frozen=True)
class EvaluateOptions(CodingOptions):
    """How to evaluate.

    Attributes:
        metrics: Names of metrics (``metrics.registry.MEASURES``); None: all that are installed.
        label: Of all files; None: that of each is the name of its directory, if the model has any.
    """

    metrics: tuple[str, ...] | None = None
    label: str | None = None


Packing = Callable[["Header"], "Context | None"]
"""Header → what codes are packed with."""

OnPair = Callable[[np.ndarray, np.ndarray, "int | None"], None]
"""Shown an original, its reconstruction, and their rate in Hz: (3, H, W) or (C, L) in [-1, 1]."""


class Measured(NamedTuple):
    """One file that was evaluated and is not counted yet."""

    report: ItemReport
    tally: FileTally


class Evaluation:
    """Evaluates files with one model: ``measure`` and ``take`` each, then ask for ``summaries``.

    Args:
        coder_for: "image" or "audio" → the coder; it may raise for a kind it is not for.
        options: How to evaluate.
        kinds: Kinds of the files to come: which missing packages are worth a note.
        name: What the reports call the model; "": by its own name.
        packing: What its codes are packed with, to count stored bits; None: counts alone.

    Attributes:
        notes: What to tell the user of metrics that are left out.
        has_model: Whether the last file's model was at hand.

    Raises:
        UsageError: an unknown metric, or a named one whose package is missing.
    """

    def __init__(
        self,
        coder_for: Callable[[str], AnyCoder],
        *,
        options: EvaluateOptions | None = None,
        kinds: Sequence[str],
        name: str,
        packing: Packing | None = None,
    ) -> None:
        from vqtok.metrics.registry import choose

        self.options = options or EvaluateOptions()
        self._coder_for = coder_for
        self._columns, self.notes = choose(self.options.metrics, kinds)
        self._name, self.has_model = name, False
        self._packing = packing or (lambda header: None)
        self._tallies: dict[str, Tally] = {}

    def columns(self, kind: str) -> tuple[Metric, ...]:
        """Returns the metrics that are computed for a kind of file, in order."""
        return tuple(column for column in self._columns if column.modality == kind)

    def summaries(self) -> tuple[Summary, ...]:
        """Returns one summary per kind of which a file has been evaluated so far."""
        return tuple(tally.summary() for tally in self._tallies.values() if tally.files)

    def measure(
        self,
        job: Job,
        place: Path | BinaryIO,
        *,
        budgets: Sequence[float] = (),
        on_part: Callable[[float], None],
        on_pair: OnPair | None = None,
    ) -> Measured:
        """Evaluate one file; it counts nowhere until it is given to ``take``.

        Args:
            job: The file.
            place: Where it is read.
            budgets: Of a classical codec: bits that it may take, segment by segment.
            on_part: Called with the share of a long recording that is done, 0 to 1.
            on_pair: Shown the original and what became of it; of a long recording the first
                segment.

        Raises:
            VqtokError: the file, or the model.
        """
        self.has_model = False
        coder = self._coder_for(job.kind)
        self.has_model = True
        if job.kind not in self._tallies:
            columns = self.columns(job.kind)
            self._tallies[job.kind] = Tally(coder, columns, model=self._name)
        tally = self._tallies[job.kind].file(budgets)
        if job.kind == "image":
            return self._image(coder, job, place, tally, on_pair or _unseen)
        return self._audio(coder, job, place, tally, on_part, on_pair or _unseen)

    def take(self, measured: Measured) -> None:
        """Count a file in the summary."""
        self._tallies[measured.report.modality].add(*measured)

    def _image(
        self, coder: AnyCoder, job: Job, place: Path | BinaryIO, tally: FileTally, on_pair: OnPair
    ) -> Measured:
        import torch

        options = self.options
        pixels, info = image.read(
            place, background=options.background, max_pixels=options.max_pixels
        )
        x = pixels[None]
        label = _label(coder, job.source, options.label)
        grey = image.is_grey(info)
        name = "" if job.source is None else job.source.name
        source = replace(image_source(info), name=name)
        stored = partial(self._stored, coder, source)
        y = tally.code(coder, x, depth=options.depth, label=label, grey=grey, stored=stored)
        if grey:  # decode restores it as grey: the mean of the channels
            y = np.repeat(y.mean(1, keepdims=True), x.shape[1], axis=1)
        pair = torch.from_numpy(x), torch.from_numpy(y)
        tally.values({each.name: each.value(*pair) for each in self.columns("image")}, weight=1.0)
        report = tally.done(job.source, target=job.target)
        if job.target is not None and report.picture is not None:
            image.write(job.target, y[0], grey=grey)
            captions = ("original", f"decoded, {report.caption}")
            picture = pictures.compare_images(pixels, y[0], captions=captions)
            pictures.save(report.picture, picture)
        on_pair(pixels, y[0], None)
        return Measured(report, tally)

    def _audio(
        self,
        coder: AnyCoder,
        job: Job,
        place: Path | BinaryIO,
        tally: FileTally,
        on_part: Callable[[float], None],
        on_pair: OnPair,
    ) -> Measured:
        import torch

        rate, columns = int(coder.spec.rate or 0), self.columns("audio")
        label = _label(coder, job.source, self.options.label)
        first: tuple[np.ndarray, np.ndarray] | None = None
        with ExitStack() as stack:
            reader = stack.enter_context(audio.Reader(place))
            channels = 1 if self.options.mono else reader.info.channels
            total = audio.resampled_length(reader.info.length, reader.info.rate, rate)
            name = "" if job.source is None else job.source.name
            info = reader.info
            source = Source(name, info.rate, info.length, format=info.format)
            stored = partial(self._stored, coder, source)
            writer = None
            if job.target is not None:
                writer = stack.enter_context(audio.Writer(job.target, rate, channels))
            for segment in segments(reader.blocks(rate, mono=self.options.mono), SEGMENT_S * rate):
                given = grouped(segment, coder.spec.channels, name=str(place))
                coded = tally.code(
                    coder, given, depth=self.options.depth, label=label, stored=stored
                )
                y = ungrouped(coded, channels)
                pair = torch.from_numpy(segment[:, None]), torch.from_numpy(y[:, None])
                values = {each.name: each.value(*pair, rate_hz=rate) for each in columns}
                tally.values(values, weight=segment.shape[-1])
                if writer is not None:
                    writer.write(y)
                if first is None:
                    first = segment, y
                on_part(tally.length / total)
        report = tally.done(job.source, target=job.target)
        if first is not None:
            if report.picture is not None:
                shown = (torch.from_numpy(each[:1]) for each in first)
                captions = ("original", f"decoded, {report.caption}")
                picture = pictures.compare_recordings(*shown, rate=rate, captions=captions)
                pictures.save(report.picture, picture)
            on_pair(*first, rate)
        return Measured(report, tally)

    def _stored(self, coder: AnyCoder, source: Source, codes: Codes) -> int:
        """Count the bytes of the packed file of codes."""
        from vqtok.codes.packed import vqz

        spec = codes.spec
        header = header_of(
            cast("Coder", coder), spec, source, extent=codes.extent, channels=len(codes)
        )
        return len(vqz.dump(codes.numpy(), headers.encode(header), self._packing(header)))


def _label(coder: AnyCoder, source: Path | None, label: str | None) -> str | None:
    """Return the label of a file; None for classical codecs."""
    return None if isinstance(coder, Classical) else label_for(coder, source, label)


def _unseen(x: np.ndarray, y: np.ndarray, rate: int | None) -> None:
    """Stands in where nobody looks at an evaluation."""


def segments(blocks: Iterator[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Cut a recording into pieces of ``length`` samples; the last takes the rest, up to twice that.

    Args:
        blocks: (C, n) pieces of any lengths.
        length: Samples per segment.

    Yields:
        (C, length), and at last (C, m) with m ≤ 2·length: all there is if it is no longer.
    """
    waiting: list[np.ndarray] = []
    held = 0
    for block in blocks:
        waiting.append(block)
        held += block.shape[1]
        while held > 2 * length:
            joined = np.concatenate(waiting, axis=1)
            yield np.ascontiguousarray(joined[:, :length])
            waiting, held = [joined[:, length:]], held - length
    if held:
        yield np.concatenate(waiting, axis=1)

"""Many media files → one corpus of codes, resumable at any moment."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqtok.corpus.carried import LARGEST
from vqtok.errors import UsageError, VqtokError
from vqtok.media import beside
from vqtok.media.image.pixels import parse_background
from vqtok.media.plan import Job
from vqtok.pipeline import coding, signals
from vqtok.pipeline.encode import CodingOptions
from vqtok.pipeline.results import Done, Failed
from vqtok.pipeline.workers import Check, Limits, Reserve, Timing, run_workers

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.codes.spec import CodeSpec
    from vqtok.corpus.writer import CorpusWriter
    from vqtok.media.items import Item
    from vqtok.protocols import Coder

Engine = Callable[[Sequence["Item"], Iterable[int]], Iterator[coding.Outcome]]
"""Items and the numbers of those to encode → an outcome for each, in any order."""

BATCH = 1 << 21
"""Numbers that go through the model together: ten pictures of 256x256, or 87 s at 24 kHz."""

WAITING = 1 << 25
"""Numbers in memory at once, 128 MB; one larger item is let in alone."""

WORKERS = 4
"""Most threads that run the model; with more cores each of them gets several."""


@dataclass(frozen=True)
class CorpusOptions(CodingOptions):
    """How to encode a corpus."""

    def reading(self, spec: CodeSpec) -> signals.Reading:
        """Return what readers need to know of it."""
        return signals.Reading(
            kind=spec.modality,
            rate_hz=int(spec.rate or 0),
            mono=self.mono,
            together=spec.channels,
            background=self.background,
            max_pixels=self.max_pixels,
        )


def job_of(info: ModelInfo, options: CorpusOptions) -> Mapping[str, Any]:
    """Return what makes two runs the same job: all that codes depend on, nothing else.

    Raises:
        UsageError: a depth that the model does not have, or a background that is no colour.
    """
    parse_background(options.background)
    depth = max((level.depth or 0 for level in info.spec.levels), default=0)
    if options.depth is not None and options.depth > depth:
        has = f"has {depth}" if depth else "has no residual stages"
        raise UsageError(f"--depth {options.depth}", f"model {info.name} {has}")
    return {
        "background": options.background,
        "depth": options.depth,
        "fingerprint": info.fingerprint,
        "max_pixels": options.max_pixels,
        "model": info.name,
        "mono": options.mono,
    }


def spec_of(info: ModelInfo, options: CorpusOptions) -> CodeSpec:
    """Return the spec of all codes: the model's, with the depth that is kept."""
    spec, depth = info.spec.with_fingerprint(info.fingerprint), options.depth
    if depth is None:
        return spec
    levels = (
        level if level.depth is None else replace(level, depth=min(depth, level.depth))
        for level in spec.levels
    )
    return replace(spec, levels=tuple(levels))


def encode_corpus(
    items: Sequence[Item], writer: CorpusWriter, engine: Engine, *, folder: Path
) -> Iterator[Done | Failed]:
    """Encode what is still pending; results are recorded before they are yielded.

    The caller finishes the corpus. Closing the generator early leaves one that can be resumed.

    Args:
        items: All of the corpus.
        writer: Of the same items' names.
        engine: From ``local_engine`` or ``ray_engine``.
        folder: Of the corpus, for the results.

    Raises:
        CodesError: the folder cannot be written.
    """
    # The writer is for one thread, and readers take the numbers: eight bytes for each.
    outcomes = engine(items, array("Q", writer.pending()))
    try:
        for outcome in outcomes:
            number = outcome.signal.number
            if isinstance(outcome, coding.Rejected):
                writer.fail(number, signals.reason(outcome.failure))
                yield outcome.failure
                continue
            item = outcome.signal.item
            try:
                carried = _carried(item, writer)
            except VqtokError as error:
                failure = signals.failure(item, error)
                writer.fail(number, signals.reason(failure))
                yield failure
                continue
            writer.add(number, outcome.codes, outcome.header, carried)
            job = Job(Path(str(item.place)), folder, item.kind or "image")
            shapes = outcome.codes.shapes
            yield Done.of(
                job,
                outcome.header,
                shapes,
                seconds=outcome.seconds,
                left_out=outcome.left_out,
            )
    finally:
        outcomes.close()  # type: ignore[attr-defined]


def _carried(item: Item, writer: CorpusWriter) -> dict[str, bytes]:
    """Read what is carried with an item.

    Raises:
        VqtokError: unreadable, or nothing that the corpus can hold.
    """
    wanted = [(kind, place) for kind, place in item.beside if kind in writer.carry]
    found = {kind: beside.read(place, largest=LARGEST) for kind, place in wanted}
    if found:
        writer.check_carried(found)
    return found


def local_engine(
    coder: Coder,
    options: CorpusOptions,
    *,
    readers: int = 2,
    threads: int | None = None,
    timing: Timing | None = None,
) -> Engine:
    """Make an engine of readers and the model in threads of this process.

    Args:
        coder: Of the corpus, used by several threads at once.
        options: How to encode.
        readers: Threads that read and decode files.
        threads: CPU threads for the model together; None: as many as the coder takes now.
        timing: Filled in.
    """
    how = options.reading(coder.spec)
    on_cpu = coder.device == "cpu"
    total = threads or coder.threads
    workers = min(total, WORKERS) if on_cpu else 1

    def run(items: Sequence[Item], numbers: Iterable[int]) -> Iterator[coding.Outcome]:
        def read(number: int, reserve: Reserve) -> signals.Signal:
            return signals.read(number, items[number], how, reserve)

        def work(batch: list[signals.Signal], check: Check) -> list[coding.Outcome]:
            if on_cpu:
                # Of this thread alone: operations that wait for each other's threads waste them.
                coder.use_threads(max(1, total // workers))
            return coding.encode(coder, batch, reading=how, depth=options.depth, check=check)

        limits = Limits(readers=readers, workers=workers, batch=BATCH, waiting=WAITING)
        with _threads_kept(coder):
            yield from run_workers(numbers, read, work, limits=limits, timing=timing)

    return run


@contextmanager
def _threads_kept(coder: Coder) -> Iterator[None]:
    """Restore the number of threads afterwards: threads to come inherit the last setting."""
    before = coder.threads
    try:
        yield
    finally:
        coder.use_threads(before)

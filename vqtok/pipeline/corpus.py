"""Many media files → one corpus of codes, resumable at any moment.

Readers make signals of files (``signals``), workers codes of many signals at a time, the writer a
corpus of codes. What is coded together has no part in the codes.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.corpus.items import LARGEST
from vqtok.errors import UsageError, VqtokError
from vqtok.media import image
from vqtok.media.audio.loudness import Loudness
from vqtok.media.image.pixels import parse_background
from vqtok.media.items import Item, read_beside
from vqtok.media.plan import Job
from vqtok.pipeline import recordings, signals
from vqtok.pipeline.encode import CodingOptions, Encoded, encode_image
from vqtok.pipeline.results import Done, Failed
from vqtok.pipeline.signals import Reading, Signal
from vqtok.pipeline.workers import Check, Limits, Reserve, Timing, run_workers
from vqtok.protocols import Coder, is_audio, is_image

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.codes.spec import CodeSpec
    from vqtok.corpus.writer import CorpusWriter

BATCH = 1 << 21
"""Numbers that go through the model together: ten pictures of 256x256, or 87 s at 24 kHz."""

WAITING = 1 << 25
"""Numbers in memory at once, 128 MB; one larger item is let in alone."""

WORKERS = 4
"""Most threads that run the model; with more cores each of them gets several."""

_large = threading.Lock()
"""One picture that is too large to wait in memory is there at a time, however many workers."""


@dataclass(frozen=True)
class Coded:
    """One item's codes.

    Attributes:
        signal: What was coded, without its arrays.
        codes: numpy codes; B is 1, or the channels of a recording.
        header: What decoding needs.
        seconds: Its share of the model's time.
        left_out: What of the item is not in the codes, in words.
    """

    signal: Signal
    codes: Codes
    header: Header
    seconds: float
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """One item that has no codes."""

    signal: Signal
    failure: Failed


Outcome = Coded | Rejected

Engine = Callable[[Sequence[Item], Iterable[int]], Iterator[Outcome]]
"""Items and the numbers of those to encode → an outcome for each, in any order."""


@dataclass(frozen=True)
class CorpusOptions(CodingOptions):
    """How to encode a corpus."""

    def reading(self, spec: CodeSpec) -> Reading:
        """Return what readers need to know of it."""
        return Reading(
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
    effort = options.effort
    return {
        # Jobs of earlier versions know none: without one a job is what it was.
        **({"effort": effort.level, "effort_metric": effort.metric} if effort.level else {}),
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
            if isinstance(outcome, Rejected):
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
    found = {kind: read_beside(place, largest=LARGEST) for kind, place in wanted}
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

    def run(items: Sequence[Item], numbers: Iterable[int]) -> Iterator[Outcome]:
        def read(number: int, reserve: Reserve) -> Signal:
            return signals.read(number, items[number], how, reserve)

        def work(batch: list[Signal], check: Check) -> list[Outcome]:
            if on_cpu:
                # Of this thread alone: operations that wait for each other's threads waste them.
                coder.use_threads(max(1, total // workers))
            return _coded(coder, batch, reading=how, depth=options.depth, check=check)

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


def _coded(
    coder: Coder,
    batch: Sequence[Signal],
    *,
    reading: Reading,
    depth: int | None,
    check: Check,
) -> list[Outcome]:
    """Encode signals, each as if it were alone, in order.

    Args:
        coder: Of the corpus.
        batch: From ``signals.read``.
        reading: How they were read, and how those are to be read that still are files.
        depth: Keep the first N residual stages; None: all.
        check: Called between the pieces of large items.
    """
    begun = time.perf_counter()
    sound = [signal for signal in batch if signal.failure is None and not signal.alone]
    found = dict(zip((each.number for each in sound), _together(coder, sound), strict=True))
    for signal in batch:
        if signal.alone:
            found[signal.number] = _alone(coder, signal, reading, check)
    share = (time.perf_counter() - begun) / max(1, len(batch))
    outcomes = []
    for signal in batch:
        bare = replace(signal, arrays=())  # the queue after the model must not hold the signals
        outcomes.append(_outcome(coder, bare, found.get(signal.number), depth, share))
    return outcomes


def _together(coder: Coder, batch: Sequence[Signal]) -> list[Encoded | Exception]:
    """Encode signals together; if that fails, those fail that do so alone."""
    try:
        coded = iter(coder.encode_many([array for each in batch for array in each.arrays]))
        items = [[next(coded) for _ in each.arrays] for each in batch]
        return [
            Encoded(
                channels[0] if len(channels) == 1 else Codes.stack(channels),
                _source(coder, signal),
                signal.left_out,
            )
            for channels, signal in zip(items, batch, strict=True)
        ]
    except Exception as error:
        if len(batch) == 1:
            return [error]
        return [result for signal in batch for result in _together(coder, [signal])]


def _source(coder: Coder, signal: Signal) -> Source:
    """Complete what is known of a signal by its loudness, where decoding is to restore it."""
    source = signal.source or Source()
    if not (coder.labels and is_audio(coder)):
        return source
    found = Loudness(int(coder.spec.rate or 0))
    found.add(np.concatenate([each.mean(axis=0, keepdims=True) for each in signal.arrays]))
    return replace(source, loudness_db=found.db)


def _alone(coder: Coder, signal: Signal, reading: Reading, check: Check) -> Encoded | Exception:
    """Encode what is too large to wait in memory: it is read as the coder asks for it."""
    try:
        with signals.opened(signal.item.place) as source:
            if is_image(coder):
                with _large:
                    check()
                    picture = image.load(
                        source, background=reading.background, max_pixels=reading.max_pixels
                    )
                    return encode_image(coder, picture, check=check)
            if is_audio(coder):
                return Encoded(
                    *recordings.encode(
                        coder, source, mono=reading.mono, on_part=lambda fraction: check()
                    )
                )
        raise ValueError(f"no way to code {reading.kind}")
    except Exception as error:
        return error


def _outcome(
    coder: Coder,
    signal: Signal,
    found: Encoded | Exception | None,
    depth: int | None,
    seconds: float,
) -> Outcome:
    try:
        if signal.failure is not None:
            return Rejected(signal, signal.failure)
        if isinstance(found, Exception):
            raise found
        if found is None:
            raise RuntimeError("no codes were made")
        name = PurePosixPath(signal.item.name).name
        codes, header = found.named(name, coder, depth=depth)
        return Coded(signal, codes, header, seconds, found.left_out)
    except Exception as error:
        return Rejected(signal, signals.failure(signal.item, error))

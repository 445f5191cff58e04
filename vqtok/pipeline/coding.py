"""Signals of a corpus → codes, many at a time. What is coded together has no part in the codes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.media import image
from vqtok.media.audio.loudness import Loudness
from vqtok.pipeline import recordings
from vqtok.pipeline.encode import Encoded, encode_image
from vqtok.pipeline.results import Failed
from vqtok.pipeline.signals import Reading, Signal, failure, opened
from vqtok.protocols import Coder, is_audio, is_image

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


def encode(
    coder: Coder,
    signals: Sequence[Signal],
    *,
    reading: Reading,
    depth: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Encode signals, each as if it were alone, in order.

    Args:
        coder: Of the corpus.
        signals: From ``signals.read``.
        reading: How they were read, and how those are to be read that still are files.
        depth: Keep the first N residual stages; None: all.
        check: Called between the pieces of large items.
    """
    begun = time.perf_counter()
    sound = [signal for signal in signals if signal.failure is None and not signal.alone]
    found = dict(zip((each.number for each in sound), _together(coder, sound), strict=True))
    for signal in signals:
        if signal.alone:
            found[signal.number] = _alone(coder, signal, reading, check)
    share = (time.perf_counter() - begun) / max(1, len(signals))
    outcomes = []
    for signal in signals:
        bare = replace(signal, arrays=())  # the queue after the model must not hold the signals
        outcomes.append(_outcome(coder, bare, found.get(signal.number), depth, share))
    return outcomes


def _together(coder: Coder, signals: Sequence[Signal]) -> list[Encoded | Exception]:
    """Encode signals together; if that fails, those fail that do so alone."""
    try:
        coded = iter(coder.encode_many([array for each in signals for array in each.arrays]))
        items = [[next(coded) for _ in each.arrays] for each in signals]
        return [
            Encoded(
                channels[0] if len(channels) == 1 else Codes.stack(channels),
                _source(coder, signal),
                signal.left_out,
            )
            for channels, signal in zip(items, signals, strict=True)
        ]
    except Exception as error:
        if len(signals) == 1:
            return [error]
        return [result for signal in signals for result in _together(coder, [signal])]


def _source(coder: Coder, signal: Signal) -> Source:
    """Tell what is known of a signal, with its loudness where decoding is to restore it."""
    source = signal.source or Source()
    if not (coder.labels and is_audio(coder)):
        return source
    found = Loudness(int(coder.spec.rate or 0))
    found.add(np.concatenate([each.mean(axis=0, keepdims=True) for each in signal.arrays]))
    return replace(source, loudness_db=found.db)


def _alone(
    coder: Coder, signal: Signal, reading: Reading, check: Callable[[], None]
) -> Encoded | Exception:
    """Encode what is too large to wait in memory: it is read as the coder asks for it."""
    try:
        with opened(signal.item.place) as source:
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
        return Rejected(signal, failure(signal.item, error))

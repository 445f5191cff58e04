"""Signals of a corpus → codes, many at a time. What is coded together has no part in the codes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vqtok import __version__
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.media import image
from vqtok.pipeline import hearing
from vqtok.pipeline.results import Failed
from vqtok.pipeline.signals import Reading, Signal, failure, image_facts, opened

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
    """

    signal: Signal
    codes: Codes
    header: Header
    seconds: float


@dataclass(frozen=True)
class Rejected:
    """One item that has no codes."""

    signal: Signal
    failure: Failed


Outcome = Coded | Rejected


def encode(
    tokenizer: Any,
    signals: Sequence[Signal],
    *,
    reading: Reading,
    depth: int | None = None,
    pulse: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Code signals, each for itself as far as anyone can see, in order.

    Args:
        tokenizer: A model.
        signals: From ``signals.read``.
        reading: How they were read, and how those are to be read that still are files.
        depth: Keep the first N residual stages; None: all.
        pulse: Called between the pieces of large items.
    """
    begun = time.perf_counter()
    sound = [signal for signal in signals if signal.failure is None and not signal.alone]
    found: dict[int, tuple[Codes, Source] | Exception] = {}
    with torch.inference_mode():
        for signal, result in zip(sound, _together(tokenizer, sound), strict=True):
            found[signal.number] = result
        for signal in signals:
            if signal.alone:
                found[signal.number] = _long(tokenizer, signal, reading, pulse)
    share = (time.perf_counter() - begun) / max(1, len(signals))
    outcomes = []
    for signal in signals:
        bare = replace(signal, arrays=())  # the queue after the model must not hold the signals
        outcomes.append(_outcome(tokenizer, bare, found.get(signal.number), depth, share))
    return outcomes


def encode_many(tokenizer: Any, xs: Sequence[Tensor]) -> list[Codes]:
    """Codes of signals without a batch axis, each as if it were alone.

    A model that cannot promise that gets them one by one.
    """
    many = getattr(tokenizer, "encode_many", None)
    if many is None or not getattr(tokenizer, "exact", True):
        return [tokenizer.encode(x[None]) for x in xs]
    codes: list[Codes] = many(xs)
    return codes


def _together(tokenizer: Any, signals: Sequence[Signal]) -> list[tuple[Codes, Source] | Exception]:
    """One result per signal; if all together fail, those fail that do so alone."""
    xs = [torch.from_numpy(array) for signal in signals for array in signal.arrays]
    try:
        coded = iter(encode_many(tokenizer, xs))
        return [
            (_joined(tokenizer, signal, coded), signal.source or Source()) for signal in signals
        ]
    except Exception as error:
        if len(signals) == 1:
            return [error]
        return [result for signal in signals for result in _together(tokenizer, [signal])]


def _joined(tokenizer: Any, signal: Signal, coded: Iterator[Codes]) -> Codes:
    """The codes of all channels of one item, as the smallest integers."""
    each = [next(coded).numpy() for _ in signal.arrays]
    return each[0] if len(each) == 1 else Codes.stack(each)


def _long(
    tokenizer: Any, signal: Signal, reading: Reading, pulse: Callable[[], None]
) -> tuple[Codes, Source] | Exception:
    """What is too large to wait in memory is read as the model asks for it."""
    try:
        with opened(signal.item.place) as source:
            if reading.kind == "image":
                with _large:
                    pulse()
                    return _windows(tokenizer, source, reading, pulse)
            return hearing.encode(
                tokenizer, source, mono=reading.mono, on_part=lambda fraction: pulse()
            )
    except Exception as error:
        return error


def _windows(
    tokenizer: Any, source: Path | BinaryIO, reading: Reading, pulse: Callable[[], None]
) -> tuple[Codes, Source]:
    """Codes of a picture of which Pillow holds the only copy."""
    picture = image.load(source, background=reading.background, max_pixels=reading.max_pixels)
    info = picture.info

    def window(rows: slice, columns: slice) -> Tensor:
        pulse()
        return torch.from_numpy(picture.window(rows, columns))

    if hasattr(tokenizer, "encode_windows"):
        codes: Codes = tokenizer.encode_windows((info.height, info.width), window)
    else:
        codes = tokenizer.encode(torch.from_numpy(picture.whole())[None])
    return codes.numpy(), image_facts(info)


def _outcome(
    tokenizer: Any,
    signal: Signal,
    found: tuple[Codes, Source] | Exception | None,
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
        codes, source = found
        kept = codes if depth is None else codes.truncate(depth)
        header = Header(
            spec=kept.spec,
            extent=kept.extent,
            model=tokenizer.name,
            channels=len(kept),
            source=replace(source, name=PurePosixPath(signal.item.name).name),
            vqtok=__version__,
        )
        return Coded(signal, kept, header, seconds)
    except Exception as error:
        return Rejected(signal, failure(signal.item, error))

"""Items of a corpus → signals in memory, ready for the model. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vqtok.codes.header import Source
from vqtok.errors import MediaError
from vqtok.media import audio, image
from vqtok.media.tars import Member
from vqtok.pipeline.encode import LARGE, image_source
from vqtok.pipeline.recordings import grouped
from vqtok.pipeline.results import Failed

if TYPE_CHECKING:
    from vqtok.media.items import Item, Place

LONG_S = 60.0
"""Recordings longer than this go through the model block by block: memory stays flat."""

_CHANNELS = 3  # every image is read as RGB


@dataclass(frozen=True)
class Reading:
    """How items are read.

    Attributes:
        kind: "image" or "audio"; items of the other kind fail.
        rate_hz: Audio: the model's rate.
        mono: Mix the channels of audio down to one.
        together: Channels that the model codes together.
        background: Colour behind transparent pixels.
        max_pixels: Larger images are refused; None: no limit.
    """

    kind: str
    rate_hz: int = 0
    together: int = 1
    mono: bool = False
    background: str = "white"
    max_pixels: int | None = image.MAX_PIXELS


@dataclass(frozen=True)
class Signal:
    """One item, read, or found to be unreadable.

    Attributes:
        number: Its number in the corpus.
        item: The item.
        arrays: float32 (3, H, W), or one (1, L) for each channel, or (c, L) of all together; empty
            if it is large or failed.
        source: What the header says of it; None if it is large or failed.
        left_out: What of the item is not in the arrays, in words.
        alone: Too large to wait in memory: the model takes it piece by piece.
        failure: Why it cannot be encoded, or None.
    """

    number: int
    item: Item
    arrays: tuple[np.ndarray, ...] = ()
    source: Source | None = None
    left_out: tuple[str, ...] = ()
    alone: bool = False
    failure: Failed | None = None


def read(
    number: int, item: Item, how: Reading, reserve: Callable[[int], None] = lambda samples: None
) -> Signal:
    """Read one item; misfortune is part of the result.

    Args:
        number: Of the item.
        item: What to read.
        how: The options.
        reserve: Called with how many numbers will be in memory, before they are.
    """
    try:
        if item.problem is not None:
            raise item.problem
        if item.kind != how.kind:
            raise MediaError(item.place, f"{item.kind}, expected {how.kind}")
        with opened(item.place) as source:
            if how.kind == "image":
                return _read_image(number, item, source, how, reserve)
            return _read_audio(number, item, source, how, reserve)
    except Exception as error:
        return Signal(number, item, failure=failure(item, error))


def failure(item: Item, error: Exception) -> Failed:
    """Makes an error about an item as a result."""
    return Failed.of(Path(str(item.place)), error, has_model=True)


def reason(failed: Failed) -> str:
    """Give the reason without the file: a record may be moved to another place."""
    return failed.error.without(failed.source)


@contextmanager
def opened(place: Place) -> Iterator[Path | BinaryIO]:
    """Open a file, or a member of a tar, as the readers of ``media/`` take it.

    Raises:
        MediaError: a tar that cannot be opened.
    """
    if not isinstance(place, Member):
        yield place
        return
    try:
        stream = place.open()
    except OSError as error:
        raise MediaError(place, f"cannot read: {(error.strerror or str(error)).lower()}") from error
    with stream:
        yield stream


def _read_image(
    number: int,
    item: Item,
    source: Path | BinaryIO,
    how: Reading,
    reserve: Callable[[int], None],
) -> Signal:
    found = image.probe(source)
    if found.width * found.height > LARGE:
        return Signal(number, item, alone=True)
    reserve(_CHANNELS * found.width * found.height)
    pixels, info = image.read(source, background=how.background, max_pixels=how.max_pixels)
    return Signal(number, item, (pixels,), image_source(info), info.left_out)


def _read_audio(
    number: int,
    item: Item,
    source: Path | BinaryIO,
    how: Reading,
    reserve: Callable[[int], None],
) -> Signal:
    with audio.Reader(source) as reader:
        info = reader.info
        if info.duration_s > LONG_S:
            return Signal(number, item, alone=True)
        length = audio.resampled_length(info.length, info.rate, how.rate_hz)
        reserve(length * (1 if how.mono else info.channels))
        whole = np.concatenate(list(reader.blocks(how.rate_hz, mono=how.mono)), axis=1)  # (C, L)
    given = grouped(whole, how.together, name=str(item.place))
    channels = len(whole) if how.together > 1 else None
    facts = Source(rate=info.rate, length=info.length, format=info.format, channels=channels)
    return Signal(number, item, tuple(np.ascontiguousarray(each) for each in given), facts)

"""A file, or a member of a tar → what training keeps of it: uint8 pixels, int16 samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vqtok.errors import MediaError
from vqtok.media import audio, excerpt, image
from vqtok.media.audio import AudioInfo
from vqtok.media.items import Place
from vqtok.media.resample import resampled_length
from vqtok.media.tars import Member

LONG_S = 120.0
"""Recordings that are longer are read window by window, shorter ones whole."""

ENOUGH = 2
"""JPEGs are decoded at no less than this many times the side that they are shrunk to: 49 dB from
what the full size gives, in a quarter of the time."""


@contextmanager
def opened(place: Place) -> Iterator[Path | BinaryIO]:
    """What the readers of ``media/`` take.

    Raises:
        MediaError: a tar that cannot be opened.
    """
    if not isinstance(place, Member):
        yield place
        return
    try:
        stream = place.open()
    except OSError as error:
        raise MediaError(f"{place}: cannot read: {error}") from error
    with stream:
        yield stream


def pixels(place: Place, *, side: int | None) -> np.ndarray:
    """An image as it is trained on.

    Args:
        place: The file.
        side: A longer short side is shrunk to this; None: never.

    Returns:
        (H, W, 3) uint8.

    Raises:
        MediaError: not a readable image.
    """
    with opened(place) as source:
        enough = None if side is None else ENOUGH * side
        return image.load(source, enough=enough).shrunk(side)


def facts(place: Place) -> AudioInfo:
    """What a recording's header says.

    Raises:
        MediaError: not readable audio.
    """
    with opened(place) as source:
        return excerpt.glance(source)


def frames(info: AudioInfo, *, rate: int | None) -> int:
    """Samples per channel once a recording is at ``rate`` (None: its own), by its header."""
    return resampled_length(info.length, info.rate, rate or info.rate)


def is_long(info: AudioInfo) -> bool:
    """Whether it is read window by window."""
    return info.duration_s > LONG_S


def samples(place: Place, *, rate: int | None) -> np.ndarray:
    """A whole recording.

    Args:
        place: The file.
        rate: Hz; None: the file's.

    Returns:
        (C, L) int16.

    Raises:
        MediaError: not readable audio.
    """
    with opened(place) as source, audio.Reader(source) as reader:
        return np.concatenate([_integers(block) for block in reader.blocks(rate)], axis=1)


def beginning(place: Place, *, rate: int, seconds: int) -> np.ndarray:
    """The first seconds of a recording, its channels mixed: (1, L) float32.

    Raises:
        MediaError: not readable audio, as far as it is read.
    """
    with opened(place) as source:
        found = excerpt.excerpt(source, rate=rate, start=0, length=seconds * rate)
    mixed: np.ndarray = found.mean(axis=0, keepdims=True)
    return mixed


def stretch(place: Place, *, rate: int, start: int, length: int) -> np.ndarray:
    """Part of a recording; see ``media.excerpt``.

    Returns:
        (C, length) int16; fewer samples where the recording ends.

    Raises:
        MediaError: not readable audio.
    """
    with opened(place) as source:
        return _integers(excerpt.excerpt(source, rate=rate, start=start, length=length))


def _integers(block: np.ndarray) -> np.ndarray:
    whole: np.ndarray = (block.clip(-1.0, 1.0) * 32767).round().astype(np.int16)
    return whole

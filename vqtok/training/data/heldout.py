"""Files that are never trained on: chosen by the seed, and opened before they are relied on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from vqtok.errors import MediaError
from vqtok.media.items import Place
from vqtok.training.data import reading
from vqtok.training.data.places import Part, part

ENOUGH = 16
"""Held-out files that are opened to see whether they can be read."""

OPENING_S = 10
"""Of a long recording only the beginning is tried."""


class Split(NamedTuple):
    """Training and held-out files, disjoint, one of each at least.

    A single file is trained on and measured on; the card then says so.

    Attributes:
        training: In the order of the files.
        held_out: Those that could be read first, each group in the order of the files.
        bad: Files that turned out not to be readable, which are in neither: name → why.
    """

    training: Part
    held_out: Part
    bad: dict[str, str]


def split(
    files: Sequence[Place],
    *,
    share: float,
    seed: int,
    check: Callable[[Place], None] | None = None,
    enough: int = ENOUGH,
) -> Split:
    """Split files, in the same way for the same seed.

    Args:
        files: All of them.
        share: Of the files to hold out.
        seed: Of the choice.
        check: Raises ``MediaError`` for a file that cannot be read: ``checker`` makes one. A file
            that fails gives way to another one. None: no file is opened.
        enough: Held-out files to check, since more are not measured.

    Raises:
        MediaError: no file can be read.
    """
    order, count = _drawn(len(files), share=share, seed=seed)
    good: list[int] = []
    bad: dict[str, str] = {}
    tried = 0
    if check is not None:
        for at in order:
            if len(good) == min(count, enough):
                break
            tried += 1
            place = files[int(at)]
            try:
                check(place)
            except MediaError as error:
                bad[str(place)] = str(error)
            else:
                good.append(int(at))
        if not good:
            raise MediaError(f"--data: none of the {len(files)} files can be read")
    later = order[tried:]
    rest, held = _apart(good, later, count - len(good))
    return Split(part(files, rest), part(files, held), bad)


def numbers(
    count: int, *, share: float, seed: int, enough: int = ENOUGH
) -> tuple[np.ndarray, np.ndarray]:
    """``split`` of items that were all read already: (training, held out), int64 numbers."""
    order, held = _drawn(count, share=share, seed=seed)
    first = min(held, enough)
    return _apart(order[:first], order[first:], held - first)


def _drawn(count: int, *, share: float, seed: int) -> tuple[np.ndarray, int]:
    """All numbers in the order in which they are held out, and how many are."""
    order = np.random.default_rng([seed, count]).permutation(count)
    return order, min(max(1, round(share * count)), max(1, count - 1))


def _apart(
    first: Sequence[int] | np.ndarray, later: np.ndarray, more: int
) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out numbers, both what is held out ``first`` and ``more`` of the others."""
    held = np.concatenate([np.sort(first), np.sort(later[:more])]).astype(np.int64)
    rest = np.sort(later[more:])
    return (rest if len(rest) else held), held


def checker(kind: Literal["image", "audio"], *, rate: int | None) -> Callable[[Place], None]:
    """Read a file of this kind to its end, or a long recording's beginning; raise if it fails."""

    def image(place: Place) -> None:
        reading.pixels(place, side=None)

    def audio(place: Place) -> None:
        info = reading.facts(place)
        if reading.is_long(info):
            hz = rate or info.rate
            reading.stretch(place, rate=hz, start=0, length=OPENING_S * hz)
        else:
            reading.samples(place, rate=rate)

    return image if kind == "image" else audio

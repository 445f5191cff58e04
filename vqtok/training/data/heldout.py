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
    order = np.random.default_rng([seed, len(files)]).permutation(len(files))
    count = min(max(1, round(share * len(files))), max(1, len(files) - 1))
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
    held = np.concatenate([np.sort(good), np.sort(order[tried : tried + count - len(good)])])
    rest = np.sort(order[tried + count - len(good) :])
    held = held.astype(np.int64)
    return Split(part(files, rest if len(rest) else held), part(files, held), bad)


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

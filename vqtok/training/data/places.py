"""Places of files, a million of them in some 100 MB, each named after its directory."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from vqtok.media.items import Place
from vqtok.media.tars import Member


class Places(Sequence[Place]):
    """Places of files of one kind and the directory that each is named after.

    Paths are kept as bytes and made anew when asked for: an object each would be half a gigabyte.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q")
        self._tar = array("i")
        self._span = array("q")  # offset and size of a member
        self._label = array("i")
        self._tars: dict[Path, int] = {}
        self._found: dict[str, int] = {}  # label → number, as they were met
        self._tars_by_number: list[Path] = []

    @classmethod
    def of(cls, places: Sequence[Place]) -> Places:
        """The places of a list, each labelled with the name of its directory."""
        made = cls()
        for place in places:
            name = place.name if isinstance(place, Member) else str(place)
            made.add(place, os.path.basename(os.path.dirname(name)))  # noqa: PTH119, PTH120
        return made

    def add(self, place: Place | str, label: str) -> None:
        """Take in a member of a tar, or a path."""
        number, offset, size, name = -1, 0, 0, str(place)
        if isinstance(place, Member):
            number = self._tars.setdefault(place.tar, len(self._tars))
            if number == len(self._tars_by_number):
                self._tars_by_number.append(place.tar)
            name, offset, size = place.name, place.offset, place.size
        self._text += name.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._text))
        self._tar.append(number)
        self._span.extend((offset, size))
        self._label.append(self._found.setdefault(label, len(self._found)))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> Part: ...
    def __getitem__(self, index: int | slice) -> Place | Part:
        if isinstance(index, slice):
            return Part(self, np.arange(len(self))[index])
        at = range(len(self))[index]
        start = self._ends[at - 1] if at else 0
        name = self._text[start : self._ends[at]].decode("utf-8", "surrogateescape")
        if self._tar[at] < 0:
            return Path(name)
        tar = self._tars_by_number[self._tar[at]]
        return Member(tar, name, self._span[2 * at], self._span[2 * at + 1])

    @property
    def names(self) -> tuple[str, ...]:
        """Directories that hold the files, relative to what was asked for, sorted."""
        return tuple(sorted(self._found))

    def labels(self) -> np.ndarray:
        """(n,) int64: for each file the place of its directory in ``names``."""
        order = {name: number for number, name in enumerate(self.names)}
        table = np.array([order[name] for name in self._found], dtype=np.int64)
        numbers = np.frombuffer(self._label, dtype=np.int32) if self._label else np.zeros(0, int)
        return table[numbers] if len(table) else np.zeros(0, dtype=np.int64)


class Part(Sequence[Place]):
    """Some of the places, in an order of their own.

    Args:
        places: All of them.
        chosen: (n,) int64, which.
    """

    def __init__(self, places: Places, chosen: np.ndarray) -> None:
        self._places, self._chosen = places, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> Part: ...
    def __getitem__(self, index: int | slice) -> Place | Part:
        if isinstance(index, slice):
            return Part(self._places, self._chosen[index])
        return self._places[int(self._chosen[index])]

    @property
    def names(self) -> tuple[str, ...]:
        """``Places.names`` of all the places, so that a label means the same in every part."""
        return self._places.names

    def labels(self) -> np.ndarray:
        """``Places.labels`` of these."""
        out: np.ndarray = self._places.labels()[self._chosen]
        return out


def part(files: Sequence[Place], chosen: np.ndarray) -> Part:
    """Some of the files, by their numbers."""
    if isinstance(files, Part):
        return Part(files._places, files._chosen[chosen])
    return Part(files if isinstance(files, Places) else Places.of(files), chosen)

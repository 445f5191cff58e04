"""Items of a shard many at a time: what composing needs of them, without an object for each.

A *run* is what lies side by side and has one shape: a corpus of pictures of one size is a run for
each shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vqtok.codes.container import Shapes
from vqtok.codes.spec import CodeSpec, integer
from vqtok.corpus import items, names
from vqtok.corpus.items import Entry, checking
from vqtok.errors import CodesError

LONGEST = 1 << 22
"""Codes of a run: 32 MB of integers while they are worked on."""


@dataclass(frozen=True)
class RunItem:
    """Names an item of a run.

    Attributes:
        number: In its corpus.
        name: As ``Entry`` has it.
        label: Name, number and header as JSON, without what the corpus' spec says already.
        carried: Bytes of what lay beside it.
    """

    number: int
    name: str
    label: Mapping[str, Any]
    carried: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class Run:
    """Holds items of one shape.

    Attributes:
        shapes: Of each level of one channel.
        channels: Of each item.
        flat: (items * channels, codes) as ``Codes.flat`` has them, in range.
        items: Their names.
    """

    shapes: Shapes
    channels: int
    flat: np.ndarray
    items: tuple[RunItem, ...]

    def some(self, wanted: Sequence[bool]) -> Run | None:
        """Return the run of some of its items; None: of none."""
        chosen = np.flatnonzero(wanted)
        if len(chosen) in (0, len(self.items)):
            return self if len(chosen) else None
        flat = self.flat.reshape(len(self.items), self.channels, -1)[chosen]
        items = tuple(self.items[place] for place in chosen)
        return Run(self.shapes, self.channels, flat.reshape(-1, flat.shape[-1]), items)


def of_entries(entries: Iterable[Entry], spec: CodeSpec) -> Iterator[Run]:
    """Gather items as formats read them."""
    kind: tuple[Shapes, int] | None = None
    found: list[RunItem] = []
    flats: list[np.ndarray] = []
    size = 0
    for entry in entries:
        own = (entry.codes.shapes, len(entry.codes))
        if found and (own != kind or size >= LONGEST) and kind is not None:
            yield Run(*kind, np.concatenate(flats), tuple(found))
            found, flats, size = [], [], 0
        kind = own
        parts = [np.asarray(level).reshape(own[1], -1) for level in entry.codes.levels]
        flats.append(np.concatenate(parts, axis=1))
        size += flats[-1].size
        label = items.short_label(entry, spec)
        found.append(RunItem(entry.number, entry.name, label, entry.carried))
    if found and kind is not None:
        yield Run(*kind, np.concatenate(flats), tuple(found))


def item_of(
    label: Mapping[str, Any],
    spec: CodeSpec,
    shapes: Shapes,
    carried: Mapping[str, bytes] | None = None,
) -> RunItem:
    """Check a label as far as its item's codes go, and leave out what the spec says already.

    Raises:
        CodesError: a value that is missing, unsafe, of another model, or at odds with the shapes.
    """
    known = _known(spec)
    short = {key: value for key, value in label.items() if known.get(key, _ABSENT) != value}
    if not known.keys().isdisjoint(short):
        items.read_label(label, spec)  # fewer stages than the corpus', or another model
    with checking():
        number = integer(label["number"], "number", low=0)
        _check_extent(spec, tuple(label["extent"]), shapes)
    return RunItem(number, names.read(label.get("name")), short, carried or {})


@lru_cache(maxsize=16)
def _known(spec: CodeSpec) -> dict[str, Any]:
    return spec.to_json()


@lru_cache(maxsize=1024)
def _check_extent(spec: CodeSpec, extent: tuple[int, ...], shapes: Shapes) -> None:
    for size in extent:
        integer(size, "extent")
    for level, shape in zip(spec.levels, shapes, strict=True):
        for axis, size, wanted in zip(level.axes, shape, level.shape(extent), strict=True):
            if size > wanted or (axis != "q" and size != wanted):
                raise CodesError(f"level {level.name!r}: shape {shape} does not fit {extent}")


def channels_of(label: Mapping[str, Any]) -> int:
    """Return the number of channels that a label states.

    Raises:
        CodesError: none.
    """
    channels = label.get("channels")
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise CodesError("damaged: channels is not an integer")
    return channels


def check_range(flat: np.ndarray, spec: CodeSpec, shapes: Shapes) -> np.ndarray:
    """Return codes of which each is in its level's range.

    Raises:
        CodesError: naming the level.
    """
    begin = 0
    for level, shape in zip(spec.levels, shapes, strict=True):
        end = begin + int(np.prod(shape))
        part = flat[:, begin:end]
        if part.size and (part.min() < 0 or part.max() >= level.codebook_size):
            raise CodesError(f"level {level.name!r}: a code outside its range")
        begin = end
    return flat


_ABSENT = object()

"""Interlaced order of codes: a few passes, each of positions between those of the passes before.

Grids begin with every eighth position of every eighth row; then follow the middles of the squares
that the known positions make, then the middles of their sides, until all are known: seven passes,
the last one half of the codes with known neighbours on all sides. Frames begin with every fourth,
then come the middles: three passes. Levels and stages follow each other coarse to fine, each given
all those before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import ConfigError

Lattice = tuple[int, tuple[tuple[int, int], ...]]
"""Period and phases: the positions whose row and column are, modulo the period, one of these."""

_GRID = 8
_FRAMES = 4
_REACH = {True: 4, False: 12}
"""Steps of the pass in which neighbours of the own stream are looked for: in grids, in frames."""

_OUTSIDE = -(1 << 40)
"""Rows down: what the very first pass is given, so that it has a first layer as all others have."""


@dataclass(frozen=True)
class Stream:
    """Names the codes that have one codebook: a level, or a stage of one.

    Attributes:
        level: Number of the level.
        stage: Of the "q" axis; None without one.
        size: K of the codebook.
        stride: Pixels or samples per step, by row and by column.
    """

    level: int
    stage: int | None
    size: int
    stride: tuple[int, int]


@dataclass(frozen=True)
class Pass:
    """Describes codes that are coded together, and what they are given.

    Attributes:
        stream: Number of the stream.
        lattice: Which positions.
        context: (stream, rows down, columns right) of each code that is given, from the position,
            in steps of that stream.
    """

    stream: int
    lattice: Lattice
    context: tuple[tuple[int, int, int], ...]


def streams_of(spec: CodeSpec) -> tuple[Stream, ...]:
    """List the streams, coarse to fine.

    Raises:
        ConfigError: codes that lie neither in grids of rows and columns nor in frames.
    """
    found: list[Stream] = []
    for number, level in enumerate(spec.levels):
        if not _is_regular(level):
            axes = ", ".join(level.axes)
            raise ConfigError(f"priors/context: level {level.name!r} has axes {axes}; (h, w) or t")
        stride = (level.stride[0], level.stride[-1] if "w" in level.axes else 1)
        stages = range(level.depth or 0) if "q" in level.axes else [None]
        found += [Stream(number, stage, level.codebook_size, stride) for stage in stages]
    return tuple(found)


def passes_of(streams: Sequence[Stream], *, near: int, across: int) -> tuple[Pass, ...]:
    """List the passes, in order.

    Args:
        streams: Coarse to fine.
        near: Known positions of the own stream that are given, the nearest first.
        across: Of each stream before, those within so many steps.
    """
    made: list[Pass] = []
    for number, stream in enumerate(streams):
        is_grid = stream.stride[1] > 1
        before = [
            (other, down, right)
            for other in range(number)
            for down in range(-across, across + 1)
            for right in (range(-across, across + 1) if is_grid else (0,))
        ]
        lattices = _lattices(is_grid)
        for index, lattice in enumerate(lattices):
            own = _known(lattices[:index], lattice, reach=_REACH[is_grid], is_grid=is_grid)
            context = [(number, down, right) for down, right in own[:near]] + before
            made.append(Pass(number, lattice, tuple(context) or ((number, _OUTSIDE, 0),)))
    return tuple(made)


@dataclass(frozen=True)
class Grids:
    """Locates the streams of one signal in one sequence: stream after stream, row by row.

    Attributes:
        shapes: (rows, columns) of each stream.
        starts: Where each begins; then their number.
        strides: Of the streams.
    """

    shapes: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    strides: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, streams: Sequence[Stream], shapes: Sequence[tuple[int, ...]]) -> Grids:
        """Locate streams, of which the last stages may be absent.

        Args:
            streams: Of the spec.
            shapes: Of each level's array, without a batch axis.
        """
        sizes = []
        for stream in streams:
            shape = shapes[stream.level]
            if stream.stage is not None:
                sizes.append((shape[-1] if stream.stage < shape[0] else 0, 1))
            else:
                sizes.append((shape[0], shape[1] if len(shape) > 1 else 1))
        ends = np.cumsum([rows * columns for rows, columns in sizes])
        starts = (0, *(int(end) for end in ends))
        return cls(tuple(sizes), starts, tuple(stream.stride for stream in streams))

    def positions(self, each: Pass) -> np.ndarray:
        """List rows and columns of a pass's positions: (n, 2) int64, phase by phase."""
        period, phases = each.lattice
        rows, columns = self.shapes[each.stream]
        found = []
        for row, column in phases:
            grid = np.meshgrid(
                np.arange(row, rows, period), np.arange(column, columns, period), indexing="ij"
            )
            found.append(np.stack(grid, axis=-1).reshape(-1, 2))
        return np.concatenate(found)

    def cells(self, each: Pass, positions: np.ndarray) -> np.ndarray:
        """Return where in the sequence positions are: (n,) int64."""
        cells: np.ndarray = self.starts[each.stream] + (
            positions[:, 0] * self.shapes[each.stream][1] + positions[:, 1]
        )
        return cells

    def given(self, each: Pass, positions: np.ndarray) -> np.ndarray:
        """Return where what positions are given is: (n, contexts) int64.

        What lies outside is the one after the last.
        """
        out = np.full((len(positions), len(each.context)), self.starts[-1], dtype=np.int64)
        own = self.strides[each.stream]
        for number, (stream, down, right) in enumerate(each.context):
            there = self.strides[stream]
            row = positions[:, 0] * own[0] // there[0] + down
            column = positions[:, 1] * own[1] // there[1] + right
            rows, columns = self.shapes[stream]
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            out[inside, number] = self.starts[stream] + (row * columns + column)[inside]
        return out


def split_bits(size: int) -> tuple[int, int]:
    """Return how many cells a codebook is split into, and entries in a cell; powers of two.

    Raises:
        ConfigError: more than 65,536 entries.
    """
    bits = max((size - 1).bit_length(), 2)
    if bits > 16:
        raise ConfigError(f"priors/context: {size} entries; codebooks of up to 65536 are modelled")
    return 1 << math.ceil(bits / 2), 1 << bits // 2


def _is_regular(level: LevelSpec) -> bool:
    return level.axes in (("h", "w"), ("t",), ("q", "t"))


@lru_cache
def _lattices(is_grid: bool) -> tuple[Lattice, ...]:
    period = _GRID if is_grid else _FRAMES
    made: list[Lattice] = [(period, ((0, 0),))]
    while period > 1:
        half = period // 2
        if is_grid:
            made.append((period, ((half, half),)))
            made.append((period, ((0, half), (half, 0))))
        else:
            made.append((period, ((half, 0),)))
        period = half
    return tuple(made)


def _known(
    before: Sequence[Lattice], lattice: Lattice, *, reach: int, is_grid: bool
) -> list[tuple[int, int]]:
    """Returns offsets from a position to those that are known, the nearest first."""
    period, phases = lattice
    step, (row, column) = max(period // 2, 1), phases[0]
    found = []
    for down in range(-reach * step, reach * step + 1, step):
        for right in range(-reach * step, reach * step + 1, step) if is_grid else (0,):
            there = row + down, column + right
            if any((there[0] % each, there[1] % each) in phase for each, phase in before):
                found.append((down, right))
    return sorted(found, key=lambda at: (at[0] ** 2 + at[1] ** 2, at))

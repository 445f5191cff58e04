"""Codes ⇄ sequences: in which order a prior meets the codes of a signal.

Levels follow each other coarse → fine; within one, positions in raster order. Stacked codebooks
("q" axis) have three orders, named as in MusicGen (arXiv:2306.05284, section 2.2):

    flat       one code a step: all stages of a position, then the next position
    parallel   all stages of a position in one step, independent of each other given the past
    delay      stage q of position s - q in step s: stages see each other, steps stay few

A step has slots, one for each code that it predicts at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.codes.spec import RANKS, SPATIAL, CodeSpec, LevelSpec
from vqtok.errors import UsageError
from vqtok.priors._near import near

Pattern = Literal["flat", "delay", "parallel"]

Grid = tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """All codes of one stream: a level's stage, which has a vocabulary of its own.

    Attributes:
        steps: int64 (n,), steps in which they are predicted, ascending.
        slots: int64 (n,), in which slot.
        cells: int64 (n,), their positions in the flat codes.
    """

    steps: Tensor
    slots: Tensor
    cells: Tensor


@dataclass(frozen=True)
class Layout:
    """The order of one signal's codes.

    Attributes:
        extent: Of the signal.
        shapes: Of each level's array, without a batch axis.
        cells: int64 (S, P): where in the flat codes is what each slot of a step predicts; -1: the
            slot is empty. Flat codes are all levels one after another, each in C order.
        streams: int64 (S, P): stream of each slot, 0 … of all levels and stages; -1: empty.
        at: float64 (S, A): where in the signal a step's first slot is, in strides of the finest
            level; A axes, one at least.
        size: float64 (A,): the signal's size in the same unit.
        positions: int64 (S,): number of a step's first slot in its level's grid, in raster order.
        near: int64 (S, M): where in the flat codes is what is near a step's code (``_near.py``),
            -1: nothing; M is 0 if steps have several slots.
        groups: One per stream.
        inverse: int64 (N,): of the groups' cells joined, where each flat code is.
    """

    extent: Grid
    shapes: tuple[Grid, ...]
    cells: Tensor
    streams: Tensor
    at: Tensor
    size: Tensor
    positions: Tensor
    near: Tensor
    groups: tuple[Group, ...]
    inverse: Tensor

    @property
    def steps(self) -> int:
        """S, the length of the sequence."""
        return int(self.cells.shape[0])

    @property
    def count(self) -> int:
        """N, codes of one signal."""
        return int(self.inverse.shape[0])

    def split(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, N) in the order of flat codes → one (B, *axes) per level."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = torch.split(flat, sizes, dim=1)
        return tuple(
            part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)
        )


def vocabularies(levels: Sequence[LevelSpec], depth: int | None) -> list[int]:
    """Codebook sizes of the streams, level by level, stage by stage."""
    return [level.codebook_size for level in levels for _ in range(_stages(level, depth))]


def flatten(codes: Codes, device: torch.device) -> Tensor:
    """Maps all levels as one int64 (B, N), coarse → fine, each in C order."""
    parts = [torch.as_tensor(a, dtype=torch.int64).flatten(1) for a in codes.levels]
    return torch.cat([part.to(device) for part in parts], dim=1)


def slots(levels: Sequence[LevelSpec], pattern: Pattern, depth: int | None) -> int:
    """P, how many codes a step predicts at most."""
    return 1 if pattern == "flat" else max(_stages(level, depth) for level in levels)


def layout(
    spec: CodeSpec,
    extent: Grid,
    *,
    pattern: Pattern,
    depth: int | None = None,
    device: torch.device | None = None,
) -> Layout:
    """Returns the order of the codes of a signal.

    Args:
        spec: Of the codes.
        extent: Of the signal.
        pattern: Order of stacked codebooks.
        depth: Stages of a "q" axis that there are; None: all.
        device: Of the result's tensors.
    """
    return _layout(
        spec.levels, RANKS[spec.modality], extent, pattern, depth, device or torch.device("cpu")
    )


@lru_cache(maxsize=32)
def _layout(
    levels: tuple[LevelSpec, ...],
    rank: int,
    extent: Grid,
    pattern: Pattern,
    depth: int | None,
    device: torch.device,
) -> Layout:
    # Plain tensors, whoever is first: training cannot use those of inference mode.
    with torch.inference_mode(False):
        strides = [_strides(level, rank) for level in levels]
        finest = [min(steps) for steps in zip(*strides, strict=True)]
        width = slots(levels, pattern, depth)
        shapes = tuple(level.shape(extent, depth=depth) for level in levels)
        parts, first, stream = [], 0, 0
        for level, shape, stride in zip(levels, shapes, strides, strict=True):
            ratio = [a / b for a, b in zip(stride, finest, strict=True)]
            cells, streams, number, at = _level(level, shape, pattern, slots=width, ratio=ratio)
            parts.append((_moved(cells, first), _moved(streams, stream), number, at))
            first, stream = first + math.prod(shape), stream + _stages(level, depth)
        cells, streams, numbers, at = (torch.cat(x).to(device) for x in zip(*parts, strict=True))
        groups = tuple(_group(cells, streams, number) for number in range(stream))
        inverse = torch.cat([group.cells for group in groups]).argsort()
        close = near(levels, shapes).to(device)[cells[:, 0], : None if width == 1 else 0]
        size = at.amax(dim=0) + 1
        return Layout(extent, shapes, cells, streams, at, size, numbers, close, groups, inverse)


def joined(parts: Sequence[Layout]) -> Layout:
    """Joins layouts, one after another; positions and what is near stay with the parts."""
    with torch.inference_mode(False):
        width = max(part.cells.shape[1] for part in parts)
        cells, streams, groups, inverse = [], [], [], []
        first = stream = steps = 0
        for part in parts:
            cells.append(_widened(_moved(part.cells, first), width))
            streams.append(_widened(_moved(part.streams, stream), width))
            groups += [Group(g.steps + steps, g.slots, g.cells + first) for g in part.groups]
            inverse.append(part.inverse + first)
            first, steps = first + part.count, steps + part.steps
            stream += len(part.groups)
        return Layout(
            parts[0].extent,
            tuple(shape for part in parts for shape in part.shapes),
            torch.cat(cells),
            torch.cat(streams),
            torch.cat([part.at for part in parts]),
            parts[-1].size,
            torch.cat([part.positions for part in parts]),
            parts[0].near[:0],
            tuple(groups),
            torch.cat(inverse),
        )


def _level(
    level: LevelSpec, shape: Grid, pattern: Pattern, *, slots: int, ratio: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells, streams, positions and coordinates of one level's steps, all counted from 0."""
    index = torch.arange(math.prod(shape)).view(shape)
    stages = 1
    if "q" in level.axes:
        axis = level.axes.index("q")
        stages, index = shape[axis], index.movedim(axis, -1)
    index = index.reshape(-1, stages)  # (positions, stages)
    grid = [size for size, axis in zip(shape, level.axes, strict=True) if axis != "q"]
    at = _coordinates(level, grid, ratio)
    count = len(index)
    if pattern == "flat":
        cells = index.flatten()[:, None]
        streams = torch.arange(stages).repeat(count)[:, None]
        numbers = torch.arange(count).repeat_interleave(stages)
        return _widened(cells, slots), _widened(streams, slots), numbers, at[numbers]
    shift = 1 if pattern == "delay" else 0
    steps = count + shift * (stages - 1)
    cells = torch.full((steps, slots), -1)
    streams = torch.full((steps, slots), -1)
    for stage in range(stages):
        begin = shift * stage
        cells[begin : begin + count, stage] = index[:, stage]
        streams[begin : begin + count, stage] = stage
    numbers = torch.arange(steps).clamp(max=count - 1)
    return cells, streams, numbers, at[numbers]


def _coordinates(level: LevelSpec, grid: Sequence[int], ratio: Sequence[float]) -> Tensor:
    """Returns where each position of a level is: float64 (positions, A)."""
    ranges = [torch.arange(size, dtype=torch.float64) for size in grid]
    steps = torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1).flatten(0, -2)
    if "n" in level.axes:  # tokens without a position in the signal: along the first axis
        at = steps.new_zeros(len(steps), len(ratio))
        at[:, 0] = steps[:, 0]
        return at
    # Centres, so that a coarse code is amid the fine ones that it covers.
    return (steps + 0.5) * torch.tensor(ratio, dtype=torch.float64) - 0.5


def _group(cells: Tensor, streams: Tensor, number: int) -> Group:
    steps, slots = (streams == number).nonzero(as_tuple=True)
    return Group(steps, slots, cells[steps, slots])


def _stages(level: LevelSpec, depth: int | None) -> int:
    if "q" not in level.axes:
        return 1
    return min(depth or level.depth or 1, level.depth or 1)


def _strides(level: LevelSpec, rank: int) -> tuple[int, ...]:
    if level.steps != 1:
        raise UsageError(
            f"level {level.name!r}: {level.steps} codes per stride: priors model one per stride"
        )
    spatial = any(axis in SPATIAL for axis in level.axes)
    return level.stride if spatial else (1,) * rank


def _widened(columns: Tensor, slots: int) -> Tensor:
    """Maps (S, P) → (S, slots), the rest empty."""
    return torch.nn.functional.pad(columns, (0, slots - columns.shape[1]), value=-1)


def _moved(numbers: Tensor, by: int) -> Tensor:
    """Add to all but those that mean "empty"."""
    return torch.where(numbers < 0, numbers, numbers + by)

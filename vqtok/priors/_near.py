"""Which codes lie nearest to each, among those that come before it in any order of levels.

A sequence hides that the code above is close: attention must learn it. Given such codes, a prior
needs a fraction of the steps to get as far (about half on 8 x 8 codes of CIFAR-10).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqtok.codes.spec import SPATIAL, LevelSpec

OFFSETS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((-1,), (-2,), (-3,)),
    2: ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0)),
    3: ((0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0)),
}
"""Steps back on a line, a grid and a film; all come earlier in raster order."""


def kinds(levels: Sequence[LevelSpec]) -> int:
    """M, how many near codes there may be: those of ``OFFSETS``, and one of the coarser level."""
    ranks = [sum(axis != "q" for axis in level.axes) for level in levels]
    return max(len(OFFSETS[rank]) for rank in ranks) + (len(levels) > 1)


def near(levels: Sequence[LevelSpec], shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """Near codes of every code.

    Args:
        levels: Coarse → fine.
        shapes: Of each level's array, without a batch axis.

    Returns:
        int64 (N, M): positions in the flat codes (``Layout.cells``), -1 where there is none. Of
        stacked codebooks those of the same stage, or of the last one that there is.
    """
    total = sum(int(torch.Size(shape).numel()) for shape in shapes)
    out = torch.full((total, kinds(levels)), -1)
    first = 0
    above: tuple[LevelSpec, Tensor] | None = None
    for level, shape in zip(levels, shapes, strict=True):
        size = int(torch.Size(shape).numel())
        cells = torch.arange(first, first + size).view(shape)
        stack = "q" in level.axes  # → (*grid, Q)
        cells = cells.movedim(level.axes.index("q"), -1) if stack else cells[..., None]
        positions = _positions(cells)
        for kind, offset in enumerate(OFFSETS[cells.ndim - 1]):
            out[cells.flatten(), kind] = _look(cells, positions + torch.tensor(offset)).flatten()
        if above is not None and _spatial(level) == _spatial(above[0]) and _spatial(level):
            own, their = torch.tensor(level.stride), torch.tensor(above[0].stride)
            found = _look(above[1], positions * own // their)  # (positions, their stages)
            stages = torch.arange(cells.shape[-1]).clamp(max=found.shape[1] - 1)
            out[cells.flatten(), -1] = found[:, stages].flatten()
        above, first = (level, cells), first + size
    return out


def _positions(cells: Tensor) -> Tensor:
    """Coordinates of the positions of (*grid, Q) cells: (positions, axes)."""
    ranges = [torch.arange(size) for size in cells.shape[:-1]]
    return torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1).flatten(0, -2)


def _look(cells: Tensor, positions: Tensor) -> Tensor:
    """Cells of (*grid, Q) at (n, axes) positions: (n, Q), -1 outside."""
    sizes = torch.tensor(cells.shape[:-1])
    inside = ((positions >= 0) & (positions < sizes)).all(dim=1)
    found = cells[tuple(positions.clamp_min(0).minimum(sizes - 1).T)]
    return torch.where(inside[:, None], found, -1)


def _spatial(level: LevelSpec) -> tuple[str, ...]:
    return tuple(axis for axis in level.axes if axis in SPATIAL)

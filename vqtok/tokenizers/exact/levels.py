"""Which positions of each level's grid a tile is about: numbers alone, whatever library codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vqtok.tokenizers.exact.tiling2d import Slices, Tile

Span = tuple[int, int]
"""First position and the one behind the last."""


class Cut(NamedTuple):
    """Positions of one level's grid that a tile is about; rows and columns of its window."""

    coded: tuple[Span, Span]
    """Those that are coded, as others depend on them."""
    owned: tuple[Span, Span]
    """Those that are kept."""

    def inner(self) -> Slices:
        """Slice what is kept out of what is coded."""
        rows, columns = (
            slice(kept[0] - coded[0], kept[1] - coded[0])
            for coded, kept in zip(self.coded, self.owned, strict=True)
        )
        return rows, columns

    def position(self, tile: Tile, level: int) -> Slices:
        """Slice what is kept out of the whole image's grid."""
        rows, columns = self.owned
        top, left = tile.top << level, tile.left << level
        return (
            slice(top, top + rows[1] - rows[0]),
            slice(left, left + columns[1] - columns[0]),
        )


class Grids:
    """Grids of levels, each with twice the resolution of the one before.

    Args:
        stride: Pixels per code of the coarsest level, each way: a cell.
        margins: Of each level, cells around one that its codes depend on.
    """

    def __init__(self, stride: int, margins: Sequence[int]) -> None:
        self._stride, self._margins = stride, margins

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Compute (h, w) of each level's codes for an image of this size."""
        strides = [self._stride >> level for level in range(len(self._margins))]
        return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]

    def cuts(self, tile: Tile, size: tuple[int, int]) -> tuple[Cut, ...]:
        """Find what a tile of an image of this size is about, on each level."""
        cuts = []
        for level, grid in enumerate(self.sizes(size)):
            margin, scale = self._margins[level], 1 << level
            sides = (
                (tile.halo_top, tile.bottom - tile.top, tile.halo_bottom, tile.top),
                (tile.halo_left, tile.right - tile.left, tile.halo_right, tile.left),
            )
            coded, owned = [], []
            for (ahead, own, behind, first), length in zip(sides, grid, strict=True):
                end = length - (first - ahead) * scale  # of the image, in the window
                wide = (ahead - min(ahead, margin), ahead + own + min(behind, margin))
                coded.append((wide[0] * scale, min(wide[1] * scale, end)))
                owned.append((ahead * scale, min((ahead + own) * scale, end)))
            cuts.append(Cut((coded[0], coded[1]), (owned[0], owned[1])))
        return tuple(cuts)

    @staticmethod
    def doubled(cut: Cut, before: Cut) -> tuple[Span, Span]:
        """Find what a level codes in what becomes of the level before, which is doubled.

        That one is known from where its coded part begins.
        """
        rows, columns = (
            (mine[0] - 2 * theirs[0], mine[1] - 2 * theirs[0])
            for mine, theirs in zip(cut.coded, before.coded, strict=True)
        )
        return rows, columns

"""Cut large images into tiles at fixed positions, each with a halo of what it sees.

``Grids`` says which positions of each level's grid a tile is about. All of it is numbers, whatever
library codes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

TILE = 1024
"""Pixels per side of a tile; images up to this size are one tile."""

LARGE = 1 << 26
"""Pixels from which on an image's own memory is what hurts: its tiles are half as wide."""

BATCH = 1 << 18
"""Pixels of equal tiles that go through the network together."""

Slices = tuple[slice, slice]
"""Rows and columns."""

Span = tuple[int, int]
"""First position and the one behind the last."""

Pixels = TypeVar("Pixels")
"""A tensor, or an array of numpy."""

Read = Callable[[slice, slice], Pixels]
"""Rows, columns → (C, h, w) float32 in [-1, 1]."""


class Tile(NamedTuple):
    """One tile of a grid: the part it owns and the part it sees, in positions of the grid."""

    top: int
    left: int
    bottom: int
    right: int
    halo_top: int
    halo_left: int
    halo_bottom: int
    halo_right: int

    def owned(self, scale: int = 1) -> Slices:
        """Slice the owned part of an array with ``scale`` samples per position."""
        return (
            slice(self.top * scale, self.bottom * scale),
            slice(self.left * scale, self.right * scale),
        )

    def window(self, scale: int = 1) -> Slices:
        """Slice the part that is seen, of an array with ``scale`` samples per position."""
        return (
            slice((self.top - self.halo_top) * scale, (self.bottom + self.halo_bottom) * scale),
            slice((self.left - self.halo_left) * scale, (self.right + self.halo_right) * scale),
        )

    def inner(self, scale: int = 1) -> Slices:
        """Slice the owned part of a window with ``scale`` samples per position."""
        rows, columns = self.bottom - self.top, self.right - self.left
        return (
            slice(self.halo_top * scale, (self.halo_top + rows) * scale),
            slice(self.halo_left * scale, (self.halo_left + columns) * scale),
        )

    @property
    def area(self) -> int:
        """Count the positions of the window."""
        rows, columns = self.window()
        return math.prod((rows.stop - rows.start, columns.stop - columns.start))

    @property
    def form(self) -> Tile:
        """Move the window to the origin: tiles of one form can be batched."""
        top, left = self.top - self.halo_top, self.left - self.halo_left
        return self._replace(
            top=self.halo_top,
            left=self.halo_left,
            bottom=self.bottom - top,
            right=self.right - left,
        )


def tiles(size: tuple[int, ...], *, stride: int, halo: int) -> Iterator[Tile]:
    """Cut an image into tiles, row by row; halos stop at its edge.

    At the edge the network pads as it would for the whole image, and inside every owned position
    sees its whole receptive field: the union of tiles equals the untiled result. Tiles depend on
    the image's size alone.

    Args:
        size: (H, W) pixels.
        stride: Pixels per position of the grid, each way.
        halo: Positions around a tile that its window holds.
    """
    height, width = (-(-side // stride) for side in size)
    step = (TILE if math.prod(size) < LARGE else TILE // 2) // stride
    for top in range(0, height, step):
        for left in range(0, width, step):
            bottom, right = min(top + step, height), min(left + step, width)
            yield Tile(
                top,
                left,
                bottom,
                right,
                min(halo, top),
                min(halo, left),
                min(halo, height - bottom),
                min(halo, width - right),
            )


class Windows(Generic[Pixels]):
    """Reads an image window by window, padded to multiples of the stride.

    Args:
        size: (H, W).
        read: Gives the pixels inside the image.
        stride: Pixels per position of the grid, each way.
        repeat: Pixels, rows and columns → with the last row and column so many times more.
    """

    def __init__(
        self,
        size: tuple[int, int],
        read: Read[Pixels],
        *,
        stride: int,
        repeat: Callable[[Pixels, int, int], Pixels],
    ) -> None:
        self.size = size
        self._read, self._stride, self._repeat = read, stride, repeat

    def __call__(self, tile: Tile) -> Pixels:
        """Read what a tile sees; beyond the edge the last row and column are repeated."""
        rows, columns = tile.window(self._stride)
        height, width = self.size
        bottom, right = max(0, rows.stop - height), max(0, columns.stop - width)
        x = self._read(
            slice(rows.start, rows.stop - bottom), slice(columns.start, columns.stop - right)
        )
        return self._repeat(x, bottom, right) if bottom or right else x


def batches(
    sizes: Sequence[tuple[int, int]],
    *,
    stride: int,
    halo: int,
    key: Callable[[int, Tile], Hashable],
) -> Iterator[list[tuple[int, Tile]]]:
    """Group the tiles of many images that can go through a network together.

    Args:
        sizes: (H, W) of each image.
        stride: Pixels per position of the grid, each way.
        halo: As of ``tiles``.
        key: Image number and tile → what tiles of one group have in common.

    Yields:
        Image numbers, each with one of its tiles; every tile once.
    """
    waiting: defaultdict[Hashable, list[tuple[int, Tile]]] = defaultdict(list)
    for index, size in enumerate(sizes):
        for tile in tiles(size, stride=stride, halo=halo):
            shared = key(index, tile)
            waiting[shared].append((index, tile))
            if (len(waiting[shared]) + 1) * tile.area * stride**2 > BATCH:
                yield waiting.pop(shared)
    yield from waiting.values()


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

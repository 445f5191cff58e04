"""Where a large grid is cut: tiles on absolute positions, each with a halo of what it sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Tile(NamedTuple):
    """One tile of a grid: the part it owns and the part it sees, in code positions."""

    top: int
    left: int
    bottom: int
    right: int
    halo_top: int
    halo_left: int
    halo_bottom: int
    halo_right: int

    def owned(self, scale: int = 1) -> tuple[slice, slice]:
        """What the tile is there for, as slices of an array with ``scale`` samples per position."""
        return (
            slice(self.top * scale, self.bottom * scale),
            slice(self.left * scale, self.right * scale),
        )

    def window(self, scale: int = 1) -> tuple[slice, slice]:
        """What the network sees, as slices of an array with ``scale`` samples per position."""
        return (
            slice((self.top - self.halo_top) * scale, (self.bottom + self.halo_bottom) * scale),
            slice((self.left - self.halo_left) * scale, (self.right + self.halo_right) * scale),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Positions of the window, each way."""
        rows, columns = self.window()
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def form(self) -> Tile:
        """The tile as if its window began at the origin: tiles of one form can be batched."""
        top, left = self.top - self.halo_top, self.left - self.halo_left
        return self._replace(
            top=self.halo_top,
            left=self.halo_left,
            bottom=self.bottom - top,
            right=self.right - left,
        )

    def inner(self, scale: int = 1) -> tuple[slice, slice]:
        """The owned part inside the window."""
        rows, columns = self.bottom - self.top, self.right - self.left
        return (
            slice(self.halo_top * scale, (self.halo_top + rows) * scale),
            slice(self.halo_left * scale, (self.halo_left + columns) * scale),
        )


def tiles(height: int, width: int, *, size: int, halo: int) -> Iterator[Tile]:
    """Tiles of a grid, row by row; halos stop at the grid's edge.

    At the edge the network pads as it would for the whole image, and inside every owned position
    sees its whole receptive field: the union of tiles equals the untiled result.
    """
    for top in range(0, height, size):
        for left in range(0, width, size):
            bottom, right = min(top + size, height), min(left + size, width)
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

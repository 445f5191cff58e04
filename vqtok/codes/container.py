"""Codes of a batch: one array per level, coarse to fine, with their meaning attached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError

Array = Any
"""A numpy array (files) or a torch tensor (models). torch is never imported here."""

Shapes = tuple[tuple[int, ...], ...]
"""Of the levels of one signal, coarse to fine."""


@dataclass(frozen=True, eq=False)
class Codes:
    """Holds the codes of B signals of one size.

    Attributes:
        spec: What the integers mean and whose they are.
        levels: One array per level, each (B, *axes), integers.
        extent: Original (H, W), (L,) or (T, H, W) of each signal, before padding.
    """

    spec: CodeSpec
    levels: tuple[Array, ...]
    extent: tuple[int, ...]

    def __len__(self) -> int:
        """Return B, the number of signals; 0 where there are no levels."""
        return int(self.levels[0].shape[0]) if self.levels else 0

    @property
    def shapes(self) -> Shapes:
        """Shape of each level of one signal."""
        return tuple(tuple(array.shape[1:]) for array in self.levels)

    def arrays(self) -> dict[str, Array]:
        """Return each level by its name, as files have them: without a batch axis of 1."""
        arrays = (array[0] if len(self) == 1 else array for array in self.levels)
        return {level.name: array for level, array in zip(self.spec.levels, arrays, strict=True)}

    def flat(self) -> np.ndarray:
        """Return the one level, or a hierarchy as one sequence, coarse → fine; as ``arrays``."""
        joined = self.levels[0]
        if len(self.levels) > 1:
            parts = [array.reshape(len(self), -1) for array in self.levels]
            joined = np.concatenate(parts, axis=1)  # (B, n)
        squeezed: np.ndarray = joined[0] if len(self) == 1 else joined
        return squeezed

    @property
    def depth(self) -> int | None:
        """Count the stages present on the longest "q" axis; None if there is none."""
        depths = [
            int(array.shape[1 + level.axes.index("q")])
            for level, array in zip(self.spec.levels, self.levels, strict=True)
            if "q" in level.axes
        ]
        return max(depths, default=None)

    @property
    def tokens(self) -> int:
        """Count the codes in the whole batch."""
        return sum(int(np.prod(array.shape)) for array in self.levels)

    def check(self) -> Codes:
        """Return self if every level has the right rank, shape and range.

        Raises:
            CodesError: naming the level, what was found and what is allowed.
        """
        if len(self.levels) != len(self.spec.levels):
            raise CodesError(f"{len(self.levels)} levels found, {len(self.spec.levels)} expected")
        for level, array in zip(self.spec.levels, self.levels, strict=True):
            _check_level(level, array, self.extent, batch=len(self))
        return self

    def truncate(self, depth: int) -> Codes:
        """Keep the first ``depth`` stages of every "q" axis.

        Greedy residual codes are prefixes of deeper ones, so these are what fewer stages give.

        Raises:
            CodesError: no "q" axis, or fewer stages than wanted.
        """
        if self.depth is None:
            if len(self.levels) > 1:
                names = ", ".join(level.name for level in self.spec.levels)
                raise CodesError(
                    f"these codes have levels ({names}) with one codebook each: "
                    "there is no depth to choose"
                )
            raise CodesError("these codes have one codebook: there is no depth to choose")
        if not 1 <= depth <= self.depth:
            raise CodesError(f"depth {depth} is not between 1 and {self.depth}")
        levels = []
        for level, array in zip(self.spec.levels, self.levels, strict=True):
            if "q" in level.axes:
                cut = [slice(None)] * (1 + level.axes.index("q")) + [slice(depth)]
                array = array[tuple(cut)]
            levels.append(array)
        return replace(self, levels=tuple(levels))

    def split(self) -> list[Codes]:
        """Return a ``Codes`` of batch 1 for each signal."""
        return [
            replace(self, levels=tuple(array[i : i + 1] for array in self.levels))
            for i in range(len(self))
        ]

    @staticmethod
    def stack(items: Sequence[Codes]) -> Codes:
        """Join numpy codes of one spec and extent along the batch axis.

        Raises:
            CodesError: nothing to join, or items that differ in spec or extent.
        """
        if not items:
            raise CodesError("no codes to stack")
        first = items[0]
        if any(item.spec != first.spec or item.extent != first.extent for item in items):
            raise CodesError("codes of different models or sizes cannot be stacked")
        columns = zip(*(item.levels for item in items), strict=True)
        return replace(first, levels=tuple(np.concatenate(column) for column in columns))

    def numpy(self) -> Codes:
        """Return numpy arrays of each level's smallest unsigned dtype.

        Codes must be in range (``check``): others would wrap round. Arrays that have that dtype
        already are not copied.
        """
        levels = []
        for level, array in zip(self.spec.levels, self.levels, strict=True):
            plain = array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()
            levels.append(plain.astype(level.dtype, copy=False))
        return replace(self, levels=tuple(levels))


def _check_level(level: LevelSpec, array: Array, extent: tuple[int, ...], *, batch: int) -> None:
    name = f"level {level.name!r}"
    if not _is_integer(array):
        raise CodesError(f"{name}: {array.dtype} values found, integers expected")
    if len(array.shape) != 1 + len(level.axes):
        axes = ", ".join(("B", *level.axes))
        raise CodesError(f"{name}: rank {len(array.shape)} found, ({axes}) expected")
    depth = int(array.shape[1 + level.axes.index("q")]) if "q" in level.axes else None
    if depth is not None and not 1 <= depth <= (level.depth or depth):
        raise CodesError(f"{name}: {depth} stages found, 1 to {level.depth} expected")
    expected = (batch, *level.shape(extent, depth=depth))
    if tuple(array.shape) != expected:
        raise CodesError(
            f"{name}: shape {tuple(array.shape)} found, {expected} expected for extent {extent}"
        )
    if not array.size if isinstance(array, np.ndarray) else not array.numel():
        return
    low, high = int(array.min()), int(array.max())
    if low < 0:
        raise CodesError(f"{name}: code {low} is negative")
    if high >= level.codebook_size:
        raise CodesError(f"{name}: code {high} is at or above codebook size {level.codebook_size}")


def _is_integer(array: Array) -> bool:
    if isinstance(array, np.ndarray):
        return array.dtype.kind in "iu"
    return not array.is_floating_point() and not array.is_complex() and "int" in str(array.dtype)

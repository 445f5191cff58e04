"""Codes ⇄ token ids: every (level, stage) has its own range of ids, and BOS follows them all.

Levels come coarse to fine and a level's stages in order, so the id of code c of stage q of
level l is

    sum of K * Q over the levels before l  +  q * K of level l  +  c

with Q = 1 for levels without a "q" axis, and BOS = the number of all those ids. One channel of an
item is one sequence: BOS, then its levels coarse to fine, each in C order with the stages of a
position side by side: (q, t) becomes t-major, then q; (h, w) is a raster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError

COUNTED = 1 << 22
"""Largest vocabulary with a histogram: 32 MB while it is counted."""


@dataclass(frozen=True)
class Book:
    """Names the ids of one codebook: offset … offset + size - 1.

    Attributes:
        level: Name of the level.
        stage: Position on the "q" axis; None for levels without one.
        offset: Token id of code 0: where it begins in the histogram and in tokens.bin.
        size: Entries, K.
    """

    level: str
    stage: int | None
    offset: int
    size: int


class Vocabulary:
    """Maps the codes of a spec to token ids.

    Args:
        spec: Its depth is the number of stages that have ids.
    """

    def __init__(self, spec: CodeSpec) -> None:
        self.spec = spec
        sizes = [_stages(level) * level.codebook_size for level in spec.levels]
        self._starts = [sum(sizes[:index]) for index in range(len(sizes))]
        self.bos = sum(sizes)

    @property
    def dtype(self) -> str:
        """Return "uint16" or, where ids need it, "int32": the bits are those of uint32."""
        return "uint16" if self.bos < 1 << 16 else "int32"

    def __len__(self) -> int:
        """Count the codebooks."""
        return sum(_stages(level) for level in self.spec.levels)

    def books(self) -> list[Book]:
        """Return one for each level and stage, in order of their ids."""
        found = []
        for level, start in zip(self.spec.levels, self._starts, strict=True):
            for stage in range(_stages(level)):
                offset = start + stage * level.codebook_size
                which = stage if "q" in level.axes else None
                found.append(Book(level.name, which, offset, level.codebook_size))
        return found

    def ids(self, codes: Codes) -> list[np.ndarray]:
        """Return the token ids of each level, (B, n) int64, without BOS."""
        found = []
        for level, array, start in zip(self.spec.levels, codes.levels, self._starts, strict=True):
            whole = _by_position(level, np.asarray(array).astype(np.int64))  # (B, n, stages)
            stages = np.arange(whole.shape[-1], dtype=np.int64) * level.codebook_size
            found.append((whole + (start + stages)).reshape(len(codes), -1))
        return found

    def sequences(self, codes: Codes) -> np.ndarray:
        """Return BOS and every level: (B, 1 + tokens) of ``dtype``, little-endian."""
        bos = np.full((len(codes), 1), self.bos, np.int64)
        whole = np.concatenate([bos, *self.ids(codes)], axis=1)
        return whole.astype(np.dtype(self.dtype).newbyteorder("<"))

    def codes(
        self,
        sequences: np.ndarray,
        shapes: Sequence[Sequence[int]],
        *,
        spec: CodeSpec,
        extent: tuple[int, ...],
    ) -> Codes:
        """Invert ``sequences``.

        Args:
            sequences: (B, 1 + tokens).
            shapes: Of each level, without a batch axis; their sizes add up to the tokens.
            spec: Of the result.
            extent: Of the result.

        Raises:
            CodesError: an id outside the range of its level and stage.
        """
        levels = self._levels(sequences, shapes)
        return Codes(spec, levels, extent).check().numpy()

    def flat(self, sequences: np.ndarray, shapes: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the codes of sequences of one shape as ``Codes.flat`` has them: (B, tokens).

        Raises:
            CodesError: an id outside the range of its level and stage.
        """
        levels = self._levels(sequences, shapes)
        return np.concatenate([level.reshape(len(sequences), -1) for level in levels], axis=1)

    def _levels(
        self, sequences: np.ndarray, shapes: Sequence[Sequence[int]]
    ) -> tuple[np.ndarray, ...]:
        if sequences.shape[1] and (sequences[:, 0] != self.bos).any():
            raise CodesError("a sequence does not begin with BOS")
        levels, begin = [], 1
        for level, shape, start in zip(self.spec.levels, shapes, self._starts, strict=True):
            count = math.prod(shape)
            part = sequences[:, begin : begin + count].astype(np.int64)
            begin += count
            stages = shape[level.axes.index("q")] if "q" in level.axes else 1
            grid = part.reshape(len(part), -1, stages) - start
            grid -= np.arange(stages, dtype=np.int64) * level.codebook_size
            if grid.size and (grid.min() < 0 or grid.max() >= level.codebook_size):
                raise CodesError(f"level {level.name!r}: a token outside its range")
            levels.append(_by_axes(level, grid, shape))
        return tuple(levels)


class Histogram:
    """Counts how often each token id was made; nothing above ``COUNTED`` ids.

    Args:
        vocabulary: Whose ids are counted.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        counted = vocabulary.bos <= COUNTED
        self.counts = np.zeros(vocabulary.bos, np.int64) if counted else None

    def add(self, codes: Codes) -> None:
        """Count an item."""
        if self.counts is None:
            return
        for ids in self._vocabulary.ids(codes):
            low, counts = _counted(ids.reshape(-1))
            self.counts[low : low + len(counts)] += counts

    def load(self, pairs: np.ndarray) -> None:
        """Take up ``pairs`` again."""
        if self.counts is not None:
            self.counts[pairs[0]] = pairs[1]

    def pairs(self) -> np.ndarray:
        """Return ids that occur and how often: (2, n) int64; empty if nothing is counted."""
        if self.counts is None:
            return np.zeros((2, 0), np.int64)
        ids = np.flatnonzero(self.counts)
        return np.stack([ids, self.counts[ids]])

    def dense(self) -> np.ndarray | None:
        """Count of every id, in the smallest unsigned type that holds them all."""
        if self.counts is None:
            return None
        return self.counts.astype(np.min_scalar_type(int(self.counts.max(initial=0))))


def fits(found: CodeSpec, corpus: CodeSpec) -> bool:
    """Tell whether codes belong into a corpus of the other spec, which may be less deep."""
    if len(found.levels) != len(corpus.levels):
        return False
    levels: Iterable[tuple[LevelSpec, LevelSpec]] = zip(found.levels, corpus.levels, strict=True)
    cut = tuple(
        replace(own, depth=min(own.depth, whole.depth))
        if "q" in own.axes and own.depth is not None and whole.depth is not None
        else own
        for own, whole in levels
    )
    return replace(found, levels=cut) == corpus


def _stages(level: LevelSpec) -> int:
    return (level.depth or 1) if "q" in level.axes else 1


def _by_position(level: LevelSpec, array: np.ndarray) -> np.ndarray:
    # (B, *axes) → (B, positions, stages)
    if "q" not in level.axes:
        return array.reshape(len(array), -1, 1)
    axis = 1 + level.axes.index("q")
    stages = array.shape[axis]
    return np.moveaxis(array, axis, -1).reshape(len(array), -1, stages)


def _by_axes(level: LevelSpec, grid: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    # (B, positions, stages) → (B, *axes)
    if "q" not in level.axes:
        return grid.reshape(len(grid), *shape)
    axis = level.axes.index("q")
    others = [size for index, size in enumerate(shape) if index != axis]
    return np.moveaxis(grid.reshape(len(grid), *others, shape[axis]), -1, 1 + axis)


def _counted(ids: np.ndarray) -> tuple[int, np.ndarray]:
    # Counting from the lowest id keeps the work of an item near its own size.
    low = int(ids.min()) if ids.size else 0
    return low, np.bincount(ids - low) if ids.size else np.zeros(0, np.int64)

"""Blocks: the codes of one item ⇄ the token ids that stand for them, delimiters included."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vqtok.codes.container import Codes, Shapes
from vqtok.codes.spec import CodeSpec
from vqtok.compose import order
from vqtok.compose.layout import BlockLayout, size_name
from vqtok.compose.merging import Merger
from vqtok.compose.ranges import TokenizerRanges
from vqtok.errors import CodesError

SizeText = Callable[[str], Sequence[int]]
"""Text of a size → ids of the text tokenizer."""


class WrongId(CodesError):
    """Names an id that cannot stand where it does.

    Attributes:
        position: In its block.
        found: The id, and what is expected.
    """

    def __init__(self, position: int, found: str) -> None:
        super().__init__(f"position {position} of its block: {found}")
        self.position, self.found = position, found


@dataclass(frozen=True, eq=False)
class Block:
    """Maps the codes of items of one shape to ids, and back.

    Attributes:
        shapes: Of the codes that come back: those of the stages that are kept.
        codes: (n,) number of the code in the item at each position; one beyond the last where there
            is none.
        base: (n,) what is added to the code; where there is none, the id itself.
        size: (n,) codes that there are at each position; 0 where there is none.
        back: (m,) position of each code that comes back.
    """

    shapes: Shapes
    codes: np.ndarray
    base: np.ndarray
    size: np.ndarray
    back: np.ndarray

    def __len__(self) -> int:
        """Count the ids."""
        return len(self.base)

    def ids(self, flat: np.ndarray) -> np.ndarray:
        """Return the ids of items.

        Args:
            flat: (B, codes) as ``Codes.flat`` has them, in range.

        Returns:
            (B, n) int64.
        """
        whole = np.zeros((len(flat), flat.shape[1] + 1), np.int64)
        whole[:, :-1] = flat
        found: np.ndarray = whole[:, self.codes] + self.base
        return found

    def flat(self, ids: np.ndarray) -> np.ndarray:
        """Return the codes that ids stand for.

        Args:
            ids: (B, n).

        Returns:
            (B, m) int64.

        Raises:
            WrongId: an id that cannot stand where it does.
        """
        codes = ids.astype(np.int64) - self.base
        wrong = np.where(self.size == 0, codes != 0, (codes < 0) | (codes >= self.size))
        if wrong.any():
            item, position = (int(each[0]) for each in np.nonzero(wrong))
            base, size = int(self.base[position]), int(self.size[position])
            expected = f"{base}" if not size else f"{base} to {base + size - 1}"
            found = f"id {int(ids[item, position])} found, {expected} expected"
            raise WrongId(position, found)
        back: np.ndarray = codes[:, self.back]
        return back

    def levels(self, ids: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the codes of each level, (B, *axes), as ``flat`` does."""
        flat = self.flat(ids)
        cuts = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        parts = np.split(flat, cuts, axis=1)
        return tuple(
            part.reshape(len(flat), *shape) for part, shape in zip(parts, self.shapes, strict=True)
        )


class Merged(NamedTuple):
    """Counts what merging did to an item, or to many.

    Attributes:
        codes: Before it.
        tokens: That these became.
        bits: Nominal cost of the codes, log2 K each, rounded for each item.
    """

    codes: int
    tokens: int
    bits: int


class Tokens(NamedTuple):
    """Holds the ids of one item.

    Attributes:
        ids: (n,) int64.
        merged: What merging did; None: no merging.
    """

    ids: np.ndarray
    merged: Merged | None = None


class Blocks:
    """Makes the blocks of one tokenizer, one for each shape that its items have.

    Args:
        own: The tokenizer's ranges.
        layout: Of its modality.
        special: Ids of the special tokens.
        size_text: Where a size is text: what turns it into ids.
        merger: Merges codes; None: they stay as they are.
    """

    def __init__(
        self,
        own: TokenizerRanges,
        layout: BlockLayout,
        special: Mapping[str, int],
        size_text: SizeText | None = None,
        merger: Merger | None = None,
    ) -> None:
        self.own, self.layout, self.merger = own, layout, merger
        self.spec = order.kept(own.spec, layout)
        self._special, self._size_text = special, size_text
        self._made: dict[Shapes, Block] = {}

    def of(self, shapes: Shapes) -> Block:
        """Return the block of items of these shapes.

        Raises:
            CodesError: the layout cannot hold such an item.
        """
        found = self._made.get(shapes)
        if found is None:
            found = self._make(shapes)
            if len(self._made) >= _REMEMBERED:
                self._made.pop(next(iter(self._made)))
            self._made[shapes] = found
        return found

    def tokens(self, block: Block, flat: np.ndarray, channels: int) -> Iterator[Tokens]:
        """Yield the ids of items, codes merged if they are to be.

        Args:
            block: Of their shape.
            flat: (items * channels, codes) as ``Codes.flat`` has them, in range.
            channels: Of each item; each is a block.
        """
        ids = block.ids(flat)
        if self.merger is None:
            yield from (Tokens(row) for row in ids.reshape(len(ids) // channels, -1))
            return
        is_code = block.size > 0
        codes = int(is_code.sum()) * channels
        others = len(block) * channels - codes
        bits = round(channels * float(np.log2(block.size[is_code]).sum()))
        rows = self.merger(ids, is_code)
        for start in range(0, len(rows), channels):
            row = np.concatenate(rows[start : start + channels])
            yield Tokens(row, Merged(codes, len(row) - others, bits))

    def grid_of(self, shapes: Shapes) -> tuple[int, int]:
        """Return height and width of the finest level, which give those of all.

        Raises:
            CodesError: they do not.
        """
        return grid_of(self.spec, shapes)

    def head(self, shapes: Shapes) -> list[int]:
        """Return the ids before the first code."""
        layout, special = self.layout, self._special
        found = [] if layout.begin is None else [special[layout.begin]]
        if layout.size != "none":
            height, width = self.grid_of(shapes)
            if layout.size == "text":
                if self._size_text is None:
                    raise CodesError("a size that is text needs the text tokenizer")
                found += self._size_text(f"{height}*{width}")
            else:
                names = size_name(height), size_name(width)
                if any(name not in special for name in names):
                    raise CodesError(
                        f"a grid of {height}×{width} is larger than the layout's sizes",
                        hint='raise "sizes" in the layout',
                    )
                found += (special[name] for name in names)
        if layout.codes is not None:
            found.append(special[layout.codes])
        return found

    def tail(self) -> list[int]:
        """Return the ids after the last code."""
        names = (self.layout.codes_end, self.layout.end)
        return [self._special[name] for name in names if name is not None]

    def _make(self, shapes: Shapes) -> Block:
        spec, layout = self.spec, self.layout
        less = tuple(
            tuple(
                min(size, level.depth or size) if axis == "q" else size
                for axis, size in zip(level.axes, shape, strict=True)
            )
            for level, shape in zip(spec.levels, shapes, strict=True)
        )
        for level, shape in zip(spec.levels, less, strict=True):
            if "q" in level.axes and shape[level.axes.index("q")] != level.depth:
                stages = shape[level.axes.index("q")]
                raise CodesError(f"{stages} stages found, the vocabulary has {level.depth}")
        if layout.grid and self.grid_of(less) != layout.grid:
            found, wanted = ("×".join(map(str, each)) for each in (self.grid_of(less), layout.grid))
            raise CodesError(f"a grid of {found}, and the layout is for {wanted}")
        try:
            kept = order.sequence(spec, layout, less)
        except ValueError as error:
            raise CodesError(str(error)) from error
        if layout.size == "none" and not layout.grid and not layout.row_end and less:
            _check_countable(spec, layout, less, len(kept.codes))
        head, tail = self.head(less), self.tail()
        none = sum(math.prod(shape) for shape in shapes)
        is_code = kept.codes >= 0
        bases = np.array([each.offset for each in self.own.ranges])
        sizes = np.array([each.size for each in self.own.ranges])
        marks = {
            order.PAD: 0 if layout.pad is None else self._special[layout.pad],
            order.ROW_END: 0 if layout.row_end is None else self._special[layout.row_end],
        }
        fixed = np.where(kept.codes == order.PAD, marks[order.PAD], marks[order.ROW_END])
        base = np.where(is_code, bases[kept.slots], fixed)
        size = np.where(is_code, sizes[kept.slots], 0)
        # Of codes with more stages than are kept the numbers are others.
        numbers = np.append(_numbers(spec, shapes, less), none)
        codes = numbers[np.where(is_code, kept.codes, -1)]
        back = np.empty(sum(math.prod(shape) for shape in less), np.int64)
        back[kept.codes[is_code]] = len(head) + np.flatnonzero(is_code)
        return Block(
            less,
            np.concatenate([np.full(len(head), none), codes, np.full(len(tail), none)]),
            np.concatenate([head, base, tail]).astype(np.int64),
            np.concatenate([np.zeros(len(head)), size, np.zeros(len(tail))]).astype(np.int64),
            back,
        )


_REMEMBERED = 1024
"""Shapes whose blocks are kept: a corpus of recordings has a length for each."""


def grid_of(spec: CodeSpec, shapes: Shapes) -> tuple[int, int]:
    """Return height and width of the finest level.

    Raises:
        CodesError: the other levels' do not follow from it.
    """
    level, shape = spec.levels[-1], shapes[-1]
    height, width = (shape[level.axes.index(axis)] for axis in ("h", "w"))
    if of_grid(spec, (height, width)) != shapes:
        raise CodesError("the finest level's grid does not tell those of the others")
    return height, width


def of_grid(spec: CodeSpec, grid: tuple[int, ...]) -> Shapes:
    """Return the shapes of all levels from the grid of the finest."""
    extent = tuple(n * step for n, step in zip(grid, spec.levels[-1].stride, strict=True))
    return spec.shapes(extent)


def _check_countable(spec: CodeSpec, layout: BlockLayout, shapes: Shapes, count: int) -> None:
    """Refuse a recording whose shapes could not be told from the number of its codes."""
    if spec.modality != "audio":
        return
    try:
        same = order.shapes_of(spec, layout, count) == shapes
    except ValueError:
        same = False
    if not same:
        raise CodesError("the number of its codes does not tell the lengths of its levels")


def _numbers(spec: CodeSpec, shapes: Shapes, less: Shapes) -> np.ndarray:
    """Return the numbers in the whole item of the codes of the stages that are kept."""
    found, start = [], 0
    for level, shape, cut in zip(spec.levels, shapes, less, strict=True):
        whole = start + np.arange(math.prod(shape)).reshape(shape)
        start += whole.size
        if "q" in level.axes:
            axis = level.axes.index("q")
            whole = whole.take(np.arange(cut[axis]), axis=axis)
        found.append(whole.reshape(-1))
    return np.concatenate(found)


def flat_of(codes: Codes) -> np.ndarray:
    """Return the codes of a batch as one sequence for each signal: (B, codes)."""
    parts = [np.asarray(array).reshape(len(codes), -1) for array in codes.levels]
    return np.concatenate(parts, axis=1)

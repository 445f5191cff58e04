"""Token ids alone → codes and text: what a model sampled has no listing.

Every id says what it is. A block goes from its ``begin`` to its ``end``, or, where a layout has no
such tokens, as far as its codes do. Its shape follows from its size, its rows, the layout's grid or
the number of its codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqtok.codes.container import Codes, Shapes
from vqtok.codes.header import Header
from vqtok.compose import order
from vqtok.compose.block import Blocks, WrongId, of_grid
from vqtok.compose.layout import BlockLayout, size_name
from vqtok.compose.merges import Undoing, undoing_of
from vqtok.compose.reader import Block, Text
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import RESERVED, SPECIAL, TEXT, Vocabulary
from vqtok.errors import CodesError

_SIZE = re.compile(r"\s*(\d{1,6})\s*\*\s*(\d{1,6})\s*")


@dataclass(frozen=True)
class Wrong:
    """Says what is wrong with a block.

    Attributes:
        document: Number of the list of ids.
        position: In it.
        reason: Why it is no block.
        hint: What would make it one.
    """

    document: int
    position: int
    reason: str
    hint: str | None = None


class Parser:
    """Finds the blocks and texts in lists of ids.

    Args:
        vocabulary: What ids mean.
        text: Tokenizer, or None: texts are left out.
        undo: Puts codes in the places of merged ids.
        lenient: Cut or fill blocks that are damaged instead of refusing them.
        size: Of the original pictures where the ids do not say it, or None.
        on_change: Called with what was cut or filled, and where.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        text: TextTokenizer | None = None,
        *,
        undo: Undoing | None = None,
        lenient: bool = False,
        size: tuple[int, ...] | None = None,
        on_change: Callable[[Wrong], None] = lambda wrong: None,
    ) -> None:
        self._vocabulary, self._text = vocabulary, text
        self._undo = undo or undoing_of(vocabulary.tokenizers, vocabulary.merges_sha256, Path())
        self._lenient, self._size, self._on_change = lenient, size, on_change
        self._hint = None if lenient else "--lenient cuts or fills such blocks"
        self._blocks = [
            vocabulary.blocks(number, text) for number in range(len(vocabulary.tokenizers))
        ]

    def parts(self, ids: np.ndarray, document: int = 0) -> Iterator[Block | Text | Wrong]:
        """Yield what a list of ids holds, in order.

        Args:
            ids: (n,) integers.
            document: Its number.
        """
        if ids.size and (ids.min() < 0 or ids.max() >= self._vocabulary.size):
            where = int(np.argmax((ids < 0) | (ids >= self._vocabulary.size)))
            what = f"id {int(ids[where])} is not below {self._vocabulary.size}"
            yield Wrong(document, where, what, self._hint)
            return
        try:
            ids, places = self._undo(ids)
        except CodesError as error:
            yield Wrong(document, 0, error.reason, self._hint)
            return
        kinds, position = self._vocabulary.kinds(ids), 0
        while position < len(ids):
            kind = int(kinds[position])
            if kind == TEXT:
                stop = _run_end(kinds == TEXT, position)
                if self._text is not None:
                    yield Text(document, self._text.decode(ids[position:stop].tolist()))
            elif kind == RESERVED:
                where = int(places[position])
                yield Wrong(document, where, f"id {int(ids[position])} means nothing", self._hint)
                stop = position + 1
            else:
                opened = kind if kind >= 0 else self._opens(ids, kinds, position)
                if opened is None:
                    stop = position + 1
                else:
                    stop = self._end(ids, kinds, position, opened)
                    held = slice(position, stop)
                    yield self._block(ids[held], kinds[held], places[held], opened, document)
            position = max(stop, position + 1)

    def _opens(self, ids: np.ndarray, kinds: np.ndarray, position: int) -> int | None:
        """Return the tokenizer of the block that a special token opens; None: it opens none."""
        own = [n for n, each in enumerate(self._blocks) if self._is(ids[position], each, "begin")]
        inner = [n for n, each in enumerate(self._blocks) if self._inner(each, ids[position])]
        # One modality may have several tokenizers: the first code says which.
        following = kinds[position + 1 : position + 1 + _NEAR]
        first: int | None = next(iter(following[following >= 0].tolist()), None)
        if first in own or first in inner:
            return first
        return own[0] if own else None

    def _inner(self, blocks: Blocks, ident: int) -> bool:
        layout = blocks.layout
        return layout.begin is None and any(self._is(ident, blocks, n) for n in ("pad", "codes"))

    def _is(self, ident: int, blocks: Blocks, name: str) -> bool:
        token = getattr(blocks.layout, name)
        return token is not None and self._vocabulary.special[token] == int(ident)

    def _end(self, ids: np.ndarray, kinds: np.ndarray, position: int, number: int) -> int:
        """Return where a block ends: behind its end, or before what cannot be in it."""
        blocks = self._blocks[number]
        layout, special = blocks.layout, self._vocabulary.special
        inner = {special[n] for n in (layout.codes, layout.row_end, layout.pad) if n is not None}
        inner |= {special[n] for n in (layout.codes_end,) if n is not None}
        if layout.size == "tokens":
            sizes = range(1, self._vocabulary.layout.sizes + 1)
            inner |= {special[size_name(n)] for n in sizes}
        end = None if layout.end is None else special[layout.end]
        codes_seen, place = False, position + self._is(ids[position], blocks, "begin")
        while place < len(ids):
            kind, ident = int(kinds[place]), int(ids[place])
            if end is not None and ident == end:
                return place + 1
            codes_seen = codes_seen or kind == number
            sized = layout.size == "text" and kind == TEXT and not codes_seen
            if not (kind == number or (kind == SPECIAL and ident in inner) or sized):
                return place
            place += 1
        return place

    def _block(
        self, ids: np.ndarray, kinds: np.ndarray, places: np.ndarray, number: int, document: int
    ) -> Block | Wrong:
        """Return the block that ids without merges are.

        Args:
            ids: (n,) of it.
            kinds: Of the same.
            places: Where each stands in its list, merges not undone.
            number: Of the tokenizer.
            document: Number of the list.
        """
        blocks, start = self._blocks[number], int(places[0])
        try:
            shapes = self._shapes(ids, kinds, number)
            block = blocks.of(shapes)
            if len(ids) != len(block):
                raise CodesError(f"{len(ids)} tokens found, {len(block)} expected")
            levels = block.levels(ids[None])
        except (CodesError, ValueError) as error:
            reason = error.reason if isinstance(error, CodesError) else str(error)
            if isinstance(error, WrongId):
                at = int(places[error.position]) - start
                reason = f"position {at} of its block: {error.found}"
            if places[-1] - start + 1 < len(ids):
                reason += " (with merges undone)"
            more = error.hint if isinstance(error, CodesError) else None
            wrong = Wrong(document, start, reason, more or self._hint)
            if not self._lenient:
                return wrong
            mended = self._mend(ids, kinds, number)
            if mended is None:
                return wrong
            self._on_change(wrong)
            shapes, levels = mended
        spec = blocks.own.spec
        extent = self._size or ()
        if any(level.stride for level in spec.levels):
            extent = spec.largest_extent(shapes)
        if not extent:
            return Wrong(document, start, "nothing says the size of the original", "--size HxW")
        codes = Codes(spec, levels, extent).check().numpy()
        return Block(document, "", codes, Header(spec, extent, blocks.own.model))

    def _shapes(self, ids: np.ndarray, kinds: np.ndarray, number: int) -> Shapes:
        """Return the shapes of a block's levels.

        Raises:
            CodesError, ValueError: nothing says them, or no item has them.
        """
        blocks = self._blocks[number]
        layout, spec = blocks.layout, blocks.spec
        count = int((kinds == number).sum())
        if not count:
            raise CodesError("no codes in it")
        if spec.modality == "audio" or all("n" in level.axes for level in spec.levels):
            pads = 0 if layout.pad is None else int((ids == self._special(layout.pad)).sum())
            return order.shapes_of(spec, layout, count + pads)
        return self._picture(ids, kinds, number)

    def _picture(self, ids: np.ndarray, kinds: np.ndarray, number: int) -> Shapes:
        """Return the shapes of the levels of a picture, as the layout says them."""
        blocks = self._blocks[number]
        grid = self._grid_of(ids, kinds, blocks.layout, number)
        if grid is not None:
            return of_grid(blocks.spec, grid)
        if self._size is None:
            raise CodesError("nothing says its height and width", hint="--size HxW")
        return blocks.spec.shapes(self._size)

    def _grid_of(
        self, ids: np.ndarray, kinds: np.ndarray, layout: BlockLayout, number: int
    ) -> tuple[int, int] | None:
        if layout.size == "tokens":
            names = {
                self._special(size_name(n)): n for n in range(1, self._vocabulary.layout.sizes + 1)
            }
            found = [names.get(int(each)) for each in ids[1:3]]
            if len(found) == 2 and found[0] and found[1]:
                return found[0], found[1]
            raise CodesError("its size is missing")
        if layout.size == "text":
            if self._text is None:
                raise CodesError("its size is text, and there is no tokenizer.json beside")
            stop = _run_end(kinds == TEXT, 1)
            said = _SIZE.fullmatch(self._text.decode(ids[1:stop].tolist()))
            if said is None:
                raise CodesError("its size cannot be read")
            return int(said[1]), int(said[2])
        if layout.grid:
            return layout.grid[0], layout.grid[1]
        if layout.row_end is not None and len(self._blocks[number].spec.levels) == 1:
            rows = int((ids == self._special(layout.row_end)).sum())
            per_row = int((kinds == number).sum()) / max(rows, 1)
            stages = order.stages_of(self._blocks[number].spec.levels[0])
            if rows and per_row % stages == 0:
                return rows, int(per_row) // stages
            raise CodesError("its rows differ in length")
        return None

    def _mend(
        self, ids: np.ndarray, kinds: np.ndarray, number: int
    ) -> tuple[Shapes, tuple[np.ndarray, ...]] | None:
        """Return the codes of a damaged block: those that are missing are code 0."""
        blocks = self._blocks[number]
        codes = ids[kinds == number]
        if not codes.size:
            return None
        spec = blocks.spec
        try:
            if spec.modality == "audio":
                ratio = order.shapes_of_steps(spec, 1)
                per_step = sum(int(np.prod(shape)) for shape in ratio)
                shapes = order.shapes_of_steps(spec, max(1, len(codes) // per_step))
            elif all("n" in level.axes for level in spec.levels):
                shapes = tuple((level.depth or 0,) for level in spec.levels)
            else:
                shapes = self._picture(ids, kinds, number)
            block = blocks.of(shapes)
        except (CodesError, ValueError):
            return None
        expected = block.base.copy()  # of each position its code 0, or its token
        places = np.flatnonzero(block.size > 0)
        count = min(len(places), len(codes))
        fits = codes[:count] - block.base[places[:count]]
        sound = (fits >= 0) & (fits < block.size[places[:count]])
        expected[places[:count][sound]] = codes[:count][sound]
        return shapes, block.levels(expected[None])

    def _special(self, name: str) -> int:
        return self._vocabulary.special[name]


_NEAR = 64
"""Tokens after the one that opens a block, among which the first code is."""


def _run_end(flags: np.ndarray, start: int) -> int:
    """Return where a run of True that begins at ``start`` ends."""
    rest = np.flatnonzero(~flags[start:])
    return start + int(rest[0]) if rest.size else len(flags)

"""Codes by how often each was met before, without a context: what ``.vqz`` falls back to.

A code is split into bytes, the most significant one first. The first is coded by counts of its own,
the second by counts for each value of the first, further ones as if all were equally likely. Counts
are those of the blocks of codes before, so that both directions have them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqtok.codes.packed import rans

BLOCK = 32
"""Codes between two updates of the counts, as long as few are known; then 1/64 of these."""

_GAIN = 8  # what a code that was met weighs beside one that was not


def symbols(planes: Sequence[np.ndarray], sizes: Sequence[int]) -> int:
    """Count the symbols that codes become."""
    return sum(plane.size * len(_digits(size)) for plane, size in zip(planes, sizes, strict=True))


def code(
    coder: rans.Coder, planes: Sequence[np.ndarray], sizes: Sequence[int], *, adaptive: bool
) -> None:
    """Code planes in place.

    Args:
        coder: A reader fills the planes.
        planes: int64 arrays, each the codes of one codebook.
        sizes: Of the codebooks.
        adaptive: Learn counts; else all codes are equally likely.
    """
    for plane, size in zip(planes, sizes, strict=True):
        shifts = _digits(size)
        first = _first(size, shifts[0])
        tables = [first[None]]
        if len(shifts) > 1:
            tables.append(np.full((len(first), 256), 1, dtype=np.int64))
            last = size - ((len(first) - 1) << shifts[0])  # codes under the last first digit
            whole = -(-last >> shifts[1])
            tables[1][-1, whole:] = 0
        even = np.ones((1, 256), dtype=np.int64)
        flat = plane.reshape(-1)
        start = 0
        while start < len(flat):
            block = flat[start : start + max(BLOCK, start >> 6)]
            start += len(block)
            out, rows = np.zeros_like(block), np.zeros_like(block)
            for number, shift in enumerate(shifts):
                digits = (block >> shift) & 255 if number else block >> shift
                weights = tables[number] if number < len(tables) else even
                chosen = weights[rows] if number == 1 else weights
                digits = coder.code(rans.frequencies(chosen), digits)
                if adaptive and number < len(tables):
                    np.add.at(tables[number], (rows, digits), _GAIN)
                out |= digits << shift
                rows = digits if number == 0 else np.zeros_like(block)
            block[:] = out
        plane[...] = flat.reshape(plane.shape)  # it may have been copied


def _digits(size: int) -> list[int]:
    """Returns the shift of each digit of codes below a size, the most significant one first."""
    bits = max((size - 1).bit_length(), 1)
    return list(range((bits - 1) // 8 * 8, -1, -8))


def _first(size: int, shift: int) -> np.ndarray:
    """Returns how many codes each first digit stands for, scaled to few; two digits at least."""
    count = max(((size - 1) >> shift) + 1, 2)
    starts = np.arange(count, dtype=np.int64) << shift
    held = np.clip(size - starts, 0, 1 << shift)
    scale = max(shift - 8, 0)
    scaled: np.ndarray = -(-held >> scale)
    return scaled

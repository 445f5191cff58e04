"""Rates of codes: nominal bits, bits per pixel, kbit/s; all of them are computed here.

The nominal cost of a code is log2 K bits, K the size of its codebook.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError


@dataclass(frozen=True)
class Unit:
    """Names the unit of a modality's rates.

    Attributes:
        key: In JSON.
        name: In a sentence.
        symbol: In a table.
        bits: Bits per pixel or second that one of it is.
    """

    key: str
    name: str
    symbol: str
    bits: int


_PER_PIXEL = Unit("bits_per_pixel", "bits per pixel", "bits/pixel", 1)
_PER_SECOND = Unit("kbit_per_s", "kbit/s", "kbit/s", 1000)


def unit(modality: str) -> Unit:
    """Return the unit in which rates of a modality are given."""
    return _PER_PIXEL if modality == "image" else _PER_SECOND


def bits(levels: Iterable[LevelSpec], counts: Iterable[int]) -> float:
    """Sum the nominal bits of so many codes of each level."""
    return sum(level.bits_per_code * count for level, count in zip(levels, counts, strict=True))


def bits_of(spec: CodeSpec, extent: tuple[int, ...], *, depth: int | None = None) -> float:
    """Return the nominal bits of one channel of a signal of this extent."""
    return bits(spec.levels, map(math.prod, spec.shapes(extent, depth=depth)))


def amount(extent: Iterable[int], rate_hz: float | None) -> float:
    """Return the pixels of an image or, at a sampling rate, the seconds of a recording."""
    return math.prod(extent) / (rate_hz or 1.0)


def rate(bits: float, amount: float, modality: str) -> float:
    """Return bits over pixels or seconds, in the modality's unit; 0 for an empty signal."""
    return bits / amount / unit(modality).bits if amount else 0.0


def nominal(spec: CodeSpec, *, depth: int | None = None) -> float:
    """Return the rate by strides and codebook sizes, in the modality's unit.

    Args:
        spec: Without levels its rate is 0.
        depth: Stages kept of each "q" axis; None: all.

    Raises:
        CodesError: the rate depends on the size of the signal.
    """
    total = 0.0
    for level in spec.levels:
        if "n" in level.axes:
            raise CodesError(f"level {level.name!r}: rate depends on the input's size")
        kept = (level.depth if depth is None else depth) if "q" in level.axes else 1
        total += level.bits_per_code * (kept or 1) * level.steps / math.prod(level.stride)
    return total * (spec.rate or 1.0) / unit(spec.modality).bits


def fixed(spec: CodeSpec) -> float | None:
    """Return the rate as ``nominal`` does, or None where it depends on the size of the signal."""
    return None if any("n" in level.axes for level in spec.levels) else nominal(spec)


def digits(value: float, count: int = 3) -> str:
    """Write a number in so many significant digits; a large one whole, without an exponent."""
    text = f"{value:.{count}g}"
    return f"{float(text):.0f}" if "e+" in text else text

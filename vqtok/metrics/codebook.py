"""How much of a codebook is used: an exact histogram over everything that was added. numpy only.

Entropy is of order 0, from the counted frequencies: it says what a plain entropy coder would need,
and with fewer codes than a few times the codebook size it is too low, as is use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Use:
    """Statistics of one codebook, or of several stages together.

    Attributes:
        tokens: Codes counted.
        used: Entries that occurred at least once, over all stages.
        entries: Entries there are: K, times the stages.
        entropy_bits: Bits per code, each stage coded by its own frequencies.
        nominal_bits: log2 K, the bits per code without entropy coding.
    """

    tokens: int
    used: int
    entries: int
    entropy_bits: float
    nominal_bits: float

    @property
    def share(self) -> float:
        """Used entries as a fraction of all, 0 to 1."""
        return self.used / self.entries

    @property
    def perplexity(self) -> float:
        """exp(entropy): how many equally frequent entries would carry as much; mean per stage."""
        return float(2.0**self.entropy_bits)

    def to_json(self) -> dict[str, Any]:
        """JSON data, with units in the names."""
        return {
            "tokens": self.tokens,
            "used": self.used,
            "entries": self.entries,
            "share": round(self.share, 6),
            "entropy_bits": round(self.entropy_bits, 4),
            "nominal_bits": round(self.nominal_bits, 4),
            "perplexity": round(self.perplexity, 2),
        }


_DENSE = 1 << 20
"""Largest codebook that is counted entry by entry; in larger ones few entries can be used."""

Found = tuple[np.ndarray, np.ndarray]
"""Entries that occurred, ascending, and how often each."""


class Usage:
    """A histogram per stage of one level's codes, added file by file.

    Memory is that of the entries that occur, whatever size a header claims the codebook to have.

    Args:
        codebook_size: K.
        stage_axis: Axis of the stack in the arrays that are added, or None without one.
    """

    def __init__(self, codebook_size: int, *, stage_axis: int | None = None) -> None:
        self.codebook_size = codebook_size
        self.stage_axis = stage_axis
        self._found: list[Found] = [] if stage_axis is not None else [_nothing()]

    def add(self, codes: np.ndarray) -> None:
        """Count an array of codes in [0, K); arrays of fewer or more stages may be mixed."""
        if self.stage_axis is None:
            stages = [codes]
        else:
            stages = list(np.moveaxis(codes, self.stage_axis, 0))
        self._found += [_nothing() for _ in range(len(stages) - len(self._found))]
        for index, stage in enumerate(stages):
            self._found[index] = _sum(self._found[index], _counted(stage, self.codebook_size))

    @property
    def used(self) -> tuple[np.ndarray, ...]:
        """Per stage seen so far, how often each entry that occurred did."""
        return tuple(counts for _, counts in self._found)

    @property
    def counts(self) -> np.ndarray:
        """(Q, K) int64, one row per stage seen so far; as large as the codebooks say they are."""
        dense = np.zeros((len(self._found), self.codebook_size), np.int64)
        for row, (entries, counts) in zip(dense, self._found, strict=True):
            row[entries] = counts
        return dense

    @property
    def stages(self) -> tuple[Use, ...]:
        """Statistics of each stage by itself, first to last."""
        return tuple(_use((counts,), self.codebook_size) for counts in self.used)

    @property
    def total(self) -> Use:
        """Statistics of all stages together."""
        return _use(self.used, self.codebook_size)

    def to_json(self) -> dict[str, Any]:
        """The total, and the stages if there is a stack."""
        data = self.total.to_json()
        if self.stage_axis is not None:
            data["stages"] = [stage.to_json() for stage in self.stages]
        return data


def entropy_bits(counts: np.ndarray) -> float:
    """Entropy of a histogram, bits per event; 0 where nothing was counted."""
    seen = counts[counts > 0].astype(np.float64)
    total = seen.sum()
    # abs: one entry alone would give -0.0
    return abs(float(-(seen * np.log2(seen / total)).sum() / total)) if total else 0.0


def _nothing() -> Found:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


def _counted(codes: np.ndarray, size: int) -> Found:
    flat = codes.reshape(-1).astype(np.int64)
    if size > _DENSE:
        entries, counts = np.unique(flat, return_counts=True)
        return entries, counts.astype(np.int64)
    counts = np.bincount(flat, minlength=1)
    entries = np.flatnonzero(counts)
    return entries, counts[entries].astype(np.int64)


def _sum(a: Found, b: Found) -> Found:
    if not len(a[0]):
        return b
    entries = np.union1d(a[0], b[0])
    counts = np.zeros(len(entries), np.int64)
    for each, times in (a, b):
        counts[np.searchsorted(entries, each)] += times
    return entries, counts


def _use(stages: Sequence[np.ndarray], size: int) -> Use:
    tokens = sum(int(counts.sum()) for counts in stages)
    bits = sum(entropy_bits(counts) * int(counts.sum()) for counts in stages)
    return Use(
        tokens=tokens,
        used=sum(len(counts) for counts in stages),
        entries=max(1, len(stages) * size),
        entropy_bits=bits / tokens if tokens else 0.0,
        nominal_bits=math.log2(size),
    )

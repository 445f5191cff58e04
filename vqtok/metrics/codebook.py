"""How much of a codebook is used: an exact histogram over everything that was added. numpy only.

Entropy is of order 0, from the counted frequencies: it says what a plain entropy coder would need,
and with fewer codes than a few times the codebook size it is too low, as is use.
"""

from __future__ import annotations

import math
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


class Usage:
    """A histogram per stage of one level's codes, added file by file; memory is stages × K.

    Args:
        codebook_size: K.
        stage_axis: Axis of the stack in the arrays that are added, or None without one.
    """

    def __init__(self, codebook_size: int, *, stage_axis: int | None = None) -> None:
        self.codebook_size = codebook_size
        self.stage_axis = stage_axis
        self.counts = np.zeros((0 if stage_axis is not None else 1, codebook_size), np.int64)
        """(Q, K), one row per stage seen so far."""

    def add(self, codes: np.ndarray) -> None:
        """Count an array of codes in [0, K); arrays of fewer or more stages may be mixed."""
        if self.stage_axis is None:
            stages = [codes]
        else:
            stages = list(np.moveaxis(codes, self.stage_axis, 0))
        if len(stages) > len(self.counts):
            missing = np.zeros((len(stages) - len(self.counts), self.codebook_size), np.int64)
            self.counts = np.concatenate([self.counts, missing])
        for row, stage in zip(self.counts, stages, strict=False):
            row += np.bincount(stage.reshape(-1).astype(np.int64), minlength=self.codebook_size)

    @property
    def stages(self) -> tuple[Use, ...]:
        """Statistics of each stage by itself, first to last."""
        return tuple(_use(row[None]) for row in self.counts)

    @property
    def total(self) -> Use:
        """Statistics of all stages together."""
        return _use(self.counts)

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


def _use(counts: np.ndarray) -> Use:
    tokens = int(counts.sum())
    bits = sum(entropy_bits(row) * int(row.sum()) for row in counts)
    return Use(
        tokens=tokens,
        used=int((counts > 0).sum()),
        entries=max(1, counts.size),
        entropy_bits=bits / tokens if tokens else 0.0,
        nominal_bits=math.log2(counts.shape[1]),
    )

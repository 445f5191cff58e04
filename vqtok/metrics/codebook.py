"""Use of codebooks: an exact histogram over everything that was added. numpy only.

Entropy is of order 0, from the counted frequencies: it says what a plain entropy coder would need,
and with fewer codes than a few times the codebook size it is too low, as is use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from vqtok.metrics.metric import Metric

if TYPE_CHECKING:
    from typing_extensions import Self

    from vqtok.codes.spec import LevelSpec


@dataclass(frozen=True)
class Use:
    """Holds statistics of one codebook, or of several stages together.

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
        """Divide used entries by all, 0 to 1."""
        return self.used / self.entries

    @property
    def perplexity(self) -> float:
        """Count equally frequent entries that would carry as much: 2^entropy, mean per stage."""
        return float(2.0**self.entropy_bits)

    def to_json(self) -> dict[str, Any]:
        """Give JSON data, with units in the names."""
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
"""Largest histogram that is counted bin by bin; in larger ones few bins can be used."""


class Usage:
    """Counts one level's codes, file by file, a histogram per stage.

    Memory is that of the entries that occur, whatever size a header claims the codebook to have,
    and no work is done stage by stage: a file may claim very many.

    Args:
        codebook_size: K.
        stage_axis: Axis of the stack in the arrays that are added, or None without one.
    """

    def __init__(self, codebook_size: int, *, stage_axis: int | None = None) -> None:
        self.codebook_size = codebook_size
        self.stage_axis = stage_axis
        self._stages = 0 if stage_axis is not None else 1
        # what occurred, ascending, as stage * K + entry, and how often
        self._bins = np.zeros(0, np.int64)
        self._times = np.zeros(0, np.int64)

    @classmethod
    def of(cls, level: LevelSpec) -> Self:
        """Begin to count a level's codes, (B, *axes)."""
        stage_axis = 1 + level.axes.index("q") if "q" in level.axes else None
        return cls(level.codebook_size, stage_axis=stage_axis)

    def add(self, codes: np.ndarray) -> None:
        """Count an array of codes in [0, K); arrays of fewer or more stages may be mixed."""
        bins = codes.astype(np.int64)
        if self.stage_axis is not None:
            bins = np.moveaxis(bins, self.stage_axis, -1)
            bins += np.arange(bins.shape[-1]) * self.codebook_size
            self._stages = max(self._stages, bins.shape[-1])
        found, times = _counted(bins.reshape(-1), self._stages * self.codebook_size)
        if len(self._bins):
            both = np.concatenate([self._bins, found])
            found, where = np.unique(both, return_inverse=True)
            # counts stay far below 2^53, up to which float64 sums of integers are exact
            times = np.bincount(where, np.concatenate([self._times, times])).astype(np.int64)
        self._bins, self._times = found, times

    @property
    def used(self) -> tuple[np.ndarray, ...]:
        """Count each entry that occurred, per stage seen so far."""
        starts = np.arange(self._stages + 1) * self.codebook_size
        cuts = np.searchsorted(self._bins, starts).tolist()
        return tuple(self._times[a:b] for a, b in pairwise(cuts))

    @property
    def counts(self) -> np.ndarray:
        """Lay the counts out as (Q, K) int64; as large as the codebooks say they are."""
        dense = np.zeros(self._stages * self.codebook_size, np.int64)
        dense[self._bins] = self._times
        return dense.reshape(self._stages, self.codebook_size)

    @property
    def stages(self) -> tuple[Use, ...]:
        """Describe each stage by itself, first to last."""
        return tuple(self._use(counts, entropy_bits(counts), 1) for counts in self.used)

    @property
    def total(self) -> Use:
        """Describe all stages together."""
        stage = self._bins // self.codebook_size
        in_stage = np.bincount(stage, self._times)
        bits = -(self._times * np.log2(self._times / in_stage[stage])).sum()
        # abs: stages of one entry each would give -0.0
        return self._use(
            self._times, abs(float(bits)) / max(1, int(self._times.sum())), self._stages
        )

    def to_json(self) -> dict[str, Any]:
        """Give JSON data of the total, and of the stages if there is a stack."""
        data = self.total.to_json()
        if self.stage_axis is not None:
            data["stages"] = [stage.to_json() for stage in self.stages]
        return data

    def _use(self, counts: np.ndarray, bits: float, stages: int) -> Use:
        return Use(
            tokens=int(counts.sum()),
            used=len(counts),
            entries=max(1, stages * self.codebook_size),
            entropy_bits=bits,
            nominal_bits=math.log2(self.codebook_size),
        )


def entropy_bits(counts: np.ndarray) -> float:
    """Compute the entropy of a histogram, bits per event; 0 where nothing was counted."""
    seen = counts[counts > 0].astype(np.float64)
    total = seen.sum()
    # abs: one entry alone would give -0.0
    return abs(float(-(seen * np.log2(seen / total)).sum() / total)) if total else 0.0


def _counted(bins: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    if size > _DENSE:
        found, times = np.unique(bins, return_counts=True)
        return found, times.astype(np.int64)
    times = np.bincount(bins, minlength=1)
    found = np.flatnonzero(times)
    return found, times[found].astype(np.int64)


PROTOCOL = (
    "Codebook: exact counts over all files. Entropy is of order 0, each level and stage by its own "
    "frequencies; with fewer codes than some ten per entry, use and entropy come out too low."
)
"""How use, entropy and the rate by entropy come about."""

USE = Metric("use", "codebook use", "", ".1%", True)
PERPLEXITY = Metric("perplexity", "perplexity", "", ".0f", True)
BITS_PER_PIXEL = Metric(
    "bits_per_pixel", "Bits/pixel", "", ".4f", modality="image",
    protocol="log2 K bits for each code, over the pixels of the original",
)  # fmt: skip
KBIT_PER_S = Metric(
    "kbit_per_s", "kbit/s", "", ".3f", modality="audio",
    protocol="log2 K bits for each code, all channels, over the seconds of the original",
)  # fmt: skip
RATES = {"image": BITS_PER_PIXEL, "audio": KBIT_PER_S}
"""What each modality's codes cost, per file."""

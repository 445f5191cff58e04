"""Cost of codes by a prior, in nats and bits, beside coders that know only frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vqtok.metrics.codebook import Usage
from vqtok.metrics.metric import Metric

if TYPE_CHECKING:
    from vqtok.codes.spec import LevelSpec


@dataclass(frozen=True)
class Cost:
    """Holds what codes cost.

    Attributes:
        codes: How many there are.
        nats_per_code: By the prior: its cross-entropy.
        unigram_bits: Bits per code of an ideal coder that knows how often each entry occurs among
            these very codes: their entropy of order 0, per stage of a stack. Of few codes it is too
            low.
        uniform_bits: log2 K.
    """

    codes: int
    nats_per_code: float
    unigram_bits: float
    uniform_bits: float

    @property
    def bits_per_code(self) -> float:
        """Give ``nats_per_code`` in bits."""
        return self.nats_per_code / math.log(2)

    @property
    def saved(self) -> float:
        """Compute by which share of the unigram entropy the prior is below it."""
        return 1.0 - self.bits_per_code / self.unigram_bits if self.unigram_bits else 0.0

    def to_json(self) -> dict[str, Any]:
        """Give JSON data, with units in the names."""
        return {
            "codes": self.codes,
            "nats_per_code": round(self.nats_per_code, 6),
            "bits_per_code": round(self.bits_per_code, 6),
            "unigram_bits_per_code": round(self.unigram_bits, 6),
            "uniform_bits_per_code": round(self.uniform_bits, 6),
            "below_unigram": round(self.saved, 6),
        }


class Costs:
    """Adds up what codes cost, batch by batch.

    Args:
        levels: Of the codes.
    """

    def __init__(self, levels: Sequence[LevelSpec]) -> None:
        self._levels = tuple(levels)
        self._nats = [0.0 for _ in levels]
        self._usages = [Usage.of(level) for level in levels]

    def add(self, codes: Sequence[np.ndarray], nats: Sequence[np.ndarray]) -> None:
        """Take a batch.

        Args:
            codes: (B, *axes) integers of each level.
            nats: What each of them costs, the same shapes; of fewer stages if no more are modelled.
        """
        for index, (array, cost) in enumerate(zip(codes, nats, strict=True)):
            self._usages[index].add(array[tuple(slice(size) for size in cost.shape)])
            self._nats[index] += float(cost.sum(dtype=np.float64))

    @property
    def levels(self) -> dict[str, Cost]:
        """Give the cost of each level by name, coarse to fine."""
        return {
            level.name: _cost(usage, nats)
            for level, usage, nats in zip(self._levels, self._usages, self._nats, strict=True)
        }

    @property
    def total(self) -> Cost:
        """Give the cost of all levels together."""
        found = list(self.levels.values())
        codes = sum(each.codes for each in found)
        share = [each.codes / codes if codes else 0.0 for each in found]
        pairs = list(zip(share, found, strict=True))
        return Cost(
            codes=codes,
            nats_per_code=sum(self._nats) / codes if codes else 0.0,
            unigram_bits=sum(part * each.unigram_bits for part, each in pairs),
            uniform_bits=sum(part * each.uniform_bits for part, each in pairs),
        )


def _cost(usage: Usage, nats: float) -> Cost:
    use = usage.total
    return Cost(
        codes=use.tokens,
        nats_per_code=nats / use.tokens if use.tokens else 0.0,
        unigram_bits=use.entropy_bits,
        uniform_bits=use.nominal_bits,
    )


NATS_PER_ITEM = Metric("nats_per_item", "cross-entropy", "nats per image", ".3f", False)
NATS_PER_CODE = Metric("nats_per_code", "cross-entropy", "nats per code", ".4f", False)
BITS_PER_CODE = Metric("bits_per_code", "cross-entropy", "bits per code", ".3f", False)
UNIGRAM = Metric("unigram_bits_per_code", "unigram entropy", "bits per code", ".3f")
BITS_PER_DIMENSION = Metric(
    "bits_per_dimension", "cross-entropy", "bits per dimension", ".4f", False
)

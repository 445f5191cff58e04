"""How well codes are predicted: nats and bits per code, beside what knows only frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vqtok.metrics.codebook import Usage


class Level(Protocol):
    """What is asked of a level of codes."""

    @property
    def name(self) -> str:
        """Of the level."""
        ...

    @property
    def axes(self) -> tuple[str, ...]:
        """Of its arrays."""
        ...

    @property
    def codebook_size(self) -> int:
        """K."""
        ...


@dataclass(frozen=True)
class Cost:
    """What codes cost.

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
        """The same as ``nats_per_code``."""
        return self.nats_per_code / math.log(2)

    @property
    def saved(self) -> float:
        """By which share of the unigram entropy the prior is below it."""
        return 1.0 - self.bits_per_code / self.unigram_bits if self.unigram_bits else 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON data, with units in the names."""
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

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels = tuple(levels)
        self._nats = [0.0 for _ in levels]
        self._usages = [
            Usage(x.codebook_size, stage_axis=1 + x.axes.index("q") if "q" in x.axes else None)
            for x in levels
        ]

    def add(self, codes: Sequence[np.ndarray], nats: Sequence[np.ndarray]) -> None:
        """Take in a batch.

        Args:
            codes: (B, *axes) integers of each level.
            nats: What each of them costs, the same shapes; of fewer stages if no more are modelled.
        """
        for index, (array, cost) in enumerate(zip(codes, nats, strict=True)):
            self._usages[index].add(array[tuple(slice(size) for size in cost.shape)])
            self._nats[index] += float(cost.sum(dtype=np.float64))

    @property
    def levels(self) -> dict[str, Cost]:
        """Of each level by name, coarse to fine."""
        return {
            level.name: _cost(usage, nats)
            for level, usage, nats in zip(self._levels, self._usages, self._nats, strict=True)
        }

    @property
    def total(self) -> Cost:
        """Of all levels together."""
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

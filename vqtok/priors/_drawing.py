"""One random choice per code: temperature, top-k, top-p, and noise that is each item's own.

A code is the argmax of its logits plus Gumbel noise. Logits that float32 found are known to within
a tolerance only; where that could change the choice, it is a near tie, and the caller finds the
logits again in float64. So a choice is the same in any batch, with any cache and on any number of
threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.protocols import check_choice

TOLERANCE = 1e-4
"""By how much logits may differ between float32 and float64: twenty times what a model trained on
CIFAR-10 showed."""


@dataclass(frozen=True)
class Choice:
    """How codes are chosen.

    Attributes:
        temperature: Divides logits; 0: the likeliest code.
        top_k: Codes to choose among; None: all.
        top_p: Probability of the codes to choose among; None: all.
        guidance: Factor of what a class adds to the logits.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        check_choice(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            guidance=self.guidance,
        )


class Noise:
    """Gumbel noise for items, each from a generator of its own.

    Args:
        seed: Of the whole series; further numbers tell apart what else is drawn with it.
        items: Numbers of the items in the series.
    """

    def __init__(self, seed: Sequence[int], items: range) -> None:
        self._generators = []
        for item in items:
            state = np.random.SeedSequence([*seed, item]).generate_state(1, np.uint64)
            self._generators.append(torch.Generator().manual_seed(int(state[0])))

    def draw(self, size: int) -> Tensor:
        """Returns the next ``size`` numbers of each item: float64 (B, size)."""
        tiny = torch.finfo(torch.float64).tiny
        rows = [torch.rand(size, generator=g, dtype=torch.float64) for g in self._generators]
        return -torch.stack(rows).clamp_min(tiny).log_().neg_().clamp_min(tiny).log_()


def pick(
    logits: Tensor, noise: Tensor, choice: Choice, *, tolerance: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Choose a code from each row.

    Args:
        logits: (B, K).
        noise: float64 (B, K), Gumbel.
        choice: How.
        tolerance: By how much logits may be off.

    Returns:
        int64 (B,) codes, and bool (B,): whether other logits within tolerance would give others.
    """
    values = logits.double()
    if choice.temperature == 0:
        best = values.topk(min(2, values.shape[1]))
        return best.indices[:, 0], _close(best.values, 2 * tolerance)
    values, tolerance = values / choice.temperature, tolerance / choice.temperature
    sure, perhaps, near_tie = _among(values, choice, tolerance)
    scores = values + noise.to(values.device)
    codes = scores.masked_fill(~perhaps, -math.inf).topk(min(2, scores.shape[1]))
    certain = sure.gather(1, codes.indices[:, :1])[:, 0]
    return codes.indices[:, 0], near_tie | ~certain | _close(codes.values, 2 * tolerance)


def _among(values: Tensor, choice: Choice, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Find the codes that are surely allowed and those that may be, (B, K); and near ties, (B,)."""
    everything = torch.ones_like(values, dtype=torch.bool)
    rows = torch.zeros_like(everything[:, 0])
    k = values.shape[1] if choice.top_k is None else min(choice.top_k, values.shape[1])
    if k == values.shape[1] and choice.top_p is None:
        return everything, everything, rows
    ordered, order = values.sort(dim=1, descending=True, stable=True)
    rank = torch.arange(values.shape[1], device=values.device).expand_as(order)
    sure = perhaps = rank < k
    if k < values.shape[1]:
        last, following = ordered[:, k - 1 : k], ordered[:, k : k + 1]
        sure = sure & ((ordered > following + 2 * tolerance) if tolerance else everything)
        perhaps = perhaps | ((ordered >= last - 2 * tolerance) if tolerance else ~everything)
    if choice.top_p is not None:
        least, most = _before(ordered.masked_fill(rank >= k, -math.inf), tolerance)
        sure, perhaps = sure & (most < choice.top_p), perhaps & (least < choice.top_p)
        if tolerance and k < values.shape[1]:  # another k-th code shifts all shares
            rows = (ordered[:, k - 1] - ordered[:, k]) <= 2 * tolerance
    back = order.argsort(dim=1)
    return sure.gather(1, back), perhaps.gather(1, back), rows


def _before(ordered: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Bounds, for each code, the probability of all likelier codes: two of (B, K).

    Args:
        ordered: (B, K) logits, descending.
        tolerance: By how much they may be off.
    """
    shares = ordered.softmax(dim=1)
    total = shares.cumsum(dim=1)
    if tolerance == 0:
        return total - shares, total - shares
    total = F.pad(total, (1, 0))  # (B, K + 1)
    rising = -ordered
    # Codes closer than twice the tolerance may swap.
    first = torch.searchsorted(rising, rising - 2 * tolerance)
    last = torch.searchsorted(rising, rising + 2 * tolerance, right=True)
    most = total.gather(1, last) - shares
    # The odds of any set of codes change by a factor of exp(2·tolerance) at most, its share by
    # tolerance / 2.
    slack = torch.where(last > 1, tolerance, 0.0)
    return total.gather(1, first) - tolerance, most + slack


def _close(best: Tensor, tolerance: float) -> Tensor:
    """Checks whether the first two of each row, (B, 2) or (B, 1), are within tolerance."""
    if tolerance == 0 or best.shape[1] < 2:
        return torch.zeros_like(best[:, 0], dtype=torch.bool)
    return best[:, 0] - best[:, 1] <= tolerance

"""Revival of dead entries: who is dead, by counted use, and which latents they are to become."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vqtok import distributed
from vqtok.quantizers._start import Learning

RevivedAt = Literal["random", "error"]
"""Which latents dead entries move to: any, or rather those that their entries tell badly."""


class Hits(Learning):
    """Moving average over steps of the latents that each of ``size`` entries received."""

    count: Tensor
    steps: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.ones(size))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


class Life(nn.Module):
    """Counted use of entries that are no averages themselves.

    Args:
        size: K.
        decay: Of the counts, per step.
        revive: An entry is dead when its average count falls below this fraction of the mean
            over all entries; 0: never, and nothing is counted.
        revive_every: Steps between revivals.
    """

    def __init__(self, size: int, *, decay: float, revive: float, revive_every: int) -> None:
        super().__init__()
        self.size, self.decay = size, decay
        self.revive, self.revive_every = revive, revive_every
        self.learning = Hits(size)

    @torch.no_grad()
    def begin(self, share: float) -> None:
        """Entries that were just placed; each may expect ``share`` latents in a step."""
        self.learning.count.fill_(share)

    @torch.no_grad()
    def learn(
        self, rows: Tensor, codes: Tensor, *, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor] | None:
        """Count one training step, and say who is to be revived when it is due.

        Args:
            rows: (N, d) latents of this rank as they were assigned. One that is NaN or infinite on
                any rank, and nothing is counted.
            codes: (N,).
            generator: CPU generator of the random choices.

        Returns:
            As ``successors``, whose counts are the mean already; None: nobody this time.
        """
        if self.revive == 0:
            return None
        state = self.learning
        hits = torch.bincount(codes, minlength=self.size).to(rows.dtype)
        hits, bad = distributed.summed(hits, (~rows.isfinite()).sum().to(rows.dtype))
        if bool(bad):
            return None
        state.count.lerp_(hits, 1 - self.decay)
        state.steps += 1
        if int(state.steps) % self.revive_every:
            return None
        which, fresh = successors(state.count, rows, revive=self.revive, generator=generator)
        # The mean: log(1 / revive) / (1 - decay) steps to find members before it is dead again.
        state.count[which] = state.count.mean()
        return which, fresh


def successors(
    count: Tensor,
    rows: Tensor,
    *,
    revive: float,
    generator: torch.Generator | None,
    error: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the least used of the dead entries, and a random latent of the joint batch for each.

    Args:
        count: (K,) average use, the same on all ranks.
        rows: (N, d) latents of this rank.
        revive: Dead is what is used less than this fraction of the mean.
        generator: CPU generator.
        error: (N,) squared distance of each latent to its entry, by which it is drawn; None: all
            are as likely.

    Returns:
        int64 (n,) and (n, d), the same on all ranks; n is at most the size of the joint batch.
    """
    dead = int((count < revive * count.mean()).sum())
    lengths = distributed.counts(rows)
    which = count.argsort(stable=True)[: min(dead, sum(lengths))]
    if error is None:
        order = torch.randperm(sum(lengths), generator=generator)[: len(which)]
    else:
        order = _drawn(distributed.gathered(error), len(which), generator=generator)
    return which, distributed.picked(rows, distributed.agreed(order.to(rows.device)), lengths)


def _drawn(error: Tensor, count: int, *, generator: torch.Generator | None) -> Tensor:
    """Numbers of ``count`` latents, each in its turn drawn by error among those that are left.

    As k-means++ draws its centres (Arthur and Vassilvitskii 2007), but no error counts for more
    than the median of those above zero. So a flat area of many equal latents gets no further
    entries, and outliers, which have few like them, are not sought either.
    """
    inexact = error[error > 0]
    weight = error.minimum(inexact.median()) if len(inexact) else error
    # The smallest of exponential times divided by weights (Efraimidis and Spirakis 2006).
    times = torch.empty(len(weight), dtype=torch.float64).exponential_(generator=generator)
    return (times / weight.double().cpu()).argsort(stable=True)[:count]

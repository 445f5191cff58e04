"""Keep one codebook: lookup, learning by moving averages or gradients, start, revival.

What every method with learned entries shares: ``vq`` is one of these, ``rvq`` a stack of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqtok import distributed
from vqtok.quantizers._kmeans import kmeans, sums
from vqtok.quantizers._revival import RevivedAt, successors
from vqtok.quantizers._start import Learning
from vqtok.quantizers.search.candidates import NearTies
from vqtok.quantizers.search.nearest import Packed, PackedOnce, nearest


class Averages(Learning):
    """Averages over steps the latents that each entry received, and their sum.

    Args:
        entries: (K, d) to begin around.
    """

    count: Tensor
    total: Tensor
    steps: Tensor

    def __init__(self, entries: Tensor) -> None:
        super().__init__()
        self.register_buffer("count", torch.ones(len(entries)))
        self.register_buffer("total", entries.detach().clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


class Codebook(nn.Module):
    """K entries of dimension d.

    Args:
        size: K.
        dim: d.
        cosine: Compare directions: entries and latents have unit length.
        ema: Entries are moving averages of their latents (van den Oord et al. 2017, 1711.00937,
            appendix A.1); otherwise parameters, trained by the codebook loss (Eq. 3, second term).
        decay: Of the moving averages, per step.
        revive: An entry is dead when its average count falls below this fraction of the mean
            over all entries; 0: never.
        revive_every: Steps between revivals.
        revive_at: Which latents they move to.
    """

    entries: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        cosine: bool = False,
        ema: bool = True,
        decay: float = 0.99,
        revive: float = 0.1,
        revive_every: int = 10,
        revive_at: RevivedAt = "random",
    ) -> None:
        super().__init__()
        self.revive_at = revive_at
        self.size, self.cosine, self.ema, self.decay = size, cosine, ema, decay
        self.revive, self.revive_every = revive, revive_every
        entries = torch.randn(size, dim)
        if cosine:
            entries = F.normalize(entries, dim=1)
        if ema:
            self.register_buffer("entries", entries)
        else:
            self.entries = nn.Parameter(entries)
        self.learning = Averages(entries)
        self._packed = PackedOnce()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Entries that come without their averages must not be averaged with those of others.
        if f"{prefix}entries" in state_dict and f"{prefix}learning.total" not in state_dict:
            state_dict[f"{prefix}learning.total"] = state_dict[f"{prefix}entries"]
        super()._load_from_state_dict(state_dict, prefix, *args)

    def unit(self, rows: Tensor) -> Tensor:
        """Give rows unit length if lookup is by direction, else leave them as they are."""
        if not self.cosine:
            return rows
        # A norm is a sum, and sums round differently with the number of rows: see Projection.
        return F.normalize(rows.double(), dim=-1).to(rows.dtype)

    def assign(self, rows: Tensor, ties: NearTies | None = None) -> Tensor:
        """Find the nearest entry of each (N, d) row: int64 (N,)."""
        return nearest(rows.detach(), self.packed(), ties)

    def lookup(self, codes: Tensor) -> Tensor:
        """Look up the entries, (*codes.shape, d); with a gradient if they are parameters."""
        if self.entries.requires_grad and torch.is_grad_enabled():
            return self.unit(F.embedding(codes, self.entries))
        return F.embedding(codes, self.packed().entries)

    def packed(self) -> Packed:
        """Give the entries ready for search, made again only when they have changed."""
        return self._packed((self.entries,), lambda: self.unit(self.entries.detach()))

    @torch.no_grad()
    def start(
        self, sample: Tensor, *, iterations: int, share: float, generator: torch.Generator | None
    ) -> None:
        """Place the entries by k-means over a sample of latents.

        Args:
            sample: (S, d), of unit length if ``cosine``.
            iterations: Lloyd steps; 0 takes random latents.
            share: Latents per entry and step if all were used alike: the first average counts.
            generator: CPU generator of the random choices.
        """
        centres = kmeans(
            sample, self.size, iterations=iterations, cosine=self.cosine, generator=generator
        )
        centres = distributed.agreed(centres)
        self.entries.copy_(centres)
        self.learning.count.fill_(share)
        # Sum and count belong together: a sum without its count moves every entry at once.
        self.learning.total.copy_(centres * share)

    @torch.no_grad()
    def begin_averages(self) -> None:
        """Make averages fit the entries as they are, for entries that came without them."""
        self.learning.count.fill_(1.0)
        self.learning.total.copy_(self.entries)

    @torch.no_grad()
    def learn(self, rows: Tensor, codes: Tensor, *, generator: torch.Generator | None) -> None:
        """Learn from one training step: moving averages, then revival when it is due.

        Args:
            rows: (N, d) latents of this rank as they were assigned. One that is NaN or infinite on
                any rank, and nothing is learned from this step: it would stay in every average.
            codes: (N,).
            generator: CPU generator of revival's random choices.
        """
        state = self.learning
        count, total = distributed.summed(*sums(rows.detach(), codes, self.size))
        if not bool(total.isfinite().all()):
            return
        state.count.lerp_(count, 1 - self.decay)
        state.total.lerp_(total, 1 - self.decay)
        if self.ema:
            # Only entries with members move, and their average count is at least 1 - decay: none
            # divides by zero and no unused one drifts, which is what Laplace smoothing and
            # zero-debiasing are for elsewhere.
            hit = count.nonzero().squeeze(1)
            self.entries[hit] = self.unit(state.total[hit] / state.count[hit, None])
        state.steps += 1
        if self.revive > 0 and int(state.steps) % self.revive_every == 0:
            self._revive(rows.detach(), codes, generator=generator)

    def _revive(self, rows: Tensor, codes: Tensor, *, generator: torch.Generator | None) -> None:
        """Move the least used of the dead entries to random latents of the joint batch, one each.

        A revived entry gets the mean count, so it has log(1 / revive) / (1 - decay) steps to find
        members before it can be dead again. Its sum is reset with its count: the old sum would
        pull it back to where it died.
        """
        state = self.learning
        mean = state.count.mean()
        error = None
        if self.revive_at == "error":
            error = (rows - self.entries[codes]).square().sum(dim=1)
        which, fresh = successors(
            state.count, rows, revive=self.revive, generator=generator, error=error
        )
        self.entries[which] = fresh
        state.count[which] = mean
        state.total[which] = fresh * mean


def check(config: object, *, samples: int = 1) -> None:
    """Check the fields that methods with learned entries share.

    Args:
        config: Any dataclass; fields that it lacks are not checked.
        samples: Fewest latents per entry that the method can start from.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    lowest = {"codebook_size": 1, "codebook_dim": 1, "depth": 1, "revive_every": 1}
    lowest |= {"samples": samples, "warmup": 0, "kmeans": 0, "commitment": 0, "revive": 0}
    for name, low in lowest.items():
        value = getattr(config, name, None)
        if value is not None and value < low:
            raise ValueError(f"{name}: {value} is below {low}")
    for name in ("decay", "revive", "dropout"):
        value = getattr(config, name, None)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}: {value} is not between 0 and 1")

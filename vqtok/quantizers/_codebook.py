"""One codebook: lookup, learning by moving averages or by gradient, k-means start, revival of dead entries.

What every method with learned entries shares; ``vq`` is one of these, ``rvq`` a stack of them.

State that only training needs lives in submodules called ``learning``: their keys in a state dict hold ".learning.",
a checkpoint for use may leave them out, and loading one without them starts fresh averages around the entries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqtok.quantizers._kmeans import draw, kmeans, sums
from vqtok.quantizers._nearest import Packed, nearest, pack


class Averages(nn.Module):
    """Moving averages per step of how many latents each entry received, and of their sum.

    Args:
        size: K.
        dim: d.
    """

    count: Tensor
    total: Tensor
    steps: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.ones(size))
        self.register_buffer("total", torch.zeros(size, dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in self._buffers.items():
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *args)


class Sample(nn.Module):
    """Latents of the latest training steps, kept until the codebook starts.

    Args:
        dim: d.
        capacity: Rows kept; the oldest go first.
    """

    rows: Tensor
    steps: Tensor

    def __init__(self, dim: int, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("rows", torch.zeros(0, dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def add(self, rows: Tensor) -> None:
        """Take in one step's (N, d) latents."""
        self.rows = torch.cat((self.rows, rows.detach()))[-self.capacity :]
        self.steps += 1

    def ready(self, warmup: int) -> bool:
        """Whether the warm-up is over and the sample full."""
        return int(self.steps) >= warmup and len(self.rows) >= self.capacity

    def take(self) -> Tensor:
        """The rows; the sample is empty afterwards."""
        rows, self.rows = self.rows, self.rows[:0].clone()
        return rows

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in self._buffers.items():
            state_dict.setdefault(prefix + name, buffer)
        stored = state_dict[prefix + "rows"]
        self.rows = self.rows.new_zeros(
            stored.shape
        )  # its length depends on the step it was saved at
        super()._load_from_state_dict(state_dict, prefix, *args)


class Codebook(nn.Module):
    """K entries of dimension d.

    Args:
        size: K.
        dim: d.
        cosine: Compare directions: entries and latents have unit length.
        ema: Entries are moving averages of their latents (van den Oord et al. 2017, 1711.00937, appendix A.1);
            otherwise they are parameters and learn from the codebook loss (Eq. 3, second term).
        decay: Of the moving averages, per step.
        revive: An entry is dead when its average count falls below this fraction of the mean over all entries.
            0: never.
        revive_every: Steps between revivals.
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
    ) -> None:
        super().__init__()
        self.size, self.cosine, self.ema, self.decay = size, cosine, ema, decay
        self.revive, self.revive_every = revive, revive_every
        entries = self.unit(torch.randn(size, dim))
        if ema:
            self.register_buffer("entries", entries)
        else:
            self.entries = nn.Parameter(entries)
        self.learning = Averages(size, dim)
        self._packed: tuple[tuple[int, int], Packed] | None = None

    def unit(self, rows: Tensor) -> Tensor:
        """Rows of unit length if lookup is by direction, else the rows as they are."""
        return F.normalize(rows, dim=-1) if self.cosine else rows

    def assign(self, rows: Tensor) -> Tensor:
        """Nearest entry of each (N, d) row → int64 (N,)."""
        return nearest(rows.detach(), self.packed())

    def packed(self) -> Packed:
        """The entries ready for search, made again only when they have changed."""
        if self.entries.is_inference():  # such tensors do not count their versions
            return pack(self.lookup())
        key = (self.entries.data_ptr(), self.entries._version)
        if self._packed is None or self._packed[0] != key:
            self._packed = key, pack(self.lookup())
        return self._packed[1]

    def lookup(self, codes: Tensor | None = None) -> Tensor:
        """Entries of the codes, (*codes.shape, d); all entries, (K, d), without codes."""
        return self.unit(self.entries if codes is None else F.embedding(codes, self.entries))

    @torch.no_grad()
    def start(
        self, sample: Tensor, *, iterations: int, share: float, generator: torch.Generator | None
    ) -> None:
        """Place the entries by k-means over a sample of latents.

        Args:
            sample: (S, d), of unit length if ``cosine``.
            iterations: Lloyd steps; 0 takes random latents.
            share: Latents per entry and step that a uniform use would give: the first average counts.
            generator: CPU generator of the random choices.
        """
        centres = kmeans(
            sample, self.size, iterations=iterations, cosine=self.cosine, generator=generator
        )
        self.entries.copy_(centres)
        self.learning.count.fill_(share)
        # Sum and count belong together: a sum without its count would move every entry at the first step.
        self.learning.total.copy_(self.entries * share)

    @torch.no_grad()
    def learn(self, rows: Tensor, codes: Tensor, *, generator: torch.Generator | None) -> None:
        """One training step's bookkeeping: moving averages, then revival when it is due.

        Args:
            rows: (N, d) latents as they were assigned.
            codes: (N,).
            generator: CPU generator of revival's random choices.
        """
        state = self.learning
        count, total = sums(rows.detach(), codes, self.size)
        state.count.lerp_(count, 1 - self.decay)
        state.total.lerp_(total, 1 - self.decay)
        if self.ema:
            # Only entries with members move, and their average count is at least 1 - decay: nothing divides by zero
            # and nothing unused drifts, which is what smoothing and zero-debiasing are for elsewhere.
            hit = count.nonzero().squeeze(1)
            self.entries[hit] = self.unit(state.total[hit] / state.count[hit, None])
        state.steps += 1
        if self.revive > 0 and int(state.steps) % self.revive_every == 0:
            self._revive(rows, generator=generator)

    def _revive(self, rows: Tensor, *, generator: torch.Generator | None) -> None:
        """Move the least used of the dead entries onto random latents of this batch, one latent each.

        A revived entry starts with the mean count, so it has log(1 / revive) / (1 - decay) steps to find members before
        it can be called dead again. Its sum is reset with its count: an old sum would pull it back where it died.
        """
        state = self.learning
        mean = state.count.mean()
        dead = int((state.count < self.revive * mean).sum())
        which = state.count.argsort(stable=True)[: min(dead, len(rows))]
        if not len(which):
            return
        fresh = draw(rows.detach(), len(which), generator=generator)
        self.entries[which] = fresh
        state.count[which] = mean
        state.total[which] = fresh * mean

"""Use of a variational autoencoder's latents, over everything that was added.

Active units: Burda et al. 2015, "Importance Weighted Autoencoders" (1509.00519), section 5.2: a
unit counts if the mean of its posterior varies over the data, Cov_x(E_q[u]) > 0.01. The others say
the same of every signal: they have collapsed to the prior. Latents on a grid have a unit per
dimension, seen at every position of every item.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqtok.metrics.metric import Metric

ACTIVE = 0.01
"""Least variance of an active unit (1509.00519, section 5.2)."""


class Latents:
    """Collects statistics of posteriors, in float64; memory is a few numbers per dimension."""

    def __init__(self) -> None:
        self.count = 0
        """Positions of the grid seen, over all items."""
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._squares = torch.zeros(0, dtype=torch.float64)
        self._kl = 0.0

    def add(self, mean: Tensor, kl: Tensor) -> None:
        """Take the posteriors of some items.

        Args:
            mean: (B, D, *grid) posterior means; grids may differ from call to call.
            kl: The same shape: divergence of each latent from the prior, nats.
        """
        rows = mean.detach().transpose(0, 1).flatten(1).cpu().double()  # (D, N)
        there, count = rows.mean(dim=1), rows.shape[1]
        squares = (rows - there[:, None]).square().sum(dim=1)
        if not self.count:
            self._mean, self._squares = torch.zeros_like(there), torch.zeros_like(there)
        # Chan, Golub & LeVeque 1979: joining two sets without large sums that cancel.
        step, total = there - self._mean, self.count + count
        self._mean = self._mean + step * (count / total)
        self._squares = self._squares + squares + step.square() * (self.count * count / total)
        self._kl += float(kl.detach().double().sum())
        self.count = total

    @property
    def variances(self) -> Tensor:
        """Compute the variance of each dimension's posterior mean over the data, (D,) float64."""
        return self._squares / max(1, self.count)

    @property
    def active(self) -> int:
        """Count the dimensions that vary: active units."""
        return int((self.variances > ACTIVE).sum())

    @property
    def kl(self) -> float:
        """Sum divergences over dimensions, mean over positions and items: nats per position."""
        return self._kl / max(1, self.count)


KL = Metric("kl", "KL divergence", "nats per position", ".3g", False)
ACTIVE_UNITS = Metric("active_units", "active units", "", ".0f", True)

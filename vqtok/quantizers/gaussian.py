"""Draw a variational autoencoder's latents in training, and take their means afterwards.

Kingma & Welling 2013, "Auto-Encoding Variational Bayes" (1312.6114): the reparameterisation of
section 2.4 and the closed form of appendix B, with a weight on the KL term (beta of Higgins et al.
2017, "beta-VAE") and the free bits of Kingma et al. 2016 (1606.04934, appendix C.8).

Reconstruction losses here are means over the values of a signal, so the KL term needs a norm too.
It is **nats per position**: summed over the D dimensions, averaged over items and positions of the
grid. That is the unit of a code, which carries ln K nats, and it does not change with the size of
a crop. With S values per position (48 for RGB at 4x4 pixels per position) the evidence lower bound
per value is:

- for a mean negative log-likelihood ("bce", "logit-laplace"): kl = 1 / S;
- for a mean squared error, a Gaussian decoder of variance v: kl = 2 v / S. The default 1e-4 is
  v = 0.0024 at S = 48, a PSNR of 32 dB, and 26 dB at 8x8 pixels per position: what such models
  reach, so neither side wins outright.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqtok import distributed
from vqtok.protocols import Quantized
from vqtok.quantizers._codeless import Codeless, no_codes
from vqtok.quantizers._rows import Grid, Projection, to_rows
from vqtok.quantizers._start import Clock
from vqtok.quantizers._terms import quantized

LOGVAR = (-30.0, 20.0)
"""Limits of ln(variance): keep exp finite; as in latent diffusion (2112.10752), far from use."""


@dataclass(frozen=True)
class Config:
    """Settings of the prior's pull.

    Attributes:
        kl: Weight of the KL term (beta), which is in nats per position.
        free_bits: Nats that each of the D dimensions may carry for nothing, on the mean over the
            batch and its positions: the term is the sum over dimensions of max(free_bits, KL).
            Guards against posterior collapse; 0: none.
        kl_steps: Training steps in which the weight rises linearly from 0; 0: none.
    """

    kl: float = 1e-4
    free_bits: float = 0.0
    kl_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("kl", "free_bits", "kl_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0")

    def build(self, *, dim: int) -> Gaussian:
        """Make the quantizer of (B, dim, *grid) latents."""
        return Gaussian(self, dim)


class Posterior(NamedTuple):
    """Independent Gaussians that the encoder gives for the latents."""

    mean: Tensor
    """(B, D, *grid) float32."""
    logvar: Tensor
    """(B, D, *grid) float32: ln of the variance."""

    def kl(self) -> Tensor:
        """Compute the KL divergence from a standard Gaussian, nats: (B, D, *grid)."""
        # Appendix B of 1312.6114. expm1: near the prior e^v - 1 would cancel to noise.
        return 0.5 * (self.mean.square() + self.logvar.expm1() - self.logvar)


class Gaussian(Codeless):
    """A Gaussian posterior by a pointwise linear map, over latents of any grid."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.moments = Projection(dim, 2 * dim)
        # The prior's variance everywhere at first, whatever the latents are.
        torch.nn.init.zeros_(self.moments.weight[dim:])
        torch.nn.init.zeros_(self.moments.bias[dim:])
        self.learning = Clock()

    def forward(self, z: Tensor) -> Quantized:
        """Draw from the posterior of (B, D, *grid) latents in training, else take its mean."""
        posterior = self.posterior(z)
        out = posterior.mean
        if self.training:
            out = out + self._noise(out) * (0.5 * posterior.logvar).exp()
        # Eq. 15 of 1606.04934 with a dimension as the group.
        each = posterior.kl().transpose(0, 1).flatten(1).mean(dim=1)  # (D,)
        each = distributed.pooled(each) if self.training else each
        kl = each.clamp(min=self.config.free_bits).sum()
        return quantized(out, no_codes(z), {"kl": self._weight(kl) * kl})

    def posterior(self, z: Tensor) -> Posterior:
        """Compute mean and ln(variance) of each latent of (B, D, *grid)."""
        mean, logvar = Grid.of(z).latents(self.moments(to_rows(z))).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(*LOGVAR))

    def _noise(self, like: Tensor) -> Tensor:
        """Draw standard Gaussian numbers in the order of items and positions."""
        total, mine = distributed.share(like.shape[0])
        rows = (total, *like.shape[2:], like.shape[1])
        noise = torch.randn(rows, generator=self.generator, dtype=like.dtype)[mine]
        return noise.movedim(-1, 1).to(like.device)

    def _weight(self, like: Tensor) -> Tensor:
        """Weigh the KL term at this training batch; in full in evaluation."""
        weight = like.new_tensor(self.config.kl)
        if self.training and self.config.kl_steps:
            weight = weight * (self.learning.steps / self.config.kl_steps).clamp(max=1.0)
            self.learning.steps += 1
        return weight

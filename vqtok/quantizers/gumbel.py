"""Relax discrete codes: a latent is a distribution over them, which training takes samples of.

Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation" (DALL-E, 2102.12092), section 2.1 and
appendix A.2, with the Gumbel-softmax of Jang et al. 2016 (1611.01144, Eq. 2) and Maddison et al.
2016 (1611.00712). As there, the prior is uniform, and temperature and weight of the KL term follow
a cosine. What differs from the paper: the weight is meant for a mean squared error of signals in
[-1, 1], where the paper has a likelihood; both schedules are short, for runs of ten thousand steps,
where the paper anneals over 150 000 of its 3 million. And latents pass unquantized at first; then
k-means places the entries, and logits start as those of a mixture of Gaussians around them, one nat
unsure. From random weights all logits are alike, and the few codes that win are the only ones ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqtok import distributed
from vqtok.nn.gradients import straight_through
from vqtok.protocols import Quantized
from vqtok.quantizers._kmeans import kmeans
from vqtok.quantizers._rows import Grid
from vqtok.quantizers._start import Clock, Warmed
from vqtok.quantizers._terms import quantized
from vqtok.quantizers.search.candidates import NearTies
from vqtok.quantizers.search.nearest import Packed, PackedOnce, nearest
from vqtok.quantizers.search.product import slices

BLOCK = 1 << 22
"""Logits at once, where no gradient is wanted."""
CALIBRATION = 1024
"""Latents by which the first logits are made as sure as they should be."""


@dataclass(frozen=True)
class Config:
    """Settings of a discrete VAE.

    Attributes:
        codebook_size: K.
        gradient: "relaxed" decodes a mixture of entries in training; "straight-through" decodes the
            sampled entry and has the mixture's gradient.
        temperature: Of the relaxation, at first.
        coldest: Temperature that it falls to.
        anneal_steps: Training steps in which it falls.
        kl: Weight of the KL divergence from the uniform distribution, nats per latent, in the end.
        kl_steps: Training steps in which the weight rises from 0.
        warmup: First training steps, in which latents pass unquantized while a sample is collected;
            the schedules begin after them.
        samples: Latents per entry in that sample; the warm-up lasts until it is full. 0: none, and
            weights stay random.
        kmeans: Lloyd iterations over the sample; 0: entries start at random latents of it.
    """

    codebook_size: int = 512
    gradient: Literal["relaxed", "straight-through"] = "relaxed"
    temperature: float = 1.0
    coldest: float = 0.0625
    anneal_steps: int = 5000
    kl: float = 5e-4
    kl_steps: int = 5000
    warmup: int = 100
    samples: int = 8
    kmeans: int = 10

    def __post_init__(self) -> None:
        if self.codebook_size < 1:
            raise ValueError(f"codebook_size: {self.codebook_size} is below 1")
        for name in ("anneal_steps", "kl_steps", "kl", "warmup", "samples", "kmeans"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0")
        for name in ("temperature", "coldest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not above 0")

    def build(self, *, dim: int) -> Gumbel:
        """Make the quantizer of (B, dim, *grid) latents."""
        return Gumbel(self, dim)


class Gumbel(Warmed):
    """A categorical distribution over entries, for latents of any grid."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim)
        self.config = config
        self.logits = nn.Linear(dim, config.codebook_size)
        self.entries = nn.Parameter(torch.randn(config.codebook_size, dim))
        self.learning.clock = Clock()
        self._packed = PackedOnce()

    def _quantize(self, rows: Tensor, grid: Grid) -> Quantized:
        """Training decodes samples, evaluation the likeliest entries.

        Codes are the likeliest ones in both, so that use is never that of the noise.
        """
        if self.training:
            logits = self.logits(rows)
            codes, out, kl = logits.argmax(dim=1), self._sampled(logits), _divergence(logits)
            self._clock().steps += 1
        else:
            codes = nearest(_lifted(rows), self.packed())
            out = F.embedding(codes, self.entries)
            parts = (_divergence(part) * len(part) for part in self._blocks(rows))
            kl = sum(parts, rows.new_zeros(())) / len(rows)
            if torch.is_grad_enabled() and rows.requires_grad:
                soft = torch.cat([part.softmax(dim=1) for part in self._blocks(rows)])
                out = straight_through(soft @ self.entries, out)
        return quantized(grid.latents(out), grid.codes(codes), {"kl": self._weight() * kl})

    def _assign(self, rows: Tensor, ties: NearTies) -> Tensor:
        return nearest(_lifted(rows), self.packed(), ties)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid) → (B, D, *grid) float32."""
        rows = F.embedding(codes.reshape(-1).long(), self.entries)
        return Grid.of_codes(codes).latents(rows)

    def temperature(self) -> float:
        """Compute the temperature of the relaxation at this step."""
        config = self.config
        done = self._done(config.anneal_steps)
        return config.temperature + (config.coldest - config.temperature) * done

    @torch.no_grad()
    def packed(self) -> Packed:
        """Give entries among which the nearest one to a row with a zero appended is the likeliest.

        |z - w|² + c with c = C - |w|² - 2 b is -2 (w z + b) but for what is the same for all, and
        is a distance if the root of c is one more coordinate. Made again only when they changed.
        """
        sources = (self.logits.weight, self.logits.bias)
        return self._packed(sources, lambda: _raised(*sources))

    @torch.no_grad()
    def _place(self, sample: Tensor, *, latest: int) -> None:
        iterations, generator = self.config.kmeans, self.generator
        centres = kmeans(sample, self.codebook_size, iterations=iterations, generator=generator)
        centres = distributed.agreed(centres)
        squares = centres.square().sum(dim=1)
        # -b |z - e|², but for what is the same for all entries.
        scores = 2 * sample[-CALIBRATION:] @ centres.t() - squares
        low, high = -30.0, 30.0
        for _ in range(40):  # the sharpness b, by bisection of its logarithm
            middle = (low + high) / 2
            unsure = math.log(self.codebook_size) - float(_divergence(scores * math.exp(middle)))
            low, high = (middle, high) if unsure > 1.0 else (low, middle)
        self.entries.copy_(centres)
        self.logits.weight.copy_(2 * math.exp(high) * centres)
        self.logits.bias.copy_(-math.exp(high) * squares)

    def _sampled(self, logits: Tensor) -> Tensor:
        """Mix entries by a relaxed sample (1611.01144, Eq. 2): (N, K) → (N, D)."""
        gumbel = -_exponential(logits, self.generator).log()
        soft = ((logits + gumbel) / self.temperature()).softmax(dim=1)
        mixed = soft @ self.entries
        if self.config.gradient == "relaxed":
            return mixed
        # The entry itself also learns from where it was decoded, as a one-hot sample's would.
        chosen = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
        return straight_through(soft, chosen) @ self.entries

    def _weight(self) -> float:
        """Weigh the divergence at this step; evaluation always weighs it in full."""
        return self.config.kl * (self._done(self.config.kl_steps) if self.training else 1.0)

    def _clock(self) -> Clock:
        return cast(Clock, self.learning.clock)

    def _done(self, steps: int) -> float:
        """Compute how far a cosine over so many steps has come, 0 … 1."""
        share = min(1.0, int(self._clock().steps) / steps) if steps else 1.0
        return (1 - math.cos(math.pi * share)) / 2

    def _blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """Compute logits, (n, K), of some rows after the other."""
        for some in slices(len(rows), max(1, BLOCK // self.codebook_size)):
            yield self.logits(rows[some])


def _divergence(logits: Tensor) -> Tensor:
    """Compute the mean KL divergence of (N, K) from the uniform distribution, (), nats."""
    logs = logits.log_softmax(dim=1)
    return (logs.exp() * logs).sum(dim=1).mean() + math.log(logits.shape[1])


def _exponential(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw exponential noise of a tensor's shape, on its device, from a CPU generator.

    Where the CPU's noise would take longer than the step, on GPUs and for all of several ranks,
    only a seed comes from it, another one for each rank.
    """
    if like.device.type != "cpu" or distributed.world() > 1:
        seed = int(torch.randint(1 << 62, (), generator=generator)) + distributed.rank()
        generator = torch.Generator(like.device).manual_seed(seed)
    noise = torch.empty_like(like).detach().exponential_(generator=generator)
    return noise.clamp_(min=torch.finfo(noise.dtype).tiny)


def _lifted(rows: Tensor) -> Tensor:
    """Maps (N, d) → (N, d + 1)."""
    return F.pad(rows, (0, 1))


def _raised(weight: Tensor, bias: Tensor) -> Tensor:
    """Maps (K, d) and (K,) of a linear map → (K, d + 1), see ``packed``."""
    lengths = weight.double().square().sum(dim=1) + 2 * bias.double()
    return torch.cat((weight, (lengths.max() - lengths).sqrt()[:, None].float()), dim=1)

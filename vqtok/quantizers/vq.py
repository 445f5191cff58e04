"""Vector quantization: each latent becomes the nearest entry of one codebook.

van den Oord et al. 2017, "Neural Discrete Representation Learning" (1711.00937). Beyond the paper:
a k-means start after a warm-up in which latents pass unquantized, revival of dead entries, and
lookup in fewer dimensions or by direction (Yu et al. 2021, 2110.04627).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vqtok.nn.gradients import Gradient, estimate
from vqtok.protocols import Quantized
from vqtok.quantizers._codebook import Codebook, check
from vqtok.quantizers._revival import RevivedAt
from vqtok.quantizers._rows import Grid
from vqtok.quantizers._start import Warmed
from vqtok.quantizers._terms import codebook_terms, quantized
from vqtok.quantizers.search.candidates import NearTies


@dataclass(frozen=True)
class Config:
    """Settings of a single learned codebook.

    Attributes:
        codebook_size: K.
        codebook_dim: Dimension of lookup, between learned linear maps; None: that of the latents,
            without maps.
        cosine: Compare directions instead of positions.
        gradient: How the decoder's reaches the latents: "straight-through" or "rotation".
        ema: Entries are moving averages; otherwise they are trained by the codebook loss.
        decay: Of the moving averages, per step.
        commitment: Weight of the loss that keeps latents near their entries (beta).
        warmup: First training steps, in which latents pass unquantized while a sample is collected.
        samples: Latents per entry in that sample; the warm-up lasts until it is full.
        kmeans: Lloyd iterations over the sample; 0: entries start at random latents of it.
        revive: An entry is dead below this fraction of the mean use; 0: never.
        revive_every: Steps between revivals.
        revive_at: Dead entries move to "random" latents; or by "error", hardly ever to those that
            an entry describes well already, such as those of flat areas.
    """

    codebook_size: int = 512
    codebook_dim: int | None = None
    cosine: bool = False
    gradient: Gradient = "straight-through"
    ema: bool = True
    decay: float = 0.99
    commitment: float = 0.25
    warmup: int = 100
    samples: int = 8
    kmeans: int = 10
    revive: float = 0.1
    revive_every: int = 10
    revive_at: RevivedAt = "random"

    def __post_init__(self) -> None:
        check(self)

    def build(self, *, dim: int) -> Vq:
        """Make the quantizer of (B, dim, *grid) latents."""
        return Vq(self, dim)


class Vq(Warmed):
    """One codebook over latents of any grid."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim, inner=config.codebook_dim)
        self.config = config
        self.codebook = Codebook(
            config.codebook_size,
            config.codebook_dim or dim,
            cosine=config.cosine,
            ema=config.ema,
            decay=config.decay,
            revive=config.revive,
            revive_every=config.revive_every,
            revive_at=config.revive_at,
        )

    def _rows(self, z: Tensor) -> Tensor:
        return self.codebook.unit(super()._rows(z))

    def _quantize(self, rows: Tensor, grid: Grid) -> Quantized:
        codes = self.codebook.assign(rows)
        chosen = self.codebook.lookup(codes)
        terms = codebook_terms(
            rows, chosen, commitment=self.config.commitment, learned=not self.config.ema
        )
        out = self.project_out(estimate(rows, chosen, self.config.gradient))
        if self.training:
            self.codebook.learn(rows, codes, generator=self.generator)
        means = {name: term.mean() for name, term in terms.items()}
        return quantized(grid.latents(out), grid.codes(codes), means)

    def _assign(self, rows: Tensor, ties: NearTies) -> Tensor:
        if self.codebook.cosine:
            # By the sine rule, no direction turns by more; the last term rounds the unit row.
            length = torch.linalg.vector_norm(rows.double(), dim=1)
            ties.tolerance.div_(length / 2 + 2.0**-126).add_(2.0**-23)
        return self.codebook.assign(self.codebook.unit(rows), ties)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid) → (B, D, *grid) float32."""
        rows = self.project_out(self.codebook.lookup(codes.reshape(-1).long()))
        return Grid.of_codes(codes).latents(rows)

    def begin_averages(self) -> None:
        """Make moving averages fit the entries as they are."""
        self.codebook.begin_averages()

    def _place(self, sample: Tensor, *, latest: int) -> None:
        self.codebook.start(
            sample,
            iterations=self.config.kmeans,
            share=latest / self.codebook_size,
            generator=self.generator,
        )

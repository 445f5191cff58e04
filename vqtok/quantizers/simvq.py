"""SimVQ: a frozen codebook seen through one learned linear map, so that all entries move together.

Zhu et al. 2024, "Addressing Representation Collapse in Vector Quantized Models with One Linear
Layer" (2411.02038). What differs from the paper: instead of random entries and a random map, the
frozen entries are placed by k-means after a warm-up in which latents pass unquantized, and the map
starts as the identity; and entries that hardly any latent chooses are exchanged: one that is dead
becomes what the map sends to a random latent, and is frozen there. With ``samples=0`` and
``revive=0`` it is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqtok import distributed
from vqtok.nn.gradients import Gradient, estimate
from vqtok.protocols import Quantized
from vqtok.quantizers._codebook import check
from vqtok.quantizers._kmeans import kmeans
from vqtok.quantizers._revival import Life
from vqtok.quantizers._rows import Grid
from vqtok.quantizers._start import Warmed
from vqtok.quantizers._terms import codebook_terms, quantized
from vqtok.quantizers.search.candidates import NearTies
from vqtok.quantizers.search.nearest import Packed, PackedOnce, nearest


@dataclass(frozen=True)
class Config:
    """Settings of a mapped codebook.

    Attributes:
        codebook_size: K.
        codebook_dim: Dimension of lookup, between learned linear maps; None: that of the latents,
            without maps.
        gradient: How the decoder's reaches the latents: "straight-through" or "rotation".
        commitment: Weight of the loss that keeps latents near their entries (beta).
        warmup: First training steps, in which latents pass unquantized while a sample is collected.
        samples: Latents per entry in that sample; the warm-up lasts until it is full. 0: none, the
            entries stay random and quantize from the first step.
        kmeans: Lloyd iterations over the sample; 0: entries are random latents of it.
        revive: An entry is dead below this fraction of the mean use; 0: never.
        revive_every: Steps between revivals.
        decay: Of the moving averages of use, per step.
    """

    codebook_size: int = 8192
    codebook_dim: int | None = None
    gradient: Gradient = "straight-through"
    commitment: float = 0.25
    warmup: int = 100
    samples: int = 8
    kmeans: int = 10
    revive: float = 0.1
    revive_every: int = 10
    decay: float = 0.99

    def __post_init__(self) -> None:
        check(self, samples=0)

    def build(self, *, dim: int) -> SimVq:
        """Make the quantizer of (B, dim, *grid) latents."""
        return SimVq(self, dim)


class SimVq(Warmed):
    """A frozen codebook behind a learned map, over latents of any grid."""

    frozen: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim, inner=config.codebook_dim)
        inner = config.codebook_dim or dim
        self.config = config
        self.register_buffer("frozen", torch.randn(config.codebook_size, inner) * inner**-0.5)
        self.map = nn.Linear(inner, inner)
        self.life = Life(
            config.codebook_size,
            decay=config.decay,
            revive=config.revive,
            revive_every=config.revive_every,
        )
        self._packed = PackedOnce()

    def _quantize(self, rows: Tensor, grid: Grid) -> Quantized:
        if self.training:
            # A copy: the backward pass needs them as they were before revival.
            entries = self.map(self.frozen.clone())
            codes = nearest(rows, entries)
        else:
            entries = self.entries()
            codes = nearest(rows, self.packed())
        chosen = F.embedding(codes, entries)
        terms = codebook_terms(rows, chosen, commitment=self.config.commitment, learned=True)
        out = self.project_out(estimate(rows, chosen, self.config.gradient))
        if self.training:
            found = self.life.learn(rows, codes, generator=self.generator)
            if found is not None:
                self._revive(*found)
        means = {name: term.mean() for name, term in terms.items()}
        return quantized(grid.latents(out), grid.codes(codes), means)

    def _assign(self, rows: Tensor, ties: NearTies) -> Tensor:
        return nearest(rows, self.packed(), ties)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid) → (B, D, *grid) float32."""
        rows = self.project_out(F.embedding(codes.reshape(-1).long(), self.entries()))
        return Grid.of_codes(codes).latents(rows)

    def entries(self) -> Tensor:
        """Give (K, d) mapped entries: the codebook of a ``vq`` with the same codes."""
        return self.packed().entries

    @torch.no_grad()
    def packed(self) -> Packed:
        """Give the mapped entries ready for search, made again only when they have changed."""
        return self._packed((self.frozen, self.map.weight, self.map.bias), self._mapped)

    def _mapped(self) -> Tensor:
        # Rounded once, from float64, so that another machine's codebook has the same bits.
        weight, bias = self.map.weight.double(), self.map.bias.double()
        return F.linear(self.frozen.double(), weight, bias).float()

    @torch.no_grad()
    def _revive(self, which: Tensor, targets: Tensor) -> None:
        """Exchange frozen entries for those that the map sends to (n, d) targets.

        A map that has lost dimensions cannot reach them all: to the nearest that it reaches.
        """
        weight, bias = self.map.weight.double(), self.map.bias.double()
        if not bool(weight.isfinite().all() & bias.isfinite().all()):
            return  # a diverged run: nothing to aim with
        # Directions that the map shrinks to float32's rounding would make entries without bounds.
        back = torch.linalg.pinv(weight, rtol=1e-6)
        fresh = ((targets.double() - bias) @ back.t()).to(self.frozen.dtype)
        self.frozen[which] = distributed.agreed(fresh)  # a decomposition may round differently

    @torch.no_grad()
    def _place(self, sample: Tensor, *, latest: int) -> None:
        centres = kmeans(
            sample,
            self.codebook_size,
            iterations=self.config.kmeans,
            generator=self.generator,
        )
        self.frozen.copy_(distributed.agreed(centres))
        self.life.begin(latest / self.codebook_size)
        nn.init.eye_(self.map.weight)
        nn.init.zeros_(self.map.bias)

"""Vector quantization: one codebook, each latent becomes its nearest entry.

van den Oord et al. 2017, "Neural Discrete Representation Learning" (1711.00937). Beyond the paper: a k-means start after
a warm-up in which latents pass unquantized, revival of dead entries, and lookup in fewer dimensions or by direction
(Yu et al. 2021, 2110.04627).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqtok.protocols import Quantized
from vqtok.quantizers._codebook import Codebook, Sample
from vqtok.quantizers._gradients import straight_through
from vqtok.quantizers._rows import from_rows, linear, to_rows


@dataclass(frozen=True)
class Config:
    """Settings of a single learned codebook.

    Attributes:
        codebook_size: K.
        codebook_dim: Dimension of lookup, between learned linear maps; None: that of the latents, without maps.
        cosine: Compare directions instead of positions.
        ema: Entries are moving averages; otherwise they are trained by the codebook loss.
        decay: Of the moving averages, per step.
        commitment: Weight of the loss that keeps latents near their entries (beta).
        warmup: First training steps, in which latents pass unquantized while a sample of them is collected.
        samples: Latents per entry in that sample; the warm-up lasts until it is full.
        kmeans: Lloyd iterations over the sample; 0: entries start at random latents of it.
        revive: An entry is dead below this fraction of the mean use; 0: never.
        revive_every: Steps between revivals.
    """

    codebook_size: int = 512
    codebook_dim: int | None = None
    cosine: bool = False
    ema: bool = True
    decay: float = 0.99
    commitment: float = 0.25
    warmup: int = 100
    samples: int = 8
    kmeans: int = 10
    revive: float = 0.1
    revive_every: int = 10

    def __post_init__(self) -> None:
        check(self)

    def build(self, *, dim: int) -> Vq:
        """Make the quantizer of (B, dim, *grid) latents."""
        return Vq(self, dim)


def check(config: object) -> None:
    """Check the fields that codebook methods share.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    at_least = {"codebook_size": 1, "codebook_dim": 1, "samples": 1, "revive_every": 1}
    at_least |= {"warmup": 0, "kmeans": 0, "commitment": 0, "revive": 0, "depth": 1}
    for name, low in at_least.items():
        value = getattr(config, name, None)
        if value is not None and value < low:
            raise ValueError(f"{name}: {value} is below {low}")
    for name, high in {"decay": 1.0, "revive": 1.0, "dropout": 1.0}.items():
        value = getattr(config, name, 0.0)
        if not 0 <= value <= high:
            raise ValueError(f"{name}: {value} is not between 0 and {high:g}")


class Vq(nn.Module):
    """One codebook over latents of any grid.

    While ``initialised`` is false, training passes latents through (and through the linear maps) with codes of zero and
    no loss; evaluation quantizes with the entries as they are, which are random.
    """

    initialised: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = config.codebook_size
        self.depth: int | None = None
        self.generator: torch.Generator | None = None
        inner = config.codebook_dim or dim
        self.project_in = nn.Linear(dim, inner) if config.codebook_dim else nn.Identity()
        self.project_out = nn.Linear(inner, dim) if config.codebook_dim else nn.Identity()
        self.codebook = Codebook(
            config.codebook_size,
            inner,
            cosine=config.cosine,
            ema=config.ema,
            decay=config.decay,
            revive=config.revive,
            revive_every=config.revive_every,
        )
        self.learning = Sample(inner, config.codebook_size * config.samples)
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, z: Tensor) -> Quantized:
        """Quantize (B, D, *grid) latents; in training also learn from them."""
        with torch.autocast(device_type=z.device.type, enabled=False):
            batch, grid = z.shape[0], tuple(z.shape[2:])
            rows = self.codebook.unit(linear(self.project_in, to_rows(z)))
            if self.training and not self.initialised and not self._start(rows):
                through = from_rows(linear(self.project_out, rows), batch, grid)
                codes = torch.zeros(batch, *grid, dtype=torch.int64, device=z.device)
                return Quantized(through, codes, rows.new_zeros(()))
            codes = self.codebook.assign(rows)
            chosen = self.codebook.lookup(codes)
            loss = codebook_loss(rows, chosen, commitment=self.config.commitment)
            out = linear(self.project_out, straight_through(rows, chosen))
            if self.training:
                self.codebook.learn(rows, codes, generator=self.generator)
            return Quantized(from_rows(out, batch, grid), codes.reshape(batch, *grid), loss)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid) → (B, D, *grid) float32."""
        with torch.autocast(device_type=codes.device.type, enabled=False):
            rows = linear(self.project_out, self.codebook.lookup(codes.reshape(-1).long()))
            return from_rows(rows, codes.shape[0], tuple(codes.shape[1:]))

    def _start(self, rows: Tensor) -> bool:
        """Collect; when the sample is full, place the entries. Returns whether they are placed."""
        self.learning.add(rows)
        if not self.learning.ready(self.config.warmup):
            return False
        self.codebook.start(
            self.learning.take(),
            iterations=self.config.kmeans,
            share=len(rows) / self.codebook_size,
            generator=self.generator,
        )
        self.initialised.fill_(True)
        return True


def codebook_loss(z: Tensor, chosen: Tensor, *, commitment: float) -> Tensor:
    """Mean squared distance, as 1711.00937 Eq. 3: weight 1 towards entries, ``commitment`` towards latents.

    Entries learned by moving averages carry no gradient, so there the first term only shows its value in no gradient
    and is left out.

    Args:
        z: (N, d) latents.
        chosen: (N, d) their entries.
        commitment: beta.
    """
    loss = commitment * F.mse_loss(z, chosen.detach())
    if chosen.requires_grad:
        loss = loss + F.mse_loss(chosen, z.detach())
    return loss

"""Residual vector quantization: each stage's codebook quantizes what the stages before it left over.

Zeghidour et al. 2021, "SoundStream" (2107.03312), with its stage dropout. Codes are found greedily, so those of depth n
are the first n of any greater depth. What differs from the paper: k-means starts run stage by stage after a warm-up in
which latents pass unquantized, and one optional pair of linear maps surrounds the whole stack.
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
from vqtok.quantizers.vq import check


@dataclass(frozen=True)
class Config:
    """Settings of a stack of learned codebooks.

    Attributes:
        depth: Q, stages.
        codebook_size: K of every stage.
        codebook_dim: Dimension of the whole stack's lookup, between learned linear maps; None: that of the latents.
        ema: Entries are moving averages; otherwise they are trained by the codebook loss.
        decay: Of the moving averages, per step.
        commitment: Weight of the loss that keeps residuals near their entries (beta).
        dropout: Probability that a training item is decoded from its first n stages only, n drawn from 1 to Q with
            equal chances. Items that keep all stages make up the rest.
        warmup: First training steps, in which latents pass unquantized while a sample of them is collected.
        samples: Latents per entry in that sample; the warm-up lasts until it is full.
        kmeans: Lloyd iterations per stage over the sample; 0: entries start at random residuals of it.
        revive: An entry is dead below this fraction of its stage's mean use; 0: never.
        revive_every: Steps between revivals.
    """

    depth: int = 8
    codebook_size: int = 1024
    codebook_dim: int | None = None
    ema: bool = True
    decay: float = 0.99
    commitment: float = 0.25
    dropout: float = 0.0
    warmup: int = 100
    samples: int = 16
    kmeans: int = 10
    revive: float = 0.1
    revive_every: int = 10

    def __post_init__(self) -> None:
        check(self)

    def build(self, *, dim: int) -> Rvq:
        """Make the quantizer of (B, dim, *grid) latents."""
        return Rvq(self, dim)


class Rvq(nn.Module):
    """A stack of codebooks over latents of any grid.

    While ``initialised`` is false, training passes latents through (and through the linear maps) with codes of zero and
    no loss; evaluation quantizes with the entries as they are, which are random.
    """

    initialised: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = config.codebook_size
        self.depth: int | None = config.depth
        self.generator: torch.Generator | None = None
        inner = config.codebook_dim or dim
        self.project_in = nn.Linear(dim, inner) if config.codebook_dim else nn.Identity()
        self.project_out = nn.Linear(inner, dim) if config.codebook_dim else nn.Identity()
        self.stages = nn.ModuleList(
            Codebook(
                config.codebook_size,
                inner,
                ema=config.ema,
                decay=config.decay,
                revive=config.revive,
                revive_every=config.revive_every,
            )
            for _ in range(config.depth)
        )
        self.learning = Sample(inner, config.codebook_size * config.samples)
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, z: Tensor) -> Quantized:
        """Quantize (B, D, *grid) latents; in training also learn from them."""
        with torch.autocast(device_type=z.device.type, enabled=False):
            batch, grid = z.shape[0], tuple(z.shape[2:])
            rows = linear(self.project_in, to_rows(z))
            if self.training and not self.initialised and not self._start(rows):
                through = from_rows(linear(self.project_out, rows), batch, grid)
                shape = (batch, self.config.depth, *grid)
                codes = torch.zeros(shape, dtype=torch.int64, device=z.device)
                return Quantized(through, codes, rows.new_zeros(()))
            kept = self._kept(batch, rows.device)
            total, codes, loss = self._stack(rows, kept.repeat_interleave(len(rows) // batch))
            out = linear(self.project_out, straight_through(rows, total))
            codes = codes.reshape(self.config.depth, batch, *grid).movedim(0, 1)
            return Quantized(from_rows(out, batch, grid), codes.contiguous(), loss)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, n, *grid), n from 1 to Q → (B, D, *grid) float32."""
        with torch.autocast(device_type=codes.device.type, enabled=False):
            stacked = codes.movedim(1, 0).reshape(codes.shape[1], -1).long()
            total = self.stages[0].lookup(stacked[0])
            for stage, chosen in zip(self.stages[1 : len(stacked)], stacked[1:], strict=True):
                total = total + stage.lookup(chosen)
            rows = linear(self.project_out, total)
            return from_rows(rows, codes.shape[0], tuple(codes.shape[2:]))

    def _stack(self, rows: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the stages.

        Args:
            rows: (N, d).
            kept: (N,) stages that count for each row.

        Returns:
            (N, d) sum of the kept entries, (Q, N) codes of all stages, () mean loss over stages.
        """
        residual, total = rows, torch.zeros_like(rows)
        codes, losses = [], []
        for index, stage in enumerate(self.stages):
            found = stage.assign(residual)
            chosen = stage.lookup(found)
            active = kept > index
            losses.append(self._loss(residual, chosen, active))
            total = torch.where(active[:, None], total + chosen.detach(), total)
            if self.training:
                stage.learn(residual[active], found[active], generator=self.generator)
            residual = residual - chosen.detach()
            codes.append(found)
        return total, torch.stack(codes), torch.stack(losses).mean()

    def _loss(self, residual: Tensor, chosen: Tensor, active: Tensor) -> Tensor:
        """Codebook and commitment terms of one stage, over the rows that keep it."""
        weight = active.float() / (active.sum().clamp(min=1) * residual.shape[1])
        loss = self.config.commitment * F.mse_loss(residual, chosen.detach(), reduction="none")
        if chosen.requires_grad:
            loss = loss + F.mse_loss(chosen, residual.detach(), reduction="none")
        return (loss * weight[:, None]).sum()

    def _kept(self, batch: int, device: torch.device) -> Tensor:
        """(B,) stages that each item of this step is decoded from."""
        full = torch.full((batch,), self.config.depth)
        if self.training and self.config.dropout > 0:
            fewer = torch.randint(1, self.config.depth + 1, (batch,), generator=self.generator)
            drop = torch.rand(batch, generator=self.generator) < self.config.dropout
            full = torch.where(drop, fewer, full)
        return full.to(device)

    def _start(self, rows: Tensor) -> bool:
        """Collect; when the sample is full, place each stage's entries on what the ones before leave."""
        self.learning.add(rows)
        if not self.learning.ready(self.config.warmup):
            return False
        residual = self.learning.take()
        for stage in self.stages:
            stage.start(
                residual,
                iterations=self.config.kmeans,
                share=len(rows) / self.codebook_size,
                generator=self.generator,
            )
            residual = residual - stage.lookup(stage.assign(residual))
        self.initialised.fill_(True)
        return True

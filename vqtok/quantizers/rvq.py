"""Residual vector quantization: each codebook quantizes what the ones before it left over.

Zeghidour et al. 2021, "SoundStream" (2107.03312), with its stage dropout. The search is greedy, so
codes of depth n are the first n of any greater depth. What differs from the paper: k-means runs
stage by stage after a warm-up in which latents pass unquantized, and one optional pair of linear
maps surrounds the whole stack (per-stage maps, as in DAC, would be another method).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vqtok import distributed
from vqtok.nn.gradients import Gradient, estimate
from vqtok.protocols import Quantized
from vqtok.quantizers._codebook import Codebook, check
from vqtok.quantizers._rows import Grid, rounding
from vqtok.quantizers._start import Warmed
from vqtok.quantizers._terms import codebook_terms, quantized
from vqtok.quantizers.search.candidates import NearTies


@dataclass(frozen=True)
class Config:
    """Settings of a stack of learned codebooks.

    Attributes:
        depth: Q, stages.
        codebook_size: K of every stage.
        codebook_dim: Dimension of the whole stack, between learned linear maps; None: that of the
            latents, without maps.
        gradient: How the decoder's reaches the latents, past the sum of all entries:
            "straight-through" or "rotation".
        ema: Entries are moving averages; otherwise they are trained by the codebook loss.
        decay: Of the moving averages, per step.
        commitment: Weight of the loss that keeps residuals near their entries (beta).
        dropout: Probability that a training item is decoded from, and trains, only its first n
            stages, n from 1 to Q with equal chances.
        warmup: First training steps, in which latents pass unquantized while a sample is collected.
        samples: Latents per entry in that sample; the warm-up lasts until it is full.
        kmeans: Lloyd iterations per stage over the sample; 0: entries start at random residuals.
        revive: An entry is dead below this fraction of its stage's mean use; 0: never.
        revive_every: Steps between revivals.
    """

    depth: int = 8
    codebook_size: int = 1024
    codebook_dim: int | None = None
    gradient: Gradient = "straight-through"
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


class Rvq(Warmed):
    """A stack of codebooks over latents of any grid."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim, inner=config.codebook_dim, depth=config.depth)
        self.config = config
        self.stages = nn.ModuleList(
            Codebook(
                config.codebook_size,
                config.codebook_dim or dim,
                ema=config.ema,
                decay=config.decay,
                revive=config.revive,
                revive_every=config.revive_every,
            )
            for _ in range(config.depth)
        )

    def _quantize(self, rows: Tensor, grid: Grid) -> Quantized:
        total, stacked, terms = self._stack(rows, grid.batch)
        out = self.project_out(estimate(rows, total, self.config.gradient))
        return quantized(grid.latents(out), grid.codes(stacked), terms)

    def _assign(self, rows: Tensor, ties: NearTies) -> Tensor:
        codes, residual = [], rows
        for stage in self._codebooks():
            codes.append(stage.assign(residual, ties))
            residual = residual - stage.lookup(codes[-1])
            if residual.dtype == torch.float32:
                ties.tolerance.add_(rounding(residual))
        return torch.stack(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, n, *grid), n from 1 to Q → (B, D, *grid) float32."""
        stacked = codes.movedim(1, 0).reshape(codes.shape[1], -1).long()
        pairs = zip(self._codebooks()[: len(stacked)], stacked, strict=True)
        total = sum(stage.lookup(found) for stage, found in pairs)
        return Grid.of(codes).latents(self.project_out(total))

    def begin_averages(self) -> None:
        """Make moving averages fit the entries as they are."""
        for stage in self._codebooks():
            stage.begin_averages()

    def _codebooks(self) -> list[Codebook]:
        return [cast(Codebook, stage) for stage in self.stages]

    def _stack(self, rows: Tensor, batch: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run the stages on (N, d) rows, N / batch of each item.

        Returns:
            (N, d) sum of the kept entries, (Q, N) codes of all stages, terms as means over stages;
            averaged over ranks they are those of the joint batch.
        """
        joint, mine = self._kept(batch, device=rows.device)
        kept = joint[mine].repeat_interleave(len(rows) // batch)  # (N,)
        residual, total = rows, torch.zeros_like(rows)
        codes, terms = [], dict[str, Tensor]()
        for index, stage in enumerate(self._codebooks()):
            found = stage.assign(residual)
            chosen = stage.lookup(found)
            active = kept > index
            members = (joint > index).sum().clamp(min=1) * (len(rows) / len(joint))
            weight = active / (members * self.config.depth)
            parts = codebook_terms(
                residual, chosen, commitment=self.config.commitment, learned=not self.config.ema
            )
            for name, part in parts.items():
                terms[name] = terms.get(name, 0) + (part.mean(dim=1) * weight).sum()
            total = total + chosen.detach() * active[:, None]
            if self.training:
                stage.learn(residual[active], found[active], generator=self.generator)
            residual = residual - chosen.detach()
            codes.append(found)
        return total, torch.stack(codes), terms

    def _kept(self, batch: int, *, device: torch.device) -> tuple[Tensor, slice]:
        """Draw the stages that each item is decoded from; and where this rank's items are."""
        if not self.training or self.config.dropout == 0:
            return torch.full((batch,), self.config.depth, device=device), slice(None)
        return kept_stages(batch, self.config, generator=self.generator, device=device)

    def _place(self, sample: Tensor, *, latest: int) -> None:
        for stage in self._codebooks():
            stage.start(
                sample,
                iterations=self.config.kmeans,
                share=latest / self.codebook_size,
                generator=self.generator,
            )
            sample = sample - stage.lookup(stage.assign(sample)).detach()


def kept_stages(
    batch: int, config: Config, *, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, slice]:
    """Draw how many stages each item of a step of training keeps, by ``config.dropout``.

    Args:
        batch: Items of this rank.
        config: Of the stack.
        generator: On the CPU, in the same state on all ranks.
        device: Of the result.

    Returns:
        int64 (items of the joint batch,), and which of them are this rank's.
    """
    total, mine = distributed.share(batch)
    fewer = torch.randint(1, config.depth + 1, (total,), generator=generator)
    drop = torch.rand(total, generator=generator) < config.dropout
    kept = torch.where(drop, fewer, config.depth)
    return distributed.agreed(kept.to(device)), mine

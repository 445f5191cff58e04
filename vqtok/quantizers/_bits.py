"""Make codes of signs, as lookup-free and binary spherical quantization do.

A latent becomes d numbers, each is replaced by its sign, and the signs, as bits, are the code: the
first bit changes fastest, as in ``fsq`` (Open-MAGVIT2 and MaskBit too; vector-quantize-pytorch and
BSQ-ViT have the first bit slowest). There is no codebook to collapse, but bits may idle; a term
over entropies (Yu et al. 2023, 2310.05737, Eq. 5) makes each choice sure and all codes used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqtok.nn.gradients import straight_through
from vqtok.protocols import Assigned, Quantized
from vqtok.quantizers._evenness import entropy_of_mean
from vqtok.quantizers._rows import Grid, projection, stretch, to_rows
from vqtok.quantizers._terms import quantized
from vqtok.quantizers.search.candidates import NearTies

MOST = 31
"""Bits of a code."""


@dataclass(frozen=True)
class Settings:
    """Settings that methods of signs have in common.

    Attributes:
        bits: d; K is 2^bits. The first bit changes fastest in a code.
        entropy: Weight of the entropies, in nats.
        diversity: Weight in there of codes being used evenly against each latent being sure (γ).
        temperature: Of the probabilities in the entropies.
        group: Bits whose joint use is made even; more bits are split into groups of this many at
            most.
        commitment: Weight of the loss that keeps latents near their values.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """

    bits: int
    entropy: float
    diversity: float
    temperature: float
    group: int
    commitment: float

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST:
            raise ValueError(f"bits: {self.bits} is not between 1 and {MOST}")
        if not 1 <= self.group <= 20:
            raise ValueError(f"group: {self.group} is not between 1 and 20")
        if not self.temperature > 0:
            raise ValueError(f"temperature: {self.temperature} is not above 0")
        for name in ("entropy", "diversity", "commitment"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0")


class Binary(nn.Module, ABC):
    """Signs of latents of any grid.

    Args:
        config: Sizes and weights.
        dim: D; linear maps to and from the bits unless they are as many.
        value: What a set bit decodes to; one that is not set, to its negative.
    """

    basis: Tensor

    def __init__(self, config: Settings, dim: int, *, value: float) -> None:
        super().__init__()
        self.settings, self.value = config, value
        self.codebook_size = 1 << config.bits
        self.depth: int | None = None
        self.generator: torch.Generator | None = None  # nothing here is random
        inner = config.bits
        self.project_in = projection(dim, inner if dim != inner else None)
        self.project_out = projection(inner, dim if dim != inner else None)
        self.register_buffer("basis", 1 << torch.arange(inner), persistent=False)

    @abstractmethod
    def scaled(self, rows: Tensor) -> Tensor:
        """Scale (N, d) latents for their distance to (±value, …); no sign may change."""

    def forward(self, z: Tensor) -> Quantized:
        """Quantize (B, D, *grid) latents."""
        grid, config = Grid.of(z), self.settings
        raw = self.project_in(to_rows(z))
        bits, rows = raw > 0, self.scaled(raw)
        chosen = self._values(bits)
        logits = rows * (4 * self.value / config.temperature)
        sure, even = entropies(logits, group=config.group, joint=self.training)
        terms = {"entropy": config.entropy * (sure - config.diversity * even)}
        if config.commitment:
            terms["commitment"] = config.commitment * F.mse_loss(rows, chosen)
        out = self.project_out(straight_through(rows, chosen))
        return quantized(grid.latents(out), grid.codes(self._codes(bits)), terms)

    @torch.no_grad()
    def assign(self, z: Tensor, *, tolerance: float) -> Assigned:
        """Give codes of (B, D, *grid) latents, and mark those that a move could change."""
        grid = Grid.of(z)
        rows = self.project_in(to_rows(z))
        ties = NearTies.of(rows, tolerance * stretch(self.project_in))
        near = (rows.abs() <= ties.tolerance[:, None]).any(dim=1)
        return Assigned(grid.codes(self._codes(rows > 0)), grid.codes(near))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid) → (B, D, *grid) float32."""
        bits = codes.reshape(-1, 1).long() & self.basis  # (N, d)
        rows = self.project_out(self._values(bits > 0))
        return Grid.of_codes(codes).latents(rows)

    def _codes(self, bits: Tensor) -> Tensor:
        """Maps (N, d) bool → int64 (N,)."""
        return (bits * self.basis).sum(dim=1)

    def _values(self, bits: Tensor) -> Tensor:
        """Maps (N, d) bool → float32."""
        return torch.where(bits, self.value, -self.value)


def entropies(logits: Tensor, *, group: int, joint: bool = False) -> tuple[Tensor, Tensor]:
    """Measure how sure each latent is of its code, and how evenly codes are used, in nats.

    The softmax over all 2^d codes of -|z - c|² / temperature is a product over bits, each the
    sigmoid of 4 z c / temperature, so the entropy of a single latent is a sum over bits, exactly.
    The entropy of the mean distribution is not, since bits may go together: it is taken of groups
    of bits and added up, as in the code of BSQ (Zhao et al. 2024, 2406.07548; section 3.3 has
    single bits). With one group it is exact, otherwise an upper bound.

    Args:
        logits: (N, d) of each bit being set.
        group: Most bits in a group.
        joint: The mean is over the latents of all ranks.

    Returns:
        Two (): the mean of entropies, and the entropy of the mean.
    """
    size = logits.abs()
    sure = (F.softplus(-size) + size * torch.sigmoid(-size)).sum(dim=1).mean()
    probability = torch.sigmoid(logits)
    count = -(-logits.shape[1] // group)
    even = logits.new_zeros(())
    for bits in probability.tensor_split(count, dim=1):
        digits = [torch.stack((1 - bit, bit), dim=1) for bit in bits.unbind(1)]
        even = even + entropy_of_mean(digits, joint=joint)
    return sure, even

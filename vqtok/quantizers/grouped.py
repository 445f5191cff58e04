"""Cut latents into groups and quantize each by itself: product quantization.

Jégou et al. 2011, "Product Quantization for Nearest Neighbor Search" (TPAMI 33, section II.B): G
codebooks of K entries make K^G entries. With ``"quantizers/rvq"`` inside it is the group-residual
quantization of HiFi-Codec (Yang et al. 2023, 2305.02765, section 3.2), stage after stage in its
order: the first stages of all groups come before the second ones, so that any first G·n codes are
codes of the same groups with n stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqtok.config import type_name
from vqtok.errors import ConfigError
from vqtok.protocols import Assigned, Quantized
from vqtok.protocols import Config as AnyConfig


@dataclass(frozen=True)
class Config:
    """Settings of groups of quantizers.

    Attributes:
        quantizer: Of each group: any member of ``quantizers/`` with codes but this one.
        groups: G; must divide the latent dimension.
    """

    quantizer: AnyConfig
    groups: int = 2

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ValueError(f"groups: {self.groups} is below 1")
        if isinstance(self.quantizer, Config):
            raise ValueError(f"quantizer: {type_name(self.quantizer)} has groups itself; add them")

    def build(self, *, dim: int) -> Grouped:
        """Make the quantizer of (B, dim, *grid) latents.

        Raises:
            ConfigError: dim cannot be divided, or the groups' quantizer is continuous.
        """
        return Grouped(self, dim)


class Grouped(nn.Module):
    """A quantizer for each group of channels of latents of any grid; the q axis is G, or G·Q.

    Codes that ``decode`` is not given leave their group at fewer stages, or at zeros if it has no
    code at all.
    """

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        if dim % config.groups:
            raise ConfigError(f"groups: {config.groups} does not divide {dim}, the latents' size")
        self.config = config
        parts = [config.quantizer.build(dim=dim // config.groups) for _ in range(config.groups)]
        self.parts = nn.ModuleList(parts)
        if parts[0].codebook_size == 0:
            raise ConfigError(f"quantizer: {type_name(config.quantizer)} is continuous, no codes")
        self.codebook_size = parts[0].codebook_size
        self.depth: int | None = config.groups * (parts[0].depth or 1)
        self._generator: torch.Generator | None = None

    @property
    def generator(self) -> torch.Generator | None:
        """The source of every random choice of all groups (a CPU generator; None: torch's own)."""
        return self._generator

    @generator.setter
    def generator(self, generator: torch.Generator | None) -> None:
        self._generator = generator
        for part in self._quantizers():
            part.generator = generator

    def forward(self, z: Tensor) -> Quantized:
        """Quantize (B, D, *grid) latents; losses are means over groups."""
        pairs = zip(self._quantizers(), self._cut(z), strict=True)
        results = [quantizer(part) for quantizer, part in pairs]
        names = dict.fromkeys(name for each in results for name in each.terms)
        count = len(results)
        terms = {name: sum(each.terms.get(name, 0) for each in results) / count for name in names}
        loss = torch.stack([each.loss for each in results]).mean()
        codes = self._woven([each.codes for each in results])
        return Quantized(torch.cat([each.z_q for each in results], dim=1), codes, loss, terms)

    @torch.no_grad()
    def assign(self, z: Tensor, *, tolerance: float) -> Assigned:
        """Give codes of (B, D, *grid) latents, and mark those that a move could change."""
        pairs = zip(self._quantizers(), self._cut(z), strict=True)
        results = [quantizer.assign(part, tolerance=tolerance) for quantizer, part in pairs]
        near_tie = torch.stack([each.near_tie for each in results]).any(dim=0)
        return Assigned(self._woven([each.codes for each in results]), near_tie)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, n, *grid), n from 1 to the depth → (B, D, *grid) float32."""
        count = self.config.groups
        parts: list[Tensor] = []
        for index, quantizer in enumerate(self._quantizers()):
            mine = codes[:, index::count]
            if not mine.shape[1]:
                parts.append(torch.zeros_like(parts[0]))
            else:
                parts.append(quantizer.decode(mine[:, 0] if quantizer.depth is None else mine))
        return torch.cat(parts, dim=1)

    def _quantizers(self) -> list[Any]:
        """Returns each a ``Quantizer`` with a generator."""
        return list(self.parts)

    def _cut(self, z: Tensor) -> tuple[Tensor, ...]:
        return z.chunk(self.config.groups, dim=1)

    def _woven(self, codes: list[Tensor]) -> Tensor:
        """Maps (B, [Q,] *grid) of each group → (B, Q·G, *grid), stage by stage."""
        single = self._quantizers()[0].depth is None
        stages = [each[:, None] if single else each for each in codes]
        return torch.stack(stages, dim=2).flatten(1, 2)

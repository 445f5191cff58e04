"""The quantizers of several levels as one part of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqtok.codes.spec import LevelSpec
from vqtok.config import type_name
from vqtok.errors import ConfigError
from vqtok.protocols import Config, Quantized, Quantizer

NAMES = {2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
"""Of the levels, coarse → fine, by their number."""


class Joined(NamedTuple):
    """Of all levels together."""

    loss: Tensor
    """(): the sum over levels."""
    terms: Mapping[str, Tensor]
    """Its parts: "commitment" of the level "top" is called "commitment_top"."""


class Passing:
    """One batch on its way through the quantizers, level after level."""

    def __init__(self, quantizers: Sequence[Quantizer]) -> None:
        self._quantizers = quantizers
        self.found: list[Quantized] = []

    def __call__(self, level: int, z: Tensor) -> Tensor:
        """Quantize the latents of one level, and remember what came of it."""
        found = self._quantizers[level](z)
        self.found.append(found)
        return found.z_q

    def joined(self, names: Sequence[str]) -> Joined:
        """The losses of all levels, whose names are given."""
        terms = {
            f"{term}_{name}": value
            for name, each in zip(names, self.found, strict=True)
            for term, value in each.terms.items()
        }
        return Joined(torch.stack([each.loss for each in self.found]).sum(), terms)


class Quantizers(nn.ModuleList):
    """One quantizer for each level, coarse → fine.

    Args:
        configs: Of each.
        dim: D of all latents.

    Raises:
        ConfigError: one has no codes, which finer levels are told.
    """

    def __init__(self, configs: Sequence[Config], *, dim: int) -> None:
        parts = [config.build(dim=dim) for config in configs]
        for config, part in zip(configs, parts, strict=True):
            if not part.codebook_size:
                raise ConfigError(
                    f"quantizer: {type_name(config)} is continuous, and finer levels go by codes",
                    hint="of one level: tokenizers/vqvae",
                )
        super().__init__(parts)

    @property
    def generator(self) -> torch.Generator | None:
        """Makes every random choice of all levels, one after the other."""
        found: Any = self[0]
        generator: torch.Generator | None = found.generator
        return generator

    @generator.setter
    def generator(self, generator: torch.Generator | None) -> None:
        for each in self:
            each.generator = generator  # type: ignore[assignment]

    def parts(self) -> list[Quantizer]:
        """Each of them."""
        found: list[Any] = list(self)
        return found

    def levels(self, names: Sequence[str], *, stride: int) -> tuple[LevelSpec, ...]:
        """What the codes of images are: each level has twice the resolution of the one before.

        Args:
            names: Of the levels.
            stride: Pixels per code of the first one, each way.
        """
        found = []
        for level, (name, part) in enumerate(zip(names, self.parts(), strict=True)):
            axes = ("h", "w") if part.depth is None else ("q", "h", "w")
            steps = (stride >> level, stride >> level)
            found.append(LevelSpec(name, axes, part.codebook_size, steps, depth=part.depth))
        return tuple(found)

    def passing(self) -> Passing:
        """For one batch."""
        return Passing(self.parts())


def of_levels(quantizer: nn.Module) -> list[nn.Module]:
    """The quantizer of each level of a model, coarse → fine."""
    return list(quantizer) if isinstance(quantizer, Quantizers) else [quantizer]


def check_own(own: Mapping[str, Config], *, names: Sequence[str]) -> None:
    """Check the quantizers that levels of a config have of their own.

    Raises:
        ValueError: a level that there is not, or something else than a quantizer.
    """
    for name, config in own.items():
        if name not in names:
            raise ValueError(f"quantizers: no level {name!r}; there are {', '.join(names)}")
        if not type_name(config).startswith("quantizers/"):
            raise ValueError(f"quantizers.{name}: {type_name(config)} is no quantizer")

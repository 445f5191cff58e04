"""Use the quantizers of one or several levels as one part of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqtok import config as configs
from vqtok.codes.spec import LevelSpec
from vqtok.config import type_name
from vqtok.errors import ConfigError
from vqtok.protocols import Config, Quantized, Quantizer

NAMES = {2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
"""Of the levels, coarse → fine, by their number."""


class Quantizers(nn.ModuleList):
    """One quantizer for each level, coarse → fine.

    Args:
        configs: Of each.
        dim: D of all latents.

    Raises:
        ConfigError: one has no codes, or leaves out stages: finer levels depend on whole codes.
    """

    def __init__(self, configs: Sequence[Config], *, dim: int) -> None:
        parts = [config.build(dim=dim) for config in configs]
        for config, part in zip(configs, parts, strict=True):
            if not part.codebook_size:
                raise ConfigError(
                    f"quantizer: {type_name(config)} is continuous, and finer levels go by codes",
                    hint="of one level: tokenizers/vqvae",
                )
            inner = getattr(config, "quantizer", config)  # of a grouped one
            if getattr(inner, "dropout", 0.0) > 0:
                raise ConfigError(
                    "quantizer.dropout: finer levels go by all stages of a level's codes",
                    hint="--set model.quantizer.dropout=0",
                )
        super().__init__(parts)

    @property
    def generator(self) -> torch.Generator | None:
        """The source of every random choice of all levels, one after the other."""
        found: torch.Generator | None = getattr(self[0], "generator", None)
        return found

    @generator.setter
    def generator(self, generator: torch.Generator | None) -> None:
        for each in self:
            each.generator = generator  # type: ignore[assignment]


def quantize(quantizer: Quantizer, z: Tensor) -> Quantized:
    """Quantize (B, D, *grid) latents in float32, also under autocast."""
    with torch.autocast(z.device.type, enabled=False):
        return quantizer(z.float())


def dequantize(quantizer: Quantizer, codes: Tensor) -> Tensor:
    """Look up codes in float32, also under autocast: (B, D, *grid)."""
    with torch.autocast(codes.device.type, enabled=False):
        return quantizer.decode(codes)


def of_levels(quantizer: nn.Module) -> list[Quantizer]:
    """List the quantizer of each level, coarse → fine."""
    parts = list(quantizer) if isinstance(quantizer, Quantizers) else [quantizer]
    return cast("list[Quantizer]", parts)


def described(quantizers: Sequence[Quantizer]) -> list[dict[str, Any]]:
    """Describe quantizers as configs do, with all fields."""
    return [configs.dump(cast(Any, each).config) for each in quantizers]


def level_specs(
    quantizers: Sequence[Quantizer], names: Sequence[str], *, axes: tuple[str, ...], stride: int
) -> tuple[LevelSpec, ...]:
    """Describe the codes of each level, which has twice the resolution of the one before.

    Args:
        quantizers: Of the levels; one that is continuous has no level.
        names: Of the levels.
        axes: Of the signal.
        stride: Samples per code of the first level, along each axis.
    """
    return tuple(
        LevelSpec(
            name=name,
            axes=axes if part.depth is None else ("q", *axes),
            codebook_size=part.codebook_size,
            stride=tuple(stride >> level for _ in axes),
            depth=part.depth,
        )
        for level, (name, part) in enumerate(zip(names, quantizers, strict=True))
        if part.codebook_size
    )


def total(levels: Sequence[Quantized], names: Sequence[str]) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Add up the losses of all levels.

    Args:
        levels: What each quantizer returned.
        names: Of the levels.

    Returns:
        (), and its parts: "commitment" of the level "top" is called "commitment_top". Those of a
        single level keep their names.
    """
    if len(levels) == 1:
        return levels[0].loss, levels[0].terms
    terms = {
        f"{term}_{name}": value
        for name, each in zip(names, levels, strict=True)
        for term, value in each.terms.items()
    }
    return torch.stack([each.loss for each in levels]).sum(), terms


def check_own(own: Mapping[str, Config], *, names: Sequence[str]) -> None:
    """Check the quantizers that levels of a config have of their own.

    Raises:
        ValueError: an unknown level, or something else than a quantizer.
    """
    for name, config in own.items():
        if name not in names:
            raise ValueError(f"quantizers: no level {name!r}; there are {', '.join(names)}")
        if not type_name(config).startswith("quantizers/"):
            raise ValueError(f"quantizers.{name}: {type_name(config)} is no quantizer")

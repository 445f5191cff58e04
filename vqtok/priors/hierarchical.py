"""A prior for each level: the coarsest alone, each finer one given all coarser codes.

As VQ-VAE-2 samples (arXiv:1906.00446, section 3.2): the top prior draws the whole, then the bottom
prior the details that go with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.errors import ConfigError
from vqtok.priors._autoregressive import Autoregressive
from vqtok.priors._classes import check_names
from vqtok.priors._network import Condition, Network, Run
from vqtok.priors._patterns import Layout, joined
from vqtok.protocols import Config as AnyConfig


@dataclass(frozen=True)
class Config:
    """Which priors.

    Attributes:
        top: Prior of the coarsest level: "priors/transformer" or "priors/pixelcnn".
        finer: Prior of each other level.
        classes: Names of classes, by which samples can be chosen; none: no choice.
        unlabelled: Share of the items whose class training hides.
    """

    top: AnyConfig
    finer: AnyConfig
    classes: tuple[str, ...] = ()
    unlabelled: float = 0.1

    def __post_init__(self) -> None:
        check_names(self.classes, self.unlabelled)
        for name in ("top", "finer"):
            each = getattr(self, name)
            if not hasattr(each, "network"):
                raise ValueError(f"{name}: a prior of several levels cannot be part of another")
            if each.classes:
                raise ValueError(f"{name}: classes are said once, for all levels")
        if getattr(self.top, "depth", None) != getattr(self.finer, "depth", None):
            raise ValueError("top and finer: depth must be the same")

    def build(self, *, spec: CodeSpec, **context: Any) -> Autoregressive:
        """Make the prior of codes of this spec, with fresh weights."""
        depth = getattr(self.top, "depth", None)
        return Autoregressive(self, spec, Hierarchical(self, spec), depth=depth)


class Hierarchical(nn.Module):
    """The networks of all levels as one, that goes through the levels coarse → fine.

    Raises:
        ConfigError: codes of one level.
    """

    def __init__(self, config: Config, spec: CodeSpec) -> None:
        super().__init__()
        if len(spec.levels) < 2:
            hint = "priors/transformer and priors/pixelcnn are for one level"
            raise ConfigError("priors/hierarchical: several levels of codes needed", hint=hint)
        self.levels = nn.ModuleList()
        for number, level in enumerate(spec.levels):
            own: Any = config.finer if number else config.top
            own = replace(own, classes=config.classes, unlabelled=config.unlabelled)
            alone = replace(spec, levels=(level,))
            self.levels.append(own.network(alone, coarser=spec.levels[:number]))

    def lay_out(self, extent: tuple[int, ...]) -> Layout:
        """Returns the order of the codes of a signal: level by level."""
        return joined(self.parts(extent))

    @property
    def networks(self) -> list[Network]:
        """The network of each level, coarse → fine."""
        return [cast("Network", each) for each in self.levels]

    def parts(self, extent: tuple[int, ...]) -> list[Layout]:
        """Returns the layout of each level."""
        return [each.lay_out(extent) for each in self.networks]

    def nats(self, flat: Tensor, layout: Layout, condition: Condition) -> Tensor:
        """Returns the cost of each of (B, N) flat codes: (B, N) float32."""
        first, found = 0, []
        for network, part in zip(self.networks, self.parts(layout.extent), strict=True):
            own = flat[:, first : first + part.count]
            found.append(network.nats(own, part, condition._replace(coarse=flat[:, :first])))
            first += part.count
        return torch.cat(found, dim=1)

    def run(self, layout: Layout, condition: Condition, *, cached: bool) -> Run:
        """Begin a pass along all levels."""
        return _Run(self, layout, condition, cached=cached)


class _Run:
    """A pass: one run per level, begun when all coarser codes are there."""

    def __init__(
        self, network: Hierarchical, layout: Layout, condition: Condition, *, cached: bool
    ) -> None:
        self.network, self.condition, self.cached = network, condition, cached
        self.parts = network.parts(layout.extent)
        self.level = -1
        self.run: Run | None = None

    def __call__(self, flat: Tensor, step: int) -> list[Tensor]:
        level = cells = 0
        while step >= self.parts[level].steps:
            step, cells = step - self.parts[level].steps, cells + self.parts[level].count
            level += 1
        part = self.parts[level]
        if self.run is None or level != self.level:
            condition = self.condition._replace(coarse=flat[:, :cells].clone())
            network = self.network.networks[level]
            self.level, self.run = level, network.run(part, condition, cached=self.cached)
        return self.run(flat[:, cells : cells + part.count], step)

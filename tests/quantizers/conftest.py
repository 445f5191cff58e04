from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from vqtok import config
from vqtok.quantizers import fsq, gumbel, rvq, vq

DIM = 6
SMALL: dict[str, dict[str, Any]] = {
    "vq": {"codebook_size": 40, "warmup": 2, "samples": 2, "revive_every": 2},
    "simvq": {"codebook_size": 40, "warmup": 2, "samples": 2, "revive_every": 2},
    "rvq": {"codebook_size": 20, "depth": 3, "warmup": 2, "samples": 4, "revive_every": 2},
    "fsq": {"levels": (5, 4, 3)},
    "lfq": {"bits": 5},
    "bsq": {"bits": 5},
    "gumbel": {"codebook_size": 40, "anneal_steps": 8, "kl_steps": 8, "warmup": 2, "samples": 2},
    "identity": {},
    "gaussian": {"kl": 0.5, "kl_steps": 8, "free_bits": 0.01},
    "grouped": {"quantizer": vq.Config(codebook_size=40, warmup=2, samples=2, revive_every=2)},
}
"""Sizes for tests; a method that is not named here is tested with its defaults."""


def built(name: str, settings: dict[str, Any]) -> nn.Module:
    """A quantizer with fresh weights."""
    made: nn.Module = config.config_class(f"quantizers/{name}")(**settings).build(dim=DIM)
    return made


METHODS: list[tuple[str, dict[str, Any]]] = [
    (name, SMALL.get(name, {})) for name in config.members("quantizers")
]

CONTINUOUS = [each for each in METHODS if not built(*each).codebook_size] + [("gaussian", {})]
"""Methods without codes, which have a contract of their own."""

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *(each for each in METHODS if each not in CONTINUOUS),
    ("vq", SMALL["vq"] | {"cosine": True, "codebook_dim": 3}),
    ("vq", SMALL["vq"] | {"ema": False, "codebook_dim": 4}),
    ("vq", SMALL["vq"] | {"revive_at": "error"}),
    ("simvq", SMALL["simvq"] | {"samples": 0, "codebook_dim": 4, "revive": 0.0}),
    ("rvq", SMALL["rvq"] | {"codebook_dim": 4, "dropout": 0.5}),
    ("fsq", {"levels": (3, 4, 5, 6, 7, 8)}),
    ("lfq", {"bits": 6, "group": 2, "temperature": 1.0}),
    ("bsq", {"bits": 6, "commitment": 0.25}),
    ("gumbel", SMALL["gumbel"] | {"gradient": "straight-through"}),
    ("grouped", {"groups": 3, "quantizer": fsq.Config((3, 4, 5))}),
    ("grouped", {"quantizer": rvq.Config(**SMALL["rvq"] | {"dropout": 0.5})}),
    ("grouped", {"quantizer": gumbel.Config(**SMALL["gumbel"])}),
    *((name, SMALL[name] | {"gradient": "rotation"}) for name in ("vq", "simvq", "rvq")),
]


def latents(*shape: int, seed: int = 0) -> Tensor:
    """Gaussian (B, *grid) latents of DIM channels."""
    batch, *grid = shape
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, DIM, *grid, generator=generator)


_TRAINED: dict[str, tuple[nn.Module, Tensor]] = {}
"""Name and settings → the quantizer, and torch's random state behind it."""


def trained(name: str, settings: dict[str, Any]) -> nn.Module:
    """A quantizer in training mode whose entries a few batches have placed: a copy of its own."""
    key = f"{name} {settings}"
    if key not in _TRAINED:
        torch.manual_seed(0)
        module = built(name, settings)
        module.generator = torch.Generator().manual_seed(1)
        for step in range(6):
            module(latents(4, 5, 5, seed=100 + step))
        _TRAINED[key] = module, torch.get_rng_state()
    module, state = _TRAINED[key]
    torch.set_rng_state(state)
    return copy.deepcopy(module)


class Made(NamedTuple):
    """Makes the same trained quantizer at every call."""

    name: str
    settings: dict[str, Any]

    def __call__(self) -> nn.Module:
        return trained(self.name, self.settings)

    def fresh(self) -> nn.Module:
        """One with other weights."""
        return built(self.name, self.settings)


@pytest.fixture(params=VARIANTS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(VARIANTS)])
def make(request: pytest.FixtureRequest) -> Made:
    """One variant after another."""
    return Made(*request.param)
